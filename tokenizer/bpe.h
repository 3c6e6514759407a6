/* Byte-pair merging: a word's bytes become symbols, and the pair of neighbours of lowest rank (the leftmost
 * of equals) is joined until no pair has a rank.
 */
#ifndef TOKENIZER_BPE_H
#define TOKENIZER_BPE_H

#include "tokenizer/vocab.h"

/* What joining a pair of symbols does: rank << 32 | id of the symbol it gives, so that the lower number is
 * the merge that goes first. */
typedef uint64_t tok_step;
#define TOK_NO_STEP UINT64_MAX

typedef struct {
    int32_t left, right, id;
} tok_merge;

#define TOK_LOW_IDS 256

/* Most time of merging goes into asking for the step of a pair, and most of that into waiting for memory. So
 * the table that is searched holds only ranks, with a few bits of the pair's hash that tell most strangers
 * apart; the merges themselves lie in order of rank, the frequent ones side by side. */
typedef struct {
    tok_merge *merge; /* [n] of room for cap, by rank */
    size_t n, cap;
    uint32_t *slot; /* [size] open addressing by the pair: tag << 24 | rank + 1; 0 = free */
    size_t size;    /* a power of two */
    tok_step *low;  /* [TOK_LOW_IDS][TOK_LOW_IDS] steps of pairs of low ids, which single bytes usually have:
                       they are asked for most and need no search */
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
