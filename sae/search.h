/* Which latents' products with a row reach a bar, and these products in F32: the encoder without the rest.
 *
 * A block of rows meets one chunk of latents after the other. The products p = W_enc[i] · x of a chunk, or
 * their approximations y when screening (screen.h), are held against a bar:
 *
 *     bar of latent i on row b    floor_b * scale_i + bar_i
 *
 * What surely stays below it is forgotten at once. Where each row has a k of its own, floor_b is the k-th
 * largest value so far: values, or lower bounds of them when screening, come into a pool of 2k for each row,
 * and whenever that is full its k largest stay and the least of them is the floor. What has been found is
 * reduced once more by the floor in the end. Approximations are then replaced by products in F32, as
 * many latents at a time as have their rows of W_enc in cache for all rows of the block. Each product has the
 * bits that matmul_f32 gives it.
 */
#ifndef SAE_SEARCH_H
#define SAE_SEARCH_H

#include "sae/active.h"
#include "sae/screen.h"
#include "sae/topk.h"

typedef struct {
    const tn_kernels *k;
    const float *w_enc; /* [F, D] */
    size_t d, f;
    const sae_screen *screen; /* its norm and loss are looked at in any case, and may be zeros */
    int screened;             /* 1: scores with its copy */
    const float *bar, *scale; /* [F] */
    float floor;              /* where each row's begins */
    size_t ranks;             /* k, or 0: rows have none */
    const float *bias;        /* [F] with a k: the value of a latent is (p + bias_i) weight_i */
    const float *weight;      /* [F] (NULL: 1) */
} sae_search;

/* For rows [R] of a block; every array may also be the part of a larger one. */
typedef struct {
    float *scores;     /* [R, SAE_CHUNK] products of a chunk of latents */
    uint32_t *at;      /* [R, SAE_CHUNK] what of them reaches the bar */
    sae_entry *found;  /* [R, most] … of all chunks, ascending: the first n_found[r] count */
    uint32_t *n_found; /* [R] */
    uint32_t *place;   /* [R] how far they are computed */
    float *floor;      /* [R] */
    float *pool;       /* [R, 2k] */
    uint32_t *held;    /* [R] in it */
    sae_screen_rows rows;
    size_t most;   /* F, or what a row may have at most before screening gives up */
    float *panels; /* [tn_rows_room(R, D)] or NULL */
} sae_search_room;

/* Latents of a chunk: a multiple of the tiles of every kernel. Screening gives up where more than one latent
 * in SAE_TOO_MANY has to be computed: there the dense encoder is faster. */
enum { SAE_CHUNK = 192, SAE_TOO_MANY = 4 };

/* How many rows [d] stay in cache while others pass by. */
size_t sae_rows_in_cache(size_t d);

/* `screen`: the copy that will be used, or NULL. */
void sae_search_take(sae_search_room *room, tn_arena *a, size_t rows, size_t d, size_t most, size_t ranks,
                     const sae_screen *screen);
/* The part of a room that begins with row r. */
sae_search_room sae_search_from(const sae_search_room *room, const sae_search *s, size_t r);

/* Fills found with the products of rows x [n, D] that reach their bar (and a few that do not). 0: screening
 * has given up, found is not to be looked at. */
int sae_search_rows(const sae_search *s, sae_search_room *room, const float *x, size_t n);

#endif
