/* Byte-pair merging. Short words, which are nearly all, scan a small array for the lowest rank; long ones
 * use a heap, so that a megabyte of one letter stays O(n log n).
 */
#include "tokenizer/bpe.h"

#include "tensor/os.h"
#include "tensor/swar.h"

#include <stdlib.h>
#include <string.h>

#define SHORT_WORD 32

/* ---- The table of merges ---- */

/* The pair as the upper bits of its slot. */
static inline uint64_t pair_bits(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 2 * TOK_ID_BITS | (uint64_t)(uint32_t)right << TOK_ID_BITS;
}

/* Where the search for a pair begins. High bits of the product depend on all bits of both ids; golden ratio:
 * neighbouring ids are spread evenly. */
static inline size_t first_slot(const tok_merges *m, uint64_t pair) {
    return (size_t)(pair * 0x9e3779b97f4a7c15u >> 32) & (m->size - 1);
}

void tok_merges_free(tok_merges *m) {
    free(m->merge);
    free(m->slot);
    free(m->low);
    *m = (tok_merges){0};
}

/* The slot that holds the pair, or the free one where it belongs. */
static inline size_t find_slot(const tok_merges *m, uint64_t pair) {
    size_t at = first_slot(m, pair);
    while (m->slot[at] != 0 && m->slot[at] >> TOK_ID_BITS != pair >> TOK_ID_BITS)
        at = (at + 1) & (m->size - 1);
    return at;
}

/* The rank of the pair's merge, or TOK_NO_RANK. */
static inline uint32_t find_rank(const tok_merges *m, int32_t left, int32_t right) {
    if ((left | right) < TOK_LOW_IDS) return m->low[left * TOK_LOW_IDS + right];
    uint64_t slot = m->slot[find_slot(m, pair_bits(left, right))];
    return (uint32_t)(slot & (TOK_MAX_IDS - 1)) - 1; /* TOK_NO_RANK for a free one */
}

/* What merge number `rank` makes; without waiting for memory where that can be known. */
static inline int32_t made_by(const tok_merges *m, uint32_t rank) {
    return m->first_id >= 0 ? m->first_id + (int32_t)rank : m->merge[rank].id;
}

static inline void prefetch_rank(const tok_merges *m, int32_t left, int32_t right) {
    TN_PREFETCH(&m->slot[first_slot(m, pair_bits(left, right))]);
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

/* Puts a merge into the table; when there is one of the same pair already, this one counts. */
static void put_merge(tok_merges *m, uint32_t rank) {
    int32_t left = m->merge[rank].left, right = m->merge[rank].right;
    if ((left | right) < TOK_LOW_IDS) {
        m->low[left * TOK_LOW_IDS + right] = rank;
        return;
    }
    uint64_t pair = pair_bits(left, right);
    m->slot[find_slot(m, pair)] = pair | (rank + 1);
}

/* The id that merge 0 makes when each merge makes the next id, and makes it of lower ones; else -1. */
static int32_t find_first_id(const tok_merges *m) {
    int32_t first = m->n ? m->merge[0].id : -1;
    for (size_t i = 0; i < m->n; i++) {
        const tok_merge *merge = &m->merge[i];
        if (merge->id != first + (int32_t)i || merge->left >= merge->id || merge->right >= merge->id)
            return -1;
    }
    return first;
}

int tok_merges_seal(tok_merges *m, tn_err *e) {
    m->size = 64;
    while (m->size < m->n + m->n / 2) m->size *= 2;
    m->slot = tn_alloc_large(m->size * sizeof *m->slot);
    m->low = malloc(TOK_LOW_IDS * TOK_LOW_IDS * sizeof *m->low);
    if (!m->slot || !m->low) return tn_fail(e, TN_ENOMEM, "no memory for %zu merges", m->n);
    memset(m->slot, 0, m->size * sizeof *m->slot);
    for (size_t i = 0; i < TOK_LOW_IDS * TOK_LOW_IDS; i++) m->low[i] = TOK_NO_RANK;
    for (uint32_t rank = 0; rank < m->n; rank++) put_merge(m, rank);
    m->first_id = find_first_id(m);
    return TN_OK;
}

/* ---- Short words ---- */

static size_t merge_short(const tok_merges *m, int32_t *ids, size_t n) {
    uint32_t rank[SHORT_WORD]; /* rank[i] of the pair (i, i + 1); none for the last symbol */
    for (size_t i = 0; i + 1 < n; i++) rank[i] = find_rank(m, ids[i], ids[i + 1]);
    rank[n - 1] = TOK_NO_RANK;
    for (;;) {
        uint32_t first = rank[0];
        size_t at = 0;
        for (size_t i = 1; i < n; i++) {
            at = rank[i] < first ? i : at;
            first = rank[i] < first ? rank[i] : first;
        }
        if (first == TOK_NO_RANK) return n;
        ids[at] = made_by(m, first);
        n--;
        for (size_t i = at + 1; i < n; i++) { /* close the gap */
            ids[i] = ids[i + 1];
            rank[i] = rank[i + 1];
        }
        /* Wait for both look-ups at once. */
        if (at > 0) prefetch_rank(m, ids[at - 1], ids[at]);
        rank[at] = at + 1 < n ? find_rank(m, ids[at], ids[at + 1]) : TOK_NO_RANK;
        if (at > 0) rank[at - 1] = find_rank(m, ids[at - 1], ids[at]);
    }
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
    c->rank[i] = c->next[i] == n ? TOK_NO_RANK : find_rank(m, ids[i], ids[c->next[i]]);
    if (c->rank[i] != TOK_NO_RANK) heap_push(c, (uint64_t)c->rank[i] << 32 | i);
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
        ids[at] = made_by(m, c.rank[at]);
        c.rank[right] = TOK_NO_RANK; /* gone */
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
