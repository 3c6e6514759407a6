/* The part of Python's pickle format (protocol 2) in which torch.save describes a dictionary of tensors.
 *
 * Nothing is executed: the reader is a stack machine for the few opcodes such a file needs, and the only
 * objects it can name are those torch.save names for tensors (pickle.c lists them). Any other opcode or name
 * is refused. Nothing is followed recursively and all stores are bounded, so a hostile file ends in an error.
 */
#ifndef SAE_PICKLE_H
#define SAE_PICKLE_H

#include "tensor/dtype.h"
#include "tensor/err.h"

enum { SAE_PICKLE_RANK = 4, SAE_PICKLE_TENSORS = 64 };

/* A view into a storage, all numbers in elements; nothing is known yet about how long the storage is. */
typedef struct {
    char name[64];    /* its key in the dictionary */
    char storage[32]; /* the storage's key: the archive has its bytes under data/KEY */
    tn_dtype dtype;
    int rank;
    size_t shape[SAE_PICKLE_RANK], stride[SAE_PICKLE_RANK], offset;
} sae_pickled;

/* The tensors of the dictionary that `data` [size] describes, *n of at most SAE_PICKLE_TENSORS. */
int sae_pickle_tensors(const void *data, size_t size, sae_pickled *out, size_t *n, tn_err *e);

#endif
