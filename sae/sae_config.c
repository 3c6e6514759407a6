/* cfg.json of a SAELens directory: what SAELens 6 writes, and the flat form of the versions before it.
 *
 * Every setting that would make the SAE compute something else than sae.h says is refused by name.
 */
#include "sae/sae_config.h"

#include "sae/arch.h"

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

/* Files of before version 6 may name no architecture; TopK is an activation function there, with its k one
 * level down. */
static int read_flat_architecture(sae_config *cfg, tn_json root, tn_json *settings, tn_err *e) {
    tn_json old = tn_json_get(root, "activation_fn_str");
    if (old.kind == TN_JSON_NONE) old = tn_json_get(root, "activation_fn");
    cfg->architecture = SAE_STANDARD;
    if (tn_json_is(old, "topk")) {
        cfg->architecture = SAE_TOPK;
        *settings = tn_json_get(root, "activation_fn_kwargs");
        if (tn_json_get(*settings, "k").kind == TN_JSON_NONE)
            return tn_fail(e, TN_EFORMAT, "\"activation_fn_kwargs\" has no \"k\"");
        return TN_OK;
    }
    return require_plain(root, "activation_fn", "relu", e);
}

/* The architecture and where its settings stand. */
static int read_architecture(sae_config *cfg, tn_json root, tn_json *settings, tn_err *e) {
    char name[32] = "";
    int rc = copy_string(root, "architecture", name, sizeof name, e);
    int flat = tn_json_get(root, "metadata").kind != TN_JSON_OBJECT;
    *settings = root;
    if (rc) return rc;
    if (flat && (!name[0] || strcmp(name, "standard") == 0) &&
        (tn_json_get(root, "hook_name").kind == TN_JSON_STRING ||
         tn_json_get(root, "hook_point").kind == TN_JSON_STRING))
        return read_flat_architecture(cfg, root, settings, e);
    if (!name[0]) return tn_fail(e, TN_EFORMAT, "\"architecture\" is missing");
    if (sae_arch_find(name, &cfg->architecture)) return TN_OK;
    if (strcmp(name, "batchtopk") == 0 || strcmp(name, "matryoshka_batchtopk") == 0)
        return tn_fail(e, TN_EUNSUP,
                       "\"%s\" is SAELens' form for training: save it with save_inference_model", name);
    return tn_fail(e, TN_EUNSUP,
                   "architecture \"%s\" is not supported; standard, topk, jumprelu and gated are", name);
}

/* normalize_activations: expected_average_only_in is a note about training, and so is true in a flat file:
 * SAELens does nothing with it after loading. */
static int read_normalisation(tn_json root, tn_err *e) {
    tn_json v = tn_json_get(root, "normalize_activations");
    if (v.kind == TN_JSON_BOOL || tn_json_is(v, "expected_average_only_in")) return TN_OK;
    return require_plain(root, "normalize_activations", "none", e);
}

int sae_config_parse(sae_config *cfg, tn_json root, tn_err *e) {
    memset(cfg, 0, sizeof *cfg);
    if (root.kind != TN_JSON_OBJECT) return tn_fail(e, TN_EFORMAT, "not a JSON object");
    int rc;
    tn_json settings;
    if ((rc = read_architecture(cfg, root, &settings, e))) return rc;
    if ((rc = read_width(root, "d_in", &cfg->d_in, e))) return rc;
    if ((rc = read_width(root, "d_sae", &cfg->d_sae, e))) return rc;
    const sae_arch *arch = sae_arch_of(cfg->architecture);
    if (arch->read && (rc = arch->read(cfg, settings, e))) return rc;
    if ((rc = read_normalisation(root, e))) return rc;
    if ((rc = require_plain(root, "reshape_activations", "none", e))) return rc;
    tn_json apply = tn_json_get(root, "apply_b_dec_to_input");
    cfg->apply_b_dec_to_input = 1; /* SAELens' default */
    if (apply.kind != TN_JSON_NONE && !tn_json_bool(apply, &cfg->apply_b_dec_to_input))
        return tn_fail(e, TN_EFORMAT, "\"apply_b_dec_to_input\" is neither true nor false");
    tn_json meta = tn_json_get(root, "metadata");
    if (meta.kind != TN_JSON_OBJECT) meta = root; /* files of before version 6 are flat */
    if ((rc = copy_string(meta, "model_name", cfg->model_name, sizeof cfg->model_name, e))) return rc;
    if ((rc = copy_string(meta, "hook_point", cfg->hook_name, sizeof cfg->hook_name, e))) return rc;
    if ((rc = copy_string(meta, "hook_name", cfg->hook_name, sizeof cfg->hook_name, e))) return rc;
    if ((rc = copy_string(meta, "training_architecture", cfg->trained_as, sizeof cfg->trained_as, e)))
        return rc;
    int64_t context;
    if (tn_json_i64(tn_json_get(meta, "context_size"), &context) && context >= 0 && context <= INT32_MAX)
        cfg->context_size = (int)context;
    tn_json_bool(tn_json_get(meta, "prepend_bos"), &cfg->prepend_bos);
    return TN_OK;
}

int sae_config_open(sae_config *cfg, const char *path, tn_err *e) {
    tn_map map;
    int rc = tn_map_file(&map, path, e);
    if (rc) return rc;
    tn_json root;
    rc = tn_json_parse(&root, map.data, map.size, e);
    if (!rc) rc = sae_config_parse(cfg, root, e);
    tn_unmap_file(&map);
    return rc ? tn_fail_in(e, rc, path) : TN_OK;
}

/* ---- writing ---- */

static void put_null(tn_json_out *w, const char *key) {
    tn_json_key(w, key);
    tn_json_put_null(w);
}

void sae_config_write(const sae_config *cfg, const char *extra, tn_buf *out) {
    const sae_arch *arch = sae_arch_of(cfg->architecture);
    tn_json_out w = tn_json_writer(out, 2);
    tn_json_begin_object(&w);
    tn_json_member_text(&w, "architecture", arch->name);
    tn_json_member_i64(&w, "d_in", cfg->d_in);
    tn_json_member_i64(&w, "d_sae", cfg->d_sae);
    tn_json_member_text(&w, "dtype", "float32");
    tn_json_member_text(&w, "device", "cpu");
    tn_json_member_bool(&w, "apply_b_dec_to_input", cfg->apply_b_dec_to_input);
    tn_json_member_text(&w, "normalize_activations", "none");
    tn_json_member_text(&w, "reshape_activations", "none");
    if (arch->write) arch->write(cfg, &w);
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
    tn_json_member_bool(&w, "prepend_bos", cfg->prepend_bos);
    tn_json_key(&w, "seqpos_slice");
    tn_json_begin_array(&w);
    tn_json_put_null(&w);
    tn_json_end_array(&w);
    tn_json_member_text(&w, "dataset_path", "");
    tn_json_member_bool(&w, "exclude_special_tokens", 0);
    tn_json_member_text(&w, "training_architecture", cfg->trained_as[0] ? cfg->trained_as : arch->name);
    if (extra) {
        tn_json_key(&w, "scalpel_training");
        tn_json_put_raw(&w, extra, strlen(extra));
    }
    tn_json_end_object(&w);
    tn_json_end_object(&w);
    tn_buf_putc(out, '\n');
}
