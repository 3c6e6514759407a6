/* Reading text files as windows of tokens (cmd_texts.h). */
#include "sae/cmd_texts.h"

#include "tensor/os.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DEFAULT_CTX = 128, PIECE = 1 << 20 };

int texts_check(const texts_opts *o, tn_err *e) {
    if (o->ctx < 0 || o->ctx == 1) return tn_fail(e, TN_EARG, "--ctx must be at least 2");
    if (o->paths.count == 0 && o->ctx) return tn_fail(e, TN_EARG, "--ctx goes with --text");
    if (o->paths.count == 0 && o->bos) return tn_fail(e, TN_EARG, "--bos goes with --text");
    if (!(o->max_norm == 0 || (o->max_norm >= 1 && o->max_norm < INFINITY)))
        return tn_fail(e, TN_EARG, "--max-norm is %g, it must be at least 1", (double)o->max_norm);
    return TN_OK;
}

/* Appends a token, and the one before it that begins a window. */
static int push(text_windows *t, int32_t id, tn_err *e) {
    int starts = t->bos >= 0 && t->tokens.len % t->ctx == 0;
    if ((starts && tok_ids_push(&t->tokens, t->bos)) || tok_ids_push(&t->tokens, id))
        return tn_fail(e, TN_ENOMEM, "no memory for more than %zu tokens", t->tokens.len);
    return TN_OK;
}

/* Where the first piece of a text ends: behind a newline that an ordinary character follows. No token of
 * byte-level BPE crosses such a place, as the pre-tokenizers never put a newline and a letter into one word.
 */
static size_t piece_end(const char *text, size_t len) {
    for (size_t i = PIECE; i < len; i++)
        if (text[i - 1] == '\n' && text[i] > ' ' && text[i] < 127) return i;
    return len;
}

static int add_text(text_windows *t, const tok_model *tok, const char *text, size_t len, tn_err *e) {
    tok_ids ids = TOK_IDS_INIT;
    int rc = t->tokens.len > 0 && t->separator >= 0 ? push(t, t->separator, e) : TN_OK;
    for (size_t at = 0; at < len && !rc;) {
        size_t n = piece_end(text + at, len - at);
        ids.len = 0;
        rc = tok_encode(tok, text + at, n, TOK_SPECIAL, &ids, e);
        for (size_t i = 0; i < ids.len && !rc; i++) rc = push(t, ids.data[i], e);
        at += n;
    }
    tok_ids_free(&ids);
    return rc;
}

/* One line of JSONL. */
static int add_line(text_windows *t, const tok_model *tok, const char *line, size_t len, tn_buf *text,
                    tn_err *e) {
    tn_json root;
    int rc = tn_json_parse(&root, line, len, e);
    if (rc) return rc;
    tn_json value = root.kind == TN_JSON_OBJECT ? tn_json_get(root, "text") : root;
    tn_buf_clear(text);
    if (root.kind != TN_JSON_OBJECT || value.kind == TN_JSON_NONE)
        return tn_fail(e, TN_EFORMAT, "expected an object with a \"text\"");
    if (!tn_json_string(value, text)) return tn_fail(e, TN_EFORMAT, "\"text\" is no string");
    if (text->failed) return tn_fail(e, TN_ENOMEM, "out of memory");
    return add_text(t, tok, text->len ? text->data : "", text->len, e);
}

static int add_lines(text_windows *t, const tok_model *tok, const char *p, size_t len, tn_err *e) {
    const char *end = p + len;
    tn_buf text = TN_BUF_INIT;
    int rc = TN_OK;
    for (size_t line = 1; p < end && !rc; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((stop ? stop : end) - p);
        size_t blanks = 0;
        while (blanks < n && strchr(" \t\r", p[blanks]) && p[blanks]) blanks++;
        if (blanks < n) rc = add_line(t, tok, p, n, &text, e);
        if (rc) {
            char where[32];
            snprintf(where, sizeof where, "line %zu", line);
            tn_fail_in(e, rc, where);
        }
        p += n + (stop ? 1 : 0);
    }
    tn_buf_free(&text);
    return rc;
}

static int add_file(text_windows *t, const tok_model *tok, const char *path, tn_err *e) {
    static const char suffix[] = ".jsonl";
    size_t len = strlen(path), n = sizeof suffix - 1;
    tn_map map;
    int rc = tn_map_file(&map, path, e);
    if (rc) return rc;
    const char *bytes = map.size ? map.data : "";
    int lines = len > n && strcmp(path + len - n, suffix) == 0;
    rc = lines ? add_lines(t, tok, bytes, map.size, e) : add_text(t, tok, bytes, map.size, e);
    tn_unmap_file(&map);
    return rc ? tn_fail_in(e, rc, path) : TN_OK;
}

int texts_read(text_windows *t, const texts_opts *o, const tok_model *tok, tn_err *e) {
    *t = (text_windows){TOK_IDS_INIT, o->ctx ? (size_t)o->ctx : DEFAULT_CTX, 0, -1,
                        tok_find(tok, "<|endoftext|>")};
    if (t->separator < 0) t->separator = tok_eos(tok);
    if (o->bos && (t->bos = tok_find(tok, o->bos)) < 0)
        return tn_fail(e, TN_EARG, "--bos: \"%s\" is no token of this model", o->bos);
    int rc = TN_OK;
    for (int i = 0; i < o->paths.count && !rc; i++) rc = add_file(t, tok, o->paths.items[i], e);
    t->windows = t->tokens.len / t->ctx;
    if (!rc && t->windows == 0)
        rc = tn_fail(e, TN_EARG, "%s: %zu tokens are less than a window of %zu", o->paths.items[0],
                     t->tokens.len, t->ctx);
    return rc;
}

void texts_free(text_windows *t) {
    tok_ids_free(&t->tokens);
}
