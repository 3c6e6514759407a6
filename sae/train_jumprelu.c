/* JumpReLU with learnt thresholds (Rajamanoharan et al. 2024, arXiv:2407.14435): z = pre where pre > theta.
 *
 * Neither the jump nor the count of latents has a gradient by theta; a window of width eps around the
 * threshold gives it one (straight-through). With R = 1 where |pre - theta| < eps/2, df the gradient by z and
 * dS that by "latent i fires on row b":
 *
 *     dpre   = df where pre > theta     (+ R (theta/eps df + dS/eps) with ste_to_input, as Anthropic does)
 *     dtheta = - sum_b R (theta/eps df + dS/eps)
 *
 * Penalties, with L0_b the latents that fire on row b:
 *
 *     step       mean_b L0_b                                  dS = lambda/n
 *     quadratic  mean_b 2/target (L0_b - target)^2            dS = lambda/n 4/target (L0_b - target)
 *                (Gemma Scope 2)
 *     mean       (mean_b L0_b / target - 1)^2                 dS = lambda/n 2/target (mean L0 / target - 1)
 *                (dictionary_learning)
 *     tanh       mean_b sum_i tanh(c w_i z_i)                 df += lambda/n c w_i (1 - tanh^2)
 *                (Anthropic, January 2025)                    d|W_dec[i]| = lambda/n sum_b c z_i (1 - tanh^2)
 *
 * The lists hold latents that fire and those within the window below the threshold.
 */
#include "sae/train_internal.h"

#include <math.h>

static int in_window(float pre, float theta, float bandwidth) {
    return fabsf((pre - theta) / bandwidth) < 0.5f;
}

static float bar(const sae_trainer *t, size_t i) {
    double bias = (double)t->model->b_enc[i], theta = (double)t->model->threshold[i],
           half = (double)t->opts.bandwidth / 2;
    return sae_screen_below(theta - half - bias, fabs(theta) + half + fabs(bias));
}

static int list(const sae_trainer *t, size_t i, float p, sae_entry *e) {
    float pre = p + t->model->b_enc[i], theta = t->model->threshold[i];
    if (pre <= theta && !in_window(pre, theta, t->opts.bandwidth)) return 0;
    *e = (sae_entry){(uint32_t)i, pre};
    return 1;
}

static float value(const sae_trainer *t, size_t i, float z) {
    return z <= t->model->threshold[i] ? 0.0f : z;
}

static double tanh_sum(const sae_trainer *t) {
    double sum = 0;
    for (size_t i = 0; i < (size_t)t->model->cfg.d_sae; i++) {
        float scale = t->opts.tanh_scale * t->weight[i];
        for (size_t a = t->lists.first[i]; a < t->lists.first[i + 1]; a++) {
            float z = t->lists.of_latent[a].z;
            if (z > t->model->threshold[i]) sum += (double)tanhf(scale * z);
        }
    }
    return sum;
}

static double penalty(const sae_trainer *t) {
    double sum = 0, target = (double)t->opts.target_l0;
    if (t->opts.l0_penalty == SAE_L0_TANH) return tanh_sum(t) / t->n;
    if (t->opts.l0_penalty == SAE_L0_MEAN) return pow(t->mean_l0 / target - 1, 2);
    for (int b = 0; b < t->n; b++)
        sum += t->opts.l0_penalty == SAE_L0_STEP
                   ? t->row_l0[b]
                   : 2 / target * (t->row_l0[b] - target) * (t->row_l0[b] - target);
    return sum / t->n;
}

/* The penalty's gradient by "fires on row b". */
static float step_gradient(const sae_trainer *t, uint32_t row, float lambda_n) {
    double target = (double)t->opts.target_l0;
    if (t->opts.l0_penalty == SAE_L0_TANH) return 0;
    if (t->opts.l0_penalty == SAE_L0_STEP) return lambda_n;
    if (t->opts.l0_penalty == SAE_L0_MEAN) return lambda_n * (float)(2 / target * (t->mean_l0 / target - 1));
    return lambda_n * (float)(4 / target * (t->row_l0[row] - target));
}

static void gradient(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    const tn_kernels *k = t->ex.k;
    size_t d = (size_t)t->model->cfg.d_in;
    float theta = t->model->threshold[i], bandwidth = t->opts.bandwidth, c = t->opts.tanh_scale;
    for (size_t a = 0; a < g->count; a++) {
        const sae_entry e = g->list[a];
        const float *err = t->err + e.at * d; /* [D] */
        float fires = e.z > theta ? 1.0f : 0.0f, df = k->dot(err, g->w, d);
        if (t->opts.l0_penalty == SAE_L0_TANH) {
            float th = tanhf(c * fires * e.z * t->weight[i]), slope = g->lambda_n * c * (1 - th * th);
            df += slope * t->weight[i];
            g->dnorm += slope * fires * e.z;
        }
        float dpre = fires * df;
        if (in_window(e.z, theta, bandwidth)) {
            float through = (theta * df + step_gradient(t, e.at, g->lambda_n)) / bandwidth;
            g->d[1] -= through;
            if (t->opts.ste_to_input) dpre += through;
        }
        if (fires != 0) k->axpy(g->dw_dec, e.z, err, d);
        if (dpre != 0) k->axpy(g->dw_enc, dpre, g->xin + e.at * d, d);
        g->dpre += dpre;
    }
    g->d[0] = g->dpre;
}

const sae_train_arch sae_train_jumprelu = {.name = "jumprelu",
                                           .trained_as = "jumprelu",
                                           .model = SAE_JUMPRELU,
                                           .bar = bar,
                                           .list = list,
                                           .value = value,
                                           .penalty = penalty,
                                           .gradient = gradient};
