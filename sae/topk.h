/* The k largest of many values, without sorting them. Which ones they are: a heap of k picks takes values
 * that come one by one, its root is the worst one kept, and of equal values the one offered first wins. How
 * large the k-th is: quickselect. */
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

/* The k-th largest of v [n], 1 <= k <= n, no NaN. The k largest then stand first. */
float sae_topk_kth(float *v, size_t n, size_t k);

#endif
