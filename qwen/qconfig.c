/* config.json and generation_config.json -> qwen_config, every value checked.
 *
 * What this engine does not compute is refused by name rather than computed wrongly: another architecture or
 * activation, sliding windows, other kinds of RoPE scaling. Sizes are bounded here, so that later code may
 * hold them in ints; products are still taken with the checked arithmetic of tensor/base.h.
 */
#include "qwen/qwen.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Far beyond the largest model of the family (Qwen2.5-72B: 80 layers, 8192 wide, 29,568 in the MLP). */
enum {
    MAX_VOCAB = 1 << 24,
    MAX_HIDDEN = 1 << 16,
    MAX_INTERMEDIATE = 1 << 20,
    MAX_LAYERS = 1024,
    MAX_HEADS = 1024,
    MAX_HEAD_DIM = 1024,
    MAX_POSITIONS = 1 << 28,
    MAX_EOS = (int)(sizeof((qwen_config *)0)->eos / sizeof(int32_t))
};

static int is_absent(tn_json v) {
    return v.kind == TN_JSON_NONE || v.kind == TN_JSON_NULL;
}

/* Fails with `"key" is VALUE, expected WHAT`; long values and containers are not quoted in full. */
static int bad_value(tn_json v, const char *key, const char *what, tn_err *e) {
    if (v.kind == TN_JSON_NONE) return tn_fail(e, TN_EFORMAT, "\"%s\" is missing", key);
    if (v.kind == TN_JSON_ARRAY || v.kind == TN_JSON_OBJECT)
        return tn_fail(e, TN_EFORMAT, "\"%s\" is %s, expected %s", key,
                       v.kind == TN_JSON_ARRAY ? "an array" : "an object", what);
    return tn_fail(e, TN_EFORMAT, "\"%s\" is %.*s, expected %s", key, (int)(v.len < 60 ? v.len : 60), v.text,
                   what);
}

static int read_int(tn_json obj, const char *key, int min, int max, int *out, tn_err *e) {
    tn_json v = tn_json_get(obj, key);
    int64_t n;
    if (tn_json_i64(v, &n) && n >= min && n <= max) {
        *out = (int)n;
        return TN_OK;
    }
    char what[64];
    snprintf(what, sizeof what, "a whole number from %d to %d", min, max);
    return bad_value(v, key, what, e);
}

/* As read_int, but an absent or null value leaves *out, which holds the default. */
static int read_int_or(tn_json obj, const char *key, int min, int max, int *out, tn_err *e) {
    return is_absent(tn_json_get(obj, key)) ? TN_OK : read_int(obj, key, min, max, out, e);
}

/* An absent or null value leaves *out, which holds the default. */
static int read_float_or(tn_json obj, const char *key, double min, double max, float *out, tn_err *e) {
    tn_json v = tn_json_get(obj, key);
    double x;
    if (is_absent(v)) return TN_OK;
    if (tn_json_f64(v, &x) && x >= min && x <= max) {
        *out = (float)x;
        return TN_OK;
    }
    char what[64];
    snprintf(what, sizeof what, "a number from %g to %g", min, max);
    return bad_value(v, key, what, e);
}

static int read_bool_or(tn_json obj, const char *key, int *out, tn_err *e) {
    tn_json v = tn_json_get(obj, key);
    if (is_absent(v) || tn_json_bool(v, out)) return TN_OK;
    return bad_value(v, key, "true or false", e);
}

/* Refuses key = true: such a model needs arithmetic that is not here. */
static int refuse_flag(tn_json root, const char *key, tn_err *e) {
    int on = 0;
    int rc = read_bool_or(root, key, &on, e);
    if (rc) return rc;
    return on ? tn_fail(e, TN_EUNSUP, "\"%s\" is true, which is not supported", key) : TN_OK;
}

