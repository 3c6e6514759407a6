/* The GGUF reader: a cursor that never runs past the end, then one pass over metadata and tensor infos. */
#include "convert/gguf_file.h"
#include "tensor/dtype.h"
#include "tensor/utf8.h"

#include <stdlib.h>
#include <string.h>

/* ---- Cursor ---- */

typedef struct {
    const gguf_file *f;
    size_t pos; /* <= f->size */
} cursor;

static int fail_end(const cursor *c, const char *what, tn_err *e) {
    return tn_fail(e, TN_EFORMAT, "%s: the file ends at byte %zu, inside %s that starts at byte %zu",
                   c->f->label, c->f->size, what, c->pos);
}

/* The next n bytes, or NULL when there are fewer. */
static const unsigned char *take(cursor *c, size_t n) {
    if (n > c->f->size - c->pos) return NULL;
    const unsigned char *p = c->f->data + c->pos;
    c->pos += n;
    return p;
}

static int take_u32(cursor *c, const char *what, uint32_t *out, tn_err *e) {
    const unsigned char *p = take(c, 4);
    if (!p) return fail_end(c, what, e);
    *out = tn_load_u32(p);
    return TN_OK;
}

static int take_u64(cursor *c, const char *what, uint64_t *out, tn_err *e) {
    const unsigned char *p = take(c, 8);
    if (!p) return fail_end(c, what, e);
    *out = tn_load_u64(p);
    return TN_OK;
}

/* A count of things that take at least `least` bytes each: refused unless that many can still follow, so
 * that it is safe to allocate by it. */
static int take_count(cursor *c, const char *what, size_t least, size_t *out, tn_err *e) {
    uint64_t n;
    int rc = take_u64(c, what, &n, e);
    if (rc != TN_OK) return rc;
    size_t left = c->f->size - c->pos;
    if (n > left / least)
        return tn_fail(e, TN_EFORMAT, "%s: %llu is too large for %s: only %zu bytes follow", c->f->label,
                       (unsigned long long)n, what, left);
    *out = (size_t)n;
    return TN_OK;
}

static int is_utf8(const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        int length = tn_utf8_length(s + i, n - i);
        if (length == 0) return 0;
        i += (size_t)length;
    }
    return 1;
}

static int take_string(cursor *c, const char *what, gguf_str *out, tn_err *e) {
    size_t start = c->pos;
    int rc = take_count(c, what, 1, &out->len, e);
    if (rc != TN_OK) return rc;
    out->data = (const char *)take(c, out->len); /* fits: take_count has looked */
    if (!is_utf8(out->data, out->len))
        return tn_fail(e, TN_EFORMAT, "%s: %s at byte %zu is not UTF-8", c->f->label, what, start);
    return TN_OK;
}

/* A key or tensor name: a string that can be handed on as C text. */
static int take_name(cursor *c, const char *what, gguf_str *out, tn_err *e) {
    size_t start = c->pos;
    int rc = take_string(c, what, out, e);
    if (rc != TN_OK) return rc;
    if (out->len == 0 || out->len > 65535 || memchr(out->data, 0, out->len))
        return tn_fail(e, TN_EFORMAT, "%s: %s at byte %zu is empty, too long or holds a NUL", c->f->label,
                       what, start);
    return TN_OK;
}

/* ---- Metadata ---- */

static int take_value_type(cursor *c, gguf_str key, gguf_value_type *out, tn_err *e) {
    uint32_t type = 0;
    int rc = take_u32(c, "a metadata value's type", &type, e);
    if (rc != TN_OK) return rc;
    if (type >= GGUF_VALUE_COUNT)
        return tn_fail(e, TN_EFORMAT, "%s: metadata \"%s\" has the unknown value type %u", c->f->label,
                       gguf_show(key).text, (unsigned)type);
    *out = (gguf_value_type)type;
    return TN_OK;
}

static int take_kv(cursor *c, gguf_kv *kv, tn_err *e) {
    int rc = take_name(c, "a metadata key", &kv->key, e);
    if (rc == TN_OK) rc = take_value_type(c, kv->key, &kv->type, e);
    if (rc != TN_OK) return rc;
    kv->is_array = kv->type == GGUF_ARRAY;
    kv->count = 1;
    if (kv->is_array) {
        rc = take_value_type(c, kv->key, &kv->type, e);
        if (rc != TN_OK) return rc;
        if (kv->type == GGUF_ARRAY)
            return tn_fail(e, TN_EUNSUP, "%s: metadata \"%s\" is an array of arrays, which is not supported",
                           c->f->label, gguf_show(kv->key).text);
        size_t least = kv->type == GGUF_STRING ? 8 : gguf_value_size(kv->type);
        rc = take_count(c, "a metadata array", least, &kv->count, e);
        if (rc != TN_OK) return rc;
    }
    kv->data = c->f->data + c->pos;
    if (kv->type != GGUF_STRING)
        return take(c, kv->count * gguf_value_size(kv->type)) ? TN_OK : fail_end(c, "a metadata value", e);
    for (size_t i = 0; i < kv->count; i++) {
        gguf_str skipped;
        rc = take_string(c, "a metadata string", &skipped, e);
        if (rc != TN_OK) return rc;
    }
    return TN_OK;
}

