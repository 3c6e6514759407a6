/* The pre-tokenizer patterns: cuts by hand, one group for each alternative. */
#include "tests/test.h"
#include "tensor/rng.h"
#include "tokenizer/cut.h"

#include <stdlib.h>
#include <string.h>

/* Joins the words of text with '|' between them. */
static const char *cut(tok_split split, const char *text, size_t len) {
    static char out[1024];
    size_t n = 0, word_len;
    const char *word;
    tok_words words = tok_words_of(split, text, len);
    while (tok_next_word(&words, &word, &word_len) && n + word_len + 2 < sizeof out) {
        if (n) out[n++] = '|';
        memcpy(out + n, word, word_len);
        n += word_len;
    }
    out[n] = '\0';
    return out;
}

typedef struct {
    const char *text, *want;
} split_case;

static void check_cuts(tok_split split, const split_case *c, size_t n) {
    for (size_t i = 0; i < n; i++) CHECK_STR(cut(split, c[i].text, strlen(c[i].text)), c[i].want);
}

static void qwen2_pattern(void) {
    static const split_case cases[] = {
        {"", ""},
        /* contractions, in capitals and with the long s */
        {"it's IT'S we'Re I'LL x'd 'tis", "it|'s| IT|'S| we|'Re| I|'LL| x|'d| '|tis"},
        {"it'\xc5\xbf'x 'ab", "it|'\xc5\xbf|'x| '|ab"},
        {"don't'", "don|'t|'"},
        /* one character before letters */
        {"a.b(c \tx", "a|.b|(c| |\tx"},
        {"\xc2\xa0x\xc2\xa0\xc2\xa0y", "\xc2\xa0x|\xc2\xa0|\xc2\xa0y"},
        /* digits one by one, a space before them stays alone */
        {"12 3a", "1|2| |3|a"},
        {"\xd9\xa3\xe2\x85\xa7", "\xd9\xa3|\xe2\x85\xa7"},
        /* others with a space before and newlines behind */
        {" !!\n\nx ?\r\n", " !!\n\n|x| ?\r\n"},
        {"!\t!", "!|\t|!"},
        /* white space */
        {"a  b   c", "a| | b|  | c"},
        {"a \n b", "a| \n| b"},
        {" \n \n  x", " \n \n| | x"},
        {"x   ", "x|   "},
        {"\r\nx\n", "\r\n|x|\n"},
        /* bytes outside UTF-8 are "others" */
        {"a\xff\x80!b", "a|\xff\x80!|b"},
        {" \xc3", " \xc3"},
        {"\xe6\xb1\xbdx", "\xe6\xb1\xbdx"},
    };
    check_cuts(TOK_SPLIT_QWEN2, cases, sizeof cases / sizeof *cases);
}

static void gpt2_pattern(void) {
    static const split_case cases[] = {
        {"it's IT'S", "it|'s| IT|'|S"},
        {"abc123 456!? x", "abc|123| 456|!?| x"},
        {"\tx\n\ny  z", "\t|x|\n|\n|y| | z"},
        {"a \n", "a| \n"},
        {"'re've'll'm'd't", "'re|'ve|'ll|'m|'d|'t"},
    };
    check_cuts(TOK_SPLIT_GPT2, cases, sizeof cases / sizeof *cases);
}

static void digits_then_gpt2_pattern(void) {
    static const split_case cases[] = {
        {"abc123 45", "abc|1|2|3| |4|5"},
        {"a  1", "a|  |1"}, /* the digit ends what \s+(?!\S) sees */
        {"a  b", "a| | b"},
        {"'1s", "'|1|s"},
        {"\xc2\xbd\xe2\x85\xa7!", "\xc2\xbd|\xe2\x85\xa7|!"},
    };
    check_cuts(TOK_SPLIT_DIGITS_GPT2, cases, sizeof cases / sizeof *cases);
}

/* Whatever the bytes, the words follow each other without gap and none is empty. */
static void every_byte_has_a_word(void) {
    static const char alphabet[] = "aZ'st \t\n\r19.!\xc3\xa9\xe2\x80\x83\xcc\x81\xff\xf0\x9f";
    tn_rng rng = tn_rng_seed(7);
    for (int round = 0; round < 3000; round++) {
        char text[64];
        size_t len = (size_t)tn_rng_below(&rng, sizeof text);
        for (size_t i = 0; i < len; i++) text[i] = alphabet[tn_rng_below(&rng, sizeof alphabet)];
        for (int split = TOK_SPLIT_QWEN2; split <= TOK_SPLIT_DIGITS_GPT2; split++) {
            const char *at = text, *word;
            size_t n;
            tok_words words = tok_words_of((tok_split)split, text, len);
            while (tok_next_word(&words, &word, &n)) {
                if (!CHECK(word == at) || !CHECK(n > 0)) return;
                at = word + n;
            }
            if (!CHECK(at == text + len)) return;
        }
    }
}

