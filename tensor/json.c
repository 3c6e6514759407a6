/* The JSON reader of json.h: one checking pass, then lookups over slices known to be sound. */
#include "tensor/json.h"
#include "tensor/swar.h"
#include "tensor/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64

/* ---- Scanning ---- */

static const char *skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
    return p;
}

static int is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* Whether c is of a number, true, false or null, whatever may follow those. */
static int is_of_word(char c) {
    return c > ' ' && c != ',' && c != ']' && c != '}';
}

static int hex_digit(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The first byte in [p, end) that is '"', '\\' or a control character, where plain text of a string stops. */
static const char *skip_plain(const char *p, const char *end) {
    for (; end - p >= 8; p += 8) {
        uint64_t x = tn_load8(p);
        uint64_t stops = tn_mark_byte(x, '"') | tn_mark_byte(x, '\\') | tn_mark_below(x, 0x20);
        if (stops) return p + tn_before_mark(stops);
    }
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20) p++;
    return p;
}

/* ---- Slices of checked text ---- */

static tn_json_kind kind_at(const char *p) {
    switch (*p) {
    case '{':
        return TN_JSON_OBJECT;
    case '[':
        return TN_JSON_ARRAY;
    case '"':
        return TN_JSON_STRING;
    case 't':
    case 'f':
        return TN_JSON_BOOL;
    case 'n':
        return TN_JSON_NULL;
    default:
        return TN_JSON_NUMBER;
    }
}

static const char *string_end(const char *p, const char *end) {
    p = skip_plain(p + 1, end);
    while (*p != '"') p = skip_plain(p + 2, end); /* behind the escape at p */
    return p + 1;
}

/* The end of the value at p, in text that was checked. */
static const char *value_end(const char *p, const char *end) {
    if (*p == '"') return string_end(p, end);
    if (*p != '{' && *p != '[') { /* a number or a word */
        while (p < end && is_of_word(*p)) p++;
        return p;
    }
    /* In sound text brackets match, so that counting them finds the one that closes the first. */
    for (int depth = 0; p < end; p++) {
        if (*p == '"') p = string_end(p, end) - 1;
        if (*p == '{' || *p == '[') depth++;
        if ((*p == '}' || *p == ']') && --depth == 0) return p + 1;
    }
    return end;
}

static tn_json slice_at(const char *p, const char *end) {
    tn_json v = {kind_at(p), p, 0};
    v.len = (size_t)(value_end(p, end) - p);
    return v;
}

/* ---- The checking pass ---- */

typedef struct {
    const char *begin, *p, *end;
    const char *mistake;       /* what was expected at p */
    const tn_json_path *paths; /* [n_paths] members to find on the way */
    tn_json *values;           /* [n_paths] */
    int n_paths;
} checker;

static int wrong(checker *c, const char *expected) {
    c->mistake = expected;
    return 0;
}

/* p stands on the opening quote; leaves it behind the closing one. */
static int check_string(checker *c) {
    for (c->p++; (c->p = skip_plain(c->p, c->end)) < c->end; c->p++) {
        if (*c->p == '"') {
            c->p++;
            return 1;
        }
        if (*c->p != '\\') return wrong(c, "expected no control character inside a string");
        c->p++;
        if (c->p == c->end) break;
        if (*c->p == 'u') {
            for (int i = 0; i < 4; i++) {
                c->p++;
                if (c->p == c->end || hex_digit(*c->p) < 0) return wrong(c, "expected four hex digits");
            }
        } else if (!strchr("\"\\/bfnrt", *c->p) || *c->p == '\0') {
            return wrong(c, "expected an escape character");
        }
    }
    return wrong(c, "expected '\"'");
}

static int check_digits(checker *c) {
    if (c->p == c->end || !is_digit(*c->p)) return wrong(c, "expected a digit");
    while (c->p < c->end && is_digit(*c->p)) c->p++;
    return 1;
}

