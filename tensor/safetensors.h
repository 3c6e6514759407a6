/* safetensors files: u64 header length, JSON header, tensor bytes (huggingface.co/docs/safetensors).
 *
 * The reader works on bytes in memory (a mapping, or flash) and checks every header field: lengths,
 * dtypes, shapes, offsets within the file, bytes = shape * dtype, no overlap and no holes. It copies nothing
 * but a small index. The writer streams: names, types and shapes first, then the bytes in the same order.
 */
#ifndef TENSOR_SAFETENSORS_H
#define TENSOR_SAFETENSORS_H

#include "tensor/dtype.h"
#include "tensor/json.h"
#include "tensor/os.h"

#define TN_MAX_RANK 8

typedef struct {
    const char *name; /* owned by the file object */
    tn_dtype dtype;
    int rank;
    size_t shape[TN_MAX_RANK];
    size_t count;     /* elements: product of shape, 1 for rank 0 */
    const void *data; /* count * tn_dtype_size(dtype) little-endian bytes; may be unaligned */
} tn_tensor;

typedef struct tn_safetensors tn_safetensors;

/* Indexes the file image `data` [size], which must outlive *out. `label` names it in messages. */
int tn_st_open_mem(tn_safetensors **out, const void *data, size_t size, const char *label, tn_err *e);
/* Maps one file and keeps the mapping until tn_st_close. */
int tn_st_open_file(tn_safetensors **out, const char *path, tn_err *e);
/* A Hugging Face directory: model.safetensors, or model.safetensors.index.json and its shards. */
int tn_st_open_dir(tn_safetensors **out, const char *dir, tn_err *e);
void tn_st_close(tn_safetensors *f); /* NULL is fine */

size_t tn_st_count(const tn_safetensors *f);
const tn_tensor *tn_st_at(const tn_safetensors *f, size_t i);           /* in name order */
const tn_tensor *tn_st_find(const tn_safetensors *f, const char *name); /* NULL when missing */
size_t tn_st_bytes(const tn_safetensors *f);                            /* all tensor bytes together */

/* The contract where a tensor is taken: it exists and has this shape, else TN_EFORMAT or TN_ESHAPE
 * with `model.safetensors: tensor "x" has shape [2, 3], expected [3, 2]`. */
int tn_st_require(const tn_safetensors *f, const char *name, int rank, const size_t *shape,
                  const tn_tensor **out, tn_err *e);

/* A hint: bytes [n] at `from`, part of a tensor's data, are not needed for now and need not stay in memory.
 */
void tn_st_release(const tn_safetensors *f, const void *from, size_t n);
/* The same of all tensors, and of the header, which metadata is read from. */
void tn_st_release_all(const tn_safetensors *f);

/* Appends __metadata__[key], unescaped, to *out; 1, or 0 when there is none. */
int tn_st_metadata(const tn_safetensors *f, const char *key, tn_buf *out);

/* Writer. The header is padded so that the data starts at a multiple of 64 bytes. The format allows nothing
 * between tensors, so list wider types first: behind an odd number of bytes the next tensor is unaligned,
 * which this reader accepts and PyTorch's does not. */
typedef struct {
    const char *name;
    tn_dtype dtype;
    int rank;
    size_t shape[TN_MAX_RANK];
} tn_tensor_spec;

typedef struct {
    const char *key, *value;
} tn_pair;

typedef struct tn_st_writer tn_st_writer;
int tn_st_create(tn_st_writer **out, const char *path, const tn_tensor_spec *specs, size_t n_specs,
                 const tn_pair *metadata, size_t n_metadata, tn_err *e);
/* Appends bytes of the current tensor (any number of calls; tensors follow each other by themselves). */
int tn_st_write(tn_st_writer *w, const void *bytes, size_t n);
int tn_st_finish(tn_st_writer *w, tn_err *e); /* commits; TN_EARG when bytes are missing or too many */
void tn_st_abandon(tn_st_writer *w);          /* removes the temporary file; NULL is fine */

#endif
