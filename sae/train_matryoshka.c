/* Matryoshka BatchTopK (Bussmann et al. 2025, arXiv:2503.17547): a BatchTopK SAE whose first latents are a
 * smaller SAE by themselves. With widths m_1 < … < m_L = F and x̂_l the reconstruction by latents 0 … m_l - 1,
 *
 *     loss = sum_l mean_b |x̂_l - x|^2 + AuxK's loss
 *
 * so that general features come first and finer ones do not take them over. A latent of level l, one with
 * m_(l-1) <= i < m_l, is part of the reconstructions l … L: the sum of their errors takes the place of G.
 *
 *     C_l = sum_{j >= l} 2/n (x̂_j - x)      dpre_bi = C_l,b · W_dec[i]      dW_dec[i] = sum_b pre_bi C_l,b
 *
 * and db_dec sums C_1, as every reconstruction begins with b_dec. dictionary_learning weighs the levels by
 * 1/L and takes the mean of them: 1/L^2 (its group_weights have that default). The order of latents is part
 * of the SAE.
 */
#include "sae/train_internal.h"

#include "tensor/par.h"

#include <string.h>

/* x̂ - x of the inner levels [n, D] each, then the sums C: the outermost error is t->err. */
static void inner_rows(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    size_t d = (size_t)t->model->cfg.d_in, matrix = (size_t)t->opts.batch * d;
    int inner = t->opts.n_widths - 1;
    float factor = (float)(2 * sae_train_mse_weight(&t->opts) / t->n);
    size_t rows = sae_train_rows_together(t);
    for (size_t b0 = begin; b0 < end; b0 += rows) {
        uint32_t place[SAE_MOST_ROWS] = {0};
        sae_piece level = {
            .lists = &t->lists, .b0 = b0, .b1 = end - b0 < rows ? end : b0 + rows, .place = place};
        size_t b1 = level.b1;
        for (int l = 0; l < inner; l++) {
            float *err = t->level_err + (size_t)l * matrix;      /* [n, D] */
            const float *narrower = l > 0 ? err - matrix : NULL; /* [n, D] the level before */
            for (size_t b = b0; b < b1; b++)
                for (size_t k = b * d; k < (b + 1) * d; k++)
                    err[k] = narrower ? narrower[k] : t->model->b_dec[k - b * d] - t->x[k];
            level.i1 = (size_t)t->opts.widths[l];
            sae_train_decode(t, &level, NULL, err, NULL);
            level.i0 = level.i1;
        }
        for (size_t b = b0; b < b1; b++) {
            double se = 0;
            for (size_t k = b * d; k < (b + 1) * d; k++) {
                float sum = factor * t->err[k];
                for (int l = inner; l-- > 0;) {
                    float *e = t->level_err + (size_t)l * matrix + k;
                    se += (double)*e * (double)*e;
                    *e = sum += factor * *e;
                }
            }
            t->aux_se[b] = se;
        }
    }
}

static double auxiliary(sae_trainer *t) {
    double aux = sae_auxk_loss(t), se = 0;
    tn_parallel_for((size_t)t->n, sae_train_rows_together(t), t->ex.threads, inner_rows, t);
    for (int b = 0; b < t->n; b++) se += t->aux_se[b];
    return aux + sae_train_mse_weight(&t->opts) * se / t->n;
}

/* C of a level [n, D]. */
static const float *errors(const sae_trainer *t, int level) {
    if (level == t->opts.n_widths - 1) return t->err;
    return t->level_err + (size_t)level * (size_t)t->opts.batch * (size_t)t->model->cfg.d_in;
}

static void gradient(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    int level = 0;
    while (i >= (size_t)t->opts.widths[level]) level++;
    sae_train_linear_gradient(t, errors(t, level), 0, g);
}

static void b_dec(const sae_trainer *t, float *g) {
    sae_train_add_rows(t, errors(t, 0), g);
}

const sae_train_arch sae_train_matryoshka = {.name = "matryoshka",
                                             .trained_as = "matryoshka_batchtopk",
                                             .model = SAE_JUMPRELU,
                                             .bar = sae_train_bar_of_zero,
                                             .list = sae_batchtopk_list,
                                             .select = sae_batchtopk_select,
                                             .auxiliary = auxiliary,
                                             .penalty = sae_train_no_penalty,
                                             .gradient = gradient,
                                             .b_dec = b_dec,
                                             .after_step = sae_batchtopk_after_step,
                                             .finish = sae_batchtopk_finish,
                                             .auxk = 1,
                                             .batch_wide = 1};