static int read_model_type(qwen_config *c, tn_json root, tn_err *e) {
    tn_json v = tn_json_get(root, "model_type");
    if (v.kind != TN_JSON_STRING) return bad_value(v, "model_type", "\"qwen2\" or \"llama\"", e);
    if (!tn_json_is(v, "qwen2") && !tn_json_is(v, "llama"))
        return tn_fail(e, TN_EUNSUP, "\"model_type\" is %.*s, supported are \"qwen2\" and \"llama\"",
                       (int)(v.len < 60 ? v.len : 60), v.text);
    tn_json_copy(v, c->model_type, sizeof c->model_type);
    /* The one difference between the two families that this engine knows. */
    c->qkv_bias = tn_json_is(v, "qwen2");
    return TN_OK;
}

static int refuse_unsupported(tn_json root, tn_err *e) {
    int rc;
    /* Llama's attention_bias also puts a bias on o_proj, unlike Qwen2, whose QKV bias is always on and has no
     * key of its own; there the key is ignored by the reference as well. */
    if (tn_json_is(tn_json_get(root, "model_type"), "llama") && (rc = refuse_flag(root, "attention_bias", e)))
        return rc;
    if ((rc = refuse_flag(root, "use_sliding_window", e)) || (rc = refuse_flag(root, "mlp_bias", e)))
        return rc;

    tn_json act = tn_json_get(root, "hidden_act");
    if (!is_absent(act) && !tn_json_is(act, "silu"))
        return tn_fail(e, TN_EUNSUP, "\"hidden_act\" is %.*s, supported is \"silu\"",
                       (int)(act.len < 60 ? act.len : 60), act.text);

    tn_json key, type;
    for (tn_json_iter it = tn_json_each(tn_json_get(root, "layer_types")); tn_json_next(&it, &key, &type);)
        if (!tn_json_is(type, "full_attention"))
            return tn_fail(e, TN_EUNSUP, "\"layer_types\" has %.*s, supported is \"full_attention\"",
                           (int)(type.len < 60 ? type.len : 60), type.text);

    tn_json quantised = tn_json_get(root, "quantization_config");
    if (!is_absent(quantised) && !tn_json_is(tn_json_get(quantised, "quant_method"), "scalpel"))
        return tn_fail(e, TN_EUNSUP,
                       "\"quantization_config\" is set: weights quantised by other tools are "
                       "not supported");
    return TN_OK;
}

static int read_sizes(qwen_config *c, tn_json root, tn_err *e) {
    int rc;
    if ((rc = read_int(root, "vocab_size", 1, MAX_VOCAB, &c->vocab, e)) ||
        (rc = read_int(root, "hidden_size", 1, MAX_HIDDEN, &c->hidden, e)) ||
        (rc = read_int(root, "num_hidden_layers", 1, MAX_LAYERS, &c->layers, e)) ||
        (rc = read_int(root, "num_attention_heads", 1, MAX_HEADS, &c->heads, e)) ||
        (rc = read_int(root, "intermediate_size", 1, MAX_INTERMEDIATE, &c->intermediate, e)) ||
        (rc = read_int(root, "max_position_embeddings", 1, MAX_POSITIONS, &c->max_positions, e)))
        return rc;

    c->kv_heads = c->heads;
    if ((rc = read_int_or(root, "num_key_value_heads", 1, MAX_HEADS, &c->kv_heads, e))) return rc;
    if (c->heads % c->kv_heads)
        return tn_fail(e, TN_EFORMAT,
                       "\"num_attention_heads\" (%d) is not a multiple of "
                       "\"num_key_value_heads\" (%d)",
                       c->heads, c->kv_heads);

    if (is_absent(tn_json_get(root, "head_dim"))) {
        if (c->hidden % c->heads)
            return tn_fail(e, TN_EFORMAT,
                           "\"hidden_size\" (%d) is not a multiple of \"num_attention_heads\" "
                           "(%d) and \"head_dim\" is missing",
                           c->hidden, c->heads);
        c->head_dim = c->hidden / c->heads;
        if (c->head_dim > MAX_HEAD_DIM)
            return tn_fail(e, TN_EFORMAT,
                           "\"hidden_size\" / \"num_attention_heads\" is %d, at most %d is "
                           "supported",
                           c->head_dim, MAX_HEAD_DIM);
    } else if ((rc = read_int(root, "head_dim", 1, MAX_HEAD_DIM, &c->head_dim, e))) {
        return rc;
    }
    if (c->head_dim % 2)
        return tn_fail(e, TN_EFORMAT,
                       "the head dimension is %d, but RoPE rotates pairs and needs an even one", c->head_dim);

    c->rms_eps = 1e-6f;
    if ((rc = read_float_or(root, "rms_norm_eps", 0, 1, &c->rms_eps, e))) return rc;
    c->tied = 0; /* as in the reference when the key is absent */
    return read_bool_or(root, "tie_word_embeddings", &c->tied, e);
}

