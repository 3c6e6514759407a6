/* Products of quantised matrices, as far as the NEON tiers agree; only kernels_neon*.c include this.
 *
 * A block of 16 rows of weights is four registers wide: register q of a step holds 4 columns of the rows
 * 4q … 4q+3, as bytes (layout in kernels.h). A tier says how a group's integer sums are made of such
 * registers (tn_group_fn); what is here turns them into floats and walks over blocks and rows.
 */
#ifndef TENSOR_KERNELS_NEON_QUANT_H
#define TENSOR_KERNELS_NEON_QUANT_H

#include "tensor/kernels_neon.h"

#if TN_HAS_NEON
#include <arm_neon.h>
#include <string.h>

enum { TN_NEON_MAX_ROWS = 4 }; /* of x in any tier's tile */

/* sum[i][q] += over `columns` columns: x[i] (ldx bytes from row to row) times rows 4q … 4q+3 of a block whose
 * bytes for these columns begin at w. columns is a multiple of 32; bits and rows are constants. */
typedef void (*tn_group_fn)(int bits, size_t rows, int32x4_t sum[][4], const int8_t *x, size_t ldx,
                            const unsigned char *w, size_t columns);

/* A tier's tn_group_fn, what it takes the weights of 8 bits for too large by (those of 4 bits: 8), and the
 * most rows of x that its registers hold. */
typedef struct {
    tn_group_fn group;
    int32_t offset8;
    size_t rows;
} tn_neon_quant;

/* Eight columns of the rows 4q … 4q+3 of a block, as they are stored: wide[0] the first four columns, wide[1]
 * the next four. w is where the eight columns begin; the next eight are bits * 16 bytes on. */
TN_INLINE void tn_neon_load8(uint8x16_t wide[2], int bits, const unsigned char *w, size_t q) {
    if (bits == 8) {
        wide[0] = vld1q_u8(w + q * 16);
        wide[1] = vld1q_u8(w + 64 + q * 16);
    } else {
        const uint8x16_t both = vld1q_u8(w + q * 16);
        wide[0] = vandq_u8(both, vdupq_n_u8(15));
        wide[1] = vshrq_n_u8(both, 4);
    }
}

/* sum[i][q] = the products of columns begin … end-1, a group, of rows i0 … of x with a block of 8 bits. */
TN_INLINE void tn_neon_sums8(tn_neon_quant tier, size_t rows, int32x4_t sum[][4], const tn_qrows *x,
                             size_t i0, size_t begin, size_t end, const unsigned char *data) {
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        const int32_t start = -tier.offset8 * tn_q_sum(x, i0 + i, begin, end);
        TN_UNROLL for (size_t r = 0; r < 4; r++) sum[i][r] = vdupq_n_s32(start);
    }
    tier.group(8, rows, sum, x->q + i0 * x->kpad + begin, x->kpad, data + begin * 16, end - begin);
}

/* The same of 4 bits: the products of each TN_Q_PAD columns times their step. */
TN_INLINE void tn_neon_sums4(tn_neon_quant tier, size_t rows, int32x4_t sum[][4], const tn_qrows *x,
                             size_t i0, size_t begin, size_t end, const unsigned char *data,
                             const int8_t *steps) {
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        TN_UNROLL for (size_t r = 0; r < 4; r++) sum[i][r] = vdupq_n_s32(0);
    }
    for (size_t k = begin; k < end; k += TN_Q_PAD) {
        const tn_slab xk = tn_slab_at(x, i0, k);
        int32x4_t part[TN_NEON_MAX_ROWS][4];
        TN_UNROLL for (size_t i = 0; i < rows; i++) {
            TN_UNROLL for (size_t r = 0; r < 4; r++) part[i][r] = vdupq_n_s32(-8 * xk.sum[i * xk.ldsum]);
        }
        tier.group(4, rows, part, xk.q, xk.ldq, data + k * 8, TN_Q_PAD);
        const int8x16_t step = vld1q_s8(steps + k / TN_Q_PAD * TN_Q_ROWS);
        const int16x8_t low = vmovl_s8(vget_low_s8(step)), high = vmovl_high_s8(step);
        const int32x4_t m[4] = {vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low),
                                vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)};
        TN_UNROLL for (size_t i = 0; i < rows; i++) {
            TN_UNROLL for (size_t r = 0; r < 4; r++) sum[i][r] = vmlaq_s32(sum[i][r], part[i][r], m[r]);
        }
    }
}

