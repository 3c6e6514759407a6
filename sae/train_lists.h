/* The active latents of a batch, twice: row by row, as the encoder finds them, and latent by latent, as the
 * gradients want them. Each of the two has a fixed order, so sums over them do not depend on the threads. */
#ifndef SAE_TRAIN_LISTS_H
#define SAE_TRAIN_LISTS_H

#include "sae/search.h"

/* Room is taken for the most that can be active; pages that stay unused cost nothing. */
typedef struct {
    sae_entry *of_row;    /* [B, room] latents ascending; the first n_of_row[b] count */
    uint32_t *n_of_row;   /* [B] */
    sae_entry *of_latent; /* [B * room] latent after latent, rows ascending */
    size_t *first;        /* [F + 1] where a latent's entries begin; its end is where the next ones begin */
    size_t *next;         /* [F] while they are filled */
    size_t room;
} sae_lists;

void sae_lists_take(sae_lists *l, tn_arena *a, size_t batch, size_t room, size_t f);
/* Fills the lists of f latents from those of n rows. */
void sae_lists_turn(const sae_lists *l, size_t n, size_t f, int threads);

static inline size_t sae_lists_count(const sae_lists *l, size_t i) {
    return l->first[i + 1] - l->first[i];
}

#endif
