/* A bump allocator on memory the caller owns.
 *
 * The working memory of a run is one block. A `carve` function takes every buffer from an arena in a
 * fixed order and is run twice: first on a measuring arena (base NULL), which only adds sizes up, then
 * on the caller's block. What was measured is exactly what is needed. Nothing is ever given back.
 */
#ifndef TENSOR_ARENA_H
#define TENSOR_ARENA_H

#include "tensor/base.h"

typedef struct {
    unsigned char *base; /* NULL: measure only */
    size_t cap;          /* bytes at base */
    size_t used;         /* bytes taken so far, a multiple of TN_ALIGN */
    int failed;          /* 1 once a take did not fit or overflowed */
} tn_arena;

/* An arena that only measures; read `used` afterwards (and add TN_ALIGN for an unaligned block). */
tn_arena tn_arena_measure(void);

/* An arena on [mem, mem + cap). The start is rounded up to TN_ALIGN, which costs at most TN_ALIGN - 1
 * bytes of cap. */
tn_arena tn_arena_on(void *mem, size_t cap);

/* Takes count * size bytes, aligned to TN_ALIGN, contents undefined. Returns NULL when measuring and
 * when the arena is too small; `failed` tells the two apart. */
void *tn_arena_take(tn_arena *a, size_t count, size_t size);

#endif
