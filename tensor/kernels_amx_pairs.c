/* Products of rows rounded to BF16 in tiles of AMX: round_pairs and matmul_pairs of kernels.h.
 *
 * Rows of x are the rows of A as they lie, a block of 16 rows of w is the B that the instruction wants, and
 * so the sums C are a piece of y, 16 by 16. Two by two pieces share what is loaded for them:
 *
 *     for each two blocks of w, for each CHUNK steps of them, which stay in L1
 *       for each 2 x 16 rows of x:  C [2, 2] += A [2] * B [2]      for each step of 32 columns
 *
 * Between two chunks the sums wait in y.
 */
#include "tensor/kernels_tier.h"

#ifdef TN_AMX
#include "tensor/kernels_x86_amx.h"

enum {
    STEP = TN_PAIR_PAD, /* columns that one tile holds */
    CHUNK = 14,         /* steps: 28 KB of w */
    ROWS = 2 * TILE_ROWS
};

/* The nearest BF16, ties to even, in the upper halves; a NaN may become a number. */
TN_INLINE __m512 nearest(__m512 v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i up = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
    return _mm512_castsi512_ps(_mm512_and_si512(up, _mm512_set1_epi32((int32_t)0xFFFF0000)));
}

TN_INLINE __m512 add_square(__m512 sum, __m512 v) {
    return _mm512_fmadd_ps(v, v, sum);
}

float tn_amx_round_pairs(unsigned char *to, size_t stride, const float *x, size_t k) {
    const __m512i places =
        _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                           _mm512_set1_epi32((int)stride));
    __m512 lanes = _mm512_setzero_ps();
    for (size_t c = 0; c < k; c += STEP) {
        __m512 first = _mm512_maskz_loadu_ps(first_lanes(k - c), x + c), second = _mm512_setzero_ps();
        if (k - c > 16) second = _mm512_maskz_loadu_ps(first_lanes(k - c - 16), x + c + 16);
        const __m512 near1 = nearest(first), near2 = nearest(second);
        lanes = add_square(lanes, _mm512_sub_ps(first, near1));
        lanes = add_square(lanes, _mm512_sub_ps(second, near2));
        const __m512i pairs = upper_halves(near1, near2);
        if (stride == 4)
            _mm512_storeu_si512(to + c * 2, pairs);
        else
            _mm512_i32scatter_epi32(to + c / 2 * stride, places, pairs, 1);
    }
    return _mm512_reduce_add_ps(lanes);
}

/* What 2 x 2 pieces read and write; where there is only one row of pieces or one column, the second is the
 * first once more and its sums go to waste. */
typedef struct {
    const unsigned char *x[2], *w[2];
    float *y[2][2];
    size_t x_stride, ldy[2][2]; /* bytes */
} pieces;

/* Adds `steps` steps, or begins with them. */
static void multiply(const pieces *p, size_t steps, int fresh) {
    const unsigned char *x0 = p->x[0], *x1 = p->x[1], *w0 = p->w[0], *w1 = p->w[1];
    if (fresh) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, p->y[0][0], p->ldy[0][0]);
        _tile_loadd(1, p->y[0][1], p->ldy[0][1]);
        _tile_loadd(2, p->y[1][0], p->ldy[1][0]);
        _tile_loadd(3, p->y[1][1], p->ldy[1][1]);
    }
    for (size_t s = 0; s < steps; s++) {
        _tile_loadd(4, x0, p->x_stride);
        _tile_loadd(6, w0, TILE_ROW_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, w1, TILE_ROW_BYTES);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, x1, p->x_stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
        x0 += TILE_ROW_BYTES;
        x1 += TILE_ROW_BYTES;
        w0 += TILE_BYTES;
        w1 += TILE_BYTES;
    }
    _tile_stored(0, p->y[0][0], p->ldy[0][0]);
    _tile_stored(1, p->y[0][1], p->ldy[0][1]);
    _tile_stored(2, p->y[1][0], p->ldy[1][0]);
    _tile_stored(3, p->y[1][1], p->ldy[1][1]);
}

