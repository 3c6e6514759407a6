/* The vector kernels that the NEON tiers share. Matrix products are in kernels_neon_matmul.c and the
 * kernels_neon*.c of each tier.
 *
 * Loops take 4 floats at a time. What is left over is done one by one where that gives the same bits, and
 * otherwise copied to a padded buffer that goes through the same steps. Where scalar code does a
 * multiplication and an addition this file does the same two (no FMA), so axpy, add, rope and adam give the
 * scalar tier's bits. Sums and exp use FMA and have the bits of the x86 vector tiers.
 */
#include "tensor/kernels_neon.h"

#if TN_HAS_NEON
#include <arm_neon.h>
#include <math.h>
#include <string.h>

enum { STEP = 4 };

void tn_neon_matmul_f32(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                        size_t m, size_t k, float *room) {
    tn_matmul_tiled(&tn_neon_f32, y, ldy, x, ldx, w, ldw, n, m, k, room);
}

void tn_neon_matmul_f16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                        size_t m, size_t k, float *room) {
    tn_matmul_tiled(&tn_neon_f16, y, ldy, x, ldx, w, ldw, n, m, k, room);
}

void tn_neon_matmul_bf16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw,
                         size_t n, size_t m, size_t k, float *room) {
    tn_matmul_tiled(&tn_neon_bf16, y, ldy, x, ldx, w, ldw, n, m, k, room);
}

float tn_neon_dot(const float *a, const float *b, size_t n) {
    float sum;
    tn_neon_matmul_f32(&sum, 1, a, n, b, n, 1, 1, n, NULL);
    return sum;
}

void tn_neon_axpy(float *y, float a, const float *x, size_t n) {
    size_t i = 0;
    for (; i + STEP <= n; i += STEP)
        vst1q_f32(y + i, vaddq_f32(vld1q_f32(y + i), vmulq_n_f32(vld1q_f32(x + i), a)));
    for (; i < n; i++) y[i] += a * x[i];
}

void tn_neon_add(float *y, const float *x, size_t n) {
    size_t i = 0;
    for (; i + STEP <= n; i += STEP) vst1q_f32(y + i, vaddq_f32(vld1q_f32(y + i), vld1q_f32(x + i)));
    for (; i < n; i++) y[i] += x[i];
}

void tn_neon_rmsnorm(float *y, const float *x, const float *gain, size_t d, float eps) {
    const float scale = 1.0f / sqrtf(tn_neon_dot(x, x, d) / (float)d + eps);
    size_t i = 0;
    for (; i + STEP <= d; i += STEP)
        vst1q_f32(y + i, vmulq_f32(vmulq_n_f32(vld1q_f32(x + i), scale), vld1q_f32(gain + i)));
    for (; i < d; i++) y[i] = x[i] * scale * gain[i];
}

void tn_neon_rope(float *x, const float *c, const float *s, size_t half) {
    size_t i = 0;
    for (; i + STEP <= half; i += STEP) {
        const float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + half + i);
        const float32x4_t vc = vld1q_f32(c + i), vs = vld1q_f32(s + i);
        vst1q_f32(x + i, vsubq_f32(vmulq_f32(a, vc), vmulq_f32(b, vs)));
        vst1q_f32(x + half + i, vaddq_f32(vmulq_f32(b, vc), vmulq_f32(a, vs)));
    }
    for (; i < half; i++) {
        const float a = x[i], b = x[i + half];
        x[i] = a * c[i] - b * s[i];
        x[i + half] = b * c[i] + a * s[i];
    }
}

/* 2^n for integers -126 <= n <= 127: the exponent field of a float, biased by 127. */
static inline float32x4_t power_of_two(int32x4_t n) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}

/* exp(x) = 2^n * e^r with n = round(x / ln 2) and r = x - n ln 2, so |r| <= ln(2)/2 = 0.347.
 * ln 2 is split in two floats so that r keeps all its bits. e^r is its Taylor polynomial of degree 7,
 * whose remainder r^8/8! is below 6e-9; with roundings the relative error stays below 1.5e-7.
 * Outside [-104, 89] exp is 0 or infinite in F32; the clamp keeps n small and lets NaN through. */
static inline float32x4_t exp4(float32x4_t x) {
    x = vminq_f32(vdupq_n_f32(89.0f), x);
    x = vmaxq_f32(vdupq_n_f32(-104.0f), x);
    const float32x4_t n = vrndnq_f32(vmulq_n_f32(x, 1.44269504f));
    float32x4_t r = vfmsq_f32(x, n, vdupq_n_f32(0.693147182f));
    r = vfmsq_f32(r, n, vdupq_n_f32(-1.90465430e-9f));

    float32x4_t p = vdupq_n_f32(1.0f / 5040);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 720), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 120), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 24), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 6), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f / 2), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f), p, r);
    p = vfmaq_f32(vdupq_n_f32(1.0f), p, r);

    /* n reaches 128 and -150, beyond what one exponent holds: multiply by 2^(n/2) twice, where only the
     * second product can round. */
    const int32x4_t ni = vcvtq_s32_f32(n), half = vshrq_n_s32(ni, 1);
    p = vmulq_f32(p, power_of_two(half));
    return vmulq_f32(p, power_of_two(vsubq_s32(ni, half)));
}

