/* Opening a tokenizer, and the stages of encoding in their order. */
#include "tokenizer/model.h"

#include "tensor/os.h"
#include "tokenizer/nfc.h"

#include <stdlib.h>
#include <string.h>

/* ---- Lists of ids ---- */

void tok_ids_free(tok_ids *ids) {
    free(ids->data);
    *ids = (tok_ids)TOK_IDS_INIT;
}

static int reserve_ids(tok_ids *ids, size_t more) {
    size_t need, bytes, cap = ids->cap ? ids->cap : 64;
    if (tn_add_size(ids->len, more, &need)) return TN_ENOMEM;
    if (need <= ids->cap) return TN_OK;
    while (cap < need) cap = cap > SIZE_MAX / 2 ? need : 2 * cap;
    if (tn_mul_size(cap, sizeof *ids->data, &bytes)) return TN_ENOMEM;
    int32_t *data = realloc(ids->data, bytes);
    if (!data) return TN_ENOMEM;
    ids->data = data;
    ids->cap = cap;
    return TN_OK;
}

int tok_ids_push(tok_ids *ids, int32_t id) {
    int status = reserve_ids(ids, 1);
    if (status == TN_OK) ids->data[ids->len++] = id;
    return status;
}

/* ---- Opening ---- */

static tok_model *new_model(tn_err *e) {
    tok_model *t = calloc(1, sizeof *t);
    if (!t) {
        tn_fail(e, TN_ENOMEM, "no memory for the tokenizer");
        return NULL;
    }
    t->unk = t->eos = -1;
    return t;
}

void tok_close(tok_model *t) {
    if (!t) return;
    tok_vocab_free(&t->vocab);
    tok_merges_free(&t->merges);
    tok_added_free(&t->raw);
    tok_added_free(&t->normalized);
    free(t->system);
    free(t);
}

int tok_open_mem(tok_model **out, const char *json, size_t len, const char *config, size_t config_len,
                 tn_err *e) {
    *out = NULL;
    tok_model *t = new_model(e);
    if (!t) return TN_ENOMEM;
    int status = tok_load_json(t, json, len, e);
    if (status != TN_OK) {
        tn_fail_in(e, status, "tokenizer.json");
    } else if (config) {
        status = tok_load_config(t, config, config_len, e);
        if (status != TN_OK) tn_fail_in(e, status, "tokenizer_config.json");
    }
    if (status == TN_OK)
        *out = t;
    else
        tok_close(t);
    return status;
}

/* A file of a directory, mapped, if it is there; data stays NULL when it is not. */
static int map_optional(tn_map *out, const char *dir, const char *name, tn_err *e) {
    char path[4096];
    *out = (tn_map){NULL, 0};
    int status = tn_path_join(path, sizeof path, dir, name, e);
    if (status == TN_OK && tn_file_exists(path)) status = tn_map_file(out, path, e);
    return status;
}

/* The files of a model directory that concern its tokenizer. */
enum { TOKENIZER, VOCAB, MERGES, CONFIG, TEMPLATE, FILE_COUNT };

static int load_files(tok_model *t, const tn_map *file, const char *dir, tn_err *e) {
    int status;
    if (file[TOKENIZER].data) {
        status = tok_load_json(t, file[TOKENIZER].data, file[TOKENIZER].size, e);
        if (status != TN_OK) return tn_fail_in(e, status, "tokenizer.json");
    } else if (file[VOCAB].data && file[MERGES].data) {
        status =
            tok_load_vocab(t, file[VOCAB].data, file[VOCAB].size, file[MERGES].data, file[MERGES].size, e);
        if (status != TN_OK) return status;
    } else {
        return tn_fail(e, TN_EIO, "%s: no tokenizer.json, and no vocab.json with merges.txt", dir);
    }
    if (file[CONFIG].data) {
        status = tok_load_config(t, file[CONFIG].data, file[CONFIG].size, e);
        if (status != TN_OK) return tn_fail_in(e, status, "tokenizer_config.json");
    }
    if (file[TEMPLATE].data) return tok_load_template(t, file[TEMPLATE].data, file[TEMPLATE].size, e);
    return TN_OK;
}

