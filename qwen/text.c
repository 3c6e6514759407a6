/* The model and its tokenizer together (text.h). */
#include "qwen/text.h"

#include <string.h>

static void add_stop(qwen_text *t, int32_t id) {
    if (id < 0 || t->n_stops == (int)(sizeof t->stops / sizeof t->stops[0])) return;
    for (int i = 0; i < t->n_stops; i++)
        if (t->stops[i] == id) return;
    t->stops[t->n_stops++] = id;
}

int qwen_text_open(qwen_text *t, const char *dir, tn_err *e) {
    memset(t, 0, sizeof *t);
    int code = qwen_open_dir(&t->model, dir, e);
    if (!code) code = tok_open_dir(&t->tok, dir, e);
    if (code) {
        qwen_text_close(t);
        return code;
    }
    const qwen_config *c = qwen_model_config(t->model);
    for (int i = 0; i < c->n_eos; i++) add_stop(t, c->eos[i]);
    add_stop(t, tok_eos(t->tok));
    add_stop(t, tok_find(t->tok, "<|im_end|>")); /* base models name only <|endoftext|>, and still chat */
    return TN_OK;
}

void qwen_text_close(qwen_text *t) {
    qwen_close(t->model);
    tok_close(t->tok);
    memset(t, 0, sizeof *t);
}

int qwen_text_prompt(const qwen_text *t, const char *prompt, int raw, const char *system, tok_ids *ids,
                     tn_err *e) {
    size_t before = ids->len;
    const tok_message user = {"user", prompt};
    int code = raw ? tok_encode(t->tok, prompt, strlen(prompt), TOK_SPECIAL, ids, e)
                   : tok_chat(t->tok, system, &user, 1, 1, ids, e);
    if (!code && ids->len == before) return tn_fail(e, TN_EARG, "the prompt is empty");
    return code;
}

/* The bytes of a generated token that are part of the text; 0 when there are none. */
static size_t text_bytes(const qwen_text *t, int32_t id, const char **bytes) {
    size_t len;
    if (tok_bytes(t->tok, id, bytes, &len) || tok_is_special(t->tok, id)) return 0;
    return len;
}

int qwen_text_decode(const qwen_text *t, const int32_t *ids, size_t n, tn_buf *out, tn_err *e) {
    tn_buf_add(out, "", 0); /* an empty text is a string too */
    for (size_t i = 0; i < n; i++) {
        const char *bytes;
        size_t len = text_bytes(t, ids[i], &bytes);
        if (len) tn_buf_add(out, bytes, len);
    }
    return out->failed ? tn_fail(e, TN_ENOMEM, "out of memory") : TN_OK;
}

int qwen_text_push(const qwen_text *t, tok_stream *stream, int32_t id, tn_buf *out, tn_err *e) {
    const char *bytes;
    return text_bytes(t, id, &bytes) ? tok_stream_push(t->tok, stream, id, out, e) : TN_OK;
}
