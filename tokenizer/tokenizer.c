/* Lists of ids, and looking things up in an opened tokenizer. */
#include "tokenizer/model.h"

#include "tensor/os.h"

#include <stdlib.h>
#include <string.h>

enum { LARGE = 1 << 21 }; /* bytes */

/* ---- Lists of ids ---- */

void tok_ids_free(tok_ids *ids) {
    free(ids->data);
    *ids = (tok_ids)TOK_IDS_INIT;
}

int tok_ids_reserve(tok_ids *ids, size_t more) {
    if (more <= ids->cap - ids->len) return TN_OK;
    size_t need, bytes, cap = ids->cap ? ids->cap : 64;
    if (tn_add_size(ids->len, more, &need)) return TN_ENOMEM;
    while (cap < need) cap = cap > SIZE_MAX / 2 ? need : 2 * cap;
    if (tn_mul_size(cap, sizeof *ids->data, &bytes)) return TN_ENOMEM;
    int32_t *data = bytes < LARGE ? realloc(ids->data, bytes) : tn_alloc_large(bytes);
    if (!data) return TN_ENOMEM;
    if (bytes >= LARGE && ids->data) {
        memcpy(data, ids->data, ids->len * sizeof *data);
        free(ids->data);
    }
    ids->data = data;
    ids->cap = cap;
    return TN_OK;
}

int tok_ids_push(tok_ids *ids, int32_t id) {
    int status = tok_ids_reserve(ids, 1);
    if (status == TN_OK) ids->data[ids->len++] = id;
    return status;
}

/* ---- Looking at the vocabulary ---- */

int32_t tok_vocab_size(const tok_model *t) {
    return t->vocab.n;
}

int32_t tok_find(const tok_model *t, const char *token) {
    size_t len = strlen(token);
    const tok_added *added = tok_added_find(&t->raw, token, len);
    if (!added) added = tok_added_find(&t->normalized, token, len);
    return added ? added->id : tok_vocab_find(&t->vocab, token, len);
}

int32_t tok_eos(const tok_model *t) {
    return t->eos;
}

int tok_is_special(const tok_model *t, int32_t id) {
    return id >= 0 && id < t->vocab.n && t->vocab.entry[id].kind == TOK_CONTROL;
}
