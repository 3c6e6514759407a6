/* Byte-pair merging. Short words, which are nearly all, scan a small array for the lowest rank; long ones
 * use a heap, so that a megabyte of one letter stays O(n log n).
 */
#include "tokenizer/bpe.h"

#include "tensor/swar.h"

#include <stdlib.h>
#include <string.h>

#define SHORT_WORD 32

/* ---- The table of merges ---- */

#define TAG_SHIFT 24
#define RANK_BITS 0xffffffu

/* High bits of the product depend on all bits of both ids; golden ratio: neighbouring ids are spread evenly.
 */
static inline uint64_t hash_pair(int32_t left, int32_t right) {
    return ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
}

void tok_merges_free(tok_merges *m) {
    free(m->merge);
    free(m->slot);
    free(m->low);
    *m = (tok_merges){0};
}

/* The slot of the pair, or the free one where it belongs. */
static inline size_t find_slot(const tok_merges *m, int32_t left, int32_t right) {
    uint64_t hash = hash_pair(left, right);
    size_t mask = m->size - 1;
    for (size_t at = hash >> 32 & mask;; at = (at + 1) & mask) {
        uint32_t s = m->slot[at];
        if (s == 0) return at;
        if (s >> TAG_SHIFT != hash >> 56) continue;
        const tok_merge *merge = &m->merge[(s & RANK_BITS) - 1];
        if (merge->left == left && merge->right == right) return at;
    }
}

static inline tok_step step_of(const tok_merges *m, int32_t left, int32_t right) {
    if ((left | right) < TOK_LOW_IDS) return m->low[left * TOK_LOW_IDS + right];
    uint32_t s = m->slot[find_slot(m, left, right)];
    uint32_t rank = (s & RANK_BITS) - 1;
    return s == 0 ? TOK_NO_STEP : (uint64_t)rank << 32 | (uint32_t)m->merge[rank].id;
}

static inline void prefetch_step(const tok_merges *m, int32_t left, int32_t right) {
    TN_PREFETCH(&m->slot[hash_pair(left, right) >> 32 & (m->size - 1)]);
}

int tok_merges_add(tok_merges *m, int32_t left, int32_t right, int32_t id, tn_err *e) {
    if (m->n == m->cap) {
        size_t cap = m->cap ? 2 * m->cap : 4096;
        tok_merge *merge = cap < TOK_MAX_IDS ? realloc(m->merge, cap * sizeof *merge) : NULL;
        if (!merge) return tn_fail(e, TN_ENOMEM, "no memory for more than %zu merges", m->n);
        m->merge = merge;
        m->cap = cap;
    }
    m->merge[m->n++] = (tok_merge){left, right, id};
    return TN_OK;
}

int tok_merges_seal(tok_merges *m, tn_err *e) {
    m->size = 64;
    while (m->size < m->n + m->n / 2) m->size *= 2;
    m->slot = calloc(m->size, sizeof *m->slot);
    m->low = malloc(TOK_LOW_IDS * TOK_LOW_IDS * sizeof *m->low);
    if (!m->slot || !m->low) return tn_fail(e, TN_ENOMEM, "no memory for %zu merges", m->n);
    for (size_t i = 0; i < TOK_LOW_IDS * TOK_LOW_IDS; i++) m->low[i] = TOK_NO_STEP;
    for (uint32_t rank = 0; rank < m->n; rank++) {
        int32_t left = m->merge[rank].left, right = m->merge[rank].right;
        if ((left | right) < TOK_LOW_IDS)
            m->low[left * TOK_LOW_IDS + right] = (uint64_t)rank << 32 | (uint32_t)m->merge[rank].id;
        else
            m->slot[find_slot(m, left, right)] =
                (uint32_t)(hash_pair(left, right) >> 56) << TAG_SHIFT | (rank + 1);
    }
    return TN_OK;
}

/* ---- Short words ---- */

static size_t merge_short(const tok_merges *m, int32_t *ids, size_t n) {
    tok_step step[SHORT_WORD]; /* step[i] of the pair (i, i + 1); none for the last symbol */
    for (size_t i = 0; i + 1 < n; i++) step[i] = step_of(m, ids[i], ids[i + 1]);
    step[n - 1] = TOK_NO_STEP;
    for (;;) {
        tok_step first = step[0];
        size_t at = 0;
        for (size_t i = 1; i < n; i++) {
            at = step[i] < first ? i : at;
            first = step[i] < first ? step[i] : first;
        }
        if (first == TOK_NO_STEP) return n;
        ids[at] = (int32_t)(uint32_t)first;
        n--;
        for (size_t i = at + 1; i < n; i++) { /* close the gap */
            ids[i] = ids[i + 1];
            step[i] = step[i + 1];
        }
        /* Wait for both look-ups at once. */
        if (at > 0) prefetch_step(m, ids[at - 1], ids[at]);
        step[at] = at + 1 < n ? step_of(m, ids[at], ids[at + 1]) : TOK_NO_STEP;
        if (at > 0) step[at - 1] = step_of(m, ids[at - 1], ids[at]);
    }
}

