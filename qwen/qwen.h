/* Qwen2.5's forward pass with hooks on the residual stream.
 *
 *     qwen_model *m;
 *     qwen_state *s;
 *     tn_err e;
 *     qwen_open_dir(&m, "model-dir", &e);
 *     qwen_opts o = qwen_opts_default(m);
 *     qwen_state_new(&s, m, &o, &e);
 *     const float *logits;
 *     qwen_forward(s, ids, n, 0, &logits, &e);      // prefill: any n
 *     qwen_forward(s, &next, 1, 0, &logits, &e);    // decode: n = 1, the same code
 *
 * Two kinds of objects: a qwen_model is immutable after opening and may be shared between threads and
 * states; a qwen_state is one timeline (KV cache and scratch) and belongs to one thread at a time. No
 * allocation, file or lock is touched in qwen_forward.
 *
 * A state can hold several timelines, called sequences, which share its scratch: qwen_forward_batch computes
 * rows of all of them at once, so that each weight is read from memory once for all. What a sequence yields
 * does not depend on its company: the same tokens give the same bits alone and in any batch.
 */
#ifndef QWEN_QWEN_H
#define QWEN_QWEN_H

#include "tensor/kernels.h"
#include "tensor/safetensors.h"

/* ---- Model ---- */

typedef struct {
    int vocab;  /* rows of the embedding */
    int hidden; /* d: width of the residual stream */
    int layers;
    int heads;        /* query heads */
    int kv_heads;     /* key/value heads; heads is a multiple of it */
    int head_dim;     /* not always hidden / heads */
    int intermediate; /* width of the MLP */
    int max_positions;
    float rms_eps;
    float rope_theta;
    int tied;     /* lm_head is the embedding */
    int qkv_bias; /* Qwen2: 1, Llama: 0 */
    /* YaRN (Peng et al. 2023, arXiv:2309.00071): factor 1 = off */
    float yarn_factor, yarn_beta_fast, yarn_beta_slow, yarn_attention_factor;
    int yarn_original_positions;
    int n_eos; /* stop tokens of config.json and generation_config.json */
    int32_t eos[8];
    char model_type[32]; /* "qwen2", "llama" */
} qwen_config;

/* One decoder layer's weights, as they lie in the file. Biases and norms are F32 copies. */
typedef struct {
    tn_mat q, k, v, o;     /* [heads*head_dim, d], [kv_heads*head_dim, d] twice, [d, heads*head_dim] */
    tn_mat gate, up, down; /* [intermediate, d] twice, [d, intermediate] */
    const float *q_bias, *k_bias, *v_bias; /* NULL without bias */
    const float *attn_norm, *mlp_norm;     /* [d] */
} qwen_layer;

typedef struct qwen_model qwen_model;

/* Reads DIR/config.json, generation_config.json (when there) and the weights (mapped, never expanded). */
int qwen_open_dir(qwen_model **out, const char *dir, tn_err *e);
/* From memory: texts of config.json and generation_config.json (may be NULL), and an opened safetensors
 * set that must outlive the model. */
int qwen_open_mem(qwen_model **out, const char *config, size_t config_len, const char *generation,
                  size_t generation_len, const tn_safetensors *weights, const char *name, tn_err *e);
void qwen_close(qwen_model *m); /* NULL is fine */

const qwen_config *qwen_model_config(const qwen_model *m);
const char *qwen_model_name(const qwen_model *m); /* last part of the directory's name */
const tn_safetensors *qwen_model_weights(const qwen_model *m);
const qwen_layer *qwen_model_layer(const qwen_model *m, int layer);
tn_mat qwen_model_embedding(const qwen_model *m);        /* [vocab, d] */
tn_mat qwen_model_head(const qwen_model *m);             /* [vocab, d]; the embedding when tied */
const float *qwen_model_final_norm(const qwen_model *m); /* [d] */

/* Parses config.json alone (exposed for `info`, tests and tools). */
int qwen_config_parse(qwen_config *out, const char *json, size_t len, const char *generation,
                      size_t generation_len, tn_err *e);

/* ---- Hooks ---- */

typedef enum {
    QWEN_RESID_PRE,  /* blocks.L.hook_resid_pre: input of layer L */
    QWEN_ATTN_OUT,   /* blocks.L.hook_attn_out: what attention adds */
    QWEN_RESID_MID,  /* blocks.L.hook_resid_mid: after attention was added */
    QWEN_MLP_OUT,    /* blocks.L.hook_mlp_out: what the MLP adds */
    QWEN_RESID_POST, /* blocks.L.hook_resid_post: output of layer L, before any final norm */
    QWEN_SITE_COUNT
} qwen_site;

const char *qwen_site_name(qwen_site site);                /* "resid_post" */
int qwen_site_from_name(const char *name, qwen_site *out); /* 1 when known */
/* dst = "blocks.15.hook_resid_post" (at least 48 bytes). */
void qwen_hook_name(char *dst, size_t cap, int layer, qwen_site site);
/* The way back; 1 when `name` is well-formed. */
int qwen_hook_parse(const char *name, int *layer, qwen_site *site);

/* What a hook sees: n rows, each a position of one sequence. The rows of one sequence lie next to each other,
 * in the order of their positions; a state with one sequence has n consecutive positions of it. */
