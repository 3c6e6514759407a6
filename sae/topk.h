/* The k largest of values that come one by one, without sorting them: a heap of k picks whose root is the
 * worst one kept. Of equal values the one offered first wins. */
#ifndef SAE_TOPK_H
#define SAE_TOPK_H

#include "tensor/base.h"

typedef struct {
    float value;
    uint32_t index; /* ascending from offer to offer */
} sae_pick;

/* Offers a value (no NaN) to the heap [*n <= k], which has room for k. */
void sae_topk_offer(sae_pick *heap, uint32_t *n, uint32_t k, float value, uint32_t index);

/* 1 when an offered value stayed in a heap that is full; root is heap[0]. */
static inline int sae_topk_kept(sae_pick root, float value, uint32_t index) {
    return value > root.value || (value == root.value && index <= root.index);
}

#endif
