/* The vocabulary: ids and the bytes they stand for.
 *
 * Files spell a byte-level token with one printable character per byte (GPT-2's alphabet: "Ġthe" is
 * " the"); here a token is its bytes. Added tokens are stored as their text.
 */
#ifndef TOKENIZER_VOCAB_H
#define TOKENIZER_VOCAB_H

#include "tensor/buf.h"

#define TOK_ID_BITS 21
#define TOK_MAX_IDS (1 << TOK_ID_BITS) /* ids of a file must be below */

/* What an id is. */
enum {
    TOK_ABSENT,  /* a hole in the numbering */
    TOK_WORD,    /* a byte-level token that merging may produce */
    TOK_FOREIGN, /* a vocabulary entry outside the byte alphabet: decoded as its text, never produced */
    TOK_ADDED,   /* an added token */
    TOK_CONTROL  /* an added token marked special */
};

typedef struct {
    size_t start;
    uint32_t len;
    uint8_t kind;
} tok_entry;

/* A place in the table of words: the id, and bits of the hash that spare most looks at other words' bytes. */
typedef struct {
    int32_t id; /* -1 = free */
    uint32_t tag;
} tok_slot;

typedef struct {
    int32_t n;        /* largest id + 1 */
    tok_entry *entry; /* [n] of room for cap */
    size_t cap;
    tn_buf pool;          /* the bytes of all tokens */
    tok_slot *table;      /* [table_size] words by the hash of their bytes; NULL until sealed */
    size_t table_size;    /* a power of two */
    size_t n_words;       /* entries of kind TOK_WORD */
    int32_t byte_id[256]; /* the word of each single byte, or -1 */
} tok_vocab;

void tok_vocab_free(tok_vocab *v); /* a zeroed one is fine, and is an empty one */

/* Adds a vocabulary entry as the file spells it (UTF-8, in GPT-2's alphabet). TN_EFORMAT when the id is
 * out of range or taken. */
int tok_vocab_add(tok_vocab *v, int64_t id, const char *spelled, size_t len, tn_err *e);
/* Ends the adding of entries: from now on words can be found. TN_EFORMAT when two are the same. */
int tok_vocab_seal(tok_vocab *v, tn_err *e);

/* Makes id the added token with this text: a new id, or one whose vocabulary entry has the same bytes. */
int tok_vocab_add_token(tok_vocab *v, int64_t id, const char *text, size_t len, int special, tn_err *e);

/* The word with these bytes, or -1. */
int32_t tok_vocab_find(const tok_vocab *v, const char *bytes, size_t len);

const char *tok_vocab_bytes(const tok_vocab *v, int32_t id, size_t *len); /* id must be there */

/* A token's spelling turned into bytes, appended to *out. 0 when it has a character outside the alphabet
 * (then *out is as before). */
int tok_unspell(const char *spelled, size_t len, tn_buf *out);

#endif
