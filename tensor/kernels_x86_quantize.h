/* quantize of kernels.h in a tier's registers (kernels_x86_256.h or _512.h, included first). The bits are
 * those of kernels_scalar_quant.c: the same maximum, one division, one multiplication and one rounding a
 * number.
 */
#ifndef TENSOR_KERNELS_X86_QUANTIZE_H
#define TENSOR_KERNELS_X86_QUANTIZE_H

#include <math.h>
#include <string.h>

/* Bits of the largest |x| and of what was found before; n is a multiple of LANES. */
TN_INLINE ints larger(ints before, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += LANES) before = max_ints(before, bits_of_abs(load_floats(x + i)));
    return before;
}

/* q[n] = x * inverse, rounded; returns before + the sums of its lanes. */
TN_INLINE ints round_all(ints before, int8_t *q, const float *x, size_t n, float inverse) {
    for (size_t i = 0; i < n; i += LANES) {
        const ints v = round_floats(multiply(load_floats(x + i), all_floats(inverse)));
        store_low_bytes(q + i, v);
        before = add_ints(before, v);
    }
    return before;
}

/* The row's last columns, which do not fill TN_Q_PAD, are copied to `rest` and followed by zeros: a group is
 * `whole` columns where they lie and `more` (0 or TN_Q_PAD) in rest. */
TN_INLINE void quantize_row(int8_t *q, float *scale, int32_t *sum, const float *x, size_t k, size_t group) {
    const size_t kpad = tn_q_pad(k), in_place = k - k % TN_Q_PAD;
    float rest[TN_Q_PAD] = {0};
    memcpy(rest, x + in_place, (k - in_place) * sizeof *x);
    for (size_t g = 0; g < tn_q_groups(kpad, group); g++) {
        const size_t begin = g * group, end = begin + group < kpad ? begin + group : kpad;
        const size_t whole = (end < in_place ? end : in_place) - begin, more = end - begin - whole;
        const int32_t bits = max_lane(larger(larger(all_ints(0), x + begin, whole), rest, more));
        float max;
        memcpy(&max, &bits, sizeof max);
        if (!(max >= TN_Q_TINY) || isinf(max)) {
            memset(q + begin, 0, end - begin);
            scale[g] = max < TN_Q_TINY ? 0 : NAN;
            sum[g] = 0;
            continue;
        }
        const float inverse = 127.0f / max;
        const ints total = round_all(all_ints(0), q + begin, x + begin, whole, inverse);
        scale[g] = max / 127.0f;
        sum[g] = sum_lanes(round_all(total, q + begin + whole, rest, more, inverse));
    }
}

#endif
