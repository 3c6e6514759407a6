/* Which rows a training run uses, and in which order: split, shuffling, scale. Internal to fit*.c. */
#ifndef SAE_FIT_ROWS_H
#define SAE_FIT_ROWS_H

#include "sae/fit.h"

typedef struct {
    const sae_acts *acts;
    uint32_t *train; /* [n_train] ascending */
    uint32_t *val;   /* [n_val] shuffled once, so that the first ones are a fair sample */
    uint32_t *order; /* [n_train] the training rows as the current epoch takes them */
    uint32_t n_train, n_val;
    size_t train_docs, val_docs;
    double mean_norm; /* mean_b |x_b| of the training rows */
    double variance;  /* mean_b |x_b - mean x|^2 of the training rows */
    double *mean;     /* [D] of the training rows */
    double scale;     /* factor on every row that training sees */
} sae_fit_rows;

/* Splits by the seed and measures the training rows. TN_EARG when a side would be empty, TN_ENUM when the
 * training rows are all equal. */
int sae_fit_rows_new(sae_fit_rows *out, const sae_acts *acts, const sae_fit_opts *o, tn_err *e);
void sae_fit_rows_free(sae_fit_rows *r);
/* Fills `order` for an epoch; the same for the same seed and epoch. */
void sae_fit_rows_shuffle(sae_fit_rows *r, uint64_t seed, int epoch);
/* dst [n, D] = scale * rows idx[0 … n-1]. */
void sae_fit_rows_gather(const sae_fit_rows *r, const uint32_t *idx, size_t n, float *dst);

#endif
