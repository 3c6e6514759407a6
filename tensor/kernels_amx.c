/* Products with BF16 weights in tiles of AMX, without rounding the activations.
 *
 * The instruction TDPBF16PS takes BF16 only, but does 16 times the multiply-adds of F32. An F32 has 24 bits
 * of mantissa and a BF16 has 8, so every activation is three of them, exactly:
 *
 *     x = a + b + c      a: its upper 8 bits, b: the next 8, c: the last 8
 *
 * Their products with a weight are exact in F32, so only the additions round, as in the other tiers, and
 * y = sum a w + (sum b w + sum c w). That is three times the work, at 16 times the speed.
 *
 * Weights are the rows of A, straight from where they are stored. The parts of activations are columns of B,
 * each summed on its own, so a row of x has the same bits however many there are:
 *
 *     up to 5 rows (decode)              more: groups of 16
 *
 *     one tile of columns                three tiles of columns
 *     [a0 … a4 b0 … b4 c0 … c4]          [a0 … a15] [b0 … b15] [c0 … c15]
 *
 * Numbers below 2^-126 count as zero, in results too: that is how the instruction is defined.
 */
#include "tensor/kernels_tier.h"

#ifdef TN_AMX /* compilers do not agree on names of their own for this */
#include "tensor/kernels_x86_amx.h"

#include <math.h>

enum {
    DEPTH = TN_SPLIT_COLS,  /* columns of w that one tile holds: a step */
    PARTS = TN_SPLIT_PARTS, /* of a number */
    GROUP = TN_SPLIT_GROUP, /* rows of x */
    NARROW = 5,             /* rows whose parts fit into one tile of columns */
    BLOCKS = 2,             /* 16 rows of w each, computed at once */
    MOST_SUMS = BLOCKS * PARTS * TILE_BYTES / (int)sizeof(float), /* of BLOCKS blocks and one group */
    CHUNK_STEPS = 28,  /* of what BLOCKS blocks of w share with a group: 56 KB of w, 84 KB of x */
    GROUPS_AT_ONCE = 8 /* whose chunks stay in L2 while all rows of w pass by */
};

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t steps_of(size_t k) {
    return (k + DEPTH - 1) / DEPTH;
}

/* ---- Activations: three parts, laid out as tiles ---- */

/* Bytes of x's parts for one step: one tile for up to NARROW rows, or three for each group of 16 rows. */
static size_t step_bytes(size_t n) {
    return n <= NARROW ? TILE_BYTES : PARTS * TILE_BYTES;
}

/* The bytes of x's group g: [steps, tiles, 16 pairs of columns, 16, 2] BF16. */
static unsigned char *group_of(const tn_split *x, size_t g) {
    return x->tiles + g * steps_of(x->k) * step_bytes(x->n);
}

/* What the upper half leaves of x; nothing of an infinity. */
TN_INLINE __m512 remainder_of(__m512 x) {
    const __m512 upper =
        _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32((int32_t)0xFFFF0000)));
    const __mmask16 finite = _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(INFINITY), _CMP_NEQ_UQ);
    return _mm512_maskz_sub_ps(finite, x, upper);
}

/* parts[p] = part p of 32 columns of a row, of which `left` exist. */
TN_INLINE void split_row(__m512i parts[PARTS], const float *x, size_t left) {
    __m512 first = _mm512_maskz_loadu_ps(first_lanes(left), x), second = _mm512_setzero_ps();
    if (left > 16) second = _mm512_maskz_loadu_ps(first_lanes(left - 16), x + 16);
    for (int p = 0; p < PARTS; p++) {
        parts[p] = upper_halves(first, second);
        first = remainder_of(first);
        second = remainder_of(second);
    }
}

/* One tile: lane i of its row j is lane j of columns[i]. */
static void store_tile(unsigned char *tile, const __m512i columns[16]) {
    __m512i r[16];
    TN_UNROLL for (int i = 0; i < 16; i++) r[i] = columns[i];
    transpose16(r);
    TN_UNROLL for (int i = 0; i < 16; i++) _mm512_storeu_si512(tile + i * TILE_ROW_BYTES, r[i]);
}

void tn_amx_split(const tn_split *x, const float *rows, size_t ldx, size_t g) {
    const size_t first = g * GROUP, n = min_size(x->n - first, GROUP);
    unsigned char *to = group_of(x, g);
    __m512i tiles[PARTS][16] = {{_mm512_setzero_si512()}}, parts[PARTS];
    rows += first * ldx;
    for (size_t k = 0; k < x->k; k += DEPTH) {
        for (size_t i = 0; i < n; i++) {
            split_row(parts, rows + i * ldx + k, x->k - k);
            for (size_t p = 0; p < PARTS; p++) {
                if (x->n <= NARROW)
                    tiles[0][p * n + i] = parts[p];
                else
                    tiles[p][i] = parts[p];
            }
        }
        for (size_t t = 0; t < (x->n <= NARROW ? 1 : PARTS); t++, to += TILE_BYTES) store_tile(to, tiles[t]);
    }
}

