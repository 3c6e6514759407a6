/* What the tokenizer knows of Unicode: characters in text, their classes, their canonical composition.
 *
 * A character is one code point, or one byte that is no part of well-formed UTF-8: such a byte counts as
 * a character above the code points, of no class.
 */
#ifndef TOKENIZER_UNICODE_H
#define TOKENIZER_UNICODE_H

#include "tensor/base.h"

/* Character value of byte b outside well-formed UTF-8: TOK_BAD_BYTE + b. */
#define TOK_BAD_BYTE 0x110000u

/* Class bits of a character. */
enum {
    TOK_LETTER = 1,   /* \p{L} */
    TOK_NUMBER = 2,   /* \p{N} */
    TOK_SPACE = 4,    /* \s */
    TOK_DIGIT = 8,    /* set apart by the "Digits" pre-tokenizer: \p{N} of a newer Unicode */
    TOK_NFC_SLOW = 16 /* changed by NFC, or able to join with or move before what precedes it */
};

/* The character at p < end in *c; returns its length in bytes, 1 … 4. */
int tok_char_slow(const char *p, const char *end, uint32_t *c);
static inline int tok_char(const char *p, const char *end, uint32_t *c) {
    *c = (unsigned char)*p;
    return *c < 0x80 ? 1 : tok_char_slow(p, end, c);
}

extern const uint8_t tok_class_block[][128]; /* block 0: the classes of ASCII; see unicode_tables.h */
unsigned tok_class_slow(uint32_t c);
static inline unsigned tok_class(uint32_t c) {
    return c < 0x80 ? tok_class_block[0][c] : tok_class_slow(c);
}
unsigned tok_ccc(uint32_t c); /* canonical combining class, 0 for starters */

/* Full canonical decomposition of c into out; returns how many code points (1 … 4). */
int tok_decompose(uint32_t c, uint32_t out[4]);
/* The primary composite of a and b; 0 when there is none. */
uint32_t tok_compose(uint32_t a, uint32_t b);

#endif
