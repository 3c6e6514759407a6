/* The SAELens directory: cfg.json and sae_weights.safetensors (W_enc [D, F], W_dec [F, D], b_enc [F],
 * b_dec [D]), as SAE.load_from_disk of SAELens 6 reads it.
 *
 * Loading is strict: a missing, extra or transposed tensor is an error that names it, and so is every setting
 * that would make the SAE compute something else than the two lines of sae.h.
 */
#include "sae/numbers.h"
#include "sae/sae.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* SAELens treats files whose metadata names no version >= 6 as an older, flat layout. */
#define SAE_LENS_VERSION "6.54.12"

/* ---- reading ---- */

/* Copies the string under `key` when there is one; a longer one than fits is an error, not cut off. */
static int copy_string(tn_json obj, const char *key, char *dst, size_t cap, tn_err *e) {
    tn_json v = tn_json_get(obj, key);
    if (v.kind != TN_JSON_STRING) return TN_OK;
    if (!tn_json_copy(v, dst, cap))
        return tn_fail(e, TN_EFORMAT, "\"%s\" is longer than %zu bytes", key, cap - 1);
    return TN_OK;
}

/* A width between 1 and what an int holds. */
static int read_width(tn_json root, const char *key, int *out, tn_err *e) {
    int64_t v;
    if (!tn_json_i64(tn_json_get(root, key), &v))
        return tn_fail(e, TN_EFORMAT, "\"%s\" is missing or no whole number", key);
    if (v < 1 || v > INT32_MAX) return tn_fail(e, TN_EFORMAT, "\"%s\" is %lld", key, (long long)v);
    *out = (int)v;
    return TN_OK;
}

/* A setting that must have this value, or be absent or null. */
static int require_plain(tn_json root, const char *key, const char *value, tn_err *e) {
    tn_json v = tn_json_get(root, key);
    if (v.kind == TN_JSON_NONE || v.kind == TN_JSON_NULL || tn_json_is(v, value)) return TN_OK;
    return tn_fail(e, TN_EUNSUP, "\"%s\" is %.*s, only \"%s\" is supported", key,
                   (int)(v.len < 80 ? v.len : 80), v.text, value);
}

static int read_config(sae_config *cfg, tn_json root, tn_err *e) {
    memset(cfg, 0, sizeof *cfg);
    if (root.kind != TN_JSON_OBJECT) return tn_fail(e, TN_EFORMAT, "not a JSON object");
    int rc;
    if ((rc = copy_string(root, "architecture", cfg->architecture, sizeof cfg->architecture, e))) return rc;
    if (!cfg->architecture[0]) return tn_fail(e, TN_EFORMAT, "\"architecture\" is missing");
    if (strcmp(cfg->architecture, "standard") != 0)
        return tn_fail(e, TN_EUNSUP, "architecture \"%s\" is not supported, only \"standard\"",
                       cfg->architecture);
    if ((rc = read_width(root, "d_in", &cfg->d_in, e))) return rc;
    if ((rc = read_width(root, "d_sae", &cfg->d_sae, e))) return rc;
    /* expected_average_only_in is a note about training: SAELens does nothing with it after loading. */
    if (!tn_json_is(tn_json_get(root, "normalize_activations"), "expected_average_only_in") &&
        (rc = require_plain(root, "normalize_activations", "none", e)))
        return rc;
    if ((rc = require_plain(root, "reshape_activations", "none", e))) return rc;
    tn_json apply = tn_json_get(root, "apply_b_dec_to_input");
    cfg->apply_b_dec_to_input = 1; /* SAELens' default */
    if (apply.kind != TN_JSON_NONE && !tn_json_bool(apply, &cfg->apply_b_dec_to_input))
        return tn_fail(e, TN_EFORMAT, "\"apply_b_dec_to_input\" is neither true nor false");
    tn_json meta = tn_json_get(root, "metadata");
    if (meta.kind != TN_JSON_OBJECT) meta = root; /* files of before version 6 are flat */
    if ((rc = copy_string(meta, "model_name", cfg->model_name, sizeof cfg->model_name, e))) return rc;
    if ((rc = copy_string(meta, "hook_name", cfg->hook_name, sizeof cfg->hook_name, e))) return rc;
    int64_t context;
    if (tn_json_i64(tn_json_get(meta, "context_size"), &context) && context >= 0 && context <= INT32_MAX)
        cfg->context_size = (int)context;
    return TN_OK;
}

