/* Configuration and tensors of llama and qwen2 GGUF files.
 *
 * Both architectures are the same block: x += Wo attention(norm x), x += Wdown swiglu(norm x). qwen2 has
 * biases on Q, K and V. They differ in how rotary positions are laid out: Hugging Face rotates the pairs
 * (i, i + head_dim/2), llama-type GGUF files are made for neighbouring pairs (2i, 2i + 1) and store the rows
 * of Q and K in that order. gguf_weight_row puts them back. qwen2 files keep Hugging Face's order.
 */
#include "convert/gguf_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Configuration ---- */

/* Metadata "ARCH.name", for the file's own architecture. */
typedef struct {
    char text[96];
} arch_key;

static arch_key key_of(const gguf_model *m, const char *name) {
    arch_key k;
    snprintf(k.text, sizeof k.text, "%s.%s", m->is_qwen2 ? "qwen2" : "llama", name);
    return k;
}

/* A size from 1 to 2^31 - 1, so that products of two sizes stay far from overflow. */
static int read_size(const gguf_model *m, const char *name, int required, size_t *out, tn_err *e) {
    arch_key k = key_of(m, name);
    uint64_t v = *out;
    int rc = gguf_get_uint(m->file, k.text, required, &v, e);
    if (rc != TN_OK) return rc;
    if (v < 1 || v > INT32_MAX)
        return tn_fail(e, TN_EFORMAT, "%s: %s is %llu, which is out of range", gguf_label(m->file), k.text,
                       (unsigned long long)v);
    *out = (size_t)v;
    return TN_OK;
}

static int read_positive(const gguf_model *m, const char *name, int required, double *out, tn_err *e) {
    arch_key k = key_of(m, name);
    int rc = gguf_get_float(m->file, k.text, required, out, e);
    if (rc != TN_OK) return rc;
    if (!(*out > 0 && *out < 1e30))
        return tn_fail(e, TN_EFORMAT, "%s: %s is %g, expected a positive number", gguf_label(m->file), k.text,
                       *out);
    return TN_OK;
}

static int read_architecture(gguf_model *m, tn_err *e) {
    gguf_str arch;
    int rc = gguf_get_string(m->file, "general.architecture", GGUF_REQUIRED, &arch, e);
    if (rc != TN_OK) return rc;
    m->is_qwen2 = gguf_str_is(arch, "qwen2");
    if (!m->is_qwen2 && !gguf_str_is(arch, "llama"))
        return tn_fail(e, TN_EUNSUP, "%s: architecture \"%s\" is not supported; llama and qwen2 are",
                       gguf_label(m->file), gguf_show(arch).text);
    return TN_OK;
}

/* Refuses the variants of the block that we would get wrong: experts, a sliding window, partial rotation. */
static int refuse_variants(const gguf_model *m, tn_err *e) {
    static const char *const absent[] = {"expert_count", "attention.sliding_window"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        arch_key k = key_of(m, absent[i]);
        uint64_t v = 0;
        int rc = gguf_get_uint(m->file, k.text, GGUF_OPTIONAL, &v, e);
        if (rc != TN_OK) return rc;
        if (v != 0)
            return tn_fail(e, TN_EUNSUP, "%s: %s is %llu, which is not supported", gguf_label(m->file),
                           k.text, (unsigned long long)v);
    }
    static const char *const per_head[] = {"attention.value_length", "rope.dimension_count"};
    for (size_t i = 0; i < sizeof per_head / sizeof per_head[0]; i++) {
        size_t v = m->head_dim;
        int rc = read_size(m, per_head[i], GGUF_OPTIONAL, &v, e);
        if (rc != TN_OK) return rc;
        if (v != m->head_dim)
            return tn_fail(e, TN_EUNSUP, "%s: %s is %zu, but a head has %zu elements; that is not supported",
                           gguf_label(m->file), key_of(m, per_head[i]).text, v, m->head_dim);
    }
    return TN_OK;
}

