/* The JSON reader of json.h: one checking pass, then lookups over slices known to be sound. */
#include "tensor/json.h"
#include "tensor/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64

/* ---- The checking pass ---- */

typedef struct {
    const char *begin, *p, *end;
    const char *mistake; /* what was expected at p */
} checker;

static const char *skip_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
    return p;
}

static int is_digit(char c) {
    return c >= '0' && c <= '9';
}

static int hex_digit(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static int wrong(checker *c, const char *expected) {
    c->mistake = expected;
    return 0;
}

/* What a byte means to a scan; most bytes of a text mean nothing, and one look at a table passes them by.
 * Bytes below 0x20 are 0 (NONE) outside strings: only check_string minds them. */
enum { NONE, QUOTE, BACKSLASH, OPEN, CLOSE, BETWEEN };
static const unsigned char meaning[256] = {
    ['"'] = QUOTE,   ['\\'] = BACKSLASH, ['{'] = OPEN,     ['['] = OPEN,
    ['}'] = CLOSE,   [']'] = CLOSE,      [','] = BETWEEN,  [':'] = BETWEEN,
    [' '] = BETWEEN, ['\n'] = BETWEEN,   ['\t'] = BETWEEN, ['\r'] = BETWEEN,
};

/* p stands on the opening quote; leaves it behind the closing one. */
static int check_string(checker *c) {
    for (c->p++; c->p < c->end; c->p++) {
        unsigned char ch = (unsigned char)*c->p;
        if (ch > '\\') continue; /* small letters and all but ASCII */
        if (ch == '"') {
            c->p++;
            return 1;
        }
        if (ch < 0x20) return wrong(c, "expected no control character inside a string");
        if (ch != '\\') continue;
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

/* `"key" :` at p, spaces around it included. */
static int check_key(checker *c) {
    c->p = skip_space(c->p, c->end);
    if (c->p == c->end || *c->p != '"') return wrong(c, "expected '\"'");
    if (!check_string(c)) return 0;
    c->p = skip_space(c->p, c->end);
    if (c->p == c->end || *c->p != ':') return wrong(c, "expected ':'");
    c->p++;
    return 1;
}

/* One whole value. The stack of open brackets is an array, so hostile nesting cannot exhaust the C stack. */
static int check_value(checker *c) {
    char closers[MAX_DEPTH];
    int depth = 0;
    for (;;) {
        /* a value starts here */
        c->p = skip_space(c->p, c->end);
        if (c->p == c->end) return wrong(c, "expected a value");
        if (*c->p == '{' || *c->p == '[') {
            if (depth == MAX_DEPTH) return wrong(c, "expected at most 64 levels");
            char closer = *c->p == '{' ? '}' : ']';
            c->p = skip_space(c->p + 1, c->end);
            if (c->p == c->end || *c->p != closer) {
                closers[depth++] = closer;
                if (closer == '}' && !check_key(c)) return 0;
                continue;
            }
            c->p++; /* empty */
        } else if (!check_scalar(c)) {
            return 0;
        }
        /* a value ended here: close brackets, or go on behind a comma */
        for (;;) {
            if (depth == 0) return 1;
            c->p = skip_space(c->p, c->end);
            if (c->p < c->end && *c->p == ',') {
                c->p++;
                if (closers[depth - 1] == '}' && !check_key(c)) return 0;
                break;
            }
            if (c->p == c->end || *c->p != closers[depth - 1])
                return wrong(c, closers[depth - 1] == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
            c->p++;
            depth--;
        }
    }
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

static const char *string_end(const char *p) {
    for (p++; *p != '"'; p++)
        if (*p == '\\') p++;
    return p + 1;
}

static int meaning_at(const char *p) {
    return meaning[(unsigned char)*p];
}

/* The end of the value at p, in text that was checked. */
static const char *value_end(const char *p, const char *end) {
    if (*p == '"') return string_end(p);
    if (meaning_at(p) != OPEN) { /* a number or a word */
        while (p < end && meaning_at(p) == NONE) p++;
        return p;
    }
    /* In sound text brackets match, so that counting them finds the one that closes the first. */
    for (int depth = 0; p < end; p++) {
        int m = meaning_at(p);
        if (m == OPEN) depth++;
        if (m == CLOSE && --depth == 0) return p + 1;
        if (m == QUOTE) p = string_end(p) - 1;
    }
    return end;
}

static tn_json slice_at(const char *p, const char *end) {
    tn_json v = {kind_at(p), p, 0};
    v.len = (size_t)(value_end(p, end) - p);
    return v;
}

int tn_json_parse(tn_json *out, const char *text, size_t len, tn_err *e) {
    checker c = {text, text, text + len, NULL};
    if (len == 0) return tn_fail(e, TN_EFORMAT, "bad JSON: the text is empty");
    int ok = check_value(&c);
    const char *value = skip_space(text, c.end);
    const char *after = c.p;
    if (ok) {
        c.p = skip_space(c.p, c.end);
        if (c.p < c.end) ok = wrong(&c, "expected the end");
    }
    if (!ok) return tn_fail(e, TN_EFORMAT, "bad JSON at byte %zu: %s", (size_t)(c.p - c.begin), c.mistake);
    *out = (tn_json){kind_at(value), value, (size_t)(after - value)};
    return TN_OK;
}

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
        while (p < end && *p != '\\') p++;
        tn_buf_add(out, run, (size_t)(p - run));
        if (p == end) break;
        char piece[4];
        int n = next_piece(&p, piece);
        tn_buf_add(out, piece, (size_t)n);
    }
    return 1;
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
