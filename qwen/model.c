/* Opening a model, from a directory or from memory, and looking at it. */
#include "qwen/model.h"
#include "tensor/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs qwen_bind_weights twice: first to check and measure, then into a block of that size. */
static int bind(qwen_model *m, tn_err *e) {
    tn_arena a = tn_arena_measure();
    int rc = qwen_bind_weights(m, &a, e);
    if (rc) return rc;
    size_t bytes;
    if (tn_add_size(a.used, TN_ALIGN, &bytes) || !(m->block = malloc(bytes)))
        return tn_fail(e, TN_ENOMEM, "out of memory for the norms and biases");
    a = tn_arena_on(m->block, bytes);
    return qwen_bind_weights(m, &a, e);
}

int qwen_open_mem(qwen_model **out, const char *config, size_t config_len, const char *generation,
                  size_t generation_len, const tn_safetensors *weights, const char *name, tn_err *e) {
    *out = NULL;
    qwen_model *m = calloc(1, sizeof *m);
    if (!m) return tn_fail(e, TN_ENOMEM, "out of memory for the model");
    m->weights = weights;
    snprintf(m->name, sizeof m->name, "%s", name ? name : "");
    int rc = qwen_config_parse(&m->config, config, config_len, generation, generation_len, e);
    if (!rc) rc = bind(m, e);
    if (rc) {
        qwen_close(m);
        return rc;
    }
    *out = m;
    return TN_OK;
}

/* The last part of a path: "models/tiny/" -> "tiny". */
static void last_part(char *dst, size_t cap, const char *dir) {
    size_t end = strlen(dir);
    while (end > 0 && dir[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && dir[begin - 1] != '/') begin--;
    snprintf(dst, cap, "%.*s", (int)(end - begin), dir + begin);
}

int qwen_open_dir(qwen_model **out, const char *dir, tn_err *e) {
    char path[4096], name[128];
    tn_map config = {.data = NULL, .size = 0}, generation = {.data = NULL, .size = 0};
    tn_safetensors *weights = NULL;
    *out = NULL;
    last_part(name, sizeof name, dir);

    int rc = tn_path_join(path, sizeof path, dir, "config.json", e);
    if (!rc) rc = tn_map_file(&config, path, e);
    if (!rc) rc = tn_path_join(path, sizeof path, dir, "generation_config.json", e);
    if (!rc && tn_file_exists(path)) rc = tn_map_file(&generation, path, e);
    if (!rc) rc = tn_st_open_dir(&weights, dir, e);
    if (!rc)
        rc = qwen_open_mem(out, config.data, config.size, generation.data, generation.size, weights, name, e);

    if (rc)
        tn_st_close(weights);
    else
        (*out)->owned_weights = weights;
    tn_unmap_file(&generation);
    tn_unmap_file(&config);
    return rc;
}

void qwen_close(qwen_model *m) {
    if (!m) return;
    tn_st_close(m->owned_weights);
    free(m->block);
    free(m);
}

const qwen_config *qwen_model_config(const qwen_model *m) {
    return &m->config;
}

const char *qwen_model_name(const qwen_model *m) {
    return m->name;
}

const tn_safetensors *qwen_model_weights(const qwen_model *m) {
    return m->weights;
}

const qwen_layer *qwen_model_layer(const qwen_model *m, int layer) {
    return &m->layer[layer];
}

tn_mat qwen_model_embedding(const qwen_model *m) {
    return m->embedding;
}

tn_mat qwen_model_head(const qwen_model *m) {
    return m->head;
}

const float *qwen_model_final_norm(const qwen_model *m) {
    return m->final_norm;
}
