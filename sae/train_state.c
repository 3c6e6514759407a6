/* The trainer's state as a safetensors file: parameters, both Adam moments, the silence counters; steps,
 * BatchTopK's threshold and the options in the metadata. Loading restores every bit.
 */
#include "sae/train_internal.h"

#include "sae/numbers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "scalpel.trainer.4"
#define MAX_FLOATS (3 * (3 + SAE_MAX_VECTORS))
#define N_OPTIONS 31

/* A tensor of the file and where it lives here. */
typedef struct {
    char name[16];
    int rank;
    size_t shape[2];
    size_t count;
    float *data;
} state_tensor;

/* Appends the arrays of p to out; returns how many. */
static int params_table(state_tensor *out, const char *prefix, const sae_trainer *t, const sae_params *p) {
    size_t d = (size_t)t->model->cfg.d_in, f = (size_t)t->model->cfg.d_sae;
    int n = 0;
    out[n++] = (state_tensor){"W_enc", 2, {f, d}, f * d, p->w_enc};
    out[n++] = (state_tensor){"W_dec", 2, {f, d}, f * d, p->w_dec};
    for (int v = 0; v < t->n_vectors; v++) {
        out[n] = (state_tensor){"", 1, {f, 0}, f, p->vector[v]};
        snprintf(out[n++].name, sizeof out->name, "%s", t->vectors[v].name);
    }
    out[n++] = (state_tensor){"b_dec", 1, {d, 0}, d, p->b_dec};
    for (int i = 0; i < n; i++) {
        char name[sizeof out->name];
        memcpy(name, out[i].name, sizeof name);
        snprintf(out[i].name, sizeof out[i].name, "%s%.12s", prefix, name);
    }
    return n;
}

/* Matrices here are both [F, D], as in memory; this is no SAELens file. Returns how many. */
static int state_table(const sae_trainer *t, state_tensor out[MAX_FLOATS]) {
    const sae_model *s = t->model;
    sae_params model = {.w_enc = s->w_enc, .w_dec = s->w_dec, .b_dec = s->b_dec};
    for (int v = 0; v < t->n_vectors; v++) model.vector[v] = *t->vectors[v].data;
    int n = params_table(out, "", t, &model);
    n += params_table(out + n, "m.", t, &t->m);
    return n + params_table(out + n, "v.", t, &t->v);
}

typedef struct {
    const char *name;
    char text[12 * SAE_MAX_WIDTHS];
} option_text;

static void put_option(option_text *o, const char *name, double value) {
    o->name = name;
    snprintf(o->text, sizeof o->text, "%.9g", value); /* nine digits tell any two floats apart */
}

static void option_table(const sae_train_opts *o, option_text out[N_OPTIONS]) {
    put_option(&out[0], "batch", o->batch);
    put_option(&out[1], "lr", (double)o->lr);
    put_option(&out[2], "beta1", (double)o->beta1);
    put_option(&out[3], "beta2", (double)o->beta2);
    put_option(&out[4], "adam_eps", (double)o->adam_eps);
    put_option(&out[5], "l1", (double)o->l1);
    put_option(&out[6], "l1_warmup_steps", o->l1_warmup_steps);
    put_option(&out[7], "lr_warmup_steps", o->lr_warmup_steps);
    put_option(&out[8], "lr_decay_steps", o->lr_decay_steps);
    put_option(&out[9], "total_steps", o->total_steps);
    put_option(&out[10], "clip", (double)o->clip);
    put_option(&out[11], "unit_norm_decoder", o->unit_norm_decoder);
    put_option(&out[12], "dead_window", o->dead_window);
    put_option(&out[14], "k", (double)o->k);
    put_option(&out[15], "aux", (double)o->aux);
    put_option(&out[16], "threshold_lr", (double)o->threshold_lr);
    put_option(&out[17], "l0_penalty", o->l0_penalty);
    put_option(&out[18], "target_l0", (double)o->target_l0);
    put_option(&out[19], "bandwidth", (double)o->bandwidth);
    put_option(&out[20], "init_threshold", (double)o->init_threshold);
    put_option(&out[21], "tanh_scale", (double)o->tanh_scale);
    put_option(&out[22], "ste_to_input", o->ste_to_input);
    put_option(&out[23], "init_norm", (double)o->init_norm);
    out[24].name = "arch";
    snprintf(out[24].text, sizeof out[24].text, "%s", sae_train_arch_of(o->arch)->name);
    out[25] = (option_text){"widths", "none"};
    for (int l = 0, at = 0; l < o->n_widths; l++)
        at += snprintf(out[25].text + at, sizeof out[25].text - (size_t)at, "%d ", o->widths[l]);
    put_option(&out[26], "convention", o->convention);
    put_option(&out[27], "threshold_start", o->threshold_start);
    put_option(&out[28], "threshold_speed", (double)o->threshold_speed);
    put_option(&out[29], "resample", o->resample);
    put_option(&out[30], "pre_act", (double)o->pre_act);
    out[13].name = "seed";
    snprintf(out[13].text, sizeof out[13].text, "%llu", (unsigned long long)o->seed);
}

/* A state that holds a NaN or an infinity is beyond help: the last good one stays. */
static int check_finite(const state_tensor *s, const char *path, tn_err *e) {
    for (size_t i = 0; i < s->count; i++)
        if (!isfinite(s->data[i]))
            return tn_fail(e, TN_ENUM, "%s: %s is not finite, nothing is written", path, s->name);
    return TN_OK;
}

