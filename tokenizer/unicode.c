/* Look-ups in the generated tables, and Hangul by arithmetic (Unicode 15, section 3.12). */
#include "tokenizer/unicode.h"

#include "tensor/utf8.h"
#include "tokenizer/unicode_tables.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A Hangul syllable is L V or L V T: 19 leading consonants, 21 vowels, 27 trailing consonants. */
enum {
    S_BASE = 0xAC00,
    L_BASE = 0x1100,
    V_BASE = 0x1161,
    T_BASE = 0x11A7,
    L_COUNT = 19,
    V_COUNT = 21,
    T_COUNT = 28
};
enum { S_COUNT = L_COUNT * V_COUNT * T_COUNT };

int tok_char_slow(const char *p, const char *end, uint32_t *c) {
    int n = tn_utf8_length(p, (size_t)(end - p));
    if (n == 0) {
        *c = TOK_BAD_BYTE + (unsigned char)*p;
        return 1;
    }
    *c = tn_utf8_get(p, n);
    return n;
}

unsigned tok_class_slow(uint32_t c) {
    if (c >= CLASS_END) return 0;
    return tok_class_block[class_index[c >> CLASS_SHIFT]][c & ((1u << CLASS_SHIFT) - 1)];
}

unsigned tok_ccc(uint32_t c) {
    size_t lo = 0, hi = COUNT(ccc_range); /* the last range that starts at or before c is below hi */
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (ccc_range[mid].first <= c)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == 0 || c - ccc_range[lo - 1].first >= ccc_range[lo - 1].count) return 0;
    return ccc_range[lo - 1].ccc;
}

/* Place of c in `canonical`, or -1. */
static int find_canonical(uint32_t c) {
    size_t lo = 0, hi = COUNT(canonical);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (canonical[mid].c < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < COUNT(canonical) && canonical[lo].c == c ? (int)lo : -1;
}

static int decompose_hangul(uint32_t c, uint32_t out[4]) {
    uint32_t s = c - S_BASE, t = s % T_COUNT;
    out[0] = L_BASE + s / (V_COUNT * T_COUNT);
    out[1] = V_BASE + s / T_COUNT % V_COUNT;
    out[2] = T_BASE + t;
    return t ? 3 : 2;
}

int tok_decompose(uint32_t c, uint32_t out[4]) {
    if (c - S_BASE < S_COUNT) return decompose_hangul(c, out);
    /* Only the first part of a pair decomposes further, at most three times: gather the second parts. */
    uint32_t second[3];
    int n_second = 0;
    for (int at; c > 0x7f && (at = find_canonical(c)) >= 0; c = canonical[at].first)
        if (canonical[at].second && n_second < 3) second[n_second++] = canonical[at].second;
    int n = 0;
    out[n++] = c;
    while (n_second > 0) out[n++] = second[--n_second];
    return n;
}

static uint32_t compose_hangul(uint32_t a, uint32_t b) {
    if (a - L_BASE < L_COUNT && b - V_BASE < V_COUNT)
        return S_BASE + ((a - L_BASE) * V_COUNT + (b - V_BASE)) * T_COUNT;
    if (a - S_BASE < S_COUNT && (a - S_BASE) % T_COUNT == 0 && b - T_BASE - 1 < T_COUNT - 1)
        return a + (b - T_BASE);
    return 0;
}

uint32_t tok_compose(uint32_t a, uint32_t b) {
    uint32_t hangul = compose_hangul(a, b);
    if (hangul) return hangul;
    size_t lo = 0, hi = COUNT(composite);
    while (lo < hi) {
        size_t mid = (lo + hi) / 2, at = composite[mid];
        if (canonical[at].first < a || (canonical[at].first == a && canonical[at].second < b))
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == COUNT(composite)) return 0;
    size_t at = composite[lo];
    return canonical[at].first == a && canonical[at].second == b ? canonical[at].c : 0;
}
