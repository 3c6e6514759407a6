/* Bringing models into the form the engine runs: a Hugging Face directory with float or quantised weights.
 *
 * Both functions stream row by row: memory is bounded by a few megabytes plus the tokenizer, whatever the
 * model's size. config.json is written last (and an old one removed first), so a directory that an
 * interrupted run leaves behind does not look like a model.
 */
#ifndef CONVERT_CONVERT_H
#define CONVERT_CONVERT_H

#include "tensor/dtype.h"
#include "tensor/err.h"

/* Called now and then with the bytes written so far and in all. */
typedef void (*convert_progress_fn)(void *ctx, size_t done, size_t total);

/* The type of the written weights is theirs as stored; only convert_gguf knows it. */
#define CONVERT_AS_STORED TN_DTYPE_COUNT

/* What the weights become. With bits 0 all tensors are `dtype`. With 8 or 4 the matrices are integers of so
 * many bits with a scale for each `group` columns of a row (docs/FORMATS.md), and norms and biases keep their
 * float type; the embedding and the head, which suffer most, have integers and groups of their own. */
typedef struct {
    tn_dtype dtype;           /* TN_F32, TN_F16, TN_BF16, or CONVERT_AS_STORED */
    int bits;                 /* 0, 8 or 4; convert_gguf writes floats only */
    int head_bits;            /* 8 or 4, when bits is not 0 */
    size_t group, head_group; /* multiples of 32 up to tn_q_max_group */
} convert_type;

/* Weights of more than this go into several files. */
#define CONVERT_SHARD_BYTES ((size_t)1 << 30)

typedef struct {
    convert_type type;
    int threads;                  /* >= 1; the result does not depend on it */
    size_t shard_bytes;           /* convert_weights: largest file, or one tensor; 0 = CONVERT_SHARD_BYTES */
    convert_progress_fn progress; /* may be NULL */
    void *ctx;                    /* handed to progress */
} convert_opts;

/* Imports a GGUF file of the llama or qwen2 architecture into directory `dir`. CONVERT_AS_STORED means F16
 * or BF16 when all matrices of the file have that type, else F32, which holds every quantised value exactly.
 */
int convert_gguf(const char *file, const char *dir, const convert_opts *o, tn_err *e);

/* Rewrites the weights of model directory `from` (one file or shards) as o->type into `to`, and copies
 * tokenizer and generation settings. */
int convert_weights(const char *from, const char *to, const convert_opts *o, tn_err *e);

/* "f32", "f16", "bf16" → dtype; TN_EARG names what is known. */
int convert_dtype_parse(tn_dtype *out, const char *name, tn_err *e);
/* The same and "q8", "q4" with the groups and the head that measurements recommend (docs/FORMATS.md). */
int convert_type_parse(convert_type *out, const char *name, tn_err *e);
/* The group that they recommend for embedding and head of so many bits. */
size_t convert_head_group(int bits);
/* As PyTorch and config.json spell it: "float32", "float16", "bfloat16". */
const char *convert_dtype_torch_name(tn_dtype t);

#endif
