/* Registers of 512 bits for kernels_quant_tile.h: 16 lanes of 32 bits, one register to a block of 16 rows. */
#ifndef TENSOR_KERNELS_QUANT_512_H
#define TENSOR_KERNELS_QUANT_512_H

#include "tensor/kernels_tier.h"

#include <immintrin.h>

enum { LANES = 16 };
typedef __m512i ints;
typedef __m512 floats;

TN_INLINE ints load_bytes(const unsigned char *p) {
    return _mm512_loadu_si512(p);
}
TN_INLINE ints all_ints(int32_t v) {
    return _mm512_set1_epi32(v);
}
TN_INLINE ints and_ints(ints a, ints b) {
    return _mm512_and_si512(a, b);
}
/* every 16-bit number / 16 */
TN_INLINE ints shift_right_4(ints v) {
    return _mm512_srli_epi16(v, 4);
}

TN_INLINE floats load_floats(const float *p) {
    return _mm512_loadu_ps(p);
}
TN_INLINE void store_floats(float *p, floats v) {
    _mm512_storeu_ps(p, v);
}
TN_INLINE floats all_floats(float v) {
    return _mm512_set1_ps(v);
}
TN_INLINE floats to_floats(ints v) {
    return _mm512_cvtepi32_ps(v);
}
TN_INLINE floats multiply(floats a, floats b) {
    return _mm512_mul_ps(a, b);
}
/* a*b + c, rounded once */
TN_INLINE floats multiply_add(floats a, floats b, floats c) {
    return _mm512_fmadd_ps(a, b, c);
}
/* A BF16 is the upper half of its F32. */
TN_INLINE floats load_bf16(const unsigned char *p) {
    const __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

#endif
