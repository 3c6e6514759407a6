/* The "avx512", "avx512vnni" and "amx" tiers: tables and vector kernels, which they share. Matrix products
 * are in kernels_avx512_matmul.c and kernels_amx.c and, quantised, in kernels_avx512_quant.c,
 * kernels_avx512vnni_quant.c and kernels_amx_quant.c.
 *
 * Every loop takes 16 floats at a time under a mask: all ones, except in the last step, where only the
 * lanes that exist are loaded and stored. Where scalar code does a multiplication and an addition this
 * file does the same two (no FMA), so axpy, add, rope and adam give the scalar tier's bits. Sums and exp
 * use FMA and have the bits of the avx2 tier.
 *
 * VDPBF16PS, the product of two registers of BF16, is not used: it would round x to 8 bits of mantissa, and
 * with weights that are floats the arithmetic stays F32. Nor is it faster everywhere: per second some
 * processors do twice the multiply-adds of F32 with it, others half.
 */
#include "tensor/kernels_tier.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include <immintrin.h>
#include <math.h>

/* The lanes of a step that begins with `left` elements to go. */
static inline __mmask16 lanes(size_t left) {
    if (left >= TN_LANES) return 0xFFFF;
    return (__mmask16)((1u << left) - 1);
}

static inline __m512 load(__mmask16 mask, const float *p) {
    return _mm512_maskz_loadu_ps(mask, p);
}
static inline void store(float *p, __mmask16 mask, __m512 v) {
    _mm512_mask_storeu_ps(p, mask, v);
}

static void matmul_f32(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                       size_t m, size_t k, float *room) {
    tn_matmul_tiled(&tn_avx512_f32, y, ldy, x, ldx, w, ldw, n, m, k, room);
}

static void matmul_f16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                       size_t m, size_t k, float *room) {
    tn_matmul_tiled(&tn_avx512_f16, y, ldy, x, ldx, w, ldw, n, m, k, room);
}

static void matmul_bf16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                        size_t m, size_t k, float *room) {
    tn_matmul_tiled(&tn_avx512_bf16, y, ldy, x, ldx, w, ldw, n, m, k, room);
}

static size_t reaching(uint32_t *at, const float *y, const tn_bar *bar, size_t n) {
    const __m512 a = _mm512_set1_ps(bar->a), b = _mm512_set1_ps(bar->b), c = _mm512_set1_ps(bar->c);
    size_t count = 0;
    for (size_t i = 0; i < n; i += TN_LANES) {
        const __mmask16 mask = lanes(n - i);
        const __m512 slack =
            _mm512_fmadd_ps(a, load(mask, bar->p + i), _mm512_mul_ps(b, load(mask, bar->q + i)));
        const __m512 need = _mm512_fmadd_ps(c, load(mask, bar->r + i), load(mask, bar->s + i));
        const __m512 have = _mm512_add_ps(load(mask, y + i), slack);
        uint32_t hits = _mm512_mask_cmp_ps_mask(mask, have, need, _CMP_NLT_UQ);
        for (; hits; hits &= hits - 1) at[count++] = (uint32_t)i + (uint32_t)__builtin_ctz(hits);
    }
    return count;
}

static float dot(const float *a, const float *b, size_t n) {
    float sum;
    matmul_f32(&sum, 1, a, n, b, n, 1, 1, n, NULL);
    return sum;
}

static void axpy(float *y, float a, const float *x, size_t n) {
    const __m512 va = _mm512_set1_ps(a);
    for (size_t i = 0; i < n; i += TN_LANES) {
        const __mmask16 mask = lanes(n - i);
        store(y + i, mask, _mm512_add_ps(load(mask, y + i), _mm512_mul_ps(va, load(mask, x + i))));
    }
}

/* y stays in registers while all of x pass by. */
static void axpys(float *y, const float *a, const float *const *x, size_t count, size_t n) {
    enum { HELD = 8 };
    size_t i = 0;
    for (; i + HELD * TN_LANES <= n; i += HELD * TN_LANES) {
        __m512 held[HELD];
        TN_UNROLL for (size_t h = 0; h < HELD; h++) held[h] = _mm512_loadu_ps(y + i + h * TN_LANES);
        for (size_t c = 0; c < count; c++) {
            const __m512 va = _mm512_set1_ps(a[c]);
            const float *from = x[c] + i;
            TN_UNROLL for (size_t h = 0; h < HELD; h++) held[h] =
                _mm512_add_ps(held[h], _mm512_mul_ps(va, _mm512_loadu_ps(from + h * TN_LANES)));
        }
        TN_UNROLL for (size_t h = 0; h < HELD; h++) _mm512_storeu_ps(y + i + h * TN_LANES, held[h]);
    }
    for (size_t c = 0; c < count && i < n; c++) axpy(y + i, a[c], x[c] + i, n - i);
}

