/* Where each tensor of the file goes: name, shape and type are demanded at the place where it is taken.
 *
 *     model.embed_tokens.weight                          [vocab, d]
 *     model.layers.L.input_layernorm.weight              [d]
 *     model.layers.L.self_attn.q_proj.weight  (.bias)    [heads*head_dim, d]
 *     model.layers.L.self_attn.k_proj.weight  (.bias)    [kv_heads*head_dim, d]
 *     model.layers.L.self_attn.v_proj.weight  (.bias)    [kv_heads*head_dim, d]
 *     model.layers.L.self_attn.o_proj.weight             [d, heads*head_dim]
 *     model.layers.L.post_attention_layernorm.weight     [d]
 *     model.layers.L.mlp.gate_proj.weight                [intermediate, d]
 *     model.layers.L.mlp.up_proj.weight                  [intermediate, d]
 *     model.layers.L.mlp.down_proj.weight                [d, intermediate]
 *     model.norm.weight                                  [d]
 *     lm_head.weight                                     [vocab, d], absent when tied
 *
 * Matrices, floats or quantised (tensor/mat_file.h), stay in the file in the type they have there. Norms and
 * biases are a millionth of the model: they are copied to F32 once, so that the forward pass needs no
 * conversions for them.
 */
#include "qwen/model.h"
#include "tensor/mat_file.h"

#include <stdio.h>

/* Carries the first failure, so that the table of names below reads without error handling. */
typedef struct {
    const tn_safetensors *file;
    tn_arena *arena;
    tn_err *e;
    int rc;
} binder;

/* A matrix [rows, cols], left where it is; empty after a failure. */
static tn_mat matrix(binder *b, const char *prefix, const char *name, size_t rows, size_t cols) {
    char full[128];
    tn_mat m = {.data = NULL};
    if (b->rc) return m;
    snprintf(full, sizeof full, "%s%s", prefix, name);
    b->rc = tn_mat_take(&m, b->file, full, rows, cols, b->e);
    return m;
}

/* A vector [n], copied to F32; NULL after a failure and when measuring. */
static const float *vector(binder *b, const char *prefix, const char *name, size_t n) {
    char full[128];
    const tn_tensor *t;
    if (b->rc) return NULL;
    snprintf(full, sizeof full, "%s%s", prefix, name);
    b->rc = tn_st_require(b->file, full, 1, &n, &t, b->e);
    if (b->rc) return NULL;
    if (t->dtype != TN_F32 && t->dtype != TN_F16 && t->dtype != TN_BF16) {
        b->rc = tn_fail(b->e, TN_ESHAPE, "weights: tensor \"%s\" has type %s, expected F32, F16 or BF16",
                        full, tn_dtype_name(t->dtype));
        return NULL;
    }
    float *copy = tn_arena_take(b->arena, n, sizeof *copy);
    if (copy) b->rc = tn_to_f32(copy, t->data, t->dtype, n);
    return copy;
}

static qwen_layer bind_layer(binder *b, const qwen_config *c, int l) {
    size_t d = (size_t)c->hidden, inter = (size_t)c->intermediate;
    size_t q_dim = (size_t)c->heads * (size_t)c->head_dim, kv_dim = (size_t)c->kv_heads * (size_t)c->head_dim;
    char at[64];
    snprintf(at, sizeof at, "model.layers.%d.", l);

    qwen_layer w = {.q_bias = NULL, .k_bias = NULL, .v_bias = NULL};
    w.attn_norm = vector(b, at, "input_layernorm.weight", d);
    w.q = matrix(b, at, "self_attn.q_proj.weight", q_dim, d);
    w.k = matrix(b, at, "self_attn.k_proj.weight", kv_dim, d);
    w.v = matrix(b, at, "self_attn.v_proj.weight", kv_dim, d);
    w.o = matrix(b, at, "self_attn.o_proj.weight", d, q_dim);
    if (c->qkv_bias) {
        w.q_bias = vector(b, at, "self_attn.q_proj.bias", q_dim);
        w.k_bias = vector(b, at, "self_attn.k_proj.bias", kv_dim);
        w.v_bias = vector(b, at, "self_attn.v_proj.bias", kv_dim);
    }
    w.mlp_norm = vector(b, at, "post_attention_layernorm.weight", d);
    w.gate = matrix(b, at, "mlp.gate_proj.weight", inter, d);
    w.up = matrix(b, at, "mlp.up_proj.weight", inter, d);
    w.down = matrix(b, at, "mlp.down_proj.weight", d, inter);
    return w;
}

int qwen_bind_weights(qwen_model *m, tn_arena *a, tn_err *e) {
    const qwen_config *c = &m->config;
    binder b = {.file = m->weights, .arena = a, .e = e, .rc = TN_OK};
    m->layer = tn_arena_take(a, (size_t)c->layers, sizeof *m->layer);

    m->embedding = matrix(&b, "", "model.embed_tokens.weight", (size_t)c->vocab, (size_t)c->hidden);
    for (int l = 0; l < c->layers; l++) {
        qwen_layer w = bind_layer(&b, c, l);
        if (m->layer) m->layer[l] = w;
    }
    m->final_norm = vector(&b, "", "model.norm.weight", (size_t)c->hidden);
    if (!b.rc && !c->tied && !tn_mat_exists(m->weights, "lm_head.weight"))
        return tn_fail(e, TN_EFORMAT,
                       "weights: tensor \"lm_head.weight\" is missing, and config.json does not "
                       "say \"tie_word_embeddings\": true");
    m->head = c->tied ? m->embedding : matrix(&b, "", "lm_head.weight", (size_t)c->vocab, (size_t)c->hidden);

    if (!b.rc && a->failed) return tn_fail(e, TN_ENOMEM, "no room for the norms and biases");
    return b.rc;
}
