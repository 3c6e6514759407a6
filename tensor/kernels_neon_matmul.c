/* The tiles of the NEON tiers' matmul; the order of the sums is drawn in kernels_tier.h.
 *
 * NEON has 32 registers of 4 lanes, so the sixteen lanes of a sum need four of them. A tile is 3 rows of x by
 * 2 rows of w: 6 sums in 24 registers, which leaves 8 for what is loaded. Register q of a sum is its lanes
 * 4q … 4q+3:
 *
 *                 w0      w1
 *           x0  0 1 2 3  0 1 2 3        each step of 16 along k: 20 loads, 24 FMAs
 *           x1  0 1 2 3  0 1 2 3
 *           x2  0 1 2 3  0 1 2 3
 *
 * Of the tiles that fit, 3 x 2 and 2 x 3 need the fewest loads per FMA (5/6; 6 x 1 needs 7/6), and with 3 x 2
 * fewer weights have to be widened: F16 and BF16 take 16 loads, of eight weights each, and 8 widening
 * instructions. The 24 chains of additions are independent, more than a processor has under way. Edges use
 * smaller tiles of the same making: a sum's bits are the same in any.
 */
#include "tensor/kernels_neon.h"

#if TN_HAS_NEON
#include <arm_neon.h>
#include <string.h>

enum { ROWS = 3, COLS = 2, STEP = 16, HALF = 8 };

/* 8 weights of `type` at w, at any address, as F32. */
TN_INLINE void load_weights(float32x4_t wide[2], const unsigned char *w, tn_dtype type) {
    if (type == TN_F32) {
        wide[0] = vreinterpretq_f32_u8(vld1q_u8(w));
        wide[1] = vreinterpretq_f32_u8(vld1q_u8(w + 16));
        return;
    }
    const uint16x8_t h = vreinterpretq_u16_u8(vld1q_u8(w));
    if (type == TN_F16) {
        wide[0] = vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(h)));
        wide[1] = vcvt_high_f32_f16(vreinterpretq_f16_u16(h));
    } else { /* a BF16 is the upper half of its F32 */
        wide[0] = vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(h), 16));
        wide[1] = vreinterpretq_f32_u32(vshll_high_n_u16(h, 16));
    }
}

/* One step along k: sum[i*cols + j] += x[i] * w[j]. row_bytes: from one row of w to the next. */
TN_INLINE void step(float32x4_t sum[][4], size_t rows, size_t cols, tn_dtype type, const float *x, size_t ldx,
                    const unsigned char *w, size_t row_bytes) {
    const size_t w_size = type == TN_F32 ? 4 : 2;
    TN_UNROLL for (size_t half = 0; half < 2; half++) {
        float32x4_t wide[COLS][2];
        TN_UNROLL for (size_t j = 0; j < cols; j++) {
            load_weights(wide[j], w + j * row_bytes + half * HALF * w_size, type);
        }
        TN_UNROLL for (size_t i = 0; i < rows; i++) {
            TN_UNROLL for (size_t h = 0; h < 2; h++) {
                const float32x4_t xi = vld1q_f32(x + i * ldx + half * HALF + h * 4);
                TN_UNROLL for (size_t j = 0; j < cols; j++) {
                    float32x4_t *s = &sum[i * cols + j][half * 2 + h];
                    *s = vfmaq_f32(*s, xi, wide[j][h]);
                }
            }
        }
    }
}

/* Folds the lanes of one sum: l += l+8, l += l+4, l += l+2, l += l+1. */
TN_INLINE float fold(const float32x4_t sum[4]) {
    const float32x4_t s4 = vaddq_f32(vaddq_f32(sum[0], sum[2]), vaddq_f32(sum[1], sum[3]));
    const float32x2_t s2 = vadd_f32(vget_low_f32(s4), vget_high_f32(s4));
    return vget_lane_f32(s2, 0) + vget_lane_f32(s2, 1);
}

/* The tile of tn_tile_fn for constant rows, cols and type. */
TN_INLINE void tile(size_t rows, size_t cols, tn_dtype type, float *y, size_t ldy, const float *x, size_t ldx,
                    const unsigned char *w, size_t ldw, size_t k) {
    const size_t w_size = type == TN_F32 ? 4 : 2, row_bytes = ldw * w_size;
    float32x4_t sum[ROWS * COLS][4];
    TN_UNROLL for (size_t i = 0; i < rows * cols; i++) {
        TN_UNROLL for (size_t q = 0; q < 4; q++) sum[i][q] = vdupq_n_f32(0);
    }

    size_t t = 0;
    for (; t + STEP <= k; t += STEP) step(sum, rows, cols, type, x + t, ldx, w + t * w_size, row_bytes);
    if (t < k) { /* the rest of each row, with zeros up to a whole step */
        float x_rest[ROWS][STEP] = {{0}};
        unsigned char w_rest[COLS][STEP * sizeof(float)] = {{0}};
        for (size_t i = 0; i < rows; i++) memcpy(x_rest[i], x + i * ldx + t, (k - t) * sizeof(float));
        for (size_t j = 0; j < cols; j++) memcpy(w_rest[j], w + j * row_bytes + t * w_size, (k - t) * w_size);
        step(sum, rows, cols, type, x_rest[0], STEP, w_rest[0], sizeof w_rest[0]);
    }

    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        TN_UNROLL for (size_t j = 0; j < cols; j++) {
            y[i * ldy + j] = fold(sum[i * cols + j]);
        }
    }
}

/* `rows` rows (constant) and any number of columns: in pairs where rows share them, but one after the other
 * for few rows, whose speed is that of reading w: one stream is followed better by prefetchers than two. */
TN_INLINE void strip(size_t rows, tn_dtype type, float *y, size_t ldy, const float *x, size_t ldx,
                     const unsigned char *w, size_t ldw, size_t cols, size_t k) {
    const size_t row_bytes = ldw * (type == TN_F32 ? 4 : 2);
    size_t j = 0;
    if (rows == ROWS)
        for (; j + COLS <= cols; j += COLS)
            tile(rows, COLS, type, y + j, ldy, x, ldx, w + j * row_bytes, ldw, k);
    for (; j < cols; j++) tile(rows, 1, type, y + j, ldy, x, ldx, w + j * row_bytes, ldw, k);
}

TN_INLINE void any_tile(tn_dtype type, float *y, size_t ldy, const float *x, size_t ldx, const void *w,
                        size_t ldw, size_t rows, size_t cols, size_t k) {
    if (rows == 3)
        strip(3, type, y, ldy, x, ldx, w, ldw, cols, k);
    else if (rows == 2)
        strip(2, type, y, ldy, x, ldx, w, ldw, cols, k);
    else
        strip(1, type, y, ldy, x, ldx, w, ldw, cols, k);
}

static void tile_f32(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t rows,
                     size_t cols, size_t k) {
    any_tile(TN_F32, y, ldy, x, ldx, w, ldw, rows, cols, k);
}

static void tile_f16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t rows,
                     size_t cols, size_t k) {
    any_tile(TN_F16, y, ldy, x, ldx, w, ldw, rows, cols, k);
}

static void tile_bf16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw,
                      size_t rows, size_t cols, size_t k) {
    any_tile(TN_BF16, y, ldy, x, ldx, w, ldw, rows, cols, k);
}

const tn_tile tn_neon_f32 = {tile_f32, ROWS, 4, NULL, NULL, 0};
const tn_tile tn_neon_f16 = {tile_f16, ROWS, 2, NULL, NULL, 0};
const tn_tile tn_neon_bf16 = {tile_bf16, ROWS, 2, NULL, NULL, 0};

#endif
