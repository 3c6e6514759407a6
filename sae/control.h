/* The control experiment for steering, apart from the model: which label an answer names, which features
 * serve as the random control, and how often answers moved.
 *
 * A case is a question with two candidates: TARGET, towards which the answer is to be moved, and OTHER.
 */
#ifndef SAE_CONTROL_H
#define SAE_CONTROL_H

#include "sae/label_ids.h"

/* The label that text [len] names first, or -1. A label is named where it stands as whole words, in any
 * case; it may be plural: "s" or "es" behind it, or "ies" in place of its "y". A word is a run of ASCII
 * letters and digits; a blank in a label stands for any run of white space. Where several labels begin, the
 * longest counts: a "cable car" is no "cable" and no "car". */
int sae_label_named(const sae_label_ids *ids, const char *text, size_t len);

/* listed [d_sae] <- 1 for every feature of any label, 0 for the others; returns how many others there are.
 * The ids have passed sae_label_ids_check. */
int sae_mark_listed(const sae_label_ids *ids, int d_sae, unsigned char *listed);

/* Draws n different features that are not listed, every choice equally likely, into out [n], ascending. The
 * seed decides. TN_EARG when there are fewer. */
int sae_draw_unlisted(const unsigned char *listed /* [d_sae] */, int d_sae, int n, uint64_t seed,
                      int32_t *out, tn_err *e);

/* What one way of answering did to all cases. */
typedef struct {
    int cases, target, other, third, none; /* cases; whose answer names TARGET, OTHER, a third label, none */
    int open;  /* cases whose original answer does not name TARGET: only those can move */
    int moved; /* those of them whose answer in this way names TARGET */
} sae_tally;
/* Adds a case: the labels that the original answer and this way's name (-1: none), its TARGET and OTHER. */
void sae_tally_add(sae_tally *t, int original, int named, int target, int other);

/* A share with its 95 % Wilson score interval (Wilson 1927). */
typedef struct {
    double share, low, high;
} sae_share;
/* hits of n; of none at all the share is NaN, and the interval 0 to 1. */
sae_share sae_wilson(int hits, int n);

#endif
