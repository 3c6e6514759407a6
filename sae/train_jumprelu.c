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

static void list(sae_trainer *t, size_t i) {
    size_t n = (size_t)t->n, width = (size_t)t->opts.batch;
    float *z = t->z + i * width; /* [n] */
    uint32_t *rows = t->rows + i * width, count = 0, fired = 0;
    float bias = t->model->b_enc[i], theta = t->model->threshold[i];
    double sum = 0;
    for (size_t b = 0; b < n; b++) {
        float pre = z[b] + bias;
        int fires = !(pre <= theta);
        if (!fires && !in_window(pre, theta, t->opts.bandwidth)) continue;
        z[count] = pre;
        rows[count++] = (uint32_t)b;
        fired += (uint32_t)fires;
        if (fires) sum += (double)pre;
    }
    t->count[i] = count;
    t->fired[i] = fired;
    t->z_sum[i] = sum;
}

static double tanh_sum(const sae_trainer *t) {
    size_t width = (size_t)t->opts.batch;
    double sum = 0;
    for (size_t i = 0; i < (size_t)t->model->cfg.d_sae; i++) {
        float scale = t->opts.tanh_scale * t->weight[i];
        for (uint32_t a = 0; a < t->count[i]; a++) {
            float z = t->z[i * width + a];
            if (z > t->model->threshold[i]) sum += (double)tanhf(scale * z);
        }
    }
    return sum;
}

static double penalty(const sae_trainer *t) {
    double sum = 0, target = (double)t->opts.target_l0;
    if (t->opts.l0_penalty == SAE_L0_TANH) return tanh_sum(t) / t->n;
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
    return lambda_n * (float)(4 / target * (t->row_l0[row] - target));
}

static void gradient(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    const tn_kernels *k = t->ex.k;
    size_t d = (size_t)t->model->cfg.d_in, width = (size_t)t->opts.batch;
    const float *z = t->z + i * width;
    const uint32_t *rows = t->rows + i * width;
    float theta = t->model->threshold[i], bandwidth = t->opts.bandwidth, c = t->opts.tanh_scale;
    for (uint32_t a = 0; a < t->count[i]; a++) {
        const float *err = t->err + rows[a] * d; /* [D] */
        float fires = z[a] > theta ? 1.0f : 0.0f, df = k->dot(err, g->w, d);
        if (t->opts.l0_penalty == SAE_L0_TANH) {
            float th = tanhf(c * fires * z[a] * t->weight[i]), slope = g->lambda_n * c * (1 - th * th);
            df += slope * t->weight[i];
            g->dnorm += slope * fires * z[a];
        }
        float dpre = fires * df;
        if (in_window(z[a], theta, bandwidth)) {
            float through = (theta * df + step_gradient(t, rows[a], g->lambda_n)) / bandwidth;
            g->d[1] -= through;
            if (t->opts.ste_to_input) dpre += through;
        }
        if (fires != 0) k->axpy(g->dw_dec, z[a], err, d);
        if (dpre != 0) k->axpy(g->dw_enc, dpre, g->xin + rows[a] * d, d);
        g->dpre += dpre;
    }
    g->d[0] = g->dpre;
}

const sae_train_arch sae_train_jumprelu = {.name = "jumprelu",
                                           .trained_as = "jumprelu",
                                           .model = SAE_JUMPRELU,
                                           .list = list,
                                           .penalty = penalty,
                                           .gradient = gradient};
