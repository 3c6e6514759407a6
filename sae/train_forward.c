/* The forward half of a training step.
 *
 *     pre = W_enc · xin + b_enc     z = act(pre)      x̂ = sum_i z_i W_dec[i] + b_dec     e = x̂ - x
 *     mse = mean_b sum_d e^2        l1 = mean_b sum_i w_i z_i        fve = 1 - mse / mean_b |x - mean x|^2
 */
#include "sae/train_internal.h"

#include "tensor/par.h"

#include <math.h>
#include <string.h>

static void center_rows(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    size_t d = (size_t)t->model->cfg.d_in;
    for (size_t b = begin; b < end; b++)
        for (size_t k = 0; k < d; k++) t->xin[b * d + k] = t->x[b * d + k] - t->model->b_dec[k];
}

static void encode_groups(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae, width = (size_t)t->opts.batch;
    const float *xin = s->cfg.apply_b_dec_to_input ? t->xin : t->x; /* [n, D] */
    for (size_t i0 = begin; i0 < end; i0 += SAE_GROUP) {
        size_t count = f - i0 < SAE_GROUP ? f - i0 : SAE_GROUP;
        /* Latents are the rows of the result: z[i, b] = W_enc[i] · xin[b]. */
        t->ex.k->matmul_f32(t->z + i0 * width, width, s->w_enc + i0 * d, d, xin, d, count, (size_t)t->n, d,
                            NULL);
        for (size_t i = i0; i < i0 + count; i++) {
            const float *w = s->w_dec + i * d;
            t->weight[i] = t->opts.unit_norm_decoder ? 1.0f : sqrtf(t->ex.k->dot(w, w, d));
            t->arch->list(t, i);
        }
    }
}

void sae_train_decode_latent(const sae_trainer *t, size_t i, size_t b0, size_t b1, float *out, double *l0) {
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in, width = (size_t)t->opts.batch;
    const uint32_t *rows = t->rows + i * width;
    const float *z = t->z + i * width;
    float floor = s->threshold ? s->threshold[i] : 0.0f; /* JumpReLU lists values below it too */
    for (uint32_t a = sae_train_first(t, i, b0); a < t->count[i] && rows[a] < b1; a++) {
        if (z[a] <= floor) continue;
        t->ex.k->axpy(out + rows[a] * d, z[a], s->w_dec + i * d, d);
        if (l0) l0[rows[a]]++;
    }
}

/* x̂ and the error of rows begin … end-1, a block of rows at a time so that they stay in cache while all the
 * latents pass by. Every row adds its latents up in ascending order, however the rows are shared out. */
static void decode_rows(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae;
    for (size_t b0 = begin; b0 < end; b0 += SAE_ROWS) {
        size_t b1 = end - b0 < SAE_ROWS ? end : b0 + SAE_ROWS;
        for (size_t b = b0; b < b1; b++) {
            memcpy(t->err + b * d, s->b_dec, d * sizeof *t->err);
            t->row_l0[b] = 0;
        }
        for (size_t i = 0; i < f; i++) sae_train_decode_latent(t, i, b0, b1, t->err, t->row_l0);
        for (size_t b = b0; b < b1; b++) {
            double se = 0;
            for (size_t k = 0; k < d; k++) {
                float e = t->err[b * d + k] - t->x[b * d + k];
                t->err[b * d + k] = e;
                se += (double)e * (double)e;
            }
            t->row_se[b] = se;
        }
    }
}

/* mean_b |x - mean x|^2 */
static double variance(sae_trainer *t) {
    size_t d = (size_t)t->model->cfg.d_in, n = (size_t)t->n;
    double squares = 0, mean_sq = 0;
    memset(t->mean, 0, d * sizeof *t->mean);
    for (size_t b = 0; b < n; b++)
        for (size_t k = 0; k < d; k++) {
            double v = (double)t->x[b * d + k];
            t->mean[k] += v;
            squares += v * v;
        }
    for (size_t k = 0; k < d; k++) mean_sq += t->mean[k] / (double)n * (t->mean[k] / (double)n);
    return squares / (double)n - mean_sq;
}

void sae_train_forward(sae_trainer *t, const float *x, int n, double l1, sae_metrics *m) {
    size_t f = (size_t)t->model->cfg.d_sae, rows = (size_t)n;
    t->x = x;
    t->n = n;
    if (t->model->cfg.apply_b_dec_to_input) tn_parallel_for(rows, SAE_ROWS, t->ex.threads, center_rows, t);
    if (t->arch->auxk) sae_auxk_start(t);
    tn_parallel_for(f, SAE_GROUP, t->ex.threads, encode_groups, t);
    if (t->arch->select) t->arch->select(t);
    tn_parallel_for(rows, SAE_ROWS, t->ex.threads, decode_rows, t);

    double se = 0, fired = 0;
    for (size_t b = 0; b < rows; b++) se += t->row_se[b];
    m->dead = 0;
    for (size_t i = 0; i < f; i++) {
        fired += (double)t->fired[i];
        m->dead += t->silent[i] >= t->opts.dead_window;
    }
    double spread = variance(t);
    m->mse = se / n;
    m->l1 = sae_train_l1(t);
    m->l0 = fired / n;
    m->penalty = t->arch->penalty(t);
    m->aux = t->arch->auxiliary ? t->arch->auxiliary(t) : 0;
    m->loss = m->mse + l1 * m->penalty + m->aux;
    m->fve = spread > 0 ? 1 - m->mse / spread : 0;
}
