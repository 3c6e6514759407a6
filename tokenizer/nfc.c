/* NFC in one pass over the text.
 *
 * Most text is in NFC. A run of characters without TOK_NFC_SLOW is copied as it is; a slow character is
 * gathered with the character before it and all slow ones after it into a segment, which is decomposed,
 * put into canonical order and composed (UAX #15, sections 1.2 and 1.3). Nothing crosses a segment's ends,
 * because a character that is not slow neither moves nor joins what precedes it.
 */
#include "tokenizer/nfc.h"

#include "tensor/utf8.h"
#include "tensor/swar.h"
#include "tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

/* One segment's characters, decomposed. */
typedef struct {
    uint32_t *c;        /* [cap] characters */
    unsigned char *ccc; /* [cap] their combining classes */
    uint32_t *sorted;   /* [cap] scratch of the sort */
    size_t n, cap;
} segment;

static void segment_free(segment *s) {
    free(s->c);
    free(s->ccc);
    free(s->sorted);
}

static int segment_reserve(segment *s, size_t need) {
    if (need <= s->cap) return TN_OK;
    size_t cap = s->cap ? s->cap * 2 : 64, bytes;
    if (cap < need || tn_mul_size(cap, sizeof *s->c, &bytes)) return TN_ENOMEM;
    uint32_t *c = realloc(s->c, bytes);
    if (c) s->c = c;
    uint32_t *sorted = realloc(s->sorted, bytes);
    if (sorted) s->sorted = sorted;
    unsigned char *ccc = realloc(s->ccc, cap);
    if (ccc) s->ccc = ccc;
    if (!c || !sorted || !ccc) return TN_ENOMEM;
    s->cap = cap;
    return TN_OK;
}

static int segment_add(segment *s, uint32_t c) {
    uint32_t parts[4];
    int n = tok_decompose(c, parts);
    if (segment_reserve(s, s->n + (size_t)n) != TN_OK) return TN_ENOMEM;
    for (int i = 0; i < n; i++, s->n++) {
        s->c[s->n] = parts[i];
        s->ccc[s->n] = (unsigned char)tok_ccc(parts[i]);
    }
    return TN_OK;
}

/* Sorts the marks [from, to) by combining class, keeping the order of equals: a counting sort, so that
 * a megabyte of marks costs no more per character than two. */
static void sort_marks(segment *s, size_t from, size_t to) {
    size_t place[256] = {0}; /* place[k]: where the next mark of class k goes */
    for (size_t i = from; i < to; i++) place[s->ccc[i]]++;
    for (size_t k = 0, at = from; k < 256; k++) {
        size_t count = place[k];
        place[k] = at;
        at += count;
    }
    for (size_t i = from; i < to; i++) s->sorted[place[s->ccc[i]]++] = s->c[i];
    memcpy(s->c + from, s->sorted + from, (to - from) * sizeof *s->c);
    for (size_t i = from; i < to; i++) s->ccc[i] = (unsigned char)tok_ccc(s->c[i]);
}

/* Canonical order: each run of marks (class not 0) sorted by class. */
static void reorder(segment *s) {
    for (size_t i = 0; i < s->n;) {
        size_t from = i;
        int in_order = 1;
        for (; i < s->n && s->ccc[i]; i++)
            if (i > from && s->ccc[i] < s->ccc[i - 1]) in_order = 0;
        if (!in_order) sort_marks(s, from, i);
        if (i == from) i++;
    }
}

/* Composes in place: each character joins the last starter when nothing between them blocks it, which is
 * a character of the same or a higher class, or any starter. */
static void compose(segment *s) {
    size_t starter = SIZE_MAX, out = 0;
    unsigned last = 0; /* class of the last character kept after the starter */
    for (size_t i = 0; i < s->n; i++) {
        unsigned ccc = s->ccc[i];
        int adjacent = starter != SIZE_MAX && out == starter + 1;
        int reachable = adjacent || (starter != SIZE_MAX && last != 0 && last < ccc);
        uint32_t joined = reachable ? tok_compose(s->c[starter], s->c[i]) : 0;
        if (joined) {
            s->c[starter] = joined;
            continue;
        }
        if (ccc == 0) starter = out;
        last = ccc;
        s->c[out++] = s->c[i];
    }
    s->n = out;
}

static void segment_write(const segment *s, tn_buf *out) {
    for (size_t i = 0; i < s->n; i++) {
        char bytes[4];
        if (s->c[i] >= TOK_BAD_BYTE)
            tn_buf_putc(out, (char)(s->c[i] - TOK_BAD_BYTE));
        else
            tn_buf_add(out, bytes, (size_t)tn_utf8_put(bytes, s->c[i]));
    }
}

/* First slow character of [p, end), or end; *before is the character in front of it (p when none is). */
static const char *find_slow(const char *p, const char *end, const char **before) {
    *before = p;
    while (p < end) {
        while (end - p >= 8 && !(tn_load8(p) & TN_MARKS)) { /* eight of ASCII */
            *before = p + 7;
            p += 8;
        }
        if (p == end) break;
        uint32_t c;
        int n = tok_char(p, end, &c);
        if (c >= 0x80 && (tok_class(c) & TOK_NFC_SLOW)) return p;
        *before = p;
        p += n;
    }
    return end;
}

const char *tok_nfc_find_slow(const char *text, const char *end) {
    const char *before;
    return find_slow(text, end, &before);
}

int tok_nfc(const char *text, size_t len, tn_buf *out) {
    segment s = {0};
    int status = TN_OK;
    const char *p = text, *end = text + len, *before;
    while (p < end && status == TN_OK) {
        const char *slow = find_slow(p, end, &before);
        if (slow == end) before = end;
        tn_buf_add(out, p, (size_t)(before - p));
        s.n = 0;
        for (p = before; p < end && status == TN_OK;) {
            uint32_t c;
            int n = tok_char(p, end, &c);
            if (p > before && !(tok_class(c) & TOK_NFC_SLOW)) break;
            status = segment_add(&s, c);
            p += n;
        }
        reorder(&s);
        compose(&s);
        segment_write(&s, out);
    }
    segment_free(&s);
    return out->failed ? TN_ENOMEM : status;
}
