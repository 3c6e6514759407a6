/* The "avx2" and "avxvnni" tiers: tables and vector kernels, which they share. Matrix products are in
 * kernels_avx2_matmul.c and, quantised, in kernels_avx2_quant.c and kernels_avxvnni_quant.c.
 *
 * Loops take 8 or 16 floats at a time. What is left over is done one by one where that gives the same
 * bits, and otherwise copied to a padded buffer that goes through the same steps. Where scalar code does
 * a multiplication and an addition this file does the same two (no FMA), so axpy, add, rope and adam
 * give the scalar tier's bits. Sums and exp use FMA and have the bits of the avx512 tier.
 */
#include "tensor/kernels_tier.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { STEP = 8 };

static void matmul_f32(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                       size_t m, size_t k, float *room) {
    tn_matmul_tiled(&tn_avx2_f32, y, ldy, x, ldx, w, ldw, n, m, k, room);
}

static void matmul_f16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                       size_t m, size_t k, float *room) {
    tn_matmul_tiled(&tn_avx2_f16, y, ldy, x, ldx, w, ldw, n, m, k, room);
}

static void matmul_bf16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                        size_t m, size_t k, float *room) {
    tn_matmul_tiled(&tn_avx2_bf16, y, ldy, x, ldx, w, ldw, n, m, k, room);
}

static size_t reaching(uint32_t *at, const float *y, const tn_bar *bar, size_t n) {
    const __m256 a = _mm256_set1_ps(bar->a), b = _mm256_set1_ps(bar->b), c = _mm256_set1_ps(bar->c);
    size_t count = 0, i = 0;
    for (; i + STEP <= n; i += STEP) {
        const __m256 slack =
            _mm256_fmadd_ps(a, _mm256_loadu_ps(bar->p + i), _mm256_mul_ps(b, _mm256_loadu_ps(bar->q + i)));
        const __m256 need = _mm256_fmadd_ps(c, _mm256_loadu_ps(bar->r + i), _mm256_loadu_ps(bar->s + i));
        const __m256 have = _mm256_add_ps(_mm256_loadu_ps(y + i), slack);
        uint32_t hits = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(have, need, _CMP_NLT_UQ));
        for (; hits; hits &= hits - 1) at[count++] = (uint32_t)i + (uint32_t)__builtin_ctz(hits);
    }
    const tn_bar rest = {bar->p + i, bar->q + i, bar->r + i, bar->s + i, bar->a, bar->b, bar->c};
    const size_t more = tn_scalar_reaching(at + count, y + i, &rest, n - i);
    for (size_t l = count; l < count + more; l++) at[l] += (uint32_t)i;
    return count + more;
}

static float dot(const float *a, const float *b, size_t n) {
    float sum;
    matmul_f32(&sum, 1, a, n, b, n, 1, 1, n, NULL);
    return sum;
}

static void axpy(float *y, float a, const float *x, size_t n) {
    const __m256 va = _mm256_set1_ps(a);
    size_t i = 0;
    for (; i + STEP <= n; i += STEP)
        _mm256_storeu_ps(y + i,
                         _mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_mul_ps(va, _mm256_loadu_ps(x + i))));
    for (; i < n; i++) y[i] += a * x[i];
}

/* Stores past the caches want aligned registers; the fence makes them seen by other threads. */
static void put_away(float *to, const float *from, size_t n) {
    size_t i = 0;
    for (; i < n && (uintptr_t)(to + i) % sizeof(__m256) != 0; i++) to[i] = from[i];
    for (; i + STEP <= n; i += STEP) _mm256_stream_ps(to + i, _mm256_loadu_ps(from + i));
    for (; i < n; i++) to[i] = from[i];
    _mm_sfence();
}

static void add(float *y, const float *x, size_t n) {
    size_t i = 0;
    for (; i + STEP <= n; i += STEP)
        _mm256_storeu_ps(y + i, _mm256_add_ps(_mm256_loadu_ps(y + i), _mm256_loadu_ps(x + i)));
    for (; i < n; i++) y[i] += x[i];
}

static void rmsnorm(float *y, const float *x, const float *gain, size_t d, float eps) {
    const float scale = 1.0f / sqrtf(dot(x, x, d) / (float)d + eps);
    const __m256 vscale = _mm256_set1_ps(scale);
    size_t i = 0;
    for (; i + STEP <= d; i += STEP) {
        const __m256 unit = _mm256_mul_ps(_mm256_loadu_ps(x + i), vscale);
        _mm256_storeu_ps(y + i, _mm256_mul_ps(unit, _mm256_loadu_ps(gain + i)));
    }
    for (; i < d; i++) y[i] = x[i] * scale * gain[i];
}