static int read_rope_scaling(gguf_model *m, tn_err *e) {
    arch_key k = key_of(m, "rope.scaling.type");
    gguf_str type = {"none", 4};
    int rc = gguf_get_string(m->file, k.text, GGUF_OPTIONAL, &type, e);
    if (rc != TN_OK || gguf_str_is(type, "none")) return rc;
    if (!gguf_str_is(type, "yarn"))
        return tn_fail(e, TN_EUNSUP, "%s: %s is \"%s\", which is not supported; none and yarn are",
                       gguf_label(m->file), k.text, gguf_show(type).text);
    rc = read_positive(m, "rope.scaling.factor", GGUF_REQUIRED, &m->yarn_factor, e);
    if (rc != TN_OK) return rc;
    return read_size(m, "rope.scaling.original_context_length", GGUF_REQUIRED, &m->yarn_original_context, e);
}

static int read_head_sizes(gguf_model *m, tn_err *e) {
    int rc = read_size(m, "attention.head_count", GGUF_REQUIRED, &m->heads, e);
    if (rc != TN_OK) return rc;
    m->kv_heads = m->heads;
    rc = read_size(m, "attention.head_count_kv", GGUF_OPTIONAL, &m->kv_heads, e);
    if (rc != TN_OK) return rc;
    m->head_dim = m->hidden / m->heads;
    rc = read_size(m, "attention.key_length", GGUF_OPTIONAL, &m->head_dim, e);
    if (rc != TN_OK) return rc;
    size_t width;
    if (m->heads % m->kv_heads || m->head_dim % 2 || tn_mul_size(m->heads, m->head_dim, &width) != 0 ||
        width > INT32_MAX)
        return tn_fail(e, TN_EFORMAT,
                       "%s: %zu heads, %zu key/value heads and %zu elements per head do not go together",
                       gguf_label(m->file), m->heads, m->kv_heads, m->head_dim);
    return TN_OK;
}

/* A token id below the vocabulary's size, or -1 when the file names none. */
static int read_token(const gguf_model *m, const char *key, int64_t *out, tn_err *e) {
    uint64_t v = UINT64_MAX;
    int rc = gguf_get_uint(m->file, key, GGUF_OPTIONAL, &v, e);
    if (rc != TN_OK) return rc;
    if (v != UINT64_MAX && v >= m->vocab)
        return tn_fail(e, TN_EFORMAT, "%s: %s is %llu, but the vocabulary has %zu tokens",
                       gguf_label(m->file), key, (unsigned long long)v, m->vocab);
    *out = v == UINT64_MAX ? -1 : (int64_t)v;
    return TN_OK;
}

static int read_config(gguf_model *m, tn_err *e) {
    m->rope_theta = 10000.0; /* what the format means by a missing key */
    int rc = read_architecture(m, e);
    if (rc == TN_OK) rc = read_size(m, "block_count", GGUF_REQUIRED, &m->layers, e);
    if (rc == TN_OK) rc = read_size(m, "context_length", GGUF_REQUIRED, &m->context, e);
    if (rc == TN_OK) rc = read_size(m, "embedding_length", GGUF_REQUIRED, &m->hidden, e);
    if (rc == TN_OK) rc = read_size(m, "feed_forward_length", GGUF_REQUIRED, &m->intermediate, e);
    if (rc == TN_OK) rc = read_head_sizes(m, e);
    if (rc == TN_OK) rc = refuse_variants(m, e);
    if (rc == TN_OK) rc = read_positive(m, "attention.layer_norm_rms_epsilon", GGUF_REQUIRED, &m->rms_eps, e);
    if (rc == TN_OK) rc = read_positive(m, "rope.freq_base", GGUF_OPTIONAL, &m->rope_theta, e);
    if (rc == TN_OK) rc = read_rope_scaling(m, e);
    if (rc != TN_OK) return rc;

    /* The vocabulary is as large as its embedding: files may pad it beyond the tokens they name. */
    const gguf_tensor *embedding = gguf_find_tensor(m->file, "token_embd.weight");
    if (!embedding || embedding->rank != 2 || embedding->shape[1] > INT32_MAX)
        return tn_fail(e, TN_EFORMAT, "%s: tensor \"token_embd.weight\" is missing or no matrix",
                       gguf_label(m->file));
    m->vocab = embedding->shape[1];
    m->tied = !gguf_find_tensor(m->file, "output.weight");
    rc = read_token(m, "tokenizer.ggml.bos_token_id", &m->bos, e);
    if (rc == TN_OK) rc = read_token(m, "tokenizer.ggml.eos_token_id", &m->eos, e);
    if (rc == TN_OK) rc = read_token(m, "tokenizer.ggml.padding_token_id", &m->pad, e);
    return rc;
}

