/* Normalisation form C: known cases of UAX #15, Hangul, broken bytes, and large segments. */
#include "tests/test.h"
#include "tensor/rng.h"
#include "tensor/utf8.h"
#include "tokenizer/nfc.h"
#include "tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

static void check_nfc(const char *text, const char *want) {
    tn_buf out = TN_BUF_INIT;
    CHECK_INT(tok_nfc(text, strlen(text), &out), TN_OK);
    CHECK_STR(out.data ? out.data : "", want);
    if (tok_nfc_find_slow(text, text + strlen(text)) == text + strlen(text)) CHECK_STR(text, want);
    tn_buf_free(&out);
}

static void composes_and_orders(void) {
    check_nfc("", "");
    check_nfc("plain ASCII", "plain ASCII");
    check_nfc("cafe\u0301s", "caf\u00e9s");
    check_nfc("caf\u00e9", "caf\u00e9");
    check_nfc("\u0301", "\u0301");
    check_nfc("\u212b\u2126\u212a", "\u00c5\u03a9K");                     /* singletons */
    check_nfc("\uf900\U0002f800", "\u8c48\u4e3d");                        /* compatibility ideographs */
    check_nfc("\u0958", "\u0915\u093c");                                  /* excluded from composition */
    check_nfc("\u1e0b\u0323", "\u1e0d\u0307");                            /* dot below goes first */
    check_nfc("q\u0307\u0323", "q\u0323\u0307");                          /* order without a composite */
    check_nfc("a\u0315\u0300\u05ae\u0300b", "\u00e0\u05ae\u0300\u0315b"); /* stable among equals */
    check_nfc("\u01d5", "\u01d5");                                        /* two steps apart and back */
    check_nfc("u\u0308\u0304", "\u01d6");
    check_nfc("a\u0327\u0301", "\u00e1\u0327"); /* an unrelated lower class does not block */
    check_nfc("a\u0345\u0301", "\u00e1\u0345");
    check_nfc("a\u0305\u0301", "a\u0305\u0301"); /* the same class blocks */
    check_nfc("\u09c7\u09be", "\u09cb");         /* two starters join */
    check_nfc("\u09c7\u0334\u09be", "\u09c7\u0334\u09be");
    check_nfc("\u0344", "\u0308\u0301");
    check_nfc("\U0001d15e", "\U0001d157\U0001d165");
}

static void composes_hangul(void) {
    check_nfc("\u1112\u1161\u11ab", "\ud55c");
    check_nfc("\u1100\u1161", "\uac00");
    check_nfc("\uac00\u11a8", "\uac01");
    check_nfc("\uac01\u11a8", "\uac01\u11a8"); /* full already */
    check_nfc("\uac00\u11a7", "\uac00\u11a7"); /* one before the first trailing consonant */
    check_nfc("\u1161\u11a8", "\u1161\u11a8");
    check_nfc("\ud7a3", "\ud7a3");
    check_nfc("\u1112\u1175\u11c2", "\ud7a3");
}

static void leaves_broken_bytes_alone(void) {
    check_nfc("e\xff\xcc\x81", "e\xff\xcc\x81"); /* no joining across */
    check_nfc("\xcc", "\xcc");
    check_nfc("e\xcc\x81\xcc", "\xc3\xa9\xcc");
    check_nfc("\xed\xa0\x80", "\xed\xa0\x80"); /* a surrogate */
    check_nfc("\xe1\x84\x92\xe1\x85", "\xe1\x84\x92\xe1\x85");
}

/* Every code point: decomposing gives nothing that decomposes, and composing that pair by pair undoes it. */
static void tables_agree(void) {
    int mistakes = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint32_t part[4], deeper[4];
        int n = tok_decompose(c, part);
        for (int i = 0; i < n; i++)
            if (tok_decompose(part[i], deeper) != 1 || deeper[0] != part[i]) mistakes++;
        if (n > 1 && !(tok_class(c) & TOK_NFC_SLOW)) {
            uint32_t joined = part[0];
            for (int i = 1; i < n; i++) joined = tok_compose(joined, part[i]);
            if (joined != c) mistakes++;
        }
        if (tok_ccc(c) != 0 && !(tok_class(c) & TOK_NFC_SLOW)) mistakes++;
    }
    CHECK_INT(mistakes, 0);
}

/* NFC(NFC(s)) == NFC(s) on random characters that matter. */
static void is_idempotent(void) {
    static const uint32_t alphabet[] = {'a',    'e',    0x301,  0x323, 0x327, 0x345, 0xe9,  0x1e0b, 0x1100,
                                        0x1161, 0x11a8, 0xac00, 0x9c7, 0x9be, 0x93c, 0x958, 0x334,  0xfb1d};
    tn_rng rng = tn_rng_seed(3);
    for (int round = 0; round < 5000; round++) {
        tn_buf text = TN_BUF_INIT, once = TN_BUF_INIT, twice = TN_BUF_INIT;
        for (uint64_t n = 1 + tn_rng_below(&rng, 12); n > 0; n--) {
            char bytes[4];
            uint32_t c = alphabet[tn_rng_below(&rng, sizeof alphabet / sizeof *alphabet)];
            tn_buf_add(&text, bytes, (size_t)tn_utf8_put(bytes, c));
        }
        tok_nfc(text.data, text.len, &once);
        tok_nfc(once.data, once.len, &twice);
        int same = CHECK_STR(twice.data, once.data);
        tn_buf_free(&text);
        tn_buf_free(&once);
        tn_buf_free(&twice);
        if (!same) return;
    }
}

/* A megabyte of marks in the worst order is one segment; anything quadratic would not come back. */
static void sorts_a_megabyte_of_marks(void) {
    enum { PAIRS = 250000 };
    tn_buf text = TN_BUF_INIT, out = TN_BUF_INIT;
    for (int i = 0; i < PAIRS; i++) tn_buf_puts(&text, "\u0315\u0316"); /* classes 232 and 220 */
    CHECK_INT(tok_nfc(text.data, text.len, &out), TN_OK);
    CHECK_INT(out.len, text.len);
    int wrong = 0;
    for (size_t i = 0; i + 1 < out.len; i += 2)
        wrong += memcmp(out.data + i, i < out.len / 2 ? "\u0316" : "\u0315", 2) != 0;
    CHECK_INT(wrong, 0);
    tn_buf_free(&text);
    tn_buf_free(&out);
}

void test_nfc(void) {
    RUN(composes_and_orders);
    RUN(composes_hangul);
    RUN(leaves_broken_bytes_alone);
    RUN(tables_agree);
    RUN(is_idempotent);
    RUN(sorts_a_megabyte_of_marks);
}
