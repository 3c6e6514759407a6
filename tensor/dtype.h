/* Number formats: the types a safetensors file may hold, and conversion of the ones we compute with.
 *
 * BF16 is the upper half of an F32; F16 is IEEE 754 binary16. Both convert to F32 exactly; the way back
 * rounds to nearest, ties to even. Files are little-endian and are read byte by byte, never by casting.
 */
#ifndef TENSOR_DTYPE_H
#define TENSOR_DTYPE_H

#include "tensor/base.h"

typedef enum {
    TN_F64,
    TN_F32,
    TN_F16,
    TN_BF16,
    TN_I64,
    TN_I32,
    TN_I16,
    TN_I8,
    TN_U64,
    TN_U32,
    TN_U16,
    TN_U8,
    TN_BOOL,
    TN_DTYPE_COUNT
} tn_dtype;

size_t tn_dtype_size(tn_dtype t);      /* bytes per element */
const char *tn_dtype_name(tn_dtype t); /* as safetensors spells it: "BF16" */

/* The type safetensors calls `name` (len bytes, no NUL needed); TN_DTYPE_COUNT when there is none. */
tn_dtype tn_dtype_from_name(const char *name, size_t len);

float tn_bf16_to_f32(uint16_t h);
uint16_t tn_f32_to_bf16(float f); /* NaN stays NaN */
float tn_f16_to_f32(uint16_t h);
uint16_t tn_f32_to_f16(float f); /* overflow gives an infinity, NaN stays NaN */

/* dst[i] = src[i] as F32 for i < n; src is little-endian, of type F64, F32, F16 or BF16 and may be
 * unaligned. Returns TN_OK or TN_EUNSUP for another type. */
int tn_to_f32(float *dst, const void *src, tn_dtype t, size_t n);

/* The way back for F32, F16 and BF16, into n * tn_dtype_size(t) little-endian bytes. */
int tn_from_f32(void *dst, tn_dtype t, const float *src, size_t n);

/* Little-endian loads and stores at any address. */
uint16_t tn_load_u16(const void *p);
uint32_t tn_load_u32(const void *p);
uint64_t tn_load_u64(const void *p);
void tn_store_u16(void *p, uint16_t v);
void tn_store_u32(void *p, uint32_t v);
void tn_store_u64(void *p, uint64_t v);

#endif
