/* Registers of 256 bits for kernels_x86_quant.h and kernels_x86_quantize.h: 8 lanes of 32 bits, two to a
 * block of 16 rows. */
#ifndef TENSOR_KERNELS_X86_256_H
#define TENSOR_KERNELS_X86_256_H

#include "tensor/kernels_tier.h"

#include <immintrin.h>

enum { LANES = 8 };
typedef __m256i ints;
typedef __m256 floats;

TN_INLINE ints load_bytes(const unsigned char *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
TN_INLINE ints all_ints(int32_t v) {
    return _mm256_set1_epi32(v);
}
TN_INLINE ints all_shorts(int16_t v) {
    return _mm256_set1_epi16(v);
}
/* LANES signed bytes, each in the lower 16 bits of a lane whose upper ones are 0 */
TN_INLINE ints load_steps(const int8_t *p) {
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)p);
    return _mm256_and_si256(_mm256_cvtepi8_epi32(bytes), _mm256_set1_epi32(0xFFFF));
}
TN_INLINE ints and_ints(ints a, ints b) {
    return _mm256_and_si256(a, b);
}
TN_INLINE ints add_ints(ints a, ints b) {
    return _mm256_add_epi32(a, b);
}
TN_INLINE ints add_shorts(ints a, ints b) {
    return _mm256_add_epi16(a, b);
}
/* the lower half of every lane in both halves; the upper ones are 0 */
TN_INLINE ints both_halves(ints lower) {
    return _mm256_or_si256(lower, _mm256_slli_epi32(lower, 16));
}
/* the upper byte, or half byte, of every 16-bit number */
TN_INLINE ints shift_right_8(ints v) {
    return _mm256_srli_epi16(v, 8);
}
TN_INLINE ints shift_right_4(ints v) {
    return _mm256_srli_epi16(v, 4);
}
/* pairs of 16-bit products, each pair added into 32 bits */
TN_INLINE ints multiply_shorts(ints a, ints b) {
    return _mm256_madd_epi16(a, b);
}
/* pairs of products of an unsigned and a signed byte, each pair added into 16 bits */
TN_INLINE ints multiply_bytes(ints a, ints b) {
    return _mm256_maddubs_epi16(a, b);
}

/* v stays in its register: without the empty instruction the compiler gathers the additions of several steps
 * and runs out of registers for their operands. */
TN_INLINE ints keep(ints v) {
    __asm__("" : "+v"(v));
    return v;
}

TN_INLINE floats load_floats(const float *p) {
    return _mm256_loadu_ps(p);
}
TN_INLINE void store_floats(float *p, floats v) {
    _mm256_storeu_ps(p, v);
}
TN_INLINE floats all_floats(float v) {
    return _mm256_set1_ps(v);
}
TN_INLINE floats to_floats(ints v) {
    return _mm256_cvtepi32_ps(v);
}
TN_INLINE floats multiply(floats a, floats b) {
    return _mm256_mul_ps(a, b);
}
/* a*b + c, rounded once */
TN_INLINE floats multiply_add(floats a, floats b, floats c) {
    return _mm256_fmadd_ps(a, b, c);
}
/* A BF16 is the upper half of its F32. */
TN_INLINE floats load_bf16(const unsigned char *p) {
    const __m128i half = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* The bits of |v|. For numbers without a sign the order of the bits is the order of the numbers; infinity and
 * NaN come last. */
TN_INLINE ints bits_of_abs(floats v) {
    return and_ints(_mm256_castps_si256(v), all_ints(0x7FFFFFFF));
}
TN_INLINE ints max_ints(ints a, ints b) {
    return _mm256_max_epi32(a, b);
}
/* to the nearest integer, ties to even */
TN_INLINE ints round_floats(floats v) {
    return _mm256_cvtps_epi32(v);
}
/* Halves, then pairs, then neighbours. */
TN_INLINE int32_t max_lane(ints v) {
    __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4E));
    m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xB1));
    return _mm_cvtsi128_si32(m);
}
TN_INLINE int32_t sum_lanes(ints v) {
    __m128i m = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0x4E));
    m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0xB1));
    return _mm_cvtsi128_si32(m);
}
/* the low byte of every lane */
TN_INLINE void store_low_bytes(int8_t *p, ints v) {
    const __m128i shorts = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(shorts, shorts));
}

#endif
