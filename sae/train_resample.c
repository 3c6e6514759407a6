/* Dead latents begin anew, as rows that the SAE reconstructs badly (Bricken et al. 2023, "Towards
 * Monosemanticity", appendix "Neuron Resampling"; as dictionary_learning 0.1.0 does it).
 *
 * After every `resample` steps each latent that was silent for more than half of them gets a row b of the
 * batch, drawn without replacement with a probability as |x_b - x̂_b|:
 *
 *     W_dec[i] = direction of the row          as long as a living one is on average (1 with unit norm)
 *     W_enc[i] = direction of the row          0.2 times as long as a living one is on average
 *     biases 0, threshold as at the start      Adam's moments 0
 *
 * The direction is that of xin, what the encoder sees. dictionary_learning takes x itself instead, and for
 * W_enc at its own length times 0.2 times the average, which expects rows of mean square length 1. When more
 * latents are dead than the batch has rows, the first ones are renewed.
 *
 * All of it is a function of the seed, the step, the batch and the parameters, so that a run which is resumed
 * draws the same.
 */
#include "sae/train_internal.h"

#include <math.h>
#include <string.h>

static const float SHARE = 0.2f; /* of a living latent's length: a new one is not to take over at once */

/* Was latent i silent for more than half of the steps between two renewals? */
static int is_dead(const sae_trainer *t, size_t i) {
    double age = t->opts.convention == SAE_DICTIONARY_LEARNING ? t->opts.batch : 1; /* what a step adds */
    return t->silent[i] > t->opts.resample / 2.0 * age;
}

/* Rows in the order in which they are drawn, the first `count` of them: keys -log(u) / weight, of which the
 * smallest win (Efraimidis & Spirakis 2006). keys [n] holds the weights and is used up; a row without weight
 * is never drawn. Returns how many were. */
static size_t draw(tn_rng *rng, double *keys, size_t n, size_t count, uint32_t *rows) {
    size_t drawn = 0;
    for (size_t b = 0; b < n; b++) {
        double u = 1 - (double)tn_rng_uniform(rng); /* (0, 1] */
        keys[b] = keys[b] > 0 ? -log(u) / keys[b] : INFINITY;
    }
    for (; drawn < count; drawn++) {
        size_t best = 0;
        for (size_t b = 1; b < n; b++)
            if (keys[b] < keys[best]) best = b;
        if (isinf(keys[best])) break;
        rows[drawn] = (uint32_t)best;
        keys[best] = INFINITY;
    }
    return drawn;
}

static double length(const sae_trainer *t, const float *row) {
    return sqrt((double)t->ex.k->dot(row, row, (size_t)t->model->cfg.d_in));
}

/* to [D] = row * factor */
static void put(float *to, const float *row, double factor, size_t d) {
    for (size_t k = 0; k < d; k++) to[k] = (float)((double)row[k] * factor);
}

/* Latent i becomes row b; enc and dec are the average lengths of living latents. */
static void renew(sae_trainer *t, size_t i, size_t b, double enc, double dec) {
    sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in;
    int theirs = t->opts.convention == SAE_DICTIONARY_LEARNING;
    const float *row = (s->cfg.apply_b_dec_to_input && !theirs ? t->xin : t->x) + b * d; /* [D] */
    double unit = length(t, row);
    if (!(unit > 0)) return; /* nothing to point at */
    unit = 1 / unit;
    put(s->w_dec + i * d, row, unit * dec, d);
    put(s->w_enc + i * d, row, (double)SHARE * enc * (theirs ? 1 : unit), d);
    memset(t->m.w_enc + i * d, 0, d * sizeof(float));
    memset(t->v.w_enc + i * d, 0, d * sizeof(float));
    memset(t->m.w_dec + i * d, 0, d * sizeof(float));
    memset(t->v.w_dec + i * d, 0, d * sizeof(float));
    for (int v = 0; v < t->n_vectors; v++) {
        int threshold = t->vectors[v].data == &s->threshold && t->opts.arch == SAE_TRAIN_JUMPRELU;
        (*t->vectors[v].data)[i] = threshold ? t->opts.init_threshold : 0;
        t->m.vector[v][i] = t->v.vector[v][i] = 0;
    }
    t->silent[i] = 0;
}

/* Average lengths of the rows of living latents. */
static void living(const sae_trainer *t, double *enc, double *dec, size_t *n_dead) {
    size_t d = (size_t)t->model->cfg.d_in, f = (size_t)t->model->cfg.d_sae;
    *enc = *dec = 0;
    *n_dead = 0;
    for (size_t i = 0; i < f; i++) {
        if (is_dead(t, i)) {
            ++*n_dead;
            continue;
        }
        *enc += length(t, t->model->w_enc + i * d);
        *dec += t->opts.unit_norm_decoder ? 1 : length(t, t->model->w_dec + i * d);
    }
    double alive = (double)(f - *n_dead);
    *enc = alive > 0 ? *enc / alive : (double)t->opts.init_norm;
    *dec = alive > 0 ? *dec / alive : t->opts.unit_norm_decoder ? 1 : (double)t->opts.init_norm;
}

void sae_train_resample(sae_trainer *t) {
    size_t f = (size_t)t->model->cfg.d_sae, n = (size_t)t->n, n_dead, at = 0;
    double enc, dec;
    sae_metrics unused;
    living(t, &enc, &dec, &n_dead);
    if (n_dead == 0) return;
    t->evaluating = 1; /* the errors after the step */
    sae_train_forward(t, t->x, t->n, 0, &unused);
    t->evaluating = 0;
    for (size_t b = 0; b < n; b++) t->row_se[b] = sqrt(t->row_se[b]);
    tn_rng rng = tn_rng_seed(t->opts.seed ^ ((uint64_t)t->steps * 0xD1B54A32D192ED03u));
    size_t drawn = draw(&rng, t->row_se, n, n_dead < n ? n_dead : n, t->drawn);
    for (size_t i = 0; i < f && at < drawn; i++)
        if (is_dead(t, i)) renew(t, i, t->drawn[at++], enc, dec);
    t->copied = 0;
}
