/* The tiles of the "avx2" tier's matmul; the order of the sums is drawn in kernels_tier.h.
 *
 * AVX2 has 16 registers of 8 lanes, so the sixteen lanes of a sum need two of them. A tile is 3 rows of x
 * by 2 rows of w: 6 sums in 12 registers, which leaves 4 for what is loaded. lo is lanes 0 to 7 and hi
 * is lanes 8 to 15:
 *
 *                 w0      w1
 *           x0  lo hi   lo hi         each step of 16 along k: 10 loads, 12 FMAs
 *           x1  lo hi   lo hi
 *           x2  lo hi   lo hi
 *
 * A processor starts two FMAs per cycle and finishes each four cycles later, so the twelve independent
 * chains keep it busy. Edges use smaller tiles of the same making: a sum's bits are the same in any.
 */
#include "tensor/kernels_tier.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>
#include <string.h>

enum { ROWS = 3, COLS = 2, PANEL_ROWS = 4, PANEL_DEPTH = 1024, STEP = TN_LANES, HALF = 8 };

/* 8 weights of `type` at w as F32. */
TN_INLINE __m256 load_weights(const unsigned char *w, tn_dtype type) {
    if (type == TN_F32) return _mm256_loadu_ps((const float *)(const void *)w);
    const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)w);
    if (type == TN_F16) return _mm256_cvtph_ps(h);
    /* a BF16 is the upper half of its F32 */
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* 8 numbers of x, loaded once into a register. Without the empty instruction GCC repeats the load in each of
 * the FMAs that use it, and the loads become the bottleneck. */
TN_INLINE __m256 load_x(const float *x) {
    __m256 v = _mm256_loadu_ps(x);
    __asm__("" : "+x"(v));
    return v;
}

/* One step along k: sum[i*cols + j][half] += x[i] * w[j]. row_bytes: from one row of w to the next. */
TN_INLINE void step(__m256 sum[][2], size_t rows, size_t cols, tn_dtype type, const float *x, size_t ldx,
                    const unsigned char *w, size_t row_bytes) {
    const size_t w_size = type == TN_F32 ? 4 : 2;
    TN_UNROLL for (size_t half = 0; half < 2; half++) {
        __m256 wide[COLS];
        TN_UNROLL for (size_t j = 0; j < cols; j++) {
            wide[j] = load_weights(w + j * row_bytes + half * HALF * w_size, type);
        }
        TN_UNROLL for (size_t i = 0; i < rows; i++) {
            const __m256 xi = load_x(x + i * ldx + half * HALF);
            TN_UNROLL for (size_t j = 0; j < cols; j++) {
                sum[i * cols + j][half] = _mm256_fmadd_ps(xi, wide[j], sum[i * cols + j][half]);
            }
        }
    }
}

/* Folds the lanes of one sum: l += l+8, l += l+4, l += l+2, l += l+1. */
TN_INLINE float fold(const __m256 sum[2]) {
    const __m256 s8 = _mm256_add_ps(sum[0], sum[1]);
    const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}

/* The tile of tn_tile_fn for constant rows, cols and type. */
TN_INLINE void tile(size_t rows, size_t cols, tn_dtype type, float *y, size_t ldy, const float *x, size_t ldx,
                    const unsigned char *w, size_t ldw, size_t k) {
    const size_t w_size = type == TN_F32 ? 4 : 2, row_bytes = ldw * w_size;
    __m256 sum[ROWS * COLS][2];
    TN_UNROLL for (size_t i = 0; i < rows * cols; i++) sum[i][0] = sum[i][1] = _mm256_setzero_ps();

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

/* tn_tile_fn */
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
        size_t t = 0;
        for (; t + STEP <= k; t += STEP, to += TN_PANEL_COLS * STEP) {
            _mm256_storeu_ps(to, load_weights(w + t * w_size, type));
            _mm256_storeu_ps(to + HALF, load_weights(w + (t + HALF) * w_size, type));
        }
        if (t == k) continue;
        unsigned char w_rest[STEP * sizeof(float)] = {0};
        memcpy(w_rest, w + t * w_size, (k - t) * w_size);
        _mm256_storeu_ps(to, load_weights(w_rest, type));
        _mm256_storeu_ps(to + HALF, load_weights(w_rest + HALF * w_size, type));
    }
}

/* One step along k of 8 of the 16 lanes: sum[i*cols + j] += x[i] * panel[j]. */
TN_INLINE void panel_step(__m256 *sum, const float *x, size_t ldx, const float *panel) {
    __m256 w[TN_PANEL_COLS];
    TN_UNROLL for (size_t j = 0; j < TN_PANEL_COLS; j++) w[j] = _mm256_loadu_ps(panel + j * STEP);
    TN_UNROLL for (size_t i = 0; i < PANEL_ROWS; i++) {
        const __m256 xi = load_x(x + i * ldx);
        TN_UNROLL for (size_t j = 0; j < TN_PANEL_COLS; j++) {
            sum[i * TN_PANEL_COLS + j] = _mm256_fmadd_ps(xi, w[j], sum[i * TN_PANEL_COLS + j]);
        }
    }
}

/* tn_panel_fn for all types, the panel being F32. Half of the lanes of 4 x 3 sums are 12 registers, which
 * leaves 3 for w and 1 for x: 7 loads for 12 FMAs. So lanes 0 to 7 go first along the whole of k, then 8 to
 * 15, for which all of it comes once more: PANEL_DEPTH keeps the four rows of x in L1. */
static void panel_tile(tn_place y, const float *x, size_t ldx, const float *panel, size_t k, float *lanes,
                       int first, int last) {
    enum { SUMS = PANEL_ROWS * TN_PANEL_COLS };
    float x_rest[PANEL_ROWS][STEP] = {{0}};
    const size_t whole = k / STEP * STEP;
    for (size_t i = 0; i < PANEL_ROWS && whole < k; i++)
        memcpy(x_rest[i], x + i * ldx + whole, (k - whole) * sizeof *x);

    for (size_t half = 0; half < STEP; half += HALF) {
        __m256 sum[SUMS];
        TN_UNROLL for (size_t i = 0; i < SUMS; i++) {
            sum[i] = first ? _mm256_setzero_ps() : _mm256_loadu_ps(lanes + i * STEP + half);
        }
        const float *w = panel + half;
        for (size_t t = 0; t < whole; t += STEP, w += TN_PANEL_COLS * STEP)
            panel_step(sum, x + t + half, ldx, w);
        if (whole < k) panel_step(sum, x_rest[0] + half, STEP, w);
        TN_UNROLL for (size_t i = 0; i < SUMS; i++) _mm256_storeu_ps(lanes + i * STEP + half, sum[i]);
    }
    if (!last) return;
    for (size_t i = 0; i < PANEL_ROWS; i++)
        for (size_t j = 0; j < TN_PANEL_COLS; j++, lanes += STEP) {
            const __m256 sum[2] = {_mm256_loadu_ps(lanes), _mm256_loadu_ps(lanes + HALF)};
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

const tn_tile tn_avx2_f32 = {tile_f32, ROWS, 4, pack_f32, panel_tile, PANEL_ROWS, PANEL_DEPTH};
const tn_tile tn_avx2_f16 = {tile_f16, ROWS, 2, pack_f16, panel_tile, PANEL_ROWS, PANEL_DEPTH};
const tn_tile tn_avx2_bf16 = {tile_bf16, ROWS, 2, pack_bf16, panel_tile, PANEL_ROWS, PANEL_DEPTH};

#endif
