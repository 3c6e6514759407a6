/* A vector to steer along, read from a safetensors file. */
#ifndef SAE_DIRECTION_H
#define SAE_DIRECTION_H

#include "tensor/err.h"

/* `spec` is FILE, FILE:TENSOR or FILE:TENSOR:ROW. Without TENSOR the file must hold just one; without ROW the
 * tensor must be a single row, [d] or [1, d]. Allocates *v [d], which the caller frees. TN_ESHAPE when the
 * width is not d. */
int sae_direction_read(float **v, const char *spec, int d, tn_err *e);

#endif
