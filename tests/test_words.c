/* Words to ids: merging against its definition, the cache of words against merging without one, lines that
 * are normalised against the whole text. */
#include "tests/test.h"
#include "tensor/rng.h"
#include "tokenizer/cache.h"
#include "tokenizer/model.h"
#include "tokenizer/nfc.h"

#include <stdlib.h>
#include <string.h>

static const char *const dirs[] = {"tests/golden/tiny-tokenizer", "tests/golden/tiny-tokenizer-digits"};

/* ---- Eight bytes at a time ---- */

static void finds_the_first_mark(void) {
    for (int first = 0; first <= 8; first++)
        for (unsigned others = 0; others < 256; others++) {
            uint64_t m = 0;
            for (int i = 0; i < 8; i++)
                if (i == first || (i > first && others >> i & 1)) m |= (uint64_t)0x80 << 8 * i;
            if (!CHECK_INT(tn_before_mark(m), first)) return;
        }
}

static void marks_a_byte_and_what_is_below(void) {
    for (unsigned c = 0; c < 256; c++)
        for (unsigned beside = 0; beside < 256; beside++) {
            char text[8]; /* `beside` everywhere but at byte 3: the first mark is there or at byte 0 */
            memset(text, (int)beside, sizeof text);
            text[3] = (char)c;
            uint64_t x = tn_load8(text);
            size_t quote = beside == '"' ? 0 : c == '"' ? 3 : 8, low = beside < 0x20 ? 0 : c < 0x20 ? 3 : 8;
            if (!CHECK_INT(tn_before_mark(tn_mark_byte(x, '"')), quote)) return;
            if (!CHECK_INT(tn_before_mark(tn_mark_below(x, 0x20)), low)) return;
        }
}

static void marks_all_but_letters(void) {
    for (unsigned c = 0; c < 256; c++)
        for (unsigned beside = 0; beside < 256; beside++) {
            char text[8];
            memset(text, (int)beside, sizeof text);
            text[3] = (char)c;
            int letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
            uint64_t m = tn_mark_nonletters(tn_load8(text));
            if (!CHECK_INT(m >> 31 & 1, !letter) || !CHECK((m & ~TN_MARKS) == 0)) return;
        }
}

/* ---- Merging ---- */

/* Merging as it is defined: of all neighbours the pair whose merge ranks first, leftmost of equals, is
 * joined. */
static size_t merge_slowly(const tok_merges *m, int32_t *ids, size_t n) {
    for (;;) {
        size_t best = m->n, at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t rank = 0; rank < best; rank++)
                if (m->merge[rank].left == ids[i] && m->merge[rank].right == ids[i + 1]) best = rank, at = i;
        if (best == m->n) return n;
        ids[at] = m->merge[best].id;
        n--;
        memmove(ids + at + 1, ids + at + 2, (n - at - 1) * sizeof *ids);
    }
}

enum { MAX_WORD = 120 }; /* past the length from which words are merged with a heap */

static void merges_as_defined(void) {
    tn_rng rng = tn_rng_seed(21);
    for (int d = 0; d < 2; d++) {
        tok_model *t = NULL;
        tok_bpe_work work = {NULL, 0};
        tn_err e;
        if (!CHECK_INT(tok_open_dir(&t, dirs[d], &e), TN_OK)) return;
        for (int round = 0; round < 3000; round++) {
            int32_t ids[MAX_WORD], want[MAX_WORD];
            size_t n = 1 + (size_t)tn_rng_below(&rng, MAX_WORD);
            for (size_t i = 0; i < n; i++)
                ids[i] = t->vocab.byte_id[(unsigned char)"thei nrsao"[tn_rng_below(&rng, 10)]];
            memcpy(want, ids, n * sizeof *ids);
            size_t n_want = merge_slowly(&t->merges, want, n);
            CHECK_INT(tok_bpe(&t->merges, ids, &n, &work), TN_OK);
            if (!CHECK_INT(n, n_want) || !CHECK(memcmp(ids, want, n * sizeof *ids) == 0)) break;
        }
        tok_bpe_work_free(&work);
        tok_close(t);
    }
}

/* Random merges of 256 ids with one another, a pair often having several: tables as full as they get, where
 * pairs are taken for others. */
