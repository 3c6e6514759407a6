/* The "neoni8mm" tier: NEON with USMMLA, a product of small matrices. One instruction multiplies 2 rows of 8
 * bytes of weights with 2 rows of 8 bytes of x and adds the four results to four 32-bit sums:
 *
 *     [ a x0  a x1 ]     [ a c0 … c7 ]   [ x0 c0 … c7 ]ᵀ
 *     [ b x0  b x1 ]  += [ b c0 … c7 ] · [ x1 c0 … c7 ]         128 products and sums
 *
 * Weights are unsigned as they are stored (the offset is taken off with the sum of x), x is signed. The rows
 * come from two registers of the block, columns c0 … c3 and c4 … c7 of the rows a b c d, by zipping them:
 *
 *     a0-3 b0-3 c0-3 d0-3,  a4-7 b4-7 c4-7 d4-7   ->   a0-3 a4-7 b0-3 b4-7,  c0-3 c4-7 d0-3 d4-7
 *
 * A tile is 4 rows of x, two pairs, by a block of 16 rows of weights: 16 registers of sums, 2 of x and 4 of
 * weights. For every 8 columns that is 16 USMMLAs, 8 zips, 8 loads of weights (4 with Q4, and 8 instructions
 * that take halves of bytes) and 4 half registers of x. A third pair would fill the registers to the last
 * one, and compilers then move more than they save. A single row, as in decode, would waste half of every
 * USMMLA and goes by USDOT, as in kernels_neondot.c.
 */
#include "tensor/kernels_neon_quant.h"

#if TN_HAS_NEON && defined(__ARM_FEATURE_MATMUL_INT8)

/* Instructions name the lane, so it has to be a constant where the call stands. */
TN_INLINE int32x4_t dot_lane(int32x4_t sum, uint8x16_t w, int8x16_t x, size_t lane) {
    switch (lane) {
    case 0:
        return vusdotq_laneq_s32(sum, w, x, 0);
    case 1:
        return vusdotq_laneq_s32(sum, w, x, 1);
    case 2:
        return vusdotq_laneq_s32(sum, w, x, 2);
    default:
        return vusdotq_laneq_s32(sum, w, x, 3);
    }
}

TN_INLINE void one_row(int bits, int32x4_t sum[4], const int8_t *x, const unsigned char *w, size_t columns) {
    for (size_t k = 0; k < columns; k += 16) {
        const int8x16_t xi = vld1q_s8(x + k);
        TN_UNROLL for (size_t half = 0; half < 2; half++) {
            TN_UNROLL for (size_t q = 0; q < 4; q++) {
                uint8x16_t wide[2];
                tn_neon_load8(wide, bits, w + (k + half * 8) * 2 * (size_t)bits, q);
                sum[q] = dot_lane(sum[q], wide[0], xi, half * 2);
                sum[q] = dot_lane(sum[q], wide[1], xi, half * 2 + 1);
            }
        }
    }
}

/* An even number of rows. cell[p][q] holds the sums of rows 2p and 2p+1 of x with rows 4q, 4q+1 and, in the
 * second register, 4q+2, 4q+3 of the block. */
TN_INLINE void pairs_of_rows(int bits, size_t rows, int32x4_t sum[][4], const int8_t *x, size_t ldx,
                             const unsigned char *w, size_t columns) {
    int32x4_t cell[TN_NEON_MAX_ROWS / 2][4][2];
    TN_UNROLL for (size_t p = 0; p < rows / 2; p++) {
        TN_UNROLL for (size_t q = 0; q < 4; q++) cell[p][q][0] = cell[p][q][1] = vdupq_n_s32(0);
    }
    for (size_t k = 0; k < columns; k += 8) {
        int8x16_t xp[TN_NEON_MAX_ROWS / 2];
        TN_UNROLL for (size_t p = 0; p < rows / 2; p++) {
            xp[p] = vcombine_s8(vld1_s8(x + 2 * p * ldx + k), vld1_s8(x + (2 * p + 1) * ldx + k));
        }
        TN_UNROLL for (size_t q = 0; q < 4; q++) {
            uint8x16_t wide[2];
            tn_neon_load8(wide, bits, w + k * 2 * (size_t)bits, q);
            const uint32x4_t a = vreinterpretq_u32_u8(wide[0]), b = vreinterpretq_u32_u8(wide[1]);
            const uint8x16_t first = vreinterpretq_u8_u32(vzip1q_u32(a, b));
            const uint8x16_t second = vreinterpretq_u8_u32(vzip2q_u32(a, b));
            TN_UNROLL for (size_t p = 0; p < rows / 2; p++) {
                cell[p][q][0] = vusmmlaq_s32(cell[p][q][0], first, xp[p]);
                cell[p][q][1] = vusmmlaq_s32(cell[p][q][1], second, xp[p]);
            }
        }
    }
    TN_UNROLL for (size_t p = 0; p < rows / 2; p++) {
        TN_UNROLL for (size_t q = 0; q < 4; q++) {
            int32x4_t *even = &sum[2 * p][q], *odd = &sum[2 * p + 1][q];
            *even = vaddq_s32(*even, vuzp1q_s32(cell[p][q][0], cell[p][q][1]));
            *odd = vaddq_s32(*odd, vuzp2q_s32(cell[p][q][0], cell[p][q][1]));
        }
    }
}

TN_INLINE void group_sums(int bits, size_t rows, int32x4_t sum[][4], const int8_t *x, size_t ldx,
                          const unsigned char *w, size_t columns) {
    if (rows == 1)
        one_row(bits, sum[0], x, w, columns);
    else
        pairs_of_rows(bits, rows, sum, x, ldx, w, columns);
}

static const tn_neon_quant quant = {group_sums, 128, 4};

static void matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    tn_neon_q_matmul(quant, 8, y, ldy, x, w, j0, m);
}

static void matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    tn_neon_q_matmul(quant, 4, y, ldy, x, w, j0, m);
}

const tn_kernels *tn_tier_neoni8mm(void) {
    static const tn_kernels table = {TN_NEON_COMMON, .name = "neoni8mm", .matmul_q8 = matmul_q8,
                                     .matmul_q4 = matmul_q4};
    return &table;
}

#else

const tn_kernels *tn_tier_neoni8mm(void) {
    return NULL;
}

#endif
