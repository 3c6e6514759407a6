/* Model directory in, the same model with weights of another type out (convert_weights). */
#include "convert/model_dir.h"
#include "convert/weights_out.h"
#include "tensor/mat_file.h"

#include <string.h>

/* config.json with the new type. Floats: both spellings of the key are replaced, the older one added when
 * neither is there. Quantised: a "quantization_config" tells other readers why they cannot load it.
 * Everything else is copied as it stands. */
static int make_config(tn_buf *out, const char *from, const convert_type *type, tn_err *e) {
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
    int is_typed = type->bits != 0; /* then the type of the remaining floats stays */
    tn_json_begin_object(&j);
    for (tn_json_iter it = tn_json_each(root); tn_json_next(&it, &key, &value);) {
        tn_buf_clear(&name);
        tn_json_string(key, &name);
        if (type->bits && tn_json_is(key, "quantization_config")) continue;
        tn_json_key(&j, name.data ? name.data : "");
        if (!type->bits && (tn_json_is(key, "torch_dtype") || tn_json_is(key, "dtype"))) {
            tn_json_puts(&j, convert_dtype_torch_name(type->dtype));
            is_typed = 1;
        } else {
            tn_json_put_raw(&j, value.text, value.len);
        }
    }
    if (!is_typed) tn_json_member_text(&j, "torch_dtype", convert_dtype_torch_name(type->dtype));
    if (type->bits) {
        tn_json_key(&j, "quantization_config");
        tn_json_begin_object(&j);
        tn_json_member_text(&j, "quant_method", "scalpel");
        tn_json_member_i64(&j, "bits", type->bits);
        tn_json_end_object(&j);
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
    int rc = tn_make_dirs(to, e);
    if (rc != TN_OK) return rc;
    int same = model_dir_same(from, to, e);
    if (same < 0) return same;
    if (same) return tn_fail(e, TN_EARG, "%s: input and output are the same directory", to);
    rc = model_dir_begin(to, e);
    if (rc == TN_OK) rc = convert_weights_out(in, to, o, e);
    for (size_t i = 0; rc == TN_OK && i < sizeof copied / sizeof copied[0]; i++)
        rc = model_dir_copy(to, from, copied[i], e);
    return rc == TN_OK ? model_dir_put(to, "config.json", config, e) : rc; /* last: now it is complete */
}

int convert_weights(const char *from, const char *to, const convert_opts *o, tn_err *e) {
    tn_safetensors *in;
    tn_buf config = TN_BUF_INIT;
    if (!o->type.bits && o->type.dtype == CONVERT_AS_STORED)
        return tn_fail(e, TN_EARG, "a type to convert to is needed");
    int rc = o->type.bits ? tn_q_check_group(o->type.group, o->type.bits, e) : TN_OK;
    if (rc == TN_OK && o->type.bits) rc = tn_q_check_group(o->type.head_group, o->type.head_bits, e);
    if (rc == TN_OK) rc = tn_st_open_dir(&in, from, e);
    if (rc != TN_OK) return rc;
    rc = convert_check_floats(in, from, e);
    if (rc == TN_OK) rc = make_config(&config, from, &o->type, e);
    if (rc == TN_OK) rc = write_directory(in, &config, from, to, o, e);
    tn_buf_free(&config);
    tn_st_close(in);
    return rc;
}
