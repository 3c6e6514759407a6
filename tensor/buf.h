/* A growable byte buffer: the one place where text of unknown length is gathered.
 *
 * Hosted code only (it allocates); the forward pass never sees one. `data` is always NUL-terminated
 * beyond `len`, so it can be passed on as a string. A failed growth sets `failed` and turns further
 * appends into no-ops: check once at the end.
 */
#ifndef TENSOR_BUF_H
#define TENSOR_BUF_H

#include "tensor/base.h"
#include "tensor/err.h"

typedef struct {
    char *data; /* owned; NULL while empty */
    size_t len, cap;
    int failed;
} tn_buf;

#define TN_BUF_INIT                                                                                          \
    { NULL, 0, 0, 0 }

void tn_buf_free(tn_buf *b);
void tn_buf_clear(tn_buf *b); /* len = 0, keeps the memory */
void tn_buf_add(tn_buf *b, const void *bytes, size_t n);
void tn_buf_puts(tn_buf *b, const char *s);
void tn_buf_putc(tn_buf *b, char c);
void tn_buf_printf(tn_buf *b, const char *fmt, ...) TN_PRINTF(2, 3);

#endif
