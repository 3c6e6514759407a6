/* Added tokens: texts that become one id wherever they stand, before anything else looks at the text. */
#ifndef TOKENIZER_ADDED_H
#define TOKENIZER_ADDED_H

#include "tensor/buf.h"

#define TOK_MAX_ADDED_LEN 512 /* bytes; bounds the work per position of the text */

typedef struct {
    char *text; /* [len], owned */
    size_t len;
    int32_t id;
    int special;
} tok_added;

/* A set that is searched for together. */
typedef struct {
    tok_added *item; /* [n], in order of their bytes once sealed */
    size_t n, cap;
    int begins[256]; /* whether a token of the set begins with this byte */
    int n_begins;    /* how many bytes do: with one, as usual ('<'), it is looked for by memchr */
} tok_added_set;

void tok_added_free(tok_added_set *s);
/* Copies one token into the set. TN_EFORMAT when it is empty or too long. */
int tok_added_put(tok_added_set *s, const char *text, size_t len, int32_t id, int special, tn_err *e);
/* Sorts the set for searching. Of equal texts the lowest id stays. */
void tok_added_seal(tok_added_set *s);

/* The first token in text [len] at or behind `from`, the longest of those that begin there; sets *at and
 * returns it, or NULL. With keep_special = 0 special tokens are passed over as plain characters. */
const tok_added *tok_added_search(const tok_added_set *s, const char *text, size_t len, size_t from,
                                  int keep_special, size_t *at);
/* The token with exactly this text, or NULL. */
const tok_added *tok_added_find(const tok_added_set *s, const char *text, size_t len);

#endif
