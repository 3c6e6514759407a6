/* The quantised products of the "amx" tier: TDPBSSD and TDPBSUD, 16 rows of x by 16 rows of w at once.
 *
 * Integers are exact and scales are applied in the order of kernels_x86_quant.h, so the bits are those of the
 * tiers with VNNI, which do what is left over here: rows of x that do not fill a tile, and decode.
 *
 * Rows of x are the rows of A as they lie; a block of w, whose 16 rows are interleaved four columns at a
 * time, is the B that the instruction wants. Two ways:
 *
 * Short groups. The offset of w is taken off beforehand, and integers of 4 bits are multiplied with their
 * steps, in panels of CHUNK columns that stay in L1 for all rows of x, so that a group costs no more than its
 * products and, for each row of x, one multiply-add of 16 totals:
 *
 *     for each ROWS rows of x, for each BLOCKS blocks, for each chunk of them
 *       unpack the chunk
 *       for each 16 rows of x, which come from L2 once, for each block
 *         total [16, 16] += float(C) * (x scale * w scale)      for each group
 *
 * Long groups (8 bits). What is done once for a group costs next to nothing, so w is used as it is stored;
 * two blocks at a time, which stay in L1 while all rows of x pass by.
 */
#include "tensor/kernels_tier.h"

#ifdef TN_AMX
#include "tensor/kernels_x86_512.h"
#include "tensor/kernels_x86_amx.h"

enum {
    STEP = 64,   /* columns of whole tiles; tiles 6 and 7 are half as deep, for a last TN_Q_PAD */
    CHUNK = 512, /* columns of a panel */
    ROWS = 256,  /* of x that share it */
    BLOCKS = 4,  /* whose panels share the rows of x */
    LONG = 128,  /* columns of a group from which on 8 bits are used as they are stored */
    SUMS = TILE_BYTES / (int)sizeof(int32_t)
};

typedef struct {
    float *y;
    size_t ldy;
    const tn_qrows *x;
    size_t n; /* rows of x: whole tiles */
    const unsigned char *data, *scales;
    const int8_t *steps;                            /* with 4 bits */
    size_t m, block_bytes, scale_bytes, step_bytes; /* columns of y; from one block to the next */
    int bits;
} product;

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static tile_shapes quant_tiles(void) {
    tile_shapes shapes = whole_tiles();
    shapes.row_bytes[6] = TN_Q_PAD; /* of x */
    shapes.rows[7] = TN_Q_PAD / 4;  /* of w */
    return shapes;
}

/* The columns of y that belong to block b. */
static __mmask16 columns_of(const product *p, size_t b) {
    return first_lanes(p->m - b * TN_Q_ROWS);
}

/* total += float(sum) * (xs * ws) */
TN_INLINE floats scaled(floats total, ints sum, float xs, floats ws) {
    return multiply_add(to_floats(sum), multiply(all_floats(xs), ws), total);
}

/* Instructions name their tiles as constants; these choose among the four of the sums. Products are of tiles
 * 4 and 5, or of the half ones. */
TN_INLINE void clear(int t) {
    if (t == 0) _tile_zero(0);
    if (t == 1) _tile_zero(1);
    if (t == 2) _tile_zero(2);
    if (t == 3) _tile_zero(3);
}
TN_INLINE void add_products(int t, int half) {
    if (t == 0 && !half) _tile_dpbssd(0, 4, 5);
    if (t == 1 && !half) _tile_dpbssd(1, 4, 5);
    if (t == 2 && !half) _tile_dpbssd(2, 4, 5);
    if (t == 3 && !half) _tile_dpbssd(3, 4, 5);
    if (t == 0 && half) _tile_dpbssd(0, 6, 7);
    if (t == 1 && half) _tile_dpbssd(1, 6, 7);
    if (t == 2 && half) _tile_dpbssd(2, 6, 7);
    if (t == 3 && half) _tile_dpbssd(3, 6, 7);
}
TN_INLINE void store_sums(int t, int32_t *c) {
    if (t == 0) _tile_stored(0, c, TILE_ROW_BYTES);
    if (t == 1) _tile_stored(1, c, TILE_ROW_BYTES);
    if (t == 2) _tile_stored(2, c, TILE_ROW_BYTES);
    if (t == 3) _tile_stored(3, c, TILE_ROW_BYTES);
}

