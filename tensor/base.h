/* Sizes, limits and alignment that every other file relies on.
 *
 * Includes nothing of ours. Every count, offset and shape that comes from a file is hostile until it
 * went through the checked arithmetic below.
 */
#ifndef TENSOR_BASE_H
#define TENSOR_BASE_H

#include <stddef.h>
#include <stdint.h>

/* Every block carved from an arena and every tensor we write starts at a multiple of this (bytes). */
#define TN_ALIGN 64

/* *out = a * b; returns 0, or -1 when the product does not fit (then *out is untouched). */
static inline int tn_mul_size(size_t a, size_t b, size_t *out) {
    if (b != 0 && a > SIZE_MAX / b) return -1;
    *out = a * b;
    return 0;
}

/* *out = a + b; returns 0, or -1 when the sum does not fit (then *out is untouched). */
static inline int tn_add_size(size_t a, size_t b, size_t *out) {
    if (a > SIZE_MAX - b) return -1;
    *out = a + b;
    return 0;
}

#endif
