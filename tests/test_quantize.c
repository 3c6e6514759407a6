/* convert quantize to integers: the bytes of docs/FORMATS.md, how close they come, and files that break the
 * format. */
#include "tests/test.h"

#include "tensor/quantize.h"
#include "qwen/qwen.h"
#include "tensor/mat_file.h"
#include "tensor/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Bytes ---- */

/* Two rows of 34 columns: row 0 is 126 everywhere but -127 in column 5, row 1 is 64 in column 33 only. */
static void golden_bytes_of_8_bits(void) {
    float x[2][34] = {{0}}, padded[64];
    int8_t w[64];
    unsigned char data[16 * 64], scales[2 * 16 * 2];
    for (int k = 0; k < 34; k++) x[0][k] = 126;
    x[0][5] = -127;
    x[1][33] = 64;
    tn_quantize_block(data, scales, x[0], 2, 34, 8, 32, padded, w);
    /* group 0: extreme -127, scale 1. Group 1: row 0 has 126 and 126, row 1 has 0 and 64. */
    CHECK_INT(tn_load_u16(scales), 0x3F80);           /* 1.0 */
    CHECK_INT(tn_load_u16(scales + 2), 0);            /* row 1, group 0: all zeros */
    CHECK_INT(tn_load_u16(scales + 4), 0);            /* row 2 is not there */
    CHECK_INT(tn_load_u16(scales + 32 + 2) >> 15, 1); /* row 1, group 1: 64 / -127, negative */
    CHECK_INT(data[0], 254);                          /* row 0, column 0 */
    CHECK_INT(data[64 + 1], 1);                       /* row 0, column 5 */
    CHECK_INT(data[64 + 2], 254);                     /* row 0, column 6 */
    CHECK_INT(data[4], 128);                          /* row 1, column 0 */
    CHECK_INT(data[8], 128);                          /* row 2, which is not there */
    CHECK_INT(data[8 * 64 + 2], 128);                 /* row 0, column 34, the same */
    CHECK_INT(data[8 * 64 + 4], 128);                 /* row 1, column 32 */
    const int last = data[8 * 64 + 4 + 1] - 128;      /* row 1, column 33 */
    CHECK_NEAR((float)last * tn_bf16_to_f32(tn_load_u16(scales + 32 + 2)), 64, 0.2);
}

/* Columns 0 … 7 of row 3: -8, 7, 1, 2, 3, 4, 5, 6, times 0.5. */
static void golden_bytes_of_4_bits(void) {
    static const float row[8] = {-4, 3.5f, 0.5f, 1, 1.5f, 2, 2.5f, 3};
    float x[4][8] = {{0}}, padded[32];
    int8_t w[32];
    unsigned char data[4 * 64], scales[16 * 2];
    memcpy(x[3], row, sizeof row);
    tn_quantize_block(data, scales, x[0], 4, 8, 4, 32, padded, w);
    CHECK_INT(tn_load_u16(scales + 3 * 2), 0x3F00); /* 0.5 */
    CHECK_INT(data[12], 0xB0);                      /* columns 0 and 4: -8 + 8, 3 + 8 */
    CHECK_INT(data[13], 0xCF);                      /* columns 1 and 5: 7 + 8, 4 + 8 */
    CHECK_INT(data[14], 0xD9);
    CHECK_INT(data[15], 0xEA);
    CHECK_INT(data[0], 0x88);       /* row 0 is all zeros */
    CHECK_INT(data[64 + 12], 0x88); /* columns 8 and 12 are not there */
    CHECK_INT(data[3 * 64 + 63], 0x88);
}

/* ---- How close ---- */

enum { MAX_COLS = 1100, ROWS = 16 };

/* Quantises [rows, cols] and returns ||back - x|| / ||x||; every value must be within `most` scales of its
 * own. */
