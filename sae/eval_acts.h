/* Measuring an SAE on an activation file alone, without the model the rows came from (eval.h). */
#ifndef SAE_EVAL_ACTS_H
#define SAE_EVAL_ACTS_H

#include "sae/acts.h"
#include "sae/eval_parts.h"
#include "sae/sae.h"

/* Which rows count. */
typedef struct {
    int skip_first; /* 1: not those at position 0 */
    size_t n_docs;  /* only those of the first n_docs documents */
} sae_eval_choice;

/* Called now and then with how many rows of the file are done, from 0 to twice their number. */
typedef void (*sae_eval_progress)(void *ctx, size_t rows);

/* Encodes and decodes every row that counts, then takes the second round over them. labels [acts->n_docs]
 * are the documents' labels as sae_parts counts them; NULL: none. TN_ESHAPE when the widths differ, TN_ENUM
 * when a reconstruction is not finite. */
int sae_eval_acts(sae_parts *p, const sae_model *s, const sae_acts *acts, const int *labels,
                  sae_eval_choice choice, tn_exec ex, sae_eval_progress progress, void *ctx, tn_err *e);

#endif
