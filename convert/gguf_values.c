/* Access to an opened GGUF file: metadata by key and kind, tensors by name. Nothing here can run past the
 * file's end: gguf_open_mem has walked every value. */
#include "convert/gguf_file.h"
#include "tensor/dtype.h"
#include "tensor/utf8.h"

#include <stdlib.h>
#include <string.h>

size_t gguf_value_size(gguf_value_type t) {
    static const unsigned char sizes[GGUF_VALUE_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return sizes[t];
}

/* ---- Access ---- */

const char *gguf_label(const gguf_file *f) {
    return f->label;
}

const gguf_kv *gguf_find(const gguf_file *f, const char *key) {
    for (size_t i = 0; i < f->n_kv; i++)
        if (gguf_str_is(f->kv[i].key, key)) return &f->kv[i];
    return NULL;
}

size_t gguf_tensor_count(const gguf_file *f) {
    return f->n_tensors;
}
const gguf_tensor *gguf_tensor_at(const gguf_file *f, size_t i) {
    return &f->tensors[i];
}

const gguf_tensor *gguf_find_tensor(const gguf_file *f, const char *name) {
    gguf_str wanted = {name, strlen(name)};
    size_t lo = 0, hi = f->n_tensors;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = gguf_str_compare(&f->tensors[mid].name, &wanted);
        if (order == 0) return &f->tensors[mid];
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

int gguf_int_at(const gguf_kv *kv, size_t i, int64_t *out) {
    const unsigned char *p = kv->data + i * gguf_value_size(kv->type);
    switch (kv->type) {
    case GGUF_UINT8:
        *out = *p;
        return 1;
    case GGUF_INT8:
        *out = (int8_t)*p;
        return 1;
    case GGUF_UINT16:
        *out = tn_load_u16(p);
        return 1;
    case GGUF_INT16:
        *out = (int16_t)tn_load_u16(p);
        return 1;
    case GGUF_UINT32:
        *out = tn_load_u32(p);
        return 1;
    case GGUF_INT32:
        *out = (int32_t)tn_load_u32(p);
        return 1;
    case GGUF_UINT64:
    case GGUF_INT64: {
        uint64_t v = tn_load_u64(p);
        if (kv->type == GGUF_UINT64 && v > INT64_MAX) return 0; /* no count or id is that large */
        *out = (int64_t)v;
        return 1;
    }
    default:
        return 0;
    }
}

/* Finds `key` as a single value: *out is NULL when it is missing and need not be there. */
static int find_scalar(const gguf_file *f, const char *key, int required, const gguf_kv **out, tn_err *e) {
    *out = gguf_find(f, key);
    if (!*out && required) return tn_fail(e, TN_EFORMAT, "%s: metadata \"%s\" is missing", f->label, key);
    if (*out && (*out)->is_array)
        return tn_fail(e, TN_EFORMAT, "%s: metadata \"%s\" is an array, expected one value", f->label, key);
    return TN_OK;
}

static int fail_kind(const gguf_file *f, const char *key, const char *expected, tn_err *e) {
    return tn_fail(e, TN_EFORMAT, "%s: metadata \"%s\" is no %s", f->label, key, expected);
}

int gguf_get_uint(const gguf_file *f, const char *key, int required, uint64_t *out, tn_err *e) {
    const gguf_kv *kv;
    int64_t v;
    int rc = find_scalar(f, key, required, &kv, e);
    if (rc != TN_OK || !kv) return rc;
    if (!gguf_int_at(kv, 0, &v) || v < 0) return fail_kind(f, key, "whole number", e);
    *out = (uint64_t)v;
    return TN_OK;
}

int gguf_get_float(const gguf_file *f, const char *key, int required, double *out, tn_err *e) {
    const gguf_kv *kv;
    int rc = find_scalar(f, key, required, &kv, e);
    if (rc != TN_OK || !kv) return rc;
    if (kv->type == GGUF_FLOAT32) {
        float v;
        (void)tn_to_f32(&v, kv->data, TN_F32, 1);
        *out = (double)v;
    } else if (kv->type == GGUF_FLOAT64) {
        uint64_t bits = tn_load_u64(kv->data);
        memcpy(out, &bits, sizeof bits);
    } else {
        return fail_kind(f, key, "floating-point number", e);
    }
    return TN_OK;
}

int gguf_get_bool(const gguf_file *f, const char *key, int required, int *out, tn_err *e) {
    const gguf_kv *kv;
    int rc = find_scalar(f, key, required, &kv, e);
    if (rc != TN_OK || !kv) return rc;
    if (kv->type != GGUF_BOOL || *kv->data > 1) return fail_kind(f, key, "truth value", e);
    *out = *kv->data;
    return TN_OK;
}

int gguf_get_string(const gguf_file *f, const char *key, int required, gguf_str *out, tn_err *e) {
    const gguf_kv *kv;
    int rc = find_scalar(f, key, required, &kv, e);
    if (rc != TN_OK || !kv) return rc;
    if (kv->type != GGUF_STRING) return fail_kind(f, key, "string", e);
    out->len = (size_t)tn_load_u64(kv->data);
    out->data = (const char *)kv->data + 8;
    return TN_OK;
}

int gguf_get_strings(const gguf_file *f, const char *key, gguf_str **out, size_t *n, tn_err *e) {
    *out = NULL;
    *n = 0;
    const gguf_kv *kv = gguf_find(f, key);
    if (!kv) return tn_fail(e, TN_EFORMAT, "%s: metadata \"%s\" is missing", f->label, key);
    if (!kv->is_array || kv->type != GGUF_STRING) return fail_kind(f, key, "array of strings", e);
    gguf_str *s = calloc(kv->count ? kv->count : 1, sizeof *s);
    if (!s) return tn_fail(e, TN_ENOMEM, "%s: no memory for %zu strings", f->label, kv->count);
    const unsigned char *p = kv->data; /* lengths were checked when the file was opened */
    for (size_t i = 0; i < kv->count; i++) {
        s[i].len = (size_t)tn_load_u64(p);
        s[i].data = (const char *)p + 8;
        p += 8 + s[i].len;
    }
    *out = s;
    *n = kv->count;
    return TN_OK;
}

/* ---- Strings ---- */

int gguf_str_is(gguf_str s, const char *text) {
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

int gguf_str_compare(const void *a, const void *b) {
    const gguf_str *x = a, *y = b;
    int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

const gguf_str *gguf_sort_unique(gguf_str *s, size_t n) {
    qsort(s, n, sizeof *s, gguf_str_compare);
    for (size_t i = 1; i < n; i++)
        if (gguf_str_compare(&s[i - 1], &s[i]) == 0) return &s[i];
    return NULL;
}

gguf_shown gguf_show(gguf_str s) {
    gguf_shown out;
    size_t n = 0;
    for (size_t i = 0; i < s.len;) {
        int length = tn_utf8_length(s.data + i, s.len - i); /* never 0: the reader has checked */
        if (length == 0 || n + (size_t)length > 80) break;
        memcpy(out.text + n, s.data + i, (size_t)length);
        n += (size_t)length;
        i += (size_t)length;
    }
    out.text[n] = '\0';
    return out;
}