static int check_number(checker *c) {
    if (*c->p == '-') c->p++;
    if (c->p < c->end && *c->p == '0') {
        c->p++; /* no digit may follow a leading zero */
    } else if (!check_digits(c)) {
        return 0;
    }
    if (c->p < c->end && *c->p == '.') {
        c->p++;
        if (!check_digits(c)) return 0;
    }
    if (c->p < c->end && (*c->p == 'e' || *c->p == 'E')) {
        c->p++;
        if (c->p < c->end && (*c->p == '+' || *c->p == '-')) c->p++;
        if (!check_digits(c)) return 0;
    }
    return 1;
}

static int check_word(checker *c, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0) return wrong(c, "expected a value");
    c->p += n;
    return 1;
}

/* A string, number or word at p. */
static int check_scalar(checker *c) {
    switch (*c->p) {
    case '"':
        return check_string(c);
    case 't':
        return check_word(c, "true");
    case 'f':
        return check_word(c, "false");
    case 'n':
        return check_word(c, "null");
    default:
        if (*c->p == '-' || is_digit(*c->p)) return check_number(c);
        return wrong(c, "expected a value");
    }
}

/* One of the values that p lies in. */
typedef struct {
    tn_json key;       /* TN_JSON_NONE for the root and in arrays */
    const char *begin; /* its first byte */
    char closer;       /* the bracket that ends it */
} level;

/* What stands before the value of `inner` in an object, `"key" :`, spaces around it included. */
static int check_key(checker *c, const level *outer, level *inner) {
    inner->key = (tn_json){TN_JSON_NONE, NULL, 0};
    if (outer->closer != '}') return 1; /* an array has no keys */
    c->p = skip_space(c->p, c->end);
    if (c->p == c->end || *c->p != '"') return wrong(c, "expected '\"'");
    const char *begin = c->p;
    if (!check_string(c)) return 0;
    inner->key = (tn_json){TN_JSON_STRING, begin, (size_t)(c->p - begin)};
    c->p = skip_space(c->p, c->end);
    if (c->p == c->end || *c->p != ':') return wrong(c, "expected ':'");
    c->p++;
    return 1;
}

/* The value at open[depth] ended at p. If it is a member that was asked for, it is one of the results. */
static void note_member(const checker *c, const level *open, int depth) {
    const char *begin = open[depth].begin;
    for (int i = 0; i < c->n_paths; i++) {
        const char *outer = c->paths[i].outer;
        if (outer && !tn_json_is(open[1].key, outer)) continue;
        if (depth == (outer ? 2 : 1)) {
            if (tn_json_is(open[depth].key, c->paths[i].name))
                c->values[i] = (tn_json){kind_at(begin), begin, (size_t)(c->p - begin)};
        } else if (depth == 1 && c->values[i].kind != TN_JSON_NONE && c->values[i].text < begin) {
            c->values[i] = (tn_json){TN_JSON_NONE, NULL, 0}; /* was in an `outer` that this one replaces */
        }
    }
}