static int open_config(sae_config *cfg, const char *path, tn_err *e) {
    tn_map map;
    int rc = tn_map_file(&map, path, e);
    if (rc) return rc;
    tn_json root;
    rc = tn_json_parse(&root, map.data, map.size, e);
    if (!rc) rc = read_config(cfg, root, e);
    tn_unmap_file(&map);
    return rc ? tn_fail_in(e, rc, path) : TN_OK;
}

typedef struct {
    const char *name;
    int rank;
    size_t shape[2];
    float *dst;
} weight;

/* The tensors of a standard SAE. W_enc is [D, F] in the file and [F, D] in the model. */
static void weight_table(const sae_model *s, weight w[4]) {
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae;
    w[0] = (weight){"W_dec", 2, {f, d}, s->w_dec};
    w[1] = (weight){"W_enc", 2, {d, f}, s->w_enc};
    w[2] = (weight){"b_dec", 1, {d, 0}, s->b_dec};
    w[3] = (weight){"b_enc", 1, {f, 0}, s->b_enc};
}

static int is_float(tn_dtype t) {
    return t == TN_F64 || t == TN_F32 || t == TN_F16 || t == TN_BF16;
}

/* Takes all four tensors; `turned` [D, F] holds W_enc as stored. */
static int read_weights(sae_model *s, const tn_safetensors *file, const char *path, float *turned,
                        tn_err *e) {
    weight w[4];
    weight_table(s, w);
    for (int i = 0; i < 4; i++) {
        const tn_tensor *t;
        int rc = tn_st_require(file, w[i].name, w[i].rank, w[i].shape, &t, e);
        if (rc) return rc;
        if (!is_float(t->dtype))
            return tn_fail(e, TN_ESHAPE, "%s: tensor \"%s\" has dtype %s, expected F32, F16, BF16 or F64",
                           path, w[i].name, tn_dtype_name(t->dtype));
        float *dst = w[i].dst == s->w_enc ? turned : w[i].dst;
        if ((rc = tn_to_f32(dst, t->data, t->dtype, t->count)))
            return tn_fail(e, rc, "%s: tensor \"%s\"", path, w[i].name);
        for (size_t k = 0; k < t->count; k++)
            if (!isfinite(dst[k]))
                return tn_fail(e, TN_ENUM, "%s: tensor \"%s\" has a number that is not finite", path,
                               w[i].name);
    }
    for (size_t i = 0; i < tn_st_count(file); i++) {
        const char *name = tn_st_at(file, i)->name;
        int known = 0;
        for (int j = 0; j < 4; j++) known |= strcmp(name, w[j].name) == 0;
        if (!known)
            return tn_fail(e, TN_EFORMAT, "%s: unexpected tensor \"%s\" in a standard SAE", path, name);
    }
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae;
    tn_transpose(tn_exec_make(NULL, 1), s->w_enc, turned, d, f, f);
    return TN_OK;
}

int sae_open_dir(sae_model *out, const char *dir, tn_err *e) {
    memset(out, 0, sizeof *out);
    char path[1024];
    sae_config cfg;
    tn_safetensors *file = NULL;
    float *turned = NULL;
    int rc = tn_path_join(path, sizeof path, dir, "cfg.json", e);
    if (!rc) rc = open_config(&cfg, path, e);
    if (!rc) rc = tn_path_join(path, sizeof path, dir, "sae_weights.safetensors", e);
    if (!rc) rc = tn_st_open_file(&file, path, e);
    if (rc) return rc;
    /* Shapes are checked before memory is taken: a false d_sae must not ask for gigabytes. */
    const tn_tensor *t;
    size_t shape[2] = {(size_t)cfg.d_in, (size_t)cfg.d_sae};
    rc = tn_st_require(file, "W_enc", 2, shape, &t, e);
    if (!rc) rc = sae_new(out, &cfg, e);
    if (!rc && !(turned = malloc(t->count * sizeof *turned)))
        rc = tn_fail(e, TN_ENOMEM, "%s: no memory for W_enc", path);
    if (!rc) rc = read_weights(out, file, path, turned, e);
    if (rc) sae_free(out);
    free(turned);
    tn_st_close(file);
    return rc;
}