/* ---- Short groups ---- */

/* panel [columns/4, 16, 4] = w of `columns` columns of a block, its offset taken off. */
static void unpack8(int8_t *panel, const unsigned char *w, size_t columns) {
    for (size_t k = 0; k < columns; k += 4)
        _mm512_storeu_si512(panel + k * 16, _mm512_xor_si512(load_bytes(w + k * 16), _mm512_set1_epi8(-128)));
}

/* Two bytes of stored w, 0 … 15, at once to w * step, by one multiplication of 16 bits: nothing is carried,
 * as a byte times |step| is at most 15 * 15. For a negative step all is turned round, which is ~ and one
 * more:
 *
 *     step >= 0:   stored * |step| - 8 |step|        step < 0:   ~(stored * |step|) + 8 |step| + 1 */
TN_INLINE ints times_step(ints stored, ints size, ints turned, ints rest) {
    return _mm512_add_epi8(_mm512_xor_si512(_mm512_mullo_epi16(stored, size), turned), rest);
}

/* The same with w * step; steps [columns/32, 16]. */
static void unpack4(int8_t *panel, const unsigned char *w, const int8_t *steps, size_t columns) {
    const ints nibble = all_ints(0x0F0F0F0F);
    const ints low_byte_4_times =
        _mm512_broadcast_i32x4(_mm_set_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0));
    for (size_t k = 0; k < columns; k += TN_Q_PAD, steps += TN_Q_ROWS) {
        const ints step = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)steps));
        const ints size = both_halves(_mm512_abs_epi32(step)), turned = _mm512_srai_epi32(step, 31);
        const ints rest = _mm512_sub_epi32(_mm512_slli_epi32(step, 3), _mm512_abs_epi32(turned));
        const ints rests = _mm512_shuffle_epi8(_mm512_sub_epi32(all_ints(0), rest), low_byte_4_times);
        for (size_t i = k; i < k + TN_Q_PAD; i += 8) {
            const ints raw = load_bytes(w + i * 8);
            const ints low = and_ints(raw, nibble), high = and_ints(shift_right_4(raw), nibble);
            _mm512_storeu_si512(panel + i * 16, times_step(low, size, turned, rests));
            _mm512_storeu_si512(panel + i * 16 + 64, times_step(high, size, turned, rests));
        }
    }
}

/* Tile `t` (constant) of the four sums = the products of one group: `columns` columns of 16 rows of x and a
 * panel. */
TN_INLINE void multiply_panel(int t, const int8_t *x, size_t ldx, const int8_t *panel, size_t columns) {
    clear(t);
    size_t k = 0;
    for (; k + STEP <= columns; k += STEP) {
        _tile_loadd(4, x + k, ldx);
        _tile_loadd(5, panel + k * 16, TILE_ROW_BYTES);
        add_products(t, 0);
    }
    if (k < columns) {
        _tile_loadd(6, x + k, ldx);
        _tile_loadd(7, panel + k * 16, TILE_ROW_BYTES);
        add_products(t, 1);
    }
}

/* total [16 rows of x, 16 rows of w] += `count` groups (constant, at most 4) from g on; the panel is that of
 * group g. Several groups' tiles are under way before the first is needed. */
