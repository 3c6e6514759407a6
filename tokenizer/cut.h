/* Many words at once: the pre-tokenizer's cuts in blocks of ASCII, without a branch for each word. */
#ifndef TOKENIZER_CUT_H
#define TOKENIZER_CUT_H

#include "tensor/byte_marks.h"
#include "tokenizer/pretok.h"

/* Cuts up to `max` words, max >= TN_BYTE_BLOCK, and sets end[i] to where the i-th ends; each begins where the
 * one before it ends, the first at w->p. Returns how many, 0 at the end of the text. The words are those of
 * tok_next_word. `marks` gives the classes of a block; `end` has room for max. */
size_t tok_cut_words(tok_words *w, tn_byte_marks_fn *marks, const char **end, size_t max);

#endif
