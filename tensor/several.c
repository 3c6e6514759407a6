/* What only some tiers have a kernel for, and the others do with those that all have. */
#include "tensor/kernels.h"

#include <string.h>

void tn_dots(const tn_kernels *k, float *y, const float *const *x, const float *const *w, size_t count,
             size_t n) {
    if (k->dots)
        k->dots(y, x, w, count, n);
    else
        for (size_t c = 0; c < count; c++) y[c] = k->dot(x[c], w[c], n);
}

void tn_axpys(const tn_kernels *k, float *y, const float *a, const float *const *x, size_t count, size_t n) {
    if (k->axpys)
        k->axpys(y, a, x, count, n);
    else
        for (size_t c = 0; c < count; c++) k->axpy(y, a[c], x[c], n);
}

void tn_dots_axpys(const tn_kernels *k, float *dots, float *y, const float *a, const float *const *x,
                   const float *w, size_t count, size_t n) {
    if (k->dots_axpys) {
        k->dots_axpys(dots, y, a, x, w, count, n);
        return;
    }
    for (size_t c = 0; c < count; c++) dots[c] = k->dot(x[c], w, n);
    tn_axpys(k, y, a, x, count, n);
}

void tn_put_away(const tn_kernels *k, float *to, const float *from, size_t n) {
    if (k->put_away)
        k->put_away(to, from, n);
    else
        memcpy(to, from, n * sizeof *to);
}
