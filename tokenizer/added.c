/* Leftmost-longest search for added tokens: at each position whose byte can begin one, the sorted list is
 * narrowed byte by byte to the tokens that still fit.
 */
#include "tokenizer/added.h"

#include <stdlib.h>
#include <string.h>

void tok_added_free(tok_added_set *s) {
    for (size_t i = 0; i < s->n; i++) free(s->item[i].text);
    free(s->item);
    memset(s, 0, sizeof *s);
}

int tok_added_put(tok_added_set *s, const char *text, size_t len, int32_t id, int special, tn_err *e) {
    if (len == 0) return tn_fail(e, TN_EFORMAT, "added token %d is empty", (int)id);
    if (len > TOK_MAX_ADDED_LEN)
        return tn_fail(e, TN_EFORMAT, "added token %d has %zu bytes, more than %d", (int)id, len,
                       TOK_MAX_ADDED_LEN);
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 32;
        tok_added *item = realloc(s->item, cap * sizeof *item);
        if (!item) return tn_fail(e, TN_ENOMEM, "no memory for added tokens");
        s->item = item;
        s->cap = cap;
    }
    char *copy = malloc(len);
    if (!copy) return tn_fail(e, TN_ENOMEM, "no memory for added tokens");
    memcpy(copy, text, len);
    s->item[s->n++] = (tok_added){copy, len, id, special};
    s->n_begins += !s->begins[(unsigned char)*text];
    s->begins[(unsigned char)*text] = 1;
    return TN_OK;
}

/* By bytes, a prefix before what it begins; equal texts by id. */
static int compare(const void *pa, const void *pb) {
    const tok_added *a = pa, *b = pb;
    int order = memcmp(a->text, b->text, a->len < b->len ? a->len : b->len);
    if (order != 0) return order;
    if (a->len != b->len) return a->len < b->len ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

void tok_added_seal(tok_added_set *s) {
    if (s->n > 1) qsort(s->item, s->n, sizeof *s->item, compare);
    size_t kept = 0;
    for (size_t i = 0; i < s->n; i++) {
        tok_added *last = kept ? &s->item[kept - 1] : NULL;
        if (last && last->len == s->item[i].len && memcmp(last->text, s->item[i].text, last->len) == 0)
            free(s->item[i].text);
        else
            s->item[kept++] = s->item[i];
    }
    s->n = kept;
}

/* First index of [lo, hi), whose tokens all share their first `depth` bytes and are longer, where the next
 * byte is at least `byte`. */
static size_t lower_bound(const tok_added_set *s, size_t lo, size_t hi, size_t depth, int byte) {
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if ((unsigned char)s->item[mid].text[depth] < byte)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest token that text [len] begins with, or NULL. */
static const tok_added *longest_at(const tok_added_set *s, const char *text, size_t len) {
    const tok_added *found = NULL;
    size_t lo = 0, hi = s->n;
    for (size_t depth = 0; lo < hi && depth < len; depth++) {
        int byte = (unsigned char)text[depth];
        lo = lower_bound(s, lo, hi, depth, byte);
        hi = lower_bound(s, lo, hi, depth, byte + 1);
        if (lo < hi && s->item[lo].len == depth + 1) found = &s->item[lo++]; /* the shortest stands first */
    }
    return found;
}

/* The first place in [i, len) where a token could begin; len when there is none. */
static size_t next_begin(const tok_added_set *s, const char *text, size_t i, size_t len) {
    if (s->n_begins == 1 && i < len) {
        const char *p = memchr(text + i, *s->item[0].text, len - i);
        return p ? (size_t)(p - text) : len;
    }
    while (i < len && !s->begins[(unsigned char)text[i]]) i++;
    return i;
}

const tok_added *tok_added_search(const tok_added_set *s, const char *text, size_t len, size_t from,
                                  int keep_special, size_t *at) {
    if (s->n == 0) return NULL;
    for (size_t i = from; (i = next_begin(s, text, i, len)) < len; i++) {
        const tok_added *found = longest_at(s, text + i, len - i);
        if (!found) continue;
        if (!found->special || keep_special) {
            *at = i;
            return found;
        }
        i += found->len - 1; /* its characters belong to no other token, as in the reference */
    }
    return NULL;
}

const tok_added *tok_added_find(const tok_added_set *s, const char *text, size_t len) {
    const tok_added *found = longest_at(s, text, len);
    return found && found->len == len ? found : NULL;
}
