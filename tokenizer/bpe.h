/* Byte-pair merging: a word's bytes become symbols, and the pair of neighbours of lowest rank (the leftmost
 * of equals) is joined until no pair has a rank.
 */
#ifndef TOKENIZER_BPE_H
#define TOKENIZER_BPE_H

#include "tokenizer/vocab.h"

/* Joining symbols left and right gives symbol id; the merge of lowest rank goes first. */
typedef struct {
    int32_t left, right; /* left = -1: a free slot */
    uint32_t rank;
    int32_t id;
} tok_merge;

typedef struct {
    tok_merge *table; /* [size] open addressing by (left, right) */
    size_t size;      /* a power of two */
} tok_merges;

int tok_merges_init(tok_merges *m, size_t max_merges, tn_err *e);
void tok_merges_free(tok_merges *m);
/* Of two merges of one pair the later counts. */
void tok_merges_add(tok_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id);

/* Working memory for long words, grown as needed and kept from word to word. */
typedef struct {
    void *block;
    size_t cap; /* bytes */
} tok_bpe_work;
void tok_bpe_work_free(tok_bpe_work *w);

/* Merges the symbols ids [n] in place; *n becomes the number left. O(n log n). TN_OK or TN_ENOMEM. */
int tok_bpe(const tok_merges *m, int32_t *ids, size_t *n, tok_bpe_work *work);

#endif
