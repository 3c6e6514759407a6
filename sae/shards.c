/* Opening activation files as one (shards.h); shards_read.c reads them. */
#include "sae/shards.h"

#include "tensor/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT SAE_ACTS_FORMAT
#define SUFFIX ".safetensors"
enum { MAX_PATH = 1024, MOST_SHARDS = 99999 };

/* ---- one file ---- */

/* The bytes of column `name`, I32 [n]. */
static int take_column(const sae_shard *s, const char *name, const unsigned char **out, tn_err *e) {
    const tn_tensor *t;
    size_t shape[1] = {s->n};
    int rc = tn_st_require(s->file, name, 1, shape, &t, e);
    if (rc) return rc;
    if (t->dtype != TN_I32)
        return tn_fail(e, TN_ESHAPE, "%s: tensor \"%s\" has dtype %s, expected I32", s->path, name,
                       tn_dtype_name(t->dtype));
    *out = t->data;
    return TN_OK;
}

static int take_tensors(sae_shard *s, int *d, tn_err *e) {
    const tn_tensor *t = tn_st_find(s->file, "activations");
    if (!t) return tn_fail(e, TN_EFORMAT, "%s: tensor \"activations\" is missing", s->path);
    if (t->rank != 2 || t->shape[1] < 1 || t->shape[1] > INT32_MAX || t->shape[0] >= UINT32_MAX)
        return tn_fail(e, TN_ESHAPE, "%s: tensor \"activations\" is no matrix of rows and columns", s->path);
    if (t->dtype != TN_F32 && t->dtype != TN_BF16)
        return tn_fail(e, TN_ESHAPE, "%s: tensor \"activations\" has dtype %s, expected F32 or BF16", s->path,
                       tn_dtype_name(t->dtype));
    s->n = t->shape[0];
    s->dtype = t->dtype;
    s->rows = t->data;
    *d = (int)t->shape[1];
    int rc = take_column(s, "tokens", &s->tokens, e);
    if (!rc) rc = take_column(s, "doc", &s->doc, e);
    return rc ? rc : take_column(s, "pos", &s->pos, e);
}

/* Counts the documents of the metadata. */
static int count_documents(sae_shard *s, tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    tn_json root;
    int rc = TN_OK;
    if (!tn_st_metadata(s->file, "documents", &text))
        rc = tn_fail(e, TN_EFORMAT, "%s: metadata \"documents\" is missing", s->path);
    else if ((rc = tn_json_parse(&root, text.data ? text.data : "", text.len, e))) {
        tn_fail_in(e, rc, "metadata \"documents\"");
        tn_fail_in(e, rc, s->path);
    } else if (root.kind != TN_JSON_ARRAY)
        rc = tn_fail(e, TN_EFORMAT, "%s: metadata \"documents\" is no array", s->path);
    else
        s->docs = tn_json_count(root);
    tn_buf_free(&text);
    return rc;
}

/* Documents and positions of every row are in range; raises *context to 1 + the largest position. */
static int check_columns(const sae_shard *s, int *context, tn_err *e) {
    for (size_t r = 0; r < s->n; r++) {
        if (r % SAE_SHARD_PIECE == 0) {
            tn_st_release(s->file, s->pos, 4 * s->n);
            tn_st_release(s->file, s->doc, 4 * s->n);
        }
        int32_t pos = (int32_t)tn_load_u32(s->pos + 4 * r), doc = (int32_t)tn_load_u32(s->doc + 4 * r);
        if (pos < 0 || pos == INT32_MAX) /* so that the next position is a number too */
            return tn_fail(e, TN_EFORMAT, "%s: row %zu is at position %d", s->path, r, (int)pos);
        if (doc < 0 || (size_t)doc >= s->docs)
            return tn_fail(e, TN_EFORMAT, "%s: row %zu belongs to document %d of %zu", s->path, r, (int)doc,
                           s->docs);
        if (pos >= *context) *context = pos + 1;
    }
    return TN_OK;
}

