/* TopK (Gao et al. 2024, arXiv:2406.04093): of a row's pre-activations, weighed by w_i = |W_dec[i]|, the k
 * largest stay where they are positive; AuxK (train_auxk.c) keeps latents alive, and there is no penalty.
 *
 *     x̂ = sum_{i in S} pre_i W_dec[i] + b_dec       dpre_bi = G_b · W_dec[i] for i in S
 *
 * The weight decides who is in S and cancels from everything else.
 *
 * The encoder (train_encode.c) keeps the k best of each row while it computes them. Of equal values the
 * latents of lower index stay.
 */
#include "sae/train_internal.h"

double sae_train_no_penalty(const sae_trainer *t) {
    (void)t;
    return 0;
}

static void gradient(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    (void)i;
    sae_train_linear_gradient(t, t->err, 0, g);
}

void sae_train_unit_rows(sae_trainer *t) {
    if (!t->opts.unit_norm_decoder) sae_fold_decoder_norm(t->model);
}

const sae_train_arch sae_train_topk = {.name = "topk",
                                       .trained_as = "topk",
                                       .model = SAE_TOPK,
                                       .bar = sae_train_bar_of_zero,
                                       .list = sae_train_list_positive,
                                       .per_row = 1,
                                       .auxiliary = sae_auxk_loss,
                                       .penalty = sae_train_no_penalty,
                                       .gradient = gradient,
                                       .finish = sae_train_unit_rows,
                                       .auxk = 1};
