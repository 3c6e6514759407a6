/* Reader of features per label (label_ids.h). */
#include "sae/label_ids.h"

#include "tensor/base.h"
#include "tensor/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Labels are looked up one by one: no file may make that slow. */
#define MAX_LABELS 10000

static int is_digit(char c) {
    return c >= '0' && c <= '9';
}

static int ascending(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* The label [len], copied. */
static int take_label(sae_label_features *out, const char *p, size_t len, tn_err *e) {
    if (len == 0) return tn_fail(e, TN_EFORMAT, "the label is missing");
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)p[i] < ' ') return tn_fail(e, TN_EFORMAT, "a control character in the label");
    out->label = malloc(len + 1);
    if (!out->label) return tn_fail(e, TN_ENOMEM, "out of memory");
    memcpy(out->label, p, len);
    out->label[len] = '\0';
    return TN_OK;
}

/* TN_EFORMAT when a feature stands there twice. */
static int check_once(const sae_label_features *l, tn_err *e) {
    size_t bytes = (size_t)l->n_features * sizeof *l->features;
    int32_t *sorted = malloc(bytes), twice = -1;
    if (!sorted) return tn_fail(e, TN_ENOMEM, "out of memory");
    memcpy(sorted, l->features, bytes);
    qsort(sorted, (size_t)l->n_features, sizeof *sorted, ascending);
    for (int i = 1; i < l->n_features; i++)
        if (sorted[i] == sorted[i - 1]) twice = sorted[i];
    free(sorted);
    return twice < 0 ? TN_OK : tn_fail(e, TN_EFORMAT, "feature %d is listed twice", (int)twice);
}

/* "12,55,90" between p and end. */
static int take_features(sae_label_features *out, const char *p, const char *end, tn_err *e) {
    if (p == end) return TN_OK;
    size_t commas = 0, bytes;
    for (const char *c = p; c < end; c++) commas += *c == ',';
    if (commas >= INT32_MAX || tn_mul_size(commas + 1, sizeof *out->features, &bytes))
        return tn_fail(e, TN_EFORMAT, "too many features");
    out->features = malloc(bytes);
    if (!out->features) return tn_fail(e, TN_ENOMEM, "out of memory");
    for (;; p++) {
        int64_t id = 0;
        const char *start = p;
        while (p < end && is_digit(*p) && id <= INT32_MAX) id = id * 10 + (*p++ - '0');
        if (p == start || id > INT32_MAX || (p < end && *p != ','))
            return tn_fail(e, TN_EFORMAT, "expected LABEL<tab>12,55,90");
        out->features[out->n_features++] = (int32_t)id;
        if (p == end) return check_once(out, e);
    }
}

static int parse_line(sae_label_features *out, const char *p, const char *end, tn_err *e) {
    const char *tab = memchr(p, '\t', (size_t)(end - p));
    if (!tab) return tn_fail(e, TN_EFORMAT, "expected LABEL<tab>12,55,90");
    int code = take_label(out, p, (size_t)(tab - p), e);
    return code ? code : take_features(out, tab + 1, end, e);
}

/* Appends the line between p and end. */
static int add_line(sae_label_ids *out, int *cap, const char *p, const char *end, tn_err *e) {
    if (out->count == MAX_LABELS) return tn_fail(e, TN_EFORMAT, "more than %d labels", MAX_LABELS);
    if (out->count == *cap) {
        int more = *cap ? *cap * 2 : 32;
        sae_label_features *grown = realloc(out->items, (size_t)more * sizeof *grown);
        if (!grown) return tn_fail(e, TN_ENOMEM, "out of memory");
        out->items = grown;
        *cap = more;
    }
    sae_label_features *item = &out->items[out->count];
    *item = (sae_label_features){NULL, NULL, 0};
    int code = parse_line(item, p, end, e);
    if (!code && sae_label_ids_find(out, item->label) >= 0)
        code = tn_fail(e, TN_EFORMAT, "the label \"%s\" is listed twice", item->label);
    out->count++; /* now also freed */
    return code;
}

int sae_label_ids_parse(sae_label_ids *out, const char *text, size_t len, tn_err *e) {
    const char *p = text, *end = text + len;
    int cap = 0;
    *out = (sae_label_ids){NULL, 0};
    for (size_t line = 1; p < end; line++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        const char *stop = newline ? newline : end, *next = newline ? newline + 1 : end;
        while (stop > p && (stop[-1] == ' ' || stop[-1] == '\r')) stop--;
        int code = stop > p ? add_line(out, &cap, p, stop, e) : TN_OK;
        if (code) {
            char where[32];
            snprintf(where, sizeof where, "line %zu", line);
            sae_label_ids_free(out);
            return tn_fail_in(e, code, where);
        }
        p = next;
    }
    return TN_OK;
}

int sae_label_ids_read(sae_label_ids *out, const char *path, tn_err *e) {
    tn_map map;
    *out = (sae_label_ids){NULL, 0};
    int code = tn_map_file(&map, path, e);
    if (code) return code;
    if (map.size > 0) code = sae_label_ids_parse(out, map.data, map.size, e);
    tn_unmap_file(&map);
    if (code) return tn_fail_in(e, code, path);
    return out->count ? TN_OK : tn_fail(e, TN_EFORMAT, "%s: there is no label", path);
}

void sae_label_ids_free(sae_label_ids *ids) {
    for (int i = 0; i < ids->count; i++) {
        free(ids->items[i].label);
        free(ids->items[i].features);
    }
    free(ids->items);
    *ids = (sae_label_ids){NULL, 0};
}

int sae_label_ids_find(const sae_label_ids *ids, const char *label) {
    for (int i = 0; i < ids->count; i++)
        if (strcmp(ids->items[i].label, label) == 0) return i;
    return -1;
}

int sae_label_ids_check(const sae_label_ids *ids, int d_sae, tn_err *e) {
    for (int i = 0; i < ids->count; i++) {
        const sae_label_features *l = &ids->items[i];
        for (int k = 0; k < l->n_features; k++)
            if (l->features[k] >= d_sae)
                return tn_fail(e, TN_EARG, "%s: feature %d is out of range: the SAE has %d", l->label,
                               (int)l->features[k], d_sae);
    }
    return TN_OK;
}

void sae_label_ids_top(sae_label_ids *ids, int top) {
    for (int i = 0; i < ids->count; i++) {
        sae_label_features *l = &ids->items[i];
        if (top > 0 && l->n_features > top) l->n_features = top;
        if (l->n_features) qsort(l->features, (size_t)l->n_features, sizeof *l->features, ascending);
    }
}
