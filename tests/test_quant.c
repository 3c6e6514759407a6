/* Quantised products: every tier against the definition in double, at odd shapes and extremes. */
#include "tests/test.h"
#include "tensor/kernels.h"
#include "tensor/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 70, MAX_COLS = 700, MAX_N = 40 };

/* A quantised matrix with values of our choosing, and the values themselves. */
typedef struct {
    tn_mat mat;
    int w[MAX_ROWS][MAX_COLS]; /* the integers, times their steps with 4 bits */
    unsigned char data[(MAX_ROWS + 16) * (MAX_COLS + 32)];
    unsigned char scales[(MAX_ROWS + 16) * (MAX_COLS / 32 + 1) * 2];
    int8_t steps[(MAX_ROWS + 16) * (MAX_COLS / 32 + 1)];
} matrix;

static size_t pad(size_t k) {
    return (k + TN_Q_PAD - 1) / TN_Q_PAD * TN_Q_PAD;
}

static double scale_of(const matrix *m, size_t row, size_t k) {
    const size_t groups = (pad(m->mat.cols) + m->mat.group - 1) / m->mat.group;
    const size_t at = (row / 16 * groups + k / m->mat.group) * 16 + row % 16;
    return (double)tn_bf16_to_f32(tn_load_u16(m->scales + 2 * at));
}

/* Fills m with random integers and steps, or with the largest ones when `extreme`. */
static void make(matrix *m, int bits, size_t rows, size_t cols, size_t group, int extreme, tn_rng *r) {
    const size_t kpad = pad(cols), groups = (kpad + group - 1) / group, blocks = (rows + 15) / 16;
    const int half = bits == 8 ? 128 : 8;
    m->mat = (tn_mat){m->data, TN_U8, rows, cols, bits, group, m->scales, bits == 4 ? m->steps : NULL};
    for (size_t i = 0; i < blocks * kpad / 32 * 16; i++)
        m->steps[i] = (int8_t)(extreme ? (i % 4 < 2 ? -15 : 15) : (int)tn_rng_below(r, 31) - 15);
    memset(m->data, bits == 8 ? 128 : 0x88, sizeof m->data);
    for (size_t i = 0; i < blocks * groups * 16; i++)
        tn_store_u16(m->scales + 2 * i, tn_f32_to_bf16(0.01f + 0.05f * tn_rng_uniform(r)));
    for (size_t j = 0; j < rows; j++)
        for (size_t k = 0; k < cols; k++) {
            const int v =
                extreme ? (j % 2 ? -half : half - 1) : (int)tn_rng_below(r, 2 * (uint64_t)half) - half;
            m->w[j][k] = bits == 8 ? v : v * m->steps[(j / 16 * (kpad / 32) + k / 32) * 16 + j % 16];
            unsigned char *block = m->data + j / 16 * (16 * kpad * (size_t)bits / 8);
            unsigned char *at = block + j % 16 * 4 + (bits == 8 ? k / 4 : k / 8) * 64 + k % 4;
            if (bits == 8)
                *at = (unsigned char)(v + 128);
            else if (k % 8 < 4)
                *at = (unsigned char)((*at & 0xF0) | (v + 8));
            else
                *at = (unsigned char)((*at & 0x0F) | (v + 8) << 4);
        }
}

/* One row in 8 bits by the definition. */
static void round_row(double *q, double *scale, const float *x, size_t k, size_t group) {
    for (size_t g = 0; g * group < k; g++) {
        float max = 0;
        for (size_t i = g * group; i < k && i < (g + 1) * group; i++) max = fmaxf(max, fabsf(x[i]));
        scale[g] = (double)(max / 127.0f);
        for (size_t i = g * group; i < k && i < (g + 1) * group; i++)
            q[i] = max < 1e-30f ? 0 : (double)rintf(x[i] * (127.0f / max));
    }
}

static void check_product(const tn_kernels *t, const matrix *m, const float *x, size_t n) {
    static float y[MAX_N * MAX_ROWS];
    static double q[MAX_COLS], scale[MAX_COLS];
    const size_t rows = m->mat.rows, cols = m->mat.cols;
    void *scratch = malloc(tn_linear_scratch(n, cols));
    tn_linear((tn_exec){.k = t, .threads = 2}, y, x, &m->mat, NULL, n, scratch);
    int ok = 1;
    for (size_t i = 0; i < n; i++) {
        round_row(q, scale, x + i * cols, cols, m->mat.group);
        for (size_t j = 0; j < rows; j++) {
            double want = 0, size = 0;
            for (size_t k = 0; k < cols; k++) {
                const double p = q[k] * m->w[j][k] * scale[k / m->mat.group] * scale_of(m, j, k);
                want += p;
                size += fabs(p);
            }
            ok = ok && fabs((double)y[i * rows + j] - want) <= 1e-6 * size;
        }
    }
    CHECK(ok);
    /* each row alone: the same bits */
    float alone[MAX_ROWS];
    for (size_t i = 0; i < n; i++) {
        tn_linear((tn_exec){.k = t, .threads = 1}, alone, x + i * cols, &m->mat, NULL, 1, scratch);
        CHECK(memcmp(alone, y + i * rows, rows * sizeof *y) == 0);
    }
    free(scratch);
}

