/* The stages of encoding, in their order:
 *
 *     text -> split at added tokens -> NFC -> split at added tokens that are looked for in normalised text
 *          -> words of the pre-tokenizer -> byte symbols -> merges
 */
#include "tokenizer/cache.h"
#include "tokenizer/model.h"
#include "tokenizer/nfc.h"

#include <string.h>

typedef struct {
    const tok_model *t;
    int keep_special;
    tok_ids *ids;
    tok_bpe_work work;
    tok_cache cache;
} encoder;

/* Bytes of one word to symbols, merged in place at the end of the list. */
static int encode_word(encoder *x, const char *word, size_t len) {
    const tok_model *t = x->t;
    int32_t whole = t->ignore_merges ? tok_vocab_find(&t->vocab, word, len) : -1;
    if (whole >= 0) return tok_ids_push(x->ids, whole);
    if (tok_ids_reserve(x->ids, len) != TN_OK) return TN_ENOMEM;
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

/* The same through the cache, where the word's place is known. */
static int encode_short_word(encoder *x, const char *word, size_t len, tok_key key, tok_cached *place) {
    const tok_cached *hit = tok_cache_find(place, key);
    if (hit) {
        if (tok_ids_reserve(x->ids, TOK_CACHED_IDS) != TN_OK) return TN_ENOMEM;
        memcpy(x->ids->data + x->ids->len, hit->ids,
               sizeof hit->ids); /* all of them: a fixed size is quick */
        x->ids->len += hit->n;
        return TN_OK;
    }
    size_t before = x->ids->len;
    int status = encode_word(x, word, len);
    size_t n = x->ids->len - before;
    if (status == TN_OK && n <= TOK_CACHED_IDS) tok_cache_put(place, key, x->ids->data + before, n);
    return status;
}

/* Words are taken in batches: while their places in the cache are fetched from memory, the next ones are cut.
 */
#define BATCH 32

typedef struct {
    const char *text;
    size_t len;
    tok_key key;
    tok_cached *place; /* NULL: not for the cache */
} cut_word;

static size_t cut_words(const encoder *x, tok_words *words, cut_word *batch) {
    size_t n = 0;
    for (; n < BATCH && tok_next_word(words, &batch[n].text, &batch[n].len); n++) {
        cut_word *w = &batch[n];
        w->place = NULL;
        if (w->len > TOK_KEY_BYTES || !x->cache.entry) continue;
        w->key = tok_key_of(w->text, w->len, (size_t)(words->end - w->text));
        w->place = tok_cache_place(&x->cache, w->key);
        TN_PREFETCH(w->place);
    }
    return n;
}

static int encode_words(encoder *x, const char *text, size_t len) {
    tok_words words = tok_words_of(x->t->split, text, len);
    cut_word batch[BATCH];
    int status = TN_OK;
    for (size_t n; status == TN_OK && (n = cut_words(x, &words, batch)) > 0;)
        for (size_t i = 0; i < n && status == TN_OK; i++) {
            const cut_word *w = &batch[i];
            status = w->place ? encode_short_word(x, w->text, w->len, w->key, w->place)
                              : encode_word(x, w->text, w->len);
        }
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
    encoder x = {.t = t, .keep_special = (flags & TOK_SPECIAL) != 0, .ids = ids, .cache = tok_cache_for(len)};
    size_t before = ids->len;
    int status = encode_around(&x, &t->raw, text, len, encode_plain);
    tok_bpe_work_free(&x.work);
    tok_cache_free(&x.cache);
    if (status == TN_OK) return TN_OK;
    ids->len = before;
    return tn_fail(e, status, "no memory to encode %zu bytes", len);
}