/* Metadata `key` into dst when it is there and fits; 1 when it is. */
static int copy_metadata(const tn_safetensors *file, const char *key, char *dst, size_t cap) {
    tn_buf text = TN_BUF_INIT;
    int found = tn_st_metadata(file, key, &text) && text.len < cap;
    if (found) memcpy(dst, text.data ? text.data : "", text.len + 1);
    tn_buf_free(&text);
    return found;
}

/* Checks the file against the ones before it and counts it in. */
static int add_file(sae_shards *all, sae_shard *s, tn_err *e) {
    char format[64] = FORMAT, number[16] = "", last[8] = "", bos[8] = "", model[128] = "", hook[64] = "";
    int d = 0, rc = TN_OK;
    if (copy_metadata(s->file, "format", format, sizeof format) && strcmp(format, FORMAT) != 0)
        return tn_fail(e, TN_EUNSUP, "%s: format \"%.40s\" is not " FORMAT, s->path, format);
    if ((rc = take_tensors(s, &d, e)) || (rc = count_documents(s, e)) ||
        (rc = check_columns(s, &all->context, e)))
        return rc;
    copy_metadata(s->file, "model_name", model, sizeof model);
    copy_metadata(s->file, "hook_name", hook, sizeof hook);
    if (copy_metadata(s->file, "shard", number, sizeof number)) s->number = (int)strtol(number, NULL, 10);
    s->last = copy_metadata(s->file, "last_shard", last, sizeof last);
    int prepend_bos = copy_metadata(s->file, "prepend_bos", bos, sizeof bos) && !strcmp(bos, "true");
    if (s == all->at) {
        all->d = d;
        all->prepend_bos = prepend_bos;
        memcpy(all->model_name, model, sizeof model);
        memcpy(all->hook_name, hook, sizeof hook);
    }
    const char *first = all->at[0].path;
    if (d != all->d)
        return tn_fail(e, TN_ESHAPE, "%s: rows of width %d, those of %s have %d", s->path, d, first, all->d);
    if (strcmp(hook, all->hook_name) != 0)
        return tn_fail(e, TN_EARG, "%s: activations of %s, those of %s are of %s", s->path, hook, first,
                       all->hook_name);
    if (strcmp(model, all->model_name) != 0)
        return tn_fail(e, TN_EARG, "%s: activations of model %s, those of %s are of %s", s->path, model,
                       first, all->model_name);
    s->first_row = all->rows;
    s->first_doc = all->docs;
    if (s->n >= UINT32_MAX - all->rows || s->docs >= UINT32_MAX - all->docs)
        return tn_fail(e, TN_EUNSUP, "%s: more than %u rows or documents together", s->path, UINT32_MAX - 1);
    all->rows += s->n;
    all->docs += s->docs;
    tn_st_release_all(s->file);
    return TN_OK;
}

static int open_file(sae_shards *all, const char *path, tn_err *e) {
    if (all->count == all->cap) {
        size_t cap = all->cap ? 2 * all->cap : 16;
        sae_shard *at = realloc(all->at, cap * sizeof *at);
        if (!at) return tn_fail(e, TN_ENOMEM, "%s: no memory for its entry", path);
        all->at = at;
        all->cap = cap;
    }
    sae_shard *s = &all->at[all->count];
    *s = (sae_shard){.path = malloc(strlen(path) + 1)};
    if (!s->path) return tn_fail(e, TN_ENOMEM, "%s: no memory for its name", path);
    memcpy(s->path, path, strlen(path) + 1);
    all->count++;
    int rc = tn_st_open_file(&s->file, path, e);
    return rc ? rc : add_file(all, s, e);
}

/* ---- many files ---- */

int sae_shard_path(char *dst, size_t cap, const char *out, int number, tn_err *e) {
    size_t len = strlen(out), suffix = sizeof SUFFIX - 1;
    if (len > suffix && strcmp(out + len - suffix, SUFFIX) == 0) len -= suffix;
    int n = snprintf(dst, cap, "%.*s-%05d" SUFFIX, (int)len, out, number);
    return n < 0 || (size_t)n >= cap ? tn_fail(e, TN_EARG, "%.200s: file name is too long", out) : TN_OK;
}

