/* The tiles of the "avx512" tier's matmul; the order of the sums is drawn in kernels_tier.h.
 *
 * A tile of 8 rows of x and 3 rows of w keeps its 24 sums in 24 of the 32 registers, lane l of register
 * [i][j] being lane l of the sum of row i and row j:
 *
 *                 w0    w1    w2      <- 16 weights each, widened to F32: 3 registers
 *           x0  [0][0] [0][1] [0][2]
 *           x1  [1][0] [1][1] [1][2]     each step along k: 3 + 8 loads, 24 FMAs
 *            …    …      …      …
 *           x7  [7][0] [7][1] [7][2]
 *
 * A processor starts one or two FMAs per cycle and finishes each four cycles later, so eight or more
 * independent sums must be under way; loads go one or two per cycle as well, so each loaded register
 * has to serve several FMAs. 8 x 3 does both, and the tall shape widens a weight once for eight rows.
 *
 * Fewer rows or columns at the edges use smaller tiles of the same making: a sum's bits are the same in
 * any of them.
 */
#include "tensor/kernels_tier.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include <immintrin.h>

enum { ROWS = 8, COLS = TN_PANEL_COLS, STEP = TN_LANES, MOST_COLS = 8, LINE = 64, WIDE = 2048 };

/* Columns of a panel: eight rows of x so wide stay in an L1 of 48 KB. */
enum { PANEL_DEPTH = 1024 };

/* 16 weights of `type` at w as F32; those not in `mask` are 0 and their memory is not touched. */
TN_INLINE __m512 load_weights(const unsigned char *w, tn_dtype type, __mmask16 mask) {
    if (type == TN_F32) return _mm512_maskz_loadu_ps(mask, w);
    const __m256i h = _mm256_maskz_loadu_epi16(mask, w);
    if (type == TN_F16) return _mm512_cvtph_ps(h);
    /* a BF16 is the upper half of its F32 */
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* x's 16 numbers, loaded once into a register. Without the empty instruction GCC repeats the load in each of
 * the three FMAs that use it, and the loads become the bottleneck. */
TN_INLINE __m512 load_x(const float *x, __mmask16 mask) {
    __m512 v = _mm512_maskz_loadu_ps(mask, x);
    __asm__("" : "+v"(v));
    return v;
}

/* One step along k: sum[i*cols + j] += x[i] * w[j] for 16 lanes. row_bytes: from one row of w to the next. */
TN_INLINE void step(__m512 *sum, size_t rows, size_t cols, tn_dtype type, const float *x, size_t ldx,
                    const unsigned char *w, size_t row_bytes, __mmask16 mask) {
    __m512 wide[MOST_COLS];
    TN_UNROLL for (size_t j = 0; j < cols; j++) wide[j] = load_weights(w + j * row_bytes, type, mask);
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        const __m512 xi = load_x(x + i * ldx, mask);
        TN_UNROLL for (size_t j = 0; j < cols; j++) {
            sum[i * cols + j] = _mm512_fmadd_ps(xi, wide[j], sum[i * cols + j]);
        }
    }
}

/* Folds the lanes of four registers at once into four sums. In 128-bit quarters:
 *     a = [a0 a1 a2 a3], b = [b0 b1 b2 b3]  ->  ab = [a0+a2 a1+a3 b0+b2 b1+b3]     lanes l += l+8
 *     ab, cd                                ->  s  = [a'0+a'1 b'0+b'1 c'0+c'1 d'0+d'1]   l += l+4
 * then each quarter holds four lanes of one sum and folds in itself, l += l+2, l += l+1. */
TN_INLINE __m128 fold4(__m512 a, __m512 b, __m512 c, __m512 d) {
    const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
    const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xEE));
    __m512 s = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0x4E)); /* lanes 2 3 0 1 */
    s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xB1)); /* lanes 1 0 3 2 */
    const __m512i first = _mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(first, s));
}

/* y[i*ldy + j] = the folded lanes of sum[i*cols + j]; sum has room for three more. */
TN_INLINE void fold(float *y, size_t ldy, __m512 *sum, size_t rows, size_t cols) {
    float s[ROWS * COLS + 3];
    TN_UNROLL for (size_t i = 0; i < rows * cols; i += 4)
        _mm_storeu_ps(s + i, fold4(sum[i], sum[i + 1], sum[i + 2], sum[i + 3]));
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        TN_UNROLL for (size_t j = 0; j < cols; j++) y[i * ldy + j] = s[i * cols + j];
    }
}

