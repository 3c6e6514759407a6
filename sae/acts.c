/* Activations for analysis (acts.h): the columns are copied, the rows stay in their files. */
#include "sae/acts.h"

#include "sae/numbers.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE = 256 }; /* rows read at a time */

/* The string under `key` as an owned NUL-terminated copy, "" when there is none. NULL without memory. */
static char *take_string(tn_json obj, const char *key) {
    tn_buf text = TN_BUF_INIT;
    tn_json_string(tn_json_get(obj, key), &text);
    tn_buf_puts(&text, ""); /* at least an allocated "" */
    if (text.failed) tn_buf_free(&text);
    return text.data;
}

/* Appends the documents of a file, whose metadata was checked when it was opened. */
static int read_docs(sae_acts *a, const sae_shard *s, tn_err *e) {
    tn_json root, key, value;
    tn_buf json = TN_BUF_INIT;
    tn_st_metadata(s->file, "documents", &json);
    int rc = json.failed ? tn_fail(e, TN_ENOMEM, "%s: no memory for %zu documents", s->path, s->docs)
                         : tn_json_parse(&root, json.data, json.len, e);
    tn_json_iter it = {0};
    if (!rc) it = tn_json_each(root);
    while (!rc && tn_json_next(&it, &key, &value)) {
        sae_doc *doc = &a->docs[a->n_docs++];
        doc->label = take_string(value, "label");
        doc->prompt = take_string(value, "prompt");
        doc->text = take_string(value, "text");
        if (!doc->label || !doc->prompt || !doc->text)
            rc = tn_fail(e, TN_ENOMEM, "%s: no memory for %zu documents", s->path, s->docs);
    }
    tn_buf_free(&json);
    return rc;
}

/* Reads every row once, as a training run does: rows that are not finite are refused, and none of them stays
 * in memory. */
static int check_finite(sae_acts *a, tn_err *e) {
    const sae_source rows = sae_shards_source(&a->files);
    uint32_t ids[PIECE];
    float *piece = malloc(PIECE * (size_t)a->d * sizeof *piece); /* [PIECE, d] */
    int rc = piece ? TN_OK : tn_fail(e, TN_ENOMEM, "%s: no memory for %d rows", rows.name, PIECE);
    for (uint32_t first = 0, n; first < rows.rows && !rc; first += n) {
        n = rows.rows - first < PIECE ? rows.rows - first : PIECE;
        for (uint32_t i = 0; i < n; i++) ids[i] = first + i;
        rc = rows.read(rows.ctx, ids, n, piece, NULL, e);
    }
    free(piece);
    return rc;
}

static int copy_files(sae_acts *a, tn_err *e) {
    for (size_t i = 0; i < a->files.count; i++) {
        const sae_shard *s = &a->files.at[i];
        sae_read_ints(a->tokens + s->first_row, s->tokens, s->n);
        sae_read_ints(a->doc + s->first_row, s->doc, s->n);
        sae_read_ints(a->pos + s->first_row, s->pos, s->n);
        for (size_t r = 0; r < s->n; r++) a->doc[s->first_row + r] += (int32_t)s->first_doc;
        int rc = read_docs(a, s, e);
        tn_st_release_all(s->file);
        if (rc) return rc;
    }
    return TN_OK;
}

int sae_acts_open(sae_acts *out, const char *path, tn_err *e) {
    memset(out, 0, sizeof *out);
    const char *const paths[] = {path};
    int rc = sae_shards_open(&out->files, paths, 1, e);
    if (rc) return rc;
    const sae_shards *f = &out->files;
    size_t n = f->rows ? f->rows : 1;
    out->n = f->rows;
    out->d = f->d;
    memcpy(out->model_name, f->model_name, sizeof out->model_name);
    memcpy(out->hook_name, f->hook_name, sizeof out->hook_name);
    out->tokens = malloc(n * sizeof *out->tokens);
    out->doc = malloc(n * sizeof *out->doc);
    out->pos = malloc(n * sizeof *out->pos);
    out->docs = calloc(f->docs ? f->docs : 1, sizeof *out->docs);
    if (f->docs > INT32_MAX)
        rc = tn_fail(e, TN_EUNSUP, "%s: %zu documents", path, f->docs);
    else if (!out->tokens || !out->doc || !out->pos || !out->docs)
        rc = tn_fail(e, TN_ENOMEM, "%s: no memory for the columns of %zu rows", path, n);
    else
        rc = copy_files(out, e);
    if (!rc) rc = check_finite(out, e);
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
    sae_shards_close(&a->files);
    memset(a, 0, sizeof *a);
}

void sae_acts_gather(const sae_acts *a, const uint32_t *idx, size_t count, float *dst) {
    for (size_t r = 0; r < count; r++) sae_shards_row(&a->files, idx[r], dst + r * (size_t)a->d);
}
