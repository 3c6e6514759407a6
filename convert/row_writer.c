/* Rows in, rounded bytes out (row_writer.h). Threads share a chunk's rows and each row is one thread's, so
 * the bytes do not depend on how many there are. */
#include "convert/row_writer.h"

#include "tensor/par.h"

#include <math.h>
#include <stdlib.h>

/* F32 elements that are in flight at once: 4 MiB. One row is the least. */
#define CHUNK_ELEMENTS ((size_t)1 << 20)

/* A chunk of rows on its way through the threads. */
typedef struct {
    convert_row_fn fn;
    const void *ctx;
    tn_dtype dtype;
    size_t first, cols; /* the chunk's first row */
    float *x;           /* [rows of the chunk, cols] */
    unsigned char *y;   /* the same as dtype */
    float *beyond;      /* [rows of the chunk] a value out of the type's range, or 0 */
} chunk;

/* The smallest magnitude that rounds to an infinity: half a unit in the last place above the largest. */
static float range_end(tn_dtype t) {
    return t == TN_F16 ? 65520.0f : t == TN_BF16 ? 0x1.ffp127f : INFINITY;
}

static void convert_range(void *ctx, size_t begin, size_t end) {
    const chunk *c = ctx;
    float limit = range_end(c->dtype);
    for (size_t i = begin; i < end; i++) {
        float *x = c->x + i * c->cols;
        c->fn(c->ctx, c->first + i, x);
        c->beyond[i] = 0;
        for (size_t k = 0; k < c->cols; k++)
            if (fabsf(x[k]) >= limit && isfinite(x[k])) c->beyond[i] = x[k];
        (void)tn_from_f32(c->y + i * c->cols * tn_dtype_size(c->dtype), c->dtype, x, c->cols);
    }
}

static int write_chunk(convert_rows *w, const char *name, chunk *c, size_t n, tn_err *e) {
    tn_parallel_for(n, 1, w->opts->threads, convert_range, c);
    for (size_t i = 0; i < n; i++)
        if (c->beyond[i] != 0)
            return tn_fail(e, TN_ENUM, "tensor \"%s\" holds %g, which is beyond the range of %s", name,
                           (double)c->beyond[i], tn_dtype_name(c->dtype));
    size_t bytes = n * c->cols * tn_dtype_size(c->dtype);
    convert_rows_append(w, c->y, bytes);
    return TN_OK;
}

void convert_rows_append(convert_rows *w, const void *bytes, size_t n) {
    if (tn_st_write(w->out, bytes, n) != TN_OK) return;
    w->done += n;
    if (w->opts->progress) w->opts->progress(w->opts->ctx, w->done, w->total);
}

int convert_rows_write(convert_rows *w, const char *name, tn_dtype dtype, size_t rows, size_t cols,
                       convert_row_fn fn, const void *ctx, tn_err *e) {
    if (rows == 0 || cols == 0) return TN_OK;
    size_t step = CHUNK_ELEMENTS / cols;
    if (step == 0) step = 1;
    if (step > rows) step = rows;
    chunk c = {.fn = fn, .ctx = ctx, .dtype = dtype, .cols = cols};
    size_t elements, bytes;
    int rc = TN_OK;
    if (tn_mul_size(step, cols, &elements) != 0 || tn_mul_size(elements, sizeof(float), &bytes) != 0)
        return tn_fail(e, TN_ENOMEM, "tensor \"%s\": a row of %zu elements is too long", name, cols);
    c.x = malloc(bytes);
    c.y = malloc(bytes);
    c.beyond = malloc(step * sizeof *c.beyond);
    if (!c.x || !c.y || !c.beyond) rc = tn_fail(e, TN_ENOMEM, "tensor \"%s\": no memory for its rows", name);
    for (c.first = 0; rc == TN_OK && c.first < rows; c.first += step)
        rc = write_chunk(w, name, &c, rows - c.first < step ? rows - c.first : step, e);
    free(c.x);
    free(c.y);
    free(c.beyond);
    return rc;
}
