/* The options of a training (train.h): defaults, names, and what they must be. */
#include "sae/train_internal.h"

#include <math.h>
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

double sae_train_mse_weight(const sae_train_opts *o) {
    int weighs = o->arch == SAE_TRAIN_MATRYOSHKA && o->convention == SAE_DICTIONARY_LEARNING;
    return weighs ? 1.0 / o->n_widths / o->n_widths : 1;
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
