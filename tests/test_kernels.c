/* Every tier's vector kernels against the formula in double, at every length and alignment, and the
 * choice of a tier. */
#include "tests/test.h"
#include "tensor/kernels.h"
#include "tensor/rng.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const uint64_t SEED = 20240918;
static const float GUARD = -12345.5f;
static const uint64_t VECTOR_BITS = 0x8f56e66534e93f65; /* see vector_tiers_agree */

enum { MAX = 4865, ROOM = MAX + 8 };

/* Lengths: all from 0 to 70, then the widths of real models and what lies beside them. */
static const size_t WIDE[] = {576, 896, 897, 1536, 4864, MAX};
enum { N_LENGTHS = 71 + sizeof WIDE / sizeof *WIDE };
static size_t length(size_t i) {
    return i <= 70 ? i : WIDE[i - 71];
}

/* Fills [at, at + n) of a buffer with normal numbers and all else with GUARD; returns its start. */
static float *fill(float *buf, size_t at, size_t n, tn_rng *r) {
    for (size_t i = 0; i < ROOM; i++) buf[i] = i >= at && i < at + n ? tn_rng_normal(r) : GUARD;
    return buf + at;
}

static int guarded(const float *buf, size_t at, size_t n) {
    for (size_t i = 0; i < ROOM; i++)
        if ((i < at || i >= at + n) && buf[i] != GUARD) return 0;
    return 1;
}

/* |got - want| <= tol * |want|, or a hair where F32 has no more digits. */
static int near(float got, double want, double tol) {
    return fabs((double)got - want) <= tol * fabs(want) + 1e-44;
}

static void selection(void) {
    CHECK(tn_kernels_select("pentium") == NULL);
    CHECK(tn_kernels_select("avx5") == NULL);
    CHECK(tn_kernels_at(-1) == NULL);
    CHECK(tn_kernels_select(NULL) == tn_kernels_at(0));
    CHECK(tn_kernels_select("") == tn_kernels_at(0));
    int n = 0;
    for (const tn_kernels *t; (t = tn_kernels_at(n)) != NULL; n++) CHECK(tn_kernels_select(t->name) == t);
    CHECK(n >= 1);
    CHECK_STR(tn_kernels_at(n - 1)->name, "scalar");
    CHECK(tn_kernels_at(n + 1) == NULL);

    CHECK(tn_exec_make("scalar", 3).k == tn_kernels_select("scalar"));
    CHECK_INT(tn_exec_make("scalar", 3).threads, 3);
    CHECK(tn_exec_make(NULL, 0).threads >= 1);
    CHECK(tn_exec_make("pentium", 1).k == NULL);
}

/* axpy, add and rope: exactly the two roundings of plain C, in every tier. */
static void elementwise(void) {
    static float xs[ROOM], ys[ROOM], before[ROOM];
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        tn_rng r = tn_rng_seed(SEED);
        for (size_t l = 0; l < N_LENGTHS; l++) {
            const size_t n = length(l), at = l % 5;
            float *x = fill(xs, at, n, &r), *y = fill(ys, l % 3, n, &r);
            memcpy(before, y, n * sizeof *y);
            t->axpy(y, 0.3f, x, n);
            int ok = guarded(ys, l % 3, n);
            for (size_t j = 0; j < n; j++) {
                const float product = 0.3f * x[j];
                ok = ok && y[j] == before[j] + product;
            }
            CHECK(ok);

            memcpy(before, y, n * sizeof *y);
            t->add(y, x, n);
            ok = guarded(ys, l % 3, n);
            for (size_t j = 0; j < n; j++) ok = ok && y[j] == before[j] + x[j];
            CHECK(ok);
            t->add(x, x, n); /* y may equal x */
            CHECK(guarded(xs, at, n));
        }
    }
}