static double block_error(const float *x, size_t rows, size_t cols, int bits, size_t group, float most) {
    static unsigned char data[ROWS * (MAX_COLS + 32)], scales[ROWS * (MAX_COLS / 32 + 1) * 2];
    static float back[ROWS * MAX_COLS], padded[MAX_COLS + 32];
    static int8_t w[MAX_COLS + 32];
    tn_quantize_block(data, scales, x, rows, cols, bits, group, padded, w);
    const tn_mat m = {data, TN_U8, rows, cols, bits, group, scales};
    int ok = 1;
    for (size_t r = 0; r < rows; r++) {
        tn_mat_row(back + r * cols, &m, r);
        for (size_t k = 0; k < cols; k++) {
            const float scale = fabsf(tn_bf16_to_f32(tn_load_u16(scales + (k / group * 16 + r) * 2)));
            ok = ok && fabsf(back[r * cols + k] - x[r * cols + k]) <= most * scale;
        }
    }
    CHECK(ok);
    return test_rel_error(back, x, rows * cols);
}

static void values_come_back(void) {
    static float x[ROWS * MAX_COLS];
    static const size_t shapes[][3] = {/* rows, cols, group */
                                       {16, 1024, 32}, {16, 1100, 128},   {1, 1, 32},
                                       {7, 33, 64},    {16, 1001, 65536}, {3, 31, 32}};
    tn_rng r = tn_rng_seed(3);
    for (size_t i = 0; i < ROWS * MAX_COLS; i++) x[i] = 0.05f * tn_rng_normal(&r);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const size_t *s = shapes[i];
        /* BF16 rounds the scale, which clips the extreme of 8 bits by at most half a step; 4 bits clip by at
         * most 30 % of the extreme. */
        const double e8 = block_error(x, s[0], s[1], 8, s[2], 1.0f);
        const double e4 = block_error(x, s[0], s[1], 4, s[2], 0.3f / 0.7f * 8 + 1.5f);
        CHECK(e8 < 0.011 && e4 < 0.19);
        if (s[2] == 32 && s[1] > 1000)
            CHECK(e8 < 0.0056 && e4 < 0.084); /* 4 bits without the ladder: 0.088 */
    }
}

static void extremes(void) {
    float x[64] = {0};
    int8_t w[64];
    CHECK(tn_quantize_group(w, x, 64, 8) == 0 && w[63] == 0);
    x[7] = -1e-20f; /* too small to be told from zero */
    CHECK(tn_quantize_group(w, x, 64, 4) == 0 && w[7] == 0);
    x[7] = 3e18f;
    for (int bits = 4; bits <= 8; bits += 4) {
        const float scale = tn_quantize_group(w, x, 64, bits);
        CHECK_NEAR(scale * (float)w[7] / 3e18f, 1, 0.004);
        CHECK_INT(w[6], 0);
    }
}

/* ---- Files that break the format ---- */

typedef struct {
    const char *group;    /* NULL: no metadata */
    const char *integers; /* name of the integers */
    tn_dtype type;
    size_t shape[3];
    const char *scales; /* NULL: none */
    tn_dtype scale_type;
    size_t scale_shape[3];
} file;

/* Writes the tensors (zeros) and takes "m" [20, 40] from them. */
static int take(const file *f, tn_mat *m, tn_err *e) {
    static const unsigned char zeros[1 << 16];
    const char *path = test_path("quantised.safetensors");
    tn_tensor_spec specs[2] = {
        {f->integers, f->type, 3, {f->shape[0], f->shape[1], f->shape[2]}},
        {f->scales, f->scale_type, 3, {f->scale_shape[0], f->scale_shape[1], f->scale_shape[2]}}};
    const tn_pair pair = {TN_Q_GROUP_KEY, f->group};
    const size_t n = f->scales ? 2 : 1;
    tn_st_writer *w;
    tn_safetensors *st;
    if (!CHECK_INT(tn_st_create(&w, path, specs, n, &pair, f->group ? 1 : 0, e), TN_OK)) return TN_OK;
    for (size_t i = 0; i < n; i++)
        tn_st_write(w, zeros,
                    specs[i].shape[0] * specs[i].shape[1] * specs[i].shape[2] *
                        tn_dtype_size(specs[i].dtype));
    if (!CHECK_INT(tn_st_finish(w, e), TN_OK) || !CHECK_INT(tn_st_open_file(&st, path, e), TN_OK))
        return TN_OK;
    const int rc = tn_mat_take(m, st, "m", 20, 40, e);
    tn_st_close(st);
    return rc;
}

