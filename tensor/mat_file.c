/* Matrices of safetensors files (see mat_file.h). */
#include "tensor/mat_file.h"

#include <stdio.h>
#include <string.h>

#define NAME "\"%.120s\""

const char *tn_q_suffix(int bits) {
    return bits == 8 ? ".q8" : ".q4";
}

int tn_q_check_group(size_t group, tn_err *e) {
    if (group >= TN_Q_PAD && group <= TN_Q_MAX_GROUP && group % TN_Q_PAD == 0) return TN_OK;
    return tn_fail(e, TN_EARG, "a group of %zu columns, expected a multiple of %d up to %d", group, TN_Q_PAD,
                   TN_Q_MAX_GROUP);
}

int tn_q_shapes_of(tn_q_shapes *out, size_t rows, size_t cols, int bits, size_t group, tn_err *e) {
    size_t elements;
    if (rows > SIZE_MAX - TN_Q_ROWS || cols > SIZE_MAX - TN_Q_PAD ||
        tn_mul_size(rows + TN_Q_ROWS, tn_q_pad(cols), &elements))
        return tn_fail(e, TN_ESHAPE, "a matrix [%zu, %zu] is too large", rows, cols);
    const size_t blocks = (rows + TN_Q_ROWS - 1) / TN_Q_ROWS, kpad = tn_q_pad(cols);
    *out = (tn_q_shapes){{blocks, kpad / (bits == 8 ? 4 : 8), 64},
                         {blocks, tn_q_groups(kpad, group), TN_Q_ROWS}};
    return TN_OK;
}

/* The size of the file's groups. */
static int read_group(const tn_safetensors *f, size_t *out, tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    size_t group = 0;
    int rc = TN_OK;
    if (!tn_st_metadata(f, TN_Q_GROUP_KEY, &text)) {
        rc = tn_fail(e, TN_EFORMAT, "weights: quantised, but __metadata__ has no \"" TN_Q_GROUP_KEY "\"");
    } else if (text.len == 0 || text.len > 6 || strspn(text.data, "0123456789") != text.len) {
        rc = tn_fail(e, TN_EFORMAT, "weights: \"" TN_Q_GROUP_KEY "\" is \"%.20s\", expected a number",
                     text.len ? text.data : "");
    } else {
        for (size_t i = 0; i < text.len; i++) group = 10 * group + (size_t)(text.data[i] - '0');
        rc = tn_q_check_group(group, e);
        if (rc) rc = tn_fail_in(e, TN_EFORMAT, "weights: \"" TN_Q_GROUP_KEY "\"");
    }
    tn_buf_free(&text);
    *out = group;
    return rc;
}

/* Tensor `name``suffix` of the given shape and type. */
static int take_part(const void **out, const tn_safetensors *f, const char *name, const char *suffix,
                     const size_t shape[3], tn_dtype dtype, tn_err *e) {
    char full[160];
    const tn_tensor *t;
    snprintf(full, sizeof full, "%s%s", name, suffix);
    int rc = tn_st_require(f, full, 3, shape, &t, e);
    if (rc) return rc;
    if (t->dtype != dtype)
        return tn_fail(e, TN_ESHAPE, "weights: tensor " NAME " has type %s, expected %s", full,
                       tn_dtype_name(t->dtype), tn_dtype_name(dtype));
    *out = t->data;
    return TN_OK;
}

static int take_quantised(tn_mat *out, const tn_safetensors *f, const char *name, int bits, size_t rows,
                          size_t cols, tn_err *e) {
    tn_q_shapes s;
    *out = (tn_mat){.dtype = TN_U8, .rows = rows, .cols = cols, .bits = bits};
    int rc = read_group(f, &out->group, e);
    if (!rc) rc = tn_q_shapes_of(&s, rows, cols, bits, out->group, e);
    if (!rc) rc = take_part(&out->data, f, name, tn_q_suffix(bits), s.data, TN_U8, e);
    if (!rc) rc = take_part(&out->scales, f, name, TN_Q_SCALES_SUFFIX, s.scales, TN_BF16, e);
    return rc;
}

static int has_part(const tn_safetensors *f, const char *name, int bits) {
    char full[160];
    snprintf(full, sizeof full, "%s%s", name, tn_q_suffix(bits));
    return tn_st_find(f, full) != NULL;
}

int tn_mat_exists(const tn_safetensors *f, const char *name) {
    return tn_st_find(f, name) || has_part(f, name, 8) || has_part(f, name, 4);
}

int tn_mat_take(tn_mat *out, const tn_safetensors *f, const char *name, size_t rows, size_t cols, tn_err *e) {
    const int q8 = has_part(f, name, 8), q4 = has_part(f, name, 4), floats = tn_st_find(f, name) != NULL;
    const tn_tensor *t;
    if (q8 + q4 + floats > 1)
        return tn_fail(e, TN_EFORMAT, "weights: matrix " NAME " is there in more than one form", name);
    if (q8 || q4) return take_quantised(out, f, name, q8 ? 8 : 4, rows, cols, e);
    int rc = tn_st_require(f, name, 2, (const size_t[]){rows, cols}, &t, e);
    if (rc) return rc;
    if (t->dtype != TN_F32 && t->dtype != TN_F16 && t->dtype != TN_BF16)
        return tn_fail(e, TN_ESHAPE, "weights: tensor " NAME " has type %s, expected F32, F16 or BF16", name,
                       tn_dtype_name(t->dtype));
    *out = (tn_mat){.data = t->data, .dtype = t->dtype, .rows = rows, .cols = cols};
    return TN_OK;
}
