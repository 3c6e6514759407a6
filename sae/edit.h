/* Edits of latents: what `sae steer --op` says.
 *
 *     all *= 0.5; 1234 += 1.0; 7,9,20-29 = 3; 5 clamp 0 2; 8 ablate; 12@15 += 1; car += 2
 *
 * Statements are split by ';' and applied from left to right to every selected row. A statement is
 *
 *     TARGET[@LAYER] *= x   z <- z * x
 *                    += x   z <- z + x
 *                    -= x   z <- z - x
 *                    = x    z <- x
 *                    clamp LOW HIGH   z <- min(max(z, LOW), HIGH)
 *                    ablate           z <- 0
 *
 * A target is `all` (also spelt `scale`, as in "scale *=0.5") or a comma list of indices, ranges and names
 * of sets given by the caller. It is a set: a latent named twice is changed once. "@15" limits the statement
 * to the SAE of layer 15. Results are not clipped: an edit may make a latent negative.
 */
#ifndef SAE_EDIT_H
#define SAE_EDIT_H

#include "sae/sae.h"

typedef enum { SAE_SCALE, SAE_SET, SAE_ADD, SAE_CLAMP, SAE_ABLATE } sae_op;

typedef struct {
    sae_op op;
    float a, b;        /* factor, value, addend; clamp's low and high */
    int layer;         /* -1 = every SAE */
    int all;           /* 1: every latent, features is unused */
    int32_t *features; /* [n_features], owned, ascending */
    int n_features;
} sae_edit;

typedef struct {
    sae_edit *items; /* [count], owned */
    int count;
} sae_edits;

/* A named list of features ("car"). */
typedef struct {
    const char *name;
    const int32_t *features; /* [n_features] */
    int n_features;
} sae_feature_set;

/* Parses `text`. TN_EARG with the statement that is wrong: `"12 ** 3": …`. */
int sae_edits_parse(sae_edits *out, const char *text, const sae_feature_set *sets, int n_sets, tn_err *e);
void sae_edits_free(sae_edits *e);

/* Parses a list of indices and ranges ("12,55,90-99") into *features [*n], sorted, each once; the caller
 * frees it. TN_EARG when it is no such list. */
int sae_features_parse(int32_t **features, int *n, const char *text, tn_err *e);

/* Every feature that touches the SAE of `layer` is below d_sae? TN_EARG "feature 20000 is out of range: the
 * SAE of layer 15 has 17920". */
int sae_edits_check(const sae_edits *edits, int layer, int d_sae, tn_err *e);

/* Applies all statements for `layer` to one row z [d_sae], in place. The edits have passed sae_edits_check
 * for this layer. */
void sae_edits_apply(const sae_edits *edits, int layer, float *z, int d_sae);

#endif
