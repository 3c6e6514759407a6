/* The pre-tokenizer: cuts text into words, within which byte pairs are merged. */
#ifndef TOKENIZER_PRETOK_H
#define TOKENIZER_PRETOK_H

#include "tensor/base.h"

typedef enum {
    TOK_SPLIT_QWEN2,      /* Qwen2's pattern */
    TOK_SPLIT_GPT2,       /* ByteLevel's own pattern */
    TOK_SPLIT_DIGITS_GPT2 /* each digit by itself, then GPT-2's pattern on what lies between (SmolLM2) */
} tok_split;

/* Qwen2's pattern, as tokenizer.json spells it. */
#define TOK_QWEN2_PATTERN                                                                                    \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"       \
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* A walk over the words of a text. Every byte belongs to a word, and the whole walk is O(n). */
typedef struct {
    tok_split split;
    const char *p, *end;
    const char *piece_end; /* the pattern sees nothing behind it */
} tok_words;

tok_words tok_words_of(tok_split split, const char *text, size_t len);
/* The next word; 0 when there is none left. */
int tok_next_word(tok_words *w, const char **word, size_t *len);

#endif
