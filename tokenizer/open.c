/* Opening a tokenizer from the files of a model directory, or from memory. */
#include "tokenizer/model.h"

#include "tensor/os.h"

#include <stdlib.h>

static tok_model *new_model(tn_err *e) {
    tok_model *t = calloc(1, sizeof *t);
    if (!t) {
        tn_fail(e, TN_ENOMEM, "no memory for the tokenizer");
        return NULL;
    }
    t->unk = t->eos = -1;
    t->marks = tn_byte_marks_at(0);
    return t;
}

void tok_close(tok_model *t) {
    if (!t) return;
    tok_vocab_free(&t->vocab);
    tok_merges_free(&t->merges);
    tok_added_free(&t->raw);
    tok_added_free(&t->normalized);
    free(t->system);
    free(t);
}

int tok_open_mem(tok_model **out, const char *json, size_t len, const char *config, size_t config_len,
                 tn_err *e) {
    *out = NULL;
    tok_model *t = new_model(e);
    if (!t) return TN_ENOMEM;
    int status = tok_load_json(t, json, len, e);
    if (status != TN_OK) {
        tn_fail_in(e, status, "tokenizer.json");
    } else if (config) {
        status = tok_load_config(t, config, config_len, e);
        if (status != TN_OK) tn_fail_in(e, status, "tokenizer_config.json");
    }
    if (status == TN_OK)
        *out = t;
    else
        tok_close(t);
    return status;
}

/* A file of a directory, mapped, if it is there; data stays NULL when it is not. */
static int map_optional(tn_map *out, const char *dir, const char *name, tn_err *e) {
    char path[4096];
    *out = (tn_map){NULL, 0};
    int status = tn_path_join(path, sizeof path, dir, name, e);
    if (status == TN_OK && tn_file_exists(path)) status = tn_map_file(out, path, e);
    return status;
}

/* The files of a model directory that concern its tokenizer. */
enum { TOKENIZER, VOCAB, MERGES, CONFIG, TEMPLATE, FILE_COUNT };

static int load_files(tok_model *t, const tn_map *file, const char *dir, tn_err *e) {
    int status;
    if (file[TOKENIZER].data) {
        status = tok_load_json(t, file[TOKENIZER].data, file[TOKENIZER].size, e);
        if (status != TN_OK) return tn_fail_in(e, status, "tokenizer.json");
    } else if (file[VOCAB].data && file[MERGES].data) {
        status =
            tok_load_vocab(t, file[VOCAB].data, file[VOCAB].size, file[MERGES].data, file[MERGES].size, e);
        if (status != TN_OK) return status;
    } else {
        return tn_fail(e, TN_EIO, "%s: no tokenizer.json, and no vocab.json with merges.txt", dir);
    }
    if (file[CONFIG].data) {
        status = tok_load_config(t, file[CONFIG].data, file[CONFIG].size, e);
        if (status != TN_OK) return tn_fail_in(e, status, "tokenizer_config.json");
    }
    if (file[TEMPLATE].data) return tok_load_template(t, file[TEMPLATE].data, file[TEMPLATE].size, e);
    return TN_OK;
}

int tok_open_dir(tok_model **out, const char *dir, tn_err *e) {
    static const char *const names[FILE_COUNT] = {"tokenizer.json", "vocab.json", "merges.txt",
                                                  "tokenizer_config.json", "chat_template.jinja"};
    tn_map file[FILE_COUNT] = {{NULL, 0}};
    *out = NULL;
    tok_model *t = new_model(e);
    int status = t ? TN_OK : TN_ENOMEM;
    for (int i = 0; i < FILE_COUNT && status == TN_OK; i++) status = map_optional(&file[i], dir, names[i], e);
    if (status == TN_OK) status = load_files(t, file, dir, e);
    for (int i = 0; i < FILE_COUNT; i++) tn_unmap_file(&file[i]);
    if (status == TN_OK)
        *out = t;
    else
        tok_close(t);
    return status;
}
