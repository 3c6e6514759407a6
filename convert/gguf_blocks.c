/* Decoding GGUF blocks, as laid out in ggml's type definitions (github.com/ggml-org/ggml, docs/gguf.md and
 * ggml-common.h). All multi-byte numbers are little-endian; "lo" and "hi" are a byte's low and high four
 * bits. Every product and sum is one F32 operation in the order written, which is the order of the
 * reference decoder, so the results agree with it bit by bit.
 */
#include "convert/gguf_blocks.h"

#include "tensor/dtype.h"

static float half_at(const unsigned char *b) {
    return tn_f16_to_f32(tn_load_u16(b));
}

/* ---- One element per block ---- */

static void decode_f32(float *x, const unsigned char *b) {
    (void)tn_to_f32(x, b, TN_F32, 1);
}
static void decode_f16(float *x, const unsigned char *b) {
    x[0] = half_at(b);
}
static void decode_bf16(float *x, const unsigned char *b) {
    x[0] = tn_bf16_to_f32(tn_load_u16(b));
}

/* ---- 32 elements per block: one scale d, perhaps one minimum m ---- */

/* Q8_0, 34 bytes: d F16 | q I8[32]
 * x[i] = q[i] * d */
static void decode_q8_0(float *x, const unsigned char *b) {
    float d = half_at(b);
    for (int i = 0; i < 32; i++) x[i] = (float)(int8_t)b[2 + i] * d;
}

/* The four-bit part that Q4 and Q5 share: byte i holds element i (lo) and element i + 16 (hi). */
static int nibble(const unsigned char *q, int i) {
    return i < 16 ? q[i] & 15 : q[i - 16] >> 4;
}

/* Q4_0, 18 bytes: d F16 | q U4[32]
 * x[i] = d * (q[i] - 8) */
static void decode_q4_0(float *x, const unsigned char *b) {
    float d = half_at(b);
    for (int i = 0; i < 32; i++) x[i] = d * (float)(nibble(b + 2, i) - 8);
}

/* Q4_1, 20 bytes: d F16 | m F16 | q U4[32]
 * x[i] = d * q[i] + m */
static void decode_q4_1(float *x, const unsigned char *b) {
    float d = half_at(b), m = half_at(b + 2);
    for (int i = 0; i < 32; i++) x[i] = d * (float)nibble(b + 4, i) + m;
}

/* Element i of a Q5 block: four low bits as in Q4, the fifth is bit i of the U32 `high`. */
static int five_bits(uint32_t high, const unsigned char *q, int i) {
    return nibble(q, i) | (int)(high >> i & 1) << 4;
}

/* Q5_0, 22 bytes: d F16 | high U32 | q U4[32]
 * x[i] = d * (q[i] - 16), q of five bits */
static void decode_q5_0(float *x, const unsigned char *b) {
    float d = half_at(b);
    uint32_t high = tn_load_u32(b + 2);
    for (int i = 0; i < 32; i++) x[i] = d * (float)(five_bits(high, b + 6, i) - 16);
}

/* Q5_1, 24 bytes: d F16 | m F16 | high U32 | q U4[32]
 * x[i] = d * q[i] + m, q of five bits */
static void decode_q5_1(float *x, const unsigned char *b) {
    float d = half_at(b), m = half_at(b + 2);
    uint32_t high = tn_load_u32(b + 4);
    for (int i = 0; i < 32; i++) x[i] = d * (float)five_bits(high, b + 8, i) + m;
}

/* ---- 256 elements per block: sub-blocks with small integer scales ("K-quants") ---- */

/* Q4_K and Q5_K pack the six-bit scales s[8] and minima m[8] of their eight sub-blocks in p[12]:
 *   p[0..3]  = low six bits: s[0..3],  top two bits: bits 4-5 of s[4..7]
 *   p[4..7]  = low six bits: m[0..3],  top two bits: bits 4-5 of m[4..7]
 *   p[8..11] = lo: bits 0-3 of s[4..7],  hi: bits 0-3 of m[4..7] */
static void unpack_scales(int s[8], int m[8], const unsigned char *p) {
    for (int j = 0; j < 4; j++) {
        s[j] = p[j] & 63;
        m[j] = p[4 + j] & 63;
        s[4 + j] = (p[8 + j] & 15) | (p[j] >> 6) << 4;
        m[4 + j] = p[8 + j] >> 4 | (p[4 + j] >> 6) << 4;
    }
}

