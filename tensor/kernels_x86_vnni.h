/* 32 columns of a quantised product with the VNNI instruction; kernels_x86_quant.h says where it stands. The
 * tier gives dot4_add and dot2_add, which are VPDPBUSD and VPDPWSSD of its width:
 *
 *     weights, unsigned    | a0 a1 a2 a3 | b0 b1 b2 b3 | …         four columns of rows a, b, …
 *     activations, signed  | x0 x1 x2 x3 | x0 x1 x2 x3 | …         the same four columns in every lane
 *     sum +=               | a0x0+a1x1+a2x2+a3x3 | b0x0+… | …      in 32 bits: nothing saturates
 *
 * Of 4-bit weights one register holds eight columns: its low halves are columns 0-3, its high ones 4-7. A
 * slab's sum without the offset, at most 8 * 127 * 32 = 32,512, is one number of 16 bits, so the instruction
 * for those multiplies it with the step and adds it to the group's:
 *
 *     a slab   | Sa, its sign's bits | Sb, … | …        group += Sa * step_a, …
 *     steps    | step_a, 0           | step_b, 0 | …
 */
#ifndef TENSOR_KERNELS_X86_VNNI_H
#define TENSOR_KERNELS_X86_VNNI_H

#include "tensor/kernels_x86_slab.h"

#include <string.h>

/* sum[rows, regs] += x[rows, 4] * w[regs], the same four columns of x in every lane */
TN_INLINE void four_columns(ints *sum, size_t rows, size_t regs, const int8_t *x, size_t ldx, const ints *w) {
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        int32_t x4;
        memcpy(&x4, x + i * ldx, sizeof x4);
        const ints xi = all_ints(x4);
        TN_UNROLL for (size_t r = 0; r < regs; r++) sum[i * regs + r] = dot4_add(sum[i * regs + r], w[r], xi);
    }
}

/* The slabs of kernels_x86_quant.h. */
TN_INLINE void slab8(ints *sum, size_t rows, size_t blocks, const tn_slab *x, const unsigned char *w,
                     size_t block_bytes) {
    const size_t regs = blocks * PARTS;
    ints raw[REGS];
    TN_UNROLL for (size_t step = 0; step < 8; step++) {
        TN_UNROLL for (size_t r = 0; r < regs; r++) {
            raw[r] = load_step(w, block_bytes, step, r);
        }
        four_columns(sum, rows, regs, x->q + step * 4, x->ldq, raw);
    }
}

TN_INLINE void slab4(ints *sum, size_t rows, size_t blocks, const tn_slab *x, const unsigned char *w,
                     size_t block_bytes, const int8_t *steps, size_t step_bytes) {
    const size_t regs = blocks * PARTS;
    ints small[ROWS * REGS], low[REGS], high[REGS];
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        const ints start = all_ints(-8 * x->sum[i * x->ldsum]);
        TN_UNROLL for (size_t r = 0; r < regs; r++) small[i * regs + r] = start;
    }
    TN_UNROLL for (size_t step = 0; step < 4; step++) {
        load_nibbles(low, high, regs, w, block_bytes, step);
        four_columns(small, rows, regs, x->q + step * 8, x->ldq, low);
        four_columns(small, rows, regs, x->q + step * 8 + 4, x->ldq, high);
    }
    TN_UNROLL for (size_t r = 0; r < regs; r++) {
        const ints m = load_steps(steps + r / PARTS * step_bytes + r % PARTS * LANES);
        TN_UNROLL for (size_t i = 0; i < rows; i++) {
            sum[i * regs + r] = dot2_add(sum[i * regs + r], small[i * regs + r], m);
        }
    }
}

#endif
