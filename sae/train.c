/* The trainer: options, memory, and the step that ties forward, gradient and update together. */
#include "sae/train_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

sae_train_opts sae_train_defaults(void) {
    return (sae_train_opts){
        .batch = 1024,
        .lr = 1e-3f,
        .beta1 = 0.9f,
        .beta2 = 0.999f,
        .adam_eps = 1e-8f,
        .l1 = 1.0f,
        .clip = 1.0f,
        .init_norm = 0.1f,
        .dead_window = 1000,
        .seed = 42,
    };
}

/* The named option within [lo, hi]; a NaN is not. */
static int in_range(const char *name, double v, double lo, double hi, tn_err *e) {
    if (v >= lo && v <= hi) return TN_OK;
    return tn_fail(e, TN_EARG, "%s is %g, it must be between %g and %g", name, v, lo, hi);
}

int sae_train_check(const sae_train_opts *o, tn_err *e) {
    int rc;
    if ((rc = in_range("batch", o->batch, 1, 1 << 20, e))) return rc;
    if ((rc = in_range("lr", (double)o->lr, 1e-12, 1e3, e))) return rc;
    if ((rc = in_range("beta1", (double)o->beta1, 0, 0.999999, e))) return rc;
    if ((rc = in_range("beta2", (double)o->beta2, 0, 0.999999, e))) return rc;
    if ((rc = in_range("adam_eps", (double)o->adam_eps, 1e-30, 1, e))) return rc;
    if ((rc = in_range("l1", (double)o->l1, 0, 1e9, e))) return rc;
    if ((rc = in_range("l1_warmup_steps", o->l1_warmup_steps, 0, INT32_MAX, e))) return rc;
    if ((rc = in_range("lr_warmup_steps", o->lr_warmup_steps, 0, INT32_MAX, e))) return rc;
    if ((rc = in_range("lr_decay_steps", o->lr_decay_steps, 0, INT32_MAX, e))) return rc;
    if ((rc = in_range("total_steps", o->total_steps, 0, INT32_MAX, e))) return rc;
    if (o->total_steps > 0 && o->lr_decay_steps > o->total_steps)
        return tn_fail(e, TN_EARG, "lr_decay_steps is %d, more than the %d steps of the run",
                       o->lr_decay_steps, o->total_steps);
    if ((rc = in_range("clip", (double)o->clip, 0, 1e9, e))) return rc;
    if ((rc = in_range("init_norm", (double)o->init_norm, 1e-9, 1e9, e))) return rc;
    return in_range("dead_window", o->dead_window, 1, INT32_MAX, e);
}

void sae_init_params(sae_model *model, const sae_train_opts *o) {
    size_t d = (size_t)model->cfg.d_in, f = (size_t)model->cfg.d_sae;
    tn_rng rng = tn_rng_seed(o->seed);
    for (size_t i = 0; i < f; i++) {
        float *enc = model->w_enc + i * d, *dec = model->w_dec + i * d; /* [D] */
        double squares = 0;
        do {
            squares = 0;
            for (size_t k = 0; k < d; k++) {
                dec[k] = 2.0f * tn_rng_uniform(&rng) - 1.0f;
                squares += (double)dec[k] * (double)dec[k];
            }
        } while (squares == 0); /* possible for D = 1 */
        float unit = (float)(1 / sqrt(squares));
        for (size_t k = 0; k < d; k++) {
            enc[k] = dec[k] * unit * o->init_norm;
            dec[k] = o->unit_norm_decoder ? dec[k] * unit : enc[k];
        }
    }
    memset(model->b_enc, 0, f * sizeof *model->b_enc);
    memset(model->b_dec, 0, d * sizeof *model->b_dec);
}

/* ---- memory ---- */

static sae_params take_params(tn_arena *a, size_t f, size_t d) {
    sae_params p;
    p.w_enc = tn_arena_take(a, f * d, sizeof(float)); /* f * d fits: the model holds as many */
    p.w_dec = tn_arena_take(a, f * d, sizeof(float));
    p.b_enc = tn_arena_take(a, f, sizeof(float));
    p.b_dec = tn_arena_take(a, d, sizeof(float));
    return p;
}

