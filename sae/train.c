/* The trainer: options, memory, and the step that ties forward, gradient and update together. */
#include "sae/train_internal.h"

#include "tensor/os.h"

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
        .k = 32,
        .aux = 1.0f,
        .threshold_lr = 0.01f,
        .target_l0 = 32,
        .bandwidth = 0.05f,
        .init_threshold = 0.01f,
        .tanh_scale = 4.0f,
        .threshold_speed = 1.0f,
    };
}

static const sae_train_arch *const archs[] = {
    [SAE_TRAIN_RELU] = &sae_train_relu,           [SAE_TRAIN_TOPK] = &sae_train_topk,
    [SAE_TRAIN_BATCHTOPK] = &sae_train_batchtopk, [SAE_TRAIN_JUMPRELU] = &sae_train_jumprelu,
    [SAE_TRAIN_GATED] = &sae_train_gated,         [SAE_TRAIN_MATRYOSHKA] = &sae_train_matryoshka,
};
enum { N_ARCHS = sizeof archs / sizeof *archs };

const sae_train_arch *sae_train_arch_of(sae_train_kind kind) {
    return (int)kind >= 0 && (int)kind < N_ARCHS ? archs[kind] : NULL;
}

int sae_train_kind_find(const char *name, sae_train_kind *out) {
    for (int i = 0; i < N_ARCHS; i++) {
        if (strcmp(name, archs[i]->name) != 0) continue;
        *out = (sae_train_kind)i;
        return 1;
    }
    if (strcmp(name, "standard") != 0) return 0;
    *out = SAE_TRAIN_RELU;
    return 1;
}

int sae_screen_use_find(const char *name, sae_screen_use *out) {
    static const char *const names[] = {"auto", "off", "on"}; /* in the type's order */
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (sae_screen_use)i;
        return 1;
    }
    return 0;
}

int sae_train_ranks(const sae_train_opts *o) {
    return archs[o->arch]->auxk;
}

void sae_train_config(const sae_train_opts *o, sae_config *cfg) {
    const sae_train_arch *arch = archs[o->arch];
    cfg->architecture = arch->model;
    memcpy(cfg->trained_as, arch->trained_as, strlen(arch->trained_as) + 1);
    cfg->k = arch->model == SAE_TOPK ? (int)o->k : 0;
    cfg->rescale_acts_by_decoder_norm = arch->model == SAE_TOPK; /* rows are 1 long in the end */
}

void sae_train_fill_widths(sae_train_opts *o, int d_sae) {
    if (o->arch != SAE_TRAIN_MATRYOSHKA) return;
    if (o->n_widths == 0)
        for (int part = 16; part > 1; part /= 2)
            if (d_sae >= part) o->widths[o->n_widths++] = d_sae / part;
    int whole = o->n_widths > 0 && o->widths[o->n_widths - 1] == d_sae;
    if (!whole && o->n_widths < SAE_MAX_WIDTHS) o->widths[o->n_widths++] = d_sae;
}

/* The named option within [lo, hi]; a NaN is not. */
static int in_range(const char *name, double v, double lo, double hi, tn_err *e) {
    if (v >= lo && v <= hi) return TN_OK;
    return tn_fail(e, TN_EARG, "%s is %g, it must be between %g and %g", name, v, lo, hi);
}

static int check_widths(const sae_train_opts *o, tn_err *e) {
    int rc = in_range("n_widths", o->n_widths, 0, SAE_MAX_WIDTHS, e);
    for (int l = 0; l < o->n_widths && !rc; l++)
        if (o->widths[l] <= (l > 0 ? o->widths[l - 1] : 0))
            rc = tn_fail(e, TN_EARG, "width %d of the nested SAEs is %d: they must ascend from 1", l + 1,
                         o->widths[l]);
    return rc;
}

