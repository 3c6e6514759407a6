/* The shuffle buffer of a training run: rows come in in the source's order and leave in a random one.
 *
 *     fill it -> shuffle -> serve one half -> refill that half with the next rows -> shuffle -> …
 *
 * until the source has no more, then serve all that is left (the mixing buffer of SAELens). When all training
 * rows fit they are read once, and each epoch is one shuffle of all of them.
 *
 * What is served depends on row numbers, seed and epoch alone: to continue in the middle of an epoch its
 * shuffles are repeated on the numbers, and only the rows that are in the buffer then are read.
 */
#ifndef SAE_FIT_BUFFER_H
#define SAE_FIT_BUFFER_H

#include "sae/fit_split.h"

typedef struct {
    const sae_fit_split *split;
    uint32_t cap;        /* slots */
    uint32_t *ids;       /* [cap] the row in each */
    float *x;            /* [cap, D] */
    unsigned char *keep; /* [cap] 0: the row is left out */
    uint32_t *order; /* [cap] slots: the first `held` have rows, the first `served` of these are done with */
    uint32_t held, served;
    uint32_t serve_end; /* served until then, then refilled */
    uint32_t next_row;  /* of the source */
    uint32_t drawn;     /* training rows that were read in this epoch */
    int whole;          /* slot i holds training row i, for good */
    uint64_t seed;
    tn_rng rng; /* of the epoch */
} sae_fit_buffer;

/* Takes the memory for `cap` rows (>= 2), or for all training rows when these are fewer, which are then read.
 */
int sae_fit_buffer_new(sae_fit_buffer *out, const sae_fit_split *split, uint32_t cap, uint64_t seed,
                       tn_err *e);
void sae_fit_buffer_free(sae_fit_buffer *b);
/* Makes it ready to serve an epoch of which `rows` rows were served before. */
int sae_fit_buffer_seek(sae_fit_buffer *b, int epoch, uint32_t rows, tn_err *e);
/* The slot of the next row. An epoch has as many as there are training rows. */
int sae_fit_buffer_next(sae_fit_buffer *b, uint32_t *slot, tn_err *e);
/* Puts the rows to be measured into slots 0 … *n-1, in place of what was there; to be followed by a seek. */
int sae_fit_buffer_measured(sae_fit_buffer *b, uint32_t *n, tn_err *e);

/* x[slot] [D] = row ids[slot] for slots [n] (NULL: 0 … n-1), read in ascending order. */
int sae_fit_read(const sae_source *source, const uint32_t *ids, const uint32_t *slots, uint32_t n, float *x,
                 unsigned char *keep, tn_err *e);

#endif
