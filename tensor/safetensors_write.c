/* Writer of safetensors files (see safetensors.h): header first, then the tensors' bytes as they come.
 *
 * Since sizes are known before the first byte, offsets are too, and a file larger than memory is no problem.
 */
#include "tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

struct tn_st_writer {
    tn_out *out;
    char *label;        /* the file's path, for messages */
    size_t expected;    /* bytes of all tensors together */
    size_t written;     /* of them so far */
    int has_overflowed; /* more came than can be counted */
};

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The reader's rules, before anything is written. */
static int check_names(const tn_tensor_spec *specs, size_t n, tn_err *e) {
    if (n == 0) return TN_OK;
    const char **names = calloc(n, sizeof *names);
    if (!names) return tn_fail(e, TN_ENOMEM, "no memory for the names of %zu tensors", n);
    int rc = TN_OK;
    for (size_t i = 0; i < n; i++) {
        names[i] = specs[i].name;
        if (names[i][0] == '\0' || strcmp(names[i], "__metadata__") == 0)
            rc = tn_fail(e, TN_EARG, "a tensor cannot be called \"%s\"", names[i]);
    }
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 1; i < n && rc == TN_OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            rc = tn_fail(e, TN_EARG, "two tensors are called \"%.120s\"", names[i]);
    free(names);
    return rc;
}

/* Bytes of one tensor. */
static int spec_bytes(const tn_tensor_spec *s, size_t *out, tn_err *e) {
    if ((unsigned)s->dtype >= TN_DTYPE_COUNT || s->rank < 0 || s->rank > TN_MAX_RANK)
        return tn_fail(e, TN_EARG, "tensor \"%.120s\": no such dtype or rank", s->name);
    *out = tn_dtype_size(s->dtype);
    for (int i = 0; i < s->rank; i++)
        if (tn_mul_size(*out, s->shape[i], out))
            return tn_fail(e, TN_EARG, "tensor \"%.120s\" is too large", s->name);
    return TN_OK;
}

/* One member of the header; *end moves behind the tensor. */
static int put_tensor(tn_json_out *w, const tn_tensor_spec *s, size_t *end, tn_err *e) {
    size_t bytes = 0, begin = *end;
    int rc = spec_bytes(s, &bytes, e);
    if (rc != TN_OK) return rc;
    if (tn_add_size(begin, bytes, end) || *end > INT64_MAX)
        return tn_fail(e, TN_EARG, "tensor \"%.120s\" makes the file too large", s->name);
    tn_json_key(w, s->name);
    tn_json_begin_object(w);
    tn_json_key(w, "dtype");
    tn_json_puts(w, tn_dtype_name(s->dtype));
    tn_json_key(w, "shape");
    tn_json_begin_array(w);
    for (int i = 0; i < s->rank; i++) tn_json_put_i64(w, (int64_t)s->shape[i]);
    tn_json_end_array(w);
    tn_json_key(w, "data_offsets");
    tn_json_begin_array(w);
    tn_json_put_i64(w, (int64_t)begin);
    tn_json_put_i64(w, (int64_t)*end);
    tn_json_end_array(w);
    tn_json_end_object(w);
    return TN_OK;
}

/* The header's bytes, its length in front, into *b. */
static int make_header(tn_buf *b, const tn_tensor_spec *specs, size_t n_specs, const tn_pair *metadata,
                       size_t n_metadata, size_t *data_bytes, tn_err *e) {
    tn_json_out w = tn_json_writer(b, 0);
    tn_buf_add(b, "\0\0\0\0\0\0\0", 8); /* the length, known at the end */
    tn_json_begin_object(&w);
    if (n_metadata) {
        tn_json_key(&w, "__metadata__");
        tn_json_begin_object(&w);
        for (size_t i = 0; i < n_metadata; i++) {
            tn_json_key(&w, metadata[i].key);
            tn_json_puts(&w, metadata[i].value);
        }
        tn_json_end_object(&w);
    }
    *data_bytes = 0;
    for (size_t i = 0; i < n_specs; i++) {
        int rc = put_tensor(&w, &specs[i], data_bytes, e);
        if (rc != TN_OK) return rc;
    }
    tn_json_end_object(&w);
    while (b->len % TN_ALIGN != 0 && !b->failed) tn_buf_putc(b, ' ');
    if (b->failed) return tn_fail(e, TN_ENOMEM, "no memory for the header");
    tn_store_u64(b->data, b->len - 8);
    return TN_OK;
}

int tn_st_create(tn_st_writer **out, const char *path, const tn_tensor_spec *specs, size_t n_specs,
                 const tn_pair *metadata, size_t n_metadata, tn_err *e) {
    *out = NULL;
    tn_buf header = TN_BUF_INIT;
    size_t len = strlen(path) + 1;
    tn_st_writer *w = calloc(1, sizeof *w);
    if (w) w->label = malloc(len);
    int rc;
    if (!w || !w->label) {
        rc = tn_fail(e, TN_ENOMEM, "%s: no memory to write it", path);
        goto done;
    }
    memcpy(w->label, path, len);
    rc = check_names(specs, n_specs, e);
    if (rc == TN_OK) rc = make_header(&header, specs, n_specs, metadata, n_metadata, &w->expected, e);
    if (rc != TN_OK) {
        tn_fail_in(e, rc, path);
        goto done;
    }
    rc = tn_out_open(&w->out, path, e);
    if (rc != TN_OK) goto done;
    tn_out_write(w->out, header.data, header.len);
    *out = w;
    w = NULL;
done:
    tn_buf_free(&header);
    tn_st_abandon(w);
    return rc;
}

int tn_st_write(tn_st_writer *w, const void *bytes, size_t n) {
    if (tn_add_size(w->written, n, &w->written)) w->has_overflowed = 1;
    return tn_out_write(w->out, bytes, n);
}

int tn_st_finish(tn_st_writer *w, tn_err *e) {
    int rc;
    if (w->has_overflowed || w->written != w->expected) {
        rc = tn_fail(e, TN_EARG, "%s: %zu bytes of tensors were written, %zu were announced", w->label,
                     w->written, w->expected);
    } else {
        rc = tn_out_commit(w->out, e);
        w->out = NULL;
    }
    tn_st_abandon(w);
    return rc;
}

void tn_st_abandon(tn_st_writer *w) {
    if (!w) return;
    tn_out_discard(w->out);
    free(w->label);
    free(w);
}