/* The same of whole tiles whose columns lie side by side in memory: y[i + j*right]. */
TN_INLINE void fold_columns(float *y, size_t right, const __m512 *sum) {
    TN_UNROLL for (size_t j = 0; j < COLS; j++) {
        TN_UNROLL for (size_t i = 0; i < ROWS; i += 4)
            _mm_storeu_ps(y + j * right + i, fold4(sum[i * COLS + j], sum[(i + 1) * COLS + j],
                                                   sum[(i + 2) * COLS + j], sum[(i + 3) * COLS + j]));
    }
}

/* The mask of a last step of `left` < 16 columns. */
TN_INLINE __mmask16 rest(size_t left) {
    return (__mmask16)((1u << left) - 1);
}

/* ---- Weights as they are stored ---- */

/* The tile of tn_tile_fn for constant rows, cols and type. Meanwhile the memory after its rows of w, which is
 * where the next tile's lie, is brought near, from front to back: it is read row beside row, and prefetchers
 * follow one stream better than three short ones. */
TN_INLINE void tile(size_t rows, size_t cols, tn_dtype type, float *y, size_t ldy, const float *x, size_t ldx,
                    const unsigned char *w, size_t ldw, size_t k) {
    const size_t w_size = type == TN_F32 ? 4 : 2, row_bytes = ldw * w_size;
    const size_t lines = cols * 2 * STEP * w_size / LINE; /* that two steps use up */
    const char *next = (const char *)w + cols * row_bytes;
    __m512 sum[ROWS * COLS + 3]; /* [rows, cols], and zeros up to a multiple of 4 */
    TN_UNROLL for (size_t i = 0; i < rows * cols + 3; i++) sum[i] = _mm512_setzero_ps();

    size_t t = 0;
    for (; t + 2 * STEP <= k; t += 2 * STEP, next += lines * LINE) {
        if (cols > 1) {
            TN_UNROLL for (size_t i = 0; i < lines; i++) _mm_prefetch(next + i * LINE, _MM_HINT_T0);
        }
        step(sum, rows, cols, type, x + t, ldx, w + t * w_size, row_bytes, 0xFFFF);
        step(sum, rows, cols, type, x + t + STEP, ldx, w + (t + STEP) * w_size, row_bytes, 0xFFFF);
    }
    if (t + STEP <= k) {
        step(sum, rows, cols, type, x + t, ldx, w + t * w_size, row_bytes, 0xFFFF);
        t += STEP;
    }
    if (t < k) step(sum, rows, cols, type, x + t, ldx, w + t * w_size, row_bytes, rest(k - t));
    fold(y, ldy, sum, rows, cols);
}

/* tn_tile_fn. Three columns at a time, each in strips of 8, 4, 2 and 1 rows of x. A lone row of x takes one
 * column after the other as long as x and a row of w fit in L1 together; beyond that it takes eight, so that
 * x, which then comes from L2, serves all of them. */
TN_INLINE void any_tile(tn_dtype type, float *y, size_t ldy, const float *x, size_t ldx,
                        const unsigned char *w, size_t ldw, size_t rows, size_t cols, size_t k) {
    const size_t row_bytes = ldw * (type == TN_F32 ? 4 : 2);
    size_t j = 0;
    if (rows == 1) {
        if (k >= WIDE)
            for (; j + MOST_COLS <= cols; j += MOST_COLS)
                tile(1, MOST_COLS, type, y + j, ldy, x, ldx, w + j * row_bytes, ldw, k);
        for (; j < cols; j++) tile(1, 1, type, y + j, ldy, x, ldx, w + j * row_bytes, ldw, k);
        return;
    }
    for (size_t width = COLS; j < cols; j += width) {
        if (cols - j < COLS) width = 1;
        const unsigned char *wj = w + j * row_bytes;
        float *yi = y + j;
        const float *xi = x;
        for (size_t left = rows, i; left > 0; left -= i, yi += i * ldy, xi += i * ldx) {
            i = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
            if (i == 8 && width == COLS)
                tile(8, COLS, type, yi, ldy, xi, ldx, wj, ldw, k);
            else if (i == 8)
                tile(8, 1, type, yi, ldy, xi, ldx, wj, ldw, k);
            else if (i == 4 && width == COLS)
                tile(4, COLS, type, yi, ldy, xi, ldx, wj, ldw, k);
            else if (i == 4)
                tile(4, 1, type, yi, ldy, xi, ldx, wj, ldw, k);
            else if (i == 2 && width == COLS)
                tile(2, COLS, type, yi, ldy, xi, ldx, wj, ldw, k);
            else if (i == 2)
                tile(2, 1, type, yi, ldy, xi, ldx, wj, ldw, k);
            else if (width == COLS)
                tile(1, COLS, type, yi, ldy, xi, ldx, wj, ldw, k);
            else
                tile(1, 1, type, yi, ldy, xi, ldx, wj, ldw, k);
        }
    }
}

