/* The quantised products of the "avxvnni" tier: VPDPBUSD on 256 bits, for processors that have it without
 * AVX-512.
 *
 * A tile of 4 rows of x and one block keeps 8 sums in registers, as many as an instruction that starts twice
 * a cycle and takes four needs.
 */
#include "tensor/kernels_tier.h"

#if defined(__AVXVNNI__)
#include "tensor/kernels_x86_256.h"

enum { ROWS = 4, BLOCKS = 1, PARTS = TN_Q_ROWS / LANES, REGS = BLOCKS * PARTS };

TN_INLINE ints dot4_add(ints sum, ints w, ints x) {
    return _mm256_dpbusd_avx_epi32(sum, w, x);
}

TN_INLINE ints dot2_add(ints sum, ints a, ints b) {
    return _mm256_dpwssd_avx_epi32(sum, a, b);
}

#include "tensor/kernels_x86_vnni.h"
#include "tensor/kernels_x86_quant.h"

void tn_avxvnni_matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(8, y, ldy, x, w, j0, m);
}

void tn_avxvnni_matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m) {
    matmul(4, y, ldy, x, w, j0, m);
}

#endif
