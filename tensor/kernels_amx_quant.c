/* The quantised products of the "amx" tier: TDPBSSD and TDPBSUD, 16 rows of x by 16 rows of w at once.
 *
 * Integers are exact and scales are applied in the order of kernels_x86_quant.h, so the bits are those of the
 * tiers with VNNI, which do what is left over here: rows of x that do not fill a tile, and decode.
 *
 * Rows of x are the rows of A as they lie; a block of w, whose 16 rows are interleaved four columns at a
 * time, is the B that the instruction wants. Two ways:
 *
 * Short groups. The offset of w is taken off beforehand, in a panel of CHUNK columns that stays in L1 for all
 * rows of x, so that a group costs no more than its products and, for each row of x, one multiply-add of 16
 * totals:
 *
 *     for each block, for each chunk
 *       unpack it
 *       for each 16 rows of x:  total [16, 16] += float(C) * (x scale * w scale)      for each group
 *
 * Long groups (8 bits). What is done once for a group costs next to nothing, so w is used as it is stored;
 * two blocks at a time, which stay in L1 while all rows of x pass by.
 */
#include "tensor/kernels_tier.h"

#if defined(__AMX_TILE__) && defined(__AMX_INT8__) && defined(__AVX512F__) && defined(__AVX512VNNI__)
#include "tensor/kernels_x86_512.h"
#include "tensor/kernels_x86_amx.h"

enum {
    STEP = 64,   /* columns of whole tiles; tiles 5 to 7 are half as deep, for a last TN_Q_PAD */
    CHUNK = 512, /* columns of a panel */
    SUMS = TILE_BYTES / (int)sizeof(int32_t)
};

typedef struct {
    float *y;
    size_t ldy;
    const tn_qrows *x;
    size_t n; /* rows of x: whole tiles */
    const unsigned char *data, *scales;
    size_t m, block_bytes, scale_bytes; /* columns of y; from one block to the next */
    int bits;
} product;

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static tile_shapes quant_tiles(void) {
    tile_shapes shapes = whole_tiles();
    shapes.row_bytes[5] = TN_Q_PAD;                 /* of x */
    shapes.rows[6] = shapes.rows[7] = TN_Q_PAD / 4; /* of w */
    return shapes;
}

/* The columns of y that belong to block b. */
static __mmask16 columns_of(const product *p, size_t b) {
    const size_t left = p->m - b * TN_Q_ROWS;
    return left >= TN_Q_ROWS ? (__mmask16)0xFFFF : (__mmask16)((1u << left) - 1);
}

/* total += float(sum) * (xs * ws) */
TN_INLINE floats scaled(floats total, ints sum, float xs, floats ws) {
    return multiply_add(to_floats(sum), multiply(all_floats(xs), ws), total);
}

/* ---- Short groups ---- */

/* panel [columns/4, 16, 4] = w of `columns` columns of a block, its offset taken off. */
static void unpack(int8_t *panel, int bits, const unsigned char *w, size_t columns) {
    const ints nibble = all_ints(0x0F0F0F0F), eight = _mm512_set1_epi8(8);
    for (size_t k = 0; k < columns; k += bits == 8 ? 4 : 8, w += 64) {
        const ints raw = load_bytes(w);
        if (bits == 8) {
            _mm512_storeu_si512(panel + k * 16, _mm512_xor_si512(raw, _mm512_set1_epi8(-128)));
            continue;
        }
        _mm512_storeu_si512(panel + k * 16, _mm512_sub_epi8(and_ints(raw, nibble), eight));
        _mm512_storeu_si512(panel + k * 16 + 64,
                            _mm512_sub_epi8(and_ints(shift_right_4(raw), nibble), eight));
    }
}

/* c [16, 16] = the products of `columns` columns of 16 rows of x and a panel. */
TN_INLINE void multiply_panel(int32_t *c, const int8_t *x, size_t ldx, const int8_t *panel, size_t columns) {
    _tile_zero(0);
    size_t k = 0;
    for (; k + STEP <= columns; k += STEP) {
        _tile_loadd(1, x + k, ldx);
        _tile_loadd(2, panel + k * 16, TILE_ROW_BYTES);
        _tile_dpbssd(0, 1, 2);
    }
    if (k < columns) {
        _tile_loadd(5, x + k, ldx);
        _tile_loadd(6, panel + k * 16, TILE_ROW_BYTES);
        _tile_dpbssd(0, 5, 6);
    }
    _tile_stored(0, c, TILE_ROW_BYTES);
}

/* 16 rows of x from i, groups g0 … g1-1 of block b, whose first column is that of the panel. */
static void add_groups(const product *p, size_t i, size_t b, size_t g0, size_t g1, const int8_t *panel) {
    const tn_qrows *x = p->x;
    const __mmask16 columns = columns_of(p, b);
    const unsigned char *scales = p->scales + b * p->scale_bytes;
    const float *xs = x->scale + i * x->groups;
    float *y = p->y + i * p->ldy + b * TN_Q_ROWS;
    _Alignas(64) int32_t c[SUMS];
    floats total[TILE_ROWS];
    TN_UNROLL for (int r = 0; r < TILE_ROWS; r++) {
        total[r] = g0 > 0 ? _mm512_maskz_loadu_ps(columns, y + (size_t)r * p->ldy) : all_floats(0);
    }
    for (size_t g = g0; g < g1; g++) {
        const size_t begin = g * x->group, end = min_size(begin + x->group, x->kpad);
        multiply_panel(c, x->q + i * x->kpad + begin, x->kpad, panel + (begin - g0 * x->group) * 16,
                       end - begin);
        const floats ws = load_bf16(scales + g * TN_Q_ROWS * 2);
        TN_UNROLL for (int r = 0; r < TILE_ROWS; r++) {
            total[r] = scaled(total[r], _mm512_load_si512(c + r * 16), xs[(size_t)r * x->groups + g], ws);
        }
    }
    TN_UNROLL for (int r = 0; r < TILE_ROWS; r++)
        _mm512_mask_storeu_ps(y + (size_t)r * p->ldy, columns, total[r]);
}

