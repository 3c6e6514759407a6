/* Matrices of safetensors files (see mat_file.h). */
#include "tensor/mat_file.h"

#include <stdio.h>
#include <string.h>

#define NAME "\"%.120s\""

int tn_mat_is_head(const char *name) {
    return strcmp(name, "model.embed_tokens.weight") == 0 || strcmp(name, "lm_head.weight") == 0;
}

const char *tn_q_suffix(int bits) {
    return bits == 8 ? ".q8" : ".q4";
}

int tn_q_check_group(size_t group, int bits, tn_err *e) {
    const size_t most = tn_q_max_group(bits);
    if (group >= TN_Q_PAD && group <= most && group % TN_Q_PAD == 0) return TN_OK;
    return tn_fail(e, TN_EARG, "a group of %zu columns of %d bits, expected a multiple of %d up to %zu",
                   group, bits, TN_Q_PAD, most);
}

int tn_q_shapes_of(tn_q_shapes *out, size_t rows, size_t cols, int bits, size_t group, tn_err *e) {
    size_t elements;
    if (rows > SIZE_MAX - TN_Q_ROWS || cols > SIZE_MAX - TN_Q_PAD ||
        tn_mul_size(rows + TN_Q_ROWS, tn_q_pad(cols), &elements))
        return tn_fail(e, TN_ESHAPE, "a matrix [%zu, %zu] is too large", rows, cols);
    const size_t blocks = (rows + TN_Q_ROWS - 1) / TN_Q_ROWS, kpad = tn_q_pad(cols);
    *out = (tn_q_shapes){.data = {blocks, kpad / (bits == 8 ? 4 : 8), 64},
                         .scales = {blocks, tn_q_groups(kpad, group), TN_Q_ROWS}};
    if (bits == 4) memcpy(out->steps, (size_t[]){blocks, kpad / TN_Q_PAD, TN_Q_ROWS}, sizeof out->steps);
    return TN_OK;
}

/* The size of the groups of matrix `name`. */
static int read_group(const tn_safetensors *f, const char *name, int bits, size_t *out, tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    size_t group = 0;
    int rc = TN_OK;
    const char *key = TN_Q_HEAD_GROUP_KEY;
    int found = tn_mat_is_head(name) && tn_st_metadata(f, key, &text);
    if (!found) {
        key = TN_Q_GROUP_KEY;
        found = tn_st_metadata(f, key, &text);
    }
    if (!found) {
        rc = tn_fail(e, TN_EFORMAT, "weights: quantised, but __metadata__ has no \"%s\"", key);
    } else if (text.len == 0 || text.len > 6 || strspn(text.data, "0123456789") != text.len) {
        rc = tn_fail(e, TN_EFORMAT, "weights: \"%s\" is \"%.20s\", expected a number", key,
                     text.len ? text.data : "");
    } else {
        for (size_t i = 0; i < text.len; i++) group = 10 * group + (size_t)(text.data[i] - '0');
        rc = tn_q_check_group(group, bits, e);
        if (rc) {
            (void)tn_fail_in(e, rc, key);
            rc = tn_fail_in(e, TN_EFORMAT, "weights");
        }
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

static int has_part(const tn_safetensors *f, const char *name, const char *suffix) {
    char full[160];
    snprintf(full, sizeof full, "%s%s", name, suffix);
    return tn_st_find(f, full) != NULL;
}

static int take_quantised(tn_mat *out, const tn_safetensors *f, const char *name, int bits, size_t rows,
                          size_t cols, tn_err *e) {
    tn_q_shapes s;
    *out = (tn_mat){.dtype = TN_U8, .rows = rows, .cols = cols, .bits = bits};
    if (bits == 4 && !has_part(f, name, TN_Q_STEPS_SUFFIX))
        return tn_fail(e, TN_EFORMAT,
                       "weights: matrix " NAME " has 4 bits and no \"" TN_Q_STEPS_SUFFIX
                       "\", as earlier versions wrote it: quantise the model again",
                       name);
    int rc = read_group(f, name, bits, &out->group, e);
    if (!rc) rc = tn_q_shapes_of(&s, rows, cols, bits, out->group, e);
    if (!rc) rc = take_part(&out->data, f, name, tn_q_suffix(bits), s.data, TN_U8, e);
    if (!rc) rc = take_part(&out->scales, f, name, TN_Q_SCALES_SUFFIX, s.scales, TN_BF16, e);
    if (!rc && bits == 4) rc = take_part(&out->steps, f, name, TN_Q_STEPS_SUFFIX, s.steps, TN_I8, e);
    return rc;
}

int tn_mat_exists(const tn_safetensors *f, const char *name) {
    return tn_st_find(f, name) || has_part(f, name, ".q8") || has_part(f, name, ".q4");
}

int tn_mat_take(tn_mat *out, const tn_safetensors *f, const char *name, size_t rows, size_t cols, tn_err *e) {
    const int q8 = has_part(f, name, ".q8"), q4 = has_part(f, name, ".q4"),
              floats = tn_st_find(f, name) != NULL;
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
