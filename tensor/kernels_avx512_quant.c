/* The quantised products of the "avx512" tier, without VNNI.
 *
 * A tile of 4 rows of x and 3 blocks keeps 12 sums in registers; 6 more hold the weights of a step taken
 * apart.
 */
#include "tensor/kernels_tier.h"

#if defined(__AVX512F__) && defined(__AVX512BW__)
#include "tensor/kernels_x86_512.h"

enum { ROWS = 4, BLOCKS = 3, PARTS = TN_Q_ROWS / LANES, REGS = BLOCKS * PARTS };

#include "tensor/kernels_x86_madd.h"
#include "tensor/kernels_x86_quant.h"
#include "tensor/kernels_x86_quantize.h"

void tn_avx512_quantize(int8_t *q, float *scale, int32_t *sum, const float *x, size_t k, size_t group) {
    quantize_row(q, scale, sum, x, k, group);
}

void tn_avx512_matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(8, y, ldy, x, w, j0, m);
}

void tn_avx512_matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(4, y, ldy, x, w, j0, m);
}

#endif