/* What Q4_K and Q5_K share. Sub-block j holds elements 32j … 32j+31; their low four bits are the lo (j even)
 * or hi (j odd) halves of q[32 * (j/2) …]; bit j of high[i] is the fifth bit of element 32j + i (high is
 * NULL for Q4_K).
 * x[32j + i] = (d * s[j]) * q - (dmin * m[j]) */
static void decode_q45_k(float *x, const unsigned char *b, const unsigned char *high,
                         const unsigned char *q) {
    float d = half_at(b), dmin = half_at(b + 2);
    int s[8], m[8];
    unpack_scales(s, m, b + 4);
    for (int j = 0; j < 8; j++) {
        float scale = d * (float)s[j], minimum = dmin * (float)m[j];
        for (int i = 0; i < 32; i++) {
            int v = q[32 * (j / 2) + i] >> 4 * (j % 2) & 15;
            if (high) v |= (high[i] >> j & 1) << 4;
            x[32 * j + i] = scale * (float)v - minimum;
        }
    }
}

/* Q4_K, 144 bytes: d F16 | dmin F16 | scales and minima [12] | q U4[256] */
static void decode_q4_k(float *x, const unsigned char *b) {
    decode_q45_k(x, b, NULL, b + 16);
}

/* Q5_K, 176 bytes: d F16 | dmin F16 | scales and minima [12] | high bits [32] | q U4[256] */
static void decode_q5_k(float *x, const unsigned char *b) {
    decode_q45_k(x, b, b + 16, b + 48);
}

/* Q6_K, 210 bytes: low bits [128] | high bits [64] | s I8[16] | d F16
 * Each half of 128 elements has 64 bytes `low` and 32 bytes `high`. Element 32j + i (j < 4, i < 32) of it:
 * low four bits from low[32 * (j%2) + i] (lo for j < 2, else hi), upper two from bits 2j, 2j+1 of high[i].
 * x[e] = (d * s[e / 16]) * (q[e] - 32) */
static void decode_q6_k(float *x, const unsigned char *b) {
    float d = half_at(b + 208);
    for (int half = 0; half < 2; half++) {
        const unsigned char *low = b + 64 * half, *high = b + 128 + 32 * half, *s = b + 192 + 8 * half;
        for (int e = 0; e < 128; e++) {
            int j = e / 32, i = e % 32;
            int q = (low[32 * (j % 2) + i] >> 4 * (j / 2) & 15) | (high[i] >> 2 * j & 3) << 4;
            x[128 * half + e] = d * (float)(int8_t)s[e / 16] * (float)(q - 32);
        }
    }
}

static const gguf_type types[] = {
    {GGUF_F32, "F32", 1, 4, decode_f32},        {GGUF_F16, "F16", 1, 2, decode_f16},
    {GGUF_BF16, "BF16", 1, 2, decode_bf16},     {GGUF_Q8_0, "Q8_0", 32, 34, decode_q8_0},
    {GGUF_Q4_0, "Q4_0", 32, 18, decode_q4_0},   {GGUF_Q4_1, "Q4_1", 32, 20, decode_q4_1},
    {GGUF_Q5_0, "Q5_0", 32, 22, decode_q5_0},   {GGUF_Q5_1, "Q5_1", 32, 24, decode_q5_1},
    {GGUF_Q4_K, "Q4_K", 256, 144, decode_q4_k}, {GGUF_Q5_K, "Q5_K", 256, 176, decode_q5_k},
    {GGUF_Q6_K, "Q6_K", 256, 210, decode_q6_k},
};

const gguf_type *gguf_type_find(uint32_t id) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].id == id) return &types[i];
    return NULL;
}

const char *gguf_type_name(uint32_t id) {
    /* Formats that exist but are not decoded, so that a refusal can name them. */
    static const struct {
        uint32_t id;
        const char *name;
    } others[] = {
        {9, "Q8_1"},     {10, "Q2_K"},  {11, "Q3_K"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"},
        {18, "IQ3_XXS"}, {19, "IQ1_S"}, {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"},
        {24, "I8"},      {25, "I16"},   {26, "I32"},    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},
        {34, "TQ1_0"},   {35, "TQ2_0"}, {39, "MXFP4"},
    };
    const gguf_type *t = gguf_type_find(id);
    if (t) return t->name;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (others[i].id == id) return others[i].name;
    return "unknown";
}

void gguf_decode(float *x, const gguf_type *t, const void *src, size_t n) {
    const unsigned char *b = src;
    for (size_t i = 0; i < n; i += t->elements, b += t->bytes) t->decode(x + i, b);
}
