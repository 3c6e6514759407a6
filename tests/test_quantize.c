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
    tn_quantize_block(data, NULL, scales, x[0], 2, 34, 8, 32, padded, w);
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

/* Columns 0 … 7 of row 3: -8, 7, 1, 2, 3, 4, 5, 6, times 7.5, which is the largest step times 0.5. Columns 40
 * and 41 are -8 and 7 times -0.5. */
static void golden_bytes_of_4_bits(void) {
    static const int row[8] = {-8, 7, 1, 2, 3, 4, 5, 6};
    float x[4][42] = {{0}}, padded[64];
    int8_t w[64], steps[2 * 16];
    unsigned char data[8 * 64], scales[16 * 2];
    for (int k = 0; k < 8; k++) x[3][k] = 7.5f * (float)row[k];
    x[3][40] = 4;
    x[3][41] = -3.5f;
    tn_quantize_block(data, steps, scales, x[0], 4, 42, 4, 64, padded, w);
    CHECK_INT(steps[3], 15);
    CHECK_INT(steps[2], 0); /* row 2 is all zeros */
    CHECK_INT(steps[16 + 3], -1);
    CHECK_INT(tn_load_u16(scales + 3 * 2), 0x3F00); /* 0.5 */
    CHECK_INT(data[12], 0xB0);                      /* columns 0 and 4: -8 + 8, 3 + 8 */
    CHECK_INT(data[13], 0xCF);                      /* columns 1 and 5: 7 + 8, 4 + 8 */
    CHECK_INT(data[14], 0xD9);
    CHECK_INT(data[15], 0xEA);
    CHECK_INT(data[0], 0x88);       /* row 0 is all zeros */
    CHECK_INT(data[64 + 12], 0x88); /* columns 8 and 12 are not there */
    CHECK_INT(data[3 * 64 + 63], 0x88);
    CHECK_INT(data[5 * 64 + 12], 0x80); /* column 40: -8 + 8; column 44 is not there */
    CHECK_INT(data[5 * 64 + 13], 0x8F); /* column 41: 7 + 8 */
}

/* ---- How close ---- */

enum { MAX_COLS = 1100, ROWS = 16 };

/* Quantises [rows, cols] and returns ||back - x|| / ||x||; every value must be within `most` scales of its
 * own. */
static double block_error(const float *x, size_t rows, size_t cols, int bits, size_t group, float most) {
    static unsigned char data[ROWS * (MAX_COLS + 32)], scales[ROWS * (MAX_COLS / 32 + 1) * 2];
    static float back[ROWS * MAX_COLS], padded[MAX_COLS + 32];
    static int8_t w[MAX_COLS + 32], steps[ROWS * (MAX_COLS / 32 + 1)];
    tn_quantize_block(data, bits == 4 ? steps : NULL, scales, x, rows, cols, bits, group, padded, w);
    const tn_mat m = {data, TN_U8, rows, cols, bits, group, scales, bits == 4 ? steps : NULL};
    int ok = 1;
    for (size_t r = 0; r < rows; r++) {
        tn_mat_row(back + r * cols, &m, r);
        for (size_t k = 0; k < cols; k++) {
            const float step = bits == 4 ? steps[k / 32 * 16 + r] : 1,
                        scale = fabsf(tn_bf16_to_f32(tn_load_u16(scales + (k / group * 16 + r) * 2)) * step);
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
                                       {7, 33, 64},    {16, 1001, 16384}, {3, 31, 32}};
    tn_rng r = tn_rng_seed(3);
    for (size_t i = 0; i < ROWS * MAX_COLS; i++) x[i] = 0.05f * tn_rng_normal(&r);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        const size_t *s = shapes[i];
        /* BF16 rounds the scale, which clips the extreme of 8 bits by at most half a step; 4 bits clip by at
         * most 30 % of the extreme, and a little more where the step that was wished for lies between two. */
        const double e8 = block_error(x, s[0], s[1], 8, s[2], 1.0f);
        const double e4 = block_error(x, s[0], s[1], 4, s[2], 0.3f / 0.7f * 8 + 2.5f);
        CHECK(e8 < 0.011 && e4 < 0.09);
        if (s[2] == 32 && s[1] > 1000) CHECK(e8 < 0.0056 && e4 < 0.084);
        if (s[2] == 128 && s[1] > 1000) CHECK(e4 < 0.086); /* one scale for 128 columns: 0.104 */
    }
}

