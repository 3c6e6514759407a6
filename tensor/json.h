/* JSON (RFC 8259): a reader that never allocates and a writer into a tn_buf.
 *
 * tn_json_parse checks the whole text once (depth counted, not recursed); after that a tn_json is a
 * slice of the checked text and the accessors cannot fail on syntax, only on kind. Lookups scan: they
 * cost the size of the object, which suits headers and configs; big objects are walked with an iterator.
 */
#ifndef TENSOR_JSON_H
#define TENSOR_JSON_H

#include "tensor/buf.h"

typedef enum {
    TN_JSON_NONE, /* the value of a key that is not there */
    TN_JSON_NULL,
    TN_JSON_BOOL,
    TN_JSON_NUMBER,
    TN_JSON_STRING,
    TN_JSON_ARRAY,
    TN_JSON_OBJECT
} tn_json_kind;

typedef struct {
    tn_json_kind kind;
    const char *text; /* first byte of the value; a string's opening quote */
    size_t len;       /* bytes of the value */
} tn_json;

/* Checks `text` [len] as one JSON document, with at most 64 levels, and sets *out to its root. On a
 * mistake returns TN_EFORMAT and names the byte: "bad JSON at byte 17: expected ':'". The text must
 * outlive every tn_json taken from it. */
int tn_json_parse(tn_json *out, const char *text, size_t len, tn_err *e);

/* A member of the root (outer NULL), or a member of the object that is the root's member `outer`. */
typedef struct {
    const char *outer, *name;
} tn_json_path;

/* tn_json_parse that finds members while it checks: values[i] is the one at paths[i], of kind TN_JSON_NONE
 * when it is not there. For files with members of megabytes, which tn_json_get would have to walk again. */
int tn_json_parse_members(tn_json *values, const tn_json_path *paths, int n, const char *text, size_t len,
                          tn_err *e);

/* obj[key]; kind TN_JSON_NONE when obj is no object or has no such key (the last one wins, as in
 * Python). Keys with escapes compare by their unescaped text. */
tn_json tn_json_get(tn_json obj, const char *key);

/* Walks arrays and objects: for (tn_json_iter it = tn_json_each(v); tn_json_next(&it, &key, &value);)
 * `key` is a TN_JSON_STRING inside an object and TN_JSON_NONE inside an array. */
typedef struct {
    const char *p, *end;
    int is_object;
} tn_json_iter;
tn_json_iter tn_json_each(tn_json v);
int tn_json_next(tn_json_iter *it, tn_json *key, tn_json *value);
size_t tn_json_count(tn_json v); /* elements or members; 0 for other kinds */

/* Typed reads. Each returns 1 and sets *out, or returns 0 and leaves it when the kind does not fit.
 * tn_json_i64 takes whole numbers within int64_t only ("1.0" and "1e3" count as whole). */
int tn_json_bool(tn_json v, int *out);
int tn_json_i64(tn_json v, int64_t *out);
int tn_json_f64(tn_json v, double *out);

/* Appends the unescaped bytes of string v (UTF-8; a lone surrogate escape becomes U+FFFD) to *out.
 * Returns 1, or 0 when v is no string. */
int tn_json_string(tn_json v, tn_buf *out);

/* The unescaped bytes [*len] of v without a copy where there is nothing to unescape, else put in *scratch,
 * which is cleared first. NULL when v is no string, or when memory lacks (scratch->failed). */
const char *tn_json_text(tn_json v, size_t *len, tn_buf *scratch);

/* 1 when v is a string equal to s after unescaping. */
int tn_json_is(tn_json v, const char *s);

/* Unescapes into a fixed buffer with a NUL: returns 1, or 0 when v is no string or does not fit. */
int tn_json_copy(tn_json v, char *dst, size_t cap);

/* Writer. Commas are put in by themselves; the caller keeps begin/end and key/value in step. */
typedef struct {
    tn_buf *out;
    int need_comma; /* state of the separator, see json_write.c */
    int indent;     /* spaces per level, 0 = all on one line */
    int depth;
} tn_json_out;

tn_json_out tn_json_writer(tn_buf *out, int indent);
void tn_json_begin_object(tn_json_out *w);
void tn_json_end_object(tn_json_out *w);
void tn_json_begin_array(tn_json_out *w);
void tn_json_end_array(tn_json_out *w);
void tn_json_key(tn_json_out *w, const char *key);
/* Writes UTF-8 as it is; bytes that are not UTF-8 become U+FFFD, so the output is always valid. */
void tn_json_put_string(tn_json_out *w, const char *s, size_t len);
void tn_json_puts(tn_json_out *w, const char *s);
void tn_json_put_i64(tn_json_out *w, int64_t v);
void tn_json_put_f64(tn_json_out *w, double v); /* shortest text that reads back; NaN/Inf become null */
void tn_json_put_f32(tn_json_out *w, float v);  /* the same, shortest for a float: 0.7f is "0.7" */
void tn_json_put_bool(tn_json_out *w, int v);
void tn_json_put_null(tn_json_out *w);
/* A value copied from a parsed document, or any JSON text known to be sound. */
void tn_json_put_raw(tn_json_out *w, const char *text, size_t len);

/* A member of the object being written: key and value. */
void tn_json_member_text(tn_json_out *w, const char *key, const char *v);
void tn_json_member_i64(tn_json_out *w, const char *key, int64_t v);
void tn_json_member_f64(tn_json_out *w, const char *key, double v);
void tn_json_member_f32(tn_json_out *w, const char *key, float v);
void tn_json_member_bool(tn_json_out *w, const char *key, int v);

#endif
