/* The vocabulary of vocab.h: an array by id, a hash table by bytes. */
#include "tokenizer/vocab.h"

#include "tensor/swar.h"

#include <stdlib.h>
#include <string.h>

/* GPT-2's alphabet, whose letters take one byte of UTF-8 or two: a byte that prints in Latin-1 (! … ~, ¡ … ¬,
 * ® … ÿ) is spelled by itself, the other 68 in ascending order by U+0100, U+0101, …. Returns the byte spelled
 * by c, or -1. */
static int byte_of_letter(uint32_t c) {
    if ((c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff)) return (int)c;
    if (c < 0x100 || c >= 0x144) return -1;
    uint32_t k = c - 0x100;               /* the k-th of 00 … 20, 7f … a0, ad */
    if (k < 0x21) return (int)k;          /* 33 of them */
    if (k < 0x43) return (int)(k + 0x5e); /* 34 of them */
    return 0xad;
}

int tok_unspell(const char *spelled, size_t len, tn_buf *out) {
    size_t before = out->len, n = 0;
    char piece[64]; /* bytes go to the buffer in pieces, not one by one */
    const unsigned char *p = (const unsigned char *)spelled, *end = p + len;
    while (p < end) {
        int byte = -1;
        if (*p > 0x20 && *p < 0x7f) { /* by itself, as most are */
            byte = *p++;
        } else if (*p >= 0xc2 && *p <= 0xc5 && end - p >= 2 && p[1] >> 6 == 2) { /* U+0080 … U+017F */
            byte = byte_of_letter((*p & 0x1fu) << 6 | (p[1] & 0x3fu));
            p += 2;
        }
        if (byte < 0) {
            out->len = before;
            return 0;
        }
        if (n == sizeof piece) {
            tn_buf_add(out, piece, n);
            n = 0;
        }
        piece[n++] = (char)byte;
    }
    tn_buf_add(out, piece, n);
    return 1;
}

void tok_vocab_free(tok_vocab *v) {
    free(v->entry);
    free(v->table);
    tn_buf_free(&v->pool);
    memset(v, 0, sizeof *v);
}

const char *tok_vocab_bytes(const tok_vocab *v, int32_t id, size_t *len) {
    *len = v->entry[id].len;
    return v->pool.data + v->entry[id].start;
}

/* The slot of the table that holds the word, or the free one where it belongs. */
static tok_slot *find_slot(const tok_vocab *v, uint64_t hash, const char *bytes, size_t len) {
    size_t mask = v->table_size - 1, at = hash & mask;
    for (; v->table[at].id >= 0; at = (at + 1) & mask) {
        if (v->table[at].tag != hash >> 32) continue;
        const tok_entry *have = &v->entry[v->table[at].id];
        if (have->len == len && memcmp(v->pool.data + have->start, bytes, len) == 0) break;
    }
    return &v->table[at];
}

int32_t tok_vocab_find(const tok_vocab *v, const char *bytes, size_t len) {
    return find_slot(v, tn_hash_bytes(bytes, len), bytes, len)->id;
}

/* Checks a file's id and makes room for it. */
static int claim_id(tok_vocab *v, int64_t id, tn_err *e) {
    if (id < 0 || id >= TOK_MAX_IDS)
        return tn_fail(e, TN_EFORMAT, "token id %lld is outside 0 … %d", (long long)id, TOK_MAX_IDS - 1);
    size_t need = (size_t)id + 1;
    if (need > v->cap) {
        size_t cap = v->cap ? v->cap : 1024;
        while (cap < need) cap *= 2;
        tok_entry *entry = realloc(v->entry, cap * sizeof *entry);
        if (!entry) return tn_fail(e, TN_ENOMEM, "no memory for the vocabulary");
        v->entry = entry;
        v->cap = cap;
    }
    for (; v->n <= id; v->n++) v->entry[v->n] = (tok_entry){0, 0, TOK_ABSENT};
    return TN_OK;
}

/* Gives entry id the bytes at the pool's end, from `start` on. */
static int set_entry(tok_vocab *v, int64_t id, size_t start, int kind, tn_err *e) {
    size_t len = v->pool.len - start;
    if (v->pool.failed) return tn_fail(e, TN_ENOMEM, "no memory for the vocabulary");
    if (len > UINT32_MAX) return tn_fail(e, TN_EFORMAT, "token %lld is %zu bytes long", (long long)id, len);
    v->entry[id] = (tok_entry){start, (uint32_t)len, (uint8_t)kind};
    return TN_OK;
}

int tok_vocab_add(tok_vocab *v, int64_t id, const char *spelled, size_t len, tn_err *e) {
    int status = claim_id(v, id, e);
    if (status != TN_OK) return status;
    if (v->entry[id].kind != TOK_ABSENT)
        return tn_fail(e, TN_EFORMAT, "token id %lld is given to two tokens", (long long)id);

    size_t start = v->pool.len;
    if (len == 0 || !tok_unspell(spelled, len, &v->pool)) {
        tn_buf_add(&v->pool, spelled, len);
        return set_entry(v, id, start, TOK_FOREIGN, e);
    }
    status = set_entry(v, id, start, TOK_WORD, e);
    if (status != TN_OK) return status;
    v->n_words++;
    return TN_OK;
}

int tok_vocab_seal(tok_vocab *v, tn_err *e) {
    for (int b = 0; b < 256; b++) v->byte_id[b] = -1;
    v->table_size = 64;
    while (v->table_size < v->n_words + v->n_words / 2) v->table_size *= 2;
    v->table = malloc(v->table_size * sizeof *v->table);
    if (!v->table) return tn_fail(e, TN_ENOMEM, "no memory for the vocabulary");
    for (size_t i = 0; i < v->table_size; i++) v->table[i].id = -1;
    for (int32_t id = 0; id < v->n; id++) {
        if (v->entry[id].kind != TOK_WORD) continue;
        size_t len;
        const char *bytes = tok_vocab_bytes(v, id, &len);
        uint64_t hash = tn_hash_bytes(bytes, len);
        tok_slot *slot = find_slot(v, hash, bytes, len);
        if (slot->id >= 0)
            return tn_fail(e, TN_EFORMAT, "token ids %d and %d have the same text", (int)slot->id, (int)id);
        *slot = (tok_slot){id, (uint32_t)(hash >> 32)};
        if (len == 1) v->byte_id[(unsigned char)*bytes] = id;
    }
    return TN_OK;
}

int tok_vocab_add_token(tok_vocab *v, int64_t id, const char *text, size_t len, int special, tn_err *e) {
    int status = claim_id(v, id, e);
    if (status != TN_OK) return status;
    int kind = special ? TOK_CONTROL : TOK_ADDED;
    if (v->entry[id].kind == TOK_ABSENT) {
        size_t start = v->pool.len;
        tn_buf_add(&v->pool, text, len);
        return set_entry(v, id, start, kind, e);
    }
    size_t have;
    const char *bytes = tok_vocab_bytes(v, (int32_t)id, &have);
    if (have != len || memcmp(bytes, text, len) != 0)
        return tn_fail(e, TN_EFORMAT, "token id %lld is given to two tokens", (long long)id);
    v->entry[id].kind = (uint8_t)kind;
    return TN_OK;
}
