/* The quantised products of the "avx512vnni" tier: VPDPBUSD on 512 bits.
 *
 * A tile of 4 rows of x and 3 blocks keeps 12 integer sums and 12 float totals in 24 of the 32 registers. A
 * step loads 3 registers of weights and 4 of x for 12 instructions of 64 products each.
 */
#include "tensor/kernels_tier.h"

#if defined(__AVX512VNNI__)
#include "tensor/kernels_x86_512.h"

enum { ROWS = 4, BLOCKS = 3, PARTS = TN_Q_ROWS / LANES, REGS = BLOCKS * PARTS };

TN_INLINE ints dot4_add(ints sum, ints w, ints x) {
    return _mm512_dpbusd_epi32(sum, w, x);
}

TN_INLINE ints dot2_add(ints sum, ints a, ints b) {
    return _mm512_dpwssd_epi32(sum, a, b);
}

#include "tensor/kernels_x86_vnni.h"
#include "tensor/kernels_x86_quant.h"

void tn_avx512vnni_matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(8, y, ldy, x, w, j0, m);
}

void tn_avx512vnni_matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(4, y, ldy, x, w, j0, m);
}

#endif