static void rope(float *x, const float *c, const float *s, size_t half) {
    size_t i = 0;
    for (; i + STEP <= half; i += STEP) {
        const __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + half + i);
        const __m256 vc = _mm256_loadu_ps(c + i), vs = _mm256_loadu_ps(s + i);
        _mm256_storeu_ps(x + i, _mm256_sub_ps(_mm256_mul_ps(a, vc), _mm256_mul_ps(b, vs)));
        _mm256_storeu_ps(x + half + i, _mm256_add_ps(_mm256_mul_ps(b, vc), _mm256_mul_ps(a, vs)));
    }
    for (; i < half; i++) {
        const float a = x[i], b = x[i + half];
        x[i] = a * c[i] - b * s[i];
        x[i + half] = b * c[i] + a * s[i];
    }
}

/* 2^n for integers -126 <= n <= 127: the exponent field of a float, biased by 127. */
static inline __m256 power_of_two(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/* exp(x) = 2^n * e^r with n = round(x / ln 2) and r = x - n ln 2, so |r| <= ln(2)/2 = 0.347.
 * ln 2 is split in two floats so that r keeps all its bits. e^r is its Taylor polynomial of degree 7,
 * whose remainder r^8/8! is below 6e-9; with roundings the relative error stays below 1.5e-7.
 * Outside [-104, 89] exp is 0 or infinite in F32; the clamp keeps n small. min and max give their second
 * operand when one is NaN, so NaN goes through. */
static inline __m256 exp8(__m256 x) {
    x = _mm256_min_ps(_mm256_set1_ps(89.0f), x);
    x = _mm256_max_ps(_mm256_set1_ps(-104.0f), x);
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693147182f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-1.90465430e-9f), r);

    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));

    /* n reaches 128 and -150, beyond what one exponent holds: multiply by 2^(n/2) twice, where only the
     * second product can round. */
    const __m256i ni = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(ni, 1);
    p = _mm256_mul_ps(p, power_of_two(half));
    return _mm256_mul_ps(p, power_of_two(_mm256_sub_epi32(ni, half)));
}

/* x = exp(x - max) for 16 elements, added to the 16 lanes of sum. */
static inline void exp_step(float *x, __m256 max, __m256 sum[2]) {
    for (int half = 0; half < 2; half++) {
        const __m256 e = exp8(_mm256_sub_ps(_mm256_loadu_ps(x + half * STEP), max));
        _mm256_storeu_ps(x + half * STEP, e);
        sum[half] = _mm256_add_ps(sum[half], e);
    }
}

static void softmax(float *x, size_t n) {
    const size_t whole = n - n % TN_LANES;
    float rest[TN_LANES]; /* the last n % 16 elements; exp(-infinity) = 0 adds nothing */
    for (size_t l = 0; l < TN_LANES; l++) rest[l] = whole + l < n ? x[whole + l] : -INFINITY;

    __m256 maxes = _mm256_max_ps(_mm256_loadu_ps(rest), _mm256_loadu_ps(rest + STEP));
    for (size_t i = 0; i < whole; i += STEP) maxes = _mm256_max_ps(maxes, _mm256_loadu_ps(x + i));
    float lane[TN_LANES];
    _mm256_storeu_ps(lane, maxes);
    float max = lane[0];
    for (size_t l = 1; l < STEP; l++)
        if (lane[l] > max) max = lane[l];

    const __m256 vmax = _mm256_set1_ps(max);
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    for (size_t i = 0; i < whole; i += TN_LANES) exp_step(x + i, vmax, sum);
    if (whole < n) {
        exp_step(rest, vmax, sum);
        memcpy(x + whole, rest, (n - whole) * sizeof *x);
    }
    _mm256_storeu_ps(lane, sum[0]);
    _mm256_storeu_ps(lane + STEP, sum[1]);

    const float scale = 1.0f / tn_fold_lanes(lane);
    const __m256 vscale = _mm256_set1_ps(scale);
    for (size_t i = 0; i < whole; i += STEP)
        _mm256_storeu_ps(x + i, _mm256_mul_ps(_mm256_loadu_ps(x + i), vscale));
    for (size_t i = whole; i < n; i++) x[i] *= scale;
}

static inline void swiglu_step(float *y, const float *gate, const float *up) {
    const __m256 g = _mm256_loadu_ps(gate);
    const __m256 minus_g = _mm256_xor_ps(g, _mm256_set1_ps(-0.0f));
    const __m256 silu = _mm256_div_ps(g, _mm256_add_ps(_mm256_set1_ps(1.0f), exp8(minus_g)));
    _mm256_storeu_ps(y, _mm256_mul_ps(silu, _mm256_loadu_ps(up)));
}

