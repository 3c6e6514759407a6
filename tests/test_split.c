/* Products with BF16 weights and activations in three parts (matmul_split): against a naive sum in double, at
 * every edge; then the promise that an output has the same bits whatever else is computed with it. Where no
 * tier has such products there is nothing to check. */
#include "tests/test.h"
#include "tensor/kernels.h"
#include "tensor/rng.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t SEED = 20261127;
static const float GUARD = -12345.5f;
/* Where sums are parked; the guard behind shows whether they keep within. */
static _Alignas(64) float room[TN_MATMUL_ROOM + 1];

/* One product with room around it: rows are longer than what is used, w starts one byte off. */
typedef struct {
    size_t n, m, k, ldx, ldw, ldy;
    float *x;         /* [n, ldx], the last row only k long; NaN between the rows */
    unsigned char *w; /* [m, ldw] BF16, the last row only k long; NaN between the rows */
    unsigned char *w_block;
    float *y; /* [n + 1, ldy], GUARD where nothing may be written */
} problem;

static void set_weight(problem *p, size_t at, float v) {
    tn_store_u16(p->w + 2 * at, tn_f32_to_bf16(v));
}
static double weight(const problem *p, size_t at) {
    return (double)tn_bf16_to_f32(tn_load_u16(p->w + 2 * at));
}

static problem problem_make(tn_rng *r, size_t n, size_t m, size_t k, size_t gap) {
    problem p = {n, m, k, k + gap, k + gap, m + gap, NULL, NULL, NULL, NULL};
    const size_t xs = (n - 1) * p.ldx + k, ws = (m - 1) * p.ldw + k;
    p.x = malloc(xs * sizeof *p.x);
    p.w_block = malloc(ws * 2 + 1); /* ends where w ends: a sanitizer sees more */
    p.y = malloc((n + 1) * p.ldy * sizeof *p.y);
    p.w = p.w_block + 1;
    for (size_t i = 0; i < xs; i++) p.x[i] = i % p.ldx < k ? tn_rng_normal(r) : NAN;
    for (size_t i = 0; i < ws; i++) set_weight(&p, i, i % p.ldw < k ? tn_rng_normal(r) : NAN);
    for (size_t i = 0; i < (n + 1) * p.ldy; i++) p.y[i] = GUARD;
    return p;
}

static void problem_free(problem *p) {
    free(p->x);
    free(p->w_block);
    free(p->y);
}

/* Splits n rows of x from row i and multiplies them with m rows of w into y. */
static void multiply(const tn_kernels *t, const problem *p, float *y, size_t i, size_t n, size_t m,
                     float *work) {
    const size_t groups = (n + TN_SPLIT_GROUP - 1) / TN_SPLIT_GROUP;
    const size_t steps = (p->k + TN_SPLIT_COLS - 1) / TN_SPLIT_COLS;
    const tn_split s = {malloc(groups * steps * TN_SPLIT_PARTS * TN_SPLIT_GROUP * TN_SPLIT_COLS * 2), n,
                        p->k};
    for (size_t g = 0; g < groups; g++) t->split(&s, p->x + i * p->ldx, p->ldx, g);
    t->matmul_split(y, p->ldy, &s, p->w, p->ldw, m, work);
    free(s.tiles);
}

/* |y - exact| <= 4 eps sum |x w|, nothing else written. Results below FLT_MIN count as zero. */
static int problem_holds(const tn_kernels *t, problem *p, float *work) {
    room[TN_MATMUL_ROOM] = GUARD;
    multiply(t, p, p->y, 0, p->n, p->m, work);
    if (room[TN_MATMUL_ROOM] != GUARD) return 0;
    for (size_t i = 0; i < (p->n + 1) * p->ldy; i++) {
        const size_t row = i / p->ldy, j = i % p->ldy;
        if (row >= p->n || j >= p->m) {
            if (p->y[i] == GUARD) continue;
            printf("%s: wrote outside of y at [%zu, %zu]\n", t->name, row, j);
            return 0;
        }
        double sum = 0, size = 0, tiny = 0;
        for (size_t k = 0; k < p->k; k++) {
            const double product = (double)p->x[row * p->ldx + k] * weight(p, j * p->ldw + k);
            sum += product;
            size += fabs(product);
            tiny += (double)FLT_MIN * (1 + fabs(weight(p, j * p->ldw + k)));
        }
        const double bound = 4 * (double)FLT_EPSILON * size + TN_SPLIT_PARTS * tiny;
        if (isfinite(sum) ? fabs((double)p->y[i] - sum) <= bound
            : isnan(sum)  ? isnan(p->y[i])
                          : (double)p->y[i] == sum)
            continue;
        printf("%s n=%zu m=%zu k=%zu: y[%zu, %zu] = %g, expected %g\n", t->name, p->n, p->m, p->k, row, j,
               (double)p->y[i], sum);
        return 0;
    }
    return 1;
}

/* Calls `check` for each tier that has the products. */
static void for_tiers(void (*check)(const tn_kernels *t, tn_rng *r)) {
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        tn_rng r = tn_rng_seed(SEED);
        CHECK((t->split == NULL) == (t->matmul_split == NULL));
        if (t->split) check(t, &r);
    }
}

