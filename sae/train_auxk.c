/* AuxK: dead latents learn to reconstruct what the living ones leave over (Gao et al. 2024, arXiv:2406.04093,
 * appendix A.2; as in SAELens, not normalised by the variance).
 *
 *     A_b   the m dead latents whose w_i pre_bi is largest on row b, negative ones too; m = min(D/2, n_dead)
 *     r̂_b   = sum_{i in A_b} pre_bi W_dec[i]
 *     aux   = coefficient * min(n_dead / (D/2), 1) * mean_b |r̂_b - (x_b - x̂_b)|^2
 *
 * x - x̂ is a constant here. With E = 2/n coefficient scale (r̂ - (x - x̂)):
 *     dpre_bi += E_b · W_dec[i]        dW_dec[i] += sum_b pre_bi E_b
 */
#include "sae/train_internal.h"

#include "tensor/par.h"

#include <string.h>

/* Latents that take part on a row. */
static uint32_t picks(const sae_trainer *t) {
    int half = t->model->cfg.d_in / 2;
    return (uint32_t)(half < t->n_dead ? half : t->n_dead);
}

static double scale(const sae_trainer *t) {
    double share = (double)t->n_dead / (t->model->cfg.d_in / 2);
    return (double)t->opts.aux * (share < 1 ? share : 1);
}

void sae_auxk_start(sae_trainer *t) {
    t->n_dead = 0;
    for (int i = 0; i < t->model->cfg.d_sae; i++) {
        int dead = t->silent[i] >= t->opts.dead_window;
        t->dead_at[i] = dead ? t->n_dead : -1;
        if (dead) t->dead[t->n_dead++] = i;
    }
    if (t->opts.aux == 0 || t->model->cfg.d_in < 2) t->n_dead = 0;
}

static void reconstruct_rows(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in, width = (size_t)t->opts.batch, room = d / 2;
    uint32_t m = picks(t), held[SAE_ROWS];
    float factor = (float)(2 * scale(t) / t->n);
    for (size_t b0 = begin; b0 < end; b0 += SAE_ROWS) {
        size_t b1 = end - b0 < SAE_ROWS ? end : b0 + SAE_ROWS;
        memset(held, 0, sizeof held);
        for (int j = 0; j < t->n_dead; j++)
            for (size_t b = b0; b < b1; b++)
                sae_topk_offer(t->dead_heap + b * room, &held[b - b0], m,
                               t->dead_pre[(size_t)j * width + b] * t->weight[t->dead[j]], (uint32_t)j);
        for (size_t b = b0; b < b1; b++) {
            const sae_pick *heap = t->dead_heap + b * room; /* [m] in an order that the row alone decides */
            float *err = t->aux_err + b * d;                /* [D] */
            memcpy(err, t->err + b * d, d * sizeof *err);
            for (uint32_t a = 0; a < m; a++)
                t->ex.k->axpy(err, t->dead_pre[heap[a].index * width + b],
                              s->w_dec + (size_t)t->dead[heap[a].index] * d, d);
            double se = 0;
            for (size_t k = 0; k < d; k++) {
                se += (double)err[k] * (double)err[k];
                err[k] *= factor;
            }
            t->aux_se[b] = se;
        }
    }
}

double sae_auxk_loss(sae_trainer *t) {
    if (t->n_dead == 0) return 0;
    double se = 0;
    tn_parallel_for((size_t)t->n, SAE_ROWS, t->ex.threads, reconstruct_rows, t);
    for (int b = 0; b < t->n; b++) se += t->aux_se[b];
    return scale(t) * se / t->n;
}

void sae_auxk_gradient(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    const tn_kernels *k = t->ex.k;
    size_t d = (size_t)t->model->cfg.d_in, at = (size_t)t->dead_at[i];
    const float *pre = t->dead_pre + at * (size_t)t->opts.batch; /* [n] */
    for (size_t b = 0; b < (size_t)t->n; b++) {
        if (!sae_topk_kept(t->dead_heap[b * (d / 2)], pre[b] * t->weight[i], (uint32_t)at)) continue;
        const float *err = t->aux_err + b * d; /* [D] */
        float dz = k->dot(err, g->w, d);
        k->axpy(g->dw_dec, pre[b], err, d);
        k->axpy(g->dw_enc, dz, g->xin + b * d, d);
        g->dpre += dz;
    }
}
