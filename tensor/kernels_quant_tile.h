/* Products with quantised weights, the same for every instruction set: matmul_q8 and matmul_q4 of kernels.h.
 *
 * A tier's file includes, in this order,
 *     its registers              kernels_quant_256.h or _512.h     LANES sums of 32 bits each
 *     its tile and instruction   ROWS, BLOCKS, dot4_add
 *     one slab                   kernels_quant_vnni.h or _madd.h   32 columns of integer products
 *     this file                                                     groups, tiles, caches
 *
 * Weights lie so that one step reads four columns of the 16 rows of a block, PARTS registers, and each 32-bit
 * lane belongs to one row of weights, that is to one column of y:
 *
 *                    block 0          block 1          block 2      <- 16 rows of w each
 *          x row 0  [16 sums]        [16 sums]        [16 sums]
 *          x row 1  [16 sums]        [16 sums]        [16 sums]     a tile: ROWS x BLOCKS, one slab of
 *            …                                                      32 columns after the other
 *
 *     a group begins   sum = -offset * (sum of the group's x)       w is stored with offset 128 or 8 added
 *     its columns      sum += stored w * x                          integers, exact
 *     it ends          total += float(sum) * (x scale * w scale)    one rounding (FMA)
 *
 * No lane ever meets another, so nothing is folded, and an element of y has one order of additions - group by
 * group - whatever the tile, the number of rows or the cuts for the caches.
 *
 * Caches: BLOCKS blocks of about CHUNK columns are a panel that stays in L1 while all rows of x pass by. The
 * totals of a chunk wait in y for the next. One row of x alone reuses nothing: it takes the weights block by
 * block, from the first byte to the last, as fast as they come from memory.
 */
#ifndef TENSOR_KERNELS_QUANT_TILE_H
#define TENSOR_KERNELS_QUANT_TILE_H

enum { CHUNK = 256 };

typedef struct {
    float *y; /* [n, ldy] */
    size_t ldy;
    const tn_qrows *x;
    const unsigned char *data, *scales; /* of the first block */
    size_t block_bytes, scale_bytes;    /* from one block to the next */
} product;

/* Groups g0 … g1-1 of `rows` rows from i0 and `blocks` blocks from b0 (rows and blocks constant):
 * y[rows, blocks*16] = (g0 > 0 ? y : 0) + …, y with row stride ldy. */
TN_INLINE void tile(int bits, size_t rows, size_t blocks, const product *p, size_t i0, size_t b0, size_t g0,
                    size_t g1, float *y, size_t ldy) {
    const size_t regs = blocks * PARTS;
    const tn_qrows *x = p->x;
    const int8_t *xq = x->q + i0 * x->kpad;
    const unsigned char *data = p->data + b0 * p->block_bytes;
    const unsigned char *scales = p->scales + b0 * p->scale_bytes;
    floats total[ROWS * REGS];
    TN_UNROLL for (size_t t = 0; t < rows * regs; t++) total[t] = all_floats(0);
    if (g0 > 0) {
        TN_UNROLL for (size_t t = 0; t < rows * regs; t++) {
            total[t] = load_floats(y + t / regs * ldy + t % regs * LANES);
        }
    }
    for (size_t g = g0; g < g1; g++) {
        const size_t begin = g * x->group, end = begin + x->group < x->kpad ? begin + x->group : x->kpad;
        ints sum[ROWS * REGS];
        TN_UNROLL for (size_t i = 0; i < rows; i++) {
            const ints start = all_ints(-(x->sum[(i0 + i) * x->groups + g] * (bits == 8 ? 128 : 8)));
            TN_UNROLL for (size_t r = 0; r < regs; r++) sum[i * regs + r] = start;
        }
        for (size_t k = begin; k < end; k += TN_Q_PAD)
            slab(bits, sum, rows, blocks, xq + k, x->kpad, data + k * 2 * (size_t)bits, p->block_bytes);
        floats ws[REGS];
        TN_UNROLL for (size_t r = 0; r < regs; r++) {
            ws[r] = load_bf16(scales + r / PARTS * p->scale_bytes + g * 32 + r % PARTS * LANES * 2);
        }
        TN_UNROLL for (size_t i = 0; i < rows; i++) {
            const floats xs = all_floats(x->scale[(i0 + i) * x->groups + g]);
            TN_UNROLL for (size_t r = 0; r < regs; r++) {
                floats *t = &total[i * regs + r];
                *t = multiply_add(to_floats(sum[i * regs + r]), multiply(xs, ws[r]), *t);
            }
        }
    }
    TN_UNROLL for (size_t t = 0; t < rows * regs; t++) {
        store_floats(y + t / regs * ldy + t % regs * LANES, total[t]);
    }
}