/* ---- Blocks of bytes ---- */

static int same_marks(const tn_byte_marks *a, const tn_byte_marks *b) {
    return a->letter == b->letter && a->digit == b->digit && a->blank == b->blank && a->space == b->space &&
           a->newline == b->newline && a->beyond == b->beyond && a->quote == b->quote;
}

static void marks_are_classes_of_bytes(void) {
    for (unsigned first = 0; first < 256; first++) {
        char text[TN_BYTE_BLOCK];
        tn_byte_marks want = {0}, got;
        for (unsigned i = 0; i < TN_BYTE_BLOCK; i++) { /* each byte comes at each place */
            const unsigned b = (first + 7 * i) % 256;
            const uint64_t bit = (uint64_t)1 << i;
            text[i] = (char)b;
            if ((b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z')) want.letter |= bit;
            if (b >= '0' && b <= '9') want.digit |= bit;
            if (b == '\t' || b == '\v' || b == '\f') want.blank |= bit;
            if (b == ' ') want.space |= bit;
            if (b == '\n' || b == '\r') want.newline |= bit;
            if (b >= 0x80) want.beyond |= bit;
            if (b == '\'') want.quote |= bit;
        }
        for (int i = 0; tn_byte_marks_at(i); i++) {
            tn_byte_marks_at(i)(text, &got);
            if (!CHECK(same_marks(&got, &want))) return;
        }
    }
}

/* Words cut in blocks are those of the walk, with every function for marks. */
static void check_blocks(tok_split split, const char *text, size_t len) {
    for (int i = 0; tn_byte_marks_at(i); i++) {
        const char *end[2 * TN_BYTE_BLOCK], *word;
        size_t n, word_len;
        tok_words blocks = tok_words_of(split, text, len), walk = blocks;
        while ((n = tok_cut_words(&blocks, tn_byte_marks_at(i), end, 2 * TN_BYTE_BLOCK)) > 0)
            for (size_t k = 0; k < n; k++) {
                if (!CHECK(tok_next_word(&walk, &word, &word_len))) return;
                if (!CHECK_INT(end[k] - text, word + word_len - text)) return;
            }
        if (!CHECK_INT(tok_next_word(&walk, &word, &word_len), 0)) return;
    }
}

/* Texts of pieces that meet in every order. Each text draws from a few of them, so that runs of one class
 * grow long and reach over the ends of blocks. */
static void blocks_cut_as_the_walk(void) {
    static const char *const pieces[] = {"a",   "Zx",  "word", "'",         "'s",       "'LL",  "'re",
                                         " ",   "  ",  "\t",   "\n",        "\r\n",     "\n\n", "1",
                                         "23",  ".",   "!?",   "(",         "\xc3\xa9", "\xff", "\x1f",
                                         "'ve", " \n", "\v\f", "'\xc5\xbf", "\xc2\xa0", "'M",   "d"};
    enum { PIECES = sizeof pieces / sizeof *pieces };
    tn_rng rng = tn_rng_seed(31);
    for (int round = 0; round < 20000; round++) {
        char text[600];
        size_t len = 0, want = 1 + (size_t)tn_rng_below(&rng, sizeof text - 16), few[6];
        const size_t n_few = 1 + (size_t)tn_rng_below(&rng, 6);
        for (size_t i = 0; i < n_few; i++) few[i] = (size_t)tn_rng_below(&rng, PIECES);
        while (len < want) {
            const size_t any = (size_t)tn_rng_below(&rng, PIECES), one = few[tn_rng_below(&rng, n_few)];
            const char *piece = pieces[tn_rng_below(&rng, 12) ? one : any];
            memcpy(text + len, piece, strlen(piece));
            len += strlen(piece);
        }
        check_blocks(round % 50 ? TOK_SPLIT_QWEN2 : TOK_SPLIT_DIGITS_GPT2, text, len);
    }
}

void test_pretok(void) {
    RUN(marks_are_classes_of_bytes);
    RUN(blocks_cut_as_the_walk);
    RUN(qwen2_pattern);
    RUN(gpt2_pattern);
    RUN(digits_then_gpt2_pattern);
    RUN(every_byte_has_a_word);
}