/* YaRN (Peng et al. 2023, arXiv:2309.00071) as `rope_scaling` or `rope_parameters` describe it. */
static int read_yarn(qwen_config *c, tn_json root, tn_json rope, tn_err *e) {
    static const char *const others[] = {"mscale", "mscale_all_dim"};
    int rc, truncate = 1;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!is_absent(tn_json_get(rope, others[i])))
            return tn_fail(e, TN_EUNSUP, "\"%s\" of YaRN is not supported", others[i]);
    if ((rc = read_bool_or(rope, "truncate", &truncate, e))) return rc;
    if (!truncate) return tn_fail(e, TN_EUNSUP, "\"truncate\": false of YaRN is not supported");

    if (is_absent(tn_json_get(rope, "factor")))
        return tn_fail(e, TN_EFORMAT, "\"factor\" of YaRN is missing");
    if ((rc = read_float_or(rope, "factor", 1, 1e6, &c->yarn_factor, e)) ||
        (rc = read_float_or(rope, "beta_fast", 1e-3, 1e6, &c->yarn_beta_fast, e)) ||
        (rc = read_float_or(rope, "beta_slow", 1e-3, 1e6, &c->yarn_beta_slow, e)))
        return rc;

    /* A key beside the scaling wins over the one inside it. */
    c->yarn_original_positions = c->max_positions;
    if ((rc = read_int_or(rope, "original_max_position_embeddings", 1, MAX_POSITIONS,
                          &c->yarn_original_positions, e)) ||
        (rc = read_int_or(root, "original_max_position_embeddings", 1, MAX_POSITIONS,
                          &c->yarn_original_positions, e)))
        return rc;

    c->yarn_attention_factor = (float)(0.1 * log((double)c->yarn_factor) + 1.0);
    return read_float_or(rope, "attention_factor", 1e-3, 1e3, &c->yarn_attention_factor, e);
}

/* Older files have `rope_theta` at top level and `rope_scaling` beside it, newer ones have both inside
 * `rope_parameters`; a value inside wins, and a non-null `rope_scaling` replaces `rope_parameters`. */
