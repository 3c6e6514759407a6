/* The little language of edits: parser and interpreter. */
#include "sae/edit.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A range such as 0-2000000000 must not take gigabytes before it is found to be too wide for the SAE. */
#define MAX_TARGET (1 << 22)

/* Text between two pointers. */
typedef struct {
    const char *p, *end;
} span;

static span trimmed(span s) {
    while (s.p < s.end && isspace((unsigned char)*s.p)) s.p++;
    while (s.p < s.end && isspace((unsigned char)s.end[-1])) s.end--;
    return s;
}

static int span_is(span s, const char *word) {
    size_t n = strlen(word);
    return (size_t)(s.end - s.p) == n && memcmp(s.p, word, n) == 0;
}

/* The first `stop` in s, or its end. */
static const char *span_find(span s, char stop) {
    const char *hit = s.p < s.end ? memchr(s.p, stop, (size_t)(s.end - s.p)) : NULL;
    return hit ? hit : s.end;
}

/* ---- Lists of features ---- */

typedef struct {
    int32_t *data;
    int len, cap;
} list;

static int list_add(list *l, int32_t first, int32_t last, tn_err *e) {
    int64_t count = (int64_t)last - first + 1;
    if (count > MAX_TARGET - l->len) return tn_fail(e, TN_EARG, "more than %d features", MAX_TARGET);
    int need = l->len + (int)count;
    if (need > l->cap) {
        int cap = need < 16 ? 16 : need * 2;
        int32_t *grown = realloc(l->data, (size_t)cap * sizeof *grown);
        if (!grown) return tn_fail(e, TN_ENOMEM, "out of memory");
        l->data = grown;
        l->cap = cap;
    }
    for (int64_t f = first; f <= last; f++) l->data[l->len++] = (int32_t)f;
    return TN_OK;
}

