/* JumpReLU: z_i = pre_i where pre_i > threshold_i, else 0 (Rajamanoharan et al. 2024, arXiv:2407.14435).
 *
 * SAELens multiplies relu(pre) by the jump, so a threshold below zero acts as zero; so it does here.
 */
#include "sae/arch.h"

static int vectors(sae_model *s, sae_vector out[SAE_MAX_VECTORS]) {
    out[0] = (sae_vector){"b_enc", &s->b_enc, 1};
    out[1] = (sae_vector){"threshold", &s->threshold, 1};
    return 2;
}

static void activate(const sae_model *s, float *z, void *scratch) {
    (void)scratch;
    for (int i = 0; i < s->cfg.d_sae; i++) z[i] = z[i] <= 0.0f || z[i] <= s->threshold[i] ? 0.0f : z[i];
}

const sae_arch sae_arch_jumprelu = {.name = "jumprelu", .vectors = vectors, .activate = activate};