TN_INLINE void add_some_groups(floats *total, size_t count, const product *p, size_t i, size_t g,
                               const unsigned char *scales, const int8_t *panel) {
    const tn_qrows *x = p->x;
    const float *xs = x->scale + i * x->groups + g;
    _Alignas(64) int32_t c[4 * SUMS];
    floats ws[4];
    TN_UNROLL for (size_t a = 0; a < count; a++) {
        const size_t begin = (g + a) * x->group, end = min_size(begin + x->group, x->kpad);
        multiply_panel((int)a, x->q + i * x->kpad + begin, x->kpad, panel + a * x->group * 16, end - begin);
        ws[a] = load_bf16(scales + (g + a) * TN_Q_ROWS * 2);
    }
    TN_UNROLL for (size_t a = 0; a < count; a++) store_sums((int)a, c + a * SUMS);
    TN_UNROLL for (size_t r = 0; r < TILE_ROWS; r++) {
        TN_UNROLL for (size_t a = 0; a < count; a++) {
            total[r] =
                scaled(total[r], _mm512_load_si512(c + a * SUMS + r * 16), xs[r * x->groups + a], ws[a]);
        }
    }
}

/* 16 rows of x from i, groups g0 … g1-1 of block b, whose first column is that of the panel; totals [16, 16].
 */
static void add_groups(const product *p, floats *totals, size_t i, size_t b, size_t g0, size_t g1,
                       const int8_t *panel) {
    const unsigned char *scales = p->scales + b * p->scale_bytes;
    const size_t group_bytes = p->x->group * TN_Q_ROWS;
    floats total[TILE_ROWS];
    TN_UNROLL for (int r = 0; r < TILE_ROWS; r++) total[r] = g0 > 0 ? totals[r] : all_floats(0);
    size_t g = g0;
    for (; g + 4 <= g1; g += 4, panel += 4 * group_bytes) add_some_groups(total, 4, p, i, g, scales, panel);
    for (; g < g1; g++, panel += group_bytes) add_some_groups(total, 1, p, i, g, scales, panel);
    TN_UNROLL for (int r = 0; r < TILE_ROWS; r++) totals[r] = total[r];
}

/* Asks for the share of rows i … i+15 of n in `bytes` bytes of weights, those behind the present chunk: while
 * it is computed they come nearer. */
static void ask(const unsigned char *next, size_t bytes, size_t i, size_t n) {
    const size_t lines = bytes / TILE_ROW_BYTES;
    for (size_t line = lines * i / n; line < lines * (i + TILE_ROWS) / n; line++)
        _mm_prefetch((const char *)next + line * TILE_ROW_BYTES, _MM_HINT_T1);
}

/* The columns of a chunk of block b, from `begin` on, into its panel. */
static void unpack(int8_t *panel, const product *p, size_t b, size_t begin, size_t columns) {
    const unsigned char *w = p->data + b * p->block_bytes + begin * 2 * (size_t)p->bits;
    if (p->bits == 8)
        unpack8(panel, w, columns);
    else
        unpack4(panel, w, p->steps + b * p->step_bytes + begin / TN_Q_PAD * TN_Q_ROWS, columns);
}

/* Rows i0 … i1-1 of x, at most ROWS, and `blocks` blocks from b, at most BLOCKS. y is touched once: its rows
 * lie far apart. */
static void short_groups_of(const product *p, size_t i0, size_t i1, size_t b, size_t blocks) {
    const tn_qrows *x = p->x;
    const size_t step = CHUNK / x->group;
    _Alignas(64) int8_t panel[BLOCKS][CHUNK * TN_Q_ROWS];
    floats totals[BLOCKS][ROWS];
    for (size_t g = 0; g < x->groups; g += step) {
        const size_t g1 = min_size(g + step, x->groups), begin = g * x->group;
        const size_t end = min_size(g1 * x->group, x->kpad);
        const size_t bytes = (end - begin) * 2 * (size_t)p->bits;
        const size_t ahead = end < x->kpad ? end * 2 * (size_t)p->bits : blocks * p->block_bytes;
        for (size_t c = 0; c < blocks; c++) unpack(panel[c], p, b + c, begin, end - begin);
        for (size_t i = i0; i < i1; i += TILE_ROWS)
            for (size_t c = 0; c < blocks; c++) {
                ask(p->data + (b + c) * p->block_bytes + ahead, bytes, i - i0, i1 - i0);
                add_groups(p, totals[c] + (i - i0), i, b + c, g, g1, panel[c]);
            }
    }
    for (size_t c = 0; c < blocks; c++) {
        const __mmask16 mask = columns_of(p, b + c);
        for (size_t i = i0; i < i1; i++)
            _mm512_mask_storeu_ps(p->y + i * p->ldy + (b + c) * TN_Q_ROWS, mask, totals[c][i - i0]);
    }
}

