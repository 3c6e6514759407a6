/* Latents that fire, as lists instead of rows of F numbers: with a few dozen of thousands active, writing and
 * reading the zeros would cost more than encoding and decoding. */
#ifndef SAE_ACTIVE_H
#define SAE_ACTIVE_H

#include "sae/sae.h"

typedef struct {
    uint32_t at; /* in a row's list the latent, in a latent's list the row */
    float z;
} sae_entry;

/* What of z [n, F] is not 0. */
typedef struct {
    sae_entry *of_row;  /* [n, room] latents ascending; the first n_of_row[r] count */
    uint32_t *n_of_row; /* [n] */
    size_t room;        /* F: that many fire in the worst case, and with TopK where all are NaN */
} sae_active;

/* Room for n rows of s; pages that stay unused cost nothing. Free it with sae_active_free. */
int sae_active_new(sae_active *out, const sae_model *s, int n, tn_err *e);
void sae_active_free(sae_active *a);

/* The first entry of a list [count] at or beyond `at`. */
const sae_entry *sae_entry_from(const sae_entry *list, uint32_t count, size_t at);

/* Lists what of a row z [f] is not 0 from *at on, at most `most` of it, and moves *at behind that; returns
 * how many. */
size_t sae_list_some(const float *z, size_t f, size_t *at, sae_entry *list, size_t most);

/* Bytes of scratch that sae_encode_active needs for n rows, most of them untouched when s screens; 0 on
 * overflow. */
size_t sae_encode_active_scratch(const sae_model *s, int n);
/* The numbers of sae_encode, as lists. */
void sae_encode_active(const sae_model *s, tn_exec ex, const float *x, int n, const sae_active *out,
                       void *scratch);
/* xhat [n, D]: the bits of sae_decode. */
void sae_decode_active(const sae_model *s, tn_exec ex, const sae_active *a, int n, float *xhat);

#endif