/* ---- Rows that lie anywhere ---- */

/* One step along n of dots_at_once. */
TN_INLINE void dots_step(__m512 *sum, size_t rows, const float *const *x, const float *const *w, size_t t,
                         __mmask16 mask) {
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        sum[i] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, x[i] + t), _mm512_maskz_loadu_ps(mask, w[i] + t),
                                 sum[i]);
    }
}

/* Of `some` sums, at most `rows` (constant): what is missing is the first once more. */
TN_INLINE void dots_at_once(size_t rows, float *y, const float *const *x, const float *const *w, size_t some,
                            size_t n) {
    const float *xs[ROWS], *ws[ROWS];
    __m512 sum[ROWS + 3];
    float folded[ROWS];
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        xs[i] = x[i < some ? i : 0];
        ws[i] = w[i < some ? i : 0];
    }
    TN_UNROLL for (size_t i = 0; i < rows + 3; i++) sum[i] = _mm512_setzero_ps();
    size_t t = 0;
    for (; t + STEP <= n; t += STEP) dots_step(sum, rows, xs, ws, t, 0xFFFF);
    if (t < n) dots_step(sum, rows, xs, ws, t, rest(n - t));
    fold(folded, 1, sum, rows, 1);
    for (size_t i = 0; i < some; i++) y[i] = folded[i];
}

/* Eight sums at once, or as many as there are: one alone waits for the end of each of its additions. */
void tn_avx512_dots(float *y, const float *const *x, const float *const *w, size_t count, size_t n) {
    for (size_t c = 0; c < count; c += ROWS) {
        const size_t some = count - c < ROWS ? count - c : ROWS;
        if (some > 4)
            dots_at_once(ROWS, y + c, x + c, w + c, some, n);
        else if (some > 2)
            dots_at_once(4, y + c, x + c, w + c, some, n);
        else if (some > 1)
            dots_at_once(2, y + c, x + c, w + c, some, n);
        else
            dots_at_once(1, y + c, x + c, w + c, some, n);
    }
}

/* One step along n of dots_axpys_at_once. */
TN_INLINE void dots_axpys_step(__m512 *sum, size_t rows, float *y, const __m512 *a, const float *const *x,
                               const float *w, size_t t, __mmask16 mask) {
    const __m512 wt = _mm512_maskz_loadu_ps(mask, w + t);
    __m512 yt = _mm512_maskz_loadu_ps(mask, y + t);
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        const __m512 xt = load_x(x[i] + t, mask);
        sum[i] = _mm512_fmadd_ps(xt, wt, sum[i]);
        yt = _mm512_add_ps(yt, _mm512_mul_ps(a[i], xt));
    }
    _mm512_mask_storeu_ps(y + t, mask, yt);
}

/* dots[i] = x[i] · w and y += a[i] x[i] for constant rows, which come from memory once. */
TN_INLINE void dots_axpys_at_once(size_t rows, float *dots, float *y, const float *a, const float *const *x,
                                  const float *w, size_t n) {
    __m512 sum[ROWS + 3], as[ROWS];
    const float *xs[ROWS];
    float folded[ROWS];
    TN_UNROLL for (size_t i = 0; i < rows + 3; i++) sum[i] = _mm512_setzero_ps();
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        as[i] = _mm512_set1_ps(a[i]);
        xs[i] = x[i];
    }
    size_t t = 0;
    for (; t + STEP <= n; t += STEP) dots_axpys_step(sum, rows, y, as, xs, w, t, 0xFFFF);
    if (t < n) dots_axpys_step(sum, rows, y, as, xs, w, t, rest(n - t));
    fold(folded, 1, sum, rows, 1);
    TN_UNROLL for (size_t i = 0; i < rows; i++) dots[i] = folded[i];
}