/* Rows i0 … i0+rows-1 of x with one block: y[i*ldy + r] for r < cols. */
TN_INLINE void tn_neon_q_tile(tn_neon_quant tier, int bits, size_t rows, float *y, size_t ldy,
                              const tn_qrows *x, size_t i0, const unsigned char *data, const int8_t *steps,
                              const unsigned char *scales, size_t cols) {
    const float *x_scale = x->scale + i0 * x->groups;
    float32x4_t total[TN_NEON_MAX_ROWS][4];
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        TN_UNROLL for (size_t r = 0; r < 4; r++) total[i][r] = vdupq_n_f32(0);
    }
    for (size_t g = 0; g < x->groups; g++) {
        const size_t begin = g * x->group, end = x->kpad - begin < x->group ? x->kpad : begin + x->group;
        int32x4_t sum[TN_NEON_MAX_ROWS][4];
        if (bits == 8)
            tn_neon_sums8(tier, rows, sum, x, i0, begin, end, data);
        else
            tn_neon_sums4(tier, rows, sum, x, i0, begin, end, data, steps);
        TN_UNROLL for (size_t r = 0; r < 4; r++) {
            const uint8x8_t half = vld1_u8(scales + (g * TN_Q_ROWS + r * 4) * 2);
            const float32x4_t w_scale = vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(half), 16));
            TN_UNROLL for (size_t i = 0; i < rows; i++) {
                const float32x4_t scale = vmulq_n_f32(w_scale, x_scale[i * x->groups + g]);
                total[i][r] = vfmaq_f32(total[i][r], vcvtq_f32_s32(sum[i][r]), scale);
            }
        }
    }
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        float row[TN_Q_ROWS];
        TN_UNROLL for (size_t r = 0; r < 4; r++) vst1q_f32(row + r * 4, total[i][r]);
        memcpy(y + i * ldy, row, cols * sizeof *y);
    }
}

/* matmul_q8 or matmul_q4 of a tier (a constant). A block's weights stay in the cache for all rows of x. */
TN_INLINE void tn_neon_q_matmul(tn_neon_quant tier, int bits, float *y, size_t ldy, const tn_qrows *x,
                                const tn_mat *w, size_t j0, size_t m) {
    const size_t block_bytes = TN_Q_ROWS * x->kpad * (size_t)bits / 8;
    const size_t step_bytes = TN_Q_ROWS * (x->kpad / TN_Q_PAD);
    for (size_t j = 0; j < m; j += TN_Q_ROWS) {
        const size_t block = (j0 + j) / TN_Q_ROWS, cols = m - j < TN_Q_ROWS ? m - j : TN_Q_ROWS;
        const unsigned char *data = (const unsigned char *)w->data + block * block_bytes;
        const unsigned char *scales = (const unsigned char *)w->scales + block * x->groups * TN_Q_ROWS * 2;
        const int8_t *steps = bits == 4 ? (const int8_t *)w->steps + block * step_bytes : NULL;
        for (size_t i = 0, rows; i < x->n; i += rows) {
            const size_t left = x->n - i;
            float *yi = y + i * ldy + j;
            if (tier.rows >= 4 && left >= 4)
                tn_neon_q_tile(tier, bits, rows = 4, yi, ldy, x, i, data, steps, scales, cols);
            else if (left >= 2)
                tn_neon_q_tile(tier, bits, rows = 2, yi, ldy, x, i, data, steps, scales, cols);
            else
                tn_neon_q_tile(tier, bits, rows = 1, yi, ldy, x, i, data, steps, scales, cols);
        }
    }
}

#endif
#endif
