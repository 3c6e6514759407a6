/* Rows in parts (eval_parts.h). A part without rows costs address space only: its memory is never touched. */
#include "sae/eval_parts.h"

#include <stdlib.h>
#include <string.h>

int sae_parts_new(sae_parts *out, int d, int f, int by_position, int n_labels, tn_err *e) {
    *out = (sae_parts){.n_ranges = by_position ? SAE_RANGES : 0, .n_labels = n_labels};
    out->first_range = SAE_ALL_ROWS + 1;
    out->first_label = out->first_range + out->n_ranges;
    int n = out->first_label + n_labels;
    out->part = calloc((size_t)n, sizeof *out->part);
    if (!out->part) return tn_fail(e, TN_ENOMEM, "no memory for %d parts", n);
    for (; out->n < n; out->n++) {
        int code = sae_eval_new(&out->part[out->n], d, f, e);
        if (!code) continue;
        sae_parts_free(out);
        return code;
    }
    return TN_OK;
}

void sae_parts_free(sae_parts *p) {
    for (int i = 0; i < p->n; i++) sae_eval_free(&p->part[i]);
    free(p->part);
    free(p->error);
    *p = (sae_parts){0};
}

int sae_parts_reserve(sae_parts *p, size_t more, tn_err *e) {
    size_t rows, bytes;
    if (more <= p->capacity - p->rows) return TN_OK;
    if (tn_add_size(p->rows, more, &rows) || tn_add_size(rows, p->capacity, &rows) ||
        tn_mul_size(rows, sizeof *p->error, &bytes))
        return tn_fail(e, TN_ENOMEM, "too many rows");
    double *error = realloc(p->error, bytes);
    if (!error) return tn_fail(e, TN_ENOMEM, "no memory for the errors of %zu rows", rows);
    p->error = error;
    p->capacity = rows;
    return TN_OK;
}

static int range_of(int pos) {
    int range = 0;
    for (; pos > 0; pos >>= 1) range++;
    return range;
}

void sae_range_bounds(int range, int *first, int *last) {
    *first = range == 0 ? 0 : 1 << (range - 1);
    *last = range == 0 ? 0 : *first - 1 + *first;
}

int sae_parts_of(const sae_parts *p, int pos, int label, int of[SAE_MEMBERSHIPS]) {
    int n = 0;
    of[n++] = SAE_ALL_ROWS;
    if (p->n_ranges) of[n++] = p->first_range + range_of(pos);
    if (label >= 0 && label < p->n_labels) of[n++] = p->first_label + label;
    return n;
}

void sae_parts_add(sae_parts *p, const float *x, const float *xhat, const float *z, int pos, int label) {
    int of[SAE_MEMBERSHIPS], n = sae_parts_of(p, pos, label, of);
    for (int i = 0; i < n; i++) sae_eval_add(&p->part[of[i]], x, xhat, z, 1);
    p->error[p->rows++] = sae_eval_error(x, xhat, p->part->d);
}

void sae_parts_add_again(sae_parts *p, const float *x, int pos, int label) {
    int of[SAE_MEMBERSHIPS], n = sae_parts_of(p, pos, label, of);
    for (int i = 0; i < n; i++) sae_eval_add_again(&p->part[of[i]], x, p->error[p->again]);
    p->again++;
}
