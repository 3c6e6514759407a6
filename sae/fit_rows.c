/* Validation, scale and batches of the rows of a training run (fit_rows.h). */
#include "sae/fit_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_BYTES ((size_t)1 << 30) /* of the buffer */

/* mean, mean_norm and variance of the measured rows, in the order of their numbers. */
static int measure(sae_fit_rows *r, tn_err *e) {
    size_t d = (size_t)r->source->d;
    sae_fit_set set;
    int rc = sae_fit_rows_measured(r, &set, e);
    if (rc) return rc;
    r->mean = calloc(d, sizeof *r->mean);
    if (!r->mean) return tn_fail(e, TN_ENOMEM, "no memory for a row of %zu", d);
    double norms = 0, squares = 0, mean_sq = 0, n = 0;
    for (uint32_t b = 0; b < set.n; b++) {
        const float *row = set.x + b * d;
        double sq = 0;
        if (!set.keep[b]) continue;
        for (size_t k = 0; k < d; k++) {
            r->mean[k] += (double)row[k];
            sq += (double)row[k] * (double)row[k];
        }
        norms += sqrt(sq);
        squares += sq;
        n++;
    }
    for (size_t k = 0; k < d; k++) {
        r->mean[k] /= n;
        mean_sq += r->mean[k] * r->mean[k];
    }
    r->mean_norm = norms / n;
    r->variance = squares / n - mean_sq;
    if (!isfinite(squares))
        return tn_fail(e, TN_ENUM, "%s: the activations hold a NaN or an infinity", r->source->name);
    /* Rows that are all equal leave only rounding here. */
    if (!(r->variance > 1e-12 * squares / n))
        return tn_fail(e, TN_ENUM, "%s: all %.0f training rows are equal: there is nothing to learn",
                       r->source->name, n);
    return TN_OK;
}

static int read_validation(sae_fit_rows *r, tn_err *e) {
    uint32_t n = r->split.n_val;
    size_t d = (size_t)r->source->d, elements;
    if (!tn_mul_size(n ? n : 1, d, &elements)) r->val_x = calloc(elements, sizeof *r->val_x);
    r->val_keep = malloc(n ? n : 1);
    if (!r->val_x || !r->val_keep) return tn_fail(e, TN_ENOMEM, "no memory for %u rows of validation", n);
    return sae_fit_read(r->source, r->split.val, NULL, n, r->val_x, r->val_keep, e);
}

/* Slots of the shuffle buffer: what validation leaves. */
static int new_buffer(sae_fit_rows *r, uint64_t seed, tn_err *e) {
    uint32_t n_val = r->split.n_val, cap = r->split.n_train;
    if (!r->split.fits) {
        if (n_val > r->limit / 2)
            return tn_fail(e, TN_EARG, "%u rows of validation leave too little of a buffer of %u", n_val,
                           r->limit);
        cap = r->limit - n_val;
    }
    return sae_fit_buffer_new(&r->buffer, &r->split, cap, seed, e);
}

int sae_fit_rows_new(sae_fit_rows *out, const sae_source *source, const sae_fit_opts *o, tn_err *e) {
    size_t room = DEFAULT_BYTES / sizeof(float) / (size_t)source->d;
    *out = (sae_fit_rows){.source = source, .limit = o->buffer};
    if (o->buffer == 0) out->limit = room < UINT32_MAX ? (uint32_t)room : UINT32_MAX;
    if (out->limit < source->rows && (out->limit < 4 || (int64_t)out->limit < o->train.batch))
        return tn_fail(e, TN_EARG, "a buffer of %u rows is too small for batches of %d", out->limit,
                       o->train.batch);
    int rc = sae_fit_split_new(&out->split, source, o, out->limit, e);
    if (!rc) rc = new_buffer(out, o->train.seed, e);
    if (!rc) rc = read_validation(out, e);
    if (!rc) rc = measure(out, e);
    if (rc) {
        sae_fit_rows_free(out);
        return rc;
    }
    out->scale = o->scale_inputs ? sqrt((double)source->d) / out->mean_norm : 1;
    if (o->scale_inputs && o->train.convention == SAE_DICTIONARY_LEARNING) {
        double squares = out->variance; /* mean_b |x_b|^2 */
        for (int k = 0; k < source->d; k++) squares += out->mean[k] * out->mean[k];
        out->scale = 1 / sqrt(squares);
    }
    return TN_OK;
}

void sae_fit_rows_free(sae_fit_rows *r) {
    sae_fit_split_free(&r->split);
    sae_fit_buffer_free(&r->buffer);
    free(r->val_x);
    free(r->val_keep);
    free(r->mean);
    memset(r, 0, sizeof *r);
}

int sae_fit_rows_seek(sae_fit_rows *r, int epoch, uint32_t rows, tn_err *e) {
    return sae_fit_buffer_seek(&r->buffer, epoch, rows, e);
}

static void put_scaled(const sae_fit_rows *r, const float *row, float *dst) {
    float scale = (float)r->scale;
    for (int k = 0; k < r->source->d; k++) dst[k] = scale * row[k];
}

int sae_fit_rows_next(sae_fit_rows *r, uint32_t n, float *dst, uint32_t *kept, tn_err *e) {
    size_t d = (size_t)r->source->d;
    *kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot;
        int rc = sae_fit_buffer_next(&r->buffer, &slot, e);
        if (rc) return rc;
        if (r->buffer.keep[slot]) put_scaled(r, r->buffer.x + slot * d, dst + (*kept)++ * d);
    }
    return TN_OK;
}

sae_fit_set sae_fit_rows_validation(const sae_fit_rows *r) {
    return (sae_fit_set){r->val_x, r->val_keep, r->split.n_val};
}

int sae_fit_rows_measured(sae_fit_rows *r, sae_fit_set *out, tn_err *e) {
    *out = (sae_fit_set){r->buffer.x, r->buffer.keep, 0};
    return sae_fit_buffer_measured(&r->buffer, &out->n, e);
}

uint32_t sae_fit_rows_scaled(const sae_fit_rows *r, const sae_fit_set *set, uint32_t first, uint32_t n,
                             float *dst) {
    size_t d = (size_t)r->source->d;
    uint32_t kept = 0;
    for (uint32_t b = first; b < first + n; b++)
        if (set->keep[b]) put_scaled(r, set->x + b * d, dst + kept++ * d);
    return kept;
}
