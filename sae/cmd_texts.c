/* Reading text files as windows of tokens (cmd_texts.h). */
#include "sae/cmd_texts.h"

#include "sae/ordered.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CTX = 128, PIECE = 1 << 17 /* bytes of a piece, and of what is encoded at once */ };

int texts_check(const texts_opts *o, tn_err *e) {
    if (o->ctx < 0 || o->ctx == 1) return tn_fail(e, TN_EARG, "--ctx must be at least 2");
    if (o->paths.count == 0 && o->ctx) return tn_fail(e, TN_EARG, "--ctx goes with --text");
    if (o->paths.count == 0 && o->bos) return tn_fail(e, TN_EARG, "--bos goes with --text");
    if (!(o->max_norm == 0 || (o->max_norm >= 1 && o->max_norm < INFINITY)))
        return tn_fail(e, TN_EARG, "--max-norm is %g, it must be at least 1", (double)o->max_norm);
    return TN_OK;
}

/* ---- a piece's tokens ---- */

/* Where the first piece of a text ends: behind a newline that an ordinary character follows. No token of
 * byte-level BPE crosses such a place, as the pre-tokenizers never put a newline and a letter into one word.
 */
static size_t piece_end(const char *text, size_t len) {
    for (size_t i = PIECE; i < len; i++)
        if (text[i - 1] == '\n' && text[i] > ' ' && text[i] < 127) return i;
    return len;
}

/* Begins a text: the separator, unless nothing comes before it. */
static int separate(text_windows *t, const text_piece *p, tn_err *e) {
    if (t->separator < 0 || p->token + t->held.len == 0) return TN_OK;
    return tok_ids_push(&t->held, t->separator) ? tn_fail(e, TN_ENOMEM, "out of memory") : TN_OK;
}

/* One line of JSONL. */
static int encode_line(text_windows *t, const text_piece *p, const char *line, size_t len, tn_err *e) {
    tn_json root;
    int rc = tn_json_parse(&root, line, len, e);
    if (rc) return rc;
    tn_json value = root.kind == TN_JSON_OBJECT ? tn_json_get(root, "text") : root;
    tn_buf_clear(&t->line);
    if (root.kind != TN_JSON_OBJECT || value.kind == TN_JSON_NONE)
        return tn_fail(e, TN_EFORMAT, "expected an object with a \"text\"");
    if (!tn_json_string(value, &t->line)) return tn_fail(e, TN_EFORMAT, "\"text\" is no string");
    if (t->line.failed) return tn_fail(e, TN_ENOMEM, "out of memory");
    rc = separate(t, p, e);
    for (size_t at = 0, n; at < t->line.len && !rc; at += n) {
        n = piece_end(t->line.data + at, t->line.len - at);
        rc = tok_encode(t->tok, t->line.data + at, n, TOK_SPECIAL, &t->held, e);
    }
    return rc;
}

static int is_blank(const char *line, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') return 0;
    return 1;
}

/* Whole lines of `text` [len] from the piece's beginning on; *end and *line are where the next piece begins.
 */
static int encode_lines(text_windows *t, const text_piece *p, const char *text, size_t len, size_t *end,
                        size_t *line, tn_err *e) {
    int rc = TN_OK;
    while (*end < len && *end - p->begin < PIECE && !rc) {
        const char *from = text + *end, *stop = memchr(from, '\n', len - *end);
        size_t n = stop ? (size_t)(stop - from) : len - *end;
        if (!is_blank(from, n)) rc = encode_line(t, p, from, n, e);
        if (rc) {
            char where[32];
            snprintf(where, sizeof where, "line %zu", *line);
            tn_fail_in(e, rc, where);
        }
        *end += n + (stop != NULL);
        ++*line;
    }
    return rc;
}

static int is_jsonl(const char *path) {
    static const char suffix[] = ".jsonl";
    size_t len = strlen(path), n = sizeof suffix - 1;
    return len > n && strcmp(path + len - n, suffix) == 0;
}

static int map_file(text_windows *t, int file, tn_err *e) {
    if (t->mapped == file) return TN_OK;
    tn_unmap_file(&t->map);
    t->mapped = -1;
    int rc = tn_map_file(&t->map, t->opts->paths.items[file], e);
    if (!rc) t->mapped = file;
    return rc;
}

