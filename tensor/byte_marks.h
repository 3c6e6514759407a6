/* Classes of 64 bytes of text at a time, as bits: what the pre-tokenizer cuts by without looking at single
 * characters. The scalar function is the definition; the others (kernels_*_marks.c) give the same bits,
 * quicker.
 */
#ifndef TENSOR_BYTE_MARKS_H
#define TENSOR_BYTE_MARKS_H

#include "tensor/base.h"

#define TN_BYTE_BLOCK 64 /* bytes */

/* Bit i is byte i. A byte has one of these marks or, being something else of ASCII, none. */
typedef struct {
    uint64_t letter;  /* A … Z, a … z */
    uint64_t digit;   /* 0 … 9 */
    uint64_t blank;   /* white space but the next two */
    uint64_t space;   /* ' ' */
    uint64_t newline; /* \r, \n */
    uint64_t beyond;  /* no ASCII */
    uint64_t quote;   /* ' (has none of the marks above) */
} tn_byte_marks;

typedef void tn_byte_marks_fn(const char *text, tn_byte_marks *m); /* of text [TN_BYTE_BLOCK] */

tn_byte_marks_fn tn_byte_marks_scalar;
/* NULL where the compiler made none; only for processors that have the instructions. */
tn_byte_marks_fn *tn_byte_marks_avx2(void);
tn_byte_marks_fn *tn_byte_marks_avx512(void);
/* The i-th function that this machine can run, the fastest first; NULL behind the last one. */
tn_byte_marks_fn *tn_byte_marks_at(int i);

/* The number of zeros below the lowest one of x, x != 0. */
static inline unsigned tn_lowest_bit(uint64_t x) {
#if defined(__GNUC__)
    return (unsigned)__builtin_ctzll(x);
#else
    unsigned n = 0;
    for (unsigned step = 32; step > 0; step /= 2)
        if (!(x << (64 - n - step))) n += step;
    return n;
#endif
}

/* The place of the highest one of x, x != 0. */
static inline unsigned tn_highest_bit(uint64_t x) {
#if defined(__GNUC__)
    return 63 - (unsigned)__builtin_clzll(x);
#else
    unsigned n = 0;
    for (unsigned step = 32; step > 0; step /= 2)
        if (x >> (n + step)) n += step;
    return n;
#endif
}

static inline unsigned tn_count_bits(uint64_t x) {
#if defined(__GNUC__)
    return (unsigned)__builtin_popcountll(x);
#else
    unsigned n = 0;
    for (; x; x &= x - 1) n++;
    return n;
#endif
}

#endif
