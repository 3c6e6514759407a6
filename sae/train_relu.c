/* ReLU with an L1 penalty (Bricken et al. 2023, "Towards Monosemanticity"):
 *
 *     z = relu(pre)       penalty = mean_b sum_i w_i z_i
 *     dz_bi = G_b · W_dec[i] + lambda w_i / n where z_bi > 0       d|W_dec[i]| = lambda mean_b z_bi
 */
#include "sae/train_internal.h"

/* Entry a comes from a row >= a, so nothing is overwritten before it is read. */
void sae_train_list_positive(sae_trainer *t, size_t i) {
    size_t n = (size_t)t->n, width = (size_t)t->opts.batch;
    float *z = t->z + i * width; /* [n] */
    uint32_t *rows = t->rows + i * width;
    float bias = t->model->b_enc[i];
    uint32_t count = 0;
    double sum = 0;
    for (size_t b = 0; b < n; b++) {
        float pre = z[b] + bias;
        if (pre <= 0.0f) continue;
        z[count] = pre;
        rows[count++] = (uint32_t)b;
        sum += (double)pre;
    }
    t->count[i] = t->fired[i] = count;
    t->z_sum[i] = sum;
}

double sae_train_l1(const sae_trainer *t) {
    double sum = 0;
    for (size_t i = 0; i < (size_t)t->model->cfg.d_sae; i++) sum += (double)t->weight[i] * t->z_sum[i];
    return sum / t->n;
}

static void gradient(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    const tn_kernels *k = t->ex.k;
    size_t d = (size_t)t->model->cfg.d_in, width = (size_t)t->opts.batch;
    const float *z = t->z + i * width;
    const uint32_t *rows = t->rows + i * width;
    float push = g->lambda_n * t->weight[i];
    for (uint32_t a = 0; a < t->count[i]; a++) {
        const float *err = t->err + rows[a] * d; /* [D] */
        float dz = k->dot(err, g->w, d) + push;
        k->axpy(g->dw_dec, z[a], err, d);
        k->axpy(g->dw_enc, dz, g->xin + rows[a] * d, d);
        g->dpre += dz;
    }
    g->d[0] = g->dpre;
    g->dnorm = g->lambda_n * (float)t->z_sum[i];
}

const sae_train_arch sae_train_relu = {.name = "relu",
                                       .trained_as = "standard",
                                       .model = SAE_STANDARD,
                                       .list = sae_train_list_positive,
                                       .penalty = sae_train_l1,
                                       .gradient = gradient};
