/* The words one call of tok_encode has met, and their ids.
 *
 * Text repeats itself: of the words of a book nine in ten were there before. A short word is its own key: its
 * bytes and length fill two 64-bit numbers, so that a hit is certain and costs two comparisons. The table
 * does not grow and nothing in it is ever wrong or missed: a word whose place is taken replaces the older one
 * of the two that share the place, and a word that is not found is merged anew. So it cannot be filled up or
 * slowed down by any text, and memory it cannot get only costs time.
 */
#ifndef TOKENIZER_CACHE_H
#define TOKENIZER_CACHE_H

#include "tensor/swar.h"

#define TOK_KEY_BYTES 15 /* longer words are not kept */
#define TOK_CACHED_IDS 3 /* nor those of more tokens */

typedef struct {
    uint64_t low, high; /* the word's bytes in order, zeros behind them, and its length in the last byte */
} tok_key;

/* Half a cache line. A length of 0 is no word's: a zeroed entry is free. */
typedef struct {
    tok_key key;
    int32_t ids[TOK_CACHED_IDS];
    uint32_t n; /* of ids */
} tok_cached;

typedef struct {
    tok_cached *entry; /* [2 << bits]: pairs that share a place, the newer one first; NULL = keeps nothing */
    unsigned bits;
} tok_cache;

/* A table fit for a text of len bytes; none for a short text, whose words seldom come again. */
tok_cache tok_cache_for(size_t len);
void tok_cache_free(tok_cache *c);

/* The key of word [len], len <= TOK_KEY_BYTES, of which `room` >= len bytes can be read. */
static inline tok_key tok_key_of(const char *word, size_t len, size_t room) {
    static const uint64_t keep[9] = {0,
                                     0xff,
                                     0xffff,
                                     0xffffff,
                                     0xffffffff,
                                     0xffffffffff,
                                     0xffffffffffff,
                                     0xffffffffffffff,
                                     0xffffffffffffffff};
    size_t in_low = len < 8 ? len : 8, in_high = len - in_low;
    tok_key k;
    if (room >= 16) { /* two loads and no loop; only the last words of a text have less behind them */
        k.low = tn_load8(word) & keep[in_low];
        k.high = tn_load8(word + 8) & keep[in_high];
    } else {
        k.low = tn_load_upto8(word, in_low);
        k.high = tn_load_upto8(word + in_low, in_high);
    }
    k.high |= (uint64_t)len << 56;
    return k;
}

/* The first of the two entries where the key belongs. Multiplying carries every bit up to the highest ones,
 * which pick the place; folding first brings the upper half's bits low enough to be carried. */
static inline tok_cached *tok_cache_place(const tok_cache *c, tok_key k) {
    uint64_t h = k.low ^ k.high * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    return c->entry + 2 * (h >> (64 - c->bits));
}

/* The entry of two at `place` that holds the key, or NULL. */
static inline const tok_cached *tok_cache_find(const tok_cached *place, tok_key k) {
    if (place[0].key.low == k.low && place[0].key.high == k.high) return &place[0];
    if (place[1].key.low == k.low && place[1].key.high == k.high) return &place[1];
    return NULL;
}

/* Keeps ids [n], n <= TOK_CACHED_IDS, at the key's place. */
void tok_cache_put(tok_cached *place, tok_key k, const int32_t *ids, size_t n);

#endif
