/* Rows of extraordinary length: Qwen and others keep a few tokens (often the first, or delimiters) whose
 * residual stream is a hundred times longer than that of all others. An SAE that trains on them learns little
 * else.
 *
 * The limit is a multiple of the median length of the first rows; rows above it are left out.
 */
#ifndef SAE_OUTLIERS_H
#define SAE_OUTLIERS_H

#include "tensor/err.h"

#include <stddef.h>

enum { SAE_OUTLIER_ROWS = 16384 }; /* the first so many rows are measured */

/* |row|, summed in double. row [d] */
double sae_row_norm(const float *row, int d);
/* *out = multiple * the median length of rows [n, d]; n >= 1 */
int sae_norm_limit(const float *rows, size_t n, int d, double multiple, double *out, tn_err *e);

#endif
