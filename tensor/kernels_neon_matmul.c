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

enum { ROWS = 3, COLS = 2, PANEL_ROWS = 4, STEP = TN_LANES, HALF = 8 };

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

/* 4 numbers of x. GCC likes to load all of a step's numbers first, for which there are not enough registers;
 * the empty instruction, which it may not move past its like, keeps the loads where they are written. */
TN_INLINE float32x4_t load_x(const float *x) {
    float32x4_t v = vld1q_f32(x);
#ifndef __clang__
    __asm__ volatile("" : "+w"(v));
#endif
    return v;
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
                const float32x4_t xi = load_x(x + i * ldx + half * HALF + h * 4);
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

/* ---- Weights from panels ---- */

/* tn_pack_fn: row after row, so that w is one stream. */
TN_INLINE void pack(tn_dtype type, float *panel, const unsigned char *w, size_t ldw, size_t k) {
    const size_t w_size = type == TN_F32 ? 4 : 2;
    for (size_t j = 0; j < TN_PANEL_COLS; j++, w += ldw * w_size) {
        float *to = panel + j * STEP;
        for (size_t t = 0; t < k; t += STEP, to += TN_PANEL_COLS * STEP) {
            unsigned char rest[STEP * sizeof(float)] = {0}; /* of the row, with zeros up to a whole step */
            const unsigned char *from = w + t * w_size;
            if (k - t < STEP) from = memcpy(rest, from, (k - t) * w_size);
            TN_UNROLL for (size_t half = 0; half < STEP; half += HALF) {
                float32x4_t wide[2];
                load_weights(wide, from + half * w_size, type);
                vst1q_f32(to + half, wide[0]);
                vst1q_f32(to + half + 4, wide[1]);
            }
        }
    }
}

/* One step along k of 8 of the 16 lanes: sum[i*cols + j] += x[i] * panel[j]. */
TN_INLINE void panel_step(float32x4_t sum[][2], const float *x, size_t ldx, const float *panel) {
    TN_UNROLL for (size_t h = 0; h < 2; h++) {
        float32x4_t w[TN_PANEL_COLS];
        TN_UNROLL for (size_t j = 0; j < TN_PANEL_COLS; j++) w[j] = vld1q_f32(panel + j * STEP + h * 4);
        TN_UNROLL for (size_t i = 0; i < PANEL_ROWS; i++) {
            const float32x4_t xi = load_x(x + i * ldx + h * 4);
            TN_UNROLL for (size_t j = 0; j < TN_PANEL_COLS; j++) {
                float32x4_t *s = &sum[i * TN_PANEL_COLS + j][h];
                *s = vfmaq_f32(*s, xi, w[j]);
            }
        }
    }
}

/* tn_panel_fn for all types, the panel being F32. Half of the lanes of 4 x 3 sums are 24 registers: 14 loads
 * for 24 FMAs, where the tile above needs 20. So lanes 0 to 7 go first along the whole of k, then 8 to 15. */
static void panel_tile(tn_place y, const float *x, size_t ldx, const float *panel, size_t k, float *lanes,
                       int first, int last) {
    enum { SUMS = PANEL_ROWS * TN_PANEL_COLS };
    float x_rest[PANEL_ROWS][STEP] = {{0}};
    const size_t whole = k / STEP * STEP;
    for (size_t i = 0; i < PANEL_ROWS && whole < k; i++)
        memcpy(x_rest[i], x + i * ldx + whole, (k - whole) * sizeof *x);

    for (size_t half = 0; half < STEP; half += HALF) {
        float32x4_t sum[SUMS][2];
        TN_UNROLL for (size_t i = 0; i < SUMS; i++) {
            TN_UNROLL for (size_t h = 0; h < 2; h++) {
                sum[i][h] = first ? vdupq_n_f32(0) : vld1q_f32(lanes + i * STEP + half + h * 4);
            }
        }
        const float *w = panel + half;
        for (size_t t = 0; t < whole; t += STEP, w += TN_PANEL_COLS * STEP)
            panel_step(sum, x + t + half, ldx, w);
        if (whole < k) panel_step(sum, x_rest[0] + half, STEP, w);
        TN_UNROLL for (size_t i = 0; i < SUMS; i++) {
            TN_UNROLL for (size_t h = 0; h < 2; h++) vst1q_f32(lanes + i * STEP + half + h * 4, sum[i][h]);
        }
    }
    if (!last) return;
    for (size_t i = 0; i < PANEL_ROWS; i++)
        for (size_t j = 0; j < TN_PANEL_COLS; j++, lanes += STEP) {
            float32x4_t sum[4];
            TN_UNROLL for (size_t q = 0; q < 4; q++) sum[q] = vld1q_f32(lanes + q * 4);
            y.y[i * y.down + j * y.right] = fold(sum);
        }
}

/* ---- The types ---- */

static void tile_f32(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t rows,
                     size_t cols, size_t k) {
    any_tile(TN_F32, y, ldy, x, ldx, w, ldw, rows, cols, k);
}
static void pack_f32(float *panel, const void *w, size_t ldw, size_t k) {
    pack(TN_F32, panel, w, ldw, k);
}

static void tile_f16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t rows,
                     size_t cols, size_t k) {
    any_tile(TN_F16, y, ldy, x, ldx, w, ldw, rows, cols, k);
}
static void pack_f16(float *panel, const void *w, size_t ldw, size_t k) {
    pack(TN_F16, panel, w, ldw, k);
}

static void tile_bf16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw,
                      size_t rows, size_t cols, size_t k) {
    any_tile(TN_BF16, y, ldy, x, ldx, w, ldw, rows, cols, k);
}
static void pack_bf16(float *panel, const void *w, size_t ldw, size_t k) {
    pack(TN_BF16, panel, w, ldw, k);
}

const tn_tile tn_neon_f32 = {tile_f32, ROWS, 4, pack_f32, panel_tile, PANEL_ROWS, TN_PANEL_DEPTH};
const tn_tile tn_neon_f16 = {tile_f16, ROWS, 2, pack_f16, panel_tile, PANEL_ROWS, TN_PANEL_DEPTH};
const tn_tile tn_neon_bf16 = {tile_bf16, ROWS, 2, pack_bf16, panel_tile, PANEL_ROWS, TN_PANEL_DEPTH};

#endif