/* ---- Tensors ---- */

/* Reads one tensor info; `data` still holds the offset, which is resolved when the infos have ended. */
static int take_tensor(cursor *c, gguf_tensor *t, uint64_t *offset, tn_err *e) {
    const char *label = c->f->label;
    uint32_t rank, type;
    int rc = take_name(c, "a tensor name", &t->name, e);
    if (rc == TN_OK) rc = take_u32(c, "a tensor's rank", &rank, e);
    if (rc != TN_OK) return rc;
    if (rank < 1 || rank > GGUF_MAX_RANK)
        return tn_fail(e, TN_EFORMAT, "%s: tensor \"%s\" has rank %u, expected 1 to %d", label,
                       gguf_show(t->name).text, (unsigned)rank, GGUF_MAX_RANK);
    t->rank = (int)rank;
    t->count = 1;
    for (uint32_t i = 0; i < rank; i++) {
        uint64_t n;
        rc = take_u64(c, "a tensor's shape", &n, e);
        if (rc != TN_OK) return rc;
        if (n == 0 || n > SIZE_MAX || tn_mul_size(t->count, (size_t)n, &t->count) != 0)
            return tn_fail(e, TN_EFORMAT, "%s: tensor \"%s\" has an impossible dimension of %llu", label,
                           gguf_show(t->name).text, (unsigned long long)n);
        t->shape[i] = (size_t)n;
    }
    rc = take_u32(c, "a tensor's type", &type, e);
    if (rc == TN_OK) rc = take_u64(c, "a tensor's offset", offset, e);
    if (rc != TN_OK) return rc;
    t->type = gguf_type_find(type);
    if (!t->type)
        return tn_fail(e, TN_EUNSUP, "%s: tensor \"%s\" has type %u (%s), which is not supported", label,
                       gguf_show(t->name).text, (unsigned)type, gguf_type_name(type));
    if (t->shape[0] % t->type->elements)
        return tn_fail(e, TN_EFORMAT, "%s: tensor \"%s\" has rows of %zu elements, no multiple of %s's %zu",
                       label, gguf_show(t->name).text, t->shape[0], t->type->name, t->type->elements);
    if (tn_mul_size(t->count / t->type->elements, t->type->bytes, &t->bytes) != 0)
        return tn_fail(e, TN_EFORMAT, "%s: tensor \"%s\" is too large", label, gguf_show(t->name).text);
    return TN_OK;
}

/* The data section starts at the next multiple of the alignment behind the infos. */
static int data_start(const gguf_file *f, size_t infos_end, size_t *start, size_t *alignment, tn_err *e) {
    uint64_t align = 32; /* when the file names none */
    int rc = gguf_get_uint(f, "general.alignment", GGUF_OPTIONAL, &align, e);
    if (rc != TN_OK) return rc;
    if (align < 8 || align > 1u << 30 || (align & (align - 1)))
        return tn_fail(e, TN_EFORMAT, "%s: general.alignment is %llu, expected a power of two from 8 on",
                       f->label, (unsigned long long)align);
    *alignment = (size_t)align;
    if (tn_add_size(infos_end, *alignment - 1, start) != 0)
        return tn_fail(e, TN_EFORMAT, "%s: the file is too large", f->label);
    *start -= *start % *alignment;
    return TN_OK;
}

static int place_tensor(const gguf_file *f, gguf_tensor *t, uint64_t offset, size_t start, size_t alignment,
                        tn_err *e) {
    if (offset % alignment)
        return tn_fail(e, TN_EFORMAT, "%s: tensor \"%s\" has offset %llu, no multiple of the alignment %zu",
                       f->label, gguf_show(t->name).text, (unsigned long long)offset, alignment);
    if (start > f->size || offset > f->size - start || t->bytes > f->size - start - offset)
        return tn_fail(
            e, TN_EFORMAT,
            "%s: tensor \"%s\" of %zu bytes at offset %llu does not fit: the file ends at byte %zu", f->label,
            gguf_show(t->name).text, t->bytes, (unsigned long long)offset, f->size);
    t->data = f->data + start + (size_t)offset;
    return TN_OK;
}

static int by_data(const void *a, const void *b) {
    const unsigned char *x = ((const gguf_tensor *)a)->data, *y = ((const gguf_tensor *)b)->data;
    return (x > y) - (x < y);
}

static int by_name(const void *a, const void *b) {
    return gguf_str_compare(&((const gguf_tensor *)a)->name, &((const gguf_tensor *)b)->name);
}

