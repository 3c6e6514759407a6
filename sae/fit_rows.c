/* Split, shuffling and scale of the rows of a training run (fit_rows.h). */
#include "sae/fit_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Independent streams of random numbers from one seed. */
static tn_rng stream(uint64_t seed, uint64_t which) {
    return tn_rng_seed(seed ^ (which * 0x9E3779B97F4A7C15u));
}
#define STREAM_SPLIT 1
#define STREAM_VAL_ORDER 2
#define STREAM_EPOCH 3 /* + epoch */

/* Marks the rows of validation in is_val [n]. Items (documents or rows) are drawn in random order until the
 * share is reached; at least one is drawn and one is left. */
static int draw_validation(sae_fit_rows *r, const sae_fit_opts *o, unsigned char *is_val, tn_err *e) {
    const sae_acts *a = r->acts;
    size_t items = o->split_rows ? a->n : a->n_docs;
    size_t *size = calloc(items ? items : 1, sizeof *size);          /* [items] rows of each */
    uint32_t *order = malloc((items ? items : 1) * sizeof *order);   /* [items] */
    unsigned char *drawn = calloc(items ? items : 1, sizeof *drawn); /* [items] */
    int rc = TN_OK;
    if (!size || !order || !drawn) {
        rc = tn_fail(e, TN_ENOMEM, "no memory to split %zu rows", a->n);
        goto done;
    }
    uint32_t used = 0; /* items that have rows */
    for (size_t b = 0; b < a->n; b++) {
        size_t item = o->split_rows ? b : (size_t)a->doc[b];
        if (size[item]++ == 0) order[used++] = (uint32_t)item;
    }
    size_t wanted = (size_t)((double)o->validation * (double)a->n + 0.5), taken = 0;
    r->val_docs = 0;
    if (o->validation > 0) {
        if (used < 2) {
            rc = tn_fail(e, TN_EARG, "%s cannot be split into training and validation",
                         o->split_rows ? "a single row" : "the rows of a single document");
            goto done;
        }
        tn_rng rng = stream(o->train.seed, STREAM_SPLIT);
        tn_rng_shuffle(&rng, order, used);
        for (uint32_t i = 0; i + 1 < used && (i == 0 || taken < wanted); i++) {
            drawn[order[i]] = 1;
            taken += size[order[i]];
            r->val_docs++;
        }
    }
    r->train_docs = used - r->val_docs;
    for (size_t b = 0; b < a->n; b++) is_val[b] = drawn[o->split_rows ? b : (size_t)a->doc[b]];
done:
    free(size);
    free(order);
    free(drawn);
    return rc;
}

static int split(sae_fit_rows *r, const sae_fit_opts *o, tn_err *e) {
    size_t n = r->acts->n;
    unsigned char *is_val = calloc(n, 1);
    r->train = malloc(n * sizeof *r->train);
    r->val = malloc(n * sizeof *r->val);
    r->order = malloc(n * sizeof *r->order);
    int rc = is_val && r->train && r->val && r->order
                 ? TN_OK
                 : tn_fail(e, TN_ENOMEM, "no memory to split %zu rows", n);
    if (!rc) rc = draw_validation(r, o, is_val, e);
    for (uint32_t b = 0; b < n && !rc; b++) {
        if (is_val[b])
            r->val[r->n_val++] = b;
        else
            r->train[r->n_train++] = b;
    }
    free(is_val);
    if (rc) return rc;
    tn_rng rng = stream(o->train.seed, STREAM_VAL_ORDER);
    tn_rng_shuffle(&rng, r->val, r->n_val);
    return TN_OK;
}

/* mean, mean_norm and variance of the training rows. */
static int measure(sae_fit_rows *r, tn_err *e) {
    size_t d = (size_t)r->acts->d;
    float *row = malloc(d * sizeof *row);
    r->mean = calloc(d, sizeof *r->mean);
    if (!row || !r->mean) {
        free(row);
        return tn_fail(e, TN_ENOMEM, "no memory for a row of %zu", d);
    }
    double norms = 0, squares = 0, mean_sq = 0, n = r->n_train;
    for (uint32_t b = 0; b < r->n_train; b++) {
        double sq = 0;
        sae_acts_gather(r->acts, &r->train[b], 1, row);
        for (size_t k = 0; k < d; k++) {
            r->mean[k] += (double)row[k];
            sq += (double)row[k] * (double)row[k];
        }
        norms += sqrt(sq);
        squares += sq;
    }
    free(row);
    for (size_t k = 0; k < d; k++) {
        r->mean[k] /= n;
        mean_sq += r->mean[k] * r->mean[k];
    }
    r->mean_norm = norms / n;
    r->variance = squares / n - mean_sq;
    if (!isfinite(squares)) return tn_fail(e, TN_ENUM, "the activations hold a NaN or an infinity");
    /* Rows that are all equal leave only rounding here. */
    if (!(r->variance > 1e-12 * squares / n))
        return tn_fail(e, TN_ENUM, "all %u training rows are equal: there is nothing to learn", r->n_train);
    return TN_OK;
}

int sae_fit_rows_new(sae_fit_rows *out, const sae_acts *acts, const sae_fit_opts *o, tn_err *e) {
    memset(out, 0, sizeof *out);
    out->acts = acts;
    if (acts->n < 1 || acts->n >= UINT32_MAX) return tn_fail(e, TN_EARG, "%zu rows of activations", acts->n);
    int rc = split(out, o, e);
    if (!rc) rc = measure(out, e);
    if (rc) {
        sae_fit_rows_free(out);
        return rc;
    }
    out->scale = o->scale_inputs ? sqrt((double)acts->d) / out->mean_norm : 1;
    return TN_OK;
}

void sae_fit_rows_free(sae_fit_rows *r) {
    free(r->train);
    free(r->val);
    free(r->order);
    free(r->mean);
    memset(r, 0, sizeof *r);
}

void sae_fit_rows_shuffle(sae_fit_rows *r, uint64_t seed, int epoch) {
    tn_rng rng = stream(seed, STREAM_EPOCH + (uint64_t)epoch);
    memcpy(r->order, r->train, r->n_train * sizeof *r->order);
    tn_rng_shuffle(&rng, r->order, r->n_train);
}

void sae_fit_rows_gather(const sae_fit_rows *r, const uint32_t *idx, size_t n, float *dst) {
    sae_acts_gather(r->acts, idx, n, dst);
    float scale = (float)r->scale;
    if (scale == 1.0f) return;
    for (size_t i = 0; i < n * (size_t)r->acts->d; i++) dst[i] *= scale;
}
