/* Which features fire for a label and not for the others.
 *
 * Per feature and label: mean activation inside and outside, firing rate inside and outside, the difference
 * of means, and AUROC of the document score (the document's mean activation) for label against the rest:
 * the chance that a random document of the label scores higher than a random other one, ties counting half.
 * Documents without rows take no part.
 */
#ifndef SAE_FEATURES_H
#define SAE_FEATURES_H

#include "sae/acts.h"
#include "sae/sae.h"

typedef struct {
    int32_t feature;
    float mean_in, mean_out; /* over tokens */
    float rate_in, rate_out; /* share of tokens with z > 0 */
    float max_in;            /* largest activation inside */
    float diff;              /* mean_in - mean_out */
    float auroc;             /* over documents */
} sae_feature_score;

typedef enum { SAE_BY_DIFF, SAE_BY_AUROC } sae_feature_order;

/* How many of its strongest rows are kept per feature, each from another document. */
#define SAE_TOP_ROWS 5

/* One of a feature's strongest rows; z = 0 for an unused place. */
typedef struct {
    float z;
    uint32_t row; /* index into the activation file */
    int32_t doc;
} sae_example;

typedef struct {
    const char **labels; /* [n_labels], in order of first appearance; the texts belong to the sae_acts */
    int n_labels;
    int d_sae;       /* F */
    size_t n_tokens; /* rows of the activation file */
    size_t n_docs;
    float *doc_mean;       /* [n_docs, F] mean activation per document */
    int32_t *doc_label;    /* [n_docs] index into labels */
    size_t *doc_tokens;    /* [n_docs] */
    double *label_sum;     /* [n_labels, F] sum of activations */
    uint32_t *label_fires; /* [n_labels, F] tokens with z > 0 */
    float *label_max;      /* [n_labels, F] */
    float *auroc;          /* [n_labels, F] */
    size_t *label_tokens;  /* [n_labels] */
    sae_example *examples; /* [F, SAE_TOP_ROWS], strongest first */
} sae_feature_stats;

/* Encodes every row of acts once. acts must outlive *out. TN_ESHAPE when the widths differ. */
int sae_feature_stats_new(sae_feature_stats *out, const sae_model *s, const sae_acts *acts, tn_exec ex,
                          tn_err *e);
void sae_feature_stats_free(sae_feature_stats *st);
/* Index of a label, -1 when absent. */
int sae_label_find(const sae_feature_stats *st, const char *label);
/* The numbers of one feature for one label. */
sae_feature_score sae_feature_score_of(const sae_feature_stats *st, int label, int32_t feature);
/* The best `top` features of a label into out [top], best first; *n tells how many there are (features that
 * never fire for the label are left out). Ties go to the other measure, then to the lower index. */
int sae_features_top(const sae_feature_stats *st, int label, sae_feature_order order, int top,
                     sae_feature_score *out, int *n, tn_err *e);
/* Features that fire in at least `share` (0 … 1) of the label's documents. */
int sae_label_active(const sae_feature_stats *st, int label, double share);

#endif
