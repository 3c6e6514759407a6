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
 *
 * The loss on pre-activations (Anthropic; SAELens' pre_act_loss_coefficient) lifts dead latents, which have
 * no other gradient, to their thresholds:
 *
 *     aux = coefficient mean_b sum_{i dead} w_i relu(theta_i - pre_bi)
 *
 * It is linear in pre on all rows but those that the lists hold with pre >= theta, so sums over the batch do:
 * with S = sum_b xin_b, a dead latent costs one product and what its list holds.
 */
#include "sae/train_internal.h"

#include <math.h>
#include <string.h>

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

/* ---- The loss on pre-activations ---- */

/* What of latent i's list is not below the threshold: how many entries, and the sum of theta - pre over them.
 */
static size_t above(const sae_trainer *t, size_t i, double *sum) {
    float theta = t->model->threshold[i];
    size_t count = 0;
    *sum = 0;
    for (size_t a = t->lists.first[i]; a < t->lists.first[i + 1]; a++) {
        float pre = t->lists.of_latent[a].z;
        if (pre < theta) continue;
        *sum += (double)theta - (double)pre;
        count++;
    }
    return count;
}

/* sum_b relu(theta - pre_bi) over the batch; *rows: those with pre_bi < theta. */
static double below(const sae_trainer *t, size_t i, size_t *rows) {
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in;
    double listed, all = t->n * ((double)s->threshold[i] - (double)s->b_enc[i]);
    all -= (double)t->ex.k->dot(t->xin_sum, s->w_enc + i * d, d);
    *rows = (size_t)t->n - above(t, i, &listed);
    return *rows > 0 ? all - listed : 0;
}

static double auxiliary(sae_trainer *t) {
    size_t d = (size_t)t->model->cfg.d_in, rows;
    const float *xin = t->model->cfg.apply_b_dec_to_input ? t->xin : t->x;
    double sum = 0;
    if (t->opts.pre_act == 0) return 0;
    memset(t->mean, 0, d * sizeof *t->mean); /* is free by now */
    for (size_t b = 0; b < (size_t)t->n; b++)
        for (size_t k = 0; k < d; k++) t->mean[k] += (double)xin[b * d + k];
    for (size_t k = 0; k < d; k++) t->xin_sum[k] = (float)t->mean[k];
    for (size_t i = 0; i < (size_t)t->model->cfg.d_sae; i++)
        if (sae_train_lifted(t, i)) sum += (double)t->weight[i] * below(t, i, &rows);
    return (double)t->opts.pre_act * sum / t->n;
}

/* What it adds to the gradient of a dead latent. */
static void lift(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    const tn_kernels *k = t->ex.k;
    size_t d = (size_t)t->model->cfg.d_in, rows;
    if (!sae_train_lifted(t, i)) return;
    double distance = below(t, i, &rows);
    float push = t->opts.pre_act / (float)t->n, each = push * t->weight[i];
    k->axpy(g->dw_enc, -each, t->xin_sum, d);
    for (size_t a = t->lists.first[i]; a < t->lists.first[i + 1]; a++) {
        const sae_entry e = t->lists.of_latent[a];
        if (e.z >= t->model->threshold[i]) k->axpy(g->dw_enc, each, g->xin + e.at * d, d);
    }
    g->dpre -= each * (float)rows;
    g->d[0] = g->dpre;
    g->d[1] += each * (float)rows;
    g->dnorm += push * (float)distance;
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
        g->dpre += g->dpre_of[a] = dpre;
    }
    g->d[0] = g->dpre;
}

const sae_train_arch sae_train_jumprelu = {.name = "jumprelu",
                                           .trained_as = "jumprelu",
                                           .model = SAE_JUMPRELU,
                                           .bar = bar,
                                           .list = list,
                                           .value = value,
                                           .auxiliary = auxiliary,
                                           .penalty = penalty,
                                           .gradient = gradient,
                                           .rest = lift};
