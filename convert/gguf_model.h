/* What a GGUF file of the llama or qwen2 architecture says about the model, in Hugging Face's terms:
 * configuration, tensor names and shapes, and the rows of each tensor. */
#ifndef CONVERT_GGUF_MODEL_H
#define CONVERT_GGUF_MODEL_H

#include "convert/gguf.h"
#include "convert/row_writer.h"

typedef struct {
    char name[64]; /* "model.layers.0.self_attn.q_proj.weight" */
    const gguf_tensor *src;
    int rank;
    size_t rows, cols;    /* rows is 1 for rank 1 */
    size_t permuted_head; /* rows per head when the rows of each head are interleaved, else 0 */
} gguf_weight;

typedef struct {
    const gguf_file *file;
    int is_qwen2; /* else llama */
    size_t hidden, intermediate, layers, heads, kv_heads, head_dim, vocab, context;
    double rms_eps, rope_theta;
    double yarn_factor; /* 0: no scaling of positions */
    size_t yarn_original_context;
    int tied;              /* the head is the embedding */
    int64_t bos, eos, pad; /* -1: the file names none */
    gguf_weight *weights;  /* [n_weights], in the order of the forward pass */
    size_t n_weights;
} gguf_model;

/* Reads and checks everything: every tensor the model needs is there with its shape, and none is left over.
 */
int gguf_model_read(gguf_model *out, const gguf_file *f, tn_err *e);
void gguf_model_free(gguf_model *m);

/* F16 or BF16 when all matrices are stored so, else F32. */
tn_dtype gguf_model_stored_dtype(const gguf_model *m);

/* The texts of config.json and generation_config.json. */
void gguf_model_config(const gguf_model *m, tn_dtype dtype, tn_buf *out);
void gguf_model_generation_config(const gguf_model *m, tn_buf *out);

/* A convert_row_fn whose context is a gguf_weight. */
void gguf_weight_row(const void *weight, size_t row, float *x);

#endif
