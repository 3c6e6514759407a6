/* Marks of bytes with AVX2: two halves of 32 bytes. */
#include "tensor/byte_marks.h"

#if defined(__AVX2__)
#include <immintrin.h>

static inline uint64_t bits(__m256i low, __m256i high) {
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

static inline __m256i equal(__m256i x, char c) {
    return _mm256_cmpeq_epi8(x, _mm256_set1_epi8(c));
}

/* first <= byte <= last: what lies outside does not fit below last - first once first is taken off. */
static inline __m256i between(__m256i x, char first, char last) {
    const __m256i past = _mm256_sub_epi8(x, _mm256_set1_epi8(first)),
                  room = _mm256_set1_epi8((char)(last - first));
    return _mm256_cmpeq_epi8(_mm256_min_epu8(past, room), past);
}

static inline __m256i newline(__m256i x) {
    return _mm256_or_si256(equal(x, '\n'), equal(x, '\r'));
}

static void marks(const char *text, tn_byte_marks *m) {
    const __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)text);
    const __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(text + 32));
    const __m256i small = _mm256_set1_epi8(0x20);
    m->letter =
        bits(between(_mm256_or_si256(a, small), 'a', 'z'), between(_mm256_or_si256(b, small), 'a', 'z'));
    m->digit = bits(between(a, '0', '9'), between(b, '0', '9'));
    m->newline = bits(newline(a), newline(b));
    m->blank = bits(between(a, '\t', '\r'), between(b, '\t', '\r')) & ~m->newline;
    m->space = bits(equal(a, ' '), equal(b, ' '));
    m->beyond = bits(a, b);
    m->quote = bits(equal(a, '\''), equal(b, '\''));
}

tn_byte_marks_fn *tn_byte_marks_avx2(void) {
    return marks;
}
#else
tn_byte_marks_fn *tn_byte_marks_avx2(void) {
    return NULL;
}
#endif