/* Stores past the caches want whole aligned lines; the fence makes them seen by other threads. */
static void put_away(float *to, const float *from, size_t n) {
    size_t i = 0;
    for (; i < n && (uintptr_t)(to + i) % sizeof(__m512) != 0; i++) to[i] = from[i];
    for (; i + TN_LANES <= n; i += TN_LANES) _mm512_stream_ps(to + i, _mm512_loadu_ps(from + i));
    for (; i < n; i++) to[i] = from[i];
    _mm_sfence();
}

static void add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i += TN_LANES) {
        const __mmask16 mask = lanes(n - i);
        store(y + i, mask, _mm512_add_ps(load(mask, y + i), load(mask, x + i)));
    }
}

static void rmsnorm(float *y, const float *x, const float *gain, size_t d, float eps) {
    const __m512 scale = _mm512_set1_ps(1.0f / sqrtf(dot(x, x, d) / (float)d + eps));
    for (size_t i = 0; i < d; i += TN_LANES) {
        const __mmask16 mask = lanes(d - i);
        store(y + i, mask, _mm512_mul_ps(_mm512_mul_ps(load(mask, x + i), scale), load(mask, gain + i)));
    }
}

static void rope(float *x, const float *c, const float *s, size_t half) {
    for (size_t i = 0; i < half; i += TN_LANES) {
        const __mmask16 mask = lanes(half - i);
        const __m512 a = load(mask, x + i), b = load(mask, x + half + i);
        const __m512 vc = load(mask, c + i), vs = load(mask, s + i);
        store(x + i, mask, _mm512_sub_ps(_mm512_mul_ps(a, vc), _mm512_mul_ps(b, vs)));
        store(x + half + i, mask, _mm512_add_ps(_mm512_mul_ps(b, vc), _mm512_mul_ps(a, vs)));
    }
}

/* exp(x) = 2^n * e^r with n = round(x / ln 2) and r = x - n ln 2, so |r| <= ln(2)/2 = 0.347.
 * ln 2 is split in two floats so that r keeps all its bits. e^r is its Taylor polynomial of degree 7,
 * whose remainder r^8/8! is below 6e-9; with roundings the relative error stays below 1.5e-7.
 * Outside [-104, 89] exp is 0 or infinite in F32; the clamp keeps n small. min and max give their second
 * operand when one is NaN, so NaN goes through. */
static inline __m512 exp16(__m512 x) {
    x = _mm512_min_ps(_mm512_set1_ps(89.0f), x);
    x = _mm512_max_ps(_mm512_set1_ps(-104.0f), x);
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693147182f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-1.90465430e-9f), r);

    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static void softmax(float *x, size_t n) {
    __m512 max = _mm512_set1_ps(x[0]);
    for (size_t i = 0; i < n; i += TN_LANES) {
        const __mmask16 mask = lanes(n - i);
        max = _mm512_mask_max_ps(max, mask, max, load(mask, x + i));
    }
    max = _mm512_set1_ps(_mm512_reduce_max_ps(max));

    __m512 sum = _mm512_setzero_ps();
    for (size_t i = 0; i < n; i += TN_LANES) {
        const __mmask16 mask = lanes(n - i);
        const __m512 e = _mm512_maskz_mov_ps(mask, exp16(_mm512_sub_ps(load(mask, x + i), max)));
        store(x + i, mask, e);
        sum = _mm512_add_ps(sum, e);
    }
    float lane[TN_LANES];
    _mm512_storeu_ps(lane, sum);

    const __m512 scale = _mm512_set1_ps(1.0f / tn_fold_lanes(lane));
    for (size_t i = 0; i < n; i += TN_LANES) {
        const __mmask16 mask = lanes(n - i);
        store(x + i, mask, _mm512_mul_ps(load(mask, x + i), scale));
    }
}

static void swiglu(float *y, const float *gate, const float *up, size_t n) {
    const __m512 one = _mm512_set1_ps(1.0f);
    for (size_t i = 0; i < n; i += TN_LANES) {
        const __mmask16 mask = lanes(n - i);
        const __m512 g = load(mask, gate + i);
        const __m512 minus_g = _mm512_xor_ps(g, _mm512_set1_ps(-0.0f));
        const __m512 silu = _mm512_div_ps(g, _mm512_add_ps(one, exp16(minus_g)));
        store(y + i, mask, _mm512_mul_ps(silu, load(mask, up + i)));
    }
}

