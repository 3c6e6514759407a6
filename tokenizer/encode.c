/* The stages of encoding, in their order:
 *
 *     text -> split at added tokens -> NFC -> split at added tokens that are looked for in normalised text
 *          -> words of the pre-tokenizer -> byte symbols -> merges
 */
#include "tokenizer/cache.h"
#include "tokenizer/cut.h"
#include "tokenizer/model.h"
#include "tokenizer/nfc.h"

#include <string.h>

/* Words are taken in batches: while their places in the cache are fetched from memory, the next ones get
 * their keys. */
#define BATCH 256

#define BYTES_PER_ID 3 /* or more has most text; less makes the list of ids grow on the way */

typedef struct {
    const tok_model *t;
    const char *text; /* the caller's */
    int keep_special;
    tok_ids *ids; /* while words are encoded there is room for TOK_CACHED_IDS for each of a batch */
    tok_bpe_work work;
    tok_cache cache;
    tn_buf nfc; /* what is not in NFC, made so */
} encoder;

typedef struct {
    const char *text;
    size_t len;
    tok_key key;
    tok_cached *place; /* NULL: not for the cache */
} cut_word;

static int reserve_batch(encoder *x, size_t more) {
    size_t need;
    if (tn_add_size(more, BATCH * TOK_CACHED_IDS, &need)) return TN_ENOMEM;
    return tok_ids_reserve(x->ids, need);
}