static void hostile_files(void) {
    /* [20, 40]: 2 blocks, kpad 64 */
    const file good = {"32", "m.q8", TN_U8, {2, 16, 64}, "m.scales", TN_BF16, {2, 2, 16}};
    tn_mat m = {.data = NULL};
    tn_err e = {0};
    CHECK_INT(take(&good, &m, &e), TN_OK);
    CHECK(m.bits == 8 && m.group == 32 && m.rows == 20 && m.cols == 40 && m.dtype == TN_U8);
    file f = good;
    f.integers = "m.q4";
    f.shape[1] = 8;
    CHECK_INT(take(&f, &m, &e), TN_OK);
    CHECK_INT(m.bits, 4);

#define REFUSED(change, code, part)                                                                          \
    do {                                                                                                     \
        f = good;                                                                                            \
        change;                                                                                              \
        CHECK_INT(take(&f, &m, &e), code);                                                                   \
        CHECK_HAS(e.msg, part);                                                                              \
    } while (0)
    REFUSED(f.group = NULL, TN_EFORMAT, "no \"quant_group\"");
    REFUSED(f.group = "", TN_EFORMAT, "expected a number");
    REFUSED(f.group = "-32", TN_EFORMAT, "expected a number");
    REFUSED(f.group = "99999999999999999999", TN_EFORMAT, "expected a number");
    REFUSED(f.group = "0", TN_EFORMAT, "a group of 0 columns");
    REFUSED(f.group = "48", TN_EFORMAT, "a group of 48 columns");
    REFUSED(f.group = "65568", TN_EFORMAT, "a group of 65568 columns");
    REFUSED(f.group = "64", TN_ESHAPE, "\"m.scales\" has shape [2, 2, 16], expected [2, 1, 16]");
    REFUSED(f.shape[0] = 1, TN_ESHAPE, "\"m.q8\" has shape [1, 16, 64], expected [2, 16, 64]");
    REFUSED(f.integers = "m.q4", TN_ESHAPE, "\"m.q4\" has shape [2, 16, 64], expected [2, 8, 64]");
    REFUSED(f.shape[2] = 16, TN_ESHAPE, "expected [2, 16, 64]");
    REFUSED(f.scales = NULL, TN_EFORMAT, "tensor \"m.scales\" is missing");
    REFUSED(f.scale_shape[2] = 15, TN_ESHAPE, "\"m.scales\" has shape");
    REFUSED(f.scale_type = TN_F16, TN_ESHAPE, "\"m.scales\" has type F16, expected BF16");
    REFUSED(f.type = TN_I8, TN_ESHAPE, "\"m.q8\" has type I8, expected U8");
    REFUSED(f.scales = "m.q4", TN_EFORMAT, "in more than one form");
    REFUSED(f.integers = "n.q8", TN_EFORMAT, "tensor \"m\" is missing");
#undef REFUSED
    tn_q_shapes s;
    CHECK_INT(tn_q_shapes_of(&s, SIZE_MAX - 3, 40, 8, 32, &e), TN_ESHAPE);
    CHECK_INT(tn_q_shapes_of(&s, 40, SIZE_MAX - 3, 8, 32, &e), TN_ESHAPE);
    CHECK_INT(tn_q_shapes_of(&s, SIZE_MAX / 32, 64, 8, 32, &e), TN_ESHAPE);
}

void test_quantize(void) {
    RUN(golden_bytes_of_8_bits);
    RUN(golden_bytes_of_4_bits);
    RUN(values_come_back);
    RUN(extremes);
    RUN(hostile_files);
}