static void merges_by_a_crowded_table(void) {
    enum { IDS = 256, FIRST = 1000, MERGES = 30000 };
    static int32_t rank_of[IDS][IDS];
    memset(rank_of, -1, sizeof rank_of);
    tn_rng rng = tn_rng_seed(23);
    tok_merges m = {0};
    tok_bpe_work work = {NULL, 0};
    tn_err e;
    for (int32_t rank = 0; rank < MERGES; rank++) {
        int32_t left = (int32_t)tn_rng_below(&rng, IDS), right = (int32_t)tn_rng_below(&rng, IDS);
        int32_t id = FIRST + (int32_t)tn_rng_below(&rng, IDS);
        rank_of[left][right] = rank;
        CHECK_INT(tok_merges_add(&m, FIRST + left, FIRST + right, id, &e), TN_OK);
    }
    CHECK_INT(tok_merges_seal(&m, &e), TN_OK);
    for (int round = 0; round < 3000; round++) {
        int32_t ids[MAX_WORD], want[MAX_WORD];
        size_t n = 1 + (size_t)tn_rng_below(&rng, MAX_WORD), n_want = n;
        for (size_t i = 0; i < n; i++) want[i] = ids[i] = FIRST + (int32_t)tn_rng_below(&rng, IDS);
        for (;;) {
            int32_t best = INT32_MAX;
            size_t at = 0;
            for (size_t i = 0; i + 1 < n_want; i++) {
                int32_t rank = rank_of[want[i] - FIRST][want[i + 1] - FIRST];
                if (rank >= 0 && rank < best) best = rank, at = i;
            }
            if (best == INT32_MAX) break;
            want[at] = m.merge[best].id;
            n_want--;
            memmove(want + at + 1, want + at + 2, (n_want - at - 1) * sizeof *want);
        }
        CHECK_INT(tok_bpe(&m, ids, &n, &work), TN_OK);
        if (!CHECK_INT(n, n_want) || !CHECK(memcmp(ids, want, n * sizeof *ids) == 0)) break;
    }
    tok_bpe_work_free(&work);
    tok_merges_free(&m);
}

/* ---- The cache ---- */

static int same_key(tok_key a, tok_key b) {
    return a.low == b.low && a.high == b.high;
}

static void keys_are_exact(void) {
    char text[32] = "abcdefghijklmnopqrstuvwxyz";
    for (size_t len = 1; len <= TOK_KEY_BYTES; len++) {
        tok_key k = tok_key_of(text, len, sizeof text);
        CHECK(same_key(k, tok_key_of(text, len, len))); /* at the end of a text */
        for (size_t i = 0; i < sizeof text; i++) {
            text[i] ^= 1;
            CHECK_INT(same_key(k, tok_key_of(text, len, sizeof text)), i >= len);
            text[i] ^= 1;
        }
    }
    static const char zeros[32] = "a";
    CHECK(!same_key(tok_key_of(zeros, 1, 32), tok_key_of(zeros, 2, 32)));
    CHECK(!same_key(tok_key_of(zeros, 8, 32), tok_key_of(zeros, 9, 32)));
}

static void words_of_one_place_replace_each_other(void) {
    tok_cached place[2] = {{{0, 0}, {0}, 0}};
    tok_key a = tok_key_of("a", 1, 1), b = tok_key_of("b", 1, 1), c = tok_key_of("c", 1, 1);
    const int32_t ids[] = {1, 2, 3};
    CHECK(tok_cache_find(place, a) == NULL);
    tok_cache_put(place, a, ids, 0, 1);
    tok_cache_put(place, b, ids, 0, 3);
    CHECK(tok_cache_find(place, a) && tok_cache_find(place, a)->n == 1);
    tok_cache_put(place, c, ids, 0, 0);
    CHECK(tok_cache_find(place, a) == NULL);
    CHECK(tok_cache_find(place, b) && tok_cache_find(place, b)->n == 3 &&
          tok_cache_find(place, b)->ids[2] == 3);
    CHECK(tok_cache_find(place, c) && tok_cache_find(place, c)->n == 0);
}

static void long_words_are_compared(void) {
    static const char text[] = "a word of 20 bytes..a word of 20 bytes..A word of 20 bytes..";
    tok_cached place[2] = {{{0, 0}, {0}, 0}};
    tok_key k = tok_long_key_of(text, 20, 0), again = tok_long_key_of(text + 20, 20, 20);
    const int32_t ids[] = {9, 1, 2, 3, 4};
    tok_cache_put(place, k, ids, 1, 4);
    const tok_cached *hit = tok_cache_find_long(place, again, text);
    CHECK(hit && hit->n == 4 && hit->ids[0] == 1);
    tok_key other = {k.low, tok_long_key_of(text + 40, 20, 40).high}; /* as if it had the same hash */
    CHECK(tok_cache_find_long(place, other, text) == NULL);
    CHECK(tok_cache_find_long(place, tok_long_key_of(text, 19, 0), text) == NULL);
}

static void short_texts_have_no_cache(void) {
    tok_cache none = tok_cache_for(100), some = tok_cache_for(10000), most = tok_cache_for(SIZE_MAX);
    CHECK(none.entry == NULL);
    CHECK(some.entry != NULL && most.entry != NULL && some.bits < most.bits && most.bits <= 16);
    tok_cache_free(&some);
    tok_cache_free(&most);
}

/* The ids of text without a cache: each word by itself, merged as defined. */
static void encode_slowly(const tok_model *t, const tn_buf *text, tok_ids *ids) {
    tok_words words = tok_words_of(t->split, text->data, text->len);
    const char *word;
    size_t len;
    while (tok_next_word(&words, &word, &len)) {
        int32_t symbol[MAX_WORD];
        size_t n = 0;
        for (size_t i = 0; i < len; i++) symbol[n++] = t->vocab.byte_id[(unsigned char)word[i]];
        n = merge_slowly(&t->merges, symbol, n);
        for (size_t i = 0; i < n; i++) tok_ids_push(ids, symbol[i]);
    }
}

