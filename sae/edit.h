/* Edits of latents: what `sae steer --op` says.
 *
 *     all *= 0.5; 1234 += 1.0; 7,9,20-29 = 3; 5 clamp 0 2; 8 ablate; 12@15 += 1; car += 2
 *
 * Statements are split by ';' and applied from left to right to every selected row. A target is `all` (also
 * spelt `scale`, as in "scale *=0.5"), indices and ranges, or the name of a set given by the caller; "@15"
 * limits a statement to the SAE of layer 15.
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
    int32_t *features; /* [n_features], owned */
    int n_features;
} sae_edit;

typedef struct {
    sae_edit *items;
    int count;
} sae_edits;

/* A named list of features ("car"). */
typedef struct {
    const char *name;
    const int32_t *features;
    int n_features;
} sae_feature_set;

/* Parses `text`. TN_EARG with the statement that is wrong: `--op: "12 ** 3": …`. */
int sae_edits_parse(sae_edits *out, const char *text, const sae_feature_set *sets, int n_sets, tn_err *e);
void sae_edits_free(sae_edits *e);
/* Every feature below d_sae? TN_EARG "feature 20000 is out of range: the SAE has 17920". */
int sae_edits_check(const sae_edits *edits, int layer, int d_sae, tn_err *e);

/* Applies all statements for `layer` to one row z [d_sae], in place. */
void sae_edits_apply(const sae_edits *edits, int layer, float *z, int d_sae);

#endif
