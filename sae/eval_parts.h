/* The rows of an evaluation, together and in parts: those at each range of positions, those of each label.
 * A part's numbers are those of eval.h over its own rows alone, its variance about its own mean.
 *
 *     for (each row) sae_parts_add(&p, x, xhat, z, pos, label);
 *     for (each row) sae_parts_add_again(&p, x, pos, label);       the same rows in the same order
 *     sae_eval_finish(&p.part[SAE_ALL_ROWS]) …
 *
 * Ranges double, because what a model does changes most among the first tokens: position 0, 1, 2 to 3, 4 to
 * 7, and so on.
 */
#ifndef SAE_EVAL_PARTS_H
#define SAE_EVAL_PARTS_H

#include "sae/eval.h"

enum { SAE_ALL_ROWS = 0, SAE_RANGES = 32, SAE_MEMBERSHIPS = 3 };

typedef struct {
    sae_eval *part; /* [n] all rows; then the ranges, when asked for; then the labels */
    int n;
    int first_range, n_ranges; /* 0 or SAE_RANGES */
    int first_label, n_labels;
    double *error; /* [rows] |e|^2 of each, for the second round */
    size_t rows, capacity;
    size_t again; /* rows so far of the second round */
} sae_parts;

int sae_parts_new(sae_parts *out, int d, int f, int by_position, int n_labels, tn_err *e);
void sae_parts_free(sae_parts *p);
/* Makes room for `more` further rows, so that sae_parts_add needs no memory. */
int sae_parts_reserve(sae_parts *p, size_t more, tn_err *e);
/* Which parts a row belongs to; returns how many. label counts from 0, -1 is none. */
int sae_parts_of(const sae_parts *p, int pos, int label, int of[SAE_MEMBERSHIPS]);
/* One row x, xhat [D], z [F]. */
void sae_parts_add(sae_parts *p, const float *x, const float *xhat, const float *z, int pos, int label);
void sae_parts_add_again(sae_parts *p, const float *x, int pos, int label);

/* First and last position of range 0 … SAE_RANGES - 1. */
void sae_range_bounds(int range, int *first, int *last);

#endif