/* Rows of w that are needed soon. While a step computes it asks for their part of the same step, so that
 * memory works all the time and never more than a few lines at once. */
typedef struct {
    const unsigned char *w;
    size_t rows;
} rows_ahead;

TN_INLINE void ask(rows_ahead ahead, size_t stride, size_t step) {
    for (size_t r = 0; r < ahead.rows; r++)
        _mm_prefetch((const char *)ahead.w + r * stride + step * TILE_ROW_BYTES, _MM_HINT_T1);
}

/* ---- Sums of `steps` steps: c [blocks, tiles of x, 16 rows of w, 16 columns] += w * x ----
 *
 * w: of the first row and step, rows `stride` bytes apart; x: tile after tile; `fresh`: c begins at 0. Tiles
 * of the sums first, then one for w and one for x: the processor renames them, so each can be loaded anew at
 * once. */
typedef void (*sums_fn)(float *c, const unsigned char *w, size_t stride, const unsigned char *x, size_t steps,
                        int fresh, rows_ahead ahead);

static void sums_narrow_1(float *c, const unsigned char *w, size_t stride, const unsigned char *x,
                          size_t steps, int fresh, rows_ahead ahead) {
    _tile_zero(0);
    if (!fresh) _tile_loadd(0, c, TILE_ROW_BYTES);
    for (size_t s = 0; s < steps; s++, w += TILE_ROW_BYTES, x += TILE_BYTES) {
        ask(ahead, stride, s);
        _tile_loadd(6, w, stride);
        _tile_loadd(7, x, TILE_ROW_BYTES);
        _tile_dpbf16ps(0, 6, 7);
    }
    _tile_stored(0, c, TILE_ROW_BYTES);
}

static void sums_narrow_2(float *c, const unsigned char *w, size_t stride, const unsigned char *x,
                          size_t steps, int fresh, rows_ahead ahead) {
    float *c1 = c + 256;
    _tile_zero(0);
    _tile_zero(1);
    if (!fresh) {
        _tile_loadd(0, c, TILE_ROW_BYTES);
        _tile_loadd(1, c1, TILE_ROW_BYTES);
    }
    for (size_t s = 0; s < steps; s++, w += TILE_ROW_BYTES, x += TILE_BYTES) {
        ask(ahead, stride, s);
        _tile_loadd(7, x, TILE_ROW_BYTES);
        _tile_loadd(5, w, stride);
        _tile_loadd(6, w + TILE_ROWS * stride, stride);
        _tile_dpbf16ps(0, 5, 7);
        _tile_dpbf16ps(1, 6, 7);
    }
    _tile_stored(0, c, TILE_ROW_BYTES);
    _tile_stored(1, c1, TILE_ROW_BYTES);
}

static void sums_wide_1(float *c, const unsigned char *w, size_t stride, const unsigned char *x, size_t steps,
                        int fresh, rows_ahead ahead) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    if (!fresh) {
        _tile_loadd(0, c, TILE_ROW_BYTES);
        _tile_loadd(1, c + 256, TILE_ROW_BYTES);
        _tile_loadd(2, c + 512, TILE_ROW_BYTES);
    }
    for (size_t s = 0; s < steps; s++, w += TILE_ROW_BYTES, x += PARTS * TILE_BYTES) {
        ask(ahead, stride, s);
        _tile_loadd(6, w, stride);
        _tile_loadd(7, x, TILE_ROW_BYTES);
        _tile_dpbf16ps(0, 6, 7);
        _tile_loadd(7, x + TILE_BYTES, TILE_ROW_BYTES);
        _tile_dpbf16ps(1, 6, 7);
        _tile_loadd(7, x + 2 * TILE_BYTES, TILE_ROW_BYTES);
        _tile_dpbf16ps(2, 6, 7);
    }
    _tile_stored(0, c, TILE_ROW_BYTES);
    _tile_stored(1, c + 256, TILE_ROW_BYTES);
    _tile_stored(2, c + 512, TILE_ROW_BYTES);
}

