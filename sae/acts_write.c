/* Gathering rows while a capture runs, and writing them as an activation file (acts.h). */
#include "sae/acts.h"

#include "sae/numbers.h"

#include <stdlib.h>
#include <string.h>

void sae_acts_builder_free(sae_acts_builder *b) {
    free(b->rows);
    free(b->tokens);
    free(b->doc);
    free(b->pos);
    memset(b, 0, sizeof *b);
}

/* Doubles one array; the old one stays valid when there is no memory. */
static int grow(void **array, size_t cap, size_t item) {
    size_t bytes;
    if (tn_mul_size(cap, item, &bytes)) return 0;
    void *p = realloc(*array, bytes);
    if (p) *array = p;
    return p != NULL;
}

int sae_acts_append(sae_acts_builder *b, const float *row, int32_t token, int32_t doc, int32_t pos) {
    if (b->n == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 256, row_bytes = (size_t)b->d * sizeof *b->rows;
        if (b->d < 1 || cap < b->cap) return TN_EARG;
        void *rows = b->rows, *tokens = b->tokens, *docs = b->doc, *positions = b->pos;
        int ok = grow(&rows, cap, row_bytes) && grow(&tokens, cap, sizeof token) &&
                 grow(&docs, cap, sizeof doc) && grow(&positions, cap, sizeof pos);
        b->rows = rows;
        b->tokens = tokens;
        b->doc = docs;
        b->pos = positions;
        if (!ok) return TN_ENOMEM;
        b->cap = cap;
    }
    memcpy(b->rows + b->n * (size_t)b->d, row, (size_t)b->d * sizeof *row);
    b->tokens[b->n] = token;
    b->doc[b->n] = doc;
    b->pos[b->n] = pos;
    b->n++;
    return TN_OK;
}

static void put_docs(tn_buf *out, const sae_doc *docs, size_t n) {
    tn_json_out w = tn_json_writer(out, 0);
    tn_json_begin_array(&w);
    for (size_t i = 0; i < n; i++) {
        tn_json_begin_object(&w);
        tn_json_key(&w, "label");
        tn_json_puts(&w, docs[i].label ? docs[i].label : "");
        tn_json_key(&w, "prompt");
        tn_json_puts(&w, docs[i].prompt ? docs[i].prompt : "");
        tn_json_key(&w, "text");
        tn_json_puts(&w, docs[i].text ? docs[i].text : "");
        tn_json_end_object(&w);
    }
    tn_json_end_array(&w);
}

static int write_file(const sae_acts_builder *b, const char *path, tn_dtype dtype, const tn_pair *meta,
                      size_t n_meta, tn_err *e) {
    size_t d = (size_t)b->d;
    tn_tensor_spec specs[4] = {{"activations", dtype, 2, {b->n, d}},
                               {"tokens", TN_I32, 1, {b->n}},
                               {"doc", TN_I32, 1, {b->n}},
                               {"pos", TN_I32, 1, {b->n}}};
    tn_st_writer *w;
    int rc = tn_st_create(&w, path, specs, 4, meta, n_meta, e);
    if (rc) return rc;
    sae_write_floats(w, dtype, b->rows, b->n * d);
    sae_write_ints(w, b->tokens, b->n);
    sae_write_ints(w, b->doc, b->n);
    sae_write_ints(w, b->pos, b->n);
    return tn_st_finish(w, e);
}

int sae_acts_write(const sae_acts_builder *b, const char *path, tn_dtype dtype, const char *model_name,
                   const char *hook_name, const sae_doc *docs, size_t n_docs, const tn_pair *extra,
                   size_t n_extra, tn_err *e) {
    if (dtype != TN_F32 && dtype != TN_BF16)
        return tn_fail(e, TN_EARG, "%s: activations are stored as F32 or BF16", path);
    tn_buf documents = TN_BUF_INIT;
    put_docs(&documents, docs, n_docs);
    tn_pair *meta = calloc(n_extra + 4, sizeof *meta);
    int rc;
    if (!meta || documents.failed) {
        rc = tn_fail(e, TN_ENOMEM, "%s: no memory for the header", path);
    } else {
        size_t n = 0;
        meta[n++] = (tn_pair){"format", SAE_ACTS_FORMAT};
        meta[n++] = (tn_pair){"model_name", model_name};
        meta[n++] = (tn_pair){"hook_name", hook_name};
        meta[n++] = (tn_pair){"documents", documents.data};
        for (size_t i = 0; i < n_extra; i++) meta[n++] = extra[i];
        rc = write_file(b, path, dtype, meta, n, e);
    }
    free(meta);
    tn_buf_free(&documents);
    return rc;
}
