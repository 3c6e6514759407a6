/* The gradient of a latent whose value is its pre-activation where it is listed: ReLU, the TopK family, AuxK.
 *
 *     dz_b = G_b · W_dec[i] + push      dW_dec[i] += z_b G_b      dW_enc[i] += dz_b xin_b
 */
#include "sae/train_internal.h"

void sae_train_linear_gradient(const sae_trainer *t, const float *err, float push, sae_latent_grad *g) {
    const tn_kernels *k = t->ex.k;
    size_t d = (size_t)t->model->cfg.d_in;
    for (size_t a = 0; a < g->count; a++) {
        const sae_entry z = g->list[a];
        const float *e = err + z.at * d; /* [D] */
        float dz = k->dot(e, g->w, d) + push;
        k->axpy(g->dw_dec, z.z, e, d);
        k->axpy(g->dw_enc, dz, g->xin + z.at * d, d);
        g->dpre += dz;
    }
    g->d[0] = g->dpre;
}
