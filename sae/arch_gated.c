/* Gated: one product with the encoder both opens the gate and gives the magnitude (Rajamanoharan et al. 2024,
 * arXiv:2404.16014):
 *
 *     u = x' · W_enc      z = relu(u exp(r_mag) + b_mag) where u + b_gate > 0, else 0
 */
#include "sae/arch.h"

#include <math.h>

static int vectors(sae_model *s, sae_vector out[SAE_MAX_VECTORS]) {
    out[0] = (sae_vector){"b_gate", &s->b_gate, 1};
    out[1] = (sae_vector){"b_mag", &s->b_mag, 1};
    out[2] = (sae_vector){"r_mag", &s->r_mag, 0};
    return 3;
}

static void activate(const sae_model *s, float *z, void *scratch) {
    (void)scratch;
    for (int i = 0; i < s->cfg.d_sae; i++) {
        if (z[i] + s->b_gate[i] <= 0.0f) {
            z[i] = 0.0f;
            continue;
        }
        float magnitude = z[i] * expf(s->r_mag[i]) + s->b_mag[i];
        z[i] = magnitude <= 0.0f ? 0.0f : magnitude;
    }
}

const sae_arch sae_arch_gated = {.name = "gated", .vectors = vectors, .activate = activate};
