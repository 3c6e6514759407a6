/* The word cache of cache.h: making, freeing, replacing. */
#include "tokenizer/cache.h"

#include <stdlib.h>
#include <string.h>

#define MIN_TEXT 256 /* bytes */
#define MIN_BITS 4
#define MAX_BITS 15 /* 2 MB: the words of megabytes of text, and no more than a core's own cache memory */

tok_cache tok_cache_for(size_t len) {
    tok_cache c = {NULL, MIN_BITS};
    if (len < MIN_TEXT) return c;
    while (c.bits < MAX_BITS && (size_t)32 << c.bits < len) c.bits++; /* a pair of entries for 32 bytes */
    c.entry = calloc((size_t)2 << c.bits, sizeof *c.entry);
    return c;
}

void tok_cache_free(tok_cache *c) {
    free(c->entry);
    c->entry = NULL;
}

void tok_cache_put(tok_cached *place, tok_key k, const int32_t *ids, size_t n) {
    place[1] = place[0];
    place[0].key = k;
    place[0].n = (uint32_t)n;
    if (n) memcpy(place[0].ids, ids, n * sizeof *ids);
}