/* ---- Tensors ---- */

typedef enum { ONE, HIDDEN, Q_ROWS, KV_ROWS, FFN, VOCAB } extent;

static size_t extent_of(const gguf_model *m, extent x) {
    switch (x) {
    case HIDDEN:
        return m->hidden;
    case Q_ROWS:
        return m->heads * m->head_dim;
    case KV_ROWS:
        return m->kv_heads * m->head_dim;
    case FFN:
        return m->intermediate;
    case VOCAB:
        return m->vocab;
    case ONE:
        break;
    }
    return 1;
}

typedef struct {
    const char *gguf, *hf;
    extent rows, cols; /* rows ONE: a vector */
    int rotates;       /* its rows meet the rotary positions: permuted in llama files */
    int qwen2_only;
} role;

/* After "blk.N." and "model.layers.N.". */
static const role layer_roles[] = {
    {"attn_norm.weight", "input_layernorm.weight", ONE, HIDDEN, 0, 0},
    {"attn_q.weight", "self_attn.q_proj.weight", Q_ROWS, HIDDEN, 1, 0},
    {"attn_q.bias", "self_attn.q_proj.bias", ONE, Q_ROWS, 0, 1},
    {"attn_k.weight", "self_attn.k_proj.weight", KV_ROWS, HIDDEN, 1, 0},
    {"attn_k.bias", "self_attn.k_proj.bias", ONE, KV_ROWS, 0, 1},
    {"attn_v.weight", "self_attn.v_proj.weight", KV_ROWS, HIDDEN, 0, 0},
    {"attn_v.bias", "self_attn.v_proj.bias", ONE, KV_ROWS, 0, 1},
    {"attn_output.weight", "self_attn.o_proj.weight", HIDDEN, Q_ROWS, 0, 0},
    {"ffn_norm.weight", "post_attention_layernorm.weight", ONE, HIDDEN, 0, 0},
    {"ffn_gate.weight", "mlp.gate_proj.weight", FFN, HIDDEN, 0, 0},
    {"ffn_up.weight", "mlp.up_proj.weight", FFN, HIDDEN, 0, 0},
    {"ffn_down.weight", "mlp.down_proj.weight", HIDDEN, FFN, 0, 0},
};
enum { N_LAYER_ROLES = sizeof layer_roles / sizeof layer_roles[0] };

static const role embedding_role = {"token_embd.weight", "model.embed_tokens.weight", VOCAB, HIDDEN, 0, 0};
static const role norm_role = {"output_norm.weight", "model.norm.weight", ONE, HIDDEN, 0, 0};
static const role head_role = {"output.weight", "lm_head.weight", VOCAB, HIDDEN, 0, 0};

