/* The best features of a label, or of every label: chosen on some documents, measured on others, drawn.
 *
 * A feature that was picked because it separates a label's documents best will look good on those very
 * documents, by luck if by nothing else. Its AUROC on documents that had no say in the choice tells how much
 * of that is true.
 */
#ifndef SAE_RANKING_H
#define SAE_RANKING_H

#include "sae/features.h"
#include "tensor/buf.h"

/* A feature counts as active for a label when it fires in at least this share of its documents. */
#define SAE_ACTIVE_SHARE 0.5

/* The AUROC from which a label's best feature counts as telling the label from the others. */
#define SAE_GOOD_AUROC 0.95f

typedef struct {
    const sae_feature_stats *stats; /* of the documents that features are chosen on */
    int n;                          /* labels asked for */
    int top;                        /* features asked for per label */
    int *labels;                    /* [n] indices into stats->labels */
    int *counts;                    /* [n] features there are, at most top */
    sae_feature_score *scores;      /* [n, top] best first */
    float *held_out;                /* [n, top] AUROC on held-out documents, NaN where there is none */
} sae_ranking;

/* Ranks the features of `label`, or of every label with label = -1. `held` (may be NULL) are the statistics
 * of the same SAE on held-out documents; both must outlive *out. */
int sae_ranking_new(sae_ranking *out, const sae_feature_stats *stats, const sae_feature_stats *held,
                    int label, sae_feature_order order, int top, tn_err *e);
void sae_ranking_free(sae_ranking *r);

/* Statistics on held-out documents `acts`, which must be of the hook that `ranked` is of and fit the SAE. */
int sae_held_out_stats(sae_feature_stats *out, const sae_model *s, const sae_acts *acts,
                       const sae_acts *ranked, tn_exec ex, tn_err *e);

/* AUROC of a feature for the label of this name; NaN when the documents have no rows of that label, or of no
 * other. */
float sae_label_auroc(const sae_feature_stats *st, const char *label, int32_t feature);

/* Labels whose best feature has an AUROC of at least SAE_GOOD_AUROC: on the documents it was chosen on, and
 * the same feature on the held-out ones, of which `comparable` labels have documents. */
void sae_ranking_reach(const sae_ranking *r, int *chosen, int *held_out, int *comparable);

/* Picture: mean activation of the best `most` features of every ranked label (rows) in the documents of every
 * label (columns), as a share of the row's largest. Without memory svg->failed is set. */
void sae_ranking_heatmap(const sae_ranking *r, int most, tn_buf *svg);

/* Picture: how many features fire in at least SAE_ACTIVE_SHARE of each label's documents. */
void sae_active_bars(const sae_feature_stats *st, tn_buf *svg);

#endif
