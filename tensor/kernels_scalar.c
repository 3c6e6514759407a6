/* The "scalar" tier: every kernel in plain C. It is what the tests believe and all that a port needs; the
 * other tiers do the same sums with intrinsics. The sixteen lanes of a dot product (kernels_tier.h) are
 * an array here, so a compiler may put them in whatever vectors its target has, without -ffast-math.
 */
#include "tensor/kernels_tier.h"

#include <math.h>
#include <string.h>

enum { ROWS = 8 };

/* count <= 16 weights of `type` at any address as F32. */
static inline void widen(float *dst, const unsigned char *src, tn_dtype type, size_t count) {
    if (type == TN_F32) {
        memcpy(dst, src, count * sizeof *dst);
        return;
    }
    uint16_t half[TN_LANES];
    uint32_t bits[TN_LANES];
    memcpy(half, src, count * sizeof *half);
    if (type == TN_F16) {
        for (size_t i = 0; i < count; i++) dst[i] = tn_f16_to_f32(half[i]);
        return;
    }
    /* tn_bf16_to_f32 written out, so that it becomes vector code: a BF16 is the upper half of its F32 */
    for (size_t i = 0; i < count; i++) bits[i] = (uint32_t)half[i] << 16;
    memcpy(dst, bits, count * sizeof *dst);
}

/* One step along k: lane[i][l] += x[i, l] * w[l] for l < count, the weights widened once for all rows. */
static inline void step(float lane[ROWS][TN_LANES], const float *x, size_t ldx, const unsigned char *w,
                        tn_dtype type, size_t rows, size_t count) {
    float wide[TN_LANES];
    widen(wide, w, type, count);
    for (size_t i = 0; i < rows; i++) {
        const float *xi = x + i * ldx;
        for (size_t l = 0; l < count; l++) lane[i][l] += xi[l] * wide[l];
    }
}

/* One column of a tile: y[i] = sum_k x[i, k] * w[k]. */
static void column(float *y, size_t ldy, const float *x, size_t ldx, const unsigned char *w, tn_dtype type,
                   size_t rows, size_t k) {
    const size_t w_size = tn_dtype_size(type);
    float lane[ROWS][TN_LANES] = {{0}};
    size_t t = 0;
    for (; t + TN_LANES <= k; t += TN_LANES) step(lane, x + t, ldx, w + t * w_size, type, rows, TN_LANES);
    step(lane, x + t, ldx, w + t * w_size, type, rows, k - t);
    for (size_t i = 0; i < rows; i++) y[i * ldy] = tn_fold_lanes(lane[i]);
}

static void tile(tn_dtype type, float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw,
                 size_t rows, size_t cols, size_t k) {
    const unsigned char *row = w;
    for (size_t j = 0; j < cols; j++, row += ldw * tn_dtype_size(type))
        column(y + j, ldy, x, ldx, row, type, rows, k);
}

static void tile_f32(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t rows,
                     size_t cols, size_t k) {
    tile(TN_F32, y, ldy, x, ldx, w, ldw, rows, cols, k);
}

static void tile_f16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t rows,
                     size_t cols, size_t k) {
    tile(TN_F16, y, ldy, x, ldx, w, ldw, rows, cols, k);
}

static void tile_bf16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw,
                      size_t rows, size_t cols, size_t k) {
    tile(TN_BF16, y, ldy, x, ldx, w, ldw, rows, cols, k);
}

static const tn_tile scalar_f32 = {tile_f32, ROWS, sizeof(float), NULL, NULL, 0, 0};
static const tn_tile scalar_f16 = {tile_f16, ROWS, sizeof(uint16_t), NULL, NULL, 0, 0};
static const tn_tile scalar_bf16 = {tile_bf16, ROWS, sizeof(uint16_t), NULL, NULL, 0, 0};

static void matmul_f32(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                       size_t m, size_t k, float *room) {
    tn_matmul_tiled(&scalar_f32, y, ldy, x, ldx, w, ldw, n, m, k, room);
}

static void matmul_f16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                       size_t m, size_t k, float *room) {
    tn_matmul_tiled(&scalar_f16, y, ldy, x, ldx, w, ldw, n, m, k, room);
}

static void matmul_bf16(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                        size_t m, size_t k, float *room) {
    tn_matmul_tiled(&scalar_bf16, y, ldy, x, ldx, w, ldw, n, m, k, room);
}

