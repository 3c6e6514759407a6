/* Reader of one safetensors file image (see safetensors.h).
 *
 *   byte 0      u64, little-endian: length H of the header
 *   byte 8      H bytes of JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}
 *   byte 8 + H  the tensors' bytes; data_offsets count from here
 *
 * The format asks that the tensors fill the data exactly, without holes or overlap, so that is checked as
 * well: a file with hidden bytes is not what it says. Messages give offsets from the start of the file.
 */
#include "tensor/safetensors_impl.h"

#include <stdlib.h>
#include <string.h>

/* As other readers do, refuse headers beyond this: no model needs more. */
#define MAX_HEADER 100000000

/* A tensor's name in a message; a hostile one is cut off. */
#define NAME "\"%.120s\""

/* Where a tensor lies in the data, and which it is. */
typedef struct {
    size_t begin, end;
    size_t tensor; /* index */
} extent;

/* How much of v a message shows, for "%.*s". */
static int shown(tn_json v) {
    return v.len < 40 ? (int)v.len : 40;
}

/* v as a size; 1 when it is a whole number >= 0 that fits. */
static int read_size(tn_json v, size_t *out) {
    int64_t n;
    if (!tn_json_i64(v, &n) || n < 0 || (uint64_t)n > SIZE_MAX) return 0;
    *out = (size_t)n;
    return 1;
}

static int read_dtype(tn_tensor *t, const char *name, tn_json v, tn_err *e) {
    char word[32];
    if (v.kind != TN_JSON_STRING) return tn_fail(e, TN_EFORMAT, "tensor " NAME " has no dtype", name);
    if (!tn_json_copy(v, word, sizeof word)) word[0] = '\0';
    t->dtype = tn_dtype_from_name(word, strlen(word));
    if (t->dtype == TN_DTYPE_COUNT)
        return tn_fail(e, TN_EUNSUP, "tensor " NAME " has the unknown dtype %.*s", name, shown(v), v.text);
    return TN_OK;
}

static int read_shape(tn_tensor *t, const char *name, tn_json v, tn_err *e) {
    if (v.kind != TN_JSON_ARRAY) return tn_fail(e, TN_EFORMAT, "tensor " NAME " has no shape", name);
    t->rank = 0;
    t->count = 1;
    tn_json key, item;
    for (tn_json_iter it = tn_json_each(v); tn_json_next(&it, &key, &item);) {
        if (t->rank == TN_MAX_RANK)
            return tn_fail(e, TN_EUNSUP, "tensor " NAME " has more than %d dimensions", name, TN_MAX_RANK);
        size_t *dim = &t->shape[t->rank++];
        if (!read_size(item, dim))
            return tn_fail(e, TN_EFORMAT, "tensor " NAME " has a dimension that is no size: %.*s", name,
                           shown(item), item.text);
        if (tn_mul_size(t->count, *dim, &t->count))
            return tn_fail(e, TN_EFORMAT, "tensor " NAME " has more elements than can be counted", name);
    }
    return TN_OK;
}

/* Sets x->begin and x->end; `start` and `size` are where the data starts and the file ends. */
static int read_offsets(extent *x, const tn_tensor *t, const char *name, tn_json v, size_t start, size_t size,
                        tn_err *e) {
    size_t bytes = SIZE_MAX, at[2] = {0, 0}, n = 0;
    tn_json key, item;
    if (v.kind != TN_JSON_ARRAY || tn_json_count(v) != 2)
        return tn_fail(e, TN_EFORMAT, "tensor " NAME " has no pair of data_offsets", name);
    for (tn_json_iter it = tn_json_each(v); tn_json_next(&it, &key, &item);)
        if (!read_size(item, &at[n++]))
            return tn_fail(e, TN_EFORMAT, "tensor " NAME " has a data offset that is no size: %.*s", name,
                           shown(item), item.text);
    if (at[0] > at[1]) return tn_fail(e, TN_EFORMAT, "tensor " NAME " ends before it begins", name);
    if (at[1] > size - start) {
        if (tn_add_size(at[1], start, &at[1])) at[1] = SIZE_MAX;
        return tn_fail(e, TN_EFORMAT, "tensor " NAME " ends at byte %zu, past the file's end at %zu", name,
                       at[1], size);
    }
    if (tn_mul_size(t->count, tn_dtype_size(t->dtype), &bytes) || bytes != at[1] - at[0])
        return tn_fail(e, TN_EFORMAT, "tensor " NAME " occupies %zu bytes, its shape and dtype ask for %zu",
                       name, at[1] - at[0], bytes);
    x->begin = at[0];
    x->end = at[1];
    return TN_OK;
}

