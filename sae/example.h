/* Where a feature is strongest, as text: a row of an activation file with the tokens around it. */
#ifndef SAE_EXAMPLE_H
#define SAE_EXAMPLE_H

#include "sae/features.h"
#include "tensor/buf.h"

/* Where the bytes of a token come from: the SAE's library does not know the tokenizer. `bytes` returns TN_OK
 * and sets *text [*len], or another code for an id that has no text. */
typedef struct {
    const void *ctx; /* NULL: tokens have no text */
    int (*bytes)(const void *ctx, int32_t id, const char **text, size_t *len);
} sae_vocabulary;

/* Rows first … last-1 of one document, which follow each other, with the strongest at `row`. */
typedef struct {
    size_t first, row, last;
} sae_context;

/* x with at most `before` and `after` tokens around it. */
sae_context sae_example_context(const sae_acts *acts, sae_example x, int before, int after);

/* Appends the text of rows first … last-1, with a space for each control character: it stays one line. */
void sae_rows_text(const sae_acts *acts, const sae_vocabulary *v, size_t first, size_t last, tn_buf *out);

#endif