static void short_groups(const product *p) {
    const tn_qrows *x = p->x;
    const size_t step = CHUNK / x->group, column_bytes = 2 * (size_t)p->bits;
    int8_t panel[CHUNK * TN_Q_ROWS];
    for (size_t b = 0; b * TN_Q_ROWS < p->m; b++)
        for (size_t g = 0; g < x->groups; g += step) {
            const size_t g1 = min_size(g + step, x->groups), begin = g * x->group;
            unpack(panel, p->bits, p->data + b * p->block_bytes + begin * column_bytes,
                   min_size(g1 * x->group, x->kpad) - begin);
            for (size_t i = 0; i < p->n; i += TILE_ROWS) add_groups(p, i, b, g, g1, panel);
        }
}

/* ---- Long groups of 8 bits ---- */

/* c [blocks, 16, 16] = the products of `columns` columns of 16 rows of x and one or two blocks as they are
 * stored. */
static void multiply_stored(int32_t *c, const int8_t *x, size_t ldx, const unsigned char *w,
                            size_t block_bytes, size_t blocks, size_t columns) {
    /* (one block is multiplied twice rather than having a loop of its own) */
    const unsigned char *other = blocks > 1 ? w + block_bytes : w;
    _tile_zero(0);
    _tile_zero(1);
    size_t k = 0;
    for (; k + STEP <= columns; k += STEP) {
        _tile_loadd(2, x + k, ldx);
        _tile_loadd(3, w + k * 16, TILE_ROW_BYTES);
        _tile_loadd(4, other + k * 16, TILE_ROW_BYTES);
        _tile_dpbsud(0, 2, 3);
        _tile_dpbsud(1, 2, 4);
    }
    if (k < columns) {
        _tile_loadd(5, x + k, ldx);
        _tile_loadd(6, w + k * 16, TILE_ROW_BYTES);
        _tile_loadd(7, other + k * 16, TILE_ROW_BYTES);
        _tile_dpbsud(0, 5, 6);
        _tile_dpbsud(1, 5, 7);
    }
    _tile_stored(0, c, TILE_ROW_BYTES);
    _tile_stored(1, c + SUMS, TILE_ROW_BYTES);
}

/* Group g of 16 rows of x from i and `blocks` blocks from b. */
static void add_group(const product *p, size_t i, size_t b, size_t blocks, size_t g) {
    const tn_qrows *x = p->x;
    const size_t begin = g * x->group, columns = min_size(x->group, x->kpad - begin);
    _Alignas(64) int32_t c[2 * SUMS];
    multiply_stored(c, x->q + i * x->kpad + begin, x->kpad, p->data + b * p->block_bytes + begin * 16,
                    p->block_bytes, blocks, columns);
    for (size_t a = 0; a < blocks; a++) {
        const floats ws = load_bf16(p->scales + (b + a) * p->scale_bytes + g * TN_Q_ROWS * 2);
        const __mmask16 mask = columns_of(p, b + a);
        for (size_t r = 0; r < TILE_ROWS; r++) {
            const size_t at = (i + r) * x->groups + g;
            float *y = p->y + (i + r) * p->ldy + (b + a) * TN_Q_ROWS;
            const floats total = g > 0 ? _mm512_maskz_loadu_ps(mask, y) : all_floats(0);
            const ints sum =
                _mm512_sub_epi32(_mm512_load_si512(c + a * SUMS + r * 16), all_ints(128 * x->sum[at]));
            _mm512_mask_storeu_ps(y, mask, scaled(total, sum, x->scale[at], ws));
        }
    }
}

static void long_groups(const product *p) {
    const size_t blocks = (p->m + TN_Q_ROWS - 1) / TN_Q_ROWS;
    for (size_t b = 0; b < blocks; b += 2)
        for (size_t g = 0; g < p->x->groups; g++)
            for (size_t i = 0; i < p->n; i += TILE_ROWS) add_group(p, i, b, blocks - b > 1 ? 2 : 1, g);
}

/* ---- The product ---- */

typedef void (*matmul_fn)(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);

static void matmul(int bits, float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m,
                   matmul_fn few_rows) {
    const int is_short = x->group <= CHUNK;
    const size_t tiled = is_short || bits == 8 ? x->n - x->n % TILE_ROWS : 0;
    if (tiled > 0) {
        const size_t block_bytes = TN_Q_ROWS * x->kpad * (size_t)bits / 8,
                     scale_bytes = TN_Q_ROWS * x->groups * 2;
        const product p = {.y = y,
                           .ldy = ldy,
                           .x = x,
                           .n = tiled,
                           .data = (const unsigned char *)w->data + j0 / TN_Q_ROWS * block_bytes,
                           .scales = (const unsigned char *)w->scales + j0 / TN_Q_ROWS * scale_bytes,
                           .m = m,
                           .block_bytes = block_bytes,
                           .scale_bytes = scale_bytes,
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
    rest.sum += tiled * x->groups;
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
