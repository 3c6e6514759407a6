/* UTF-8, byte by byte (Unicode 15, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF). */
#ifndef TENSOR_UTF8_H
#define TENSOR_UTF8_H

#include "tensor/base.h"

/* Length (1 … 4) of the well-formed sequence at s, of which `left` bytes are there; 0 when there is none. */
int tn_utf8_length(const char *s, size_t left);

/* The code point of a sequence that tn_utf8_length found well-formed. */
uint32_t tn_utf8_get(const char *s, int length);

/* Writes code point cp (below 0x110000); returns the length. */
int tn_utf8_put(char dst[4], uint32_t cp);

#endif
