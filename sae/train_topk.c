/* TopK (Gao et al. 2024, arXiv:2406.04093): of a row's pre-activations, weighed by w_i = |W_dec[i]|, the k
 * largest stay where they are positive; AuxK (train_auxk.c) keeps latents alive, and there is no penalty.
 *
 *     x̂ = sum_{i in S} pre_i W_dec[i] + b_dec       dpre_bi = G_b · W_dec[i] for i in S
 *
 * The weight decides who is in S and cancels from everything else.
 *
 * Each row has a heap that latents are offered to in ascending order; afterwards its root tells which entries
 * of the lists stay. Of equal values the latents of lower index do.
 */
#include "sae/train_internal.h"

#include "tensor/par.h"

#include <math.h>
#include <string.h>

/* Dead latents also keep their pre-activations for AuxK, negative ones too. */
void sae_train_topk_list(sae_trainer *t, size_t i) {
    size_t width = (size_t)t->opts.batch;
    if (t->n_dead > 0 && t->dead_at[i] >= 0) {
        float *pre = t->dead_pre + (size_t)t->dead_at[i] * width;
        for (int b = 0; b < t->n; b++) pre[b] = t->z[i * width + (size_t)b] + t->model->b_enc[i];
    }
    sae_train_list_positive(t, i);
}

static void rank_rows(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    size_t f = (size_t)t->model->cfg.d_sae, width = (size_t)t->opts.batch, k = (size_t)t->opts.k;
    uint32_t held[SAE_ROWS];
    for (size_t b0 = begin; b0 < end; b0 += SAE_ROWS) {
        size_t b1 = end - b0 < SAE_ROWS ? end : b0 + SAE_ROWS;
        memset(held, 0, sizeof held);
        for (size_t i = 0; i < f; i++) {
            const uint32_t *rows = t->rows + i * width;
            const float *z = t->z + i * width;
            for (uint32_t a = sae_train_first(t, i, b0); a < t->count[i] && rows[a] < b1; a++)
                if (!isnan(z[a]))
                    sae_topk_offer(t->heap + rows[a] * k, &held[rows[a] - b0], (uint32_t)k,
                                   z[a] * t->weight[i], (uint32_t)i);
        }
        for (size_t b = b0; b < b1; b++) /* with fewer than k positive ones all stay */
            t->worst[b] = held[b - b0] == k ? t->heap[b * k] : (sae_pick){0.0f, 0};
    }
}

/* Takes off the lists of latents begin … end-1 what has not stayed. */
static void filter(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    size_t width = (size_t)t->opts.batch;
    for (size_t i = begin; i < end; i++) {
        uint32_t *rows = t->rows + i * width, count = 0;
        float *z = t->z + i * width;
        double sum = 0;
        for (uint32_t a = 0; a < t->count[i]; a++) {
            if (!isnan(z[a]) && !sae_topk_kept(t->worst[rows[a]], z[a] * t->weight[i], (uint32_t)i)) continue;
            sum += (double)z[a];
            z[count] = z[a];
            rows[count++] = rows[a];
        }
        t->count[i] = t->fired[i] = count;
        t->z_sum[i] = sum;
    }
}

static void select(sae_trainer *t) {
    tn_parallel_for((size_t)t->n, SAE_ROWS, t->ex.threads, rank_rows, t);
    tn_parallel_for((size_t)t->model->cfg.d_sae, SAE_GROUP, t->ex.threads, filter, t);
}

double sae_train_no_penalty(const sae_trainer *t) {
    (void)t;
    return 0;
}

void sae_train_topk_gradient(const sae_trainer *t, size_t i, const float *err, sae_latent_grad *g) {
    const tn_kernels *k = t->ex.k;
    size_t d = (size_t)t->model->cfg.d_in, width = (size_t)t->opts.batch;
    const float *z = t->z + i * width;
    const uint32_t *rows = t->rows + i * width;
    for (uint32_t a = 0; a < t->count[i]; a++) {
        const float *e = err + rows[a] * d; /* [D] */
        float dz = k->dot(e, g->w, d);
        k->axpy(g->dw_dec, z[a], e, d);
        k->axpy(g->dw_enc, dz, g->xin + rows[a] * d, d);
        g->dpre += dz;
    }
    if (t->n_dead > 0 && t->dead_at[i] >= 0) sae_auxk_gradient(t, i, g);
    g->d[0] = g->dpre;
}

static void gradient(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    sae_train_topk_gradient(t, i, t->err, g);
}

void sae_train_unit_rows(sae_trainer *t) {
    if (!t->opts.unit_norm_decoder) sae_fold_decoder_norm(t->model);
}

const sae_train_arch sae_train_topk = {.name = "topk",
                                       .trained_as = "topk",
                                       .model = SAE_TOPK,
                                       .list = sae_train_topk_list,
                                       .select = select,
                                       .auxiliary = sae_auxk_loss,
                                       .penalty = sae_train_no_penalty,
                                       .gradient = gradient,
                                       .finish = sae_train_unit_rows,
                                       .auxk = 1};
