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

/* Appends bytes and reports progress. Failures stick to the writer: tn_st_finish reports the first one. */
void convert_rows_append(convert_rows *w, const void *bytes, size_t n);

/* Appends one tensor of `rows` rows of `cols` elements as `dtype`: F32, F16 or BF16. TN_ENUM when a finite
 * value is beyond that type's range. */
int convert_rows_write(convert_rows *w, const char *name, tn_dtype dtype, size_t rows, size_t cols,
                       convert_row_fn fn, const void *ctx, tn_err *e);

/* Appends the data of one quantised matrix (docs/FORMATS.md) and adds the bytes of its steps and scales to
 * *steps and *scales.
 * TN_ENUM when a value is not finite. */
int convert_rows_quantize(convert_rows *w, const char *name, int bits, size_t group, size_t rows, size_t cols,
                          convert_row_fn fn, const void *ctx, tn_buf *steps, tn_buf *scales, tn_err *e);

#endif