/* The shards of the capture into `out`, up to the one that calls itself the last. */
static int open_capture(sae_shards *all, const char *out, tn_err *e) {
    char path[MAX_PATH];
    for (int number = 1; number <= MOST_SHARDS; number++) {
        int rc = sae_shard_path(path, sizeof path, out, number, e);
        if (!rc && !tn_file_exists(path))
            rc = tn_fail(e, TN_EIO,
                         "%s: is missing, and the shards before it are not the whole capture (sae capture "
                         "--resume goes on with it)",
                         path);
        if (!rc) rc = open_file(all, path, e);
        if (rc) return rc;
        const sae_shard *s = &all->at[all->count - 1];
        if (s->number != number)
            return tn_fail(e, TN_EFORMAT, "%s: calls itself shard %d of its capture", path, s->number);
        if (s->last) return TN_OK;
    }
    return tn_fail(e, TN_EUNSUP, "%s: more than %d shards", out, MOST_SHARDS);
}

/* A growing list of names. */
typedef struct {
    char **names; /* [count] */
    size_t count, cap;
} name_list;

static int keep_name(void *ctx, const char *name) {
    name_list *l = ctx;
    size_t len = strlen(name), suffix = sizeof SUFFIX - 1;
    if (len <= suffix || strcmp(name + len - suffix, SUFFIX) != 0) return TN_OK;
    if (l->count == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        char **names = realloc(l->names, cap * sizeof *names);
        if (!names) return TN_ENOMEM;
        l->names = names;
        l->cap = cap;
    }
    char *copy = malloc(len + 1);
    if (!copy) return TN_ENOMEM;
    memcpy(copy, name, len + 1);
    l->names[l->count++] = copy;
    return TN_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The activation files of a directory. Where they are shards, none may be missing between two. */
static int open_directory(sae_shards *all, const char *dir, tn_err *e) {
    name_list list = {NULL, 0, 0};
    int rc = tn_list_dir(dir, keep_name, &list, e);
    if (!rc && list.count == 0)
        rc = tn_fail(e, TN_EFORMAT, "%s: there is no activation file (*" SUFFIX ") in it", dir);
    if (!rc) qsort(list.names, list.count, sizeof *list.names, by_name);
    for (size_t i = 0, before = all->count; i < list.count && !rc; i++) {
        char path[MAX_PATH];
        rc = tn_path_join(path, sizeof path, dir, list.names[i], e);
        if (!rc) rc = open_file(all, path, e);
        if (rc) break;
        const sae_shard *s = &all->at[all->count - 1];
        int expected = all->count - 1 > before ? s[-1].number + 1 : 1;
        if (s->number > 1 && s->number != expected)
            rc = tn_fail(e, TN_EFORMAT, "%s: is shard %d of its capture, shard %d is missing", path,
                         s->number, expected);
    }
    for (size_t i = 0; i < list.count; i++) free(list.names[i]);
    free(list.names);
    return rc;
}

static int open_path(sae_shards *all, const char *path, tn_err *e) {
    char first[MAX_PATH];
    if (tn_is_dir(path)) return open_directory(all, path, e);
    if (!tn_file_exists(path) && !sae_shard_path(first, sizeof first, path, 1, NULL) && tn_file_exists(first))
        return open_capture(all, path, e);
    return open_file(all, path, e);
}

int sae_shards_open(sae_shards *out, const char *const *paths, int count, tn_err *e) {
    memset(out, 0, sizeof *out);
    int rc = count > 0 ? TN_OK : tn_fail(e, TN_EARG, "no activation file is given");
    if (!rc) snprintf(out->name, sizeof out->name, count > 1 ? "%.200s and more" : "%.200s", paths[0]);
    for (int i = 0; i < count && !rc; i++) rc = open_path(out, paths[i], e);
    if (rc) sae_shards_close(out);
    return rc;
}

void sae_shards_close(sae_shards *s) {
    for (size_t i = 0; i < s->count; i++) {
        free(s->at[i].path);
        tn_st_close(s->at[i].file);
    }
    free(s->at);
    memset(s, 0, sizeof *s);
}
