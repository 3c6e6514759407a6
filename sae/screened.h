/* sae_encode with screening (screen.h): the same z, bit for bit, for a fraction of the time. */
#ifndef SAE_SCREENED_H
#define SAE_SCREENED_H

#include "sae/active.h"

/* From now on sae_encode of s screens with a copy of W_enc in 8 bits, and one in BF16 where the processor has
 * tiles. They are made on `threads` threads, belong to s and follow no later change of the parameters. */
int sae_screen_encoder(sae_model *s, int threads, tn_err *e);

/* What sae_encode does for such a model, for centred rows x [n, D]: only latents that may fire are computed
 * and activated. They go to `out`, and z [n, F] is scratch, most of it untouched; or, with out NULL, to z,
 * whose rest becomes 0. Scratch as for sae_screened_scratch. */
void sae_screened_encode(const sae_model *s, tn_exec ex, const float *x, size_t n, float *z,
                         const sae_active *out, void *scratch);
/* Bytes, 0 on overflow or when s does not screen. */
size_t sae_screened_scratch(const sae_model *s, size_t n);

#endif
