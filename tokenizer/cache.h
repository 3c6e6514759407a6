/* The words one call of tok_encode has met, and their ids.
 *
 * Text repeats itself: of the words of a book nine in ten were there before. A short word is its own key: its
 * bytes and length fill two 64-bit numbers, so that a hit is certain and costs two comparisons. A longer
 * word's key is its hash, its length and where in the text it stood, and a hit compares it with that. Words
 * of many ids are remembered by where in the output these stand. So an entry has one small size, and nothing
 * is kept twice.
 *
 * The table does not grow and nothing in it is ever wrong: a word whose place is taken replaces the older one
 * of the two that share the place, and a word that is not found is merged anew. So it cannot be filled up or
 * slowed down by any text, and memory it cannot get only costs time.
 */
#ifndef TOKENIZER_CACHE_H
#define TOKENIZER_CACHE_H

#include "tensor/swar.h"

#define TOK_KEY_BYTES 15       /* a word of up to as many bytes is its own key */
#define TOK_MAX_CACHED_LEN 255 /* longer words are not kept */
#define TOK_CACHED_IDS 3       /* an entry holds as many ids, or the place of more */

typedef struct {
    uint64_t low; /* up to 15 bytes: the first eight; more: the hash of all */
    uint64_t
        high; /* up to 15 bytes: the others, zeros behind them; more: offset in the text. Last byte: length */
} tok_key;

/* Half a cache line. A length of 0 is no word's: a zeroed entry is free. */
typedef struct {
    tok_key key;
    int32_t ids[TOK_CACHED_IDS]; /* n > TOK_CACHED_IDS: ids[0] is the index of the first in the output */
    uint32_t n;                  /* of ids */
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

/* The key of word [len], len > TOK_KEY_BYTES, that stands at `offset` of its text. */
static inline tok_key tok_long_key_of(const char *word, size_t len, size_t offset) {
    return (tok_key){tn_hash_bytes(word, len), (uint64_t)len << 56 | offset};
}

/* The first of the two entries where the key belongs. Multiplying carries every bit up to the highest ones,
 * which pick the place; folding first brings the upper half's bits low enough to be carried. */
static inline tok_cached *tok_cache_place(const tok_cache *c, tok_key k) {
    uint64_t h = k.low ^ k.high * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    return c->entry + 2 * (h >> (64 - c->bits));
}
/* A longer word's, which does not depend on where it stands. */
static inline tok_cached *tok_cache_long_place(const tok_cache *c, tok_key k) {
    return c->entry + 2 * (k.low >> (64 - c->bits));
}

/* The entry of two at `place` that holds the key, or NULL. */
static inline const tok_cached *tok_cache_find(const tok_cached *place, tok_key k) {
    if (place[0].key.low == k.low && place[0].key.high == k.high) return &place[0];
    if (place[1].key.low == k.low && place[1].key.high == k.high) return &place[1];
    return NULL;
}
/* The same for a longer word of `text`. */
const tok_cached *tok_cache_find_long(const tok_cached *place, tok_key k, const char *text);

/* Keeps at the key's place the ids [n] that stand at output[first]. */
void tok_cache_put(tok_cached *place, tok_key k, const int32_t *output, size_t first, size_t n);

#endif
