/* Ids back to text: all at once, or token by token without ever showing half a character. */
#include "tokenizer/model.h"

#include "tensor/utf8.h"

#include <string.h>

int tok_bytes(const tok_model *t, int32_t id, const char **bytes, size_t *len) {
    if (id < 0 || id >= t->vocab.n || t->vocab.entry[id].kind == TOK_ABSENT) return TN_EARG;
    *bytes = tok_vocab_bytes(&t->vocab, id, len);
    return TN_OK;
}

static int unknown_id(const tok_model *t, int32_t id, tn_err *e) {
    return tn_fail(e, TN_EARG, "unknown token id %d (the vocabulary has %d)", (int)id, (int)t->vocab.n);
}

int tok_decode(const tok_model *t, const int32_t *ids, size_t n, int skip_special, tn_buf *out, tn_err *e) {
    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        size_t len;
        if (tok_bytes(t, ids[i], &bytes, &len) != TN_OK) return unknown_id(t, ids[i], e);
        if (!(skip_special && tok_is_special(t, ids[i]))) tn_buf_add(out, bytes, len);
    }
    return out->failed ? tn_fail(e, TN_ENOMEM, "no memory for the text") : TN_OK;
}

/* ---- Streaming ---- */

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Whether more bytes can make the n bytes at s, which are no character, into one. Trying the least and the
 * greatest tail byte is enough: the ranges of second bytes reach one end or the other. */
static int can_continue(const char *s, int n) {
    char least[4], greatest[4];
    memset(least, '\x80', sizeof least);
    memset(greatest, '\xbf', sizeof greatest);
    memcpy(least, s, (size_t)n);
    memcpy(greatest, s, (size_t)n);
    return tn_utf8_length(least, 4) > n || tn_utf8_length(greatest, 4) > n;
}

/* Moves one more byte into the stream and writes what it settles. */
static void push_byte(tok_stream *s, char byte, tn_buf *out) {
    s->pending[s->n_pending++] = byte;
    int complete = tn_utf8_length(s->pending, (size_t)s->n_pending) == s->n_pending;
    if (!complete && can_continue(s->pending, s->n_pending)) return;
    if (!complete && s->n_pending > 1) {
        /* The bytes before were cut short; this one begins anew. */
        tn_buf_puts(out, REPLACEMENT);
        s->n_pending = 0;
        s->pending[s->n_pending++] = byte;
        complete = tn_utf8_length(s->pending, 1) == 1;
        if (!complete && can_continue(s->pending, 1)) return;
    }
    if (complete)
        tn_buf_add(out, s->pending, (size_t)s->n_pending);
    else
        tn_buf_puts(out, REPLACEMENT);
    s->n_pending = 0;
}

int tok_stream_push(const tok_model *t, tok_stream *s, int32_t id, tn_buf *out, tn_err *e) {
    const char *bytes;
    size_t len;
    if (tok_bytes(t, id, &bytes, &len) != TN_OK) return unknown_id(t, id, e);
    for (size_t i = 0; i < len; i++) push_byte(s, bytes[i], out);
    return out->failed ? tn_fail(e, TN_ENOMEM, "no memory for the text") : TN_OK;
}

void tok_stream_end(tok_stream *s, tn_buf *out) {
    if (s->n_pending > 0) tn_buf_puts(out, REPLACEMENT);
    s->n_pending = 0;
}
