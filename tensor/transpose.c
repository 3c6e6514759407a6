/* The transpose, over several threads. */
#include "tensor/kernels.h"
#include "tensor/par.h"

/* Transposing in squares of 16: a line of 64 bytes is 16 floats, so each line of src that is read and
 * each line of dst that is written is used whole while it is in the cache. */
enum { SQUARE = 16 };

typedef struct {
    float *dst;       /* [cols, rows] */
    const float *src; /* [rows, ld], cols of it used */
    size_t rows, cols, ld;
} transposition;

/* Columns begin … end-1 of src, which are rows of dst. */
static void transpose_columns(void *ctx, size_t begin, size_t end) {
    const transposition *t = ctx;
    for (size_t r0 = 0; r0 < t->rows; r0 += SQUARE) {
        const size_t r1 = t->rows - r0 < SQUARE ? t->rows : r0 + SQUARE;
        for (size_t c0 = begin; c0 < end; c0 += SQUARE) {
            const size_t c1 = end - c0 < SQUARE ? end : c0 + SQUARE;
            for (size_t c = c0; c < c1; c++)
                for (size_t r = r0; r < r1; r++) t->dst[c * t->rows + r] = t->src[r * t->ld + c];
        }
    }
}

void tn_transpose(tn_exec ex, float *dst, const float *src, size_t rows, size_t cols, size_t ld) {
    transposition t = {dst, src, rows, cols, ld};
    tn_parallel_for(cols, SQUARE, ex.threads, transpose_columns, &t);
}
