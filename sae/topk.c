/* The heap and the quickselect of topk.h. */
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

/* Brings the values of v[begin … end-1] that are larger than the pivot to the front (or, with `equal`, those
 * that are equal), and returns where they end. Every value is swapped, be it with itself: a processor cannot
 * guess which ones belong to the front, and without a branch it need not. */
static size_t to_front(float *v, size_t begin, size_t end, float pivot, int equal) {
    size_t front = begin;
    for (size_t i = begin; i < end; i++) {
        float value = v[i];
        v[i] = v[front];
        v[front] = value;
        front += equal ? value == pivot : value > pivot;
    }
    return front;
}

static float median(float a, float b, float c) {
    float low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

/* C. A. R. Hoare, "Algorithm 65: Find", CACM 4(7), 1961, with the equal ones in a part of their own. */
float sae_topk_kth(float *v, size_t n, size_t k) {
    size_t begin = 0, end = n;
    for (;;) {
        float pivot = median(v[begin], v[begin + (end - begin) / 2], v[end - 1]);
        size_t larger = to_front(v, begin, end, pivot, 0);
        if (k <= larger) {
            end = larger;
            continue;
        }
        size_t equal = to_front(v, larger, end, pivot, 1);
        if (k <= equal) return pivot;
        begin = equal;
    }
}
