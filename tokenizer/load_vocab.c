/* Vocabulary and merges: the parts tokenizer.json shares with the older vocab.json + merges.txt, and the
 * reader of those two.
 */
#include "tokenizer/model.h"

#include <string.h>

int tok_load_entries(tok_model *t, tn_json vocab, tn_err *e) {
    if (vocab.kind != TN_JSON_OBJECT) return tn_fail(e, TN_EFORMAT, "the vocabulary is missing or no object");
    int status = TN_OK;
    tn_buf text = TN_BUF_INIT;
    tn_json key, value;
    for (tn_json_iter it = tn_json_each(vocab); status == TN_OK && tn_json_next(&it, &key, &value);) {
        int64_t id;
        size_t len;
        const char *spelled = tn_json_text(key, &len, &text);
        if (!spelled)
            status = tn_fail(e, TN_ENOMEM, "no memory for the vocabulary");
        else if (!tn_json_i64(value, &id))
            status = tn_fail(e, TN_EFORMAT, "the id of token \"%.*s\" is no whole number",
                             (int)(len < 40 ? len : 40), spelled);
        else
            status = tok_vocab_add(&t->vocab, id, spelled, len, e);
    }
    tn_buf_free(&text);
    return status == TN_OK ? tok_vocab_seal(&t->vocab, e) : status;
}

/* The id of what the newest merge makes. Usually merges stand in the order of what they make, so the id
 * behind the last one's is tried first: it spares a search. */
static int32_t find_joined(const tok_model *t, const tn_buf *bytes) {
    const tok_merges *m = &t->merges;
    int32_t guess = m->n ? m->merge[m->n - 1].id + 1 : 0;
    if (guess < t->vocab.n && t->vocab.entry[guess].kind == TOK_WORD) {
        size_t len;
        const char *have = tok_vocab_bytes(&t->vocab, guess, &len);
        if (len == bytes->len && memcmp(have, bytes->data, len) == 0) return guess;
    }
    return tok_vocab_find(&t->vocab, bytes->data, bytes->len);
}

int tok_load_merge(tok_model *t, uint32_t rank, const char *left, size_t left_len, const char *right,
                   size_t right_len, tn_buf *scratch, tn_err *e) {
    int32_t a = -1, b = -1, joined = -1;
    tn_buf_clear(scratch);
    int spelled = tok_unspell(left, left_len, scratch);
    size_t middle = scratch->len;
    if (spelled && tok_unspell(right, right_len, scratch) && !scratch->failed && middle > 0 &&
        scratch->len > middle) {
        a = tok_vocab_find(&t->vocab, scratch->data, middle);
        b = tok_vocab_find(&t->vocab, scratch->data + middle, scratch->len - middle);
        joined = find_joined(t, scratch);
    }
    if (scratch->failed) return tn_fail(e, TN_ENOMEM, "no memory for the merges");
    if (a < 0 || b < 0 || joined < 0)
        return tn_fail(e, TN_EFORMAT,
                       "merge %u (\"%.*s\" \"%.*s\") names a token that is not in the vocabulary",
                       (unsigned)rank, (int)(left_len < 40 ? left_len : 40), left,
                       (int)(right_len < 40 ? right_len : 40), right);
    return tok_merges_add(&t->merges, a, b, joined, e);
}

/* The line at p without its end; *next is where the following one starts. */
static size_t line_length(const char *p, const char *end, const char **next) {
    const char *newline = memchr(p, '\n', (size_t)(end - p));
    size_t len = (size_t)((newline ? newline : end) - p);
    *next = newline ? newline + 1 : end;
    if (len > 0 && p[len - 1] == '\r') len--;
    return len;
}

/* merges.txt: "left right" a line, in order of rank, below an optional "#version: …". */
static int load_merges_txt(tok_model *t, const char *p, size_t len, tn_err *e) {
    const char *end = p + len, *next;
    int status = TN_OK;
    tn_buf scratch = TN_BUF_INIT;
    for (uint32_t rank = 0; status == TN_OK && p < end; p = next) {
        size_t n = line_length(p, end, &next);
        if (n == 0 || (n >= 8 && memcmp(p, "#version", 8) == 0)) continue;
        const char *space = memchr(p, ' ', n);
        if (!space) {
            status = tn_fail(e, TN_EFORMAT, "merge %u is no pair of tokens", (unsigned)rank);
            break;
        }
        size_t left_len = (size_t)(space - p);
        status = tok_load_merge(t, rank++, p, left_len, space + 1, n - left_len - 1, &scratch, e);
    }
    tn_buf_free(&scratch);
    return status == TN_OK ? tok_merges_seal(&t->merges, e) : status;
}

int tok_load_vocab(tok_model *t, const char *vocab, size_t vocab_len, const char *merges, size_t merges_len,
                   tn_err *e) {
    tn_json root;
    t->split = TOK_SPLIT_QWEN2;
    t->nfc = 1;
    int status = tn_json_parse(&root, vocab, vocab_len, e);
    if (status == TN_OK) status = tok_load_entries(t, root, e);
    if (status != TN_OK) return tn_fail_in(e, status, "vocab.json");
    status = load_merges_txt(t, merges, merges_len, e);
    return status == TN_OK ? TN_OK : tn_fail_in(e, status, "merges.txt");
}
