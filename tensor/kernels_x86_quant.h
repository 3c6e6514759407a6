/* Products with quantised weights, the same for every x86 instruction set: matmul_q8 and matmul_q4 of
 * kernels.h.
 *
 * A tier's file includes, in this order,
 *     its registers               kernels_x86_256.h or _512.h     LANES sums of 32 bits each
 *     its tile and instruction    ROWS, BLOCKS, PARTS, dot4_add
 *     one slab                    kernels_x86_vnni.h or _madd.h   32 columns of integer products
 *     this file                                                   groups, tiles, caches
 *
 * Weights lie so that one step reads four columns of the 16 rows of a block, PARTS registers, and each 32-bit
 * lane belongs to one row of weights, that is to one column of y:
 *
 *                    block 0          block 1          block 2      <- 16 rows of w each
 *          x row 0  [16 sums]        [16 sums]        [16 sums]
 *          x row 1  [16 sums]        [16 sums]        [16 sums]     a tile: ROWS x BLOCKS, one slab of
 *            …                                                      32 columns after the other
 *
 *     a group begins   sum = -128 * (sum of the group's x)          w is stored with 128 added
 *     its columns      sum += stored w * x                          integers, exact
 *     it ends          total += float(sum) * (x scale * w scale)    one rounding (FMA)
 *
 * With 4 bits the offset, 8, is taken off from each slab, whose sum is multiplied with its step and added to
 * the group's.
 *
 * No lane ever meets another, so nothing is folded, and an element of y has one order of additions - group by
 * group - whatever the tile, the number of rows or the cuts for the caches.
 *
 * Caches. A chunk is BLOCKS blocks of CHUNK columns, or of one group if that is longer: it stays in the
 * second cache while all rows of x pass by, and its totals wait in y for the next chunk.
 *
 *     blocks      columns 0 … CHUNK-1   CHUNK … 2 CHUNK-1
 *     0, 1, 2     chunk 0               chunk 1              …
 *     3, 4, 5     chunk c               chunk c+1            …
 *
 * While the tiles of one chunk compute they ask for the weights of the next, each for its share, so that
 * memory works all the time: with one row of x or a few that decides.
 */
#ifndef TENSOR_KERNELS_X86_QUANT_H
#define TENSOR_KERNELS_X86_QUANT_H

#include <string.h>

enum { CHUNK = 1024, LINE = 64 };

typedef struct {
    float *y; /* [n, ldy] */
    size_t ldy;
    const tn_qrows *x;
    const unsigned char *data, *scales; /* of the first block */
    const int8_t *steps;
    size_t blocks, cols;                         /* cols: of y, at most 16 a block */
    size_t block_bytes, scale_bytes, step_bytes; /* from one block to the next */
} product;

/* Groups g0 … g1-1 of some blocks from b0. */
typedef struct {
    size_t b0, g0, g1;
    size_t ahead; /* bytes from each block's weights to those the next chunk begins with */
    size_t tiles; /* that share the asking */
} chunk;

/* Asks for one block's slab, `bits` lines. */
TN_INLINE void prefetch(int bits, const unsigned char *slab_begin) {
    TN_UNROLL for (int line = 0; line < bits; line++) __builtin_prefetch(slab_begin + line * LINE, 0, 2);
}

/* `rows` rows from i0 and `blocks` blocks of a chunk (rows and blocks constant):
 * y[rows, blocks*16] = (g0 > 0 ? y : 0) + …, y with row stride ldy. */
