/* Standard: z = relu(pre) (Bricken et al. 2023, "Towards Monosemanticity"). */
#include "sae/arch.h"

static int vectors(sae_model *s, sae_vector out[SAE_MAX_VECTORS]) {
    out[0] = (sae_vector){"b_enc", &s->b_enc, 1};
    return 1;
}

static void activate(const sae_model *s, float *z, void *scratch) {
    (void)scratch;
    for (int i = 0; i < s->cfg.d_sae; i++) z[i] = z[i] <= 0.0f ? 0.0f : z[i];
}

const sae_arch sae_arch_standard = {.name = "standard", .vectors = vectors, .activate = activate};
