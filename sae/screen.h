/* Screening: which latents can reach a bar, found with a smaller copy of the encoder.
 *
 * The product of two rows of 8-bit integers costs a fraction of the one in F32, and so does the one of two
 * rows of BF16 where the processor has tiles (matmul_pairs). It is not what the SAE computes, but it comes
 * with a proven bound of the error, and only latents that could reach their bar - zero, a threshold, the k-th
 * largest value so far - are computed in F32. The active set and its values are those of the dense encoder,
 * bit for bit. BF16 is a quarter as far off, which leaves fewer latents to compute, but has twice the bytes
 * to read.
 *
 * The bound. Let w be a row of W_enc and x a row of activations, D numbers each; w~ and x~ what their
 * integers and scales stand for, or their BF16; y the result of matmul_q8, or of matmul_pairs; u = 2^-24; p
 * the result of matmul_f32.
 *
 *   (1) |x·w - x~·w~| = |(x - x~)·w + x~·(w - w~)| <= |x - x~| |w| + |x~| |w - w~|        (Cauchy-Schwarz)
 *
 *   (2) matmul_q8 sums G groups of columns. The integer sum I_g of a group is exact; converting it,
 *       multiplying the two scales s_g t_g and adding (fused or not) round at most four times, and a term
 *       passes through at most G additions. So the error is below (G + 4) u sum_g |I_g| s_g t_g, where
 *
 *         sum_g |I_g| s_g t_g <= sum_k |x~_k w~_k| <= |x~| |w~| <= |x~| (|w| + |w - w~|)
 *
 *       In matmul_pairs a product is exact and passes through at most D/32 + 24 additions. Below, R is
 *       D/32 + 24 there and G + 4 in matmul_q8.
 *
 *   (3) matmul_f32 adds D products in 16 lanes and folds these in 4 steps (kernels_tier.h): a product passes
 *       through at most D/16 + 1 + 4 additions and its own rounding, so |p - x·w| <= (D/16 + 8) u |x| |w|.
 *
 *   (4) numbers below 2^-126 lose up to 2^-150 at each of fewer than 2 D operations of (3), and of (2) 127^2
 *       times that for each of D products, or 2^-126 at each of fewer than 3 D operations of matmul_pairs.
 *       That stays below D 2^-122 = (sqrt(D) 2^-61)^2. So does what x~ and w~ lose where matmul_pairs
 *       takes numbers below 2^-126 for 0.
 *
 * With all four and |x~| <= |x| + |x - x~|,
 *
 *     |p - y| <= a |w| + b |w - w~|      a = |x - x~| + (D/16 + 8) u |x| + (R + 4) u |x~|
 *                                        b = |x~| (1 + (R + 4) u)
 *
 * where the lengths are computed in F32 and made larger by what that may have rounded away, plus
 * sqrt(D) 2^-61 for (4) and for squares that vanish. R + 4 instead of R leaves room for the comparison
 * itself, whose sums round relative to |y| <= |x~| |w~| (1 + …).
 *
 * Rows beyond 1e18, where sums might overflow, and rows that are not finite get infinite lengths: their
 * latents are always computed.
 */
#ifndef SAE_SCREEN_H
#define SAE_SCREEN_H

#include "tensor/arena.h"
#include "tensor/kernels.h"

typedef enum { SAE_IN_8_BITS, SAE_IN_BF16 } sae_screen_form;
/* The one for many rows at once with these kernels. */
sae_screen_form sae_screen_form_for(const tn_kernels *k);

/* The copy of an encoder [F, D]. */
typedef struct {
    const tn_kernels *k; /* that make it and multiply with it */
    sae_screen_form form;
    tn_mat w;              /* 8 bits: what matmul_q8 takes */
    unsigned char *data;   /* [blocks, kpad/4, 16, 4], or in BF16 [blocks, kpad/2, 16, 2] */
    unsigned char *scales; /* [blocks, groups, 16] BF16, of 8 bits */
    float *norm;           /* [F] no less than |w| */
    float *loss;           /* [F] no less than |w - w~| */
    size_t d, kpad, groups;
} sae_screen;

/* Rows of activations in 8 bits or BF16, with their part of the bound. */
typedef struct {
    tn_qrows q;
    unsigned char *pairs; /* [n, kpad] BF16 */
    size_t pairs_bytes;   /* of a row: 0 with 8 bits */
    float *a, *b;         /* [n] */
} sae_screen_rows;

/* What quantising a row needs for a while; one for each thread. */
typedef struct {
    int8_t *q;    /* [kpad] */
    float *scale; /* [groups] */
    int32_t *sum; /* [kpad/32] */
} sae_screen_room;

/* Takes the arrays for an encoder of f rows of d columns, for n rows of activations, for one thread. */
void sae_screen_take(sae_screen *s, tn_arena *a, const tn_kernels *k, sae_screen_form form, size_t f,
                     size_t d);
void sae_screen_take_rows(sae_screen_rows *r, tn_arena *a, sae_screen_form form, size_t n, size_t d);
void sae_screen_take_room(sae_screen_room *r, tn_arena *a, size_t d);
/* The part of rows that begins with row r. */
sae_screen_rows sae_screen_rows_from(const sae_screen_rows *rows, size_t r);

/* Copies row i, w [D]. Rows may be copied in any order, those of one block of TN_Q_ROWS also at once. */
void sae_screen_copy(const sae_screen *s, size_t i, const float *w, const sae_screen_room *room);
/* Row r of `rows` = x [D]. */
void sae_screen_row(const sae_screen *s, const sae_screen_rows *rows, size_t r, const float *x);
/* y[r*ldy + j]: approximate products of the first n rows with latents i0 … i0+m-1; i0 and ldy are multiples
 * of TN_Q_ROWS, and ldy is no less than m. */
void sae_screen_product(const sae_screen *s, float *y, size_t ldy, const sae_screen_rows *rows, size_t n,
                        size_t i0, size_t m);

/* A number that is surely below v, a sum of F32 roundings of numbers of this magnitude. */
float sae_screen_below(double v, double magnitude);

#endif