/* No two tensors share bytes or a name. Leaves the tensors in name order. */
static int check_tensors_differ(gguf_file *f, tn_err *e) {
    gguf_tensor *t = f->tensors;
    qsort(t, f->n_tensors, sizeof *t, by_data);
    for (size_t i = 1; i < f->n_tensors; i++)
        if (t[i - 1].bytes > (size_t)(t[i].data - t[i - 1].data))
            return tn_fail(e, TN_EFORMAT, "%s: tensors \"%s\" and \"%s\" overlap", f->label,
                           gguf_show(t[i - 1].name).text, gguf_show(t[i].name).text);
    qsort(t, f->n_tensors, sizeof *t, by_name);
    for (size_t i = 1; i < f->n_tensors; i++)
        if (by_name(&t[i - 1], &t[i]) == 0)
            return tn_fail(e, TN_EFORMAT, "%s: two tensors are called \"%s\"", f->label,
                           gguf_show(t[i].name).text);
    return TN_OK;
}

/* ---- Opening ---- */

static int read_header(cursor *c, size_t *n_tensors, size_t *n_kv, tn_err *e) {
    const char *label = c->f->label;
    const unsigned char *magic = take(c, 4);
    if (!magic || memcmp(magic, "GGUF", 4) != 0)
        return tn_fail(e, TN_EFORMAT, "%s: no GGUF file (it does not start with \"GGUF\")", label);
    uint32_t version;
    int rc = take_u32(c, "the version", &version, e);
    if (rc != TN_OK) return rc;
    if (version != 0 && (version & 0xffff) == 0) /* 3 with its bytes reversed is 0x03000000 */
        return tn_fail(e, TN_EUNSUP, "%s: a big-endian GGUF file; only little-endian ones are read", label);
    if (version < 2 || version > 3)
        return tn_fail(e, TN_EUNSUP, "%s: GGUF version %u; versions 2 and 3 are read", label,
                       (unsigned)version);
    rc = take_count(c, "the number of tensors", 8 + 4 + 8 + 4 + 8, n_tensors, e);
    return rc == TN_OK ? take_count(c, "the number of metadata entries", 8 + 4 + 1, n_kv, e) : rc;
}

static int read_metadata(gguf_file *f, cursor *c, size_t n, tn_err *e) {
    gguf_str *keys = calloc(n ? n : 1, sizeof *keys);
    f->kv = calloc(n ? n : 1, sizeof *f->kv);
    int rc =
        keys && f->kv ? TN_OK : tn_fail(e, TN_ENOMEM, "%s: no memory for %zu metadata entries", f->label, n);
    for (size_t i = 0; rc == TN_OK && i < n; i++) {
        rc = take_kv(c, &f->kv[i], e);
        keys[i] = f->kv[i].key;
    }
    if (rc == TN_OK) {
        f->n_kv = n;
        const gguf_str *twice = gguf_sort_unique(keys, n);
        if (twice)
            rc = tn_fail(e, TN_EFORMAT, "%s: metadata \"%s\" is there twice", f->label,
                         gguf_show(*twice).text);
    }
    free(keys);
    return rc;
}

static int read_tensors(gguf_file *f, cursor *c, size_t n, tn_err *e) {
    uint64_t *offsets = calloc(n ? n : 1, sizeof *offsets);
    f->tensors = calloc(n ? n : 1, sizeof *f->tensors);
    int rc =
        offsets && f->tensors ? TN_OK : tn_fail(e, TN_ENOMEM, "%s: no memory for %zu tensors", f->label, n);
    for (size_t i = 0; rc == TN_OK && i < n; i++) rc = take_tensor(c, &f->tensors[i], &offsets[i], e);
    size_t start = 0, alignment = 1;
    if (rc == TN_OK) rc = data_start(f, c->pos, &start, &alignment, e);
    for (size_t i = 0; rc == TN_OK && i < n; i++)
        rc = place_tensor(f, &f->tensors[i], offsets[i], start, alignment, e);
    free(offsets);
    if (rc != TN_OK) return rc;
    f->n_tensors = n;
    return check_tensors_differ(f, e);
}

int gguf_open_mem(gguf_file **out, const void *data, size_t size, const char *label, tn_err *e) {
    *out = NULL;
    gguf_file *f = calloc(1, sizeof *f);
    size_t label_size = strlen(label) + 1;
    if (f) f->label = malloc(label_size);
    if (!f || !f->label) {
        free(f);
        return tn_fail(e, TN_ENOMEM, "%s: no memory", label);
    }
    memcpy(f->label, label, label_size);
    f->data = data;
    f->size = size;

    cursor c = {f, 0};
    size_t n_tensors, n_kv;
    int rc = read_header(&c, &n_tensors, &n_kv, e);
    if (rc == TN_OK) rc = read_metadata(f, &c, n_kv, e);
    if (rc == TN_OK) rc = read_tensors(f, &c, n_tensors, e);
    if (rc != TN_OK) {
        gguf_close(f);
        return rc;
    }
    *out = f;
    return TN_OK;
}

void gguf_close(gguf_file *f) {
    if (!f) return;
    free(f->label);
    free(f->kv);
    free(f->tensors);
    free(f);
}