/* One member of the header. */
static int read_tensor(tn_tensor *t, extent *x, const char *name, tn_json entry, size_t start, size_t size,
                       tn_err *e) {
    if (entry.kind != TN_JSON_OBJECT) return tn_fail(e, TN_EFORMAT, "tensor " NAME " is no object", name);
    static const char *const fields[] = {"dtype", "shape", "data_offsets"};
    int seen[3] = {0, 0, 0};
    tn_json key, value;
    for (tn_json_iter it = tn_json_each(entry); tn_json_next(&it, &key, &value);)
        for (int i = 0; i < 3; i++)
            if (tn_json_is(key, fields[i]) && seen[i]++)
                return tn_fail(e, TN_EFORMAT, "tensor " NAME " has two fields \"%s\"", name, fields[i]);
    int rc = read_dtype(t, name, tn_json_get(entry, "dtype"), e);
    if (rc == TN_OK) rc = read_shape(t, name, tn_json_get(entry, "shape"), e);
    if (rc == TN_OK) rc = read_offsets(x, t, name, tn_json_get(entry, "data_offsets"), start, size, e);
    return rc;
}

static int read_metadata(tn_safetensors *f, tn_json v, tn_err *e) {
    if (f->metadata.kind != TN_JSON_NONE) return tn_fail(e, TN_EFORMAT, "there are two __metadata__");
    if (v.kind != TN_JSON_OBJECT) return tn_fail(e, TN_EFORMAT, "__metadata__ is no object");
    tn_json key, value;
    for (tn_json_iter it = tn_json_each(v); tn_json_next(&it, &key, &value);)
        if (value.kind != TN_JSON_STRING)
            return tn_fail(e, TN_EFORMAT, "__metadata__ holds something else than strings");
    f->metadata = v;
    return TN_OK;
}

static int by_place(const void *pa, const void *pb) {
    const extent *a = pa, *b = pb;
    if (a->begin != b->begin) return a->begin < b->begin ? -1 : 1;
    return a->end < b->end ? -1 : a->end > b->end;
}

/* Walks the tensors in the order they lie in: each must start where the one before ends. */
static int check_layout(const tn_safetensors *f, extent *x, size_t start, size_t size, tn_err *e) {
    if (f->count) qsort(x, f->count, sizeof *x, by_place);
    size_t end = 0;
    for (size_t i = 0; i < f->count; i++) {
        const char *name = f->tensors[x[i].tensor].name;
        if (x[i].begin < end)
            return tn_fail(e, TN_EFORMAT, "tensors " NAME " and " NAME " overlap at byte %zu",
                           f->tensors[x[i - 1].tensor].name, name, start + x[i].begin);
        if (x[i].begin > end)
            return tn_fail(e, TN_EFORMAT, "%zu bytes before tensor " NAME " belong to no tensor",
                           x[i].begin - end, name);
        end = x[i].end;
    }
    if (end != size - start)
        return tn_fail(e, TN_EFORMAT, "the last %zu bytes belong to no tensor", size - start - end);
    return TN_OK;
}

