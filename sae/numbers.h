/* Arrays into and out of safetensors files: little-endian whatever the machine, in small pieces. */
#ifndef SAE_NUMBERS_H
#define SAE_NUMBERS_H

#include "tensor/safetensors.h"

/* Append v [n] to the writer's current tensor; failures stick to the writer and come out of tn_st_finish. */
void sae_write_floats(tn_st_writer *w, tn_dtype dtype, const float *v, size_t n); /* F32, F16 or BF16 */
void sae_write_ints(tn_st_writer *w, const int32_t *v, size_t n);                 /* I32 */

/* dst [n] = an I32 tensor's values. */
void sae_read_ints(int32_t *dst, const void *src, size_t n);

#endif
