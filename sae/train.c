/* The step that ties forward, gradient and update together. */
#include "sae/train_internal.h"

#include <math.h>

int sae_trainer_steps(const sae_trainer *t) {
    return t->steps;
}

const uint32_t *sae_trainer_fired(const sae_trainer *t) {
    return t->fired;
}

void sae_train_finish(sae_trainer *t) {
    if (t->arch->finish) t->arch->finish(t);
}

static int check_rows(const sae_trainer *t, int n, tn_err *e) {
    if (n >= 1 && n <= t->opts.batch) return TN_OK;
    return tn_fail(e, TN_EARG, "a batch of %d rows, expected 1 to %d", n, t->opts.batch);
}

int sae_train_eval(sae_trainer *t, const float *x, int n, sae_metrics *m, tn_err *e) {
    int rc = check_rows(t, n, e);
    if (rc) return rc;
    t->evaluating = 1;
    sae_train_forward(t, x, n, sae_l1_at(&t->opts, t->steps), m);
    t->evaluating = 0;
    if (!isfinite(m->loss)) return tn_fail(e, TN_ENUM, "the loss is %g after step %d", m->loss, t->steps);
    return TN_OK;
}

int sae_train_step(sae_trainer *t, const float *x, int n, sae_metrics *m, tn_err *e) {
    int rc = check_rows(t, n, e);
    if (rc) return rc;
    double l1 = sae_l1_at(&t->opts, t->steps);
    sae_train_forward(t, x, n, l1, m);
    if (!isfinite(m->loss))
        return tn_fail(e, TN_ENUM, "the loss is %g at step %d: a lower learning rate may help", m->loss,
                       t->steps);
    double norm = sae_train_gradient(t, l1);
    if (!isfinite(norm))
        return tn_fail(e, TN_ENUM, "the gradient's norm is %g at step %d: a lower learning rate may help",
                       norm, t->steps);
    float scale = 1.0f;
    if (t->opts.clip > 0 && norm > (double)t->opts.clip)
        scale = (float)((double)t->opts.clip / (norm + 1e-6));
    sae_train_update(t, sae_lr_at(&t->opts, t->steps), scale);

    int age = t->opts.convention == SAE_DICTIONARY_LEARNING ? n : 1;
    m->dead = 0;
    for (size_t i = 0; i < (size_t)t->model->cfg.d_sae; i++) {
        if (t->fired[i] > 0)
            t->silent[i] = 0;
        else
            t->silent[i] += t->silent[i] > INT32_MAX - age ? INT32_MAX - t->silent[i] : age;
        m->dead += t->silent[i] >= t->opts.dead_window;
    }
    if (t->arch->after_step) t->arch->after_step(t);
    if (sae_train_resamples(&t->opts, t->steps)) sae_train_resample(t);
    t->steps++;
    return TN_OK;
}
