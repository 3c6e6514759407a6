/* The JSON writer of json.h. */
#include "tensor/json.h"
#include "tensor/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tn_json_out tn_json_writer(tn_buf *out, int indent) {
    return (tn_json_out){.out = out, .need_comma = 0, .indent = indent, .depth = 0};
}

static void new_line(tn_json_out *w) {
    if (!w->indent) return;
    tn_buf_putc(w->out, '\n');
    for (int i = 0; i < w->indent * w->depth; i++) tn_buf_putc(w->out, ' ');
}

/* need_comma: the next value is the first of its bracket, stands behind a comma, or stands on the line of
 * the key before it. */
enum { FIRST = 0, AFTER_VALUE = 1, AFTER_KEY = 2 };

/* Writes what stands between the last thing and the next key or value. */
static void separate(tn_json_out *w) {
    if (w->need_comma == AFTER_VALUE) tn_buf_puts(w->out, w->indent ? "," : ", ");
    if (w->need_comma != AFTER_KEY && w->depth > 0) new_line(w);
    w->need_comma = AFTER_VALUE;
}

static void open_bracket(tn_json_out *w, char c) {
    separate(w);
    tn_buf_putc(w->out, c);
    w->depth++;
    w->need_comma = FIRST;
}

static void close_bracket(tn_json_out *w, char c) {
    int empty = w->need_comma == FIRST;
    w->depth--;
    if (!empty) new_line(w);
    tn_buf_putc(w->out, c);
    w->need_comma = AFTER_VALUE;
}

void tn_json_begin_object(tn_json_out *w) {
    open_bracket(w, '{');
}
void tn_json_end_object(tn_json_out *w) {
    close_bracket(w, '}');
}
void tn_json_begin_array(tn_json_out *w) {
    open_bracket(w, '[');
}
void tn_json_end_array(tn_json_out *w) {
    close_bracket(w, ']');
}

static void put_quoted(tn_buf *b, const char *s, size_t len) {
    tn_buf_putc(b, '"');
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\') {
            tn_buf_putc(b, '\\');
            tn_buf_putc(b, (char)c);
            i++;
        } else if (c == '\n') {
            tn_buf_puts(b, "\\n");
            i++;
        } else if (c == '\t') {
            tn_buf_puts(b, "\\t");
            i++;
        } else if (c < 0x20 || c == 0x7f) {
            tn_buf_printf(b, "\\u%04x", c);
            i++;
        } else {
            int n = tn_utf8_length(s + i, len - i);
            if (n)
                tn_buf_add(b, s + i, (size_t)n);
            else
                tn_buf_puts(b, "\xef\xbf\xbd");
            i += n ? (size_t)n : 1;
        }
    }
    tn_buf_putc(b, '"');
}

void tn_json_key(tn_json_out *w, const char *key) {
    separate(w);
    put_quoted(w->out, key, strlen(key));
    tn_buf_puts(w->out, ": ");
    w->need_comma = AFTER_KEY;
}

void tn_json_put_raw(tn_json_out *w, const char *text, size_t len) {
    separate(w);
    tn_buf_add(w->out, text, len);
}

void tn_json_put_string(tn_json_out *w, const char *s, size_t len) {
    separate(w);
    put_quoted(w->out, s, len);
}

void tn_json_puts(tn_json_out *w, const char *s) {
    tn_json_put_string(w, s, strlen(s));
}

void tn_json_put_i64(tn_json_out *w, int64_t v) {
    separate(w);
    tn_buf_printf(w->out, "%lld", (long long)v);
}

void tn_json_put_f64(tn_json_out *w, double v) {
    separate(w);
    if (!isfinite(v)) {
        tn_buf_puts(w->out, "null");
        return;
    }
    char text[40];
    for (int digits = 6; digits <= 17; digits++) { /* the first that reads back is the shortest we write */
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    tn_buf_puts(w->out, text);
}

void tn_json_put_f32(tn_json_out *w, float v) {
    char text[40];
    if (!isfinite(v)) {
        tn_json_put_null(w);
        return;
    }
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v) break;
    }
    tn_json_put_raw(w, text, strlen(text));
}

void tn_json_put_bool(tn_json_out *w, int v) {
    separate(w);
    tn_buf_puts(w->out, v ? "true" : "false");
}

void tn_json_put_null(tn_json_out *w) {
    separate(w);
    tn_buf_puts(w->out, "null");
}

void tn_json_member_text(tn_json_out *w, const char *key, const char *v) {
    tn_json_key(w, key);
    tn_json_puts(w, v);
}

void tn_json_member_i64(tn_json_out *w, const char *key, int64_t v) {
    tn_json_key(w, key);
    tn_json_put_i64(w, v);
}

void tn_json_member_f64(tn_json_out *w, const char *key, double v) {
    tn_json_key(w, key);
    tn_json_put_f64(w, v);
}

void tn_json_member_f32(tn_json_out *w, const char *key, float v) {
    tn_json_key(w, key);
    tn_json_put_f32(w, v);
}

void tn_json_member_bool(tn_json_out *w, const char *key, int v) {
    tn_json_key(w, key);
    tn_json_put_bool(w, v);
}