typedef struct {
    float *y;
    size_t ldy;
    const unsigned char *x, *w;
    size_t m, steps;
} product;

/* Tiles of x and of sums with as many rows as there are: first 16 or fewer, of the second 1 at least. */
static void configure(size_t rows) {
    tile_shapes shapes = whole_tiles();
    const size_t first = rows < TILE_ROWS ? rows : TILE_ROWS,
                 second = rows > TILE_ROWS ? rows - TILE_ROWS : first;
    shapes.rows[0] = shapes.rows[1] = shapes.rows[4] = (uint8_t)first;
    shapes.rows[2] = shapes.rows[3] = shapes.rows[5] = (uint8_t)second;
    configure_tiles(&shapes);
}

/* Steps s0 … s1-1 of `rows` rows of x from i, at most ROWS, and two blocks from b, of which the second may be
 * missing. */
static void multiply_part(const product *p, size_t i, size_t rows, size_t b, size_t s0, size_t s1) {
    _Alignas(64) float waste[2][2][TILE_BYTES / sizeof(float)];
    const size_t blocks = (p->m + TILE_ROWS - 1) / TILE_ROWS, x_stride = p->steps * TILE_ROW_BYTES;
    const size_t row[2] = {i, rows > TILE_ROWS ? i + TILE_ROWS : i},
                 block[2] = {b, b + 1 < blocks ? b + 1 : b};
    pieces q = {.x_stride = x_stride};
    for (size_t r = 0; r < 2; r++) {
        q.x[r] = p->x + row[r] * x_stride + s0 * TILE_ROW_BYTES;
        q.w[r] = p->w + (block[r] * p->steps + s0) * TILE_BYTES;
        for (size_t c = 0; c < 2; c++) {
            const int wasted = (r > 0 && row[1] == i) || (c > 0 && block[1] == b);
            q.y[r][c] = wasted ? waste[r][c] : p->y + row[r] * p->ldy + block[c] * TILE_ROWS;
            q.ldy[r][c] = wasted ? TILE_ROW_BYTES : p->ldy * sizeof *p->y;
        }
    }
    multiply(&q, s1 - s0, s0 == 0);
}

/* Asks for part `part` of `parts` of the two blocks behind b: while these are multiplied they come nearer. */
static void ask(const product *p, size_t b, size_t part, size_t parts) {
    const size_t lines = 2 * p->steps * TILE_ROWS;
    const unsigned char *next = p->w + (b + 2) * p->steps * TILE_BYTES;
    for (size_t line = lines * part / parts; line < lines * (part + 1) / parts; line++)
        _mm_prefetch((const char *)next + line * TILE_ROW_BYTES, _MM_HINT_T1);
}

/* Rows i0 … i1-1 of x: whole ROWS, or fewer than that. */
static void multiply_rows(const product *p, size_t i0, size_t i1) {
    const size_t rows = i1 - i0 < ROWS ? i1 - i0 : ROWS, parts = (i1 - i0 + ROWS - 1) / ROWS;
    configure(rows);
    for (size_t b = 0; b * TILE_ROWS < p->m; b += 2)
        for (size_t s = 0; s < p->steps; s += CHUNK)
            for (size_t i = i0; i < i1; i += ROWS) {
                if (s == 0) ask(p, b, (i - i0) / ROWS, parts);
                multiply_part(p, i, rows, b, s, p->steps - s < CHUNK ? p->steps : s + CHUNK);
            }
}

void tn_amx_matmul_pairs(float *y, size_t ldy, const unsigned char *x, size_t n, const unsigned char *w,
                         size_t m, size_t k) {
    const product p = {y, ldy, x, w, m, (k + STEP - 1) / STEP};
    const size_t whole = n - n % ROWS;
    if (whole > 0) multiply_rows(&p, 0, whole);
    if (n > whole) multiply_rows(&p, whole, n);
    _tile_release();
}

#endif