static int check_architecture(const sae_train_opts *o, tn_err *e) {
    int rc;
    if (!sae_train_arch_of(o->arch)) return tn_fail(e, TN_EARG, "there is no architecture %d", (int)o->arch);
    if ((rc = in_range("k", (double)o->k, 1, 1 << 28, e))) return rc;
    if (o->arch == SAE_TRAIN_TOPK && o->k != floorf(o->k))
        return tn_fail(e, TN_EARG, "k is %g: only batchtopk and matryoshka can take a fraction",
                       (double)o->k);
    if ((rc = in_range("aux", (double)o->aux, 0, 1e9, e))) return rc;
    if ((rc = in_range("threshold_lr", (double)o->threshold_lr, 1e-6, 1, e))) return rc;
    if ((rc = in_range("l0_penalty", o->l0_penalty, SAE_L0_STEP, SAE_L0_MEAN, e))) return rc;
    if ((rc = in_range("target_l0", (double)o->target_l0, 1e-6, 1 << 28, e))) return rc;
    if ((rc = in_range("bandwidth", (double)o->bandwidth, 1e-9, 1e9, e))) return rc;
    if ((rc = in_range("convention", o->convention, SAE_SAELENS, SAE_DICTIONARY_LEARNING, e))) return rc;
    if ((rc = in_range("pre_act", (double)o->pre_act, 0, 1e9, e))) return rc;
    if ((rc = in_range("threshold_start", o->threshold_start, 0, INT32_MAX, e))) return rc;
    if ((rc = check_widths(o, e))) return rc;
    if ((rc = in_range("threshold_speed", (double)o->threshold_speed, 1e-6, 1e6, e))) return rc;
    if ((rc = in_range("init_threshold", (double)o->init_threshold, 0, 1e9, e))) return rc;
    return in_range("tanh_scale", (double)o->tanh_scale, 1e-9, 1e9, e);
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
    if ((rc = in_range("dead_window", o->dead_window, 1, INT32_MAX, e))) return rc;
    if ((rc = in_range("resample", o->resample, 0, INT32_MAX, e))) return rc;
    return check_architecture(o, e);
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
    sae_vector vectors[SAE_MAX_VECTORS];
    int n = sae_arch_of(model->cfg.architecture)->vectors(model, vectors);
    for (int v = 0; v < n; v++) memset(*vectors[v].data, 0, f * sizeof(float));
    for (size_t i = 0; i < f && o->arch == SAE_TRAIN_JUMPRELU; i++) model->threshold[i] = o->init_threshold;
    memset(model->b_dec, 0, d * sizeof *model->b_dec);
}

/* ---- memory ---- */

static sae_params take_params(tn_arena *a, size_t f, size_t d, int n_vectors) {
    sae_params p = {0};
    p.w_enc = tn_arena_take(a, f * d, sizeof(float)); /* f * d fits: the model holds as many */
    p.w_dec = tn_arena_take(a, f * d, sizeof(float));
    for (int v = 0; v < n_vectors; v++) p.vector[v] = tn_arena_take(a, f, sizeof(float));
    p.b_dec = tn_arena_take(a, d, sizeof(float));
    return p;
}

/* What only some architectures need. */
static void carve_own(sae_trainer *t, tn_arena *a, size_t d, size_t b) {
    const sae_train_opts *o = &t->opts;
    size_t errors = 0;
    if (t->arch->batch_wide)
        t->digits = tn_arena_take(a, (size_t)t->ex.threads * SAE_DIGITS, sizeof *t->digits);
    if (t->arch->auxk) sae_auxk_take(t, a);
    if (t->arch->auxk || o->arch == SAE_TRAIN_GATED) {
        t->aux_err = tn_arena_take(a, b * d, sizeof *t->aux_err);
        t->aux_se = tn_arena_take(a, b, sizeof *t->aux_se);
    }
    if (o->arch == SAE_TRAIN_JUMPRELU) t->xin_sum = tn_arena_take(a, d, sizeof *t->xin_sum);
    if (o->arch == SAE_TRAIN_MATRYOSHKA) {
        if (tn_mul_size(b * d, (size_t)o->n_widths - 1, &errors)) a->failed = 1;
        t->level_err = tn_arena_take(a, errors, sizeof *t->level_err);
    }
}

