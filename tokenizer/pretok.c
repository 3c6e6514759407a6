/* The two patterns, hand-coded. Each function tries the alternatives in the pattern's order, as a
 * backtracking matcher does; the alternative is quoted above its code. Two alternatives that no text can both
 * match may change places: letters, which begin most words, are asked for first.
 */
#include "tokenizer/pretok.h"

#include "tensor/swar.h"
#include "tokenizer/unicode.h"

#define NOT_OTHER (TOK_LETTER | TOK_NUMBER | TOK_SPACE) /* [^\s\p{L}\p{N}] has none of these */

/* The character at p, its class and where the next one starts. At the end of text c is END_OF_TEXT, whose
 * class counts as a space, so that it ends runs of anything else. */
typedef struct {
    uint32_t c;
    unsigned class;
    const char *next;
} look;

#define END_OF_TEXT 0xffffffffu

static inline look look_at(const char *p, const char *end) {
    look l = {END_OF_TEXT, TOK_SPACE, end};
    if (p == end) return l;
    l.next = p + tok_char(p, end, &l.c);
    l.class = tok_class(l.c);
    return l;
}

/* \p{L}* */
static const char *skip_letters(const char *p, const char *end) {
    for (;;) {
        while (end - p >= 8) { /* ASCII letters, up to eight at once */
            size_t n = tn_before_mark(tn_mark_nonletters(tn_load8(p)));
            p += n;
            if (n == 8) continue;
            if ((unsigned char)*p < 0x80) return p;
            break;
        }
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

/* A run of white space: where it ends, where its last character begins, and the end of its last newline (its
 * beginning when it has none). */
typedef struct {
    const char *end, *last, *newline;
} spaces;

static spaces look_at_spaces(const char *p, const char *end) {
    spaces s = {p, p, p};
    while (s.end < end) {
        look l = look_at(s.end, end);
        if (!(l.class & TOK_SPACE)) break;
        s.last = s.end;
        s.end = l.next;
        if (is_newline(l.c)) s.newline = l.next;
    }
    return s;
}

/* \s+(?!\S)|\s+ for the run of white space at p. When more text follows, the first alternative gives its
 * last character back, which leaves a single one to the second. */
static const char *cut_spaces(const spaces *s, const char *p, const char *end) {
    return s->end < end && s->last > p ? s->last : s->end;
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

    /* [^\r\n\p{L}\p{N}]?\p{L}+ that begins with a letter, as no other alternative does */
    if (first.class & TOK_LETTER) return skip_letters(first.next, end);
    /* \p{N}, likewise */
    if (first.class & TOK_NUMBER) return first.next;
    /* (?i:'s|'t|'re|'ve|'m|'ll|'d) */
    if (first.c == '\'') {
        const char *q = skip_contraction(p, end, 1);
        if (q > p) return q;
    }
    look second = look_at(first.next, end);
    /* [^\r\n\p{L}\p{N}]?\p{L}+ */
    if (second.class & TOK_LETTER && !is_newline(first.c)) return skip_letters(second.next, end);
    /* " "?[^\s\p{L}\p{N}]+[\r\n]* */
    if (!(first.class & NOT_OTHER) || (first.c == ' ' && !(second.class & NOT_OTHER)))
        return skip_newlines(skip_other(first.next, end), end);
    /* \s*[\r\n]+ */
    spaces s = look_at_spaces(p, end);
    if (s.newline > p) return s.newline;
    /* \s+(?!\S)|\s+ */
    return cut_spaces(&s, p, end);
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
    spaces s = look_at_spaces(p, end);
    return cut_spaces(&s, p, end);
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
