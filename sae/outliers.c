/* The limit of rows' lengths (outliers.h). */
#include "sae/outliers.h"

#include <math.h>
#include <stdlib.h>

double sae_row_norm(const float *row, int d) {
    double sq = 0;
    for (int k = 0; k < d; k++) sq += (double)row[k] * (double)row[k];
    return sqrt(sq);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int sae_norm_limit(const float *rows, size_t n, int d, double multiple, double *out, tn_err *e) {
    double *norms = malloc(n * sizeof *norms); /* [n] */
    if (!norms) return tn_fail(e, TN_ENOMEM, "no memory for the lengths of %zu rows", n);
    for (size_t r = 0; r < n; r++) norms[r] = sae_row_norm(rows + r * (size_t)d, d);
    qsort(norms, n, sizeof *norms, ascending);
    *out = multiple * norms[n / 2];
    free(norms);
    return TN_OK;
}
