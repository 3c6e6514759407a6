/* The weights of a model that is being rewritten: which tensors become what, and into which files they go. */
#ifndef CONVERT_WEIGHTS_OUT_H
#define CONVERT_WEIGHTS_OUT_H

#include "convert/convert.h"
#include "tensor/safetensors.h"

/* Fails unless all tensors of `in` are floats; `from` names it in messages. */
int convert_check_floats(const tn_safetensors *in, const char *from, tn_err *e);

/* Writes all tensors of `in` as o->type into `dir`: model.safetensors, or when that would be larger than
 * o->shard_bytes, shards and their index. Pages of `in` are given back as soon as they were read. */
int convert_weights_out(const tn_safetensors *in, const char *dir, const convert_opts *o, tn_err *e);

#endif