/* Fills f from the header; x has room for every member. */
static int read_header(tn_safetensors *f, extent *x, tn_json root, const unsigned char *data, size_t start,
                       size_t size, tn_err *e) {
    tn_json key, value;
    for (tn_json_iter it = tn_json_each(root); tn_json_next(&it, &key, &value);) {
        int rc;
        if (tn_json_is(key, "__metadata__")) {
            if ((rc = read_metadata(f, value, e)) != TN_OK) return rc;
            continue;
        }
        size_t name = f->names.len;
        tn_json_string(key, &f->names);
        if (f->names.failed) return tn_fail(e, TN_ENOMEM, "no memory for the names of its tensors");
        if (f->names.len == name || memchr(f->names.data + name, '\0', f->names.len - name))
            return tn_fail(e, TN_EFORMAT, "a tensor's name is empty or has a NUL in it");
        tn_tensor *t = &f->tensors[f->count];
        extent *place = &x[f->count];
        rc = read_tensor(t, place, f->names.data + name, value, start, size, e);
        if (rc != TN_OK) return rc;
        tn_buf_putc(&f->names, '\0');
        t->data = data + start + place->begin;
        place->tensor = f->count++;
        f->bytes += place->end - place->begin;
    }
    if (f->names.failed) return tn_fail(e, TN_ENOMEM, "no memory for the names of its tensors");
    /* The names lie one after the other; only now does their buffer stay where it is. */
    const char *name = f->names.data;
    for (size_t i = 0; i < f->count; i++, name += strlen(name) + 1) f->tensors[i].name = name;

    int rc = check_layout(f, x, start, size, e);
    if (rc != TN_OK) return rc;
    size_t twin = tn_st_sort(f);
    if (twin) return tn_fail(e, TN_EFORMAT, "two tensors are called " NAME, f->tensors[twin].name);
    return TN_OK;
}

/* The whole image into the fresh object f. */
static int read_image(tn_safetensors *f, const unsigned char *data, size_t size, tn_err *e) {
    if (size < 8) return tn_fail(e, TN_EFORMAT, "%zu bytes are too few for a safetensors file", size);
    uint64_t header = tn_load_u64(data);
    if (header > MAX_HEADER)
        return tn_fail(e, TN_EFORMAT, "no safetensors file: its header would have %llu bytes",
                       (unsigned long long)header);
    if (header > size - 8)
        return tn_fail(e, TN_EFORMAT, "the header ends at byte %llu, past the file's end at %zu",
                       (unsigned long long)header + 8, size);
    tn_json root;
    int rc = tn_json_parse(&root, (const char *)data + 8, (size_t)header, e);
    if (rc != TN_OK) return rc;
    if (root.kind != TN_JSON_OBJECT) return tn_fail(e, TN_EFORMAT, "the header is no JSON object");

    size_t members = tn_json_count(root) + 1; /* never an empty allocation */
    f->tensors = calloc(members, sizeof *f->tensors);
    extent *x = calloc(members, sizeof *x);
    rc = f->tensors && x ? read_header(f, x, root, data, 8 + (size_t)header, size, e)
                         : tn_fail(e, TN_ENOMEM, "no memory for its %zu tensors", members);
    free(x);
    return rc;
}

tn_safetensors *tn_st_new(const char *label) {
    size_t len = strlen(label) + 1;
    tn_safetensors *f = calloc(1, sizeof *f);
    if (f) f->label = malloc(len);
    if (!f || !f->label) {
        free(f);
        return NULL;
    }
    memcpy(f->label, label, len);
    return f;
}

int tn_st_open_mem(tn_safetensors **out, const void *data, size_t size, const char *label, tn_err *e) {
    *out = NULL;
    tn_safetensors *f = tn_st_new(label);
    if (!f) return tn_fail(e, TN_ENOMEM, "%s: no memory to read it", label);
    int rc = read_image(f, data, size, e);
    if (rc != TN_OK) {
        tn_st_close(f);
        return tn_fail_in(e, rc, label);
    }
    *out = f;
    return TN_OK;
}

