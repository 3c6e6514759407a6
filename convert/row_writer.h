/* The stream from any source of F32 rows into a safetensors file: decode, round, write, a few megabytes at
 * a time. Shared by everything that writes weights. */
#ifndef CONVERT_ROW_WRITER_H
#define CONVERT_ROW_WRITER_H

#include "convert/convert.h"
#include "tensor/safetensors.h"

/* x[cols] = row `row` of the tensor that `ctx` describes. Called from several threads at once. */
typedef void (*convert_row_fn)(const void *ctx, size_t row, float *x);

typedef struct {
    tn_st_writer *out;
    const convert_opts *opts;
    size_t done, total; /* bytes, for progress */
} convert_rows;

/* Appends one tensor of `rows` rows of `cols` elements as opts->dtype (never CONVERT_AS_STORED). TN_ENUM
 * when a finite value is beyond that type's range. */
int convert_rows_write(convert_rows *w, const char *name, size_t rows, size_t cols, convert_row_fn fn,
                       const void *ctx, tn_err *e);

#endif