/* Takes every buffer of train_internal.h from the arena, to measure and then to place. */
static void carve(sae_trainer *t, tn_arena *a) {
    size_t d = (size_t)t->model->cfg.d_in, f = (size_t)t->model->cfg.d_sae, b = (size_t)t->opts.batch, fb;
    if (tn_mul_size(f, b, &fb)) {
        a->failed = 1;
        return;
    }
    t->m = take_params(a, f, d);
    t->v = take_params(a, f, d);
    t->g = take_params(a, f, d);
    t->silent = tn_arena_take(a, f, sizeof *t->silent);
    t->xin = tn_arena_take(a, b * d, sizeof *t->xin);
    t->err = tn_arena_take(a, b * d, sizeof *t->err);
    t->z = tn_arena_take(a, fb, sizeof *t->z);
    t->rows = tn_arena_take(a, fb, sizeof *t->rows);
    t->count = tn_arena_take(a, f, sizeof *t->count);
    t->weight = tn_arena_take(a, f, sizeof *t->weight);
    t->row_se = tn_arena_take(a, b, sizeof *t->row_se);
    t->z_sum = tn_arena_take(a, f, sizeof *t->z_sum);
    t->grad_sq = tn_arena_take(a, f, sizeof *t->grad_sq);
    t->mean = tn_arena_take(a, d, sizeof *t->mean);
    t->b_dec_part = tn_arena_take(a, (f + SAE_GROUP - 1) / SAE_GROUP * d, sizeof *t->b_dec_part);
    t->zero = tn_arena_take(a, d, sizeof *t->zero);
}

int sae_trainer_new(sae_trainer **out, sae_model *model, const sae_train_opts *o, tn_exec ex, tn_err *e) {
    *out = NULL;
    int rc = sae_train_check(o, e);
    if (rc) return rc;
    sae_trainer *t = calloc(1, sizeof *t);
    if (!t) return tn_fail(e, TN_ENOMEM, "no memory for the trainer");
    t->model = model;
    t->opts = *o;
    t->ex = ex;
    tn_arena arena = tn_arena_measure();
    carve(t, &arena);
    size_t bytes = arena.used;
    /* calloc: moments and counters start at zero, and pages that are never touched cost nothing. */
    if (!arena.failed && !tn_add_size(bytes, TN_ALIGN, &bytes)) t->memory = calloc(bytes, 1);
    if (!t->memory) {
        free(t);
        return tn_fail(e, TN_ENOMEM, "no memory for training %d -> %d with batches of %d rows (%zu MB)",
                       model->cfg.d_in, model->cfg.d_sae, o->batch, bytes >> 20);
    }
    arena = tn_arena_on(t->memory, bytes);
    carve(t, &arena);
    *out = t;
    return TN_OK;
}

void sae_trainer_free(sae_trainer *t) {
    if (!t) return;
    free(t->memory);
    free(t);
}

int sae_trainer_steps(const sae_trainer *t) {
    return t->steps;
}

const uint32_t *sae_trainer_fired(const sae_trainer *t) {
    return t->count;
}

/* ---- steps ---- */

static int check_rows(const sae_trainer *t, int n, tn_err *e) {
    if (n >= 1 && n <= t->opts.batch) return TN_OK;
    return tn_fail(e, TN_EARG, "a batch of %d rows, expected 1 to %d", n, t->opts.batch);
}

int sae_train_eval(sae_trainer *t, const float *x, int n, sae_metrics *m, tn_err *e) {
    int rc = check_rows(t, n, e);
    if (rc) return rc;
    sae_train_forward(t, x, n, sae_l1_at(&t->opts, t->steps), m);
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

    m->dead = 0;
    for (size_t i = 0; i < (size_t)t->model->cfg.d_sae; i++) {
        if (t->count[i] > 0)
            t->silent[i] = 0;
        else if (t->silent[i] < INT32_MAX)
            t->silent[i]++;
        m->dead += t->silent[i] >= t->opts.dead_window;
    }
    t->steps++;
    return TN_OK;
}
