/* The heap of topk.h. */
#include "sae/topk.h"

/* Of two picks the one to go first: the smaller value, of equal ones the later offer. */
static int worse(sae_pick a, sae_pick b) {
    return a.value < b.value || (a.value == b.value && a.index > b.index);
}

static void swap(sae_pick *a, sae_pick *b) {
    sae_pick keep = *a;
    *a = *b;
    *b = keep;
}

static void sink(sae_pick *heap, uint32_t n, uint32_t at) {
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= n) return;
        if (child + 1 < n && worse(heap[child + 1], heap[child])) child++;
        if (!worse(heap[child], heap[at])) return;
        swap(&heap[child], &heap[at]);
        at = child;
    }
}

void sae_topk_offer(sae_pick *heap, uint32_t *n, uint32_t k, float value, uint32_t index) {
    sae_pick pick = {value, index};
    if (*n < k) {
        uint32_t at = (*n)++;
        heap[at] = pick;
        for (; at > 0 && worse(heap[at], heap[(at - 1) / 2]); at = (at - 1) / 2)
            swap(&heap[at], &heap[(at - 1) / 2]);
    } else if (value > heap[0].value) {
        heap[0] = pick;
        sink(heap, k, 0);
    }
}
