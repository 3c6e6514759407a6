/* A smaller copy of the encoder for an SAE in the forward pass, where reading W_enc is the cost. The
 * features' values round with it; the decoder, whose few active rows cost nothing, stays exact.
 */
#ifndef SAE_ROUND_H
#define SAE_ROUND_H

#include "sae/sae.h"

/* Makes sae_encode read W_enc as `type`: "f32" (as it is), "screen" (a small copy finds which latents have
 * to be computed in F32: the same bits as f32), "bf16" or "q8" (8 bits in groups, activations too). The copy
 * is made on `threads` threads, belongs to s and follows no later change of w_enc. TN_EARG for another type,
 * TN_ENOMEM. */
int sae_round_encoder(sae_model *s, const char *type, int threads, tn_err *e);

#endif
