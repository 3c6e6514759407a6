/* The pre-tokenizer patterns: cuts by hand, one group for each alternative. */
#include "tests/test.h"
#include "tensor/rng.h"
#include "tokenizer/pretok.h"

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

void test_pretok(void) {
    RUN(qwen2_pattern);
    RUN(gpt2_pattern);
    RUN(digits_then_gpt2_pattern);
    RUN(every_byte_has_a_word);
}
