/* Reconstruction metrics (eval.h). Serial: the encoder's work on a row is D times this. */
#include "sae/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* SAELens' limits: what counts as no norm, and as no variance. */
#define NO_NORM 1e-4
#define NO_VARIANCE 1e-10

int sae_eval_new(sae_eval *out, int d, int f, tn_err *e) {
    *out = (sae_eval){.d = d, .f = f};
    if (d < 1 || f < 1) return tn_fail(e, TN_EARG, "rows of width %d and %d latents", d, f);
    size_t means, counts, bytes;
    if (!tn_mul_size(2 * sizeof *out->shift, (size_t)d, &means) &&
        !tn_mul_size(sizeof *out->fires, (size_t)f, &counts) && !tn_add_size(means, counts, &bytes))
        out->block = calloc(bytes, 1);
    if (!out->block) return tn_fail(e, TN_ENOMEM, "out of memory");
    out->shift = out->block;
    out->origin = out->shift + d;
    out->fires = (size_t *)(out->origin + d); /* no type here needs more alignment than a double */
    return TN_OK;
}

void sae_eval_free(sae_eval *a) {
    free(a->block);
    *a = (sae_eval){0};
}

/* ---- Rows ---- */

double sae_eval_error(const float *x, const float *xhat, int d) {
    double sum = 0;
    for (int k = 0; k < d; k++) sum += ((double)xhat[k] - (double)x[k]) * ((double)xhat[k] - (double)x[k]);
    return sum;
}

static void add_latents(sae_eval *a, const float *z /* [F] */) {
    size_t active = 0;
    double sum = 0;
    for (int i = 0; i < a->f; i++) {
        if (z[i] == 0.0f) continue;
        active++;
        sum += fabs((double)z[i]);
        a->fires[i]++;
    }
    a->active += (double)active;
    a->z_abs += sum;
}

static void add_reconstruction(sae_eval *a, const float *x, const float *xhat /* [D] each */) {
    double xx = 0, hh = 0, xh = 0, ss = 0;
    for (int k = 0; k < a->d; k++) {
        double v = (double)x[k], h = (double)xhat[k], shift = v - a->origin[k];
        xx += v * v;
        hh += h * h;
        xh += v * h;
        ss += shift * shift;
        a->shift[k] += shift;
    }
    double norm = sqrt(xx), norm_hat = sqrt(hh);
    a->error_sq += sae_eval_error(x, xhat, a->d);
    a->cosine += xx == 0 || hh == 0 ? 0 : xh / (norm * norm_hat);
    a->norm_in += norm;
    a->norm_out += norm_hat;
    a->l2_ratio += norm_hat / (norm < NO_NORM ? 1 : norm);
    a->xhat_sq += hh;
    a->dot += xh;
    a->shift_sq += ss;
}

void sae_eval_add(sae_eval *a, const float *x, const float *xhat, const float *z, int n) {
    size_t d = (size_t)a->d, f = (size_t)a->f;
    for (size_t row = 0; row < (size_t)n; row++) {
        if (a->n == 0)
            for (size_t k = 0; k < d; k++) a->origin[k] = (double)x[row * d + k];
        add_latents(a, z + row * f);
        add_reconstruction(a, x + row * d, xhat + row * d);
        a->n++;
    }
}

/* 1 - error / variance; without variance there is nothing to explain, but something to get wrong. */
static double explained(double error, double variance) {
    return variance < NO_VARIANCE ? error < NO_VARIANCE : 1 - error / variance;
}

void sae_eval_add_again(sae_eval *a, const float *x, double error_sq) {
    double spread = 0, n = (double)a->n;
    for (int k = 0; k < a->d; k++) {
        double from_mean = (double)x[k] - a->origin[k] - a->shift[k] / n;
        spread += from_mean * from_mean;
    }
    a->per_row += explained(error_sq, spread);
    a->again++;
}

/* ---- The end ---- */

void sae_eval_mean(const sae_eval *a, float *mean) {
    for (int k = 0; k < a->d; k++) mean[k] = a->n ? (float)(a->origin[k] + a->shift[k] / (double)a->n) : 0.0f;
}

/* mean |x - mean x|^2, from the shifted rows */
static double variance(const sae_eval *a) {
    double n = (double)a->n, mean_sq = 0;
    for (int k = 0; k < a->d; k++) mean_sq += a->shift[k] / n * (a->shift[k] / n);
    return a->shift_sq / n - mean_sq;
}

double sae_density_edge(int bin) {
    static const double edges[SAE_DENSITY_BINS + 1] = {
        1e-6, 3.1622776601683795e-6, 1e-5, 3.1622776601683795e-5, 1e-4, 3.1622776601683795e-4,
        1e-3, 3.1622776601683795e-3, 1e-2, 3.1622776601683795e-2, 1e-1, 0.31622776601683794,
        1};
    return edges[bin];
}

static int density_bin(double density) {
    int bin = SAE_DENSITY_BINS - 1;
    while (bin > 0 && density < sae_density_edge(bin)) bin--;
    return bin;
}

sae_eval_result sae_eval_finish(const sae_eval *a) {
    double n = (double)a->n, mse = a->error_sq / n; /* 0 / 0 is NaN: no rows, no numbers */
    sae_eval_result r = {
        .n = a->n,
        .l0 = a->active / n,
        .l1 = a->z_abs / n,
        .mse = mse,
        .mse_per_element = mse / a->d,
        .fve = a->n ? explained(mse, variance(a)) : NAN,
        .explained_variance_legacy = a->n && a->again == a->n ? a->per_row / n : NAN,
        .cosine = a->cosine / n,
        .l2_norm_in = a->norm_in / n,
        .l2_norm_out = a->norm_out / n,
        .l2_ratio = a->l2_ratio / n,
        .relative_reconstruction_bias = a->xhat_sq / a->dot,
    };
    for (int i = 0; i < a->f; i++) {
        if (!a->fires[i]) continue;
        r.alive++;
        r.density[density_bin((double)a->fires[i] / n)]++;
    }
    r.dead = a->f - r.alive;
    return r;
}
