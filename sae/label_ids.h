/* Lists of features per label, as `sae features --all --ids` prints them: one line per label,
 *
 *     fire truck<tab>12,55,90
 *
 * the feature that belongs to the label most first. Used by `sae control`.
 */
#ifndef SAE_LABEL_IDS_H
#define SAE_LABEL_IDS_H

#include "tensor/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *label;       /* owned */
    int32_t *features; /* [n_features] owned, each once, in the order of the line; may be none */
    int n_features;
} sae_label_features;

typedef struct {
    sae_label_features *items; /* [count] owned, each label once */
    int count;
} sae_label_ids;

/* Reads a file. Blank lines are skipped. Errors name file and line: "features.ids: line 3: …". */
int sae_label_ids_read(sae_label_ids *out, const char *path, tn_err *e);
/* The same from memory; messages begin with "line 3: …". */
int sae_label_ids_parse(sae_label_ids *out, const char *text, size_t len, tn_err *e);
void sae_label_ids_free(sae_label_ids *ids);

/* Number of the label, or -1. */
int sae_label_ids_find(const sae_label_ids *ids, const char *label);
/* Is every feature below d_sae? TN_EARG "car: feature 200 is out of range: the SAE has 128". */
int sae_label_ids_check(const sae_label_ids *ids, int d_sae, tn_err *e);
/* Keeps the first `top` features of every label (0: all), and puts them into ascending order, which edits
 * ask for. */
void sae_label_ids_top(sae_label_ids *ids, int top);

#endif
