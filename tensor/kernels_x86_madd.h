/* 32 columns of a quantised product without VNNI; kernels_x86_quant.h says where it stands.
 *
 * 8 bits. The instruction that multiplies bytes (VPMADDUBSW) adds two products into 16 bits and saturates:
 * 255 * 127 * 2 is too much. So bytes become 16-bit numbers, even columns apart from odd ones, and products
 * are added into 32 bits (VPMADDWD), where nothing saturates:
 *
 *     weights           | a0 a1 a2 a3 | …   ->  | a0 | a2 | …    | a1 | a3 | …     and 255, shift by 8
 *     x, in every lane  | x0 x1 x2 x3 | …   ->  | x0 | x2 | …    | x1 | x3 | …
 *     sum               += a0x0 + a2x2,  += a1x1 + a3x3
 *
 * x is taken apart once for all of a slab's eight steps.
 *
 * 4 bits. Two products are at most 15 * 127 * 2 = 3810: all eight of a slab are added in 16 bits, and widened
 * when they are multiplied with the step. Half of the offset is taken off beforehand from either half of a
 * lane, e and o, whose columns have the sums E and O in x. What is left in e,
 *
 *     sum_even (w + 8) x - 4 (E + O)  =  sum_even w x + 4 (E - O)      at most 8 * 127 * 16 + 4 * 127 * 32,
 *
 * is 32,512 and fits; that additions on the way there go round does not matter.
 */
#ifndef TENSOR_KERNELS_X86_MADD_H
#define TENSOR_KERNELS_X86_MADD_H

#include "tensor/kernels_x86_slab.h"

#include <string.h>

enum { STEPS = TN_Q_PAD / 4 };

/* 32 bytes of x as 16-bit numbers: pair s of even is columns 4s and 4s+2, of odd 4s+1 and 4s+3. */
TN_INLINE void take_apart(int32_t even[STEPS], int32_t odd[STEPS], const int8_t *x) {
    const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)x);
    const __m256i low = _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8);
    _mm256_storeu_si256((__m256i *)(void *)even, low);
    _mm256_storeu_si256((__m256i *)(void *)odd, _mm256_srai_epi16(v, 8));
}

/* The slabs of kernels_x86_quant.h. */
TN_INLINE void slab8(ints *sum, size_t rows, size_t blocks, const tn_slab *x, const unsigned char *w,
                     size_t block_bytes) {
    const size_t regs = blocks * PARTS;
    int32_t even[ROWS][STEPS], odd[ROWS][STEPS];
    TN_UNROLL for (size_t i = 0; i < rows; i++) take_apart(even[i], odd[i], x->q + i * x->ldq);
    for (size_t step = 0; step < STEPS; step++) {
        ints w_even[REGS], w_odd[REGS];
        TN_UNROLL for (size_t r = 0; r < regs; r++) {
            const ints raw = load_step(w, block_bytes, step, r);
            w_even[r] = and_ints(raw, all_ints(0x00FF00FF));
            w_odd[r] = shift_right_8(raw);
        }
        TN_UNROLL for (size_t i = 0; i < rows; i++) {
            const ints x_even = all_ints(even[i][step]), x_odd = all_ints(odd[i][step]);
            TN_UNROLL for (size_t r = 0; r < regs; r++) {
                ints *s = &sum[i * regs + r];
                *s = keep(add_ints(*s, multiply_shorts(w_even[r], x_even)));
                *s = keep(add_ints(*s, multiply_shorts(w_odd[r], x_odd)));
            }
        }
    }
}

/* sum[rows, regs] += x[rows, 4] * w[regs] in 16 bits, the same four columns of x in every lane */
TN_INLINE void four_columns(ints *sum, size_t rows, size_t regs, const int8_t *x, size_t ldx, const ints *w) {
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        int32_t x4;
        memcpy(&x4, x + i * ldx, sizeof x4);
        const ints xi = all_ints(x4);
        TN_UNROLL for (size_t r = 0; r < regs; r++) {
            ints *s = &sum[i * regs + r];
            *s = keep(add_shorts(*s, multiply_bytes(w[r], xi)));
        }
    }
}

TN_INLINE void slab4(ints *sum, size_t rows, size_t blocks, const tn_slab *x, const unsigned char *w,
                     size_t block_bytes, const int8_t *steps, size_t step_bytes) {
    const size_t regs = blocks * PARTS;
    ints small[ROWS * REGS];
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        const ints start = all_shorts((int16_t)(-4 * x->sum[i * x->ldsum]));
        TN_UNROLL for (size_t r = 0; r < regs; r++) small[i * regs + r] = start;
    }
    for (size_t step = 0; step < STEPS / 2; step++) {
        ints low[REGS], high[REGS];
        load_nibbles(low, high, regs, w, block_bytes, step);
        four_columns(small, rows, regs, x->q + step * 8, x->ldq, low);
        four_columns(small, rows, regs, x->q + step * 8 + 4, x->ldq, high);
    }
    TN_UNROLL for (size_t r = 0; r < regs; r++) {
        const ints m = both_halves(load_steps(steps + r / PARTS * step_bytes + r % PARTS * LANES));
        TN_UNROLL for (size_t i = 0; i < rows; i++) {
            sum[i * regs + r] = add_ints(sum[i * regs + r], multiply_shorts(small[i * regs + r], m));
        }
    }
}

#endif
