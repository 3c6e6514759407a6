/* GGUF files, versions 2 and 3 (github.com/ggml-org/ggml, docs/gguf.md): a reader over bytes in memory.
 *
 *   "GGUF" | version U32 | tensor count U64 | metadata count U64
 *   metadata: key string | value type U32 | value          string = length U64 | bytes (UTF-8)
 *   tensors:  name string | rank U32 | shape U64[rank] | type U32 | offset U64
 *   padding to the alignment | tensor data, offsets counted from here
 *
 * Opening checks everything once: counts against the bytes that are left before anything is allocated for
 * them, strings, value types, shapes, offsets, overlaps, duplicate names. Values and tensor data are
 * pointers into the caller's bytes.
 */
#ifndef CONVERT_GGUF_H
#define CONVERT_GGUF_H

#include "convert/gguf_blocks.h"
#include "tensor/err.h"

typedef struct {
    const char *data; /* [len], valid UTF-8, no terminator */
    size_t len;
} gguf_str;

/* Value types, by their ids in the file. */
typedef enum {
    GGUF_UINT8,
    GGUF_INT8,
    GGUF_UINT16,
    GGUF_INT16,
    GGUF_UINT32,
    GGUF_INT32,
    GGUF_FLOAT32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_UINT64,
    GGUF_INT64,
    GGUF_FLOAT64,
    GGUF_VALUE_COUNT
} gguf_value_type;

typedef struct {
    gguf_str key;
    gguf_value_type type; /* of the value, or of an array's elements (never GGUF_ARRAY) */
    int is_array;
    size_t count;              /* elements of an array, 1 otherwise */
    const unsigned char *data; /* the first element's bytes */
} gguf_kv;

#define GGUF_MAX_RANK 4

typedef struct {
    gguf_str name;
    const gguf_type *type;
    int rank;
    size_t shape[GGUF_MAX_RANK]; /* shape[0] is the length of a row: the fastest dimension comes first */
    size_t count;                /* elements */
    const unsigned char *data;   /* [bytes] */
    size_t bytes;
} gguf_tensor;

typedef struct gguf_file gguf_file;

/* Reads the image `data` [size], which must outlive *out; `label` names it in messages. */
int gguf_open_mem(gguf_file **out, const void *data, size_t size, const char *label, tn_err *e);
void gguf_close(gguf_file *f); /* NULL is fine */

const char *gguf_label(const gguf_file *f);
const gguf_kv *gguf_find(const gguf_file *f, const char *key); /* NULL when missing */
size_t gguf_tensor_count(const gguf_file *f);
const gguf_tensor *gguf_tensor_at(const gguf_file *f, size_t i);           /* in name order */
const gguf_tensor *gguf_find_tensor(const gguf_file *f, const char *name); /* NULL when missing */

/* Typed metadata. A missing key leaves *out alone and is TN_OK, or TN_EFORMAT with GGUF_REQUIRED; a value
 * of another kind is TN_EFORMAT. */
enum { GGUF_OPTIONAL = 0, GGUF_REQUIRED = 1 };
int gguf_get_uint(const gguf_file *f, const char *key, int required, uint64_t *out, tn_err *e);
int gguf_get_float(const gguf_file *f, const char *key, int required, double *out, tn_err *e);
int gguf_get_bool(const gguf_file *f, const char *key, int required, int *out, tn_err *e);
int gguf_get_string(const gguf_file *f, const char *key, int required, gguf_str *out, tn_err *e);

/* Array `key` of strings as a fresh index *out [*n] that the caller frees. Required. */
int gguf_get_strings(const gguf_file *f, const char *key, gguf_str **out, size_t *n, tn_err *e);
/* Element i < kv->count of an array of any integer type. 1, or 0 when the elements are of another type. */
int gguf_int_at(const gguf_kv *kv, size_t i, int64_t *out);

/* How strings from the file appear in messages: their first 80 bytes (tn_fail keeps them to one line). Use
 * as gguf_show(s).text within one expression. */
typedef struct {
    char text[84];
} gguf_shown;
gguf_shown gguf_show(gguf_str s);

/* Strings, ordered by bytes. */
int gguf_str_is(gguf_str s, const char *text);
int gguf_str_compare(const void *a, const void *b); /* of two gguf_str, for qsort and bsearch */
/* Sorts s [n] and returns the first string that is there twice, NULL when all differ. */
const gguf_str *gguf_sort_unique(gguf_str *s, size_t n);

#endif