/* The same for a tile of which only the first `cols` columns of y exist. */
TN_INLINE void edged_tile(int bits, size_t rows, size_t blocks, const product *p, size_t i0, size_t b0,
                          size_t g0, size_t g1, size_t cols) {
    float *y = p->y + i0 * p->ldy + b0 * TN_Q_ROWS;
    if (cols >= blocks * TN_Q_ROWS) {
        tile(bits, rows, blocks, p, i0, b0, g0, g1, y, p->ldy);
        return;
    }
    float whole[ROWS][BLOCKS * TN_Q_ROWS] = {{0}};
    for (size_t i = 0; i < rows; i++) memcpy(whole[i], y + i * p->ldy, cols * sizeof *y);
    tile(bits, rows, blocks, p, i0, b0, g0, g1, whole[0], BLOCKS * TN_Q_ROWS);
    for (size_t i = 0; i < rows; i++) memcpy(y + i * p->ldy, whole[i], cols * sizeof *y);
}

/* All n rows, groups g0 … g1-1, of a panel of `blocks` blocks (constant). */
TN_INLINE void panel(int bits, size_t blocks, const product *p, size_t b0, size_t g0, size_t g1,
                     size_t cols) {
    const size_t n = p->x->n;
    size_t i = 0;
    for (; i + ROWS <= n; i += ROWS) edged_tile(bits, ROWS, blocks, p, i, b0, g0, g1, cols);
    for (; i + 2 <= n; i += 2) edged_tile(bits, 2, blocks, p, i, b0, g0, g1, cols);
    for (; i < n; i++) edged_tile(bits, 1, blocks, p, i, b0, g0, g1, cols);
}

TN_INLINE void matmul(int bits, float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0,
                      size_t m) {
    const size_t block_bytes = TN_Q_ROWS * x->kpad * (size_t)bits / 8,
                 scale_bytes = TN_Q_ROWS * x->groups * 2;
    const size_t first = j0 / TN_Q_ROWS, blocks = (m + TN_Q_ROWS - 1) / TN_Q_ROWS;
    const product p = {.y = y,
                       .ldy = ldy,
                       .x = x,
                       .data = (const unsigned char *)w->data + first * block_bytes,
                       .scales = (const unsigned char *)w->scales + first * scale_bytes,
                       .block_bytes = block_bytes,
                       .scale_bytes = scale_bytes};
    const size_t step = x->n == 1 ? x->groups : x->group < CHUNK ? CHUNK / x->group : 1;
    const size_t wide = x->n == 1 ? 1 : BLOCKS;
    for (size_t b = 0; b < blocks;) {
        const size_t take = blocks - b >= wide ? wide : 1, cols = m - b * TN_Q_ROWS;
        for (size_t g = 0; g < x->groups; g += step) {
            const size_t upto = g + step < x->groups ? g + step : x->groups;
            if (take == BLOCKS)
                panel(bits, BLOCKS, &p, b, g, upto, cols);
            else
                panel(bits, 1, &p, b, g, upto, cols);
        }
        b += take;
    }
}

#endif
