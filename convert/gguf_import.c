/* GGUF file in, Hugging Face directory out (convert_gguf). Everything but the weights is read, checked and
 * put into text before the first byte is written, so a file we cannot import leaves no trace. */
#include "convert/convert.h"
#include "convert/gguf_model.h"
#include "convert/gguf_tokenizer.h"
#include "convert/model_dir.h"

#include <stdlib.h>

/* The small files of the directory. */
typedef struct {
    tn_buf tokenizer, tokenizer_config, generation_config, config;
} texts;

static int make_texts(texts *t, const gguf_model *m, tn_dtype dtype, tn_err *e) {
    gguf_model_config(m, dtype, &t->config);
    gguf_model_generation_config(m, &t->generation_config);
    return gguf_tokenizer(m->file, m->vocab, m->context, &t->tokenizer, &t->tokenizer_config, e);
}

static void free_texts(texts *t) {
    tn_buf_free(&t->tokenizer);
    tn_buf_free(&t->tokenizer_config);
    tn_buf_free(&t->generation_config);
    tn_buf_free(&t->config);
}

static int write_weights(const gguf_model *m, const char *path, const convert_opts *o, tn_err *e) {
    static const tn_pair metadata = {"format", "pt"}; /* transformers asks for it */
    tn_tensor_spec *specs = calloc(m->n_weights, sizeof *specs);
    if (!specs) return tn_fail(e, TN_ENOMEM, "%s: no memory for the tensor list", path);
    convert_rows w = {.opts = o};
    for (size_t i = 0; i < m->n_weights; i++) {
        const gguf_weight *t = &m->weights[i];
        specs[i] = (tn_tensor_spec){t->name, o->type.dtype, t->rank, {t->rows, t->cols}};
        if (t->rank == 1) specs[i].shape[0] = t->cols;
        w.total += t->src->count * tn_dtype_size(o->type.dtype);
    }
    int rc = tn_st_create(&w.out, path, specs, m->n_weights, &metadata, 1, e);
    free(specs);
    if (rc != TN_OK) return rc;
    for (size_t i = 0; rc == TN_OK && i < m->n_weights; i++) {
        const gguf_weight *t = &m->weights[i];
        rc = convert_rows_write(&w, t->name, o->type.dtype, t->rows, t->cols, gguf_weight_row, t, e);
    }
    if (rc == TN_OK) return tn_st_finish(w.out, e);
    tn_st_abandon(w.out);
    return rc;
}

static int write_directory(const gguf_model *m, const texts *t, const char *dir, const convert_opts *o,
                           tn_err *e) {
    char weights[4096];
    int rc = model_dir_begin(dir, e);
    if (rc == TN_OK) rc = model_dir_weights_path(dir, 0, 1, weights, sizeof weights, e);
    if (rc == TN_OK) rc = write_weights(m, weights, o, e);
    if (rc == TN_OK) rc = model_dir_put(dir, "tokenizer.json", &t->tokenizer, e);
    if (rc == TN_OK) rc = model_dir_put(dir, "tokenizer_config.json", &t->tokenizer_config, e);
    if (rc == TN_OK) rc = model_dir_put(dir, "generation_config.json", &t->generation_config, e);
    if (rc == TN_OK) rc = model_dir_put(dir, "config.json", &t->config, e); /* last: now it is complete */
    return rc;
}

static int import(const gguf_file *f, const char *dir, const convert_opts *opts, tn_err *e) {
    gguf_model m;
    texts t = {TN_BUF_INIT, TN_BUF_INIT, TN_BUF_INIT, TN_BUF_INIT};
    int rc = gguf_model_read(&m, f, e);
    if (rc != TN_OK) return rc;
    convert_opts o = *opts;
    if (o.type.dtype == CONVERT_AS_STORED) o.type.dtype = gguf_model_stored_dtype(&m);
    rc = make_texts(&t, &m, o.type.dtype, e);
    if (rc == TN_OK) rc = write_directory(&m, &t, dir, &o, e);
    free_texts(&t);
    gguf_model_free(&m);
    return rc;
}

int convert_gguf(const char *file, const char *dir, const convert_opts *o, tn_err *e) {
    tn_map bytes;
    gguf_file *f;
    int rc = tn_map_file(&bytes, file, e);
    if (rc != TN_OK) return rc;
    rc = gguf_open_mem(&f, bytes.data, bytes.size, file, e);
    if (rc == TN_OK) rc = import(f, dir, o, e);
    gguf_close(f);
    tn_unmap_file(&bytes);
    return rc;
}