/* Shapes whose rows, columns and last groups end beside a tile's, a slab's or a chunk's edge. The extremes
 * (all of x at 127, w at its largest or smallest) would saturate sums of 16 bits. */
static void products(void) {
    static matrix m;
    static float x[MAX_N * MAX_COLS];
    static const size_t shapes[][4] = {
        /* n, rows, cols, group */
        {1, 1, 1, 32},     {1, 16, 32, 32},   {2, 17, 33, 32},    {3, 48, 64, 64},   {5, 49, 96, 64},
        {8, 33, 160, 128}, {19, 70, 257, 64}, {7, 64, 700, 704},  {4, 31, 576, 128}, {6, 47, 100, 32},
        {9, 15, 699, 32},  {1, 70, 640, 128}, {13, 65, 672, 256}, {40, 50, 416, 32}, {23, 70, 700, 544}};
    const tn_kernels *t;
    for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
        tn_rng r = tn_rng_seed(7);
        for (size_t c = 0; c < sizeof shapes / sizeof shapes[0]; c++)
            for (int bits = 4; bits <= 8; bits += 4)
                for (int extreme = 0; extreme < 2; extreme++) {
                    const size_t *s = shapes[c];
                    make(&m, bits, s[1], s[2], s[3], extreme, &r);
                    for (size_t k = 0; k < s[0] * s[2]; k++) x[k] = extreme ? 3.0f : tn_rng_normal(&r);
                    check_product(t, &m, x, s[0]);
                }
    }
}

/* All tiers round activations to the same bits, and say so when a group is not finite. */
static void quantizing(void) {
    static float x[MAX_COLS];
    static int8_t q[MAX_COLS + 32], want_q[MAX_COLS + 32];
    float scale[MAX_COLS / 32 + 1], want_scale[MAX_COLS / 32 + 1];
    int32_t sum[MAX_COLS / 32 + 2], want_sum[MAX_COLS / 32 + 2];
    const tn_kernels *t, *scalar = tn_kernels_select("scalar");
    tn_rng r = tn_rng_seed(8);
    for (size_t k = 1; k <= MAX_COLS; k += k < 70 ? 1 : 37)
        for (size_t group = 32; group <= 128; group *= 2) {
            const size_t groups = (pad(k) + group - 1) / group;
            for (size_t i = 0; i < k; i++) x[i] = tn_rng_normal(&r) * (i % 50 == 3 ? 1e4f : 1.0f);
            if (k % 5 == 0) memset(x, 0, (k < 40 ? k : 40) * sizeof *x);
            if (k % 7 == 0) x[k - 1] = k % 2 ? NAN : -INFINITY;
            if (k % 11 == 0)
                for (size_t i = 0; i < k; i++) x[i] *= 1e-38f;
            scalar->quantize(want_q, want_scale, want_sum, x, k, group);
            if (k % 7 == 0) CHECK(isnan(want_scale[groups - 1]));
            for (size_t part = 0; part < pad(k) / 32; part++) {
                int32_t all = 0;
                for (size_t c = 32 * part; c < 32 * part + 32; c++) all += want_q[c];
                CHECK_INT(want_sum[part], all);
            }
            for (int i = 0; (t = tn_kernels_at(i)) != NULL; i++) {
                memset(q, 99, sizeof q);
                sum[pad(k) / 32] = 99;
                t->quantize(q, scale, sum, x, k, group);
                CHECK(memcmp(q, want_q, pad(k)) == 0 && q[pad(k)] == 99);
                CHECK(memcmp(scale, want_scale, groups * sizeof *scale) == 0);
                CHECK(memcmp(sum, want_sum, pad(k) / 32 * sizeof *sum) == 0 && sum[pad(k) / 32] == 99);
            }
        }
}

/* tn_mat_row gives back the stored values. */
static void rows_back(void) {
    static matrix m;
    static float row[MAX_COLS];
    tn_rng r = tn_rng_seed(9);
    for (int bits = 4; bits <= 8; bits += 4) {
        make(&m, bits, 37, 300, 64, 0, &r);
        for (size_t j = 0; j < 37; j++) {
            int ok = 1;
            tn_mat_row(row, &m.mat, j);
            for (size_t k = 0; k < 300; k++)
                ok = ok && row[k] == (float)m.w[j][k] * (float)scale_of(&m, j, k);
            CHECK(ok);
        }
    }
}

void test_quant(void) {
    RUN(products);
    RUN(quantizing);
    RUN(rows_back);
}