void tn_avx512_dots_axpys(float *dots, float *y, const float *a, const float *const *x, const float *w,
                          size_t count, size_t n) {
    for (size_t c = 0; c < count; c += ROWS) {
        switch (count - c) {
        case 1:
            dots_axpys_at_once(1, dots + c, y, a + c, x + c, w, n);
            break;
        case 2:
            dots_axpys_at_once(2, dots + c, y, a + c, x + c, w, n);
            break;
        case 3:
            dots_axpys_at_once(3, dots + c, y, a + c, x + c, w, n);
            break;
        case 4:
            dots_axpys_at_once(4, dots + c, y, a + c, x + c, w, n);
            break;
        case 5:
            dots_axpys_at_once(5, dots + c, y, a + c, x + c, w, n);
            break;
        case 6:
            dots_axpys_at_once(6, dots + c, y, a + c, x + c, w, n);
            break;
        case 7:
            dots_axpys_at_once(7, dots + c, y, a + c, x + c, w, n);
            break;
        default:
            dots_axpys_at_once(8, dots + c, y, a + c, x + c, w, n);
        }
    }
}

/* ---- Weights from panels ---- */

/* tn_pack_fn: row after row, so that w is one stream. */
TN_INLINE void pack(tn_dtype type, float *panel, const unsigned char *w, size_t ldw, size_t k) {
    const size_t w_size = type == TN_F32 ? 4 : 2;
    for (size_t j = 0; j < COLS; j++, w += ldw * w_size) {
        float *to = panel + j * STEP;
        size_t t = 0;
        for (; t + STEP <= k; t += STEP, to += COLS * STEP)
            _mm512_storeu_ps(to, load_weights(w + t * w_size, type, 0xFFFF));
        if (t < k) _mm512_storeu_ps(to, load_weights(w + t * w_size, type, rest(k - t)));
    }
}

/* One whole step along k from a panel. The rows of x have two beginnings, x and x4 = x + 4*ldx, from which an
 * instruction reaches all of them by itself; from one, every row needs an addition. */
TN_INLINE void panel_step(__m512 *sum, const float *x, const float *x4, size_t ldx, const float *panel) {
    __m512 w[COLS];
    TN_UNROLL for (size_t j = 0; j < COLS; j++) w[j] = _mm512_loadu_ps(panel + j * STEP);
    TN_UNROLL for (size_t i = 0; i < ROWS; i++) {
        const __m512 xi = load_x((i < 4 ? x : x4) + i % 4 * ldx, 0xFFFF);
        TN_UNROLL for (size_t j = 0; j < COLS; j++) {
            sum[i * COLS + j] = _mm512_fmadd_ps(xi, w[j], sum[i * COLS + j]);
        }
    }
}

/* tn_panel_fn for all types: the panel is F32. */
static void panel_tile(tn_place y, const float *x, size_t ldx, const float *panel, size_t k, float *lanes,
                       int first, int last) {
    enum { PANEL_LINE = COLS * STEP };
    __m512 sum[ROWS * COLS + 3];
    TN_UNROLL for (size_t i = 0; i < ROWS * COLS + 3; i++) sum[i] = _mm512_setzero_ps();
    if (!first) {
        TN_UNROLL for (size_t i = 0; i < ROWS * COLS; i++) sum[i] = _mm512_loadu_ps(lanes + i * STEP);
    }
    const float *x4 = x + 4 * ldx;
    size_t left = k;
    for (; left >= 2 * STEP; left -= 2 * STEP) {
        panel_step(sum, x, x4, ldx, panel);
        panel_step(sum, x + STEP, x4 + STEP, ldx, panel + PANEL_LINE);
        x += 2 * STEP;
        x4 += 2 * STEP;
        panel += 2 * PANEL_LINE;
    }
    if (left >= STEP) {
        panel_step(sum, x, x4, ldx, panel);
        x += STEP;
        panel += PANEL_LINE;
        left -= STEP;
    }
    if (left > 0)
        step(sum, ROWS, COLS, TN_F32, x, ldx, (const unsigned char *)panel, STEP * sizeof *panel, rest(left));
    if (last) {
        if (y.down == 1)
            fold_columns(y.y, y.right, sum);
        else
            fold(y.y, y.down, sum, ROWS, COLS);
        return;
    }
    TN_UNROLL for (size_t i = 0; i < ROWS * COLS; i++) _mm512_storeu_ps(lanes + i * STEP, sum[i]);
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

const tn_tile tn_avx512_f32 = {tile_f32, ROWS, 4, pack_f32, panel_tile, ROWS, PANEL_DEPTH};
const tn_tile tn_avx512_f16 = {tile_f16, ROWS, 2, pack_f16, panel_tile, ROWS, PANEL_DEPTH};
const tn_tile tn_avx512_bf16 = {tile_bf16, ROWS, 2, pack_bf16, panel_tile, ROWS, PANEL_DEPTH};

#endif
