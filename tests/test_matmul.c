/* Every tier's matrix products against a naive sum in double, at every edge; then the promise that an
 * output element has the same bits whatever else is computed with it. */
#include "tests/test.h"
#include "tensor/kernels.h"
#include "tensor/rng.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t SEED = 20240917;
static const float GUARD = -12345.5f;
/* Where matmul may unpack weights; the guard behind shows whether it keeps within. */
static _Alignas(64) float room[TN_MATMUL_ROOM + 1];
static const tn_dtype TYPES[] = {TN_F32, TN_F16, TN_BF16};
enum { N_TYPES = 3 };

typedef void (*matmul_fn)(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw,
                          size_t n, size_t m, size_t k, float *room);

static matmul_fn matmul_of(const tn_kernels *t, tn_dtype type) {
    return type == TN_F32 ? t->matmul_f32 : type == TN_F16 ? t->matmul_f16 : t->matmul_bf16;
}

/* One product with room around it: rows are longer than what is used, w starts `skew` bytes off. */
typedef struct {
    tn_dtype type;
    size_t n, m, k, ldx, ldw, ldy;
    float *x;         /* [n, ldx], the last row only k long; NaN between the rows */
    unsigned char *w; /* [m, ldw] of type, the last row only k long; NaN between the rows */
    unsigned char *w_block;
    float *y; /* [n, ldy], GUARD where nothing may be written */
} problem;

static float weight(const problem *p, size_t j, size_t k) {
    float v;
    tn_to_f32(&v, p->w + (j * p->ldw + k) * tn_dtype_size(p->type), p->type, 1);
    return v;
}

static void set_weight(problem *p, size_t j, size_t k, float v) {
    tn_from_f32(p->w + (j * p->ldw + k) * tn_dtype_size(p->type), p->type, &v, 1);
}

static size_t extent(size_t rows, size_t ld, size_t k) {
    return rows ? (rows - 1) * ld + k : 0;
}

static problem problem_make(tn_rng *r, tn_dtype type, size_t n, size_t m, size_t k, size_t gap, size_t skew) {
    problem p = {type, n, m, k, k + gap, k + gap, m + gap, NULL, NULL, NULL, NULL};
    const size_t size = tn_dtype_size(type);
    p.x = malloc(extent(n, p.ldx, k) * sizeof(float) + 1);
    p.w_block = malloc(extent(m, p.ldw, k) * size + skew + 1); /* ends where w ends: a sanitizer sees more */
    p.y = malloc((n + 1) * p.ldy * sizeof(float) + 1);
    p.w = p.w_block + skew;
    for (size_t i = 0; i < extent(n, p.ldx, k); i++) p.x[i] = i % p.ldx < k ? tn_rng_normal(r) : NAN;
    for (size_t i = 0; i < extent(m, p.ldw, k); i++)
        set_weight(&p, 0, i, i % p.ldw < k ? tn_rng_normal(r) : NAN);
    for (size_t i = 0; i < (n + 1) * p.ldy; i++) p.y[i] = GUARD;
    return p;
}

static void problem_free(problem *p) {
    free(p->x);
    free(p->w_block);
    free(p->y);
}

/* Runs matmul and compares: |y - exact| <= 4 eps sum |x w|, nothing else written. Returns 1 when right. */
static int problem_holds(const tn_kernels *t, problem *p) {
    matmul_of(t, p->type)(p->y, p->ldy, p->x, p->ldx, p->w, p->ldw, p->n, p->m, p->k, NULL);
    for (size_t i = 0; i < (p->n + 1) * p->ldy; i++) {
        const size_t row = i / p->ldy, j = i % p->ldy;
        if (row >= p->n || j >= p->m) {
            if (p->y[i] == GUARD) continue;
            printf("%s: wrote outside of y at [%zu, %zu]\n", t->name, row, j);
            return 0;
        }
        double sum = 0, size = 0;
        for (size_t k = 0; k < p->k; k++) {
            const double product = (double)p->x[row * p->ldx + k] * (double)weight(p, j, k);
            sum += product;
            size += fabs(product);
        }
        const double bound = 4 * (double)FLT_EPSILON * size + 1e-43; /* the last where all is denormal */
        if (isfinite(sum) ? fabs((double)p->y[i] - sum) <= bound
            : isnan(sum)  ? isnan(p->y[i])
                          : (double)p->y[i] == sum)
            continue;
        printf("%s %s n=%zu m=%zu k=%zu: y[%zu, %zu] = %g, expected %g\n", t->name, tn_dtype_name(p->type),
               p->n, p->m, p->k, row, j, (double)p->y[i], sum);
        return 0;
    }
    return 1;
}