static void sums_wide_2(float *c, const unsigned char *w, size_t stride, const unsigned char *x, size_t steps,
                        int fresh, rows_ahead ahead) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    if (!fresh) {
        _tile_loadd(0, c, TILE_ROW_BYTES);
        _tile_loadd(1, c + 256, TILE_ROW_BYTES);
        _tile_loadd(2, c + 512, TILE_ROW_BYTES);
        _tile_loadd(3, c + 768, TILE_ROW_BYTES);
        _tile_loadd(4, c + 1024, TILE_ROW_BYTES);
        _tile_loadd(5, c + 1280, TILE_ROW_BYTES);
    }
    for (size_t s = 0; s < steps; s++, w += TILE_ROW_BYTES, x += PARTS * TILE_BYTES) {
        ask(ahead, stride, s);
        _tile_loadd(6, w, stride);
        _tile_loadd(7, x, TILE_ROW_BYTES);
        _tile_dpbf16ps(0, 6, 7);
        _tile_loadd(7, x + TILE_BYTES, TILE_ROW_BYTES);
        _tile_dpbf16ps(1, 6, 7);
        _tile_loadd(7, x + 2 * TILE_BYTES, TILE_ROW_BYTES);
        _tile_dpbf16ps(2, 6, 7);
        _tile_loadd(6, w + TILE_ROWS * stride, stride);
        _tile_dpbf16ps(5, 6, 7);
        _tile_loadd(7, x, TILE_ROW_BYTES);
        _tile_dpbf16ps(3, 6, 7);
        _tile_loadd(7, x + TILE_BYTES, TILE_ROW_BYTES);
        _tile_dpbf16ps(4, 6, 7);
    }
    _tile_stored(0, c, TILE_ROW_BYTES);
    _tile_stored(1, c + 256, TILE_ROW_BYTES);
    _tile_stored(2, c + 512, TILE_ROW_BYTES);
    _tile_stored(3, c + 768, TILE_ROW_BYTES);
    _tile_stored(4, c + 1024, TILE_ROW_BYTES);
    _tile_stored(5, c + 1280, TILE_ROW_BYTES);
}

/* ---- The product ---- */

typedef struct {
    float *y;
    size_t ldy;
    const tn_split *x;
    const unsigned char *w; /* BF16 */
    size_t row_bytes;       /* from one row of w to the next */
    size_t m;
} product;

/* Steps s0 … s1-1 of rows j … j + 16*blocks - 1 of w, of which m exist, and of group g of x. Where the step
 * or the rows are not whole they are copied to a tile of their own with zeros around. */
static void add_steps(float *c, const product *p, sums_fn sums, size_t blocks, size_t j, size_t g, size_t s0,
                      size_t s1, rows_ahead ahead) {
    const size_t rows = min_size(p->m - j, blocks * TILE_ROWS), k = p->x->k, step = step_bytes(p->x->n);
    const unsigned char *w = p->w + j * p->row_bytes, *x = group_of(p->x, g);
    size_t whole = rows < blocks * TILE_ROWS ? s0 : min_size(s1, k / DEPTH);
    if (whole < s0) whole = s0;
    if (whole > s0) sums(c, w + s0 * TILE_ROW_BYTES, p->row_bytes, x + s0 * step, whole - s0, s0 == 0, ahead);
    const rows_ahead nothing = {NULL, 0};
    for (size_t s = whole; s < s1; s++) {
        _Alignas(64) unsigned char edge[BLOCKS * TILE_BYTES] = {0};
        const size_t bytes = min_size(k - s * DEPTH, DEPTH) * 2;
        for (size_t r = 0; r < rows; r++)
            memcpy(edge + r * TILE_ROW_BYTES, w + r * p->row_bytes + s * TILE_ROW_BYTES, bytes);
        sums(c, edge, TILE_ROW_BYTES, x + s * step, 1, s == 0, nothing);
    }
}

/* y of 16 rows of w from j and one group of x, from the sums [tiles of x, 16, 16] of its parts. */
static void finish(const product *p, const float *c, size_t j, size_t g) {
    const size_t first = g * GROUP, n = min_size(p->x->n - first, GROUP);
    const __mmask16 rows = first_lanes(p->m - j);
    float *y = p->y + first * p->ldy + j;
    __m512i r[16];
    if (p->x->n <= NARROW) {
        TN_UNROLL for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_si512(c + i * 16);
        transpose16(r);
        for (size_t i = 0; i < n; i++) {
            const __m512 lower =
                _mm512_add_ps(_mm512_castsi512_ps(r[n + i]), _mm512_castsi512_ps(r[2 * n + i]));
            _mm512_mask_storeu_ps(y + i * p->ldy, rows, _mm512_add_ps(_mm512_castsi512_ps(r[i]), lower));
        }
        return;
    }
    TN_UNROLL for (int i = 0; i < 16; i++) {
        const __m512 lower =
            _mm512_add_ps(_mm512_loadu_ps(c + 256 + i * 16), _mm512_loadu_ps(c + 512 + i * 16));
        r[i] = _mm512_castps_si512(_mm512_add_ps(_mm512_loadu_ps(c + i * 16), lower));
    }
    transpose16(r);
    for (size_t i = 0; i < n; i++) _mm512_mask_storeu_ps(y + i * p->ldy, rows, _mm512_castsi512_ps(r[i]));
}

