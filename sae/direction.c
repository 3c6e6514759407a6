/* Reading a steering vector: FILE[:TENSOR[:ROW]]. */
#include "sae/direction.h"

#include "tensor/safetensors.h"

#include <stdlib.h>
#include <string.h>

#define MAX_SPEC 1024

/* The tensor called `name`, or the only one when name is NULL. */
static int choose_tensor(const tn_safetensors *f, const char *path, const char *name, const tn_tensor **out,
                         tn_err *e) {
    if (name) {
        *out = tn_st_find(f, name);
        return *out ? TN_OK : tn_fail(e, TN_EFORMAT, "%s: there is no tensor \"%s\"", path, name);
    }
    if (tn_st_count(f) != 1)
        return tn_fail(e, TN_EARG, "%s holds %zu tensors: choose one with FILE:TENSOR", path, tn_st_count(f));
    *out = tn_st_at(f, 0);
    return TN_OK;
}

/* Row `row` (NULL: the only one) of t into v [d]. */
static int copy_row(float *v, const tn_tensor *t, const char *path, const char *row, int d, tn_err *e) {
    if (t->rank < 1 || t->rank > 2 || t->shape[t->rank - 1] != (size_t)d)
        return tn_fail(e, TN_ESHAPE, "%s: tensor \"%s\" is no vector of width %d", path, t->name, d);
    size_t rows = t->rank == 2 ? t->shape[0] : 1, index = 0;
    if (row) {
        char *end;
        unsigned long long parsed = strtoull(row, &end, 10);
        if (end == row || *end || *row == '-' || parsed >= rows)
            return tn_fail(e, TN_EARG, "%s: tensor \"%s\" has rows 0 to %zu, not %s", path, t->name,
                           rows ? rows - 1 : 0, row);
        index = (size_t)parsed;
    } else if (rows != 1) {
        return tn_fail(e, TN_EARG, "%s: tensor \"%s\" has %zu rows: choose one with FILE:TENSOR:ROW", path,
                       t->name, rows);
    }
    const char *data = t->data;
    int code = tn_to_f32(v, data + index * (size_t)d * tn_dtype_size(t->dtype), t->dtype, (size_t)d);
    return code ? tn_fail(e, code, "%s: tensor \"%s\" holds %s, not floats", path, t->name,
                          tn_dtype_name(t->dtype))
                : TN_OK;
}

int sae_direction_read(float **v, const char *spec, int d, tn_err *e) {
    *v = NULL;
    char path[MAX_SPEC];
    size_t len = strlen(spec);
    if (len >= sizeof path) return tn_fail(e, TN_EARG, "the name of the direction is too long");
    memcpy(path, spec, len + 1);
    /* The file's suffix tells where its name ends, so that names with colons work too. */
    char *suffix = strstr(path, ".safetensors:");
    char *name = suffix ? suffix + strlen(".safetensors") : NULL, *row = NULL;
    if (name) {
        *name++ = '\0';
        row = strrchr(name, ':');
        if (row) *row++ = '\0';
    }
    tn_safetensors *f;
    const tn_tensor *t;
    int code = tn_st_open_file(&f, path, e);
    if (code) return code;
    code = choose_tensor(f, path, name, &t, e);
    *v = code ? NULL : malloc((size_t)d * sizeof **v);
    if (!code) code = *v ? copy_row(*v, t, path, row, d, e) : tn_fail(e, TN_ENOMEM, "out of memory");
    if (code) {
        free(*v);
        *v = NULL;
    }
    tn_st_close(f);
    return code;
}