static void extremes(void) {
    float x[64] = {0};
    int8_t w[64], steps[2] = {9, 9};
    CHECK(tn_quantize_group8(w, x, 64) == 0 && w[63] == 0);
    x[7] = -1e-20f; /* too small to be told from zero */
    CHECK(tn_quantize_group4(w, steps, x, 64) == 0 && w[7] == 0 && steps[0] == 0 && steps[1] == 0);
    x[7] = 3e18f;
    CHECK_NEAR(tn_quantize_group8(w, x, 64) * (float)w[7] / 3e18f, 1, 0.004);
    CHECK_INT(w[6], 0);
    x[40] = -5; /* nothing beside the other part */
    const float scale = tn_quantize_group4(w, steps, x, 64);
    CHECK_NEAR(scale * (float)(w[7] * steps[0]) / 3e18f, 1, 0.004);
    CHECK(w[6] == 0 && w[40] * steps[1] == 0);
    for (int i = 0; i < 64; i++) x[i] = i < 32 ? 3e30f : -3e30f; /* squares beyond floats */
    const float large = tn_quantize_group4(w, steps, x, 64);
    CHECK(isfinite(large) && w[0] * steps[0] != 0 && abs(steps[0]) <= 15 && abs(steps[1]) <= 15);
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
    const char *steps; /* NULL: none */
    tn_dtype step_type;
    size_t step_shape[3];
} file;

/* Writes the tensors (zeros) and takes "m" [20, 40] from them. */
static int take(const file *f, tn_mat *m, tn_err *e) {
    static const unsigned char zeros[1 << 16];
    const char *path = test_path("quantised.safetensors");
    tn_tensor_spec specs[3] = {{f->integers, f->type, 3, {f->shape[0], f->shape[1], f->shape[2]}}};
    const tn_pair pair = {TN_Q_GROUP_KEY, f->group};
    size_t n = 1;
    if (f->scales) {
        specs[n] = (tn_tensor_spec){.name = f->scales, .dtype = f->scale_type, .rank = 3};
        memcpy(specs[n++].shape, f->scale_shape, sizeof f->scale_shape);
    }
    if (f->steps) {
        specs[n] = (tn_tensor_spec){.name = f->steps, .dtype = f->step_type, .rank = 3};
        memcpy(specs[n++].shape, f->step_shape, sizeof f->step_shape);
    }
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
    const file good8 = {"32", "m.q8", TN_U8, {2, 16, 64}, "m.scales", TN_BF16, {2, 2, 16}, NULL, TN_U8, {0}};
    const file good4 = {"64",    "m.q4",     TN_U8,     {2, 8, 64}, "m.scales",
                        TN_BF16, {2, 1, 16}, "m.steps", TN_I8,      {2, 2, 16}};
    file good = good8;
    tn_mat m = {.data = NULL};
    tn_err e = {0};
    CHECK_INT(take(&good, &m, &e), TN_OK);
    CHECK(m.bits == 8 && m.group == 32 && m.rows == 20 && m.cols == 40 && m.dtype == TN_U8);
    CHECK(m.steps == NULL);
    CHECK_INT(take(&good4, &m, &e), TN_OK);
    CHECK(m.bits == 4 && m.group == 64 && m.steps != NULL);
    file f;

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
    REFUSED(f.shape[2] = 16, TN_ESHAPE, "expected [2, 16, 64]");
    REFUSED(f.scales = NULL, TN_EFORMAT, "tensor \"m.scales\" is missing");
    REFUSED(f.scale_shape[2] = 15, TN_ESHAPE, "\"m.scales\" has shape");
    REFUSED(f.scale_type = TN_F16, TN_ESHAPE, "\"m.scales\" has type F16, expected BF16");
    REFUSED(f.type = TN_I8, TN_ESHAPE, "\"m.q8\" has type I8, expected U8");
    REFUSED(f.scales = "m.q4", TN_EFORMAT, "in more than one form");
    REFUSED(f.integers = "n.q8", TN_EFORMAT, "tensor \"m\" is missing");
    good = good4;
    REFUSED(f.shape[1] = 16, TN_ESHAPE, "\"m.q4\" has shape [2, 16, 64], expected [2, 8, 64]");
    REFUSED(f.group = "16416", TN_EFORMAT, "a group of 16416 columns of 4 bits");
    REFUSED(f.steps = NULL, TN_EFORMAT, "quantise the model again");
    REFUSED(f.step_type = TN_U8, TN_ESHAPE, "\"m.steps\" has type U8, expected I8");
    REFUSED(f.step_shape[1] = 1, TN_ESHAPE, "\"m.steps\" has shape [2, 1, 16], expected [2, 2, 16]");
#undef REFUSED
    tn_q_shapes s;
    CHECK_INT(tn_q_shapes_of(&s, SIZE_MAX - 3, 40, 8, 32, &e), TN_ESHAPE);
    CHECK_INT(tn_q_shapes_of(&s, 40, SIZE_MAX - 3, 8, 32, &e), TN_ESHAPE);
    CHECK_INT(tn_q_shapes_of(&s, SIZE_MAX / 32, 64, 8, 32, &e), TN_ESHAPE);
}