/* ---- writing ---- */

static void put_null(tn_json_out *w, const char *key) {
    tn_json_key(w, key);
    tn_json_put_null(w);
}

static void write_config(const sae_config *cfg, const char *extra, tn_buf *out) {
    tn_json_out w = tn_json_writer(out, 2);
    tn_json_begin_object(&w);
    tn_json_member_text(&w, "architecture", "standard");
    tn_json_member_i64(&w, "d_in", cfg->d_in);
    tn_json_member_i64(&w, "d_sae", cfg->d_sae);
    tn_json_member_text(&w, "dtype", "float32");
    tn_json_member_text(&w, "device", "cpu");
    tn_json_member_bool(&w, "apply_b_dec_to_input", cfg->apply_b_dec_to_input);
    tn_json_member_text(&w, "normalize_activations", "none");
    tn_json_member_text(&w, "reshape_activations", "none");
    tn_json_key(&w, "metadata");
    tn_json_begin_object(&w);
    tn_json_member_text(&w, "sae_lens_version", SAE_LENS_VERSION);
    put_null(&w, "sae_lens_training_version");
    tn_json_member_text(&w, "model_name", cfg->model_name);
    tn_json_member_text(&w, "hook_name", cfg->hook_name);
    put_null(&w, "hook_head_index");
    tn_json_member_text(&w, "model_class_name", "HookedTransformer");
    tn_json_key(&w, "model_from_pretrained_kwargs");
    tn_json_begin_object(&w);
    tn_json_end_object(&w);
    tn_json_member_i64(&w, "context_size", cfg->context_size);
    tn_json_member_bool(&w, "prepend_bos", 0);
    tn_json_key(&w, "seqpos_slice");
    tn_json_begin_array(&w);
    tn_json_put_null(&w);
    tn_json_end_array(&w);
    tn_json_member_text(&w, "dataset_path", "");
    tn_json_member_bool(&w, "exclude_special_tokens", 0);
    tn_json_member_text(&w, "training_architecture", "standard");
    if (extra) {
        tn_json_key(&w, "scalpel_training");
        tn_json_put_raw(&w, extra, strlen(extra));
    }
    tn_json_end_object(&w);
    tn_json_end_object(&w);
    tn_buf_putc(out, '\n');
}

static int save_weights(const sae_model *s, const char *path, tn_err *e) {
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae;
    float *turned = malloc(d * f * sizeof *turned);
    if (!turned) return tn_fail(e, TN_ENOMEM, "%s: no memory for W_enc", path);
    tn_transpose(tn_exec_make(NULL, 1), turned, s->w_enc, f, d, d);
    weight w[4];
    weight_table(s, w);
    tn_tensor_spec specs[4];
    for (int i = 0; i < 4; i++)
        specs[i] = (tn_tensor_spec){w[i].name, TN_F32, w[i].rank, {w[i].shape[0], w[i].shape[1]}};
    tn_st_writer *writer;
    int rc = tn_st_create(&writer, path, specs, 4, NULL, 0, e);
    if (!rc) {
        for (int i = 0; i < 4; i++)
            sae_write_floats(writer, TN_F32, w[i].dst == s->w_enc ? turned : w[i].dst,
                             w[i].shape[0] * (w[i].rank == 2 ? w[i].shape[1] : 1));
        rc = tn_st_finish(writer, e);
    }
    free(turned);
    return rc;
}

int sae_save_dir(const sae_model *s, const char *dir, const char *extra_metadata, tn_err *e) {
    char path[1024];
    int rc = tn_make_dirs(dir, e);
    if (!rc) rc = tn_path_join(path, sizeof path, dir, "sae_weights.safetensors", e);
    if (!rc) rc = save_weights(s, path, e);
    if (!rc) rc = tn_path_join(path, sizeof path, dir, "cfg.json", e);
    if (rc) return rc;
    tn_buf json = TN_BUF_INIT;
    write_config(&s->cfg, extra_metadata, &json);
    rc = json.failed ? tn_fail(e, TN_ENOMEM, "%s: no memory", path)
                     : tn_write_file(path, json.data, json.len, e);
    tn_buf_free(&json);
    return rc;
}
