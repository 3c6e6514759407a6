/* Rows in, blocks of 8- or 4-bit integers with their steps and scales out (row_writer.h). Threads share a
 * chunk's blocks and each block is one thread's, so the bytes do not depend on how many there are. */
#include "tensor/quantize.h"
#include "convert/row_writer.h"

#include "tensor/kernels.h"
#include "tensor/mat_file.h"
#include "tensor/par.h"

#include <math.h>
#include <stdlib.h>

/* F32 elements that are in flight at once: 16 MiB. One block is the least. */
#define CHUNK_ELEMENTS ((size_t)1 << 22)

/* A chunk of blocks on its way through the threads. */
typedef struct {
    convert_row_fn fn;
    const void *ctx;
    size_t first, rows, cols; /* the chunk's first block; of the matrix */
    int bits;
    size_t group, data_bytes, step_bytes, scale_bytes; /* the last three of one block */
    float *x;                                          /* [blocks of the chunk, TN_Q_ROWS, cols] */
    float *padded;                                     /* [blocks of the chunk, kpad] scratch */
    int8_t *w;                                         /* the same */
    unsigned char *data, *scales;                      /* [blocks of the chunk, …_bytes] */
    int8_t *steps;                                     /* the same, with 4 bits */
    float *bad; /* [blocks of the chunk] a value that is not finite, or 0 */
} chunk;

static void quantize_blocks(void *ctx, size_t begin, size_t end) {
    const chunk *c = ctx;
    const size_t kpad = tn_q_pad(c->cols);
    for (size_t b = begin; b < end; b++) {
        const size_t row = (c->first + b) * TN_Q_ROWS, left = c->rows - row;
        const size_t n = left < TN_Q_ROWS ? left : TN_Q_ROWS;
        float *x = c->x + b * TN_Q_ROWS * c->cols;
        c->bad[b] = 0;
        for (size_t r = 0; r < n; r++) c->fn(c->ctx, row + r, x + r * c->cols);
        for (size_t i = 0; i < n * c->cols; i++)
            if (!isfinite(x[i])) c->bad[b] = x[i];
        if (c->bad[b] == 0)
            tn_quantize_block(c->data + b * c->data_bytes, c->steps + b * c->step_bytes,
                              c->scales + b * c->scale_bytes, x, n, c->cols, c->bits, c->group,
                              c->padded + b * kpad, c->w + b * kpad);
    }
}

static int write_chunk(convert_rows *w, const char *name, chunk *c, size_t blocks, tn_buf *steps,
                       tn_buf *scales, tn_err *e) {
    tn_parallel_for(blocks, 1, w->opts->threads, quantize_blocks, c);
    for (size_t b = 0; b < blocks; b++)
        if (c->bad[b] != 0)
            return tn_fail(e, TN_ENUM, "tensor \"%s\" holds %g, which cannot be quantised", name,
                           (double)c->bad[b]);
    convert_rows_append(w, c->data, blocks * c->data_bytes);
    tn_buf_add(steps, (const char *)c->steps, blocks * c->step_bytes);
    tn_buf_add(scales, (const char *)c->scales, blocks * c->scale_bytes);
    return TN_OK;
}

static int allocate(chunk *c, size_t blocks, const char *name, tn_err *e) {
    size_t elements, bytes;
    if (tn_mul_size(blocks * TN_Q_ROWS, tn_q_pad(c->cols), &elements) ||
        tn_mul_size(elements, sizeof(float), &bytes))
        return tn_fail(e, TN_ENOMEM, "tensor \"%s\": a row of %zu elements is too long", name, c->cols);
    c->x = malloc(bytes);
    c->padded = malloc(bytes / TN_Q_ROWS);
    c->w = malloc(elements / TN_Q_ROWS);
    c->data = malloc(blocks * c->data_bytes);
    c->scales = malloc(blocks * c->scale_bytes);
    c->steps = malloc(blocks * c->step_bytes + 1); /* of 8 bits there are none */
    c->bad = malloc(blocks * sizeof *c->bad);
    if (c->x && c->padded && c->w && c->data && c->scales && c->steps && c->bad) return TN_OK;
    return tn_fail(e, TN_ENOMEM, "tensor \"%s\": no memory for its rows", name);
}

int convert_rows_quantize(convert_rows *w, const char *name, int bits, size_t group, size_t rows, size_t cols,
                          convert_row_fn fn, const void *ctx, tn_buf *steps, tn_buf *scales, tn_err *e) {
    tn_q_shapes s;
    int rc = tn_q_shapes_of(&s, rows, cols, bits, group, e);
    if (rc != TN_OK || rows == 0 || cols == 0) return rc;
    size_t step = CHUNK_ELEMENTS / TN_Q_ROWS / tn_q_pad(cols);
    if (step == 0) step = 1;
    if (step > s.data[0]) step = s.data[0];
    chunk c = {.fn = fn, .ctx = ctx, .rows = rows, .cols = cols, .bits = bits, .group = group};
    c.data_bytes = s.data[1] * s.data[2];
    c.step_bytes = s.steps[1] * s.steps[2];
    c.scale_bytes = s.scales[1] * s.scales[2] * 2;
    rc = allocate(&c, step, name, e);
    for (; rc == TN_OK && c.first < s.data[0]; c.first += step)
        rc = write_chunk(w, name, &c, s.data[0] - c.first < step ? s.data[0] - c.first : step, steps, scales,
                         e);
    free(c.x);
    free(c.padded);
    free(c.w);
    free(c.data);
    free(c.scales);
    free(c.steps);
    free(c.bad);
    return rc;
}