static void adam(float *p, const float *g, float *m, float *v, size_t n, const tn_adam *how) {
    const __m512 vb1 = _mm512_set1_ps(how->b1), vb2 = _mm512_set1_ps(how->b2);
    const __m512 a1 = _mm512_set1_ps(1.0f - how->b1), a2 = _mm512_set1_ps(1.0f - how->b2);
    const __m512 vc1 = _mm512_set1_ps(how->c1), vc2 = _mm512_set1_ps(how->c2);
    const __m512 vlr = _mm512_set1_ps(how->lr), veps = _mm512_set1_ps(how->eps);
    const __m512 scale = _mm512_set1_ps(how->scale);
    for (size_t i = 0; i < n; i += TN_LANES) {
        const __mmask16 mask = lanes(n - i);
        const __m512 gi = _mm512_mul_ps(scale, load(mask, g + i));
        const __m512 mi = _mm512_add_ps(_mm512_mul_ps(vb1, load(mask, m + i)), _mm512_mul_ps(a1, gi));
        const __m512 vi =
            _mm512_add_ps(_mm512_mul_ps(vb2, load(mask, v + i)), _mm512_mul_ps(a2, _mm512_mul_ps(gi, gi)));
        const __m512 root = _mm512_add_ps(_mm512_sqrt_ps(_mm512_div_ps(vi, vc2)), veps);
        const __m512 move = _mm512_div_ps(_mm512_mul_ps(vlr, _mm512_div_ps(mi, vc1)), root);
        store(m + i, mask, mi);
        store(v + i, mask, vi);
        store(p + i, mask, _mm512_sub_ps(load(mask, p + i), move));
    }
}

static void fma_rounds(float *sink, size_t rounds) {
    enum { HELD = TN_FMA_LANES / TN_LANES };
    const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
    __m512 held[HELD]; /* more than can be under way in two units of latency 4 or 5 */
    TN_UNROLL for (int i = 0; i < HELD; i++) held[i] = _mm512_set1_ps((float)(i + 2));
    for (size_t r = 0; r < rounds; r++)
        TN_UNROLL for (int i = 0; i < HELD; i++) held[i] = _mm512_fmadd_ps(held[i], a, b);
    TN_UNROLL for (int i = 0; i < HELD; i++) _mm512_storeu_ps(sink + i * TN_LANES, held[i]);
}

/* What the tiers of this file have in common: everything but the products of integers. */
/* clang-format off */
#define FLOATS \
    .matmul_f32 = matmul_f32, .tile_f32 = &tn_avx512_f32, .matmul_f16 = matmul_f16, .matmul_bf16 = matmul_bf16, .reaching = reaching, \
    .dot = dot, .dots = tn_avx512_dots, .axpy = axpy, .axpys = axpys, .dots_axpys = tn_avx512_dots_axpys, .put_away = put_away, .add = add, .rmsnorm = rmsnorm, .rope = rope, .softmax = softmax, .swiglu = swiglu, .adam = adam, \
    .fma_rounds = fma_rounds
/* clang-format on */

const tn_kernels *tn_tier_avx512(void) {
    static const tn_kernels table = {.name = "avx512",
                                     FLOATS,
                                     .quantize = tn_avx512_quantize,
                                     .matmul_q8 = tn_avx512_matmul_q8,
                                     .matmul_q4 = tn_avx512_matmul_q4};
    return &table;
}

const tn_kernels *tn_tier_avx512vnni(void) {
    static const tn_kernels table = {.name = "avx512vnni",
                                     FLOATS,
                                     .quantize = tn_avx512_quantize,
                                     .matmul_q8 = tn_avx512vnni_matmul_q8,
                                     .matmul_q4 = tn_avx512vnni_matmul_q4};
    return &table;
}

const tn_kernels *tn_tier_amx(void) {
#ifdef TN_AMX
    static const tn_kernels table = {.name = "amx",
                                     FLOATS,
                                     .split = tn_amx_split,
                                     .matmul_split = tn_amx_matmul_split,
                                     .tile_rounds = tn_amx_tile_rounds,
                                     .round_pairs = tn_amx_round_pairs,
                                     .matmul_pairs = tn_amx_matmul_pairs,
                                     .quantize = tn_avx512_quantize,
                                     .matmul_q8 = tn_amx_matmul_q8,
                                     .matmul_q4 = tn_amx_matmul_q4};
    return &table;
#else
    return NULL;
#endif
}

#else

const tn_kernels *tn_tier_amx(void) {
    return NULL;
}
const tn_kernels *tn_tier_avx512(void) {
    return NULL;
}
const tn_kernels *tn_tier_avx512vnni(void) {
    return NULL;
}

#endif
