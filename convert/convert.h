/* Bringing models into the form the engine runs: a Hugging Face directory with float weights.
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

typedef struct {
    tn_dtype dtype;               /* TN_F32, TN_F16, TN_BF16, or CONVERT_AS_STORED */
    int threads;                  /* >= 1; the result does not depend on it */
    convert_progress_fn progress; /* may be NULL */
    void *ctx;                    /* handed to progress */
} convert_opts;

/* Imports a GGUF file of the llama or qwen2 architecture into directory `dir`. CONVERT_AS_STORED means F16
 * or BF16 when all matrices of the file have that type, else F32, which holds every quantised value exactly.
 */
int convert_gguf(const char *file, const char *dir, const convert_opts *o, tn_err *e);

/* Rewrites the weights of model directory `from` (one file or shards) as o->dtype into `to`, as a single
 * model.safetensors, and copies tokenizer and generation settings. */
int convert_floats(const char *from, const char *to, const convert_opts *o, tn_err *e);

/* "f32", "f16", "bf16" → dtype; TN_EARG names what is known. */
int convert_dtype_parse(tn_dtype *out, const char *name, tn_err *e);
/* As PyTorch and config.json spell it: "float32", "float16", "bfloat16". */
const char *convert_dtype_torch_name(tn_dtype t);

#endif