/* One whole value. The stack of open brackets is an array, so hostile nesting cannot exhaust the C stack. */
static int check_value(checker *c) {
    level open[MAX_DEPTH + 1]; /* the root, the value in it that holds p, and so on */
    int depth = 0;
    for (;;) {
        /* a value starts here */
        c->p = skip_space(c->p, c->end);
        if (c->p == c->end) return wrong(c, "expected a value");
        open[depth].begin = c->p;
        if (*c->p == '{' || *c->p == '[') {
            if (depth == MAX_DEPTH) return wrong(c, "expected at most 64 levels");
            open[depth].closer = *c->p == '{' ? '}' : ']';
            c->p = skip_space(c->p + 1, c->end);
            if (c->p == c->end || *c->p != open[depth].closer) {
                depth++;
                if (!check_key(c, &open[depth - 1], &open[depth])) return 0;
                continue;
            }
            c->p++; /* empty */
        } else if (!check_scalar(c)) {
            return 0;
        }
        /* a value ended here: close brackets, or go on behind a comma */
        for (;;) {
            if (depth == 0) return 1;
            if (depth <= 2) note_member(c, open, depth);
            char closer = open[depth - 1].closer;
            c->p = skip_space(c->p, c->end);
            if (c->p < c->end && *c->p == ',') {
                c->p++;
                if (!check_key(c, &open[depth - 1], &open[depth])) return 0;
                break;
            }
            if (c->p == c->end || *c->p != closer)
                return wrong(c, closer == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
            c->p++;
            depth--;
        }
    }
}

/* Checks a whole document; its root is found in *root. text may be NULL when it is empty. */
static int parse(checker *c, const char *text, size_t len, tn_json *root, tn_err *e) {
    if (len == 0) return tn_fail(e, TN_EFORMAT, "bad JSON: the text is empty");
    c->begin = c->p = text;
    c->end = text + len;
    const char *begin = skip_space(c->p, c->end);
    int ok = check_value(c);
    const char *after = c->p;
    if (ok) {
        c->p = skip_space(c->p, c->end);
        if (c->p < c->end) ok = wrong(c, "expected the end");
    }
    if (!ok) return tn_fail(e, TN_EFORMAT, "bad JSON at byte %zu: %s", (size_t)(c->p - c->begin), c->mistake);
    *root = (tn_json){kind_at(begin), begin, (size_t)(after - begin)};
    return TN_OK;
}

int tn_json_parse(tn_json *out, const char *text, size_t len, tn_err *e) {
    checker c = {0};
    return parse(&c, text, len, out, e);
}

int tn_json_parse_members(tn_json *values, const tn_json_path *paths, int n, const char *text, size_t len,
                          tn_err *e) {
    checker c = {.paths = paths, .values = values, .n_paths = n};
    for (int i = 0; i < n; i++) values[i] = (tn_json){TN_JSON_NONE, NULL, 0};
    tn_json root;
    return parse(&c, text, len, &root, e);
}

/* ---- Walking checked text ---- */

tn_json_iter tn_json_each(tn_json v) {
    tn_json_iter it = {NULL, NULL, v.kind == TN_JSON_OBJECT};
    if (v.kind == TN_JSON_OBJECT || v.kind == TN_JSON_ARRAY) {
        it.p = v.text + 1;
        it.end = v.text + v.len - 1; /* the closing bracket */
    }
    return it;
}

int tn_json_next(tn_json_iter *it, tn_json *key, tn_json *value) {
    const char *p = it->p;
    while (p < it->end && (*p == ',' || *p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
    if (p >= it->end) return 0;
    tn_json k = {TN_JSON_NONE, NULL, 0};
    if (it->is_object) {
        k = slice_at(p, it->end);
        p = skip_space(k.text + k.len, it->end);
        p = skip_space(p + 1, it->end); /* behind the colon */
    }
    tn_json v = slice_at(p, it->end);
    it->p = v.text + v.len;
    if (key) *key = k;
    if (value) *value = v;
    return 1;
}

size_t tn_json_count(tn_json v) {
    size_t n = 0;
    for (tn_json_iter it = tn_json_each(v); tn_json_next(&it, NULL, NULL);) n++;
    return n;
}

tn_json tn_json_get(tn_json obj, const char *key) {
    tn_json k, v, found = {TN_JSON_NONE, NULL, 0};
    if (obj.kind != TN_JSON_OBJECT) return found;
    for (tn_json_iter it = tn_json_each(obj); tn_json_next(&it, &k, &v);)
        if (tn_json_is(k, key)) found = v;
    return found;
}

int tn_json_bool(tn_json v, int *out) {
    if (v.kind != TN_JSON_BOOL) return 0;
    *out = *v.text == 't';
    return 1;
}

int tn_json_f64(tn_json v, double *out) {
    if (v.kind != TN_JSON_NUMBER) return 0;
    char digits[128]; /* strtod needs a NUL; a number this long is no number of ours */
    if (v.len >= sizeof digits) return 0;
    memcpy(digits, v.text, v.len);
    digits[v.len] = '\0';
    double d = strtod(digits, NULL);
    if (!isfinite(d)) return 0;
    *out = d;
    return 1;
}

int tn_json_i64(tn_json v, int64_t *out) {
    if (v.kind != TN_JSON_NUMBER || v.len > 64) return 0;
    if (v.len < 19) { /* plain digits, as nearly always */
        int64_t n = 0;
        size_t i = 0;
        while (i < v.len && is_digit(v.text[i])) n = 10 * n + (v.text[i++] - '0');
        if (i == v.len) {
            *out = n;
            return 1;
        }
    }
    char digits[65];
    memcpy(digits, v.text, v.len);
    digits[v.len] = '\0';
    if (!strpbrk(digits, ".eE")) {
        errno = 0;
        long long whole = strtoll(digits, NULL, 10);
        if (errno == ERANGE) return 0;
        *out = whole;
        return 1;
    }
    double d;
    if (!tn_json_f64(v, &d) || d != floor(d) || d < -0x1p63 || d >= 0x1p63) return 0;
    *out = (int64_t)d;
    return 1;
}

/* ---- Strings ---- */

static uint32_t hex4(const char *p) {
    uint32_t v = 0;
    for (int i = 0; i < 4; i++) v = v << 4 | (uint32_t)hex_digit(p[i]);
    return v;
}

/* Unescapes the next piece of a checked string at *p: up to 4 bytes into dst, returns how many. */
static int next_piece(const char **p, char dst[4]) {
    const char *s = *p;
    if (*s != '\\') {
        dst[0] = *s;
        *p = s + 1;
        return 1;
    }
    static const char names[] = "bfnrt", values[] = "\b\f\n\r\t";
    if (s[1] != 'u') {
        const char *at = strchr(names, s[1]);
        dst[0] = at ? values[at - names] : s[1];
        *p = s + 2;
        return 1;
    }
    uint32_t cp = hex4(s + 2);
    *p = s + 6;
    if (cp >= 0xd800 && cp < 0xdc00 && s[6] == '\\' && s[7] == 'u') {
        uint32_t low = hex4(s + 8);
        if (low >= 0xdc00 && low < 0xe000) {
            *p = s + 12;
            return tn_utf8_put(dst, 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00));
        }
    }
    if (cp >= 0xd800 && cp < 0xe000) cp = 0xfffd; /* half of a pair */
    return tn_utf8_put(dst, cp);
}

int tn_json_string(tn_json v, tn_buf *out) {
    if (v.kind != TN_JSON_STRING) return 0;
    const char *p = v.text + 1, *end = v.text + v.len - 1;
    while (p < end) {
        const char *run = p;
        p = skip_plain(p, end);
        tn_buf_add(out, run, (size_t)(p - run));
        if (p == end) break;
        char piece[4];
        int n = next_piece(&p, piece);
        tn_buf_add(out, piece, (size_t)n);
    }
    return 1;
}

const char *tn_json_text(tn_json v, size_t *len, tn_buf *scratch) {
    if (v.kind != TN_JSON_STRING) return NULL;
    const char *begin = v.text + 1, *end = v.text + v.len - 1;
    if (skip_plain(begin, end) == end) {
        *len = (size_t)(end - begin);
        return begin;
    }
    tn_buf_clear(scratch);
    tn_json_string(v, scratch);
    *len = scratch->len;
    return scratch->failed ? NULL : scratch->data;
}

int tn_json_is(tn_json v, const char *s) {
    if (v.kind != TN_JSON_STRING) return 0;
    const char *p = v.text + 1, *end = v.text + v.len - 1;
    while (p < end) {
        char piece[4];
        int n = next_piece(&p, piece);
        for (int i = 0; i < n; i++, s++)
            if (*s == '\0' || *s != piece[i]) return 0;
    }
    return *s == '\0';
}

int tn_json_copy(tn_json v, char *dst, size_t cap) {
    if (v.kind != TN_JSON_STRING || cap == 0) return 0;
    const char *p = v.text + 1, *end = v.text + v.len - 1;
    size_t len = 0;
    while (p < end) {
        char piece[4];
        size_t n = (size_t)next_piece(&p, piece);
        if (n >= cap - len) return 0;
        memcpy(dst + len, piece, n);
        len += n;
    }
    dst[len] = '\0';
    return 1;
}