/* The same product without room and with it: equal bits, and NaNs everywhere in room do no harm. */
static int panels_hold(matmul_fn matmul, problem *p) {
    const size_t bytes = (p->n + 1) * p->ldy * sizeof(float);
    float *y = malloc(bytes);
    memcpy(y, p->y, bytes);
    for (size_t i = 0; i < TN_MATMUL_ROOM; i++) room[i] = NAN;
    room[TN_MATMUL_ROOM] = GUARD;
    matmul(p->y, p->ldy, p->x, p->ldx, p->w, p->ldw, p->n, p->m, p->k, NULL);
    matmul(y, p->ldy, p->x, p->ldx, p->w, p->ldw, p->n, p->m, p->k, room);
    const int same = memcmp(y, p->y, bytes) == 0 && room[TN_MATMUL_ROOM] == GUARD;
    free(y);
    if (!same)
        printf("%s n=%zu m=%zu k=%zu: panels give other bits\n", tn_dtype_name(p->type), p->n, p->m, p->k);
    return same;
}

static void every_length(void) {
    static const size_t wide[] = {511, 512, 513, 576, 896, 897, 1024, 1537, 2048, 4864, 4865, 4901};
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        tn_rng r = tn_rng_seed(SEED);
        for (int type = 0; type < N_TYPES; type++) {
            for (size_t k = 0; k <= 70; k++) {
                problem p = problem_make(&r, TYPES[type], 11, 7, k, k % 4, k % 3);
                if (!CHECK(problem_holds(t, &p))) printf("seed %llu\n", (unsigned long long)SEED);
                problem_free(&p);
            }
            for (size_t w = 0; w < sizeof wide / sizeof *wide; w++) {
                problem p = problem_make(&r, TYPES[type], w % 2 ? 1 : 9, 11, wide[w], w % 2, 1);
                if (!CHECK(problem_holds(t, &p))) printf("seed %llu\n", (unsigned long long)SEED);
                problem_free(&p);
            }
        }
    }
}

static void every_tile_edge(void) {
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        tn_rng r = tn_rng_seed(SEED + 1);
        for (int type = 0; type < N_TYPES; type++) {
            for (size_t n = 0; n <= 18; n++)
                for (size_t m = 0; m <= 8; m++) {
                    problem p = problem_make(&r, TYPES[type], n, m, 21, 2, 1);
                    CHECK(problem_holds(t, &p));
                    problem_free(&p);
                }
            problem p = problem_make(&r, TYPES[type], 17, 300, 530, 1, 1); /* several blocks and chunks */
            CHECK(problem_holds(t, &p));
            problem_free(&p);
        }
    }
}

static void special_values(void) {
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        tn_rng r = tn_rng_seed(SEED + 2);
        for (int type = 0; type < N_TYPES; type++)
            for (size_t k = 1; k <= 40; k += 13) {
                problem p = problem_make(&r, TYPES[type], 9, 4, k, 1, 0);
                for (size_t j = 0; j < k; j++) p.x[j] *= 1e-39f; /* row 0 is denormal */
                p.x[1 * p.ldx + k / 2] = INFINITY;               /* these rows follow the double sum to */
                p.x[2 * p.ldx] = -INFINITY;                      /* an infinity or NaN, the others stay */
                p.x[3 * p.ldx + k - 1] = NAN;                    /* finite */
                set_weight(&p, 1, 0, 0.0f);                      /* 0 * infinity is NaN */
                set_weight(&p, 2, k - 1, 6e-8f);                 /* the smallest F16 */
                CHECK(problem_holds(t, &p));
                problem_free(&p);
            }
    }
}

/* Row i of n rows, column j of m columns: the bits of the lone dot product, for every n and m. */
static void same_bits_in_any_batch(void) {
    enum { N = 20, M = 40, K = 563 };
    static float x[N * K], w[M * K], one[N * M], y[N * M];
    static unsigned char stored[M * K * sizeof(float)];
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        tn_rng r = tn_rng_seed(SEED + 3);
        for (int a = 0; a < N * K; a++) x[a] = tn_rng_normal(&r);
        for (int a = 0; a < M * K; a++) w[a] = tn_rng_normal(&r);
        for (int type = 0; type < N_TYPES; type++) {
            const matmul_fn matmul = matmul_of(t, TYPES[type]);
            const size_t size = tn_dtype_size(TYPES[type]);
            tn_from_f32(stored, TYPES[type], w, M * K);
            for (size_t a = 0; a < N; a++)
                for (size_t b = 0; b < M; b++)
                    matmul(one + a * M + b, 1, x + a * K, K, stored + b * K * size, K, 1, 1, K, NULL);
            for (size_t n = 1; n <= N; n++)
                for (size_t m = 1; m <= M; m += n % 3 + 1) {
                    matmul(y, M, x, K, stored, K, n, m, K, NULL);
                    for (size_t a = 0; a < n; a++)
                        if (!CHECK(memcmp(y + a * M, one + a * M, m * sizeof *y) == 0)) return;
                }
            if (TYPES[type] == TN_F32)
                for (size_t b = 0; b < M; b++) CHECK(t->dot(x, w + b * K, K) == one[b]);
        }
    }
}

