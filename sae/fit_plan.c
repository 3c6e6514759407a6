/* What a training run will be: options checked and completed, the SAE at its start (fit_run.h). */
#include "sae/fit_run.h"

#include <math.h>
#include <stdio.h>

sae_fit_opts sae_fit_defaults(void) {
    sae_fit_opts o = {.train = sae_train_defaults(),
                      .apply_b_dec_to_input = 1,
                      .epochs = 20,
                      .validation = 0.1f,
                      .scale_inputs = 1,
                      .center_b_dec = 1,
                      .start_bias = NAN};
    o.train.threshold_speed = -1;
    o.train.l1_warmup_steps = o.train.lr_warmup_steps = o.train.lr_decay_steps = o.train.dead_window = -1;
    return o;
}

int sae_fit_check(const sae_fit_opts *o, tn_err *e) {
    if (o->epochs < 1 || o->epochs > 1000000) return tn_fail(e, TN_EARG, "%d epochs", o->epochs);
    if (!(o->validation >= 0 && o->validation <= 0.9f))
        return tn_fail(e, TN_EARG, "a validation share of %g, expected 0 to 0.9", (double)o->validation);
    if (!isnan(o->start_bias) && !(o->start_bias >= 0 && o->start_bias <= 10))
        return tn_fail(e, TN_EARG, "a start bias of %g, expected 0 to 10", (double)o->start_bias);
    if (o->log_every < 0 || o->checkpoint_every < 0) return tn_fail(e, TN_EARG, "a negative number of steps");
    return TN_OK;
}

static int at_most(int limit, int steps) {
    return steps < limit ? steps : limit;
}

/* Its defaults, which are of long runs, no longer than a share of this one. */
static void plan_dictionary_learning(sae_train_opts *t, int d_sae) {
    if (t->l1_warmup_steps < 0) t->l1_warmup_steps = at_most(2000, t->total_steps / 10);
    if (t->lr_warmup_steps < 0) t->lr_warmup_steps = at_most(1000, t->total_steps / 20);
    if (t->threshold_start < 0) t->threshold_start = at_most(1000, t->total_steps / 2);
    if (t->lr < 0) t->lr = sae_train_lr_of_width(d_sae);
}

/* Standard deviation of W_enc[i] · (x - mean) for a random direction, at the start. */
static float pre_activation_spread(const sae_fit_run *r) {
    return r->o.train.init_norm * (float)(r->rows.scale * sqrt(r->rows.variance / r->source->d));
}

/* Adam moves a parameter by about the learning rate a step, whatever its gradient. So that thresholds arrive
 * where the target of L0 wants them, a short run lets them cross REACH spreads of the pre-activations. */
static float threshold_speed(const sae_fit_run *r) {
    const float REACH = 24;
    float needed = REACH * pre_activation_spread(r) / (r->o.train.lr * (float)r->total_steps);
    return needed > 1 ? needed : 1;
}

/* Steps of the run and the values that follow from them. */
int sae_fit_plan(sae_fit_run *r, tn_err *e) {
    sae_fit_opts *o = &r->o;
    sae_train_opts *t = &o->train;
    uint32_t n_train = r->rows.split.n_train;
    if (t->batch > 0 && (uint32_t)t->batch > n_train) t->batch = (int)n_train;
    if (t->batch < 1) return tn_fail(e, TN_EARG, "batch is %d", t->batch);
    r->steps_per_epoch = (int)(n_train / (uint32_t)t->batch);
    if (r->steps_per_epoch > INT32_MAX / o->epochs)
        return tn_fail(e, TN_EARG, "%d epochs of %d steps are too many", o->epochs, r->steps_per_epoch);
    sae_train_fill_widths(t, o->d_sae);
    t->total_steps = r->total_steps = r->steps_per_epoch * o->epochs;
    if (t->convention == SAE_DICTIONARY_LEARNING) plan_dictionary_learning(t, o->d_sae);
    if (t->threshold_speed < 0) t->threshold_speed = threshold_speed(r);
    if (t->l1_warmup_steps < 0) t->l1_warmup_steps = r->total_steps / 20;
    if (t->lr_warmup_steps < 0) t->lr_warmup_steps = r->total_steps / 20;
    if (t->lr_decay_steps < 0) t->lr_decay_steps = r->total_steps / 5;
    if (t->dead_window < 0) t->dead_window = r->steps_per_epoch;
    /* TopK and BatchTopK decide themselves how many latents fire. */
    if (isnan(o->start_bias)) o->start_bias = sae_train_ranks(t) ? 0 : 2;
    if (o->log_every == 0) o->log_every = r->total_steps / 50 + (r->total_steps % 50 != 0);
    /* Checkpoints fall on logged steps, where no running mean is open. */
    int rest = o->checkpoint_every % o->log_every;
    if (rest && o->checkpoint_every <= INT32_MAX - o->log_every) o->checkpoint_every += o->log_every - rest;
    return TN_OK;
}

int sae_fit_new_model(sae_fit_run *r, tn_err *e) {
    const sae_source *a = r->source;
    sae_config cfg = {.d_in = a->d,
                      .d_sae = r->o.d_sae,
                      .apply_b_dec_to_input = r->o.apply_b_dec_to_input,
                      .context_size = a->context,
                      .prepend_bos = a->prepend_bos};
    sae_train_config(&r->o.train, &cfg);
    snprintf(cfg.model_name, sizeof cfg.model_name, "%s", a->model_name);
    snprintf(cfg.hook_name, sizeof cfg.hook_name, "%s", a->hook_name);
    int rc = sae_new(&r->model, &cfg, e);
    if (rc) return rc;
    sae_init_params(&r->model, &r->o.train);
    float spread = pre_activation_spread(r);
    float *const biases[] = {r->model.b_enc, r->model.b_gate, r->model.b_mag};
    for (int v = 0; v < 3; v++)
        for (int i = 0; biases[v] && i < cfg.d_sae; i++) biases[v][i] = -r->o.start_bias * spread;
    if (r->o.center_b_dec)
        for (int k = 0; k < a->d; k++) r->model.b_dec[k] = (float)(r->rows.mean[k] * r->rows.scale);
    return TN_OK;
}