static void rope(void) {
    static float xs[ROOM], c[ROOM], s[ROOM], before[ROOM];
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        tn_rng r = tn_rng_seed(SEED + 1);
        for (size_t half = 0; half <= 70; half++) {
            float *x = fill(xs, half % 3, 2 * half, &r);
            for (size_t j = 0; j < half; j++) {
                const double angle = 1000.0 * (double)tn_rng_uniform(&r);
                c[j] = (float)cos(angle);
                s[j] = (float)sin(angle);
            }
            memcpy(before, x, 2 * half * sizeof *x);
            t->rope(x, c, s, half);
            int ok = guarded(xs, half % 3, 2 * half);
            for (size_t j = 0; j < half; j++) {
                const double a = (double)before[j], b = (double)before[j + half];
                const double tol = 2 * (double)FLT_EPSILON * (fabs(a) + fabs(b));
                ok = ok && fabs((double)x[j] - (a * (double)c[j] - b * (double)s[j])) <= tol;
                ok = ok && fabs((double)x[j + half] - (b * (double)c[j] + a * (double)s[j])) <= tol;
            }
            CHECK(ok);
        }
    }
}

static void rmsnorm(void) {
    static float xs[ROOM], ys[ROOM], gains[ROOM];
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        tn_rng r = tn_rng_seed(SEED + 2);
        for (size_t l = 1; l < N_LENGTHS; l++) {
            const size_t n = length(l), at = l % 4;
            float *x = fill(xs, at, n, &r), *gain = fill(gains, 1, n, &r), *y = fill(ys, 2, n, &r);
            double squares = 0;
            for (size_t j = 0; j < n; j++) squares += (double)x[j] * (double)x[j];
            const double scale = 1 / sqrt(squares / (double)n + 1e-6);
            t->rmsnorm(y, x, gain, n, 1e-6f);
            int ok = guarded(ys, 2, n);
            for (size_t j = 0; j < n; j++)
                ok = ok && near(y[j], (double)x[j] * scale * (double)gain[j], 1e-6);
            CHECK(ok);
            t->rmsnorm(x, x, gain, n, 1e-6f); /* in place: the same bits */
            CHECK(memcmp(x, y, n * sizeof *x) == 0 && guarded(xs, at, n));
        }
    }
}

static void softmax(void) {
    static float xs[ROOM];
    static double want[ROOM];
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        tn_rng r = tn_rng_seed(SEED + 3);
        for (size_t l = 1; l < N_LENGTHS; l++) {
            const size_t n = length(l), at = l % 4;
            float *x = fill(xs, at, n, &r);
            double max = -INFINITY, sum = 0, total = 0;
            for (size_t j = 0; j < n; j++) {
                x[j] *= 20.0f;
                if (l % 3 == 0) x[j] += l % 2 ? 1e4f : -1e4f; /* exp alone would overflow, or be 0 */
                if (l % 3 == 1 && j % 7 == 1) x[j] = -INFINITY;
                if ((double)x[j] > max) max = (double)x[j];
            }
            for (size_t j = 0; j < n; j++) sum += want[j] = exp((double)x[j] - max);
            t->softmax(x, n);
            int ok = guarded(xs, at, n);
            for (size_t j = 0; j < n; j++) {
                /* x - max is exact to eps/2 of up to 200, which exp turns into relative error */
                const double tol = 1e-6 + 200 * (double)FLT_EPSILON / 2;
                ok = ok && fabs((double)x[j] - want[j] / sum) <= tol * want[j] / sum + 1e-40;
                total += (double)x[j];
            }
            CHECK(ok);
            CHECK_NEAR(total, 1, 1e-6);
        }
        float bad[20] = {0};
        bad[17] = NAN;
        t->softmax(bad, 20);
        for (int j = 0; j < 20; j++) CHECK(isnan(bad[j])); /* not silently dropped */
    }
}

/* swiglu with up = 1 shows exp over its whole range: x / (1 + exp(-x)). */
static void swiglu(void) {
    static float gates[ROOM], ups[ROOM], ys[ROOM];
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        tn_rng r = tn_rng_seed(SEED + 4);
        for (size_t l = 0; l < N_LENGTHS; l++) {
            const size_t n = length(l), at = l % 4;
            float *gate = fill(gates, at, n, &r), *up = fill(ups, 1, n, &r), *y = fill(ys, 3, n, &r);
            for (size_t j = 0; j < n; j++) gate[j] *= l % 2 ? 40.0f : 1.0f;
            t->swiglu(y, gate, up, n);
            int ok = guarded(ys, 3, n);
            for (size_t j = 0; j < n; j++) {
                const double g = (double)gate[j], want = g / (1 + exp(-g)) * (double)up[j];
                /* beyond F32's largest exp(88.7) the quotient is 0, where the formula has 1e-37 and less */
                ok = ok && (near(y[j], want, 5e-7) || (g < -88 && fabs((double)y[j]) < 1e-35));
            }
            CHECK(ok);
            t->swiglu(gate, gate, up, n); /* y may equal gate … */
            CHECK(memcmp(gate, y, n * sizeof *y) == 0 && guarded(gates, at, n));
        }
        float g[5] = {NAN, INFINITY, -1000.0f, 1000.0f, 0.0f}, u[5] = {1, 1, 1, 1, 1};
        t->swiglu(u, g, u, 5); /* … or up */
        CHECK(isnan(u[0]));
        CHECK(u[1] == INFINITY);
        CHECK(u[2] == 0.0f);
        CHECK(u[3] == 1000.0f);
        CHECK(u[4] == 0.0f);
    }
}

