/* Activations for analysis: rows of the residual stream with the token, document and position they came from.
 *
 * A file is safetensors: activations F32 or BF16 [N, D], tokens I32 [N], doc I32 [N], pos I32 [N];
 * __metadata__: format "scalpel.activations.1", model_name, hook_name, positions, documents (a JSON array of
 * {"label", "prompt", "text"}, one per doc) and whatever describes how the rows came about (docs/FORMATS.md).
 */
#ifndef SAE_ACTS_H
#define SAE_ACTS_H

#include "sae/shards.h"

typedef struct {
    char *label, *prompt, *text; /* NUL-terminated, "" when absent */
} sae_doc;

typedef struct {
    sae_shards files;            /* the rows stay there */
    size_t n;                    /* rows */
    int d;                       /* width */
    int32_t *tokens, *doc, *pos; /* [n] each, owned copies */
    sae_doc *docs;               /* [n_docs] */
    size_t n_docs;
    char model_name[128], hook_name[64];
} sae_acts;

/* Opens and checks a path as sae_shards_open does; every activation is finite (TN_ENUM names the first row
 * that is not). */
int sae_acts_open(sae_acts *out, const char *path, tn_err *e);
void sae_acts_close(sae_acts *a);
/* dst [count, d] = rows idx[0 … count-1] as F32. */
void sae_acts_gather(const sae_acts *a, const uint32_t *idx, size_t count, float *dst);

/* Growing in memory while a capture runs, then written in one go. */
typedef struct {
    int d;
    size_t n, cap;
    float *rows; /* [n, d] */
    int32_t *tokens, *doc, *pos;
} sae_acts_builder;
void sae_acts_builder_free(sae_acts_builder *b);
int sae_acts_append(sae_acts_builder *b, const float *row, int32_t token, int32_t doc, int32_t pos);
/* Writes the file (dtype TN_F32 or TN_BF16). `extra` are further metadata pairs. */
int sae_acts_write(const sae_acts_builder *b, const char *path, tn_dtype dtype, const char *model_name,
                   const char *hook_name, const sae_doc *docs, size_t n_docs, const tn_pair *extra,
                   size_t n_extra, tn_err *e);

#endif