/* A word of up to 40 bytes: repeated pieces, lone bytes outside UTF-8, zeros. Few kinds, so that words come
 * again, and more than a small table holds, so that they replace each other. */
static void put_word(tn_rng *rng, tn_buf *text) {
    static const char *const pieces[] = {"the", "in", "er", "x", "\u00e9", "\xff", "\xe6\xb1", "zq", "a"};
    tn_buf_putc(text, tn_rng_below(rng, 8) ? ' ' : '\n');
    if (tn_rng_below(rng, 50) == 0) tn_buf_putc(text, '\0');
    for (uint64_t n = 1 + tn_rng_below(rng, tn_rng_below(rng, 10) ? 4 : 13); n > 0; n--)
        tn_buf_puts(text, pieces[tn_rng_below(rng, 9)]);
}

static void cached_words_are_merged_words(void) {
    tn_rng rng = tn_rng_seed(22);
    for (int d = 0; d < 2; d++) {
        tok_model *t = NULL;
        tn_err e;
        if (!CHECK_INT(tok_open_dir(&t, dirs[d], &e), TN_OK)) return;
        for (size_t size = 100; size < 100000; size *= 3) {
            tn_buf text = TN_BUF_INIT;
            tok_ids got = TOK_IDS_INIT, want = TOK_IDS_INIT;
            while (text.len < size) put_word(&rng, &text);
            encode_slowly(t, &text, &want);
            CHECK_INT(tok_encode(t, text.data, text.len, TOK_SPECIAL, &got, &e), TN_OK);
            CHECK_INT(got.len, want.len);
            CHECK(got.len == want.len && memcmp(got.data, want.data, got.len * sizeof *got.data) == 0);
            tok_ids_free(&got);
            tok_ids_free(&want);
            tn_buf_free(&text);
        }
        tok_close(t);
    }
}

/* ---- Text that is not in NFC ---- */

/* Only lines that need it are normalised: the ids are those of the whole text in NFC. */
static void lines_are_normalised_by_themselves(void) {
    static const char *const pieces[] = {"the", "a\u0301", "\u0301", "\n",    "\r\n", "x\n",
                                         "!\n", " \n",     "  ",     "'s",    ".",    "\u1100\u1161",
                                         "1",   "\n\n",    "in",     "\u212b"};
    tn_rng rng = tn_rng_seed(24);
    for (int d = 0; d < 2; d++) {
        tok_model *t = NULL;
        tn_err e;
        if (!CHECK_INT(tok_open_dir(&t, dirs[d], &e), TN_OK)) return;
        for (int round = 0; round < 3000; round++) {
            tn_buf text = TN_BUF_INIT, nfc = TN_BUF_INIT;
            tok_ids got = TOK_IDS_INIT, want = TOK_IDS_INIT;
            for (uint64_t n = 1 + tn_rng_below(&rng, 60); n > 0; n--)
                tn_buf_puts(&text, pieces[tn_rng_below(&rng, tn_rng_below(&rng, 3) ? 8 : 16)]);
            t->nfc = 1; /* also for the other pattern */
            CHECK_INT(tok_nfc(text.data, text.len, &nfc), TN_OK);
            CHECK_INT(tok_encode(t, nfc.data, nfc.len, TOK_SPECIAL, &want, &e), TN_OK);
            CHECK_INT(tok_encode(t, text.data, text.len, TOK_SPECIAL, &got, &e), TN_OK);
            CHECK_INT(got.len, want.len);
            CHECK(got.len == want.len &&
                  (got.len == 0 || memcmp(got.data, want.data, got.len * sizeof *got.data) == 0));
            tok_ids_free(&got);
            tok_ids_free(&want);
            tn_buf_free(&text);
            tn_buf_free(&nfc);
        }
        tok_close(t);
    }
}

/* A list of ids keeps what it has when it moves to large pages. */
static void lists_grow_large(void) {
    tok_ids ids = TOK_IDS_INIT;
    for (int32_t i = 0; i < 1500000; i++)
        if (!CHECK_INT(tok_ids_push(&ids, i), TN_OK)) break;
    int32_t same = 0;
    while (same < 1500000 && ids.data[same] == same) same++;
    CHECK_INT(same, 1500000);
    tok_ids_free(&ids);
}

void test_words(void) {
    RUN(finds_the_first_mark);
    RUN(marks_a_byte_and_what_is_below);
    RUN(marks_all_but_letters);
    RUN(merges_as_defined);
    RUN(merges_by_a_crowded_table);
    RUN(keys_are_exact);
    RUN(words_of_one_place_replace_each_other);
    RUN(long_words_are_compared);
    RUN(short_texts_have_no_cache);
    RUN(cached_words_are_merged_words);
    RUN(lines_are_normalised_by_themselves);
    RUN(lists_grow_large);
}