/* held = the tokens of a piece; *next is where the one after it begins, in the same file. */
static int encode_piece(text_windows *t, const text_piece *p, text_piece *next, tn_err *e) {
    int rc = map_file(t, p->file, e);
    if (rc) return rc;
    const char *path = t->opts->paths.items[p->file], *text = t->map.size ? t->map.data : "";
    size_t end = p->begin, line = p->line;
    t->held.len = 0;
    if (is_jsonl(path)) {
        rc = encode_lines(t, p, text, t->map.size, &end, &line, e);
    } else if (p->begin <= t->map.size) {
        end += piece_end(text + end, t->map.size - end);
        if (p->begin == 0) rc = separate(t, p, e);
        if (!rc) rc = tok_encode(t->tok, text + p->begin, end - p->begin, TOK_SPECIAL, &t->held, e);
    }
    if (end > p->begin) tn_map_release(&t->map, text + p->begin, end - p->begin);
    *next = (text_piece){p->file, end, line, p->token + t->held.len};
    return rc ? tn_fail_in(e, rc, path) : TN_OK;
}

/* ---- all pieces ---- */

static int add_piece(text_windows *t, text_piece p, tn_err *e) {
    if (t->n_pieces == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 64;
        text_piece *pieces = realloc(t->pieces, cap * sizeof *pieces);
        if (!pieces) return tn_fail(e, TN_ENOMEM, "no memory for %zu pieces of text", cap);
        t->pieces = pieces;
        t->cap = cap;
    }
    t->pieces[t->n_pieces++] = p;
    return TN_OK;
}

/* Counts all tokens, and notes the pieces. */
static int survey(text_windows *t, size_t *tokens, tn_err *e) {
    text_piece p = {0};
    int rc = TN_OK;
    for (int file = 0; file < t->opts->paths.count && !rc; file++) {
        p = (text_piece){file, 0, 1, p.token};
        do {
            rc = add_piece(t, p, e);
            if (!rc) rc = encode_piece(t, &t->pieces[t->n_pieces - 1], &p, e);
        } while (!rc && p.begin < t->map.size);
    }
    t->held_piece = t->n_pieces - 1;
    if (!rc && !(rc = add_piece(t, p, e))) t->n_pieces--; /* the end is none of them */
    *tokens = p.token;
    return rc;
}

/* Tokens of the texts in a window. */
static size_t payload(const text_windows *t) {
    return t->ctx - (t->bos >= 0);
}

int texts_open(text_windows *t, const texts_opts *o, const tok_model *tok, tn_err *e) {
    *t = (text_windows){.ctx = o->ctx ? (size_t)o->ctx : DEFAULT_CTX,
                        .opts = o,
                        .tok = tok,
                        .bos = -1,
                        .separator = tok_find(tok, "<|endoftext|>"),
                        .mapped = -1,
                        .held = TOK_IDS_INIT,
                        .line = TN_BUF_INIT};
    if (t->separator < 0) t->separator = tok_eos(tok);
    if (o->bos && (t->bos = tok_find(tok, o->bos)) < 0)
        return tn_fail(e, TN_EARG, "--bos: \"%s\" is no token of this model", o->bos);
    size_t tokens;
    int rc = survey(t, &tokens, e);
    if (rc) return rc;
    size_t full = tokens / payload(t), begun = full + (tokens % payload(t) != 0);
    t->windows = full;
    t->tokens = tokens + (t->bos >= 0 ? begun : 0);
    if (full == 0)
        return tn_fail(e, TN_EARG, "%s: %zu tokens are less than a window of %zu", o->paths.items[0],
                       t->tokens, t->ctx);
    return TN_OK;
}

/* ---- windows ---- */

/* The last piece that begins at or before a token, which therefore holds it. */
static size_t piece_of(const text_windows *t, size_t token) {
    return sae_last_at_most(&t->pieces->token, sizeof *t->pieces, t->n_pieces, token);
}

static int hold(text_windows *t, size_t piece, tn_err *e) {
    text_piece next;
    if (piece == t->held_piece) return TN_OK;
    t->held_piece = SIZE_MAX;
    int rc = encode_piece(t, &t->pieces[piece], &next, e);
    if (rc) return rc;
    if (next.token != t->pieces[piece + 1].token)
        return tn_fail(e, TN_EIO, "%s: changed while it was being read",
                       t->opts->paths.items[t->pieces[piece].file]);
    t->held_piece = piece;
    return TN_OK;
}

int texts_window(text_windows *t, size_t i, int32_t *dst, tn_err *e) {
    size_t token = i * payload(t), end = token + payload(t);
    if (t->bos >= 0) *dst++ = t->bos;
    while (token < end) {
        size_t piece = piece_of(t, token);
        int rc = hold(t, piece, e);
        if (rc) return rc;
        size_t from = token - t->pieces[piece].token, n = t->held.len - from;
        if (n > end - token) n = end - token;
        memcpy(dst, t->held.data + from, n * sizeof *dst);
        dst += n;
        token += n;
    }
    return TN_OK;
}

void texts_close(text_windows *t) {
    tn_unmap_file(&t->map);
    tok_ids_free(&t->held);
    tn_buf_free(&t->line);
    free(t->pieces);
}