/* x = exp(x - max) for 16 elements, added to the 16 lanes of sum. */
static inline void exp_step(float *x, float32x4_t max, float32x4_t sum[4]) {
    for (int quarter = 0; quarter < 4; quarter++) {
        const float32x4_t e = exp4(vsubq_f32(vld1q_f32(x + quarter * STEP), max));
        vst1q_f32(x + quarter * STEP, e);
        sum[quarter] = vaddq_f32(sum[quarter], e);
    }
}

void tn_neon_softmax(float *x, size_t n) {
    const size_t whole = n - n % TN_LANES;
    float rest[TN_LANES]; /* the last n % 16 elements; exp(-infinity) = 0 adds nothing */
    for (size_t l = 0; l < TN_LANES; l++) rest[l] = whole + l < n ? x[whole + l] : -INFINITY;

    float32x4_t maxes = vld1q_f32(rest);
    for (size_t l = STEP; l < TN_LANES; l += STEP) maxes = vmaxq_f32(maxes, vld1q_f32(rest + l));
    for (size_t i = 0; i < whole; i += STEP) maxes = vmaxq_f32(maxes, vld1q_f32(x + i));
    const float32x4_t max = vdupq_n_f32(vmaxvq_f32(maxes));

    float32x4_t sum[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
    for (size_t i = 0; i < whole; i += TN_LANES) exp_step(x + i, max, sum);
    if (whole < n) {
        exp_step(rest, max, sum);
        memcpy(x + whole, rest, (n - whole) * sizeof *x);
    }
    float lane[TN_LANES];
    for (int quarter = 0; quarter < 4; quarter++) vst1q_f32(lane + quarter * STEP, sum[quarter]);

    const float scale = 1.0f / tn_fold_lanes(lane);
    for (size_t i = 0; i < whole; i += STEP) vst1q_f32(x + i, vmulq_n_f32(vld1q_f32(x + i), scale));
    for (size_t i = whole; i < n; i++) x[i] *= scale;
}

static inline void swiglu_step(float *y, const float *gate, const float *up) {
    const float32x4_t g = vld1q_f32(gate);
    const float32x4_t silu = vdivq_f32(g, vaddq_f32(vdupq_n_f32(1.0f), exp4(vnegq_f32(g))));
    vst1q_f32(y, vmulq_f32(silu, vld1q_f32(up)));
}

void tn_neon_swiglu(float *y, const float *gate, const float *up, size_t n) {
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

void tn_neon_adam(float *p, const float *g, float *m, float *v, size_t n, const tn_adam *how) {
    const tn_adam h = *how;
    const float a1 = 1.0f - h.b1, a2 = 1.0f - h.b2;
    size_t i = 0;
    for (; i + STEP <= n; i += STEP) {
        const float32x4_t gi = vmulq_n_f32(vld1q_f32(g + i), h.scale);
        const float32x4_t mi = vaddq_f32(vmulq_n_f32(vld1q_f32(m + i), h.b1), vmulq_n_f32(gi, a1));
        const float32x4_t vi =
            vaddq_f32(vmulq_n_f32(vld1q_f32(v + i), h.b2), vmulq_n_f32(vmulq_f32(gi, gi), a2));
        const float32x4_t root = vaddq_f32(vsqrtq_f32(vdivq_f32(vi, vdupq_n_f32(h.c2))), vdupq_n_f32(h.eps));
        const float32x4_t move = vdivq_f32(vmulq_n_f32(vdivq_f32(mi, vdupq_n_f32(h.c1)), h.lr), root);
        vst1q_f32(m + i, mi);
        vst1q_f32(v + i, vi);
        vst1q_f32(p + i, vsubq_f32(vld1q_f32(p + i), move));
    }
    for (; i < n; i++) {
        const float gi = h.scale * g[i];
        m[i] = h.b1 * m[i] + a1 * gi;
        v[i] = h.b2 * v[i] + a2 * (gi * gi);
        p[i] -= h.lr * (m[i] / h.c1) / (sqrtf(v[i] / h.c2) + h.eps);
    }
}

void tn_neon_fma_rounds(float *sink, size_t rounds) {
    enum { HELD = 24, WIDTH = HELD * 4 }; /* more than can be under way in four units of latency 4 */
    const float32x4_t a = vdupq_n_f32(0.03f), b = vdupq_n_f32(0.03f);
    for (size_t first = 0; first < TN_FMA_LANES; first += WIDTH) {
        float32x4_t held[HELD];
        TN_UNROLL for (int i = 0; i < HELD; i++) held[i] = vdupq_n_f32((float)(i + 2));
        for (size_t r = 0; r < rounds; r++)
            TN_UNROLL for (int i = 0; i < HELD; i++) held[i] = vfmaq_f32(held[i], a, b);
        TN_UNROLL for (int i = 0; i < HELD; i++) vst1q_f32(sink + first + (size_t)i * 4, held[i]);
    }
}

#endif
