/* Several products of vectors, or additions to one, in the tiers that do them at once and in those that do
 * not. */
#include "tensor/kernels.h"

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