static void short_groups(const product *p) {
    const size_t blocks = (p->m + TN_Q_ROWS - 1) / TN_Q_ROWS;
    for (size_t i = 0; i < p->n; i += ROWS)
        for (size_t b = 0; b < blocks; b += BLOCKS)
            short_groups_of(p, i, min_size(i + ROWS, p->n), b, min_size(BLOCKS, blocks - b));
}

/* ---- Long groups of 8 bits ---- */

/* c [2 times 16 rows of x, 2 blocks, 16, 16] = the products of `columns` columns of 32 rows of x and two
 * blocks as they are stored. Four sums are under way at once, since each has to wait for itself. */
static void multiply_four(int32_t *c, const int8_t *x, size_t ldx, const unsigned char *w, size_t block_bytes,
                          size_t columns) {
    const int8_t *x1 = x + TILE_ROWS * ldx;
    const unsigned char *w1 = w + block_bytes;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    size_t k = 0;
    for (; k + STEP <= columns; k += STEP) {
        _tile_loadd(4, x + k, ldx);
        _tile_loadd(5, w + k * 16, TILE_ROW_BYTES);
        _tile_dpbsud(0, 4, 5);
        _tile_loadd(4, x1 + k, ldx);
        _tile_dpbsud(2, 4, 5);
        _tile_loadd(5, w1 + k * 16, TILE_ROW_BYTES);
        _tile_dpbsud(3, 4, 5);
        _tile_loadd(4, x + k, ldx);
        _tile_dpbsud(1, 4, 5);
    }
    if (k < columns) {
        _tile_loadd(6, x + k, ldx);
        _tile_loadd(7, w + k * 16, TILE_ROW_BYTES);
        _tile_dpbsud(0, 6, 7);
        _tile_loadd(6, x1 + k, ldx);
        _tile_dpbsud(2, 6, 7);
        _tile_loadd(7, w1 + k * 16, TILE_ROW_BYTES);
        _tile_dpbsud(3, 6, 7);
        _tile_loadd(6, x + k, ldx);
        _tile_dpbsud(1, 6, 7);
    }
    for (int t = 0; t < 4; t++) store_sums(t, c + t * SUMS);
}

/* c [16, 16] = the same of 16 rows and one block. */
static void multiply_one(int32_t *c, const int8_t *x, size_t ldx, const unsigned char *w, size_t columns) {
    _tile_zero(0);
    size_t k = 0;
    for (; k + STEP <= columns; k += STEP) {
        _tile_loadd(4, x + k, ldx);
        _tile_loadd(5, w + k * 16, TILE_ROW_BYTES);
        _tile_dpbsud(0, 4, 5);
    }
    if (k < columns) {
        _tile_loadd(6, x + k, ldx);
        _tile_loadd(7, w + k * 16, TILE_ROW_BYTES);
        _tile_dpbsud(0, 6, 7);
    }
    _tile_stored(0, c, TILE_ROW_BYTES);
}

/* y of 16 rows of x from i and block b += the sums c [16, 16] of group g, less 128 sum_of_x [16]. */
static void add_sums(const product *p, const int32_t *c, const int32_t *sum_of_x, size_t i, size_t b,
                     size_t g) {
    const tn_qrows *x = p->x;
    const floats ws = load_bf16(p->scales + b * p->scale_bytes + g * TN_Q_ROWS * 2);
    const __mmask16 mask = columns_of(p, b);
    for (size_t r = 0; r < TILE_ROWS; r++) {
        const size_t at = (i + r) * x->groups + g;
        float *y = p->y + (i + r) * p->ldy + b * TN_Q_ROWS;
        const floats total = g > 0 ? _mm512_maskz_loadu_ps(mask, y) : all_floats(0);
        const ints sum = _mm512_sub_epi32(_mm512_load_si512(c + r * 16), all_ints(128 * sum_of_x[r]));
        _mm512_mask_storeu_ps(y, mask, scaled(total, sum, x->scale[at], ws));
    }
}

