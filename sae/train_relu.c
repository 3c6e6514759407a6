/* ReLU with an L1 penalty (Bricken et al. 2023, "Towards Monosemanticity"):
 *
 *     z = relu(pre)       penalty = mean_b sum_i w_i z_i
 *     dz_bi = G_b · W_dec[i] + lambda w_i / n where z_bi > 0       d|W_dec[i]| = lambda mean_b z_bi
 */
#include "sae/train_internal.h"

#include <math.h>

float sae_train_bar_of_zero(const sae_trainer *t, size_t i) {
    double bias = (double)t->model->b_enc[i];
    return sae_screen_below(-bias, fabs(bias));
}

int sae_train_list_positive(const sae_trainer *t, size_t i, float p, sae_entry *e) {
    float pre = p + t->model->b_enc[i];
    if (pre <= 0.0f) return 0;
    *e = (sae_entry){(uint32_t)i, pre};
    return 1;
}

double sae_train_l1(const sae_trainer *t) {
    double sum = 0;
    for (size_t i = 0; i < (size_t)t->model->cfg.d_sae; i++) sum += (double)t->weight[i] * t->z_sum[i];
    return sum / t->n;
}

static void gradient(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    sae_train_linear_gradient(t, t->err, g->lambda_n * t->weight[i], g);
    g->dnorm = g->lambda_n * (float)t->z_sum[i];
}

const sae_train_arch sae_train_relu = {.name = "relu",
                                       .trained_as = "standard",
                                       .model = SAE_STANDARD,
                                       .bar = sae_train_bar_of_zero,
                                       .list = sae_train_list_positive,
                                       .penalty = sae_train_l1,
                                       .gradient = gradient};