/* exp itself, through softmax of {0, x}: its second element over its first is exp(x). */
static void exponential(void) {
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        double worst = 0;
        for (int step = 0; step < 200000; step++) {
            const float x = -87.0f * (float)step / 200000;
            float pair[2] = {0.0f, x};
            t->softmax(pair, 2);
            const double e = exp((double)x), error = fabs((double)pair[1] - e / (1 + e)) / (e / (1 + e));
            if ((double)pair[1] > (double)FLT_MIN && error > worst) worst = error;
        }
        /* exp 1.5e-7 and the roundings of 1 + e, 1 / sum and the product */
        CHECK_NEAR(worst, 0, 3.5e-7);
        float deep[2] = {0.0f, -100.0f};
        t->softmax(deep, 2);
        CHECK_NEAR(deep[1], exp(-100.0), 2.9e-45); /* a denormal: within two steps of 1.4e-45 */
    }
}

/* Five steps against the formula in double, and against the scalar tier's bits. */
static void adam(void) {
    static float p[ROOM], g[ROOM], m[ROOM], v[ROOM], p0[ROOM], m0[ROOM], v0[ROOM];
    static double dp[ROOM], dm[ROOM], dv[ROOM];
    tn_adam how = {.lr = 1e-2f, .b1 = 0.9f, .b2 = 0.999f, .eps = 1e-8f};
    const double lr = (double)how.lr, b1 = (double)how.b1, b2 = (double)how.b2, eps = (double)how.eps;
    const tn_kernels *t, *scalar = tn_kernels_select("scalar");
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++)
        for (size_t l = 0; l < N_LENGTHS; l++) {
            tn_rng r = tn_rng_seed(SEED + 5 + l);
            const size_t n = length(l), at = l % 5;
            fill(p, at, n, &r);
            fill(m, at, 0, &r);
            fill(v, at, 0, &r);
            for (size_t j = at; j < at + n; j++) {
                m[j] = v[j] = 0.0f;
                dp[j] = (double)p[j];
                dm[j] = dv[j] = 0;
            }
            memcpy(p0, p, sizeof p);
            memcpy(m0, m, sizeof m);
            memcpy(v0, v, sizeof v);
            for (int step = 1; step <= 5; step++) {
                const double c1 = 1 - pow(b1, step), c2 = 1 - pow(b2, step);
                how.c1 = (float)c1;
                how.c2 = (float)c2;
                how.scale = 1.0f / (float)step;
                fill(g, at, n, &r);
                t->adam(p + at, g + at, m + at, v + at, n, &how);
                scalar->adam(p0 + at, g + at, m0 + at, v0 + at, n, &how);
                for (size_t j = at; j < at + n; j++) {
                    const double gj = (double)how.scale * (double)g[j];
                    dm[j] = b1 * dm[j] + (1 - b1) * gj;
                    dv[j] = b2 * dv[j] + (1 - b2) * gj * gj;
                    dp[j] -= lr * (dm[j] / c1) / (sqrt(dv[j] / c2) + eps);
                }
            }
            int ok = guarded(p, at, n) && guarded(m, at, n) && guarded(v, at, n);
            for (size_t j = at; j < at + n; j++) ok = ok && fabs((double)p[j] - dp[j]) <= 1e-6;
            CHECK(ok);
            CHECK(memcmp(p, p0, sizeof p) == 0 && memcmp(m, m0, sizeof m) == 0 &&
                  memcmp(v, v0, sizeof v) == 0);
        }
}

/* FNV-1a over the bits of n floats. */
static uint64_t fingerprint(uint64_t hash, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        for (int b = 0; b < 32; b += 8) hash = (hash ^ (bits >> b & 0xff)) * 1099511628211u;
    }
    return hash;
}

