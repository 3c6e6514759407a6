/* Model directory in, the same model with another float type out (convert_floats). */
#include "convert/convert.h"
#include "convert/model_dir.h"
#include "convert/row_writer.h"

#include <stdlib.h>
#include <string.h>

/* A tensor as rows: the last dimension is a row, the others count them. */
static size_t row_length(const tn_tensor *t) {
    return t->rank > 0 ? t->shape[t->rank - 1] : 1;
}

static void tensor_row(const void *tensor, size_t row, float *x) {
    const tn_tensor *t = tensor;
    size_t cols = row_length(t);
    const unsigned char *data = t->data;
    (void)tn_to_f32(x, data + row * cols * tn_dtype_size(t->dtype), t->dtype, cols);
}

static int is_float(tn_dtype t) {
    return t == TN_F64 || t == TN_F32 || t == TN_F16 || t == TN_BF16;
}

static int check_floats(const tn_safetensors *in, const char *from, tn_err *e) {
    for (size_t i = 0; i < tn_st_count(in); i++) {
        const tn_tensor *t = tn_st_at(in, i);
        if (!is_float(t->dtype))
            return tn_fail(e, TN_EUNSUP, "%s: tensor \"%s\" is %s; only float tensors can be rewritten", from,
                           t->name, tn_dtype_name(t->dtype));
    }
    return TN_OK;
}

static int write_weights(const tn_safetensors *in, const char *path, const convert_opts *o, tn_err *e) {
    static const tn_pair metadata = {"format", "pt"};
    size_t n = tn_st_count(in);
    tn_tensor_spec *specs = calloc(n ? n : 1, sizeof *specs);
    if (!specs) return tn_fail(e, TN_ENOMEM, "%s: no memory for the tensor list", path);
    convert_rows w = {.opts = o};
    for (size_t i = 0; i < n; i++) {
        const tn_tensor *t = tn_st_at(in, i);
        specs[i] = (tn_tensor_spec){.name = t->name, .dtype = o->dtype, .rank = t->rank};
        memcpy(specs[i].shape, t->shape, sizeof specs[i].shape);
        w.total += t->count * tn_dtype_size(o->dtype);
    }
    int rc = tn_st_create(&w.out, path, specs, n, &metadata, 1, e);
    free(specs);
    if (rc != TN_OK) return rc;
    for (size_t i = 0; rc == TN_OK && i < n; i++) {
        const tn_tensor *t = tn_st_at(in, i);
        size_t cols = row_length(t);
        rc = convert_rows_write(&w, t->name, cols ? t->count / cols : 0, cols, tensor_row, t, e);
    }
    if (rc == TN_OK) return tn_st_finish(w.out, e);
    tn_st_abandon(w.out);
    return rc;
}

/* config.json with the new type: both spellings of the key are replaced, the older one added when neither is
 * there; everything else is copied as it stands. */
static int make_config(tn_buf *out, const char *from, tn_dtype dtype, tn_err *e) {
    char path[4096];
    tn_map bytes;
    tn_json root, key, value;
    int rc = tn_path_join(path, sizeof path, from, "config.json", e);
    if (rc == TN_OK) rc = tn_map_file(&bytes, path, e);
    if (rc != TN_OK) return rc;
    rc = tn_json_parse(&root, bytes.data, bytes.size, e);
    if (rc == TN_OK && root.kind != TN_JSON_OBJECT) rc = tn_fail(e, TN_EFORMAT, "expected an object");
    if (rc != TN_OK) {
        tn_unmap_file(&bytes);
        return tn_fail_in(e, rc, path);
    }
    tn_json_out j = tn_json_writer(out, 2);
    tn_buf name = TN_BUF_INIT;
    int replaced = 0;
    tn_json_begin_object(&j);
    for (tn_json_iter it = tn_json_each(root); tn_json_next(&it, &key, &value);) {
        tn_buf_clear(&name);
        tn_json_string(key, &name);
        tn_json_key(&j, name.data ? name.data : "");
        if (tn_json_is(key, "torch_dtype") || tn_json_is(key, "dtype")) {
            tn_json_puts(&j, convert_dtype_torch_name(dtype));
            replaced = 1;
        } else {
            tn_json_put_raw(&j, value.text, value.len);
        }
    }
    if (!replaced) {
        tn_json_key(&j, "torch_dtype");
        tn_json_puts(&j, convert_dtype_torch_name(dtype));
    }
    tn_json_end_object(&j);
    tn_buf_putc(out, '\n');
    if (name.failed || out->failed) rc = tn_fail(e, TN_ENOMEM, "%s: no memory to copy it", path);
    tn_buf_free(&name);
    tn_unmap_file(&bytes);
    return rc;
}

static int write_directory(const tn_safetensors *in, const tn_buf *config, const char *from, const char *to,
                           const convert_opts *o, tn_err *e) {
    /* Whatever else a model directory may hold that belongs to the model, not to its weights' type. */
    static const char *const copied[] = {
        "tokenizer.json",      "tokenizer_config.json",   "vocab.json",
        "merges.txt",          "special_tokens_map.json", "added_tokens.json",
        "chat_template.jinja", "generation_config.json",  "LICENSE"};
    char weights[4096];
    int rc = tn_make_dirs(to, e);
    if (rc != TN_OK) return rc;
    int same = model_dir_same(from, to, e);
    if (same < 0) return same;
    if (same) return tn_fail(e, TN_EARG, "%s: input and output are the same directory", to);
    rc = model_dir_weights_path(to, weights, sizeof weights, e);
    if (rc == TN_OK) rc = model_dir_begin(to, e);
    if (rc == TN_OK) rc = write_weights(in, weights, o, e);
    for (size_t i = 0; rc == TN_OK && i < sizeof copied / sizeof copied[0]; i++)
        rc = model_dir_copy(to, from, copied[i], e);
    return rc == TN_OK ? model_dir_put(to, "config.json", config, e) : rc; /* last: now it is complete */
}

int convert_floats(const char *from, const char *to, const convert_opts *o, tn_err *e) {
    tn_safetensors *in;
    tn_buf config = TN_BUF_INIT;
    if (o->dtype == CONVERT_AS_STORED) return tn_fail(e, TN_EARG, "a type to convert to is needed");
    int rc = tn_st_open_dir(&in, from, e);
    if (rc != TN_OK) return rc;
    rc = check_floats(in, from, e);
    if (rc == TN_OK) rc = make_config(&config, from, o->dtype, e);
    if (rc == TN_OK) rc = write_directory(in, &config, from, to, o, e);
    tn_buf_free(&config);
    tn_st_close(in);
    return rc;
}