static int read_rope(qwen_config *c, tn_json root, tn_err *e) {
    const char *name = is_absent(tn_json_get(root, "rope_scaling")) ? "rope_parameters" : "rope_scaling";
    tn_json rope = tn_json_get(root, name);
    int rc;
    if (!is_absent(rope) && rope.kind != TN_JSON_OBJECT) return bad_value(rope, name, "an object", e);

    c->rope_theta = 10000.0f;
    c->yarn_factor = c->yarn_attention_factor = 1.0f;
    c->yarn_beta_fast = 32.0f;
    c->yarn_beta_slow = 1.0f;
    c->yarn_original_positions = c->max_positions;
    if ((rc = read_float_or(root, "rope_theta", 1.001, 1e12, &c->rope_theta, e)) ||
        (rc = read_float_or(rope, "rope_theta", 1.001, 1e12, &c->rope_theta, e)))
        return rc;

    float rotated = 1.0f; /* share of the head that is rotated */
    if ((rc = read_float_or(root, "partial_rotary_factor", 0, 1, &rotated, e)) ||
        (rc = read_float_or(rope, "partial_rotary_factor", 0, 1, &rotated, e)))
        return rc;
    if (rotated < 1.0f) return tn_fail(e, TN_EUNSUP, "\"partial_rotary_factor\" below 1 is not supported");

    tn_json type = tn_json_get(rope, "rope_type");
    if (is_absent(type)) type = tn_json_get(rope, "type"); /* the older spelling */
    if (is_absent(type) || tn_json_is(type, "default")) return TN_OK;
    if (tn_json_is(type, "yarn")) return read_yarn(c, root, rope, e);
    if (type.kind != TN_JSON_STRING) return bad_value(type, "rope_type", "\"default\" or \"yarn\"", e);
    return tn_fail(e, TN_EUNSUP, "\"rope_type\" is %.*s, supported are \"default\" and \"yarn\"",
                   (int)(type.len < 60 ? type.len : 60), type.text);
}

static int add_eos(qwen_config *c, tn_json v, tn_err *e) {
    int64_t id;
    if (!tn_json_i64(v, &id) || id < 0 || id >= c->vocab) {
        char what[64];
        snprintf(what, sizeof what, "token ids from 0 to %d", c->vocab - 1);
        return bad_value(v, "eos_token_id", what, e);
    }
    for (int i = 0; i < c->n_eos; i++)
        if (c->eos[i] == id) return TN_OK;
    if (c->n_eos == MAX_EOS)
        return tn_fail(e, TN_EUNSUP, "\"eos_token_id\" lists more than %d tokens", MAX_EOS);
    c->eos[c->n_eos++] = (int32_t)id;
    return TN_OK;
}

/* One id, a list of them, null, or nothing. */
static int read_eos(qwen_config *c, tn_json root, tn_err *e) {
    tn_json v = tn_json_get(root, "eos_token_id"), key, id;
    if (is_absent(v)) return TN_OK;
    if (v.kind != TN_JSON_ARRAY) return add_eos(c, v, e);
    for (tn_json_iter it = tn_json_each(v); tn_json_next(&it, &key, &id);) {
        int rc = add_eos(c, id, e);
        if (rc) return rc;
    }
    return TN_OK;
}

static int parse_object(tn_json *root, const char *json, size_t len, tn_err *e) {
    int rc = tn_json_parse(root, json, len, e);
    if (rc) return rc;
    return root->kind == TN_JSON_OBJECT ? TN_OK : tn_fail(e, TN_EFORMAT, "not a JSON object");
}

static int parse_config(qwen_config *c, const char *json, size_t len, tn_err *e) {
    tn_json root;
    int rc;
    if ((rc = parse_object(&root, json, len, e)) || (rc = read_model_type(c, root, e)) ||
        (rc = refuse_unsupported(root, e)) || (rc = read_sizes(c, root, e)) || (rc = read_rope(c, root, e)))
        return rc;
    return read_eos(c, root, e);
}

static int parse_generation(qwen_config *c, const char *json, size_t len, tn_err *e) {
    tn_json root;
    int rc = parse_object(&root, json, len, e);
    return rc ? rc : read_eos(c, root, e);
}

int qwen_config_parse(qwen_config *out, const char *json, size_t len, const char *generation,
                      size_t generation_len, tn_err *e) {
    qwen_config c;
    int rc;
    memset(out, 0, sizeof *out);
    memset(&c, 0, sizeof c);
    if ((rc = parse_config(&c, json, len, e))) return tn_fail_in(e, rc, "config.json");
    if (generation && (rc = parse_generation(&c, generation, generation_len, e)))
        return tn_fail_in(e, rc, "generation_config.json");
    *out = c;
    return TN_OK;
}
