/* Gated SAEs (Rajamanoharan et al. 2024, arXiv:2404.16014), with u = W_enc · xin:
 *
 *     pi = u + b_gate        mag = u exp(r_mag) + b_mag        z = relu(mag) where pi > 0, else 0
 *     penalty = mean_b sum_i w_i relu(pi_i)
 *     aux     = mean_b |x̃ - x|^2,  x̃ = sum_i relu(pi_i) W_dec[i] + b_dec
 *
 * The gate itself has no gradient: what opens it learns from the penalty and from x̃, through which the
 * decoder learns too, as in SAELens. With df = G_b · W_dec[i] and E = 2/n (x̃ - x), where pi > 0:
 *
 *     dmag = df where mag > 0        dpi = E_b · W_dec[i] + lambda/n w_i        du = dmag exp(r_mag) + dpi
 *     dW_dec[i] = sum_b z G_b + pi E_b                  d|W_dec[i]| = lambda mean_b relu(pi)
 *     db_gate = sum dpi    db_mag = sum dmag    dr_mag = sum dmag u exp(r_mag)
 *
 * The lists hold u where the gate is open.
 */
#include "sae/train_internal.h"

#include "tensor/par.h"

#include <math.h>
#include <string.h>

/* Order of the vectors in arch_gated.c. */
enum { B_GATE, B_MAG, R_MAG };

static float bar(const sae_trainer *t, size_t i) {
    double bias = (double)t->model->b_gate[i];
    return sae_screen_below(-bias, fabs(bias));
}

static int list(const sae_trainer *t, size_t i, float p, sae_entry *e) {
    if (p + t->model->b_gate[i] <= 0.0f) return 0;
    *e = (sae_entry){(uint32_t)i, p};
    return 1;
}

static float magnitude(const sae_trainer *t, size_t i, float u, float stretch) {
    float mag = u * stretch + t->model->b_mag[i];
    return mag <= 0.0f ? 0.0f : mag;
}

static float value(const sae_trainer *t, size_t i, float u) {
    return magnitude(t, i, u, expf(t->model->r_mag[i]));
}

static float pi(const sae_trainer *t, size_t i, float u) {
    return u + t->model->b_gate[i];
}

/* Of pi: what the penalty takes. */
static double sum(const sae_trainer *t, size_t i) {
    double total = 0;
    for (size_t a = t->lists.first[i]; a < t->lists.first[i + 1]; a++)
        total += (double)pi(t, i, t->lists.of_latent[a].z);
    return total;
}

static void reconstruct_rows(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in, rows = sae_train_rows_together(t);
    float two_over_n = 2.0f / (float)t->n;
    for (size_t b0 = begin; b0 < end; b0 += rows) {
        uint32_t place[SAE_MOST_ROWS] = {0};
        sae_piece all = {.lists = &t->lists,
                         .b0 = b0,
                         .b1 = end - b0 < rows ? end : b0 + rows,
                         .i1 = (size_t)s->cfg.d_sae,
                         .place = place};
        for (size_t b = b0; b < all.b1; b++) memcpy(t->aux_err + b * d, s->b_dec, d * sizeof *t->aux_err);
        sae_train_decode(t, &all, pi, t->aux_err, NULL);
        for (size_t b = b0; b < all.b1; b++) {
            double se = 0;
            for (size_t k = 0; k < d; k++) {
                float e = t->aux_err[b * d + k] - t->x[b * d + k];
                t->aux_err[b * d + k] = two_over_n * e;
                se += (double)e * (double)e;
            }
            t->aux_se[b] = se;
        }
    }
}

static double auxiliary(sae_trainer *t) {
    double se = 0;
    tn_parallel_for((size_t)t->n, sae_train_rows_together(t), t->ex.threads, reconstruct_rows, t);
    for (int b = 0; b < t->n; b++) se += t->aux_se[b];
    return se / t->n;
}

/* dictionary_learning takes W_dec and b_dec as constants in x̃. */
static int teaches_decoder(const sae_trainer *t) {
    return t->opts.convention == SAE_SAELENS;
}

static void gradient(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    int decoder_too = teaches_decoder(t);
    const tn_kernels *k = t->ex.k;
    size_t d = (size_t)t->model->cfg.d_in;
    float stretch = expf(t->model->r_mag[i]), push = g->lambda_n * t->weight[i];
    for (size_t a = 0; a < g->count; a++) {
        const sae_entry e = g->list[a];
        const float *err = t->err + e.at * d, *aux = t->aux_err + e.at * d; /* [D] */
        float z = magnitude(t, i, e.z, stretch);
        float dmag = z > 0 ? k->dot(err, g->w, d) : 0.0f, dpi = k->dot(aux, g->w, d) + push;
        float du = dmag * stretch + dpi;
        if (z > 0) k->axpy(g->dw_dec, z, err, d);
        if (decoder_too) k->axpy(g->dw_dec, e.z + t->model->b_gate[i], aux, d);
        g->dpre_of[a] = du;
        g->d[B_GATE] += dpi;
        g->d[B_MAG] += dmag;
        g->d[R_MAG] += dmag * e.z * stretch;
        g->dpre += du;
    }
    g->dnorm = g->lambda_n * (float)t->z_sum[i];
}

/* Both reconstructions begin with it. */
static void b_dec(const sae_trainer *t, float *g) {
    sae_train_add_rows(t, t->err, g);
    if (teaches_decoder(t)) sae_train_add_rows(t, t->aux_err, g);
}

const sae_train_arch sae_train_gated = {.name = "gated",
                                        .trained_as = "gated",
                                        .model = SAE_GATED,
                                        .bar = bar,
                                        .list = list,
                                        .value = value,
                                        .sum = sum,
                                        .auxiliary = auxiliary,
                                        .penalty = sae_train_l1,
                                        .gradient = gradient,
                                        .b_dec = b_dec};
