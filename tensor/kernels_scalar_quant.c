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
        int32_t *sums = sum + begin / TN_Q_PAD;
        memset(q + begin, 0, end - begin);
        memset(sums, 0, (end - begin) / TN_Q_PAD * sizeof *sums);
        scale[g] = 0;
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
            sum[i / TN_Q_PAD] += q[i];
        }
    }
}

/* sum over TN_Q_PAD columns of x[k] * w[row r of the block][k]; block begins at the first of them. */
static int32_t dot8(const int8_t *x, int32_t sum_of_x, const unsigned char *block, size_t r) {
    int32_t sum = -128 * sum_of_x;
    for (size_t k = 0; k < TN_Q_PAD; k++) sum += x[k] * block[k / 4 * 64 + r * 4 + k % 4];
    return sum;
}

static int32_t dot4(const int8_t *x, int32_t sum_of_x, const unsigned char *block, size_t r) {
    int32_t sum = -8 * sum_of_x;
    for (size_t k = 0; k < TN_Q_PAD; k++) {
        const unsigned char byte = block[k / 8 * 64 + r * 4 + k % 4];
        sum += x[k] * (k % 8 < 4 ? byte & 15 : byte >> 4);
    }
    return sum;
}

typedef int32_t (*dot_fn)(const int8_t *x, int32_t sum_of_x, const unsigned char *block, size_t r);

/* Columns begin … end-1 of a group, of row i of x and row r of the block. */
static int32_t inner_sum(dot_fn dot, const tn_qrows *x, size_t i, const tn_mat *w, const unsigned char *data,
                         const int8_t *steps, size_t r, size_t begin, size_t end) {
    int32_t sum = 0;
    for (size_t k = begin; k < end; k += TN_Q_PAD) {
        const size_t part = k / TN_Q_PAD;
        const int32_t step = steps ? steps[part * TN_Q_ROWS + r] : 1;
        sum += step * dot(x->q + i * x->kpad + k, x->sum[i * (x->kpad / TN_Q_PAD) + part],
                          data + k * 2 * (size_t)w->bits, r);
    }
    return sum;
}

static void matmul(dot_fn dot, float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0,
                   size_t m) {
    const size_t block_bytes = TN_Q_ROWS * x->kpad * (size_t)w->bits / 8;
    const size_t step_bytes = x->kpad / TN_Q_PAD * TN_Q_ROWS;
    for (size_t j = 0; j < m; j++) {
        const size_t block = (j0 + j) / TN_Q_ROWS, r = (j0 + j) % TN_Q_ROWS;
        const unsigned char *data = (const unsigned char *)w->data + block * block_bytes;
        const unsigned char *scales = (const unsigned char *)w->scales + block * x->groups * TN_Q_ROWS * 2;
        const int8_t *steps = w->steps ? (const int8_t *)w->steps + block * step_bytes : NULL;
        for (size_t i = 0; i < x->n; i++) {
            float total = 0;
            for (size_t g = 0; g < x->groups; g++) {
                const size_t begin = g * x->group,
                             end = begin + x->group < x->kpad ? begin + x->group : x->kpad;
                const int32_t inner = inner_sum(dot, x, i, w, data, steps, r, begin, end);
                const float ws = tn_bf16_to_f32(tn_load_u16(scales + (g * TN_Q_ROWS + r) * 2));
                total += (float)inner * (x->scale[i * x->groups + g] * ws);
            }
            y[i * ldy + j] = total;
        }
    }
}

void tn_scalar_matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(dot8, y, ldy, x, w, j0, m);
}

void tn_scalar_matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(dot4, y, ldy, x, w, j0, m);
}
