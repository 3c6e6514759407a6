/* The word cache of cache.h: making, freeing, replacing. */
#include "tokenizer/cache.h"

#include "tensor/os.h"

#include <stdlib.h>
#include <string.h>

#define MIN_TEXT 256 /* bytes */
#define MIN_BITS 4
#define MAX_BITS 16 /* 4 MB */

tok_cache tok_cache_for(size_t len) {
    tok_cache c = {NULL, MIN_BITS};
    if (len < MIN_TEXT) return c;
    while (c.bits < MAX_BITS && (size_t)32 << c.bits < len) c.bits++; /* a pair of entries for 32 bytes */
    const size_t bytes = ((size_t)2 << c.bits) * sizeof *c.entry;
    c.entry = tn_alloc_large(bytes);
    if (c.entry) memset(c.entry, 0, bytes);
    return c;
}

void tok_cache_free(tok_cache *c) {
    free(c->entry);
    c->entry = NULL;
}

const tok_cached *tok_cache_find_long(const tok_cached *place, tok_key k, const char *text) {
    const uint64_t offset = ((uint64_t)1 << 56) - 1;
    for (int i = 0; i < 2; i++) {
        tok_key have = place[i].key;
        if (have.low == k.low && have.high >> 56 == k.high >> 56 &&
            memcmp(text + (have.high & offset), text + (k.high & offset), k.high >> 56) == 0)
            return &place[i];
    }
    return NULL;
}

void tok_cache_put(tok_cached *place, tok_key k, const int32_t *output, size_t first, size_t n) {
    if (n > TOK_CACHED_IDS && first > INT32_MAX) return; /* its place is no int32_t */
    place[1] = place[0];
    place[0].key = k;
    place[0].n = (uint32_t)n;
    if (n > TOK_CACHED_IDS)
        place[0].ids[0] = (int32_t)first;
    else
        for (size_t i = 0; i < n; i++) place[0].ids[i] = output[first + i];
}