/* ---- Long words ---- */

/* Symbols are linked in text order. The heap holds rank << 32 | place of every mergeable pair; entries whose
 * pair has changed since are recognised by their rank and dropped when they come up. */
typedef struct {
    uint64_t *heap; /* [2 n] room: one entry a pair, and a merge takes one and adds at most two */
    size_t heap_n;
    tok_step *step;        /* [n] of the pair (i, next[i]) now */
    uint32_t *prev, *next; /* [n] neighbours; n = none */
} chain;

static void heap_down(uint64_t *heap, size_t n, size_t at) {
    uint64_t x = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (x <= heap[child]) break;
        heap[at] = heap[child];
    }
    heap[at] = x;
}

static void heap_push(chain *c, uint64_t x) {
    size_t at = c->heap_n++;
    for (; at > 0 && c->heap[(at - 1) / 2] > x; at = (at - 1) / 2) c->heap[at] = c->heap[(at - 1) / 2];
    c->heap[at] = x;
}

static uint64_t heap_pop(chain *c) {
    uint64_t top = c->heap[0];
    c->heap[0] = c->heap[--c->heap_n];
    heap_down(c->heap, c->heap_n, 0);
    return top;
}

/* Looks the pair that starts at symbol i up again and queues it. */
static void update_pair(const tok_merges *m, const int32_t *ids, size_t n, chain *c, uint32_t i) {
    c->step[i] = c->next[i] == n ? TOK_NO_STEP : step_of(m, ids[i], ids[c->next[i]]);
    if (c->step[i] != TOK_NO_STEP) heap_push(c, c->step[i] >> 32 << 32 | i);
}

static size_t merge_long(const tok_merges *m, int32_t *ids, size_t n, void *block) {
    chain c = {.heap = block, .heap_n = 0};
    c.step = c.heap + 2 * n;
    c.prev = (uint32_t *)(c.step + n);
    c.next = c.prev + n;
    for (size_t i = 0; i < n; i++) {
        c.prev[i] = i == 0 ? (uint32_t)n : (uint32_t)i - 1;
        c.next[i] = (uint32_t)i + 1;
    }
    for (uint32_t i = 0; i < n; i++) update_pair(m, ids, n, &c, i);

    while (c.heap_n > 0) {
        uint64_t top = heap_pop(&c);
        uint32_t at = (uint32_t)top, right = c.next[at];
        if (c.step[at] >> 32 != top >> 32) continue;
        ids[at] = (int32_t)(uint32_t)c.step[at];
        c.step[right] = TOK_NO_STEP; /* gone */
        c.next[at] = c.next[right];
        if (c.next[at] < n) c.prev[c.next[at]] = at;
        update_pair(m, ids, n, &c, at);
        if (c.prev[at] < n) update_pair(m, ids, n, &c, c.prev[at]);
    }
    size_t left = 0;
    for (size_t i = 0; i < n; i = c.next[i]) ids[left++] = ids[i];
    return left;
}

void tok_bpe_work_free(tok_bpe_work *w) {
    free(w->block);
    *w = (tok_bpe_work){NULL, 0};
}

int tok_bpe(const tok_merges *m, int32_t *ids, size_t *n, tok_bpe_work *work) {
    if (*n < 2) return TN_OK;
    if (*n <= SHORT_WORD) {
        *n = merge_short(m, ids, *n);
        return TN_OK;
    }
    /* Per symbol: two heap entries, a step and two links. */
    size_t bytes;
    if (*n >= UINT32_MAX || tn_mul_size(*n, 3 * sizeof(uint64_t) + 2 * sizeof(uint32_t), &bytes))
        return TN_ENOMEM;
    if (bytes > work->cap) {
        tok_bpe_work_free(work);
        work->block = malloc(bytes);
        if (!work->block) return TN_ENOMEM;
        work->cap = bytes;
    }
    *n = merge_long(m, ids, *n, work->block);
    return TN_OK;
}
