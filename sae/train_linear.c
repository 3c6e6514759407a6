/* The gradient of a latent whose value is its pre-activation where it is listed: ReLU, the TopK family, AuxK.
 *
 *     dpre_b = G_b · W_dec[i] + push      dW_dec[i] += z_b G_b
 */
#include "sae/train_internal.h"

void sae_train_linear_gradient(const sae_trainer *t, const float *err, float push, sae_latent_grad *g) {
    size_t d = (size_t)t->model->cfg.d_in;
    for (size_t a = 0; a < g->count; a += SAE_AT_ONCE) {
        const size_t n = g->count - a < SAE_AT_ONCE ? g->count - a : SAE_AT_ONCE;
        const float *errs[SAE_AT_ONCE]; /* [n] rows [D] */
        float z[SAE_AT_ONCE], *dpre = g->dpre_of + a;
        for (size_t c = 0; c < n; c++) {
            z[c] = g->list[a + c].z;
            errs[c] = err + g->list[a + c].at * d;
        }
        tn_dots_axpys(t->ex.k, dpre, g->dw_dec, z, errs, g->w, n, d);
        for (size_t c = 0; c < n; c++) g->dpre += dpre[c] += push;
    }
    g->d[0] = g->dpre;
}