static int by_index(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static void list_sort_unique(list *l) {
    if (l->len == 0) return;
    qsort(l->data, (size_t)l->len, sizeof *l->data, by_index);
    int kept = 1;
    for (int i = 1; i < l->len; i++)
        if (l->data[i] != l->data[kept - 1]) l->data[kept++] = l->data[i];
    l->len = kept;
}

/* Reads digits at *p into *out; 1 when there is a number that fits. */
static int read_index(span *s, int32_t *out) {
    int64_t v = 0;
    const char *start = s->p;
    while (s->p < s->end && isdigit((unsigned char)*s->p) && v <= INT32_MAX) v = v * 10 + (*s->p++ - '0');
    *out = (int32_t)(v <= INT32_MAX ? v : 0);
    return s->p > start && v <= INT32_MAX;
}

/* One item of a target: "12", "20-29" or the name of a set. */
static int add_item(list *l, span item, const sae_feature_set *sets, int n_sets, tn_err *e) {
    int shown = (int)(item.end - item.p);
    if (shown == 0) return tn_fail(e, TN_EARG, "a feature is missing");
    if (isdigit((unsigned char)*item.p)) {
        span s = item;
        int32_t first, last;
        int ok = read_index(&s, &first);
        last = first;
        s = trimmed(s);
        if (ok && s.p < s.end && *s.p == '-') {
            s.p++;
            s = trimmed(s);
            ok = read_index(&s, &last) && last >= first;
        }
        if (!ok || s.p != s.end)
            return tn_fail(e, TN_EARG, "%.*s is neither a feature nor a range such as 20-29", shown, item.p);
        return list_add(l, first, last, e);
    }
    for (int i = 0; i < n_sets; i++) {
        if (!span_is(item, sets[i].name)) continue;
        int code = TN_OK;
        for (int k = 0; k < sets[i].n_features && !code; k++)
            code = list_add(l, sets[i].features[k], sets[i].features[k], e);
        return code;
    }
    return tn_fail(e, TN_EARG, "there is no set of features called %.*s", shown, item.p);
}

static int add_items(list *l, span s, const sae_feature_set *sets, int n_sets, tn_err *e) {
    for (;;) {
        const char *comma = span_find(s, ',');
        int code = add_item(l, trimmed((span){s.p, comma}), sets, n_sets, e);
        if (code) return code;
        if (comma == s.end) break;
        s.p = comma + 1;
    }
    list_sort_unique(l);
    return TN_OK;
}

int sae_features_parse(int32_t **features, int *n, const char *text, tn_err *e) {
    list l = {NULL, 0, 0};
    *features = NULL;
    *n = 0;
    int code = add_items(&l, trimmed((span){text, text + strlen(text)}), NULL, 0, e);
    if (code) {
        free(l.data);
        return code;
    }
    *features = l.data;
    *n = l.len;
    return TN_OK;
}

/* ---- Statements ---- */

/* Left of the operator. */
static int parse_target(sae_edit *out, span s, const sae_feature_set *sets, int n_sets, tn_err *e) {
    const char *at = span_find(s, '@');
    if (at < s.end) {
        span layer = trimmed((span){at + 1, s.end});
        int32_t index;
        if (!read_index(&layer, &index) || layer.p != layer.end)
            return tn_fail(e, TN_EARG, "'@' must be followed by a layer");
        out->layer = index;
        s.end = at;
    }
    s = trimmed(s);
    if (span_is(s, "all") || span_is(s, "scale")) {
        out->all = 1;
        return TN_OK;
    }
    list l = {NULL, 0, 0};
    int code = add_items(&l, s, sets, n_sets, e);
    if (code) {
        free(l.data);
        return code;
    }
    out->features = l.data;
    out->n_features = l.len;
    return TN_OK;
}

/* Right of the operator: exactly `n` finite numbers up to the end of the text. */
static int parse_numbers(const char *p, float *dst, int n, tn_err *e) {
    for (int i = 0; i < n; i++) {
        char *after;
        dst[i] = strtof(p, &after);
        if (after == p || !isfinite(dst[i])) return tn_fail(e, TN_EARG, "a number is missing or not finite");
        p = after;
    }
    while (isspace((unsigned char)*p)) p++;
    return *p ? tn_fail(e, TN_EARG, "'%s' is left over", p) : TN_OK;
}

/* The word `word` standing alone in s after at least one character of target; NULL when it is not there. */
static const char *find_word(const char *s, const char *word) {
    size_t n = strlen(word);
    for (const char *hit = strstr(s, word); hit; hit = strstr(hit + 1, word))
        if (hit > s && isspace((unsigned char)hit[-1]) && (!hit[n] || isspace((unsigned char)hit[n])))
            return hit;
    return NULL;
}

/* Finds the operator: sets op, the end of the target and the start of the numbers; 1 when there is one. */
static int find_operator(const char *s, sae_op *op, const char **target_end, const char **numbers) {
    const char *hit = strchr(s, '=');
    if (hit) {
        char before = hit > s ? hit[-1] : ' ';
        *numbers = hit + 1;
        *target_end = before == '*' || before == '+' || before == '-' ? hit - 1 : hit;
        *op = before == '*' ? SAE_SCALE : before == '+' || before == '-' ? SAE_ADD : SAE_SET;
        return 1;
    }
    *op = SAE_CLAMP;
    hit = find_word(s, "clamp");
    if (!hit) {
        *op = SAE_ABLATE;
        hit = find_word(s, "ablate");
    }
    if (!hit) return 0;
    *target_end = hit;
    *numbers = hit + strlen(*op == SAE_CLAMP ? "clamp" : "ablate");
    return 1;
}

static int parse_statement(sae_edit *out, const char *s, const sae_feature_set *sets, int n_sets, tn_err *e) {
    const char *target_end, *numbers;
    *out = (sae_edit){.layer = -1};
    if (!find_operator(s, &out->op, &target_end, &numbers))
        return tn_fail(e, TN_EARG, "expected one of *= += -= = clamp ablate");
    float value[2] = {0, 0};
    int n_values = out->op == SAE_ABLATE ? 0 : out->op == SAE_CLAMP ? 2 : 1;
    int code = parse_numbers(numbers, value, n_values, e);
    if (code) return code;
    if (out->op == SAE_CLAMP && value[0] > value[1])
        return tn_fail(e, TN_EARG, "clamp's low is above its high");
    out->a = *target_end == '-' ? -value[0] : value[0];
    out->b = value[1];
    return parse_target(out, (span){s, target_end}, sets, n_sets, e);
}

/* Appends the statement s (NUL-terminated) to out. */
static int add_statement(sae_edits *out, const char *s, const sae_feature_set *sets, int n_sets, tn_err *e) {
    sae_edit *grown = realloc(out->items, (size_t)(out->count + 1) * sizeof *grown);
    if (!grown) return tn_fail(e, TN_ENOMEM, "out of memory");
    out->items = grown;
    int code = parse_statement(&grown[out->count], s, sets, n_sets, e);
    if (code) {
        char quoted[96]; /* enough of the statement to recognise it */
        size_t n = strlen(s);
        int cut = n > sizeof quoted - 6;
        if (cut) n = sizeof quoted - 6;
        quoted[0] = '"';
        memcpy(quoted + 1, s, n);
        memcpy(quoted + 1 + n, cut ? "...\"" : "\"", cut ? 5 : 2);
        return tn_fail_in(e, code, quoted);
    }
    out->count++;
    return TN_OK;
}

int sae_edits_parse(sae_edits *out, const char *text, const sae_feature_set *sets, int n_sets, tn_err *e) {
    *out = (sae_edits){NULL, 0};
    size_t len = strlen(text);
    char *copy = malloc(len + 1);
    if (!copy) return tn_fail(e, TN_ENOMEM, "out of memory");
    memcpy(copy, text, len + 1);
    int code = TN_OK;
    for (char *next = copy; next && !code;) {
        char *s = next, *semicolon = strchr(s, ';');
        next = semicolon ? semicolon + 1 : NULL;
        span body = trimmed((span){s, semicolon ? semicolon : s + strlen(s)});
        if (body.p == body.end) continue; /* "a; b;" has an empty third statement */
        copy[body.end - copy] = '\0';
        code = add_statement(out, body.p, sets, n_sets, e);
    }
    free(copy);
    if (!code && out->count == 0) code = tn_fail(e, TN_EARG, "there is no statement");
    if (code) sae_edits_free(out);
    return code;
}

void sae_edits_free(sae_edits *e) {
    for (int i = 0; i < e->count; i++) free(e->items[i].features);
    free(e->items);
    *e = (sae_edits){NULL, 0};
}

/* ---- Use ---- */

static int applies(const sae_edit *ed, int layer) {
    return ed->layer < 0 || ed->layer == layer;
}

int sae_edits_check(const sae_edits *edits, int layer, int d_sae, tn_err *e) {
    for (int i = 0; i < edits->count; i++) {
        const sae_edit *ed = &edits->items[i];
        if (!applies(ed, layer) || ed->n_features == 0) continue;
        int32_t largest = ed->features[ed->n_features - 1];
        if (largest >= d_sae)
            return tn_fail(e, TN_EARG, "feature %d is out of range: the SAE of layer %d has %d", (int)largest,
                           layer, d_sae);
    }
    return TN_OK;
}

static float edited(const sae_edit *ed, float z) {
    switch (ed->op) {
    case SAE_SCALE:
        return z * ed->a;
    case SAE_SET:
        return ed->a;
    case SAE_ADD:
        return z + ed->a;
    case SAE_CLAMP:
        return z < ed->a ? ed->a : z > ed->b ? ed->b : z;
    case SAE_ABLATE:
        break;
    }
    return 0.0f;
}

void sae_edits_apply(const sae_edits *edits, int layer, float *z, int d_sae) {
    for (int i = 0; i < edits->count; i++) {
        const sae_edit *ed = &edits->items[i];
        if (!applies(ed, layer)) continue;
        if (ed->all)
            for (int f = 0; f < d_sae; f++) z[f] = edited(ed, z[f]);
        else
            for (int k = 0; k < ed->n_features; k++) z[ed->features[k]] = edited(ed, z[ed->features[k]]);
    }
}
