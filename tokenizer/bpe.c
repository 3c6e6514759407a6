/* Byte-pair merging. Short words, which are nearly all, scan a small array for the lowest rank; long ones
 * use a heap, so that a megabyte of one letter stays O(n log n).
 */
#include "tokenizer/bpe.h"

#include <stdlib.h>
#include <string.h>

#define SHORT_WORD 48
#define NO_RANK UINT32_MAX

/* ---- The table of merges ---- */

static size_t hash_pair(int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    key *= 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio: spreads neighbouring ids over the high bits */
    return (size_t)(key >> 32);
}

int tok_merges_init(tok_merges *m, size_t max_merges, tn_err *e) {
    size_t bytes;
    m->table = NULL;
    m->size = 64;
    if (max_merges > TOK_MAX_IDS)
        return tn_fail(e, TN_EFORMAT, "%zu merges are more than the limit of %d", max_merges, TOK_MAX_IDS);
    while (m->size <= 2 * max_merges) m->size *= 2;
    if (!tn_mul_size(m->size, sizeof *m->table, &bytes)) m->table = malloc(bytes);
    if (!m->table) return tn_fail(e, TN_ENOMEM, "no memory for %zu merges", max_merges);
    for (size_t i = 0; i < m->size; i++) m->table[i].left = -1;
    return TN_OK;
}

void tok_merges_free(tok_merges *m) {
    free(m->table);
    m->table = NULL;
    m->size = 0;
}

/* The pair's entry, or the free one where it belongs. */
static tok_merge *find(const tok_merges *m, int32_t left, int32_t right) {
    size_t mask = m->size - 1, slot = hash_pair(left, right) & mask;
    while (m->table[slot].left >= 0 && (m->table[slot].left != left || m->table[slot].right != right))
        slot = (slot + 1) & mask;
    return &m->table[slot];
}

void tok_merges_add(tok_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id) {
    *find(m, left, right) = (tok_merge){left, right, rank, id};
}

static uint32_t rank_of(const tok_merges *m, int32_t left, int32_t right) {
    const tok_merge *merge = find(m, left, right);
    return merge->left < 0 ? NO_RANK : merge->rank;
}

/* ---- Short words ---- */

static size_t merge_short(const tok_merges *m, int32_t *ids, size_t n) {
    uint32_t rank[SHORT_WORD]; /* rank[i] of the pair (i, i + 1); NO_RANK for the last symbol */
    for (size_t i = 0; i + 1 < n; i++) rank[i] = rank_of(m, ids[i], ids[i + 1]);
    rank[n - 1] = NO_RANK;
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == NO_RANK) break;
        ids[best] = find(m, ids[best], ids[best + 1])->id;
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        memmove(rank + best + 1, rank + best + 2, (n - best - 1) * sizeof *rank);
        rank[best] = best + 1 < n ? rank_of(m, ids[best], ids[best + 1]) : NO_RANK;
        if (best > 0) rank[best - 1] = rank_of(m, ids[best - 1], ids[best]);
    }
    return n;
}

/* ---- Long words ---- */

/* Symbols are linked in text order. The heap holds rank << 32 | place of every mergeable pair; entries whose
 * pair has changed since are recognised by their rank and dropped when they come up. */
typedef struct {
    uint64_t *heap; /* [2 n] room: one entry a pair, and a merge takes one and adds at most two */
    size_t heap_n;
    uint32_t *rank;        /* [n] of the pair (i, next[i]) now */
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
    c->rank[i] = c->next[i] == n ? NO_RANK : rank_of(m, ids[i], ids[c->next[i]]);
    if (c->rank[i] != NO_RANK) heap_push(c, (uint64_t)c->rank[i] << 32 | i);
}

static size_t merge_long(const tok_merges *m, int32_t *ids, size_t n, void *block) {
    chain c = {.heap = block, .heap_n = 0};
    c.rank = (uint32_t *)(c.heap + 2 * n);
    c.prev = c.rank + n;
    c.next = c.prev + n;
    for (size_t i = 0; i < n; i++) {
        c.prev[i] = i == 0 ? (uint32_t)n : (uint32_t)i - 1;
        c.next[i] = (uint32_t)i + 1;
    }
    for (uint32_t i = 0; i < n; i++) update_pair(m, ids, n, &c, i);

    while (c.heap_n > 0) {
        uint64_t top = heap_pop(&c);
        uint32_t at = (uint32_t)top, right = c.next[at];
        if (c.rank[at] != top >> 32) continue;
        ids[at] = find(m, ids[at], ids[right])->id;
        c.rank[right] = NO_RANK; /* gone */
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
    /* Per symbol: two heap entries, a rank and two links. */
    size_t bytes;
    if (*n >= UINT32_MAX || tn_mul_size(*n, 2 * sizeof(uint64_t) + 3 * sizeof(uint32_t), &bytes))
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
