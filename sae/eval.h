/* How well an SAE reconstructs rows: sums over x, x̂ and z of any number of rows. Needs no model.
 *
 * The definitions are those of SAELens 6.54 run_evals, with e = x̂ - x and means over all rows at once
 * (pooled: every sum is kept in double and divided once at the end, so the numbers do not depend on batches):
 *
 *     l0       mean of how many z_i are not 0              l1  mean of sum_i |z_i|
 *     mse      mean |e|^2: a sum over the D components, a mean over rows; mse / D is per element
 *     fve      1 - mean |e|^2 / (mean |x|^2 - |mean x|^2)  fraction of variance explained, 1 - FVU (SAELens:
 *              explained_variance). With a variance below 1e-10: 1 when mse is below 1e-10 too, else 0
 *     explained_variance_legacy
 *              mean of 1 - |e|^2 / |x - mean x|^2, row by row: the older definition, which rows close to the
 *              mean pull down. SAELens takes the mean of each batch. A row within 1e-10 counts as above
 *     cosine   mean cos(x, x̂); 0 for a row where one of them is 0 (SAELens: NaN)
 *     l2_norm_in, l2_norm_out   mean |x|, mean |x̂|
 *     l2_ratio mean |x̂| / |x|; a norm |x| below 1e-4 counts as 1
 *     relative_reconstruction_bias
 *              mean |x̂|^2 / mean x·x̂ (Rajamanoharan et al. 2024, arXiv:2404.16014, equation 10), below 1 for
 *              an SAE that shrinks; SAELens averages it over batches instead
 *     alive    latents with z_i != 0 in some row           dead  the others
 *     density  of a latent: the share of the rows it fires on; counted in bins of half a power of ten
 */
#ifndef SAE_EVAL_H
#define SAE_EVAL_H

#include "tensor/base.h"
#include "tensor/err.h"

enum { SAE_DENSITY_BINS = 12 };

typedef struct {
    int d, f;        /* D, F */
    size_t n;        /* rows so far */
    double active;   /* sums over rows: latents that fire, */
    double z_abs;    /* sum_i |z_i|, */
    double error_sq; /* |e|^2, */
    double cosine;   /* cos(x, x̂), */
    double norm_in;  /* |x|, */
    double norm_out; /* |x̂|, */
    double l2_ratio; /* |x̂| / |x|, */
    double xhat_sq;  /* |x̂|^2, */
    double dot;      /* x·x̂, */
    double shift_sq; /* |x - origin|^2 */
    double *shift;   /* [D] sum of x - origin */
    double *origin;  /* [D] the first row: variance does not change when all rows are shifted, and sums of
                      * small numbers lose nothing to a large mean */
    size_t *fires;   /* [F] rows on which the latent fires */
    size_t again;    /* rows so far of the second round */
    double per_row;  /* sum over them: 1 - |e|^2 / |x - mean x|^2 */
    void *block;     /* the one allocation behind the three arrays */
} sae_eval;

typedef struct {
    size_t n; /* rows; without any, the other numbers are NaN */
    double l0, l1, mse, mse_per_element, fve;
    double explained_variance_legacy; /* NaN without a second round over all rows */
    double cosine, l2_norm_in, l2_norm_out, l2_ratio, relative_reconstruction_bias;
    int dead, alive;
    int density[SAE_DENSITY_BINS]; /* living latents: bin i is from sae_density_edge(i) to the next; rarer
                                    * ones are in the first bin too, those that always fire in the last */
} sae_eval_result;

int sae_eval_new(sae_eval *out, int d, int f, tn_err *e);
void sae_eval_free(sae_eval *a);
/* Adds rows x [n, D], their reconstructions xhat [n, D] and latents z [n, F], one after the other. */
void sae_eval_add(sae_eval *a, const float *x, const float *xhat, const float *z, int n);
/* The second round, when all rows were added: one of them again, x [D], and its |e|^2. */
void sae_eval_add_again(sae_eval *a, const float *x, double error_sq);
/* Mean of the rows x into mean [D]; zeros without rows. */
void sae_eval_mean(const sae_eval *a, float *mean);
sae_eval_result sae_eval_finish(const sae_eval *a);

/* |x̂ - x|^2 of a row, x and xhat [D]. */
double sae_eval_error(const float *x, const float *xhat, int d);
/* Lower edge of a bin of densities, 1e-6 to 1 for bins 0 to SAE_DENSITY_BINS. */
double sae_density_edge(int bin);

#endif
