/* Marks of bytes with AVX-512, whose comparisons give bits. */
#include "tensor/byte_marks.h"

#if defined(__AVX512BW__)
#include <immintrin.h>

static inline uint64_t equal(__m512i x, char c) {
    return _mm512_cmpeq_epi8_mask(x, _mm512_set1_epi8(c));
}

static inline uint64_t between(__m512i x, char first, char last) {
    return _mm512_cmple_epu8_mask(_mm512_sub_epi8(x, _mm512_set1_epi8(first)),
                                  _mm512_set1_epi8((char)(last - first)));
}

static void marks(const char *text, tn_byte_marks *m) {
    const __m512i x = _mm512_loadu_si512(text);
    m->letter = between(_mm512_or_si512(x, _mm512_set1_epi8(0x20)), 'a', 'z');
    m->digit = between(x, '0', '9');
    m->newline = equal(x, '\n') | equal(x, '\r');
    m->blank = between(x, '\t', '\r') & ~m->newline;
    m->space = equal(x, ' ');
    m->beyond = _mm512_movepi8_mask(x);
    m->quote = equal(x, '\'');
}

tn_byte_marks_fn *tn_byte_marks_avx512(void) {
    return marks;
}
#else
tn_byte_marks_fn *tn_byte_marks_avx512(void) {
    return NULL;
}
#endif
