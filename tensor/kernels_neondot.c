/* The "neondot" tier: NEON with SDOT, which multiplies groups of four bytes and adds each group's products to
 * a 32-bit sum. A register of weights, 4 columns of 4 rows, meets four bytes of x that lie in one lane of a
 * register of sixteen:
 *
 *     sum[row] += w[row][c0 … c3] · x[c0 … c3]          64 products and sums in one instruction
 *
 * A tile is 4 rows of x by a block of 16 rows of weights: 16 registers of sums, 4 of x, 2 of weights. For
 * every 4 columns that is 16 SDOTs, 4 loads of weights (2 with Q4), 1 of x, and 4 instructions that make the
 * weights signed (or take halves of bytes).
 */
#include "tensor/kernels_neon_quant.h"

#if TN_HAS_NEON && defined(__ARM_FEATURE_DOTPROD)

/* Instructions name the lane, so it has to be a constant where the call stands. */
TN_INLINE int32x4_t dot_lane(int32x4_t sum, int8x16_t w, int8x16_t x, size_t lane) {
    switch (lane) {
    case 0:
        return vdotq_laneq_s32(sum, w, x, 0);
    case 1:
        return vdotq_laneq_s32(sum, w, x, 1);
    case 2:
        return vdotq_laneq_s32(sum, w, x, 2);
    default:
        return vdotq_laneq_s32(sum, w, x, 3);
    }
}

TN_INLINE void group_sums(int bits, size_t rows, int32x4_t sum[][4], const int8_t *x, size_t ldx,
                          const unsigned char *w, size_t columns) {
    const uint8x16_t flip = vdupq_n_u8(bits == 8 ? 128 : 0); /* w + 128 to w */
    for (size_t k = 0; k < columns; k += 16) {
        int8x16_t xi[TN_NEON_MAX_ROWS];
        TN_UNROLL for (size_t i = 0; i < rows; i++) xi[i] = vld1q_s8(x + i * ldx + k);
        TN_UNROLL for (size_t half = 0; half < 2; half++) {
            TN_UNROLL for (size_t q = 0; q < 4; q++) {
                uint8x16_t wide[2];
                tn_neon_load8(wide, bits, w + (k + half * 8) * 2 * (size_t)bits, q);
                TN_UNROLL for (size_t four = 0; four < 2; four++) {
                    const int8x16_t wi = vreinterpretq_s8_u8(veorq_u8(wide[four], flip));
                    TN_UNROLL for (size_t i = 0; i < rows; i++) {
                        sum[i][q] = dot_lane(sum[i][q], wi, xi[i], half * 2 + four);
                    }
                }
            }
        }
    }
}

static const tn_neon_quant quant = {group_sums, 0, 4};

static void matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    tn_neon_q_matmul(quant, 8, y, ldy, x, w, j0, m);
}

static void matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    tn_neon_q_matmul(quant, 4, y, ldy, x, w, j0, m);
}

const tn_kernels *tn_tier_neondot(void) {
    static const tn_kernels table = {TN_NEON_COMMON, .name = "neondot", .matmul_q8 = matmul_q8,
                                     .matmul_q4 = matmul_q4};
    return &table;
}

#else

const tn_kernels *tn_tier_neondot(void) {
    return NULL;
}

#endif
