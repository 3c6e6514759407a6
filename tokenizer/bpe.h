/* Byte-pair merging: a word's bytes become symbols, and the pair of neighbours of lowest rank (the leftmost
 * of equals) is joined until no pair has a rank.
 */
#ifndef TOKENIZER_BPE_H
#define TOKENIZER_BPE_H

#include "tokenizer/vocab.h"

typedef struct {
    int32_t left, right, id;
} tok_merge;

#define TOK_NO_RANK UINT32_MAX
#define TOK_LOW_IDS 256

/* Most time of merging goes into waiting for memory while ranks of pairs are looked up. So a place of the
 * table is a single number that holds the pair and its rank, and what a merge makes need not be looked up
 * when merges make ids in order. */
typedef struct {
    tok_merge *merge; /* [n] of room for cap, by rank */
    size_t n, cap;
    uint64_t *slot; /* [size] open addressing by the pair: left << 42 | right << 21 | rank + 1; 0 = free */
    size_t size;    /* a power of two */
    uint32_t *low;  /* [TOK_LOW_IDS][TOK_LOW_IDS] ranks of pairs of low ids, which single bytes usually have:
                       they are asked for most and need no search */
    int32_t first_id; /* merge i makes id first_id + i, as in most files; -1: in no such order */
} tok_merges;

void tok_merges_free(tok_merges *m); /* a zeroed one is fine, and is an empty one */
/* Adds the merge that ranks behind all before. */
int tok_merges_add(tok_merges *m, int32_t left, int32_t right, int32_t id, tn_err *e);
/* Ends the adding: makes the tables. Of two merges of one pair the later counts. */
int tok_merges_seal(tok_merges *m, tn_err *e);

/* Working memory for long words, grown as needed and kept from word to word. */
typedef struct {
    void *block;
    size_t cap; /* bytes */
} tok_bpe_work;
void tok_bpe_work_free(tok_bpe_work *w);

/* Merges the symbols ids [n] in place; *n becomes the number left. O(n log n). TN_OK or TN_ENOMEM. */
int tok_bpe(const tok_merges *m, int32_t *ids, size_t *n, tok_bpe_work *work);

#endif
