/* Named arrays of a file, whoever wrote it: what safetensors and PyTorch's files have in common. */
#ifndef SAE_ARRAYS_H
#define SAE_ARRAYS_H

#include "tensor/safetensors.h"

enum { SAE_ARRAY_RANK = 4 };

/* Element i, j … is element i * stride[0] + j * stride[1] … of data, which are little-endian and unaligned.
 */
typedef struct {
    const char *name; /* owned by the file */
    tn_dtype dtype;
    int rank;
    size_t shape[SAE_ARRAY_RANK], stride[SAE_ARRAY_RANK];
    size_t count; /* product of shape */
    const unsigned char *data;
} sae_array;

typedef struct sae_arrays sae_arrays;

/* A file that torch.save wrote from a dictionary of tensors (PyTorch 1.6 or later). Nothing in it is
 * executed: see zip_store.h and pickle.h. */
int sae_arrays_open_torch(sae_arrays **out, const char *path, tn_err *e);
/* The same of an image in memory, which must outlive *out. */
int sae_arrays_open_torch_mem(sae_arrays **out, const void *data, size_t size, tn_err *e);
int sae_arrays_open_safetensors(sae_arrays **out, const char *path, tn_err *e);
void sae_arrays_close(sae_arrays *a); /* NULL is fine */

size_t sae_arrays_count(const sae_arrays *a);
const sae_array *sae_arrays_at(const sae_arrays *a, size_t i);
const sae_array *sae_arrays_find(const sae_arrays *a, const char *name); /* NULL when missing */

/* The values of a vector [n] or a scalar (n = 1), and of a matrix [rows, cols] whose element (i, j) becomes
 * dst[i * cols + j], or dst[j * rows + i] when turned. Floats only, which must be finite: TN_ESHAPE,
 * TN_ENUM. */
int sae_array_read(const sae_array *a, float *dst, int turned, tn_err *e);

#endif
