/* Files and shards of a capture (cmd_capture_out.h). */
#include "sae/cmd_capture_out.h"

#include "sae/outliers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MORE_PAIRS = 8 }; /* metadata besides `extra` */

/* ---- one shard ---- */

/* Finds the limit of the rows' lengths from the first rows, and drops those above it. */
static int settle_limit(out_layer *l, float max_norm, tn_err *e) {
    sae_acts_builder *b = &l->rows;
    if (max_norm == 0 || l->limit != 0 || b->n == 0) return TN_OK;
    size_t n = b->n < SAE_OUTLIER_ROWS ? b->n : SAE_OUTLIER_ROWS, d = (size_t)b->d, kept = 0;
    int rc = sae_norm_limit(b->rows, n, b->d, (double)max_norm, &l->limit, e);
    if (rc) return rc;
    for (size_t r = 0; r < b->n; r++) {
        if (sae_row_norm(b->rows + r * d, b->d) > l->limit) continue;
        memmove(b->rows + kept * d, b->rows + r * d, d * sizeof *b->rows);
        b->tokens[kept] = b->tokens[r];
        b->doc[kept] = b->doc[r];
        b->pos[kept++] = b->pos[r];
    }
    l->dropped += b->n - kept;
    b->n = kept;
    return TN_OK;
}

static int write_layer(capture_out *o, out_layer *l, int number, int last, tn_err *e) {
    char shard[16], first[24], limit[32], dropped[24], path[1024];
    tn_pair *meta = malloc((o->n_extra + MORE_PAIRS) * sizeof *meta);
    if (!meta) return tn_fail(e, TN_ENOMEM, "out of memory");
    size_t n = 0;
    for (size_t i = 0; i < o->n_extra; i++) meta[n++] = o->extra[i];
    snprintf(shard, sizeof shard, "%d", number);
    snprintf(first, sizeof first, "%zu", o->first_doc);
    snprintf(limit, sizeof limit, "%.17g", l->limit);
    snprintf(dropped, sizeof dropped, "%zu", l->dropped);
    if (o->max_norm != 0) {
        meta[n++] = (tn_pair){"norm_limit", limit};
        meta[n++] = (tn_pair){"dropped_rows", dropped};
    }
    if (number > 0) {
        meta[n++] = (tn_pair){"shard", shard};
        meta[n++] = (tn_pair){"first_document", first};
    }
    if (number > 0 && last) meta[n++] = (tn_pair){"last_shard", "true"};
    int rc = number > 0 ? sae_shard_path(path, sizeof path, l->path, number, e) : TN_OK;
    if (!rc)
        rc = sae_acts_write(&l->rows, number > 0 ? path : l->path, o->dtype, o->model_name, l->hook, o->docs,
                            o->n_docs, meta, n, e);
    free(meta);
    if (rc) return rc;
    /* A file of this name would hide its shards. */
    if (number == 1 && tn_file_exists(l->path)) tn_remove_file(l->path);
    l->written += l->rows.n;
    l->rows.n = l->dropped = 0;
    return TN_OK;
}

/* Writes the documents so far: as the next shard, or whole when they are all there is. */
static int flush(capture_out *o, int last, tn_err *e) {
    int number = last && o->shards == 0 ? 0 : o->shards + 1, rc = TN_OK;
    for (int i = 0; i < o->n_layers && !rc; i++) rc = settle_limit(&o->layers[i], o->max_norm, e);
    for (int i = 0; i < o->n_layers && !rc; i++) rc = write_layer(o, &o->layers[i], number, last, e);
    if (rc) return rc;
    for (size_t i = 0; i < o->n_docs; i++) free(o->docs[i].text);
    o->first_doc += o->n_docs;
    o->n_docs = 0;
    o->shards += number > 0;
    return TN_OK;
}

/* ---- documents ---- */

static int keep_doc(capture_out *o, sae_doc doc, tn_err *e) {
    if (o->n_docs == o->cap_docs) {
        size_t cap = o->cap_docs ? 2 * o->cap_docs : 256;
        sae_doc *docs = realloc(o->docs, cap * sizeof *docs);
        if (!docs) {
            free(doc.text);
            return tn_fail(e, TN_ENOMEM, "out of memory");
        }
        o->docs = docs;
        o->cap_docs = cap;
    }
    o->docs[o->n_docs++] = doc;
    return TN_OK;
}