/* All tiers but scalar make the same bits, exp included, on x86 and on ARM: the number below is that of both.
 */
static void vector_tiers_agree(void) {
    static float x[ROOM], y[ROOM], ones[ROOM];
    for (size_t j = 0; j < ROOM; j++) ones[j] = 1.0f;
    uint64_t norms = 0; /* of the first tier; they hang on the order of a dot product as well */
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        if (strcmp(t->name, "scalar") == 0) continue;
        tn_rng r = tn_rng_seed(SEED + 6);
        uint64_t hash = 14695981039346656037u, norm = hash;
        for (size_t l = 1; l < N_LENGTHS; l++) {
            const size_t n = length(l);
            for (size_t j = 0; j < n; j++) x[j] = 128.0f * tn_rng_uniform(&r);
            t->softmax(x, n);
            hash = fingerprint(hash, x, n);
            for (size_t j = 0; j < n; j++) x[j] = 256.0f * (tn_rng_uniform(&r) - 0.5f);
            t->swiglu(y, x, ones, n);
            hash = fingerprint(hash, y, n);
            t->rmsnorm(y, x, ones, n, 1e-5f);
            norm = fingerprint(norm, y, n);
        }
        if (norms == 0) norms = norm;
        CHECK(norm == norms);
        if (!CHECK(hash == VECTOR_BITS)) printf("%s: 0x%016llx\n", t->name, (unsigned long long)hash);
    }
}

/* Several products or additions at once have the bits of one after the other, for any count and length. */
static void several(void) {
    enum { COUNT = 19, N = 300 };
    static float rows[COUNT][N], others[COUNT][N];
    const float *x[COUNT], *w[COUNT];
    float z[COUNT + 1], a[COUNT], y[N + 1], want[N];
    const tn_kernels *t;
    tn_rng r = tn_rng_seed(SEED + 9);
    for (int c = 0; c < COUNT; c++) {
        for (int i = 0; i < N; i++) {
            rows[c][i] = tn_rng_normal(&r);
            others[c][i] = tn_rng_normal(&r);
        }
        x[c] = rows[c % 3];
        w[c] = others[c];
        a[c] = tn_rng_normal(&r);
    }
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++)
        for (size_t count = 0; count <= COUNT; count++)
            for (size_t n = 1; n <= N; n += n < 40 ? 1 : 65) {
                z[count] = y[n] = GUARD;
                tn_dots(t, z, x, w, count, n);
                for (size_t c = 0; c < count; c++) CHECK(z[c] == t->dot(x[c], w[c], n));
                memcpy(y, rows[0], n * sizeof *y);
                memcpy(want, rows[0], n * sizeof *y);
                tn_axpys(t, y, a, w, count, n);
                for (size_t c = 0; c < count; c++) t->axpy(want, a[c], w[c], n);
                CHECK(memcmp(y, want, n * sizeof *y) == 0);
                memcpy(y, rows[0], n * sizeof *y);
                tn_dots_axpys(t, z, y, a, w, x[0], count, n);
                for (size_t c = 0; c < count; c++) CHECK(z[c] == t->dot(w[c], x[0], n));
                CHECK(memcmp(y, want, n * sizeof *y) == 0);
                CHECK(z[count] == GUARD && y[n] == GUARD);
            }
}

/* A copy past the caches is one, wherever it begins and ends. */
static void put_away(void) {
    static float from[ROOM], to[ROOM];
    const tn_kernels *t;
    tn_rng r = tn_rng_seed(SEED + 10);
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++)
        for (size_t at = 0; at < 8; at++)
            for (size_t l = 0; l < N_LENGTHS; l++) {
                const size_t n = length(l);
                fill(from, at % 3, n, &r);
                fill(to, at, n, &r);
                tn_put_away(t, to + at, from + at % 3, n);
                CHECK(memcmp(to + at, from + at % 3, n * sizeof *to) == 0 && guarded(to, at, n));
            }
}

void test_kernels(void) {
    RUN(selection);
    RUN(elementwise);
    RUN(several);
    RUN(put_away);
    RUN(rope);
    RUN(rmsnorm);
    RUN(softmax);
    RUN(swiglu);
    RUN(exponential);
    RUN(adam);
    RUN(vector_tiers_agree);
}
