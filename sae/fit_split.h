/* Which rows of a source train, which validate and which are measured. Internal to fit*.c. */
#ifndef SAE_FIT_SPLIT_H
#define SAE_FIT_SPLIT_H

#include "sae/fit.h"
#include "tensor/rng.h"

/* What becomes of a document (of a row, when single rows are split). */
enum { SAE_FIT_TRAINS, SAE_FIT_MEASURED /* trains too */, SAE_FIT_VALIDATES };

typedef struct {
    const sae_source *source;
    int by_rows;          /* marks are of rows, not of documents */
    unsigned char *marks; /* [documents or rows] */
    uint32_t n_train, n_val;
    size_t train_docs, val_docs;
    uint32_t *val; /* [n_val] shuffled, so that the first ones are a fair sample */
    int fits;      /* all rows together fit into the run's buffer: all training rows are measured */
} sae_fit_split;

/* Splits by the seed. Where the rows do not fit into `buffer` rows, at most an eighth of the buffer validates
 * (and the one document more that reaches the share), and documents of SAE_FIT_MEASURED_ROWS rows or more,
 * drawn by the seed, are measured. TN_EARG when a side would be empty. */
enum { SAE_FIT_MEASURED_ROWS = 32768 };
int sae_fit_split_new(sae_fit_split *out, const sae_source *source, const sae_fit_opts *o, uint32_t buffer,
                      tn_err *e);
void sae_fit_split_free(sae_fit_split *s);
int sae_fit_split_mark(const sae_fit_split *s, uint32_t row);

/* Independent streams of random numbers from one seed. */
enum { SAE_STREAM_SPLIT = 1, SAE_STREAM_VAL_ORDER = 2, SAE_STREAM_EPOCH = 3 /* + epoch */ };
tn_rng sae_fit_stream(uint64_t seed, uint64_t which);

#endif