/* Takes one tensor; `layer` is -1 for those outside the layers. */
static int add_weight(gguf_model *m, const role *r, int layer, tn_err *e) {
    gguf_weight *w = &m->weights[m->n_weights];
    char name[64];
    if (layer < 0) {
        snprintf(name, sizeof name, "%s", r->gguf);
        snprintf(w->name, sizeof w->name, "%s", r->hf);
    } else {
        snprintf(name, sizeof name, "blk.%d.%s", layer, r->gguf);
        snprintf(w->name, sizeof w->name, "model.layers.%d.%s", layer, r->hf);
    }
    w->src = gguf_find_tensor(m->file, name);
    if (!w->src) return tn_fail(e, TN_EFORMAT, "%s: tensor \"%s\" is missing", gguf_label(m->file), name);
    w->rank = r->rows == ONE ? 1 : 2;
    w->rows = extent_of(m, r->rows);
    w->cols = extent_of(m, r->cols);
    w->permuted_head = r->rotates && !m->is_qwen2 ? m->head_dim : 0;
    if (w->src->rank != w->rank || w->src->shape[0] != w->cols || w->src->count / w->cols != w->rows)
        return tn_fail(
            e, TN_ESHAPE, "%s: tensor \"%s\" has rank %d, rows of %zu and %zu elements; expected [%zu, %zu]",
            gguf_label(m->file), name, w->src->rank, w->src->shape[0], w->src->count, w->rows, w->cols);
    m->n_weights++;
    return TN_OK;
}

/* Names a tensor of the file that no weight was made of. */
static int fail_left_over(const gguf_model *m, tn_err *e) {
    for (size_t i = 0; i < gguf_tensor_count(m->file); i++) {
        const gguf_tensor *t = gguf_tensor_at(m->file, i);
        size_t k = 0;
        while (k < m->n_weights && m->weights[k].src != t) k++;
        if (k == m->n_weights)
            return tn_fail(e, TN_EUNSUP, "%s: tensor \"%s\" is not known in this architecture",
                           gguf_label(m->file), gguf_show(t->name).text);
    }
    return TN_OK;
}

static int read_weights(gguf_model *m, tn_err *e) {
    size_t n = gguf_tensor_count(m->file);
    if (m->layers > n) /* before anything is allocated or built by that number */
        return tn_fail(e, TN_EFORMAT, "%s: %zu layers, but only %zu tensors", gguf_label(m->file), m->layers,
                       n);
    m->weights = calloc(m->layers * N_LAYER_ROLES + 3, sizeof *m->weights);
    if (!m->weights) return tn_fail(e, TN_ENOMEM, "%s: no memory for the tensor list", gguf_label(m->file));
    int rc = add_weight(m, &embedding_role, -1, e);
    for (size_t layer = 0; rc == TN_OK && layer < m->layers; layer++)
        for (size_t i = 0; rc == TN_OK && i < N_LAYER_ROLES; i++)
            if (m->is_qwen2 || !layer_roles[i].qwen2_only) rc = add_weight(m, &layer_roles[i], (int)layer, e);
    if (rc == TN_OK) rc = add_weight(m, &norm_role, -1, e);
    if (rc == TN_OK && !m->tied) rc = add_weight(m, &head_role, -1, e);
    return rc == TN_OK && m->n_weights != n ? fail_left_over(m, e) : rc;
}

int gguf_model_read(gguf_model *out, const gguf_file *f, tn_err *e) {
    *out = (gguf_model){.file = f};
    int rc = read_config(out, e);
    if (rc == TN_OK) rc = read_weights(out, e);
    if (rc != TN_OK) gguf_model_free(out);
    return rc;
}

void gguf_model_free(gguf_model *m) {
    free(m->weights);
    m->weights = NULL;
    m->n_weights = 0;
}

tn_dtype gguf_model_stored_dtype(const gguf_model *m) {
    uint32_t first = m->weights[0].src->type->id; /* the embedding */
    for (size_t i = 0; i < m->n_weights; i++)
        if (m->weights[i].rank == 2 && m->weights[i].src->type->id != first) return TN_F32;
    return first == GGUF_F16 ? TN_F16 : first == GGUF_BF16 ? TN_BF16 : TN_F32;
}

/* Row `row` of a head in Hugging Face's order is element i of the first (p = 0) or second (p = 1) half; the
 * file interleaves the halves: it is row 2i + p there. */