int tn_st_open_file(tn_safetensors **out, const char *path, tn_err *e) {
    *out = NULL;
    tn_map map;
    int rc = tn_map_file(&map, path, e);
    if (rc != TN_OK) return rc;
    rc = tn_st_open_mem(out, map.data, map.size, path, e);
    if (rc == TN_OK)
        (*out)->map = map;
    else
        tn_unmap_file(&map);
    return rc;
}

void tn_st_close(tn_safetensors *f) {
    if (!f) return;
    for (size_t i = 0; i < f->n_shards; i++) tn_st_close(f->shards[i]); /* which have no shards themselves */
    free(f->shards);
    tn_unmap_file(&f->map);
    tn_buf_free(&f->names);
    free(f->tensors);
    free(f->label);
    free(f);
}

/* ---- looking up ---- */

static int by_name(const void *a, const void *b) {
    return strcmp(((const tn_tensor *)a)->name, ((const tn_tensor *)b)->name);
}

size_t tn_st_sort(tn_safetensors *f) {
    if (f->count) qsort(f->tensors, f->count, sizeof *f->tensors, by_name);
    for (size_t i = 1; i < f->count; i++)
        if (strcmp(f->tensors[i - 1].name, f->tensors[i].name) == 0) return i;
    return 0;
}

size_t tn_st_count(const tn_safetensors *f) {
    return f->count;
}

const tn_tensor *tn_st_at(const tn_safetensors *f, size_t i) {
    return &f->tensors[i];
}

const tn_tensor *tn_st_find(const tn_safetensors *f, const char *name) {
    tn_tensor key = {.name = name};
    return f->count ? bsearch(&key, f->tensors, f->count, sizeof key, by_name) : NULL;
}

size_t tn_st_bytes(const tn_safetensors *f) {
    return f->bytes;
}

/* "[2, 3]" into dst. */
static const char *shape_text(tn_buf *dst, int rank, const size_t *shape) {
    tn_buf_putc(dst, '[');
    for (int i = 0; i < rank; i++) tn_buf_printf(dst, i ? ", %zu" : "%zu", shape[i]);
    tn_buf_putc(dst, ']');
    return dst->failed ? "?" : dst->data;
}

int tn_st_require(const tn_safetensors *f, const char *name, int rank, const size_t *shape,
                  const tn_tensor **out, tn_err *e) {
    *out = NULL;
    const tn_tensor *t = tn_st_find(f, name);
    if (!t) return tn_fail(e, TN_EFORMAT, "%.250s: tensor " NAME " is missing", f->label, name);
    int same = t->rank == rank;
    for (int i = 0; same && i < rank; i++) same = t->shape[i] == shape[i];
    if (!same) {
        tn_buf has = TN_BUF_INIT, want = TN_BUF_INIT;
        tn_fail(e, TN_ESHAPE, "%.250s: tensor " NAME " has shape %s, expected %s", f->label, name,
                shape_text(&has, t->rank, t->shape), shape_text(&want, rank, shape));
        tn_buf_free(&has);
        tn_buf_free(&want);
        return TN_ESHAPE;
    }
    *out = t;
    return TN_OK;
}

void tn_st_release(const tn_safetensors *f, const void *from, size_t n) {
    const uintptr_t at = (uintptr_t)from, start = (uintptr_t)f->map.data;
    if (f->map.data && at >= start && at - start < f->map.size) tn_map_release(&f->map, from, n);
    for (size_t i = 0; i < f->n_shards; i++) tn_st_release(f->shards[i], from, n);
}

void tn_st_release_all(const tn_safetensors *f) {
    tn_map_release(&f->map, f->map.data, f->map.size);
    for (size_t i = 0; i < f->n_shards; i++) tn_st_release_all(f->shards[i]);
}

int tn_st_metadata(const tn_safetensors *f, const char *key, tn_buf *out) {
    if (tn_json_string(tn_json_get(f->metadata, key), out)) return 1;
    for (size_t i = 0; i < f->n_shards; i++)
        if (tn_st_metadata(f->shards[i], key, out)) return 1;
    return 0;
}
