/* What the commands share that read an SAE beside activations. Commands only. */
#ifndef SAE_CMD_INPUTS_H
#define SAE_CMD_INPUTS_H

#include "sae/acts.h"
#include "sae/example.h"
#include "sae/sae.h"
#include "tokenizer/tokenizer.h"

/* Tokens' texts out of a tokenizer, which must outlive the vocabulary; tok NULL: it knows no token. */
sae_vocabulary tokenizer_vocabulary(const tok_model *tok);

/* TN_EARG when the activations are of another place than the SAE was trained on, where both tell. */
int check_same_hook(const sae_model *sae, const sae_acts *acts, const char *acts_path, tn_err *e);

#endif
