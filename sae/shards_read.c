/* Reading activation files that were opened as one (shards.h). */
#include "sae/ordered.h"
#include "sae/shards.h"

#include <math.h>

static size_t row_bytes(const sae_shards *s, const sae_shard *h) {
    return (size_t)s->d * tn_dtype_size(h->dtype);
}

/* The shard that holds a row: the last one whose first row is not after it. */
static size_t shard_of(const sae_shards *s, size_t row) {
    return sae_last_at_most(&s->at->first_row, sizeof *s->at, s->count, row);
}

static void read_row(const sae_shards *s, const sae_shard *h, size_t row, float *dst) {
    tn_to_f32(dst, h->rows + (row - h->first_row) * row_bytes(s, h), h->dtype, (size_t)s->d);
}

void sae_shards_row(const sae_shards *s, size_t row, float *dst) {
    read_row(s, &s->at[shard_of(s, row)], row, dst);
}

/* Runs ask for rows in ascending order: when a piece's documents are done with, their pages go. */
static uint32_t source_doc(void *ctx, uint32_t row) {
    sae_shards *s = ctx;
    const sae_shard *h = &s->at[s->current];
    size_t at = row - h->first_row; /* huge for a row of a shard before */
    if (at >= h->n || at / SAE_SHARD_PIECE != s->piece) {
        tn_st_release(h->file, h->doc, 4 * h->n);
        s->current = shard_of(s, row);
        h = &s->at[s->current];
        at = row - h->first_row;
        s->piece = at / SAE_SHARD_PIECE;
    }
    return (uint32_t)h->first_doc + tn_load_u32(h->doc + 4 * at);
}

/* Gives back the pages of the shard's rows from number `first` up to and including `last`. */
static void release_rows(const sae_shards *s, const sae_shard *h, uint32_t first, uint32_t last) {
    size_t bytes = row_bytes(s, h);
    tn_st_release(h->file, h->rows + (first - h->first_row) * bytes, (last - first + 1) * bytes);
}

/* Ids ascend. Pages are given back every SPAN bytes of the file: a system that maps far more around a row
 * than the page it lies on would hold whole shards otherwise. */
static int source_read(void *ctx, const uint32_t *ids, size_t n, float *dst, unsigned char *keep, tn_err *e) {
    enum { SPAN = 1 << 21 };
    const sae_shards *s = ctx;
    size_t d = (size_t)s->d, run = 0; /* run: the first id whose page is still held */
    const sae_shard *h = NULL;
    for (size_t i = 0; i < n; i++) {
        const sae_shard *next = &s->at[shard_of(s, ids[i])];
        if (h && (next != h || (ids[i] - ids[run]) * row_bytes(s, h) > SPAN)) {
            release_rows(s, h, ids[run], ids[i - 1]);
            run = i;
        }
        h = next;
        float *row = dst + i * d;
        read_row(s, h, ids[i], row);
        for (size_t k = 0; k < d; k++)
            if (!isfinite(row[k]))
                return tn_fail(e, TN_ENUM, "%s: activations: row %zu column %zu is %g", h->path,
                               ids[i] - h->first_row, k, (double)row[k]);
        if (keep) keep[i] = 1;
    }
    if (h) release_rows(s, h, ids[run], ids[n - 1]);
    return TN_OK;
}

sae_source sae_shards_source(sae_shards *s) {
    return (sae_source){.ctx = s,
                        .d = s->d,
                        .rows = (uint32_t)s->rows,
                        .docs = (uint32_t)s->docs,
                        .context = s->context,
                        .prepend_bos = s->prepend_bos,
                        .model_name = s->model_name,
                        .hook_name = s->hook_name,
                        .name = s->name,
                        .doc = source_doc,
                        .read = source_read};
}
