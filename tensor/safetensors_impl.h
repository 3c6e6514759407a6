/* Inside of the safetensors reader, shared by safetensors.c and safetensors_dir.c only. */
#ifndef TENSOR_SAFETENSORS_IMPL_H
#define TENSOR_SAFETENSORS_IMPL_H

#include "tensor/safetensors.h"

struct tn_safetensors {
    char *label;        /* the name of the file in messages */
    tn_tensor *tensors; /* [count], in name order */
    size_t count;
    size_t bytes;            /* of all tensors together */
    tn_buf names;            /* the tensors' names, each with its NUL (one file) */
    tn_json metadata;        /* the __metadata__ object, TN_JSON_NONE without one (one file) */
    tn_map map;              /* to be unmapped on close (one file) */
    tn_safetensors **shards; /* [n_shards], own everything the tensors point to (a sharded directory) */
    size_t n_shards;
};

/* An object without tensors that is called `label`; NULL when there is no memory. */
tn_safetensors *tn_st_new(const char *label);

/* Puts the tensors in name order. Returns the index of one whose name the one before has too, or 0 when all
 * names differ. */
size_t tn_st_sort(tn_safetensors *f);

#endif
