/* Files of a model directory that is being written (model_dir.h). */
#include "convert/model_dir.h"

#include "tensor/os.h"

#include <stdio.h>

#define PATH_CAP 4096

static int remove_if_there(const char *dir, const char *name, tn_err *e) {
    char path[PATH_CAP];
    int rc = tn_path_join(path, sizeof path, dir, name, e);
    if (rc != TN_OK || !tn_file_exists(path)) return rc;
    return tn_remove_file(path) == 0 ? TN_OK : tn_fail(e, TN_EIO, "%s: cannot be removed", path);
}

int model_dir_begin(const char *dir, tn_err *e) {
    int rc = tn_make_dirs(dir, e);
    if (rc == TN_OK) rc = remove_if_there(dir, "config.json", e);
    /* Readers prefer this name to shards. */
    if (rc == TN_OK) rc = remove_if_there(dir, "model.safetensors", e);
    /* An index would send readers to the shards of an earlier model. */
    return rc == TN_OK ? remove_if_there(dir, "model.safetensors.index.json", e) : rc;
}

void model_dir_shard_name(char name[MODEL_DIR_SHARD_NAME], size_t index, size_t count) {
    if (count == 1)
        snprintf(name, MODEL_DIR_SHARD_NAME, "model.safetensors");
    else
        snprintf(name, MODEL_DIR_SHARD_NAME, "model-%05zu-of-%05zu.safetensors", index + 1, count);
}

int model_dir_weights_path(const char *dir, size_t index, size_t count, char *path, size_t cap, tn_err *e) {
    char name[MODEL_DIR_SHARD_NAME];
    model_dir_shard_name(name, index, count);
    int rc = remove_if_there(dir, name, e);
    return rc == TN_OK ? tn_path_join(path, cap, dir, name, e) : rc;
}

int model_dir_put(const char *dir, const char *name, const tn_buf *text, tn_err *e) {
    char path[PATH_CAP];
    if (text->failed) return tn_fail(e, TN_ENOMEM, "%s: no memory for its text", name);
    int rc = tn_path_join(path, sizeof path, dir, name, e);
    if (rc == TN_OK) rc = remove_if_there(dir, name, e);
    return rc == TN_OK ? tn_write_file(path, text->data, text->len, e) : rc;
}

int model_dir_copy(const char *to, const char *from, const char *name, tn_err *e) {
    char source[PATH_CAP], target[PATH_CAP];
    int rc = tn_path_join(source, sizeof source, from, name, e);
    if (rc != TN_OK) return rc;
    if (!tn_file_exists(source)) return remove_if_there(to, name, e);
    tn_map bytes;
    rc = tn_path_join(target, sizeof target, to, name, e);
    if (rc == TN_OK) rc = tn_map_file(&bytes, source, e);
    if (rc != TN_OK) return rc;
    rc = remove_if_there(to, name, e);
    if (rc == TN_OK) rc = tn_write_file(target, bytes.data, bytes.size, e);
    tn_unmap_file(&bytes);
    return rc;
}

/* Portable C cannot compare directories by name: "m" and "x/../m" are one. A file put in one shows up in the
 * other exactly when they are the same. */
int model_dir_same(const char *a, const char *b, tn_err *e) {
    static const char probe[] = ".same-directory";
    char in_a[PATH_CAP], in_b[PATH_CAP];
    int rc = tn_path_join(in_a, sizeof in_a, a, probe, e);
    if (rc == TN_OK) rc = tn_path_join(in_b, sizeof in_b, b, probe, e);
    if (rc != TN_OK) return rc;
    tn_remove_file(in_a); /* left by a run that was killed right here */
    rc = tn_write_file(in_b, "", 0, e);
    if (rc != TN_OK) return rc;
    int same = tn_file_exists(in_a);
    tn_remove_file(in_b);
    return same;
}