/* Most often nobody of sixteen reaches the bar; a compiler may look at them in vectors. */
size_t tn_scalar_reaching(uint32_t *at, const float *y, const tn_bar *bar, size_t n) {
    size_t count = 0;
    for (size_t i0 = 0; i0 < n; i0 += TN_LANES) {
        const size_t end = n - i0 < TN_LANES ? n : i0 + TN_LANES;
        int any = 0;
        for (size_t i = i0; i < end; i++)
            any |= !(y[i] + (bar->a * bar->p[i] + bar->b * bar->q[i]) < bar->c * bar->r[i] + bar->s[i]);
        for (size_t i = i0; any && i < end; i++)
            if (!(y[i] + (bar->a * bar->p[i] + bar->b * bar->q[i]) < bar->c * bar->r[i] + bar->s[i]))
                at[count++] = (uint32_t)i;
    }
    return count;
}

static float dot(const float *a, const float *b, size_t n) {
    float sum;
    matmul_f32(&sum, 1, a, n, b, n, 1, 1, n, NULL);
    return sum;
}

static void axpy(float *y, float a, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

static void add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

static void rmsnorm(float *y, const float *x, const float *gain, size_t d, float eps) {
    const float scale = 1.0f / sqrtf(dot(x, x, d) / (float)d + eps);
    for (size_t i = 0; i < d; i++) y[i] = x[i] * scale * gain[i];
}

static void rope(float *x, const float *c, const float *s, size_t half) {
    for (size_t i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half];
        x[i] = a * c[i] - b * s[i];
        x[i + half] = b * c[i] + a * s[i];
    }
}

static void softmax(float *x, size_t n) {
    float max = x[0];
    for (size_t i = 1; i < n; i++)
        if (x[i] > max) max = x[i];

    float lane[TN_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - max); /* at most 1: no overflow, and the sum is at least 1 */
        lane[i % TN_LANES] += x[i];
    }

    const float scale = 1.0f / tn_fold_lanes(lane);
    for (size_t i = 0; i < n; i++) x[i] *= scale;
}

static void swiglu(float *y, const float *gate, const float *up, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

static void adam(float *p, const float *g, float *m, float *v, size_t n, const tn_adam *how) {
    const tn_adam h = *how;
    for (size_t i = 0; i < n; i++) {
        const float gi = h.scale * g[i];
        m[i] = h.b1 * m[i] + (1.0f - h.b1) * gi;
        v[i] = h.b2 * v[i] + (1.0f - h.b2) * (gi * gi);
        p[i] -= h.lr * (m[i] / h.c1) / (sqrtf(v[i] / h.c2) + h.eps);
    }
}

/* As everywhere in this tier a multiplication and an addition, each rounded: no tier may be asked for more
 * than it uses. */
static void fma_rounds(float *sink, size_t rounds) {
    enum { HELD = 12 }; /* as many as fit into the registers of any processor beside a and b */
    const float a = 0.999f, b = 0.001f;
    for (size_t first = 0; first < TN_FMA_LANES; first += HELD) {
        float held[HELD];
        for (int i = 0; i < HELD; i++) held[i] = (float)(i + 2);
        for (size_t r = 0; r < rounds; r++)
            TN_UNROLL for (int i = 0; i < HELD; i++) held[i] = held[i] * a + b;
        for (int i = 0; i < HELD; i++) sink[first + (size_t)i] = held[i];
    }
}

const tn_kernels *tn_tier_scalar(void) {
    static const tn_kernels table = {.name = "scalar",
                                     .matmul_f32 = matmul_f32,
                                     .matmul_f16 = matmul_f16,
                                     .matmul_bf16 = matmul_bf16,
                                     .quantize = tn_scalar_quantize,
                                     .matmul_q8 = tn_scalar_matmul_q8,
                                     .matmul_q4 = tn_scalar_matmul_q4,
                                     .reaching = tn_scalar_reaching,
                                     .dot = dot,
                                     .axpy = axpy,
                                     .add = add,
                                     .rmsnorm = rmsnorm,
                                     .rope = rope,
                                     .softmax = softmax,
                                     .swiglu = swiglu,
                                     .adam = adam,
                                     .fma_rounds = fma_rounds};
    return &table;
}
