/* Conversions between the number formats of dtype.h. */
#include "tensor/dtype.h"
#include "tensor/err.h"

#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[TN_DTYPE_COUNT] = {
    [TN_F64] = {"F64", 8},   [TN_F32] = {"F32", 4}, [TN_F16] = {"F16", 2}, [TN_BF16] = {"BF16", 2},
    [TN_I64] = {"I64", 8},   [TN_I32] = {"I32", 4}, [TN_I16] = {"I16", 2}, [TN_I8] = {"I8", 1},
    [TN_U64] = {"U64", 8},   [TN_U32] = {"U32", 4}, [TN_U16] = {"U16", 2}, [TN_U8] = {"U8", 1},
    [TN_BOOL] = {"BOOL", 1},
};

size_t tn_dtype_size(tn_dtype t) {
    return types[t].size;
}

const char *tn_dtype_name(tn_dtype t) {
    return types[t].name;
}

tn_dtype tn_dtype_from_name(const char *name, size_t len) {
    for (int t = 0; t < TN_DTYPE_COUNT; t++)
        if (strlen(types[t].name) == len && memcmp(types[t].name, name, len) == 0) return (tn_dtype)t;
    return TN_DTYPE_COUNT;
}

static float float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t bits_of_float(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float tn_bf16_to_f32(uint16_t h) {
    return float_of_bits((uint32_t)h << 16);
}

uint16_t tn_f32_to_bf16(float f) {
    uint32_t bits = bits_of_float(f);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u); /* NaN, made quiet */
    uint32_t half = 0x7fffu + (bits >> 16 & 1u); /* ties go to the even neighbour */
    return (uint16_t)((bits + half) >> 16);
}

float tn_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t exponent = h >> 10 & 0x1fu;
    uint32_t mantissa = h & 0x3ffu;
    if (exponent == 31) return float_of_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent) return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float tiny = (float)mantissa * 0x1p-24f; /* subnormal: mantissa * 2^-24, exact */
    return sign ? -tiny : tiny;
}

uint16_t tn_f32_to_f16(float f) {
    uint32_t bits = bits_of_float(f);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t mag = bits & 0x7fffffffu;
    if (mag > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);  /* NaN */
    if (mag >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds past 65504 */
    if (mag < 0x38800000u) {                                   /* below 2^-14: subnormal */
        /* Adding 0.5 puts the bit worth 2^-24 last in the mantissa; the addition rounds to even. */
        uint32_t shifted = bits_of_float(float_of_bits(mag) + 0.5f) - 0x3f000000u;
        return (uint16_t)(sign | shifted);
    }
    uint32_t half = 0xfffu + (mag >> 13 & 1u);
    return (uint16_t)(sign | ((mag - 0x38000000u + half) >> 13));
}

int tn_to_f32(float *dst, const void *src, tn_dtype t, size_t n) {
    const unsigned char *p = src;
    switch (t) {
    case TN_F32:
        for (size_t i = 0; i < n; i++) dst[i] = float_of_bits(tn_load_u32(p + 4 * i));
        return TN_OK;
    case TN_BF16:
        for (size_t i = 0; i < n; i++) dst[i] = tn_bf16_to_f32(tn_load_u16(p + 2 * i));
        return TN_OK;
    case TN_F16:
        for (size_t i = 0; i < n; i++) dst[i] = tn_f16_to_f32(tn_load_u16(p + 2 * i));
        return TN_OK;
    case TN_F64:
        for (size_t i = 0; i < n; i++) {
            uint64_t bits = tn_load_u64(p + 8 * i);
            double d;
            memcpy(&d, &bits, sizeof d);
            dst[i] = (float)d;
        }
        return TN_OK;
    default:
        return TN_EUNSUP;
    }
}

int tn_from_f32(void *dst, tn_dtype t, const float *src, size_t n) {
    unsigned char *p = dst;
    switch (t) {
    case TN_F32:
        for (size_t i = 0; i < n; i++) tn_store_u32(p + 4 * i, bits_of_float(src[i]));
        return TN_OK;
    case TN_BF16:
        for (size_t i = 0; i < n; i++) tn_store_u16(p + 2 * i, tn_f32_to_bf16(src[i]));
        return TN_OK;
    case TN_F16:
        for (size_t i = 0; i < n; i++) tn_store_u16(p + 2 * i, tn_f32_to_f16(src[i]));
        return TN_OK;
    default:
        return TN_EUNSUP;
    }
}

uint16_t tn_load_u16(const void *p) {
    const unsigned char *b = p;
    return (uint16_t)(b[0] | b[1] << 8);
}

uint32_t tn_load_u32(const void *p) {
    const unsigned char *b = p;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

uint64_t tn_load_u64(const void *p) {
    return (uint64_t)tn_load_u32(p) | (uint64_t)tn_load_u32((const unsigned char *)p + 4) << 32;
}

void tn_store_u16(void *p, uint16_t v) {
    unsigned char *b = p;
    b[0] = (unsigned char)v;
    b[1] = (unsigned char)(v >> 8);
}

void tn_store_u32(void *p, uint32_t v) {
    tn_store_u16(p, (uint16_t)v);
    tn_store_u16((unsigned char *)p + 2, (uint16_t)(v >> 16));
}

void tn_store_u64(void *p, uint64_t v) {
    tn_store_u32(p, (uint32_t)v);
    tn_store_u32((unsigned char *)p + 4, (uint32_t)(v >> 32));
}