static void swiglu(float *y, const float *gate, const float *up, size_t n) {
    size_t i = 0;
    for (; i + STEP <= n; i += STEP) swiglu_step(y + i, gate + i, up + i);
    if (i < n) {
        float g[STEP] = {0}, u[STEP] = {0};
        memcpy(g, gate + i, (n - i) * sizeof *g);
        memcpy(u, up + i, (n - i) * sizeof *u);
        swiglu_step(g, g, u);
        memcpy(y + i, g, (n - i) * sizeof *y);
    }
}

static void adam(float *p, const float *g, float *m, float *v, size_t n, const tn_adam *how) {
    const tn_adam h = *how;
    const float a1 = 1.0f - h.b1, a2 = 1.0f - h.b2;
    size_t i = 0;
    for (; i + STEP <= n; i += STEP) {
        const __m256 gi = _mm256_mul_ps(_mm256_set1_ps(h.scale), _mm256_loadu_ps(g + i));
        const __m256 mi = _mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(h.b1), _mm256_loadu_ps(m + i)),
                                        _mm256_mul_ps(_mm256_set1_ps(a1), gi));
        const __m256 vi = _mm256_add_ps(_mm256_mul_ps(_mm256_set1_ps(h.b2), _mm256_loadu_ps(v + i)),
                                        _mm256_mul_ps(_mm256_set1_ps(a2), _mm256_mul_ps(gi, gi)));
        const __m256 root =
            _mm256_add_ps(_mm256_sqrt_ps(_mm256_div_ps(vi, _mm256_set1_ps(h.c2))), _mm256_set1_ps(h.eps));
        const __m256 move =
            _mm256_div_ps(_mm256_mul_ps(_mm256_set1_ps(h.lr), _mm256_div_ps(mi, _mm256_set1_ps(h.c1))), root);
        _mm256_storeu_ps(m + i, mi);
        _mm256_storeu_ps(v + i, vi);
        _mm256_storeu_ps(p + i, _mm256_sub_ps(_mm256_loadu_ps(p + i), move));
    }
    for (; i < n; i++) {
        const float gi = h.scale * g[i];
        m[i] = h.b1 * m[i] + a1 * gi;
        v[i] = h.b2 * v[i] + a2 * (gi * gi);
        p[i] -= h.lr * (m[i] / h.c1) / (sqrtf(v[i] / h.c2) + h.eps);
    }
}

static void fma_rounds(float *sink, size_t rounds) {
    enum { HELD = 12, WIDTH = HELD * 8 }; /* more than is under way in two units of latency 4 and more */
    const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
    for (size_t first = 0; first < TN_FMA_LANES; first += WIDTH) {
        __m256 held[HELD];
        TN_UNROLL for (int i = 0; i < HELD; i++) held[i] = _mm256_set1_ps((float)(i + 2));
        for (size_t r = 0; r < rounds; r++)
            TN_UNROLL for (int i = 0; i < HELD; i++) held[i] = _mm256_fmadd_ps(held[i], a, b);
        TN_UNROLL for (int i = 0; i < HELD; i++) _mm256_storeu_ps(sink + first + (size_t)i * 8, held[i]);
    }
}

/* What the tiers of this file have in common: everything but the products of integers. */
/* clang-format off */
#define FLOATS \
    .matmul_f32 = matmul_f32, .tile_f32 = &tn_avx2_f32, .matmul_f16 = matmul_f16, .matmul_bf16 = matmul_bf16, .reaching = reaching, \
    .dot = dot, .axpy = axpy, .put_away = put_away, .add = add, .rmsnorm = rmsnorm, .rope = rope, .softmax = softmax, .swiglu = swiglu, .adam = adam, \
    .fma_rounds = fma_rounds
/* clang-format on */

const tn_kernels *tn_tier_avx2(void) {
    static const tn_kernels table = {.name = "avx2",
                                     FLOATS,
                                     .quantize = tn_avx2_quantize,
                                     .matmul_q8 = tn_avx2_matmul_q8,
                                     .matmul_q4 = tn_avx2_matmul_q4};
    return &table;
}

#if defined(TN_AVXVNNI)
const tn_kernels *tn_tier_avxvnni(void) {
    static const tn_kernels table = {.name = "avxvnni",
                                     FLOATS,
                                     .quantize = tn_avx2_quantize,
                                     .matmul_q8 = tn_avxvnni_matmul_q8,
                                     .matmul_q4 = tn_avxvnni_matmul_q4};
    return &table;
}
#endif

#else

const tn_kernels *tn_tier_avx2(void) {
    return NULL;
}

#endif

#if !defined(TN_AVXVNNI)
const tn_kernels *tn_tier_avxvnni(void) {
    return NULL;
}
#endif
