/* The arrays of arrays.h, indexed from a safetensors file or from a zip archive and its pickle. */
#include "sae/arrays.h"

#include "sae/pickle.h"
#include "sae/zip_store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TILE = 64 /* rows and columns read at a time, so that both sides of a turned matrix stay in cache */ };

struct sae_arrays {
    tn_map map;           /* of a PyTorch file */
    tn_safetensors *file; /* or NULL */
    size_t n;
    sae_array array[SAE_PICKLE_TENSORS];
    char names[SAE_PICKLE_TENSORS][sizeof(((sae_pickled *)0)->name)];
};

/* ---- PyTorch's files ---- */

/* The elements that a view reaches lie in its storage [elements]. A view may not reach more elements than
 * there are: a small file must not pass for a large matrix. */
static int view_fits(const sae_pickled *t, size_t elements, size_t *count) {
    size_t last = t->offset, step;
    *count = 1;
    for (int i = 0; i < t->rank; i++) {
        if (tn_mul_size(*count, t->shape[i], count)) return 0;
        if (t->shape[i] > 0 &&
            (tn_mul_size(t->shape[i] - 1, t->stride[i], &step) || tn_add_size(last, step, &last)))
            return 0;
    }
    return *count == 0 || (last < elements && *count <= elements);
}

static int take_view(sae_arrays *a, const sae_zip *zip, const sae_zip_member *pickle, const sae_pickled *t,
                     tn_err *e) {
    char tail[sizeof t->storage + 8] = "data/";
    memcpy(tail + 5, t->storage, sizeof t->storage);
    sae_zip_member bytes;
    int rc = sae_zip_find(zip, pickle->name, pickle->name_len - strlen("data.pkl"), tail, &bytes, e);
    if (rc) return rc;
    sae_array *out = &a->array[a->n];
    *out = (sae_array){.name = a->names[a->n], .dtype = t->dtype, .rank = t->rank};
    size_t size = tn_dtype_size(t->dtype);
    if (!view_fits(t, bytes.size / size, &out->count))
        return tn_fail(e, TN_EFORMAT, "tensor \"%s\" reaches past its %zu bytes", t->name, bytes.size);
    memcpy(a->names[a->n++], t->name, sizeof t->name);
    memcpy(out->shape, t->shape, sizeof t->shape);
    memcpy(out->stride, t->stride, sizeof t->stride);
    out->data = bytes.data + (out->count > 0 ? t->offset * size : 0);
    return TN_OK;
}

static int index_torch(sae_arrays *a, const void *data, size_t size, tn_err *e) {
    sae_zip zip;
    sae_zip_member pickle, order;
    sae_pickled *tensors = malloc(SAE_PICKLE_TENSORS * sizeof *tensors);
    size_t n = 0;
    if (!tensors) return tn_fail(e, TN_ENOMEM, "no memory for the index");
    int rc = sae_zip_open(&zip, data, size, e);
    if (!rc) rc = sae_zip_find_tail(&zip, "data.pkl", &pickle, e);
    if (!rc &&
        !sae_zip_find(&zip, pickle.name, pickle.name_len - strlen("data.pkl"), "byteorder", &order, NULL) &&
        (order.size != 6 || memcmp(order.data, "little", 6) != 0))
        rc = tn_fail(e, TN_EUNSUP, "its numbers are not little-endian");
    if (!rc) rc = sae_pickle_tensors(pickle.data, pickle.size, tensors, &n, e);
    for (size_t i = 0; i < n && !rc; i++) rc = take_view(a, &zip, &pickle, &tensors[i], e);
    free(tensors);
    return rc;
}

int sae_arrays_open_torch_mem(sae_arrays **out, const void *data, size_t size, tn_err *e) {
    sae_arrays *a = *out = calloc(1, sizeof *a);
    if (!a) return tn_fail(e, TN_ENOMEM, "no memory for the index");
    int rc = index_torch(a, data, size, e);
    if (!rc) return TN_OK;
    sae_arrays_close(a);
    *out = NULL;
    return rc;
}