/* Takes every buffer of train_internal.h from the arena, to measure and then to place. */
static void carve(sae_trainer *t, tn_arena *a) {
    size_t d = (size_t)t->model->cfg.d_in, f = (size_t)t->model->cfg.d_sae, b = (size_t)t->opts.batch;
    t->m = take_params(a, f, d, t->n_vectors);
    t->v = take_params(a, f, d, t->n_vectors);
    t->g = take_params(a, f, d, t->n_vectors);
    t->silent = tn_arena_take(a, f, sizeof *t->silent);
    t->xin = tn_arena_take(a, b * d, sizeof *t->xin);
    t->err = tn_arena_take(a, b * d, sizeof *t->err);
    /* with a k of their own rows list no more, but for a NaN that the loss has to show */
    sae_lists_take(&t->lists, a, b, t->arch->per_row ? (size_t)t->opts.k + 1 : f, f);
    sae_train_take_encoder(t, a);
    t->fired = tn_arena_take(a, f, sizeof *t->fired);
    t->weight = tn_arena_take(a, f, sizeof *t->weight);
    t->row_se = tn_arena_take(a, b, sizeof *t->row_se);
    t->row_l0 = tn_arena_take(a, b, sizeof *t->row_l0);
    t->drawn = tn_arena_take(a, b, sizeof *t->drawn);
    t->z_sum = tn_arena_take(a, f, sizeof *t->z_sum);
    t->grad_sq = tn_arena_take(a, f, sizeof *t->grad_sq);
    t->mean = tn_arena_take(a, d, sizeof *t->mean);
    t->b_dec_part = tn_arena_take(a, (f + SAE_GROUP - 1) / SAE_GROUP * d, sizeof *t->b_dec_part);
    t->zero = tn_arena_take(a, d, sizeof *t->zero);
    carve_own(t, a, d, b);
}

/* The options fit the model. */
static int check_model(const sae_model *model, const sae_train_opts *o, tn_err *e) {
    const sae_train_arch *arch = sae_train_arch_of(o->arch);
    if (arch->model != model->cfg.architecture)
        return tn_fail(e, TN_EARG, "training %s needs a %s SAE, not a %s one", arch->name,
                       sae_architecture_name(arch->model), sae_architecture_name(model->cfg.architecture));
    if (arch->auxk && (double)o->k > (double)model->cfg.d_sae)
        return tn_fail(e, TN_EARG, "k is %g, there are only %d latents", (double)o->k, model->cfg.d_sae);
    if (o->arch == SAE_TRAIN_JUMPRELU && o->l0_penalty == SAE_L0_QUADRATIC &&
        (double)o->target_l0 > (double)model->cfg.d_sae)
        return tn_fail(e, TN_EARG, "the target of L0 is %g, there are only %d latents", (double)o->target_l0,
                       model->cfg.d_sae);
    if (o->n_widths > 0 && o->widths[o->n_widths - 1] != model->cfg.d_sae)
        return tn_fail(e, TN_EARG, "the widest of the nested SAEs has %d latents, expected all %d",
                       o->widths[o->n_widths - 1], model->cfg.d_sae);
    return TN_OK;
}

int sae_trainer_new(sae_trainer **out, sae_model *model, const sae_train_opts *o, tn_exec ex, tn_err *e) {
    *out = NULL;
    sae_train_opts filled = *o;
    int rc = sae_train_check(o, e);
    if (!rc) sae_train_fill_widths(&filled, model->cfg.d_sae);
    if (!rc) rc = check_model(model, &filled, e);
    if (rc) return rc;
    sae_trainer *t = calloc(1, sizeof *t);
    if (!t) return tn_fail(e, TN_ENOMEM, "no memory for the trainer");
    t->arch = sae_train_arch_of(o->arch);
    t->model = model;
    t->n_vectors = sae_arch_of(model->cfg.architecture)->vectors(model, t->vectors);
    t->opts = filled;
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
    /* the matrices, which a step walks through from end to end */
    size_t matrix = (size_t)model->cfg.d_sae * (size_t)model->cfg.d_in * sizeof(float);
    float *const matrices[] = {t->m.w_enc, t->m.w_dec, t->v.w_enc, t->v.w_dec, t->g.w_enc, t->g.w_dec};
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) tn_large_pages(matrices[i], matrix);
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
    return t->fired;
}

void sae_train_finish(sae_trainer *t) {
    if (t->arch->finish) t->arch->finish(t);
}

/* ---- steps ---- */

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
