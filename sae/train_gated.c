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
 * The lists hold the rows with an open gate: z, and u beside it in `gate`.
 */
#include "sae/train_internal.h"

#include "tensor/par.h"

#include <math.h>
#include <string.h>

/* Order of the vectors in arch_gated.c. */
enum { B_GATE, B_MAG, R_MAG };

static void list(sae_trainer *t, size_t i) {
    size_t n = (size_t)t->n, width = (size_t)t->opts.batch;
    float *z = t->z + i * width, *gate = t->gate + i * width; /* [n] */
    uint32_t *rows = t->rows + i * width, count = 0, fired = 0;
    float b_gate = t->model->b_gate[i], b_mag = t->model->b_mag[i], stretch = expf(t->model->r_mag[i]);
    double sum = 0;
    for (size_t b = 0; b < n; b++) {
        float u = z[b];
        if (u + b_gate <= 0.0f) continue;
        float mag = u * stretch + b_mag;
        gate[count] = u;
        z[count] = mag <= 0.0f ? 0.0f : mag;
        rows[count++] = (uint32_t)b;
        fired += !(mag <= 0.0f);
        sum += (double)(u + b_gate);
    }
    t->count[i] = count;
    t->fired[i] = fired;
    t->z_sum[i] = sum; /* of pi: what the penalty takes */
}

static void reconstruct_rows(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae, width = (size_t)t->opts.batch;
    float two_over_n = 2.0f / (float)t->n;
    for (size_t b0 = begin; b0 < end; b0 += SAE_ROWS) {
        size_t b1 = end - b0 < SAE_ROWS ? end : b0 + SAE_ROWS;
        for (size_t b = b0; b < b1; b++) memcpy(t->aux_err + b * d, s->b_dec, d * sizeof *t->aux_err);
        for (size_t i = 0; i < f; i++) {
            const uint32_t *rows = t->rows + i * width;
            const float *gate = t->gate + i * width;
            for (uint32_t a = sae_train_first(t, i, b0); a < t->count[i] && rows[a] < b1; a++)
                t->ex.k->axpy(t->aux_err + rows[a] * d, gate[a] + s->b_gate[i], s->w_dec + i * d, d);
        }
        for (size_t b = b0; b < b1; b++) {
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
    tn_parallel_for((size_t)t->n, SAE_ROWS, t->ex.threads, reconstruct_rows, t);
    for (int b = 0; b < t->n; b++) se += t->aux_se[b];
    return se / t->n;
}

static void gradient(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    const tn_kernels *k = t->ex.k;
    size_t d = (size_t)t->model->cfg.d_in, width = (size_t)t->opts.batch;
    const float *z = t->z + i * width, *gate = t->gate + i * width;
    const uint32_t *rows = t->rows + i * width;
    float stretch = expf(t->model->r_mag[i]), push = g->lambda_n * t->weight[i];
    for (uint32_t a = 0; a < t->count[i]; a++) {
        const float *err = t->err + rows[a] * d, *aux = t->aux_err + rows[a] * d; /* [D] */
        float dmag = z[a] > 0 ? k->dot(err, g->w, d) : 0.0f, dpi = k->dot(aux, g->w, d) + push;
        float du = dmag * stretch + dpi;
        if (z[a] > 0) k->axpy(g->dw_dec, z[a], err, d);
        k->axpy(g->dw_dec, gate[a] + t->model->b_gate[i], aux, d);
        k->axpy(g->dw_enc, du, g->xin + rows[a] * d, d);
        g->d[B_GATE] += dpi;
        g->d[B_MAG] += dmag;
        g->d[R_MAG] += dmag * gate[a] * stretch;
        g->dpre += du;
    }
    g->dnorm = g->lambda_n * (float)t->z_sum[i];
}

/* Both reconstructions begin with it. */
static void b_dec(const sae_trainer *t, float *g) {
    sae_train_add_rows(t, t->err, g);
    sae_train_add_rows(t, t->aux_err, g);
}

const sae_train_arch sae_train_gated = {.name = "gated",
                                        .trained_as = "gated",
                                        .model = SAE_GATED,
                                        .list = list,
                                        .auxiliary = auxiliary,
                                        .penalty = sae_train_l1,
                                        .gradient = gradient,
                                        .b_dec = b_dec};
