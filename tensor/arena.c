/* The bump allocator of arena.h. */
#include "tensor/arena.h"

tn_arena tn_arena_measure(void) {
    return (tn_arena){.base = NULL, .cap = SIZE_MAX, .used = 0, .failed = 0};
}

tn_arena tn_arena_on(void *mem, size_t cap) {
    size_t skip = (TN_ALIGN - (uintptr_t)mem % TN_ALIGN) % TN_ALIGN;
    tn_arena a = {.base = mem, .cap = cap, .used = 0, .failed = 0};
    if (!mem || skip > cap) {
        a.failed = 1;
        a.cap = 0;
        return a;
    }
    a.base += skip;
    a.cap -= skip;
    return a;
}

void *tn_arena_take(tn_arena *a, size_t count, size_t size) {
    size_t bytes, end;
    if (tn_mul_size(count, size, &bytes) || tn_add_size(bytes, TN_ALIGN - 1, &bytes)) {
        a->failed = 1;
        return NULL;
    }
    bytes -= bytes % TN_ALIGN;
    if (tn_add_size(a->used, bytes, &end) || end > a->cap) {
        a->failed = 1;
        return NULL;
    }
    void *p = a->base ? a->base + a->used : NULL;
    a->used = end;
    return p;
}