int sae_arrays_open_torch(sae_arrays **out, const char *path, tn_err *e) {
    tn_map map;
    *out = NULL;
    int rc = tn_map_file(&map, path, e);
    if (rc) return rc;
    rc = sae_arrays_open_torch_mem(out, map.data, map.size, e);
    if (!rc) {
        (*out)->map = map;
        return TN_OK;
    }
    tn_unmap_file(&map);
    return tn_fail_in(e, rc, path);
}

/* ---- safetensors ---- */

int sae_arrays_open_safetensors(sae_arrays **out, const char *path, tn_err *e) {
    tn_safetensors *file;
    *out = NULL;
    int rc = tn_st_open_file(&file, path, e);
    if (rc) return rc;
    sae_arrays *a = calloc(1, sizeof *a);
    if (!a || tn_st_count(file) > SAE_PICKLE_TENSORS) {
        rc = a ? tn_fail(e, TN_EFORMAT, "%s: %zu tensors are more than an SAE has", path, tn_st_count(file))
               : tn_fail(e, TN_ENOMEM, "no memory for the index");
        tn_st_close(file);
        free(a);
        return rc;
    }
    *out = a;
    a->file = file;
    for (; a->n < tn_st_count(file) && !rc; a->n++) {
        const tn_tensor *t = tn_st_at(file, a->n);
        sae_array *to = &a->array[a->n];
        *to = (sae_array){
            .name = t->name, .dtype = t->dtype, .rank = t->rank, .count = t->count, .data = t->data};
        if (t->rank > SAE_ARRAY_RANK) {
            rc = tn_fail(e, TN_ESHAPE, "%s: tensor \"%.80s\" has %d dimensions", path, t->name, t->rank);
            break;
        }
        size_t step = 1;
        for (int i = t->rank; i-- > 0; step *= t->shape[i]) {
            to->shape[i] = t->shape[i];
            to->stride[i] = step;
        }
    }
    if (!rc) return TN_OK;
    sae_arrays_close(a);
    *out = NULL;
    return rc;
}

void sae_arrays_close(sae_arrays *a) {
    if (!a) return;
    tn_st_close(a->file);
    if (a->map.data) tn_unmap_file(&a->map);
    free(a);
}

/* ---- values ---- */

size_t sae_arrays_count(const sae_arrays *a) {
    return a->n;
}

const sae_array *sae_arrays_at(const sae_arrays *a, size_t i) {
    return &a->array[i];
}

const sae_array *sae_arrays_find(const sae_arrays *a, const char *name) {
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->array[i].name, name) == 0) return &a->array[i];
    return NULL;
}

int sae_array_read(const sae_array *a, float *dst, int turned, tn_err *e) {
    size_t rows = a->rank == 2 ? a->shape[0] : 1, cols = a->rank == 2 ? a->shape[1] : a->count;
    size_t down = a->rank == 2 ? a->stride[0] : 0, right = a->rank > 0 ? a->stride[a->rank - 1] : 0;
    size_t size = tn_dtype_size(a->dtype);
    if (a->rank > 2) return tn_fail(e, TN_ESHAPE, "tensor \"%.80s\" has %d dimensions", a->name, a->rank);
    for (size_t i0 = 0; i0 < rows; i0 += TILE)
        for (size_t j0 = 0; j0 < cols; j0 += TILE)
            for (size_t i = i0; i < rows && i < i0 + TILE; i++)
                for (size_t j = j0; j < cols && j < j0 + TILE; j++) {
                    float *to = dst + (turned ? j * rows + i : i * cols + j);
                    if (tn_to_f32(to, a->data + (i * down + j * right) * size, a->dtype, 1))
                        return tn_fail(e, TN_ESHAPE, "tensor \"%.80s\" has dtype %s, expected a float",
                                       a->name, tn_dtype_name(a->dtype));
                    if (!isfinite(*to))
                        return tn_fail(e, TN_ENUM, "tensor \"%.80s\" has a number that is not finite",
                                       a->name);
                }
    return TN_OK;
}