/* How many blocks begin at row j: two as long as they are whole. */
static size_t blocks_at(const product *p, size_t j) {
    return p->m - j >= BLOCKS * TILE_ROWS ? BLOCKS : 1;
}

/* Part `part` of `parts` of the next rows of w, from row j and step s0 on. */
static rows_ahead next_rows(const product *p, size_t j, size_t s0, size_t part, size_t parts) {
    const size_t rows = j < p->m ? min_size(p->m - j, BLOCKS * TILE_ROWS) : 0, first = rows * part / parts;
    const rows_ahead ahead = {p->w + (j + first) * p->row_bytes + s0 * TILE_ROW_BYTES,
                              rows * (part + 1) / parts - first};
    return ahead;
}

static void narrow(const product *p) {
    _Alignas(64) float c[BLOCKS * TILE_BYTES / sizeof(float)];
    const size_t steps = steps_of(p->x->k);
    const rows_ahead first = next_rows(p, 0, 0, 0, 1); /* nobody has asked for these yet */
    for (size_t s = 0; s < steps; s++) ask(first, p->row_bytes, s);
    for (size_t j = 0, blocks; j < p->m; j += blocks * TILE_ROWS) {
        blocks = blocks_at(p, j);
        add_steps(c, p, blocks == BLOCKS ? sums_narrow_2 : sums_narrow_1, blocks, j, 0, 0, steps,
                  next_rows(p, j + blocks * TILE_ROWS, 0, 0, 1));
        for (size_t b = 0; b < blocks; b++) finish(p, c + b * 256, j + b * TILE_ROWS, 0);
    }
}

/* Rows j0 … j1-1 of w, groups g0 … g1-1 of x. Sums that take more than one chunk are parked in room,
 * MOST_SUMS for each pair of blocks and group. */
static void wide_part(const product *p, size_t j0, size_t j1, size_t g0, size_t g1, size_t chunk,
                      float *room) {
    const size_t steps = steps_of(p->x->k), groups = g1 - g0;
    _Alignas(64) float local[MOST_SUMS];
    for (size_t s0 = 0; s0 < steps; s0 += chunk) {
        const size_t s1 = min_size(s0 + chunk, steps);
        float *parked = room;
        for (size_t j = j0, blocks; j < j1; j += blocks * TILE_ROWS) {
            blocks = blocks_at(p, j);
            for (size_t g = g0; g < g1; g++) {
                float *c = chunk < steps ? parked : local;
                add_steps(c, p, blocks == BLOCKS ? sums_wide_2 : sums_wide_1, blocks, j, g, s0, s1,
                          next_rows(p, j + blocks * TILE_ROWS, s0, g - g0, groups));
                if (s1 == steps)
                    for (size_t b = 0; b < blocks; b++) finish(p, c + b * PARTS * 256, j + b * TILE_ROWS, g);
                if (chunk < steps) parked += MOST_SUMS;
            }
        }
    }
}

static void wide(const product *p, float *room) {
    const size_t steps = steps_of(p->x->k), groups = (p->x->n + GROUP - 1) / GROUP;
    const size_t chunks = room ? (steps + CHUNK_STEPS - 1) / CHUNK_STEPS : 1;
    const size_t chunk = chunks > 0 ? (steps + chunks - 1) / chunks : 1;
    for (size_t g = 0; g < groups; g += GROUPS_AT_ONCE) {
        const size_t g1 = min_size(g + GROUPS_AT_ONCE, groups);
        /* as many rows of w as have room for their sums */
        const size_t rows = chunks > 1 ? TN_MATMUL_ROOM / MOST_SUMS / (g1 - g) * BLOCKS * TILE_ROWS : p->m;
        for (size_t j = 0; j < p->m; j += rows) wide_part(p, j, min_size(j + rows, p->m), g, g1, chunk, room);
    }
}

void tn_amx_matmul_split(float *y, size_t ldy, const tn_split *x, const void *w, size_t ldw, size_t m,
                         float *room) {
    const product p = {y, ldy, x, w, ldw * 2, m};
    const tile_shapes shapes = whole_tiles();
    configure_tiles(&shapes);
    if (x->n <= NARROW)
        narrow(&p);
    else
        wide(&p, room);
    _tile_release();
}

/* Four products that do not wait for each other, as the instruction's latency asks for. */
void tn_amx_tile_rounds(size_t rounds) {
    static const uint8_t zeros[TILE_BYTES];
    const tile_shapes shapes = whole_tiles();
    configure_tiles(&shapes);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, zeros, TILE_ROW_BYTES);
    _tile_loadd(5, zeros, TILE_ROW_BYTES);
    for (size_t r = 0; r < rounds; r++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_release();
}

#endif
