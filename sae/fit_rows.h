/* The rows a training run sees: validation rows, batches in random order, all of them scaled. Internal to
 * fit*.c.
 *
 * Memory is bounded by the buffer: validation rows and shuffle buffer share its rows.
 */
#ifndef SAE_FIT_ROWS_H
#define SAE_FIT_ROWS_H

#include "sae/fit_buffer.h"

/* Rows that are in memory: of validation, or those of training that were measured. */
typedef struct {
    const float *x;            /* [n, D] unscaled */
    const unsigned char *keep; /* [n] 0: left out */
    uint32_t n;
} sae_fit_set;

typedef struct {
    const sae_source *source;
    sae_fit_split split;
    sae_fit_buffer buffer;
    float *val_x;            /* [n_val, D] */
    unsigned char *val_keep; /* [n_val] */
    uint32_t limit;          /* rows of the buffer, as asked for */
    double mean_norm;        /* mean_b |x_b| of the measured rows */
    double variance;         /* mean_b |x_b - mean x|^2 of the measured rows */
    double *mean;            /* [D] of the measured rows */
    double scale;            /* factor on every row that training sees */
} sae_fit_rows;

/* Splits by the seed, measures, reads the validation rows. TN_EARG when a side would be empty or the buffer
 * is too small, TN_ENUM when the measured rows are all equal. */
int sae_fit_rows_new(sae_fit_rows *out, const sae_source *source, const sae_fit_opts *o, tn_err *e);
void sae_fit_rows_free(sae_fit_rows *r);
/* Before the first batch of a run or an epoch: `rows` rows of the epoch were taken before. */
int sae_fit_rows_seek(sae_fit_rows *r, int epoch, uint32_t rows, tn_err *e);
/* dst [*kept, D] = the next `n` rows of the epoch, scaled, without those that are left out. */
int sae_fit_rows_next(sae_fit_rows *r, uint32_t n, float *dst, uint32_t *kept, tn_err *e);

sae_fit_set sae_fit_rows_validation(const sae_fit_rows *r);
/* All training rows, when all rows fit into the buffer; else those of documents that were drawn by the seed.
 * To be followed by a seek. */
int sae_fit_rows_measured(sae_fit_rows *r, sae_fit_set *out, tn_err *e);
/* dst [result, D] = rows first … first + n - 1 of a set, scaled, without those that are left out. */
uint32_t sae_fit_rows_scaled(const sae_fit_rows *r, const sae_fit_set *set, uint32_t first, uint32_t n,
                             float *dst);

#endif