int sae_trainer_save(const sae_trainer *t, const char *path, const tn_pair *extra, size_t n_extra,
                     tn_err *e) {
    state_tensor tensors[MAX_FLOATS];
    option_text options[N_OPTIONS];
    tn_tensor_spec specs[MAX_FLOATS + 1];
    char steps[16], threshold[32];
    size_t f = (size_t)t->model->cfg.d_sae, n_meta = 0;
    tn_pair *meta = calloc(N_OPTIONS + 3 + n_extra, sizeof *meta);
    if (!meta) return tn_fail(e, TN_ENOMEM, "%s: no memory for the header", path);

    option_table(&t->opts, options);
    snprintf(steps, sizeof steps, "%d", t->steps);
    meta[n_meta++] = (tn_pair){"format", FORMAT};
    snprintf(threshold, sizeof threshold, "%.17g", t->threshold); /* tells any two doubles apart */
    meta[n_meta++] = (tn_pair){"steps", steps};
    meta[n_meta++] = (tn_pair){"threshold_average", threshold};
    for (int i = 0; i < N_OPTIONS; i++) meta[n_meta++] = (tn_pair){options[i].name, options[i].text};
    for (size_t i = 0; i < n_extra; i++) meta[n_meta++] = extra[i];

    int n = state_table(t, tensors), rc = TN_OK;
    for (int i = 0; i < n && !rc; i++) rc = check_finite(&tensors[i], path, e);
    for (int i = 0; i < n; i++)
        specs[i] = (tn_tensor_spec){
            tensors[i].name, TN_F32, tensors[i].rank, {tensors[i].shape[0], tensors[i].shape[1]}};
    specs[n] = (tn_tensor_spec){"silent", TN_I32, 1, {f}};

    tn_st_writer *w;
    if (!rc) rc = tn_st_create(&w, path, specs, (size_t)n + 1, meta, n_meta, e);
    if (!rc) {
        for (int i = 0; i < n; i++) sae_write_floats(w, TN_F32, tensors[i].data, tensors[i].count);
        sae_write_ints(w, t->silent, f);
        rc = tn_st_finish(w, e);
    }
    free(meta);
    return rc;
}

/* Metadata `key` equals `want`, else TN_EARG that says how it differs. */
static int check_metadata(const tn_safetensors *file, const char *path, const char *key, const char *want,
                          tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    int rc = TN_OK;
    if (!tn_st_metadata(file, key, &text) || !text.data)
        rc = tn_fail(e, TN_EFORMAT, "%s: metadata \"%s\" is missing", path, key);
    else if (strcmp(text.data, want) != 0)
        rc = tn_fail(e, TN_EARG, "%s: belongs to a run with other options (%s %.40s, not %s)", path, key,
                     text.data, want);
    tn_buf_free(&text);
    return rc;
}

/* A number of the metadata between 0 and most. */
static int read_number(const tn_safetensors *file, const char *path, const char *key, double most, double *v,
                       tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    int found = tn_st_metadata(file, key, &text) && text.data && sscanf(text.data, "%lf", v) == 1 &&
                *v >= 0 && *v <= most;
    tn_buf_free(&text);
    return found ? TN_OK : tn_fail(e, TN_EFORMAT, "%s: metadata \"%s\" is missing or no number", path, key);
}

/* Tensor `name` of this shape and type, by the strict contract of tn_st_require. */
static int require(const tn_safetensors *file, const char *path, const char *name, tn_dtype dtype, int rank,
                   const size_t *shape, const tn_tensor **out, tn_err *e) {
    int rc = tn_st_require(file, name, rank, shape, out, e);
    if (!rc && (*out)->dtype != dtype)
        rc = tn_fail(e, TN_ESHAPE, "%s: tensor \"%s\" has dtype %s, expected %s", path, name,
                     tn_dtype_name((*out)->dtype), tn_dtype_name(dtype));
    return rc;
}

static int load_from(sae_trainer *t, const tn_safetensors *file, const char *path, tn_err *e) {
    state_tensor tensors[MAX_FLOATS];
    option_text options[N_OPTIONS];
    const tn_tensor *found[MAX_FLOATS + 1];
    double steps, threshold;
    int rc = check_metadata(file, path, "format", FORMAT, e);
    if (!rc) rc = read_number(file, path, "steps", INT32_MAX - 1, &steps, e);
    if (!rc) rc = read_number(file, path, "threshold_average", 3e38, &threshold, e);
    option_table(&t->opts, options);
    for (int i = 0; i < N_OPTIONS && !rc; i++)
        rc = check_metadata(file, path, options[i].name, options[i].text, e);
    /* Everything is checked before anything is changed. */
    int n = state_table(t, tensors);
    for (int i = 0; i < n && !rc; i++)
        rc = require(file, path, tensors[i].name, TN_F32, tensors[i].rank, tensors[i].shape, &found[i], e);
    size_t f = (size_t)t->model->cfg.d_sae;
    if (!rc) rc = require(file, path, "silent", TN_I32, 1, &f, &found[n], e);
    if (rc) return rc;
    for (int i = 0; i < n; i++) tn_to_f32(tensors[i].data, found[i]->data, TN_F32, found[i]->count);
    sae_read_ints(t->silent, found[n]->data, f);
    t->copied = 0;
    t->steps = (int)steps;
    t->threshold = threshold;
    return TN_OK;
}

int sae_trainer_load(sae_trainer *t, const char *path, tn_err *e) {
    tn_safetensors *file;
    int rc = tn_st_open_file(&file, path, e);
    if (rc) return rc;
    rc = load_from(t, file, path, e);
    tn_st_close(file);
    return rc;
}