typedef struct {
    qwen_site site;
    int layer;
    int n;                          /* rows in this call */
    int d;                          /* hidden */
    const int32_t *tokens;          /* [n] */
    const int *pos;                 /* [n] absolute position in its sequence */
    const int *seq;                 /* [n] the sequence */
    const unsigned char *generated; /* [n] 0: the row belongs to the prompt of its sequence, 1: it does not */
    float *x;                       /* [n, d] live: what is written here flows on */
    tn_exec exec;
} qwen_tap;

/* Returns 0 to go on; anything else aborts the forward, which then returns TN_ESTOP (or the hook's own
 * negative code) and leaves every sequence where it was. */
typedef int (*qwen_hook_fn)(void *ctx, const qwen_tap *tap);

typedef struct {
    qwen_site site;
    int layer_first, layer_last; /* inclusive */
    qwen_hook_fn fn;
    void *ctx;
} qwen_hook;

/* ---- State ---- */

typedef struct {
    tn_exec exec;
    int context; /* positions a sequence's KV cache holds; at most the model's (YaRN: the stretched number) */
    int chunk;   /* most rows computed at once; longer work is cut into chunks. Scratch grows with it */
    int sequences;  /* timelines, each with its own KV cache; 0 = 1 */
    int logit_rows; /* most rows whose logits one call can ask for: they are [logit_rows, vocab]; 0 = 1 */
} qwen_opts;

typedef struct qwen_state qwen_state;

/* Best kernels, all cores, min(max_positions, 2048) positions, chunks of 256, one sequence, one row of
 * logits.
 */
qwen_opts qwen_opts_default(const qwen_model *m);

/* Most positions a state of this model may have: those it was made for, or what YaRN stretches them to. */
int qwen_max_context(const qwen_model *m);

/* Bytes qwen_state_init needs; 0 when the options are invalid or overflow. */
size_t qwen_state_bytes(const qwen_model *m, const qwen_opts *o);
/* Builds a state inside the caller's block; there is nothing to free but the block. */
int qwen_state_init(qwen_state **out, const qwen_model *m, const qwen_opts *o, void *mem, size_t cap,
                    tn_err *e);
/* Hosted convenience: allocates the block. */
int qwen_state_new(qwen_state **out, const qwen_model *m, const qwen_opts *o, tn_err *e);
void qwen_state_free(qwen_state *s); /* only for qwen_state_new; NULL is fine */

/* Replaces the hooks (at most QWEN_MAX_HOOKS; copied). Hooks of one site run in this order. TN_EARG for a
 * layer out of range: "layer 24 is out of range: the model has layers 0 to 23". */
#define QWEN_MAX_HOOKS 256
int qwen_set_hooks(qwen_state *s, const qwen_hook *hooks, int n, tn_err *e);

enum {
    QWEN_ALL_LOGITS = 1, /* *logits is [n, vocab] instead of the last position's [vocab]; n <= logit_rows */
    QWEN_NO_LOGITS = 2   /* only fill the KV cache; *logits is NULL */
};

/* TN_EARG when one of tokens [n] is not in the vocabulary. */
int qwen_check_tokens(const qwen_model *m, const int32_t *tokens, int n, tn_err *e);

/* Appends tokens [n] to sequence 0 and computes them. *logits (may be NULL) points into the state and is
 * valid until its next call. Errors leave the timeline as it was: TN_ECTX "…", TN_EARG for a token id
 * outside the vocabulary, and whatever a hook returned. */
int qwen_forward(qwen_state *s, const int32_t *tokens, int n, unsigned flags, const float **logits,
                 tn_err *e);

/* Tokens to append to one sequence. */
typedef struct {
    int seq;
    int n;                 /* >= 1 */
    const int32_t *tokens; /* [n] */
    unsigned flags;        /* which of its rows have logits: 0 = the last */
} qwen_piece;

/* The same for several sequences at once, at most one piece for each. *logits [rows, vocab] holds the rows
 * that the pieces ask for, in the order of the pieces, at most logit_rows of them; NULL when there are none.
 * Errors leave all sequences as they were. */
int qwen_forward_batch(qwen_state *s, const qwen_piece *pieces, int count, const float **logits, tn_err *e);

int qwen_position(const qwen_state *s);   /* tokens in sequence 0 */
void qwen_rewind(qwen_state *s, int pos); /* forget positions >= pos of sequence 0 */
/* Positions of sequence 0 below n count as prompt in qwen_tap; INT_MAX (the default) = all. */
void qwen_set_prompt_length(qwen_state *s, int n);

/* The same for any sequence below opts.sequences. */
int qwen_seq_position(const qwen_state *s, int seq);
void qwen_seq_rewind(qwen_state *s, int seq, int pos);
void qwen_seq_set_prompt_length(qwen_state *s, int seq, int n);
/* Sequence `to` becomes the first n positions of `from`, as if their tokens had been computed again; n is at
 * most the length of `from`. Hooks are not called. */
void qwen_seq_copy(qwen_state *s, int to, int from, int n);

const qwen_model *qwen_state_model(const qwen_state *s);
/* As used: chunk is never more than the sequences hold, sequences and logit_rows are at least 1. */
const qwen_opts *qwen_state_opts(const qwen_state *s);

#endif