static void check_lengths(const tn_kernels *t, tn_rng *r) {
    static const size_t wide[] = {511, 512, 576, 895, 896, 897, 1537, 4864, 4901};
    for (size_t k = 1; k <= 70; k++)
        for (size_t n = 3; n < 20; n += 14) {
            problem p = problem_make(r, n, 37, k, k % 4);
            CHECK(problem_holds(t, &p, k % 2 ? room : NULL));
            problem_free(&p);
        }
    for (size_t w = 0; w < sizeof wide / sizeof *wide; w++)
        for (size_t n = 1; n < 40; n += 18) {
            problem p = problem_make(r, n, 67, wide[w], w % 2);
            CHECK(problem_holds(t, &p, w % 2 ? room : NULL));
            problem_free(&p);
        }
}
static void every_length(void) {
    for_tiers(check_lengths);
}

static void check_edges(const tn_kernels *t, tn_rng *r) {
    for (size_t n = 1; n <= 35; n++)
        for (size_t m = 1; m <= 50; m += n % 3 + 1) {
            problem p = problem_make(r, n, m, 45, 2);
            CHECK(problem_holds(t, &p, NULL));
            problem_free(&p);
        }
}
static void every_edge(void) {
    for_tiers(check_edges);
}

static void check_special(const tn_kernels *t, tn_rng *r) {
    for (size_t n = 5; n < 20; n += 12)
        for (size_t k = 1; k <= 80; k += 13) {
            problem p = problem_make(r, n, 20, k, 1);
            for (size_t j = 0; j < k; j++) p.x[j] *= 1e-39f; /* row 0 is denormal */
            p.x[1 * p.ldx + k / 2] = INFINITY;               /* these rows follow the double sum to */
            p.x[2 * p.ldx] = -INFINITY;                      /* an infinity or NaN, the others stay */
            p.x[3 * p.ldx + k - 1] = NAN;                    /* finite */
            const uint32_t low_nan = 0x7F800001;             /* a NaN that only the last part sees */
            memcpy(&p.x[4 * p.ldx], &low_nan, sizeof low_nan);
            set_weight(&p, p.ldw, 0.0f); /* 0 * infinity is NaN */
            CHECK(problem_holds(t, &p, NULL));
            problem_free(&p);
        }
}
static void special_values(void) {
    for_tiers(check_special);
}

/* Every number is the sum of its parts: one weight of 1 gives it back. */
static void check_exact(const tn_kernels *t, tn_rng *r) {
    problem p = problem_make(r, 40, 1, 1, 0);
    set_weight(&p, 0, 1.0f);
    for (size_t i = 0; i < 40; i++) p.x[i] *= powf(10, (float)(i % 20) - 10);
    for (size_t n = 1; n <= 40; n += 13) {
        multiply(t, &p, p.y, 0, n, 1, NULL);
        for (size_t i = 0; i < n; i++) CHECK(p.y[i] == p.x[i]);
    }
    problem_free(&p);
}
static void parts_are_exact(void) {
    for_tiers(check_exact);
}

/* Row i of n rows, column j of m columns: the bits of the lone dot product, for every n and m, with room or
 * not. */
static void check_batch(const tn_kernels *t, tn_rng *r) {
    static const size_t ns[] = {1, 2, 5, 6, 16, 17, 33, 100, 270};
    for (size_t k = 200; k < 6000; k += 2411) {
        problem p = problem_make(r, 270, 75, k, 0);
        float *one = malloc(p.n * p.ldy * sizeof *one);
        for (size_t i = 0; i < p.n; i++) multiply(t, &p, one + i * p.ldy, i, 1, p.m, NULL);
        for (size_t a = 0; a < sizeof ns / sizeof *ns; a++)
            for (size_t m = 75; m > 0; m -= 37) {
                for (int with_room = 0; with_room < 2; with_room++) {
                    for (size_t i = 0; i < TN_MATMUL_ROOM; i++) room[i] = NAN;
                    multiply(t, &p, p.y, 0, ns[a], m, with_room ? room : NULL);
                    for (size_t i = 0; i < ns[a]; i++)
                        CHECK(memcmp(p.y + i * p.ldy, one + i * p.ldy, m * sizeof *one) == 0);
                }
                if (m < 37) break;
            }
        free(one);
        problem_free(&p);
    }
}
static void same_bits_in_any_batch(void) {
    for_tiers(check_batch);
}

/* tn_linear takes it for wide matrices, the same bits for any number of threads and chunking, and other
 * kernels for narrow ones and other types. */
static void check_linear(const tn_kernels *t, tn_rng *r) {
    enum { N = 70, M = 200 };
    for (size_t k = TN_NARROW_COLS; k <= TN_NARROW_COLS + 1; k++) {
        problem p = problem_make(r, N, M, k, 0);
        float *want = malloc(N * M * sizeof *want);
        void *scratch = malloc(tn_linear_scratch(N, k));
        if (k > TN_NARROW_COLS)
            multiply(t, &p, want, 0, N, M, NULL);
        else
            t->matmul_bf16(want, M, p.x, k, p.w, k, N, M, k, NULL);
        const tn_mat w = {.data = p.w, .dtype = TN_BF16, .rows = M, .cols = k};
        for (int threads = 1; threads <= 3; threads++)
            for (size_t chunk = 1; chunk <= N; chunk += 23) {
                const tn_exec ex = {.k = t, .threads = threads};
                for (size_t i = 0; i < N; i += chunk)
                    tn_linear(ex, p.y + i * M, p.x + i * k, &w, NULL, N - i < chunk ? N - i : chunk, scratch);
                CHECK(memcmp(p.y, want, N * M * sizeof *want) == 0);
            }
        free(scratch);
        free(want);
        problem_free(&p);
    }
}
static void linear_chooses(void) {
    for_tiers(check_linear);
}

void test_split(void) {
    RUN(every_length);
    RUN(every_edge);
    RUN(special_values);
    RUN(parts_are_exact);
    RUN(same_bits_in_any_batch);
    RUN(linear_chooses);
}
