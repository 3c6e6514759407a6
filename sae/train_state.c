/* The trainer's state as a safetensors file: parameters, both Adam moments, the silence counters; steps and
 * options in the metadata. All of it F32 or I32, so that loading restores every bit.
 */
#include "sae/train_internal.h"

#include "sae/numbers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "scalpel.trainer.1"
#define N_FLOATS 12
#define N_OPTIONS 14

/* A tensor of the file and where it lives here. */
typedef struct {
    char name[16];
    int rank;
    size_t shape[2];
    size_t count;
    float *data;
} state_tensor;

static void params_table(state_tensor *out, const char *prefix, const sae_params *p, size_t f, size_t d) {
    out[0] = (state_tensor){"", 2, {f, d}, f * d, p->w_enc};
    out[1] = (state_tensor){"", 2, {f, d}, f * d, p->w_dec};
    out[2] = (state_tensor){"", 1, {f, 0}, f, p->b_enc};
    out[3] = (state_tensor){"", 1, {d, 0}, d, p->b_dec};
    static const char *const names[4] = {"W_enc", "W_dec", "b_enc", "b_dec"};
    for (int i = 0; i < 4; i++) snprintf(out[i].name, sizeof out[i].name, "%s%s", prefix, names[i]);
}

/* Matrices here are both [F, D], as in memory; this is no SAELens file. */
static void state_table(const sae_trainer *t, state_tensor out[N_FLOATS]) {
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae;
    sae_params model = {.w_enc = s->w_enc, .w_dec = s->w_dec, .b_enc = s->b_enc, .b_dec = s->b_dec};
    params_table(out, "", &model, f, d);
    params_table(out + 4, "m.", &t->m, f, d);
    params_table(out + 8, "v.", &t->v, f, d);
}

typedef struct {
    const char *name;
    char text[32];
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
    out[13].name = "seed";
    snprintf(out[13].text, sizeof out[13].text, "%llu", (unsigned long long)o->seed);
}

int sae_trainer_save(const sae_trainer *t, const char *path, const tn_pair *extra, size_t n_extra,
                     tn_err *e) {
    state_tensor tensors[N_FLOATS];
    option_text options[N_OPTIONS];
    tn_tensor_spec specs[N_FLOATS + 1];
    char steps[16];
    size_t f = (size_t)t->model->cfg.d_sae, n_meta = 0;
    tn_pair *meta = calloc(N_OPTIONS + 2 + n_extra, sizeof *meta);
    if (!meta) return tn_fail(e, TN_ENOMEM, "%s: no memory for the header", path);

    option_table(&t->opts, options);
    snprintf(steps, sizeof steps, "%d", t->steps);
    meta[n_meta++] = (tn_pair){"format", FORMAT};
    meta[n_meta++] = (tn_pair){"steps", steps};
    for (int i = 0; i < N_OPTIONS; i++) meta[n_meta++] = (tn_pair){options[i].name, options[i].text};
    for (size_t i = 0; i < n_extra; i++) meta[n_meta++] = extra[i];

    state_table(t, tensors);
    for (int i = 0; i < N_FLOATS; i++)
        specs[i] = (tn_tensor_spec){
            tensors[i].name, TN_F32, tensors[i].rank, {tensors[i].shape[0], tensors[i].shape[1]}};
    specs[N_FLOATS] = (tn_tensor_spec){"silent", TN_I32, 1, {f}};

    tn_st_writer *w;
    int rc = tn_st_create(&w, path, specs, N_FLOATS + 1, meta, n_meta, e);
    if (!rc) {
        for (int i = 0; i < N_FLOATS; i++) sae_write_floats(w, TN_F32, tensors[i].data, tensors[i].count);
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

static int read_steps(const tn_safetensors *file, const char *path, int *steps, tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    int found = tn_st_metadata(file, "steps", &text) && text.data && sscanf(text.data, "%9d", steps) == 1 &&
                *steps >= 0;
    tn_buf_free(&text);
    return found ? TN_OK : tn_fail(e, TN_EFORMAT, "%s: metadata \"steps\" is missing or no number", path);
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
    state_tensor tensors[N_FLOATS];
    option_text options[N_OPTIONS];
    const tn_tensor *found[N_FLOATS + 1];
    int steps, rc = check_metadata(file, path, "format", FORMAT, e);
    if (!rc) rc = read_steps(file, path, &steps, e);
    option_table(&t->opts, options);
    for (int i = 0; i < N_OPTIONS && !rc; i++)
        rc = check_metadata(file, path, options[i].name, options[i].text, e);
    /* Everything is checked before anything is changed. */
    state_table(t, tensors);
    for (int i = 0; i < N_FLOATS && !rc; i++)
        rc = require(file, path, tensors[i].name, TN_F32, tensors[i].rank, tensors[i].shape, &found[i], e);
    size_t f = (size_t)t->model->cfg.d_sae;
    if (!rc) rc = require(file, path, "silent", TN_I32, 1, &f, &found[N_FLOATS], e);
    if (rc) return rc;
    for (int i = 0; i < N_FLOATS; i++) tn_to_f32(tensors[i].data, found[i]->data, TN_F32, found[i]->count);
    sae_read_ints(t->silent, found[N_FLOATS]->data, f);
    t->steps = steps;
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
