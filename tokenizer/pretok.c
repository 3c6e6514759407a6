/* The two patterns, hand-coded. Each function tries the alternatives in the pattern's order, as a
 * backtracking matcher does; the alternative is quoted above its code.
 */
#include "tokenizer/pretok.h"

#include "tokenizer/unicode.h"

#define LETTER_OR_NUMBER (TOK_LETTER | TOK_NUMBER)
#define NOT_OTHER (TOK_LETTER | TOK_NUMBER | TOK_SPACE) /* [^\s\p{L}\p{N}] has none of these */

/* The character at p, its class and where the next one starts. At the end of text c is END_OF_TEXT, whose
 * class counts as a space, so that it ends runs of anything else. */
typedef struct {
    uint32_t c;
    unsigned class;
    const char *next;
} look;

#define END_OF_TEXT 0xffffffffu

static look look_at(const char *p, const char *end) {
    look l = {END_OF_TEXT, TOK_SPACE, end};
    if (p == end) return l;
    l.next = p + tok_char(p, end, &l.c);
    l.class = tok_class(l.c);
    return l;
}

/* \p{L}* */
static const char *skip_letters(const char *p, const char *end) {
    for (;;) {
        look l = look_at(p, end);
        if (!(l.class & TOK_LETTER)) return p;
        p = l.next;
    }
}

/* \p{N}* */
static const char *skip_numbers(const char *p, const char *end) {
    for (;;) {
        look l = look_at(p, end);
        if (!(l.class & TOK_NUMBER)) return p;
        p = l.next;
    }
}

/* [^\s\p{L}\p{N}]* */
static const char *skip_other(const char *p, const char *end) {
    for (;;) {
        look l = look_at(p, end);
        if (l.class & NOT_OTHER) return p;
        p = l.next;
    }
}

static int is_newline(uint32_t c) {
    return c == '\r' || c == '\n';
}

/* [\r\n]* */
static const char *skip_newlines(const char *p, const char *end) {
    while (p < end && is_newline((unsigned char)*p)) p++;
    return p;
}

/* \s+(?!\S)|\s+ for the run of white space at p. When more text follows, the first alternative gives its
 * last character back, which leaves a single one to the second. */
static const char *skip_spaces(const char *p, const char *end) {
    const char *last = p, *at = p;
    while (at < end) {
        look l = look_at(at, end);
        if (!(l.class & TOK_SPACE)) return last > p ? last : at;
        last = at;
        at = l.next;
    }
    return end;
}

/* \s*[\r\n]+: everything up to the last newline of the run of white space at p; p when it has none. */
static const char *skip_to_last_newline(const char *p, const char *end) {
    const char *found = p;
    while (p < end) {
        look l = look_at(p, end);
        if (!(l.class & TOK_SPACE)) break;
        p = l.next;
        if (is_newline(l.c)) found = p;
    }
    return found;
}

/* 's|'t|'re|'ve|'m|'ll|'d behind the apostrophe at p; p when none fits. (?i:…) also takes capitals and the
 * long s (U+017F), which folds to s. */
static const char *skip_contraction(const char *p, const char *end, int fold) {
    look a = look_at(p + 1, end), b = look_at(a.next, end);
    uint32_t x = a.c, y = b.c;
    if (fold && x == 0x17f) x = 's';
    if (fold && x >= 'A' && x <= 'Z') x |= 0x20;
    if (fold && y >= 'A' && y <= 'Z') y |= 0x20;
    if (x == 's' || x == 't' || x == 'm' || x == 'd') return a.next;
    if ((x == 'r' && y == 'e') || (x == 'v' && y == 'e') || (x == 'l' && y == 'l')) return b.next;
    return p;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|
 * ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
static const char *qwen2_word(const char *p, const char *end) {
    look first = look_at(p, end);

    /* (?i:'s|'t|'re|'ve|'m|'ll|'d) */
    if (first.c == '\'') {
        const char *q = skip_contraction(p, end, 1);
        if (q > p) return q;
    }
    /* [^\r\n\p{L}\p{N}]?\p{L}+ */
    if (first.class & TOK_LETTER) return skip_letters(first.next, end);
    if (!is_newline(first.c) && !(first.class & LETTER_OR_NUMBER)) {
        const char *q = skip_letters(first.next, end);
        if (q > first.next) return q;
    }
    /* \p{N} */
    if (first.class & TOK_NUMBER) return first.next;
    /* " "?[^\s\p{L}\p{N}]+[\r\n]* */
    const char *start = first.c == ' ' ? first.next : p;
    const char *q = skip_other(start, end);
    if (q > start) return skip_newlines(q, end);
    /* \s*[\r\n]+ */
    q = skip_to_last_newline(p, end);
    if (q > p) return q;
    /* \s+(?!\S)|\s+ */
    return skip_spaces(p, end);
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static const char *gpt2_word(const char *p, const char *end) {
    look first = look_at(p, end);

    /* 's|'t|'re|'ve|'m|'ll|'d */
    if (first.c == '\'') {
        const char *q = skip_contraction(p, end, 0);
        if (q > p) return q;
    }
    /* " "?\p{L}+|" "?\p{N}+|" "?[^\s\p{L}\p{N}]+ */
    const char *start = first.c == ' ' ? first.next : p;
    look l = look_at(start, end);
    if (l.class & TOK_LETTER) return skip_letters(l.next, end);
    if (l.class & TOK_NUMBER) return skip_numbers(l.next, end);
    if (!(l.class & TOK_SPACE)) return skip_other(l.next, end);
    /* \s+(?!\S)|\s+ */
    return skip_spaces(p, end);
}

/* The end of the piece at p: a digit by itself, or the text before the next digit. */
static const char *digits_piece(const char *p, const char *end) {
    look l = look_at(p, end);
    if (l.class & TOK_DIGIT) return l.next;
    while (p < end && !(l.class & TOK_DIGIT)) {
        p = l.next;
        l = look_at(p, end);
    }
    return p;
}

tok_words tok_words_of(tok_split split, const char *text, size_t len) {
    tok_words w = {split, text, text + len, text};
    if (split != TOK_SPLIT_DIGITS_GPT2) w.piece_end = w.end;
    return w;
}

int tok_next_word(tok_words *w, const char **word, size_t *len) {
    if (w->p == w->end) return 0;
    if (w->p == w->piece_end) w->piece_end = digits_piece(w->p, w->end);
    *word = w->p;
    w->p = w->split == TOK_SPLIT_QWEN2 ? qwen2_word(w->p, w->piece_end) : gpt2_word(w->p, w->piece_end);
    *len = (size_t)(w->p - *word);
    return 1;
}