void gguf_weight_row(const void *weight, size_t row, float *x) {
    const gguf_weight *w = weight;
    if (w->permuted_head) {
        size_t head = row - row % w->permuted_head, half = w->permuted_head / 2;
        size_t i = row % half, p = row % w->permuted_head / half;
        row = head + 2 * i + p;
    }
    size_t row_bytes = w->cols / w->src->type->elements * w->src->type->bytes;
    gguf_decode(x, w->src->type, w->src->data + row * row_bytes, w->cols);
}

/* ---- config.json ---- */

/* An F32 from the file as the shortest decimal that reads back as the same F32: 1e-05, not
 * 9.999999747378752e-06. */
static void put_float(tn_json_out *j, const char *key, double v) {
    char text[40];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtof(text, NULL) == (float)v) break;
    }
    tn_json_key(j, key);
    tn_json_put_f64(j, strtod(text, NULL));
}

static void put_token(tn_json_out *j, const char *key, int64_t id) {
    if (id >= 0) tn_json_member_i64(j, key, id);
}

static void put_tokens(const gguf_model *m, tn_json_out *j) {
    put_token(j, "bos_token_id", m->bos);
    put_token(j, "eos_token_id", m->eos);
    put_token(j, "pad_token_id", m->pad);
}

void gguf_model_config(const gguf_model *m, tn_dtype dtype, tn_buf *out) {
    tn_json_out j = tn_json_writer(out, 2);
    tn_json_begin_object(&j);
    tn_json_key(&j, "architectures");
    tn_json_begin_array(&j);
    tn_json_puts(&j, m->is_qwen2 ? "Qwen2ForCausalLM" : "LlamaForCausalLM");
    tn_json_end_array(&j);
    tn_json_member_text(&j, "model_type", m->is_qwen2 ? "qwen2" : "llama");
    tn_json_member_text(&j, "torch_dtype", convert_dtype_torch_name(dtype));
    tn_json_member_i64(&j, "vocab_size", (int64_t)m->vocab);
    tn_json_member_i64(&j, "hidden_size", (int64_t)m->hidden);
    tn_json_member_i64(&j, "intermediate_size", (int64_t)m->intermediate);
    tn_json_member_i64(&j, "num_hidden_layers", (int64_t)m->layers);
    tn_json_member_i64(&j, "num_attention_heads", (int64_t)m->heads);
    tn_json_member_i64(&j, "num_key_value_heads", (int64_t)m->kv_heads);
    if (m->head_dim * m->heads != m->hidden) tn_json_member_i64(&j, "head_dim", (int64_t)m->head_dim);
    tn_json_member_i64(&j, "max_position_embeddings", (int64_t)m->context);
    tn_json_member_text(&j, "hidden_act", "silu");
    put_float(&j, "rms_norm_eps", m->rms_eps);
    put_float(&j, "rope_theta", m->rope_theta);
    tn_json_key(&j, "rope_scaling");
    if (m->yarn_factor > 0) {
        tn_json_begin_object(&j);
        tn_json_member_text(&j, "rope_type", "yarn");
        put_float(&j, "factor", m->yarn_factor);
        tn_json_member_i64(&j, "original_max_position_embeddings", (int64_t)m->yarn_original_context);
        tn_json_end_object(&j);
    } else {
        tn_json_put_null(&j);
    }
    if (m->is_qwen2) {
        tn_json_member_bool(&j, "use_sliding_window", 0);
    } else {
        tn_json_member_bool(&j, "attention_bias", 0);
        tn_json_member_bool(&j, "mlp_bias", 0);
    }
    tn_json_member_bool(&j, "tie_word_embeddings", m->tied);
    tn_json_member_bool(&j, "use_cache", 1);
    put_tokens(m, &j);
    tn_json_end_object(&j);
    tn_buf_putc(out, '\n');
}

void gguf_model_generation_config(const gguf_model *m, tn_buf *out) {
    tn_json_out j = tn_json_writer(out, 2);
    tn_json_begin_object(&j);
    put_tokens(m, &j);
    tn_json_end_object(&j);
    tn_buf_putc(out, '\n');
}
