/* What the files of the three NEON tiers share; only kernels_neon*.c include this.
 *
 * "neon" runs on every 64-bit ARM processor, "neondot" wants SDOT and "neoni8mm" USMMLA besides. They differ
 * in the products of quantised matrices only: everything on floats is the same code.
 */
#ifndef TENSOR_KERNELS_NEON_H
#define TENSOR_KERNELS_NEON_H

#include "tensor/kernels_tier.h"

/* Weights are loaded from memory as they lie in the file, which is little-endian. */
#if defined(__aarch64__) && defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN)
#define TN_HAS_NEON 1
#else
#define TN_HAS_NEON 0
#endif

/* kernels_neon.c and kernels_neon_quant.c; contracts in kernels.h */
void tn_neon_matmul_f32(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                        size_t m, size_t k, float *room);
void tn_neon_matmul_f16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                        size_t m, size_t k, float *room);
void tn_neon_matmul_bf16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw,
                         size_t n, size_t m, size_t k, float *room);
void tn_neon_quantize(int8_t *q, float *scale, int32_t *sum, const float *x, size_t k, size_t group);
float tn_neon_dot(const float *a, const float *b, size_t n);
void tn_neon_axpy(float *y, float a, const float *x, size_t n);
void tn_neon_add(float *y, const float *x, size_t n);
void tn_neon_rmsnorm(float *y, const float *x, const float *gain, size_t d, float eps);
void tn_neon_rope(float *x, const float *c, const float *s, size_t half);
void tn_neon_softmax(float *x, size_t n);
void tn_neon_swiglu(float *y, const float *gate, const float *up, size_t n);
void tn_neon_adam(float *p, const float *g, float *m, float *v, size_t n, const tn_adam *how);
void tn_neon_fma_rounds(float *sink, size_t rounds);

/* A table's entries but for name, matmul_q8 and matmul_q4. */
#define TN_NEON_COMMON                                                                                       \
    .matmul_f32 = tn_neon_matmul_f32, .tile_f32 = &tn_neon_f32, .matmul_f16 = tn_neon_matmul_f16,            \
    .matmul_bf16 = tn_neon_matmul_bf16, .quantize = tn_neon_quantize, .reaching = tn_scalar_reaching,        \
    .dot = tn_neon_dot, .axpy = tn_neon_axpy, .add = tn_neon_add, .rmsnorm = tn_neon_rmsnorm,                \
    .rope = tn_neon_rope, .softmax = tn_neon_softmax, .swiglu = tn_neon_swiglu, .adam = tn_neon_adam,        \
    .fma_rounds = tn_neon_fma_rounds

#endif
