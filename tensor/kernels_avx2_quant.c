/* The quantised products of the "avx2" tier.
 *
 * A tile of 4 rows of x and one block keeps 8 sums in registers; 4 of the other 8 hold two registers of
 * weights taken apart, and the rest what is under way. The float totals come out of memory once a group.
 */
#include "tensor/kernels_tier.h"

#if defined(__AVX2__) && defined(__FMA__)
#include "tensor/kernels_x86_256.h"

enum { ROWS = 4, BLOCKS = 1, PARTS = TN_Q_ROWS / LANES, REGS = BLOCKS * PARTS };

#include "tensor/kernels_x86_madd.h"
#include "tensor/kernels_x86_quant.h"
#include "tensor/kernels_x86_quantize.h"

void tn_avx2_quantize(int8_t *q, float *scale, int32_t *sum, const float *x, size_t k, size_t group) {
    quantize_row(q, scale, sum, x, k, group);
}

void tn_avx2_matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(8, y, ldy, x, w, j0, m);
}

void tn_avx2_matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(4, y, ldy, x, w, j0, m);
}

#endif
