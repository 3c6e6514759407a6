/* AuxK: dead latents learn to reconstruct what the living ones leave over (Gao et al. 2024, arXiv:2406.04093,
 * appendix A.2).
 *
 *     A_b   the m dead latents whose w_i pre_bi is largest on row b, negative ones too; m = min(D/2, n_dead)
 *     r̂_b   = sum_{i in A_b} pre_bi W_dec[i]
 *     aux   = coefficient * scale * mean_b |r̂_b - e_b|^2,  e = x - x̂
 *
 * SAELens' scale is min(n_dead / (D/2), 1). dictionary_learning's is 1 / mean_b |e_b - mean e|^2, takes
 * positive values only, and holds a latent for dead after the rows of this batch.
 *
 * e and the scale are constants here. With E = 2/n coefficient scale (r̂ - e):
 *     dpre_bi += E_b · W_dec[i]        dW_dec[i] += sum_b pre_bi E_b
 */
#include "sae/train_internal.h"

#include "tensor/par.h"

#include <math.h>
#include <string.h>

/* Latents that take part on a row. */
static uint32_t picks(const sae_trainer *t) {
    int half = t->model->cfg.d_in / 2;
    return (uint32_t)(half < t->n_dead ? half : t->n_dead);
}

static int follows_dictionary_learning(const sae_trainer *t) {
    return t->opts.convention == SAE_DICTIONARY_LEARNING;
}

/* mean_b |e_b - mean e|^2 of the rows of err; t->mean is free by now. */
static double error_variance(sae_trainer *t) {
    size_t d = (size_t)t->model->cfg.d_in, n = (size_t)t->n;
    double sum = 0;
    memset(t->mean, 0, d * sizeof *t->mean);
    for (size_t b = 0; b < n; b++)
        for (size_t k = 0; k < d; k++) t->mean[k] += (double)t->err[b * d + k] / (double)n;
    for (size_t b = 0; b < n; b++)
        for (size_t k = 0; k < d; k++) {
            double e = (double)t->err[b * d + k] - t->mean[k];
            sum += e * e;
        }
    return sum / (double)n;
}

static double scale(sae_trainer *t) {
    double share = (double)t->n_dead / (t->model->cfg.d_in / 2);
    if (!follows_dictionary_learning(t)) return (double)t->opts.aux * (share < 1 ? share : 1);
    double variance = error_variance(t);
    return variance > 0 ? (double)t->opts.aux / variance : 0; /* one row has none */
}

void sae_auxk_start(sae_trainer *t) {
    t->n_dead = 0;
    for (int i = 0; i < t->model->cfg.d_sae; i++) {
        int dead = t->silent[i] >= t->opts.dead_window;
        if (follows_dictionary_learning(t))
            dead = t->fired[i] == 0 && t->silent[i] >= t->opts.dead_window - t->n;
        t->dead_at[i] = dead ? t->n_dead : -1;
        if (dead) t->dead[t->n_dead++] = i;
    }
    if (t->opts.aux == 0 || t->model->cfg.d_in < 2) t->n_dead = 0;
}

/* ---- Choosing, and the loss ---- */

void sae_auxk_take(sae_trainer *t, tn_arena *a) {
    size_t d = (size_t)t->model->cfg.d_in, f = (size_t)t->model->cfg.d_sae, threads = (size_t)t->ex.threads;
    size_t room = 0;
    if (tn_mul_size(threads * SAE_ROWS, f, &room)) a->failed = 1;
    t->dead = tn_arena_take(a, f, sizeof *t->dead);
    t->dead_at = tn_arena_take(a, f, sizeof *t->dead_at);
    t->dead_pre = tn_arena_take(a, room, sizeof *t->dead_pre);
    t->dead_heap = tn_arena_take(a, threads * (d / 2), sizeof *t->dead_heap);
    sae_lists_take(&t->dead_lists, a, (size_t)t->opts.batch, d / 2 < f ? d / 2 : f, f);
}

/* The rows of W_enc of dead latents side by side, where the gradient has its room until it is computed. */
static void gather(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    size_t d = (size_t)t->model->cfg.d_in;
    for (size_t j = begin; j < end; j++)
        memcpy(t->g.w_enc + j * d, t->model->w_enc + (size_t)t->dead[j] * d, d * sizeof *t->g.w_enc);
}

/* The list of row b from its pre-activations [n_dead]. */
static void choose(const sae_trainer *t, const float *pre, size_t b, sae_pick *heap) {
    sae_entry *list = t->dead_lists.of_row + b * t->dead_lists.room;
    uint32_t m = picks(t), held = 0, count = 0;
    int positive = follows_dictionary_learning(t);
    for (int j = 0; j < t->n_dead && m < (uint32_t)t->n_dead; j++)
        if (!isnan(pre[j])) sae_topk_offer(heap, &held, m, pre[j] * t->weight[t->dead[j]], (uint32_t)j);
    sae_pick worst = held == m ? heap[0] : (sae_pick){-INFINITY, 0};
    for (int j = 0; j < t->n_dead && count < m; j++)
        if (positive && pre[j] <= 0)
            continue;
        else if (held < m || sae_topk_kept(worst, pre[j] * t->weight[t->dead[j]], (uint32_t)j))
            list[count++] = (sae_entry){(uint32_t)j, pre[j]};
    t->dead_lists.n_of_row[b] = count;
}

static void reconstruct_rows(void *ctx, size_t worker, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae, n_dead = (size_t)t->n_dead;
    float *pre = t->dead_pre + worker * SAE_ROWS * f; /* [rows, n_dead] */
    const float *xin = s->cfg.apply_b_dec_to_input ? t->xin : t->x;
    float factor = (float)(2 * t->aux_scale / t->n);
    for (size_t b0 = begin; b0 < end; b0 += SAE_ROWS) {
        size_t n = end - b0 < SAE_ROWS ? end - b0 : SAE_ROWS;
        tn_rows rows = tn_rows_pack(t->ex.k, xin + b0 * d, n, d, t->room[worker].search.panels);
        tn_matmul_rows(t->ex.k, pre, n_dead, &rows, t->g.w_enc, n_dead);
        uint32_t place[SAE_ROWS] = {0};
        sae_piece all = {
            .lists = &t->dead_lists, .b0 = b0, .b1 = b0 + n, .i1 = n_dead, .place = place, .latent = t->dead};
        for (size_t r = 0; r < n; r++) {
            float *row = pre + r * n_dead; /* [n_dead] */
            for (size_t j = 0; j < n_dead; j++) row[j] += s->b_enc[t->dead[j]];
            choose(t, row, b0 + r, t->dead_heap + worker * (d / 2));
        }
        memcpy(t->aux_err + b0 * d, t->err + b0 * d, n * d * sizeof *t->aux_err);
        sae_train_decode(t, &all, NULL, t->aux_err, NULL);
        for (size_t b = b0; b < b0 + n; b++) {
            float *err = t->aux_err + b * d; /* [D] */
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
    t->aux_scale = scale(t);
    tn_parallel_for((size_t)t->n_dead, SAE_GROUP, t->ex.threads, gather, t);
    tn_parallel_for_workers((size_t)t->n, SAE_ROWS, t->ex.threads, reconstruct_rows, t);
    sae_lists_turn(&t->dead_lists, (size_t)t->n, (size_t)t->n_dead, t->ex.threads);
    for (int b = 0; b < t->n; b++) se += t->aux_se[b];
    return t->aux_scale * se / t->n;
}

void sae_auxk_gradient(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    (void)i;
    sae_train_linear_gradient(t, t->aux_err, 0, g);
}