static int keep_rows(capture_out *o, out_layer *l, const sae_acts_builder *b, tn_err *e) {
    for (size_t r = 0; r < b->n; r++) {
        const float *row = b->rows + r * (size_t)b->d;
        if (l->limit != 0 && sae_row_norm(row, b->d) > l->limit)
            l->dropped++;
        else if (sae_acts_append(&l->rows, row, b->tokens[r], (int32_t)(o->n_docs - 1), b->pos[r]))
            return tn_fail(e, TN_ENOMEM, "out of memory");
    }
    return l->rows.n >= SAE_OUTLIER_ROWS ? settle_limit(l, o->max_norm, e) : TN_OK;
}

int capture_out_add(capture_out *o, sae_doc doc, const sae_acts_builder *rows, tn_err *e) {
    int full = 0, rc = TN_OK;
    for (int i = 0; i < o->n_layers; i++)
        full |= o->layers[i].rows.n > 0 && o->layers[i].rows.n + rows[i].n > o->shard_rows;
    if (full) rc = flush(o, 0, e);
    if (rc) {
        free(doc.text);
        return rc;
    }
    rc = keep_doc(o, doc, e);
    for (int i = 0; i < o->n_layers && !rc; i++) rc = keep_rows(o, &o->layers[i], &rows[i], e);
    return rc;
}

int capture_out_end(capture_out *o, tn_err *e) {
    if (o->shards == 0 && o->layers[0].rows.n == 0)
        return tn_fail(e, TN_EARG, "no position was selected, nothing to write");
    return o->complete ? TN_OK : flush(o, 1, e);
}

void capture_out_free(capture_out *o) {
    for (size_t i = 0; i < o->n_docs; i++) free(o->docs[i].text);
    free(o->docs);
    for (int i = 0; i < o->n_layers; i++) sae_acts_builder_free(&o->layers[i].rows);
}

/* ---- going on ---- */

/* Metadata `key` of a shard must be `want`. */
static int check_same(const sae_shard *s, const char *key, const char *want, tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    int same = tn_st_metadata(s->file, key, &text) && text.data && strcmp(text.data, want) == 0;
    int rc = same ? TN_OK
                  : tn_fail(e, TN_EARG, "%s: belongs to another capture (%s is %.60s, not %.60s)", s->path,
                            key, text.data ? text.data : "not given", want);
    tn_buf_free(&text);
    return rc;
}

/* A number of a shard's metadata. */
static double read_number(const sae_shard *s, const char *key) {
    tn_buf text = TN_BUF_INIT;
    double v = tn_st_metadata(s->file, key, &text) && text.data ? strtod(text.data, NULL) : 0;
    tn_buf_free(&text);
    return v >= 0 && v < 1e15 ? v : 0;
}

/* What shard `number` of a layer says of the work done. */
static int read_shard(capture_out *o, out_layer *l, int number, tn_err *e) {
    char path[1024];
    sae_shards one;
    int rc = sae_shard_path(path, sizeof path, l->path, number, e);
    const char *const paths[] = {path};
    if (!rc) rc = sae_shards_open(&one, paths, 1, e);
    if (rc) return rc;
    const sae_shard *s = one.at;
    rc = check_same(s, "model_name", o->model_name, e);
    if (!rc) rc = check_same(s, "hook_name", l->hook, e);
    for (size_t i = 0; i < o->n_extra && !rc; i++) rc = check_same(s, o->extra[i].key, o->extra[i].value, e);
    l->limit = read_number(s, "norm_limit");
    l->written += s->n;
    o->first_doc = (size_t)read_number(s, "first_document") + s->docs;
    o->complete = s->last;
    sae_shards_close(&one);
    return rc;
}

/* Makes the directory a file goes to: that it is missing should not be found out when all is computed. */
static int make_parent(const char *path, tn_err *e) {
    char dir[1024];
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path) return TN_OK;
    snprintf(dir, sizeof dir, "%.*s", (int)(slash - path), path);
    return tn_make_dirs(dir, e);
}

int capture_out_begin(capture_out *o, int resume, size_t *done, tn_err *e) {
    char path[1024];
    *done = 0;
    for (int i = 0; i < o->n_layers; i++) {
        int rc = make_parent(o->layers[i].path, e);
        if (rc) return rc;
    }
    for (int number = 1;; number++) {
        for (int i = 0; i < o->n_layers; i++) {
            int rc = sae_shard_path(path, sizeof path, o->layers[i].path, number, e);
            if (rc) return rc;
            if (!tn_file_exists(path)) return TN_OK;
            if (!resume)
                return tn_fail(
                    e, TN_EARG,
                    "%s: is there from an earlier capture; --resume goes on with it, or remove its "
                    "shards",
                    path);
        }
        for (int i = 0; i < o->n_layers; i++) {
            int rc = read_shard(o, &o->layers[i], number, e);
            if (rc) return rc;
        }
        o->shards = number;
        *done = o->first_doc;
        if (o->complete) return TN_OK;
    }
}