/* With room to unpack weights in: not one bit changes, whatever is left over beside whole tiles, with
 * strides, unaligned weights, odd depths, and depths that take several blocks. Nothing is written outside. */
static void same_bits_from_panels(void) {
    static const size_t shapes[][3] = {{16, 3, 1},    {17, 5, 15},   {24, 48, 16},   {70, 50, 17},
                                       {33, 24, 897}, {16, 7, 511},  {140, 3, 5121}, {259, 5, 5201},
                                       {20, 2, 64},   {16, 4, 10300}};
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        tn_rng r = tn_rng_seed(SEED + 7);
        for (int type = 0; type < N_TYPES; type++) {
            const matmul_fn matmul = matmul_of(t, TYPES[type]);
            for (size_t n = 14; n <= 70; n += (size_t)type + 3)
                for (size_t m = 1; m < 80; m += 13) {
                    problem p = problem_make(&r, TYPES[type], n, m, n + m % 16, m % 3, n % 4);
                    CHECK(panels_hold(matmul, &p));
                    problem_free(&p);
                }
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
                problem p = problem_make(&r, TYPES[type], shapes[s][0], shapes[s][1], shapes[s][2], s % 2, 1);
                CHECK(panels_hold(matmul, &p));
                problem_free(&p);
            }
        }
    }
}

/* AVX2 and AVX-512 make the same sums in the same order. */
static void same_bits_in_both_vector_tiers(void) {
    const tn_kernels *a = tn_kernels_select("avx512"), *b = tn_kernels_select("avx2");
    if (a == NULL || b == NULL) return;
    tn_rng r = tn_rng_seed(SEED + 4);
    for (int type = 0; type < N_TYPES; type++)
        for (size_t k = 1; k < 1300; k += 61) {
            problem p = problem_make(&r, TYPES[type], 10, 7, k, 0, 0);
            float y[10 * 7];
            matmul_of(a, p.type)(p.y, 7, p.x, p.ldx, p.w, p.ldw, 10, 7, k, NULL);
            matmul_of(b, p.type)(y, 7, p.x, p.ldx, p.w, p.ldw, 10, 7, k, NULL);
            CHECK(memcmp(p.y, y, sizeof y) == 0);
            problem_free(&p);
        }
}

/* tn_linear gives each row's bits for any number of threads and any chunking of the rows. */
static void linear_over_threads_and_chunks(void) {
    enum { N = 67, M = 203, K = 96, THREADS = 4 };
    float *rooms = aligned_alloc(64, THREADS * TN_MATMUL_ROOM * sizeof *rooms);
    static const size_t chunks[] = {1, 7, 64, N};
    static float x[N * K], w[M * K], bias[M], want[N * M], y[N * M];
    static unsigned char stored[M * K * sizeof(float) + 1];
    tn_rng r = tn_rng_seed(SEED + 5);
    for (int a = 0; a < N * K; a++) x[a] = tn_rng_normal(&r);
    for (int a = 0; a < M * K; a++) w[a] = tn_rng_normal(&r);
    for (int a = 0; a < M; a++) bias[a] = tn_rng_normal(&r);
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++)
        for (int type = 0; type < N_TYPES; type++)
            for (int biased = 0; biased < 2; biased++) {
                tn_from_f32(stored + 1, TYPES[type], w, M * K);
                const tn_mat mat = {.data = stored + 1, .dtype = TYPES[type], .rows = M, .cols = K};
                matmul_of(t, TYPES[type])(want, M, x, K, stored + 1, K, N, M, K, NULL);
                for (size_t a = 0; biased && a < N; a++)
                    for (size_t b = 0; b < M; b++) want[a * M + b] += bias[b];
                for (int threads = 1; threads <= THREADS; threads++)
                    for (int c = 0; c < 4; c++) {
                        const tn_exec ex = {t, threads, c % 2 ? rooms : NULL};
                        memset(y, 0, sizeof y);
                        for (size_t row = 0; row < N; row += chunks[c])
                            tn_linear(ex, y + row * M, x + row * K, &mat, biased ? bias : NULL,
                                      N - row < chunks[c] ? N - row : chunks[c], NULL);
                        CHECK(memcmp(y, want, sizeof y) == 0);
                    }
            }
    free(rooms);
}

