/* Opens a Hugging Face directory: model.safetensors, or shards listed by model.safetensors.index.json.
 *
 *   {"metadata": {…}, "weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors", …}}
 *
 * The index must tell the truth: every tensor it lists is in the shard it names, and no tensor is in two
 * shards. Tensors that are in a shard but not listed are served all the same.
 */
#include "tensor/safetensors_impl.h"

#include <stdlib.h>
#include <string.h>

#define MAX_PATH 2048
#define INDEX "model.safetensors.index.json"

/* A shard lies in the directory itself, whatever the index says. */
static int is_plain_name(const char *name) {
    return name[0] != '\0' && name[0] != '.' && !strpbrk(name, "/\\");
}

/* The shard called `name`, opened when it is new; its index goes to *out. `room` is the size of the list. */
static int open_shard(tn_safetensors *f, const char *dir, const char *name, size_t room, size_t *out,
                      tn_err *e) {
    char path[MAX_PATH];
    int rc = tn_path_join(path, sizeof path, dir, name, e);
    if (rc != TN_OK) return rc;
    for (size_t i = f->n_shards; i-- > 0;) { /* newest first: the map is mostly in shard order */
        if (strcmp(f->shards[i]->label, path) == 0) {
            *out = i;
            return TN_OK;
        }
    }
    if (f->n_shards == room) return tn_fail(e, TN_EFORMAT, "%s: more shards than tensors", dir);
    rc = tn_st_open_file(&f->shards[f->n_shards], path, e);
    if (rc == TN_OK) *out = f->n_shards++;
    return rc;
}

/* Opens every shard of weight_map and checks that the tensors are where it says. `word` is scratch. */
static int open_shards(tn_safetensors *f, const char *dir, tn_json weight_map, tn_buf *word, tn_err *e) {
    size_t room = tn_json_count(weight_map);
    f->shards = calloc(room + 1, sizeof(tn_safetensors *));
    if (!f->shards) return tn_fail(e, TN_ENOMEM, "%s: no memory for its shards", dir);
    tn_json key, value;
    for (tn_json_iter it = tn_json_each(weight_map); tn_json_next(&it, &key, &value);) {
        char shard[256];
        size_t at = 0;
        tn_buf_clear(word);
        tn_json_string(key, word);
        if (word->failed) return tn_fail(e, TN_ENOMEM, "%s: no memory to read " INDEX, dir);
        const char *name = word->len ? word->data : "";
        if (!tn_json_copy(value, shard, sizeof shard) || !is_plain_name(shard))
            return tn_fail(e, TN_EFORMAT, "%.250s/" INDEX ": tensor \"%.120s\" is in no plain file name", dir,
                           name);
        int rc = open_shard(f, dir, shard, room, &at, e);
        if (rc != TN_OK) return rc;
        if (!tn_st_find(f->shards[at], name))
            return tn_fail(e, TN_EFORMAT, "%.250s/" INDEX ": tensor \"%.120s\" is not in %s", dir, name,
                           shard);
    }
    return TN_OK;
}

/* Names the first two shards that hold `name`. */
static int fail_twin(const tn_safetensors *f, const char *name, tn_err *e) {
    const char *where[2] = {"", ""};
    size_t n = 0;
    for (size_t i = 0; i < f->n_shards && n < 2; i++)
        if (tn_st_find(f->shards[i], name)) where[n++] = f->shards[i]->label;
    return tn_fail(e, TN_EFORMAT, "tensor \"%.120s\" is in both %.150s and %.150s", name, where[0], where[1]);
}

/* One list of the tensors of all shards. */
static int merge_shards(tn_safetensors *f, tn_err *e) {
    size_t total = 0;
    for (size_t i = 0; i < f->n_shards; i++) total += f->shards[i]->count;
    f->tensors = calloc(total + 1, sizeof *f->tensors);
    if (!f->tensors) return tn_fail(e, TN_ENOMEM, "%s: no memory for its %zu tensors", f->label, total);
    for (size_t i = 0; i < f->n_shards; i++) {
        const tn_safetensors *s = f->shards[i];
        if (s->count) memcpy(f->tensors + f->count, s->tensors, s->count * sizeof *s->tensors);
        f->count += s->count;
        f->bytes += s->bytes;
    }
    size_t twin = tn_st_sort(f);
    if (twin) return fail_twin(f, f->tensors[twin].name, e);
    return TN_OK;
}

/* The directory behind an index. */
static int open_index(tn_safetensors **out, const char *dir, const char *index_path, tn_err *e) {
    tn_map map;
    int rc = tn_map_file(&map, index_path, e);
    if (rc != TN_OK) return rc;
    tn_buf word = TN_BUF_INIT;
    tn_json root;
    tn_safetensors *f = tn_st_new(dir);
    if (!f) {
        rc = tn_fail(e, TN_ENOMEM, "%s: no memory to read it", dir);
    } else if ((rc = tn_json_parse(&root, map.data, map.size, e)) != TN_OK) {
        tn_fail_in(e, rc, index_path);
    } else if (tn_json_get(root, "weight_map").kind != TN_JSON_OBJECT) {
        rc = tn_fail(e, TN_EFORMAT, "%s: no object \"weight_map\"", index_path);
    } else {
        rc = open_shards(f, dir, tn_json_get(root, "weight_map"), &word, e);
        if (rc == TN_OK) rc = merge_shards(f, e);
    }
    tn_buf_free(&word);
    tn_unmap_file(&map);
    if (rc == TN_OK)
        *out = f;
    else
        tn_st_close(f);
    return rc;
}

int tn_st_open_dir(tn_safetensors **out, const char *dir, tn_err *e) {
    char path[MAX_PATH];
    *out = NULL;
    int rc = tn_path_join(path, sizeof path, dir, "model.safetensors", e);
    if (rc != TN_OK) return rc;
    if (tn_file_exists(path)) return tn_st_open_file(out, path, e);
    rc = tn_path_join(path, sizeof path, dir, INDEX, e);
    if (rc != TN_OK) return rc;
    if (tn_file_exists(path)) return open_index(out, dir, path, e);
    if (!tn_file_exists(dir)) return tn_fail(e, TN_EIO, "%s: no such directory", dir);
    return tn_fail(e, TN_EIO, "%s: holds neither model.safetensors nor " INDEX, dir);
}
