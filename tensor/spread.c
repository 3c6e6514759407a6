/* Medians (spread.h). */
#include "tensor/spread.h"

#include <stdlib.h>

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

tn_spread tn_spread_of(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return (tn_spread){n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2, x[0], x[n - 1]};
}
