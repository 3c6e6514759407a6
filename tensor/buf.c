/* The growable byte buffer of buf.h. */
#include "tensor/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tn_buf_free(tn_buf *b) {
    free(b->data);
    *b = (tn_buf)TN_BUF_INIT;
}

void tn_buf_clear(tn_buf *b) {
    b->len = 0;
    if (b->data) b->data[0] = '\0';
}

/* Room for n more bytes and the NUL; 1 when there is. */
static int reserve(tn_buf *b, size_t n) {
    size_t need;
    if (b->failed) return 0;
    if (tn_add_size(b->len, n, &need) || tn_add_size(need, 1, &need)) {
        b->failed = 1;
        return 0;
    }
    if (need <= b->cap) return 1;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need) cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    char *data = realloc(b->data, cap);
    if (!data) {
        b->failed = 1;
        return 0;
    }
    b->data = data;
    b->cap = cap;
    return 1;
}

void tn_buf_add(tn_buf *b, const void *bytes, size_t n) {
    if (!reserve(b, n)) return;
    if (n) memcpy(b->data + b->len, bytes, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void tn_buf_puts(tn_buf *b, const char *s) {
    tn_buf_add(b, s, strlen(s));
}

void tn_buf_putc(tn_buf *b, char c) {
    tn_buf_add(b, &c, 1);
}

void tn_buf_printf(tn_buf *b, const char *fmt, ...) {
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0) {
        b->failed = 1;
    } else if (reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
}