/* Embedding and head have a group of their own, and share the layers' where an older file has none. */
static void groups_of_the_head(void) {
    static const unsigned char zeros[1 << 12];
    static const char *const names[] = {"model.embed_tokens.weight", "lm_head.weight", "layer"};
    const char *path = test_path("groups.safetensors");
    char full[6][64];
    tn_err e = {0};
    for (int own = 0; own < 2; own++) {
        const tn_pair pairs[] = {{TN_Q_GROUP_KEY, "64"}, {TN_Q_HEAD_GROUP_KEY, "32"}};
        tn_tensor_spec specs[6];
        for (size_t i = 0; i < 3; i++) {
            snprintf(full[2 * i], sizeof full[0], "%s.q8", names[i]);
            snprintf(full[2 * i + 1], sizeof full[0], "%s.scales", names[i]);
            specs[2 * i] = (tn_tensor_spec){full[2 * i], TN_U8, 3, {1, 16, 64}};
            specs[2 * i + 1] = (tn_tensor_spec){full[2 * i + 1], TN_BF16, 3, {1, own && i < 2 ? 2 : 1, 16}};
        }
        tn_st_writer *w;
        tn_safetensors *st;
        if (!CHECK_INT(tn_st_create(&w, path, specs, 6, pairs, own ? 2 : 1, &e), TN_OK)) return;
        for (size_t i = 0; i < 6; i++)
            tn_st_write(w, zeros, specs[i].shape[1] * specs[i].shape[2] * tn_dtype_size(specs[i].dtype));
        if (!CHECK_INT(tn_st_finish(w, &e), TN_OK) || !CHECK_INT(tn_st_open_file(&st, path, &e), TN_OK))
            return;
        for (size_t i = 0; i < 3; i++) {
            tn_mat m = {.data = NULL};
            if (!CHECK_INT(tn_mat_take(&m, st, names[i], 16, 64, &e), TN_OK)) puts(e.msg);
            CHECK_INT(m.group, own && i < 2 ? 32 : 64);
        }
        tn_st_close(st);
    }
}

void test_quantize(void) {
    RUN(golden_bytes_of_8_bits);
    RUN(golden_bytes_of_4_bits);
    RUN(values_come_back);
    RUN(extremes);
    RUN(hostile_files);
    RUN(groups_of_the_head);
}
