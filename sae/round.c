/* Rounded copies of the encoder (round.h). */
#include "sae/round.h"

#include <stdlib.h>
#include <string.h>

/* [F, D] as BF16 */
static int to_bf16(sae_model *s, tn_err *e) {
    const size_t n = (size_t)s->cfg.d_sae * (size_t)s->cfg.d_in;
    s->rounded = malloc(n * tn_dtype_size(TN_BF16));
    if (!s->rounded) return tn_fail(e, TN_ENOMEM, "no memory for the encoder in BF16");
    s->encoder.data = s->rounded;
    s->encoder.dtype = TN_BF16;
    return tn_from_f32(s->rounded, TN_BF16, s->w_enc, n);
}

int sae_round_encoder(sae_model *s, const char *type, tn_err *e) {
    if (strcmp(type, "f32") == 0) return TN_OK;
    if (strcmp(type, "bf16") == 0) return to_bf16(s, e);
    return tn_fail(e, TN_EARG, "the encoder can be f32, bf16 or q8, not \"%s\"", type);
}
