/* Matrix products and the transpose over several threads.
 *
 * A product is cut along its longer side into one range per thread; what happens inside a range is the
 * loop nest of matmul.c. No sum is ever cut, so the number of threads changes no bit of the result.
 */
#include "tensor/kernels.h"
#include "tensor/par.h"

/* Ranges are multiples of this many rows or columns, a multiple of every tier's tile: no range but the
 * last has a ragged edge. */
enum { GRAIN = 24 };

/* Below this many multiplications waking a second thread costs more than it saves. */
enum { SERIAL_WORK = 100000 };

typedef void (*matmul_fn)(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw,
                          size_t n, size_t m, size_t k);

/* y[i*ldy + j] = sum_k x[i*ldx + k] * w[j*ldw + k] + bias[j]   i < n, j < m */
typedef struct {
    matmul_fn matmul;
    void (*add)(float *y, const float *x, size_t n);
    float *y;
    const float *x;
    const unsigned char *w;
    const float *bias; /* [m] or NULL */
    size_t ldy, ldx, ldw, w_size, n, m, k;
} product;

/* Rows i0 … i0+n-1 and columns j0 … j0+m-1 of y. */
static void part(const product *p, size_t i0, size_t n, size_t j0, size_t m) {
    float *y = p->y + i0 * p->ldy + j0;
    p->matmul(y, p->ldy, p->x + i0 * p->ldx, p->ldx, p->w + j0 * p->ldw * p->w_size, p->ldw, n, m, p->k);
    if (p->bias == NULL) return;
    for (size_t i = 0; i < n; i++) p->add(y + i * p->ldy, p->bias + j0, m);
}

static void some_rows(void *ctx, size_t begin, size_t end) {
    const product *p = ctx;
    part(p, begin, end - begin, 0, p->m);
}

static void some_columns(void *ctx, size_t begin, size_t end) {
    const product *p = ctx;
    part(p, 0, p->n, begin, end - begin);
}

static void run(product *p, int threads) {
    /* in double, where the product of three sizes cannot wrap */
    if ((double)p->n * (double)p->m * (double)p->k < SERIAL_WORK) threads = 1;
    if (p->n > p->m)
        tn_parallel_for(p->n, GRAIN, threads, some_rows, p);
    else
        tn_parallel_for(p->m, GRAIN, threads, some_columns, p);
}

void tn_linear(tn_exec ex, float *y, const float *x, const tn_mat *w, const float *bias, size_t n) {
    product p = {NULL, ex.k->add, y,       x,       w->data,
                 bias, w->rows,   w->cols, w->cols, tn_dtype_size(w->dtype),
                 n,    w->rows,   w->cols};
    p.matmul = w->dtype == TN_BF16  ? ex.k->matmul_bf16
               : w->dtype == TN_F16 ? ex.k->matmul_f16
                                    : ex.k->matmul_f32;
    run(&p, ex.threads);
}

void tn_matmul_f32(tn_exec ex, float *y, size_t ldy, const float *x, size_t ldx, const float *w, size_t ldw,
                   size_t n, size_t m, size_t k) {
    product p = {ex.k->matmul_f32, ex.k->add, y, x, (const unsigned char *)w, NULL, ldy, ldx, ldw,
                 sizeof *w,        n,         m, k};
    run(&p, ex.threads);
}

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