int tok_open_dir(tok_model **out, const char *dir, tn_err *e) {
    static const char *const names[FILE_COUNT] = {"tokenizer.json", "vocab.json", "merges.txt",
                                                  "tokenizer_config.json", "chat_template.jinja"};
    tn_map file[FILE_COUNT] = {{NULL, 0}};
    *out = NULL;
    tok_model *t = new_model(e);
    int status = t ? TN_OK : TN_ENOMEM;
    for (int i = 0; i < FILE_COUNT && status == TN_OK; i++) status = map_optional(&file[i], dir, names[i], e);
    if (status == TN_OK) status = load_files(t, file, dir, e);
    for (int i = 0; i < FILE_COUNT; i++) tn_unmap_file(&file[i]);
    if (status == TN_OK)
        *out = t;
    else
        tok_close(t);
    return status;
}

/* ---- Looking at the vocabulary ---- */

int32_t tok_vocab_size(const tok_model *t) {
    return t->vocab.n;
}

int32_t tok_find(const tok_model *t, const char *token) {
    size_t len = strlen(token);
    const tok_added *added = tok_added_find(&t->raw, token, len);
    if (!added) added = tok_added_find(&t->normalized, token, len);
    return added ? added->id : tok_vocab_find(&t->vocab, token, len);
}

int32_t tok_eos(const tok_model *t) {
    return t->eos;
}

int tok_is_special(const tok_model *t, int32_t id) {
    return id >= 0 && id < t->vocab.n && t->vocab.entry[id].kind == TOK_CONTROL;
}

/* ---- Encoding ---- */

typedef struct {
    const tok_model *t;
    int keep_special;
    tok_ids *ids;
    tok_bpe_work work;
} encoder;

/* Bytes of one word to symbols, merged in place at the end of the list. */
static int encode_word(encoder *x, const char *word, size_t len) {
    const tok_model *t = x->t;
    int32_t whole = t->ignore_merges ? tok_vocab_find(&t->vocab, word, len) : -1;
    if (whole >= 0) return tok_ids_push(x->ids, whole);
    if (reserve_ids(x->ids, len) != TN_OK) return TN_ENOMEM;
    int32_t *symbol = x->ids->data + x->ids->len;
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int32_t id = t->vocab.byte_id[(unsigned char)word[i]];
        if (id < 0) id = t->unk;
        if (id >= 0) symbol[n++] = id;
    }
    int status = tok_bpe(&t->merges, symbol, &n, &x->work);
    if (status == TN_OK) x->ids->len += n;
    return status;
}

static int encode_words(encoder *x, const char *text, size_t len) {
    tok_words words = tok_words_of(x->t->split, text, len);
    const char *word;
    size_t n;
    int status = TN_OK;
    while (status == TN_OK && tok_next_word(&words, &word, &n)) status = encode_word(x, word, n);
    return status;
}

/* Cuts text at the added tokens of `set` and hands what lies between to `rest`. */
static int encode_around(encoder *x, const tok_added_set *set, const char *text, size_t len,
                         int (*rest)(encoder *, const char *, size_t)) {
    size_t from = 0, at = 0;
    int status = TN_OK;
    while (status == TN_OK && from < len) {
        const tok_added *added = tok_added_search(set, text, len, from, x->keep_special, &at);
        size_t upto = added ? at : len;
        if (upto > from) status = rest(x, text + from, upto - from);
        if (added && status == TN_OK) status = tok_ids_push(x->ids, added->id);
        from = added ? at + added->len : len;
    }
    return status;
}

/* Text between the added tokens: NFC, then the tokens that are looked for in normalised text. */
static int encode_plain(encoder *x, const char *text, size_t len) {
    if (!x->t->nfc || tok_nfc_is_clean(text, len))
        return encode_around(x, &x->t->normalized, text, len, encode_words);
    tn_buf nfc = TN_BUF_INIT;
    int status = tok_nfc(text, len, &nfc);
    if (status == TN_OK) status = encode_around(x, &x->t->normalized, nfc.data, nfc.len, encode_words);
    tn_buf_free(&nfc);
    return status;
}

int tok_encode(const tok_model *t, const char *text, size_t len, unsigned flags, tok_ids *ids, tn_err *e) {
    encoder x = {.t = t, .keep_special = (flags & TOK_SPECIAL) != 0, .ids = ids};
    size_t before = ids->len;
    int status = encode_around(&x, &t->raw, text, len, encode_plain);
    tok_bpe_work_free(&x.work);
    if (status == TN_OK) return TN_OK;
    ids->len = before;
    return tn_fail(e, status, "no memory to encode %zu bytes", len);
}
