/* The forward half of a training step.
 *
 *     pre = W_enc · xin + b_enc     z = act(pre)      x̂ = sum_i z_i W_dec[i] + b_dec     e = x̂ - x
 *     mse = mean_b sum_d e^2        l1 = mean_b sum_i w_i z_i        fve = 1 - mse / mean_b |x - mean x|^2
 */
#include "sae/train_internal.h"

#include "tensor/par.h"

#include <string.h>

static void center_rows(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    size_t d = (size_t)t->model->cfg.d_in;
    for (size_t b = begin; b < end; b++)
        for (size_t k = 0; k < d; k++) t->xin[b * d + k] = t->x[b * d + k] - t->model->b_dec[k];
}

size_t sae_train_rows_together(const sae_trainer *t) {
    size_t threads = (size_t)t->ex.threads, share = ((size_t)t->n + threads - 1) / threads;
    return share < SAE_MOST_ROWS ? share : SAE_MOST_ROWS;
}

void sae_train_decode(const sae_trainer *t, const sae_piece *p,
                      float (*value)(const sae_trainer *, size_t, float), float *out, double *l0) {
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in, group = sae_rows_in_cache(d);
    for (size_t i0 = p->i0; i0 < p->i1; i0 += group) {
        size_t i1 = p->i1 - i0 < group ? p->i1 : i0 + group;
        for (size_t b = p->b0; b < p->b1; b++) {
            const sae_entry *list = p->lists->of_row + b * p->lists->room;
            uint32_t a = p->place[b - p->b0];
            while (a < p->lists->n_of_row[b] && list[a].at < i1) {
                const float *rows[SAE_AT_ONCE];
                float zs[SAE_AT_ONCE];
                size_t n = 0;
                for (; n < SAE_AT_ONCE && a < p->lists->n_of_row[b] && list[a].at < i1; a++) {
                    size_t i = p->latent ? (size_t)p->latent[list[a].at] : list[a].at;
                    float z = value ? value(t, i, list[a].z) : list[a].z;
                    if (z == 0) continue;
                    zs[n] = z;
                    rows[n++] = s->w_dec + i * d;
                }
                tn_axpys(t->ex.k, out + b * d, zs, rows, n, d);
                if (l0) l0[b] += (double)n;
            }
            p->place[b - p->b0] = a;
        }
    }
}

/* x̂ and the error of rows begin … end-1. */
static void decode_rows(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in, rows = sae_train_rows_together(t);
    for (size_t b0 = begin; b0 < end; b0 += rows) {
        uint32_t place[SAE_MOST_ROWS] = {0};
        sae_piece all = {.lists = &t->lists,
                         .b0 = b0,
                         .b1 = end - b0 < rows ? end : b0 + rows,
                         .i1 = (size_t)s->cfg.d_sae,
                         .place = place};
        for (size_t b = b0; b < all.b1; b++) {
            memcpy(t->err + b * d, s->b_dec, d * sizeof *t->err);
            t->row_l0[b] = 0;
        }
        sae_train_decode(t, &all, t->arch->value, t->err, t->row_l0);
        for (size_t b = b0; b < all.b1; b++) {
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

/* How often latents fire, and the sums of what they give. */
static void tally(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    for (size_t i = begin; i < end; i++) {
        double sum = 0;
        t->fired[i] = 0;
        for (size_t a = t->lists.first[i]; a < t->lists.first[i + 1]; a++) {
            float listed = t->lists.of_latent[a].z,
                  z = t->arch->value ? t->arch->value(t, i, listed) : listed;
            t->fired[i] += z != 0;
            sum += (double)z;
        }
        t->z_sum[i] = t->arch->sum ? t->arch->sum(t, i) : sum;
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
    sae_train_encode(t);
    if (t->arch->select) t->arch->select(t);
    sae_lists_turn(&t->lists, rows, f, t->ex.threads);
    tn_parallel_for(f, SAE_GROUP, t->ex.threads, tally, t);
    if (t->arch->auxk) sae_auxk_start(t);
    tn_parallel_for(rows, sae_train_rows_together(t), t->ex.threads, decode_rows, t);

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
    m->l0 = t->mean_l0 = fired / n;
    m->penalty = t->arch->penalty(t);
    m->aux = t->arch->auxiliary ? t->arch->auxiliary(t) : 0;
    m->loss = sae_train_mse_weight(&t->opts) * m->mse + l1 * m->penalty + m->aux;
    m->fve = spread > 0 ? 1 - m->mse / spread : 0;
}
