/* Where the rows of a training run come from: activation files (shards.h), or a model that reads texts
 * (cmd_text_source.h).
 *
 * Rows have numbers, and a number stands for the same row every time it is asked for. So splitting, shuffling
 * and resuming are matters of numbers alone, and only the rows that are wanted now need memory.
 */
#ifndef SAE_SOURCE_H
#define SAE_SOURCE_H

#include "tensor/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    void *ctx;
    int d;           /* width of a row */
    uint32_t rows;   /* numbered 0 … rows-1 */
    uint32_t docs;   /* documents, numbered 0 … docs-1 */
    int context;     /* 1 + the largest position in a document */
    int prepend_bos; /* 1: every document begins with a token that is not the text's */
    const char *model_name, *hook_name;
    const char *name; /* of the file, for errors */
    /* The document that a row belongs to. */
    uint32_t (*doc)(void *ctx, uint32_t row);
    /* dst [n, d] = rows ids [n], which ascend. keep[i] (NULL: not asked for) is set to 0 for a row that is
     * left out as an outlier, else to 1. TN_ENUM for a row that is not finite. */
    int (*read)(void *ctx, const uint32_t *ids, size_t n, float *dst, unsigned char *keep, tn_err *e);
} sae_source;

#endif
