/* The "neon" tier: its table, its products of quantised matrices, and the rounding of activations that the
 * other NEON tiers use too.
 *
 * Without a dot product instruction, SMULL and SMLAL multiply bytes into 16-bit sums, and SADALP adds pairs
 * of these to 32-bit sums. A byte of x lies against four rows' bytes of the same column:
 *
 *     w:  row0 c0 c1 c2 c3 | row1 c0 c1 c2 c3 | row2 … | row3 …
 *     x:       x0 x1 x2 x3 |      x0 x1 x2 x3 | …                   four bytes of x, repeated
 *
 * so that a 16-bit sum belongs to one row and every fourth column, and a pair of 32-bit sums to a row. How
 * many products fit into 16 bits: with weights of 8 bits 2 * 128 * 127 = 32512, with 4 bits (0 … 15) the 8 *
 * 15 * 127 = 15240 of 32 columns, which is why Q4 needs a quarter of Q8's SADALPs.
 */
#include "tensor/kernels_neon_quant.h"

#if TN_HAS_NEON
#include <math.h>

/* Four bytes of x, four times. */
TN_INLINE int8x16_t repeat4(const int8_t *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/* `columns` columns (8 or 32) into 16-bit sums, and these into pair[i][q][2] for rows 4q, 4q+1 and 4q+2,
 * 4q+3. */
TN_INLINE void piece(int bits, size_t rows, int32x4_t pair[][4][2], const int8_t *x, size_t ldx,
                     const unsigned char *w, size_t columns) {
    const uint8x16_t flip = vdupq_n_u8(bits == 8 ? 128 : 0); /* w + 128 to w */
    TN_UNROLL for (size_t q = 0; q < 4; q++) {
        int16x8_t low[2], high[2];
        TN_UNROLL for (size_t k = 0; k < columns; k += 8) {
            uint8x16_t wide[2];
            tn_neon_load8(wide, bits, w + k * 2 * (size_t)bits, q);
            TN_UNROLL for (size_t half = 0; half < 2; half++) {
                const int8x16_t wi = vreinterpretq_s8_u8(veorq_u8(wide[half], flip));
                TN_UNROLL for (size_t i = 0; i < rows; i++) {
                    const int8x16_t xi = repeat4(x + i * ldx + k + half * 4);
                    if (k + half == 0) {
                        low[i] = vmull_s8(vget_low_s8(wi), vget_low_s8(xi));
                        high[i] = vmull_high_s8(wi, xi);
                    } else {
                        low[i] = vmlal_s8(low[i], vget_low_s8(wi), vget_low_s8(xi));
                        high[i] = vmlal_high_s8(high[i], wi, xi);
                    }
                }
            }
        }
        TN_UNROLL for (size_t i = 0; i < rows; i++) {
            pair[i][q][0] = vpadalq_s16(pair[i][q][0], low[i]);
            pair[i][q][1] = vpadalq_s16(pair[i][q][1], high[i]);
        }
    }
}

/* tn_group_fn with 8 registers of 32-bit sums a row: two rows at most. */
TN_INLINE void group_sums(int bits, size_t rows, int32x4_t sum[][4], const int8_t *x, size_t ldx,
                          const unsigned char *w, size_t columns) {
    const size_t most = bits == 8 ? 8 : 32;
    int32x4_t pair[2][4][2];
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        TN_UNROLL for (size_t q = 0; q < 4; q++) pair[i][q][0] = pair[i][q][1] = vdupq_n_s32(0);
    }
    for (size_t k = 0; k < columns; k += most)
        piece(bits, rows, pair, x + k, ldx, w + k * 2 * (size_t)bits, most);
    TN_UNROLL for (size_t i = 0; i < rows; i++) {
        TN_UNROLL for (size_t q = 0; q < 4; q++) sum[i][q] =
            vaddq_s32(sum[i][q], vpaddq_s32(pair[i][q][0], pair[i][q][1]));
    }
}

static const tn_neon_quant quant = {group_sums, 0, 2};

static void matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    tn_neon_q_matmul(quant, 8, y, ldy, x, w, j0, m);
}

static void matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    tn_neon_q_matmul(quant, 4, y, ldy, x, w, j0, m);
}

/* Largest |x| of n numbers (a multiple of 4) as its bits, whose order is that of the numbers: infinity and
 * NaN come last. */
static uint32_t largest(const float *x, size_t n) {
    uint32x4_t max = vdupq_n_u32(0);
    for (size_t i = 0; i < n; i += 4)
        max = vmaxq_u32(max, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), vdupq_n_u32(0x7FFFFFFF)));
    return vmaxvq_u32(max);
}

/* q = x * inverse, rounded to nearest, ties to even, for TN_Q_PAD numbers; returns the sum of q. */
static int32_t round_slab(int8_t *q, const float *x, float inverse) {
    int32x4_t total = vdupq_n_s32(0);
    for (size_t i = 0; i < TN_Q_PAD; i += 8) {
        const int32x4_t a = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i), inverse));
        const int32x4_t b = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + i + 4), inverse));
        const int16x8_t both = vcombine_s16(vmovn_s32(a), vmovn_s32(b));
        total = vpadalq_s16(total, both);
        vst1_s8(q + i, vmovn_s16(both));
    }
    return vaddvq_s32(total);
}

/* One group of n numbers; q is written up to a multiple of TN_Q_PAD, sum [that / TN_Q_PAD]. */
static void quantize_group(int8_t *q, float *scale, int32_t *sum, const float *x, size_t n) {
    const size_t whole = n - n % TN_Q_PAD, padded = tn_q_pad(n);
    float rest[TN_Q_PAD] = {0};
    memcpy(rest, x + whole, (n - whole) * sizeof *rest);

    const uint32_t of_whole = largest(x, whole), of_rest = largest(rest, TN_Q_PAD);
    const uint32_t bits = of_whole > of_rest ? of_whole : of_rest;
    float max;
    memcpy(&max, &bits, sizeof max);
    *scale = 0;
    if (!isfinite(max)) *scale = NAN;
    if (!isfinite(max) || max < TN_Q_TINY) {
        memset(q, 0, padded);
        memset(sum, 0, padded / TN_Q_PAD * sizeof *sum);
        return;
    }
    const float inverse = 127.0f / max;
    *scale = max / 127.0f;
    for (size_t i = 0; i < padded; i += TN_Q_PAD)
        sum[i / TN_Q_PAD] = round_slab(q + i, i < whole ? x + i : rest, inverse);
}

void tn_neon_quantize(int8_t *q, float *scale, int32_t *sum, const float *x, size_t k, size_t group) {
    const size_t groups = tn_q_groups(tn_q_pad(k), group);
    for (size_t g = 0; g < groups; g++) {
        const size_t begin = g * group, left = k - begin;
        quantize_group(q + begin, scale + g, sum + begin / TN_Q_PAD, x + begin, left < group ? left : group);
    }
}

const tn_kernels *tn_tier_neon(void) {
    static const tn_kernels table = {TN_NEON_COMMON, .name = "neon", .matmul_q8 = matmul_q8,
                                     .matmul_q4 = matmul_q4};
    return &table;
}

#else

const tn_kernels *tn_tier_neon(void) {
    return NULL;
}

#endif
