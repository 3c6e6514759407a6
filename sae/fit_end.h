/* The end of a training run: the scale of the activations folded in, and the note about how the SAE was made.
 * Internal to fit.c. */
#ifndef SAE_FIT_END_H
#define SAE_FIT_END_H

#include "sae/fit_rows.h"

/* Training saw s·x; afterwards the SAE takes x itself. */
void sae_fit_fold_scale(sae_model *m, const sae_train_opts *t, float s);
/* How it was made: goes into cfg.json under metadata.scalpel_training. */
void sae_fit_describe(const sae_fit_opts *o, const sae_fit_rows *rows, const sae_fit_result *res,
                      tn_buf *out);

#endif
