/* A trainer before its first step: random parameters, memory. */
#include "sae/train_internal.h"

#include "tensor/os.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    size_t gradients = (size_t)t->ex.threads * SAE_GRADIENTS;
    t->grad_room = tn_arena_take(a, gradients * 2 * d, sizeof *t->grad_room);
    t->dpre_room = tn_arena_take(a, gradients * b, sizeof *t->dpre_room);
    t->b_dec_part = tn_arena_take(a, (f + SAE_GROUP - 1) / SAE_GROUP * d, sizeof *t->b_dec_part);
    t->zero = tn_arena_take(a, d, sizeof *t->zero);
    carve_own(t, a, d, b);
}

/* For what a step walks through from end to end. (The lists are mostly room that is never used.) */
static void ask_for_large_pages(const sae_trainer *t) {
    size_t d = (size_t)t->model->cfg.d_in, f = (size_t)t->model->cfg.d_sae, b = (size_t)t->opts.batch;
    float *const matrices[] = {t->m.w_enc, t->m.w_dec, t->v.w_enc, t->v.w_dec, t->g.w_enc, t->g.w_dec};
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        tn_large_pages(matrices[i], f * d * sizeof(float));
    tn_large_pages(t->xin, b * d * sizeof *t->xin);
    tn_large_pages(t->err, b * d * sizeof *t->err);
    if (t->screening) tn_large_pages(t->screen.data, f * t->screen.kpad);
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
    ask_for_large_pages(t);
    *out = t;
    return TN_OK;
}

void sae_trainer_free(sae_trainer *t) {
    if (!t) return;
    free(t->memory);
    free(t);
}