/* Bytes of one word to symbols, merged in place at the end of the list. */
static int merge_word(encoder *x, const char *word, size_t len) {
    const tok_model *t = x->t;
    if (reserve_batch(x, len) != TN_OK) return TN_ENOMEM;
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

static int encode_word(encoder *x, const char *word, size_t len) {
    int32_t whole = x->t->ignore_merges ? tok_vocab_find(&x->t->vocab, word, len) : -1;
    if (whole < 0) return merge_word(x, word, len);
    x->ids->data[x->ids->len++] = whole;
    return TN_OK;
}

/* Appends the ids of a word that was there before, more than an entry holds. */
static int repeat_word(encoder *x, const tok_cached *hit) {
    size_t n = hit->n;
    if (reserve_batch(x, n) != TN_OK) return TN_ENOMEM;
    const int32_t *from = n > TOK_CACHED_IDS ? x->ids->data + hit->ids[0] : hit->ids;
    memcpy(x->ids->data + x->ids->len, from, n * sizeof *from);
    x->ids->len += n;
    return TN_OK;
}

static int encode_cut(encoder *x, const cut_word *w) {
    if (!w->place) return encode_word(x, w->text, w->len);
    const tok_cached *hit = w->len <= TOK_KEY_BYTES ? tok_cache_find(w->place, w->key)
                                                    : tok_cache_find_long(w->place, w->key, x->text);
    if (hit) return repeat_word(x, hit);
    size_t before = x->ids->len;
    int status = encode_word(x, w->text, w->len);
    if (status == TN_OK) tok_cache_put(w->place, w->key, x->ids->data, before, x->ids->len - before);
    return status;
}

/* Appends the ids of words from `w` on, up to the first that has no short entry in the cache, or to `end`;
 * returns it. Nearly all words pass here, so that it holds what it needs in registers and takes no branch
 * that depends on the word. */
static const cut_word *repeat_words(encoder *x, const cut_word *w, const cut_word *end) {
    int32_t *out = x->ids->data + x->ids->len;
    for (; w < end && w->place; w++) {
        const tok_cached *hit = tok_cache_find(w->place, w->key);
        if (!hit || hit->n > TOK_CACHED_IDS) break;
        memcpy(out, hit->ids, sizeof hit->ids); /* all: a fixed size is quick */
        out += hit->n;
    }
    x->ids->len = (size_t)(out - x->ids->data);
    return w;
}

/* Keys and places of the words that end at end[0 … n). */
static void find_places(const encoder *x, const tok_words *words, const char *base, const char *text,
                        const char *const *end, size_t n, cut_word *batch) {
    for (size_t i = 0; i < n; i++, text = end[i - 1]) {
        cut_word *w = &batch[i];
        w->text = text;
        w->len = (size_t)(end[i] - text);
        w->place = NULL;
        if (!x->cache.entry) continue;
        if (w->len <= TOK_KEY_BYTES) {
            w->key = tok_key_of(text, w->len, (size_t)(words->end - text));
            w->place = tok_cache_place(&x->cache, w->key);
        } else if (w->len <= TOK_MAX_CACHED_LEN && base == x->text) {
            w->key = tok_long_key_of(text, w->len, (size_t)(text - base));
            w->place = tok_cache_long_place(&x->cache, w->key);
        }
        TN_PREFETCH(w->place);
    }
}

/* Words of text, a part of `base`. Long words are compared with what stood earlier in the caller's text; a
 * copy in NFC is gone by then. */
static int encode_words(encoder *x, const char *base, const char *text, size_t len) {
    tok_words words = tok_words_of(x->t->split, text, len);
    const char *end[BATCH];
    cut_word batch[BATCH];
    int status = TN_OK;
    for (size_t n; status == TN_OK; text = end[n - 1]) {
        n = tok_cut_words(&words, x->t->marks, end, BATCH);
        if (n == 0) break;
        find_places(x, &words, base, text, end, n, batch);
        status = reserve_batch(x, 0);
        for (const cut_word *w = batch; status == TN_OK && w < batch + n; w++) {
            w = repeat_words(x, w, batch + n);
            if (w < batch + n) status = encode_cut(x, w);
        }
    }
    return status;
}

/* Cuts text [len] of `base` at the added tokens of `set` and hands what lies between to `rest`. */
static int encode_around(encoder *x, const tok_added_set *set, const char *base, const char *text, size_t len,
                         int (*rest)(encoder *, const char *, const char *, size_t)) {
    size_t from = 0, at = 0;
    int status = TN_OK;
    while (status == TN_OK && from < len) {
        const tok_added *added = tok_added_search(set, text, len, from, x->keep_special, &at);
        size_t upto = added ? at : len;
        if (upto > from) status = rest(x, base, text + from, upto - from);
        if (added && status == TN_OK) status = tok_ids_push(x->ids, added->id);
        from = added ? at + added->len : len;
    }
    return status;
}

/* Whether Qwen2's pattern has a word begin at p whatever stands around it, and NFC changes nothing across p:
 * at a letter that begins a line. */
static int is_break(const char *p) {
    const char letter = (char)(*p | 0x20);
    return p[-1] == '\n' && letter >= 'a' && letter <= 'z';
}

/* Text that is not in NFC, by way of a copy. */
static int encode_normalized(encoder *x, const char *text, size_t len) {
    tn_buf_clear(&x->nfc);
    int status = tok_nfc(text, len, &x->nfc);
    if (status != TN_OK) return status;
    return encode_around(x, &x->t->normalized, x->nfc.data, x->nfc.data, x->nfc.len, encode_words);
}

/* Text between the added tokens: NFC, then the tokens that are looked for in normalised text. Only the lines
 * that are not in NFC are copied, unless a token or a word could reach over their ends. */
static int encode_plain(encoder *x, const char *base, const char *text, size_t len) {
    const char *end = text + len;
    int status = TN_OK;
    while (status == TN_OK && text < end) {
        const char *slow = x->t->nfc ? tok_nfc_find_slow(text, end) : end;
        const char *from = slow, *upto = slow;
        if (slow < end) {
            const int in_lines = x->t->normalized.n == 0 && x->t->split == TOK_SPLIT_QWEN2;
            while (from > text && !(in_lines && is_break(from))) from--;
            while (upto < end && (upto == slow || !(in_lines && is_break(upto)))) upto++;
        }
        if (from > text)
            status = encode_around(x, &x->t->normalized, base, text, (size_t)(from - text), encode_words);
        if (status == TN_OK && upto > from) status = encode_normalized(x, from, (size_t)(upto - from));
        text = upto;
    }
    return status;
}

int tok_encode(const tok_model *t, const char *text, size_t len, unsigned flags, tok_ids *ids, tn_err *e) {
    encoder x = {.t = t,
                 .text = text,
                 .keep_special = (flags & TOK_SPECIAL) != 0,
                 .ids = ids,
                 .cache = tok_cache_for(len),
                 .nfc = TN_BUF_INIT};
    size_t before = ids->len;
    int status = tok_ids_reserve(ids, len / BYTES_PER_ID);
    if (status == TN_OK) status = encode_around(&x, &t->raw, text, text, len, encode_plain);
    tok_bpe_work_free(&x.work);
    tok_cache_free(&x.cache);
    tn_buf_free(&x.nfc);
    if (status == TN_OK) return TN_OK;
    ids->len = before;
    return tn_fail(e, status, "no memory to encode %zu bytes", len);
}