/* Tall products are split over rows, wide ones over columns; strides are kept. */
static void matmul_over_threads(void) {
    static const size_t shapes[][3] = {{200, 9, 70}, {9, 200, 70}, {130, 130, 33},
                                       {1, 1, 5},    {0, 5, 5},    {5, 0, 5}};
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            tn_rng r = tn_rng_seed(SEED + 6);
            const size_t n = shapes[s][0], m = shapes[s][1], k = shapes[s][2];
            problem p = problem_make(&r, TN_F32, n, m, k, 3, 0);
            float *y = malloc((n + 1) * p.ldy * sizeof *y);
            memcpy(y, p.y, (n + 1) * p.ldy * sizeof *y);
            CHECK(problem_holds(t, &p));
            for (int threads = 1; threads <= 4; threads++) {
                const tn_exec ex = {.k = t, .threads = threads};
                tn_matmul_f32(ex, y, p.ldy, p.x, p.ldx, (const float *)(const void *)p.w, p.ldw, n, m, k);
                CHECK(memcmp(y, p.y, (n + 1) * p.ldy * sizeof *y) == 0);
            }
            free(y);
            problem_free(&p);
        }
}

/* Rows packed once for several blocks of weights: the bits of matmul_f32, and nothing written outside of y or
 * of the room, whatever is left over beside whole tiles; also where rows are too few or too wide for it. */
static void same_bits_from_packed_rows(void) {
    static const size_t widths[] = {1, 15, 16, 17, 48, 63, 897, 1024, 5121};
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        tn_rng r = tn_rng_seed(SEED + 8);
        for (size_t c = 0; c < sizeof widths / sizeof *widths; c++)
            for (size_t n = 1; n <= 50; n += n < 14 ? 6 : 1) {
                const size_t k = widths[c], m = n % 2 ? 5 : 45 + n, size = tn_rows_room(n, k);
                problem p = problem_make(&r, TN_F32, n, m, k, 0, 0);
                float *own = aligned_alloc(64, (size + 16) / 16 * 64), *y = malloc((n + 1) * p.ldy * 4);
                memcpy(y, p.y, (n + 1) * p.ldy * 4);
                for (size_t j = 0; j < size; j++) own[j] = NAN;
                own[size] = GUARD;
                t->matmul_f32(p.y, p.ldy, p.x, k, p.w, k, n, m, k, NULL);
                const tn_rows rows = tn_rows_pack(t, p.x, n, k, own);
                CHECK_INT(rows.packed, t->tile_f32 && n >= 16 && k <= 1024);
                tn_matmul_rows(t, y, p.ldy, &rows, (const float *)(const void *)p.w, m / 3);
                tn_matmul_rows(t, y + m / 3, p.ldy, &rows, (const float *)(const void *)p.w + m / 3 * k,
                               m - m / 3);
                if (!CHECK(memcmp(y, p.y, (n + 1) * p.ldy * 4) == 0) || !CHECK(own[size] == GUARD))
                    printf("%s n=%zu m=%zu k=%zu\n", t->name, n, m, k);
                free(own);
                free(y);
                problem_free(&p);
            }
    }
}

static void transpose(void) {
    static float src[70 * 75], dst[75 * 70 + 1];
    for (int i = 0; i < 70 * 75; i++) src[i] = (float)i;
    for (size_t rows = 0; rows <= 70; rows += 7)
        for (size_t cols = 0; cols <= 70; cols += 5)
            for (int threads = 1; threads <= 3; threads++) {
                const tn_exec ex = {.k = tn_kernels_at(0), .threads = threads};
                for (size_t i = 0; i < 75 * 70 + 1; i++) dst[i] = GUARD;
                tn_transpose(ex, dst, src, rows, cols, 75);
                int ok = dst[rows * cols] == GUARD;
                for (size_t r = 0; r < rows; r++)
                    for (size_t c = 0; c < cols; c++) ok = ok && dst[c * rows + r] == src[r * 75 + c];
                CHECK(ok);
            }
}

void test_matmul(void) {
    RUN(every_length);
    RUN(every_tile_edge);
    RUN(special_values);
    RUN(same_bits_in_any_batch);
    RUN(same_bits_from_panels);
    RUN(same_bits_from_packed_rows);
    RUN(same_bits_in_both_vector_tiers);
    RUN(linear_over_threads_and_chunks);
    RUN(matmul_over_threads);
    RUN(transpose);
}
