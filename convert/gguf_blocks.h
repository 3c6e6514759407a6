/* The number formats of GGUF tensors and their way back to F32.
 *
 * A tensor's elements are stored in blocks of 1, 32 or 256 consecutive elements of a row, each block of a
 * fixed number of bytes; a row is a whole number of blocks. Layouts and formulas: gguf_blocks.c.
 */
#ifndef CONVERT_GGUF_BLOCKS_H
#define CONVERT_GGUF_BLOCKS_H

#include "tensor/base.h"

#include <stdint.h>

/* The ids that files use for the formats we decode. */
enum {
    GGUF_F32 = 0,
    GGUF_F16 = 1,
    GGUF_Q4_0 = 2,
    GGUF_Q4_1 = 3,
    GGUF_Q5_0 = 6,
    GGUF_Q5_1 = 7,
    GGUF_Q8_0 = 8,
    GGUF_Q4_K = 12,
    GGUF_Q5_K = 13,
    GGUF_Q6_K = 14,
    GGUF_BF16 = 30
};

typedef struct {
    uint32_t id;
    const char *name; /* "Q4_K" */
    size_t elements;  /* per block */
    size_t bytes;     /* per block */
    /* x[elements] = the block at b[bytes] */
    void (*decode)(float *x, const unsigned char *b);
} gguf_type;

/* The format with this id; NULL when we do not decode it. */
const gguf_type *gguf_type_find(uint32_t id);

/* A name for any id, also of formats we do not decode: "IQ2_XXS", or "unknown". */
const char *gguf_type_name(uint32_t id);

/* x[n] = the n elements stored from `src` on; n is a multiple of t->elements. */
void gguf_decode(float *x, const gguf_type *t, const void *src, size_t n);

#endif
