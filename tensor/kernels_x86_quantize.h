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

/* q[n] = x * inverse, rounded, and the sums of each TN_Q_PAD of them; n is a multiple of that. */
TN_INLINE void round_all(int8_t *q, int32_t *sum, const float *x, size_t n, float inverse) {
    for (size_t part = 0; part < n; part += TN_Q_PAD) {
        ints total = all_ints(0);
        TN_UNROLL for (size_t i = part; i < part + TN_Q_PAD; i += LANES) {
            const ints v = round_floats(multiply(load_floats(x + i), all_floats(inverse)));
            store_low_bytes(q + i, v);
            total = add_ints(total, v);
        }
        sum[part / TN_Q_PAD] = sum_lanes(total);
    }
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
        int32_t *sums = sum + begin / TN_Q_PAD;
        memcpy(&max, &bits, sizeof max);
        if (!(max >= TN_Q_TINY) || isinf(max)) {
            memset(q + begin, 0, end - begin);
            memset(sums, 0, (end - begin) / TN_Q_PAD * sizeof *sums);
            scale[g] = max < TN_Q_TINY ? 0 : NAN;
            continue;
        }
        const float inverse = 127.0f / max;
        scale[g] = max / 127.0f;
        round_all(q + begin, sums, x + begin, whole, inverse);
        round_all(q + begin + whole, sums + whole / TN_Q_PAD, rest, more, inverse);
    }
}

#endif