TN_INLINE void tile(int bits, size_t rows, size_t blocks, const product *p, const chunk *c, size_t i0,
                    float *y, size_t ldy) {
    const size_t regs = blocks * PARTS;
    const tn_qrows *x = p->x;
    const unsigned char *data = p->data + c->b0 * p->block_bytes;
    const unsigned char *scales = p->scales + c->b0 * p->scale_bytes;
    const int8_t *steps = bits == 4 ? p->steps + c->b0 * p->step_bytes : NULL;
    floats total[ROWS * REGS];
    TN_UNROLL for (size_t t = 0; t < rows * regs; t++) total[t] = all_floats(0);
    if (c->g0 > 0) {
        TN_UNROLL for (size_t t = 0; t < rows * regs; t++) {
            total[t] = load_floats(y + t / regs * ldy + t % regs * LANES);
        }
    }
    size_t until_turn = i0 / ROWS; /* slabs until it is this tile's turn to ask for one */
    for (size_t g = c->g0; g < c->g1; g++) {
        const size_t begin = g * x->group, end = begin + x->group < x->kpad ? begin + x->group : x->kpad;
        ints sum[ROWS * REGS];
        TN_UNROLL for (size_t i = 0; i < rows; i++) {
            const ints start = all_ints(bits == 8 ? -128 * tn_q_sum(x, i0 + i, begin, end) : 0);
            TN_UNROLL for (size_t r = 0; r < regs; r++) sum[i * regs + r] = start;
        }
        for (size_t k = begin; k < end; k += TN_Q_PAD) {
            const unsigned char *w = data + k * 2 * (size_t)bits;
            if (until_turn-- == 0) {
                TN_UNROLL for (size_t b = 0; b < blocks; b++)
                    prefetch(bits, w + b * p->block_bytes + c->ahead);
                until_turn = c->tiles - 1;
            }
            const tn_slab xk = tn_slab_at(x, i0, k);
            if (bits == 8)
                slab8(sum, rows, blocks, &xk, w, p->block_bytes);
            else
                slab4(sum, rows, blocks, &xk, w, p->block_bytes, steps + k / TN_Q_PAD * TN_Q_ROWS,
                      p->step_bytes);
        }
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

/* The same, into p->y. */
TN_INLINE void tile_of_y(int bits, size_t rows, size_t blocks, const product *p, const chunk *c, size_t i0) {
    const size_t width = blocks * TN_Q_ROWS, left = p->cols - c->b0 * TN_Q_ROWS;
    float *y = p->y + i0 * p->ldy + c->b0 * TN_Q_ROWS;
    if (left >= width) {
        tile(bits, rows, blocks, p, c, i0, y, p->ldy);
        return;
    }
    float whole[ROWS * BLOCKS * TN_Q_ROWS] = {0}; /* y ends before the block does */
    for (size_t i = 0; i < rows; i++) memcpy(whole + i * width, y + i * p->ldy, left * sizeof *y);
    tile(bits, rows, blocks, p, c, i0, whole, width);
    for (size_t i = 0; i < rows; i++) memcpy(y + i * p->ldy, whole + i * width, left * sizeof *y);
}

/* A chunk of `blocks` blocks (constant) for all rows of x. */
TN_INLINE void all_rows(int bits, size_t blocks, const product *p, const chunk *c) {
    const size_t n = p->x->n;
    size_t i = 0;
    for (; i + ROWS <= n; i += ROWS) tile_of_y(bits, ROWS, blocks, p, c, i);
    for (; i + 2 <= n; i += 2) tile_of_y(bits, 2, blocks, p, c, i);
    for (; i < n; i++) tile_of_y(bits, 1, blocks, p, c, i);
}

/* All chunks of `blocks` blocks (constant) from b0. */
TN_INLINE void all_columns(int bits, size_t blocks, const product *p, size_t b0) {
    const tn_qrows *x = p->x;
    const size_t step = x->group < CHUNK ? CHUNK / x->group : 1, group_bytes = x->group * 2 * (size_t)bits;
    for (size_t g = 0; g < x->groups; g += step) {
        chunk c = {.b0 = b0, .g0 = g, .g1 = x->groups, .tiles = (x->n + ROWS - 1) / ROWS};
        if (g + step < x->groups) {
            c.g1 = g + step;
            c.ahead = step * group_bytes;
        } else if (b0 + blocks < p->blocks)
            c.ahead = blocks * p->block_bytes - g * group_bytes;
        all_rows(bits, blocks, p, &c);
    }
}

TN_INLINE void matmul(int bits, float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0,
                      size_t m) {
    const size_t block_bytes = TN_Q_ROWS * x->kpad * (size_t)bits / 8,
                 scale_bytes = TN_Q_ROWS * x->groups * 2, step_bytes = TN_Q_ROWS * (x->kpad / TN_Q_PAD);
    const product p = {.y = y,
                       .ldy = ldy,
                       .x = x,
                       .data = (const unsigned char *)w->data + j0 / TN_Q_ROWS * block_bytes,
                       .scales = (const unsigned char *)w->scales + j0 / TN_Q_ROWS * scale_bytes,
                       .steps = bits == 4 ? (const int8_t *)w->steps + j0 / TN_Q_ROWS * step_bytes : NULL,
                       .blocks = (m + TN_Q_ROWS - 1) / TN_Q_ROWS,
                       .cols = m,
                       .block_bytes = block_bytes,
                       .scale_bytes = scale_bytes,
                       .step_bytes = step_bytes};
    size_t b = 0;
    for (; b + BLOCKS <= p.blocks; b += BLOCKS) all_columns(bits, BLOCKS, &p, b);
    for (; b < p.blocks; b++) all_columns(bits, 1, &p, b);
}

#endif
