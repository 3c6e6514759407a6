/* 32 columns of a quantised product with the VNNI instruction; kernels_x86_quant.h says where it stands. The
 * tier gives dot4_add, which is VPDPBUSD of its width:
 *
 *     weights, unsigned    | a0 a1 a2 a3 | b0 b1 b2 b3 | …         four columns of rows a, b, …
 *     activations, signed  | x0 x1 x2 x3 | x0 x1 x2 x3 | …         the same four columns in every lane
 *     sum +=               | a0x0+a1x1+a2x2+a3x3 | b0x0+… | …      in 32 bits: nothing saturates
 *
 * Of 4-bit weights one register holds eight columns: its low halves are columns 0-3, its high ones 4-7.
 */
#ifndef TENSOR_KERNELS_X86_VNNI_H
#define TENSOR_KERNELS_X86_VNNI_H

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

/* The slab of kernels_x86_quant.h. */
TN_INLINE void slab(int bits, ints *sum, size_t rows, size_t blocks, const int8_t *x, size_t ldx,
                    const unsigned char *w, size_t block_bytes) {
    const size_t regs = blocks * PARTS;
    ints raw[REGS], low[REGS], high[REGS];
    const ints nibble = all_ints(0x0F0F0F0F);
    TN_UNROLL for (size_t step = 0; step < (size_t)bits; step++) {
        TN_UNROLL for (size_t r = 0; r < regs; r++) {
            raw[r] = load_bytes(w + r / PARTS * block_bytes + step * 64 + r % PARTS * (64 / PARTS));
        }
        if (bits == 8) {
            four_columns(sum, rows, regs, x + step * 4, ldx, raw);
            continue;
        }
        TN_UNROLL for (size_t r = 0; r < regs; r++) {
            low[r] = and_ints(raw[r], nibble);
            high[r] = and_ints(shift_right_4(raw[r]), nibble);
        }
        four_columns(sum, rows, regs, x + step * 8, ldx, low);
        four_columns(sum, rows, regs, x + step * 8 + 4, ldx, high);
    }
}

#endif