/* Group g of `rows` tiles of 16 rows of x from i and `blocks` blocks from b, both 1 or 2. */
static void add_group(const product *p, size_t i, size_t rows, size_t b, size_t blocks, size_t g) {
    const tn_qrows *x = p->x;
    const size_t begin = g * x->group, columns = min_size(x->group, x->kpad - begin);
    const int8_t *xq = x->q + i * x->kpad + begin;
    const unsigned char *w = p->data + b * p->block_bytes + begin * TN_Q_ROWS;
    _Alignas(64) int32_t c[4 * SUMS];
    int32_t sum_of_x[2 * TILE_ROWS];
    for (size_t r = 0; r < rows * TILE_ROWS; r++) sum_of_x[r] = tn_q_sum(x, i + r, begin, begin + columns);
    if (rows == 2 && blocks == 2) multiply_four(c, xq, x->kpad, w, p->block_bytes, columns);
    for (size_t r = 0; r < rows; r++)
        for (size_t a = 0; a < blocks; a++) {
            int32_t *sums = c + (2 * r + a) * SUMS;
            if (rows + blocks < 4)
                multiply_one(sums, xq + r * TILE_ROWS * x->kpad, x->kpad, w + a * p->block_bytes, columns);
            add_sums(p, sums, sum_of_x + r * TILE_ROWS, i + r * TILE_ROWS, b + a, g);
        }
}

static void long_groups(const product *p) {
    const size_t blocks = (p->m + TN_Q_ROWS - 1) / TN_Q_ROWS;
    for (size_t b = 0; b < blocks; b += 2)
        for (size_t g = 0; g < p->x->groups; g++)
            for (size_t i = 0; i < p->n; i += 2 * TILE_ROWS)
                add_group(p, i, p->n - i > TILE_ROWS ? 2 : 1, b, blocks - b > 1 ? 2 : 1, g);
}

/* ---- The product ---- */

typedef void (*matmul_fn)(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);

static void matmul(int bits, float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m,
                   matmul_fn few_rows) {
    const int is_short = x->group <= (bits == 8 ? LONG : CHUNK);
    const size_t tiled = is_short || bits == 8 ? x->n - x->n % TILE_ROWS : 0;
    if (tiled > 0) {
        const size_t block_bytes = TN_Q_ROWS * x->kpad * (size_t)bits / 8,
                     scale_bytes = TN_Q_ROWS * x->groups * 2, step_bytes = TN_Q_ROWS * (x->kpad / TN_Q_PAD);
        const product p = {.y = y,
                           .ldy = ldy,
                           .x = x,
                           .n = tiled,
                           .data = (const unsigned char *)w->data + j0 / TN_Q_ROWS * block_bytes,
                           .scales = (const unsigned char *)w->scales + j0 / TN_Q_ROWS * scale_bytes,
                           .steps = bits == 4 ? (const int8_t *)w->steps + j0 / TN_Q_ROWS * step_bytes : NULL,
                           .m = m,
                           .block_bytes = block_bytes,
                           .scale_bytes = scale_bytes,
                           .step_bytes = step_bytes,
                           .bits = bits};
        const tile_shapes shapes = quant_tiles();
        configure_tiles(&shapes);
        if (is_short)
            short_groups(&p);
        else
            long_groups(&p);
        _tile_release();
    }
    tn_qrows rest = *x;
    rest.q += tiled * x->kpad;
    rest.scale += tiled * x->groups;
    rest.sum += tiled * (x->kpad / TN_Q_PAD);
    rest.n -= tiled;
    if (rest.n > 0) few_rows(y + tiled * ldy, ldy, &rest, w, j0, m);
}

void tn_amx_matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(8, y, ldy, x, w, j0, m, tn_avx512vnni_matmul_q8);
}

void tn_amx_matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(4, y, ldy, x, w, j0, m, tn_avx512vnni_matmul_q4);
}

#endif
