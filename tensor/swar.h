/* Eight bytes of text at a time in one 64-bit number ("SIMD within a register"): plain C that runs fast on
 * any machine. Byte 0 is the lowest, whatever the machine's own order. A mark is the top bit (0x80) of a
 * byte.
 */
#ifndef TENSOR_SWAR_H
#define TENSOR_SWAR_H

#include "tensor/base.h"

#define TN_EACH_BYTE 0x0101010101010101u /* times b: b in every byte */
#define TN_MARKS (0x80 * TN_EACH_BYTE)

/* The eight bytes at p, which need no alignment. Compilers make one load of it. */
static inline uint64_t tn_load8(const char *p) {
    const unsigned char *b = (const unsigned char *)p;
    return (uint64_t)b[0] | (uint64_t)b[1] << 8 | (uint64_t)b[2] << 16 | (uint64_t)b[3] << 24 |
           (uint64_t)b[4] << 32 | (uint64_t)b[5] << 40 | (uint64_t)b[6] << 48 | (uint64_t)b[7] << 56;
}

/* The n bytes at p, n <= 8, and zeros above them. */
static inline uint64_t tn_load_upto8(const char *p, size_t n) {
    uint64_t x = 0;
    for (size_t i = n; i-- > 0;) x = x << 8 | (unsigned char)p[i];
    return x;
}

/* A hash of the n bytes at p whose bits are all worth using: eight bytes a step, the last ones of which may
 * have been there before. Each product carries low bits up, each fold brings them down again. */
static inline uint64_t tn_hash_bytes(const char *p, size_t n) {
    uint64_t h = n;
    for (size_t i = 0; i + 8 <= n; i += 8) {
        h = (h ^ tn_load8(p + i)) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    h = (h ^ (n < 8 ? tn_load_upto8(p, n) : tn_load8(p + n - 8))) * 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

/* Asks for the memory at p ahead of its use, where the compiler can. */
#if defined(__GNUC__)
#define TN_PREFETCH(p) __builtin_prefetch(p)
#else
#define TN_PREFETCH(p) ((void)(p))
#endif

/* Asks for so many bytes at p, line by line. */
enum { TN_LINE = 64 };
static inline void tn_prefetch(const void *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += TN_LINE) TN_PREFETCH((const char *)p + i);
}

/* How many bytes lie before the first marked one; 8 when none is marked. m has no bits but marks. */
static inline size_t tn_before_mark(uint64_t m) {
    uint64_t below = ((m - 1) & ~m & TN_MARKS) >> 7; /* one in each byte before the mark */
    return (size_t)(below * TN_EACH_BYTE >> 56);     /* their sum */
}

/* Marks the bytes below c, 0 < c <= 0x80. As subtraction borrows from the byte above, only the first mark is
 * sure to be right: what tn_before_mark asks for. The same holds for tn_mark_byte. */
static inline uint64_t tn_mark_below(uint64_t x, unsigned char c) {
    return (x - c * TN_EACH_BYTE) & ~x & TN_MARKS;
}

/* Marks the bytes that are c. */
static inline uint64_t tn_mark_byte(uint64_t x, unsigned char c) {
    return tn_mark_below(x ^ c * TN_EACH_BYTE, 1);
}

/* Marks the bytes that are no ASCII letters. */
static inline uint64_t tn_mark_nonletters(uint64_t x) {
    uint64_t low = (x | 0x20 * TN_EACH_BYTE) & ~TN_MARKS;    /* small letters, seven bits a byte: */
    uint64_t from_a = low + (0x80 - 'a') * TN_EACH_BYTE;     /* the top bit is set from 'a' on … */
    uint64_t past_z = low + (0x80 - 'z' - 1) * TN_EACH_BYTE; /* … and from behind 'z' on */
    return (x | ~from_a | past_z) & TN_MARKS;
}

#endif
