/* What an opened GGUF file consists of: shared by the reader (gguf.c) and the access to values
 * (gguf_values.c), nobody else's business. */
#ifndef CONVERT_GGUF_FILE_H
#define CONVERT_GGUF_FILE_H

#include "convert/gguf.h"

struct gguf_file {
    const unsigned char *data; /* [size], the caller's */
    size_t size;
    char *label;
    gguf_kv *kv; /* [n_kv], in file order */
    size_t n_kv;
    gguf_tensor *tensors; /* [n_tensors], in name order */
    size_t n_tensors;
};

/* Bytes of one value; 0 for strings, whose length differs. */
size_t gguf_value_size(gguf_value_type t);

#endif
