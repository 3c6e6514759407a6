/* Writing a model directory in the order that keeps an unfinished one from looking complete: config.json is
 * removed first and written last. */
#ifndef CONVERT_MODEL_DIR_H
#define CONVERT_MODEL_DIR_H

#include "tensor/buf.h"

/* Makes `dir` (and its parents) and removes what would make it look like a finished model. */
int model_dir_begin(const char *dir, tn_err *e);

/* name = "model-00001-of-00004.safetensors" for file 0 of 4; "model.safetensors" when there is just one. */
enum { MODEL_DIR_SHARD_NAME = 80 };
void model_dir_shard_name(char name[MODEL_DIR_SHARD_NAME], size_t index, size_t count);

/* path = dir "/" and that name; a file of this name is removed, for it may be a link to the weights that are
 * read. */
int model_dir_weights_path(const char *dir, size_t index, size_t count, char *path, size_t cap, tn_err *e);

/* Writes dir/name. */
int model_dir_put(const char *dir, const char *name, const tn_buf *text, tn_err *e);

/* Copies from/name to to/name when it is there; removes an old to/name when it is not. */
int model_dir_copy(const char *to, const char *from, const char *name, tn_err *e);

/* 1 when both names lead to the same directory, 0 when not; negative on failure. Both exist. */
int model_dir_same(const char *a, const char *b, tn_err *e);

#endif
