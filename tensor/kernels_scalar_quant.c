/* The quantised kernels in plain C: activations to 8 bits, and products of integers group by group. They are
 * what the tests believe; the other tiers give the same integers, and the same floats up to the rounding of
 * a fused multiply-add.
 */
#include "tensor/kernels_tier.h"

#include <math.h>
#include <string.h>

/* Largest |x| as its bits: for floats without their sign the order of the bits is the order of the numbers,
 * infinity and NaN come last. */
static uint32_t largest(const float *x, size_t n) {
    uint32_t max = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7FFFFFFFu;
        if (bits > max) max = bits;
    }
    return max;
}

void tn_scalar_quantize(int8_t *q, float *scale, int32_t *sum, const float *x, size_t k, size_t group) {
    const size_t kpad = tn_q_pad(k);
    for (size_t g = 0; g < tn_q_groups(kpad, group); g++) {
        const size_t begin = g * group, end = begin + group < kpad ? begin + group : kpad;
        const size_t filled = k <= begin ? begin : k < end ? k : end;
        const uint32_t bits = largest(x + begin, filled - begin);
        float max;
        memcpy(&max, &bits, sizeof max);
        memset(q + begin, 0, end - begin);
        scale[g] = 0;
        sum[g] = 0;
        if (!(max >= TN_Q_TINY)) {
            if (max != max) scale[g] = NAN;
            continue;
        }
        if (isinf(max)) {
            scale[g] = NAN;
            continue;
        }
        const float inverse = 127.0f / max;
        scale[g] = max / 127.0f;
        for (size_t i = begin; i < filled; i++) {
            q[i] = (int8_t)lrintf(x[i] * inverse);
            sum[g] += q[i];
        }
    }
}

/* sum over columns begin … end-1 of x[k] * w[row r of the block][k], the offset included */
static int32_t dot8(const int8_t *x, const unsigned char *block, size_t r, size_t begin, size_t end) {
    int32_t sum = 0;
    for (size_t k = begin; k < end; k++) sum += x[k] * block[k / 4 * 64 + r * 4 + k % 4];
    return sum;
}

static int32_t dot4(const int8_t *x, const unsigned char *block, size_t r, size_t begin, size_t end) {
    int32_t sum = 0;
    for (size_t k = begin; k < end; k++) {
        const unsigned char byte = block[k / 8 * 64 + r * 4 + k % 4];
        sum += x[k] * (k % 8 < 4 ? byte & 15 : byte >> 4);
    }
    return sum;
}

typedef int32_t (*dot_fn)(const int8_t *x, const unsigned char *block, size_t r, size_t begin, size_t end);

static void matmul(dot_fn dot, int32_t offset, float *y, size_t ldy, const tn_qrows *x, const tn_mat *w,
                   size_t j0, size_t m) {
    const size_t block_bytes = TN_Q_ROWS * x->kpad * (size_t)w->bits / 8;
    for (size_t j = 0; j < m; j++) {
        const size_t block = (j0 + j) / TN_Q_ROWS, r = (j0 + j) % TN_Q_ROWS;
        const unsigned char *data = (const unsigned char *)w->data + block * block_bytes;
        const unsigned char *scales = (const unsigned char *)w->scales + block * x->groups * TN_Q_ROWS * 2;
        for (size_t i = 0; i < x->n; i++) {
            float total = 0;
            for (size_t g = 0; g < x->groups; g++) {
                const size_t begin = g * x->group,
                             end = begin + x->group < x->kpad ? begin + x->group : x->kpad;
                const int32_t inner =
                    dot(x->q + i * x->kpad, data, r, begin, end) - offset * x->sum[i * x->groups + g];
                const float ws = tn_bf16_to_f32(tn_load_u16(scales + (g * TN_Q_ROWS + r) * 2));
                total += (float)inner * (x->scale[i * x->groups + g] * ws);
            }
            y[i * ldy + j] = total;
        }
    }
}

void tn_scalar_matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(dot8, 128, y, ldy, x, w, j0, m);
}

void tn_scalar_matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(dot4, 8, y, ldy, x, w, j0, m);
}
