/* Qwen2's pattern by bits: where words begin in a block of 64 bytes follows from the classes of its bytes and
 * of their neighbours, which shifts and additions of whole words of bits bring together.
 *
 * A block begins where a word begins, as nothing in the pattern looks behind that. What lies before the block
 * therefore counts as a digit, which leaves nothing open. Bit i says "a word begins at byte i".
 *
 * Classes as bitmaps and carries along runs are ideas of simdjson (Langdale and Lemire, "Parsing Gigabytes of
 * JSON per Second", 2019); gigatoken showed that they fit pre-tokenizers.
 */
#include "tokenizer/cut.h"

enum { KEY_ROOM = 16 }; /* bytes that can be read behind a block, so that keys of words need no care */

/* Where (?i:'s|'t|'re|'ve|'m|'ll|'d) ends behind the quote at text[0]; 0 when none is there. */
static unsigned contraction(const char *text) {
    const char x = (char)(text[1] | 0x20), y = (char)(text[2] | 0x20);
    if (x == 's' || x == 't' || x == 'm' || x == 'd') return 2;
    if ((x == 'r' && y == 'e') || (x == 'v' && y == 'e') || (x == 'l' && y == 'l')) return 3;
    return 0;
}

/* Ends of contractions. `start` has the quotes that begin a word and have a letter behind them; only such
 * whose letters are in the block count. */
static uint64_t after_contractions(const char *text, uint64_t start) {
    uint64_t ends = 0;
    for (; start; start &= start - 1) {
        const unsigned at = tn_lowest_bit(start);
        if (at + 3 >= TN_BYTE_BLOCK) break;
        const unsigned n = contraction(text + at);
        ends |= (uint64_t)(n > 0) << (at + n);
    }
    return ends;
}

/* The runs of ones in x that begin at `first`, whole: the addition carries through them and clears them. */
static uint64_t runs_from(uint64_t x, uint64_t first) {
    return x & ~(x + first);
}

/* Blanks that begin a word: of a run of white space before something else the last one, if it is no newline;
 * and what follows the newlines that end a word. What it says of a run that reaches the block's end is not
 * to be believed. */
static uint64_t blank_starts(uint64_t blank, uint64_t newline, uint64_t other) {
    const uint64_t white = blank | newline;
    const uint64_t swallowed = runs_from(newline, newline & other << 1); /* by [^\s\p{L}\p{N}]+[\r\n]* */
    uint64_t behind = blank & newline << 1 & ~(swallowed << 1);
    /* Where a run of blanks behind a newline meets the next one, \s*[\r\n]+ takes the run. It is rare. */
    uint64_t joined = (blank + behind) & newline;
    for (; joined; joined &= joined - 1) {
        const uint64_t before = (joined & (0 - joined)) - 1;
        behind &= ~((uint64_t)1 << tn_highest_bit(behind & before));
    }
    return blank & (~(white << 1) | ~(white >> 1) | swallowed << 1 | behind);
}

/* The words that begin in text [TN_BYTE_BLOCK] but at its first byte, as far as the block tells. */
static uint64_t qwen2_starts(const char *text, const tn_byte_marks *m) {
    const uint64_t blank = m->blank | m->space, white = blank | m->newline;
    const uint64_t other = ~(m->letter | m->digit | white | m->beyond);
    /* " "?[^\s\p{L}\p{N}]+ takes a space before it. */
    const uint64_t others = other & ~(other << 1) & ~(m->space << 1);
    /* [^\r\n\p{L}\p{N}]?\p{L}+ takes one that begins a word, or the last blank. */
    const uint64_t letters = m->letter & ~((m->letter | blank | others) << 1);
    const uint64_t newlines = m->newline & ~((other | white) << 1);
    uint64_t starts = letters | m->digit | others | newlines | blank_starts(blank, m->newline, other);
    const uint64_t quotes = m->quote & others & m->letter >> 1;
    if (quotes) starts |= after_contractions(text, quotes);

    /* Certain are those before the first byte beyond ASCII. White space before it, or before the block's end,
     * may go on, so that all but where it begins is open. (A contraction cut off at the block's end is the
     * last word to begin there.) */
    const uint64_t seen = m->beyond ? (m->beyond & (0 - m->beyond)) - 1 : ~(uint64_t)0;
    const uint64_t ink = seen & ~white;
    if (!ink) return 0;
    return starts & (((uint64_t)2 << tn_highest_bit(ink) << 1) - 1) & ~(uint64_t)1;
}

/* The words of a block whose ends are certain. */
static size_t cut_block(tok_words *w, tn_byte_marks_fn *marks, const char **end) {
    tn_byte_marks m;
    marks(w->p, &m);
    uint64_t starts = qwen2_starts(w->p, &m);
    const unsigned n = tn_count_bits(starts);
    /* Eight a step, whether there are as many or not: how often a loop runs is hard to foresee. */
    for (unsigned i = 0; i < n; i += 8)
        for (unsigned k = 0; k < 8; k++, starts &= starts - 1)
            end[i + k] = w->p + tn_lowest_bit(starts | (uint64_t)1 << (TN_BYTE_BLOCK - 1));
    if (n) w->p = end[n - 1];
    return n;
}

/* Whether a block may tell of the word at w->p: the whole of it can be read, and the word is not one of
 * letters beyond ASCII, with a space before them or without. */
static int has_block(const tok_words *w) {
    return w->split == TOK_SPLIT_QWEN2 && (size_t)(w->end - w->p) >= TN_BYTE_BLOCK + KEY_ROOM &&
           !((w->p[0] | w->p[1]) & 0x80);
}

size_t tok_cut_words(tok_words *w, tn_byte_marks_fn *marks, const char **end, size_t max) {
    size_t n = 0;
    while (n + TN_BYTE_BLOCK <= max) {
        size_t cut = has_block(w) ? cut_block(w, marks, end + n) : 0;
        if (cut == 0) { /* the text's last words, long ones, and those with characters beyond ASCII */
            const char *word;
            size_t len;
            if (!tok_next_word(w, &word, &len)) break;
            end[n] = w->p;
            cut = 1;
        }
        n += cut;
    }
    return n;
}
