/* Reading activation files (acts.h). The rows stay in the mapped file and are converted when gathered, so a
 * file may be larger than memory; tokens, documents and positions are small and copied.
 */
#include "sae/acts.h"

#include "sae/numbers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- documents ---- */

/* The string under `key` as an owned NUL-terminated copy, "" when there is none. NULL without memory. */
static char *take_string(tn_json obj, const char *key) {
    tn_buf text = TN_BUF_INIT;
    tn_json_string(tn_json_get(obj, key), &text);
    tn_buf_puts(&text, ""); /* at least an allocated "" */
    if (text.failed) tn_buf_free(&text);
    return text.data;
}

static int read_docs(sae_acts *a, const char *path, const char *json, size_t len, tn_err *e) {
    tn_json root, key, value;
    int rc = tn_json_parse(&root, json, len, e);
    if (rc) {
        tn_fail_in(e, rc, "metadata \"documents\"");
        return tn_fail_in(e, rc, path);
    }
    if (root.kind != TN_JSON_ARRAY)
        return tn_fail(e, TN_EFORMAT, "%s: metadata \"documents\" is no array", path);
    size_t n = tn_json_count(root);
    a->docs = calloc(n ? n : 1, sizeof *a->docs);
    if (!a->docs) return tn_fail(e, TN_ENOMEM, "%s: no memory for %zu documents", path, n);
    for (tn_json_iter it = tn_json_each(root); tn_json_next(&it, &key, &value);) {
        sae_doc *doc = &a->docs[a->n_docs++];
        doc->label = take_string(value, "label");
        doc->prompt = take_string(value, "prompt");
        doc->text = take_string(value, "text");
        if (!doc->label || !doc->prompt || !doc->text)
            return tn_fail(e, TN_ENOMEM, "%s: no memory for %zu documents", path, n);
    }
    return TN_OK;
}

/* ---- checks ---- */

static int take_ints(const tn_safetensors *file, const char *path, const char *name, size_t n, int32_t **out,
                     tn_err *e) {
    const tn_tensor *t;
    size_t shape[1] = {n};
    int rc = tn_st_require(file, name, 1, shape, &t, e);
    if (rc) return rc;
    if (t->dtype != TN_I32)
        return tn_fail(e, TN_ESHAPE, "%s: tensor \"%s\" has dtype %s, expected I32", path, name,
                       tn_dtype_name(t->dtype));
    *out = malloc((n ? n : 1) * sizeof **out);
    if (!*out) return tn_fail(e, TN_ENOMEM, "%s: no memory for %zu rows", path, n);
    sae_read_ints(*out, t->data, n);
    return TN_OK;
}

static int check_finite(const sae_acts *a, const char *path, tn_err *e) {
    size_t d = (size_t)a->d;
    float *row = malloc(d * sizeof *row);
    if (!row) return tn_fail(e, TN_ENOMEM, "%s: no memory for a row of %d", path, a->d);
    int rc = TN_OK;
    for (size_t r = 0; r < a->n && !rc; r++) {
        uint32_t index = (uint32_t)r;
        sae_acts_gather(a, &index, 1, row);
        for (size_t k = 0; k < d && !rc; k++)
            if (!isfinite(row[k]))
                rc = tn_fail(e, TN_ENUM, "%s: activations: row %zu column %zu is %g", path, r, k,
                             (double)row[k]);
    }
    free(row);
    return rc;
}

/* Metadata `key` into dst when it is there and fits. */
static void copy_metadata(const tn_safetensors *file, const char *key, char *dst, size_t cap) {
    tn_buf text = TN_BUF_INIT;
    if (tn_st_metadata(file, key, &text) && text.len < cap)
        memcpy(dst, text.data ? text.data : "", text.len + 1);
    tn_buf_free(&text);
}

static int check_format(const tn_safetensors *file, const char *path, tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    int rc = TN_OK;
    if (tn_st_metadata(file, "format", &text) && text.data && strcmp(text.data, SAE_ACTS_FORMAT) != 0)
        rc = tn_fail(e, TN_EUNSUP, "%s: format \"%.40s\" is not " SAE_ACTS_FORMAT, path, text.data);
    tn_buf_free(&text);
    return rc;
}

static int read_file(sae_acts *a, const char *path, tn_err *e) {
    int rc = check_format(a->file, path, e);
    if (rc) return rc;
    const tn_tensor *t = tn_st_find(a->file, "activations");
    if (!t) return tn_fail(e, TN_EFORMAT, "%s: tensor \"activations\" is missing", path);
    if (t->rank != 2 || t->shape[1] < 1 || t->shape[1] > INT32_MAX || t->shape[0] >= UINT32_MAX)
        return tn_fail(e, TN_ESHAPE, "%s: tensor \"activations\" is no matrix of rows and columns", path);
    if (t->dtype != TN_F32 && t->dtype != TN_BF16)
        return tn_fail(e, TN_ESHAPE, "%s: tensor \"activations\" has dtype %s, expected F32 or BF16", path,
                       tn_dtype_name(t->dtype));
    a->n = t->shape[0];
    a->d = (int)t->shape[1];
    a->dtype = t->dtype;
    a->rows = t->data;
    if ((rc = take_ints(a->file, path, "tokens", a->n, &a->tokens, e))) return rc;
    if ((rc = take_ints(a->file, path, "doc", a->n, &a->doc, e))) return rc;
    if ((rc = take_ints(a->file, path, "pos", a->n, &a->pos, e))) return rc;

    tn_buf text = TN_BUF_INIT;
    if (!tn_st_metadata(a->file, "documents", &text))
        rc = tn_fail(e, TN_EFORMAT, "%s: metadata \"documents\" is missing", path);
    else
        rc = read_docs(a, path, text.data ? text.data : "", text.len, e);
    tn_buf_free(&text);
    if (rc) return rc;
    for (size_t r = 0; r < a->n; r++) {
        if (a->pos[r] < 0 || a->pos[r] == INT32_MAX) /* so that the next position is a number too */
            return tn_fail(e, TN_EFORMAT, "%s: row %zu is at position %d", path, r, (int)a->pos[r]);
        if (a->doc[r] < 0 || (size_t)a->doc[r] >= a->n_docs)
            return tn_fail(e, TN_EFORMAT, "%s: row %zu belongs to document %d of %zu", path, r,
                           (int)a->doc[r], a->n_docs);
    }
    copy_metadata(a->file, "model_name", a->model_name, sizeof a->model_name);
    copy_metadata(a->file, "hook_name", a->hook_name, sizeof a->hook_name);
    return check_finite(a, path, e);
}

int sae_acts_open(sae_acts *out, const char *path, tn_err *e) {
    memset(out, 0, sizeof *out);
    int rc = tn_st_open_file(&out->file, path, e);
    if (rc) return rc;
    rc = read_file(out, path, e);
    if (rc) sae_acts_close(out);
    return rc;
}

void sae_acts_close(sae_acts *a) {
    for (size_t i = 0; i < a->n_docs; i++) {
        free(a->docs[i].label);
        free(a->docs[i].prompt);
        free(a->docs[i].text);
    }
    free(a->docs);
    free(a->tokens);
    free(a->doc);
    free(a->pos);
    tn_st_close(a->file);
    memset(a, 0, sizeof *a);
}

void sae_acts_gather(const sae_acts *a, const uint32_t *idx, size_t count, float *dst) {
    size_t d = (size_t)a->d, row_bytes = d * tn_dtype_size(a->dtype);
    const unsigned char *rows = a->rows;
    for (size_t r = 0; r < count; r++) tn_to_f32(dst + r * d, rows + idx[r] * row_bytes, a->dtype, d);
}
