/* Activation files that are read as one: the shards of a capture, or several captures of one place.
 *
 * What is mapped stays in the files: neither rows nor columns are copied, and pages that have been passed are
 * given back, so that memory does not grow with the files.
 *
 * A capture that outgrew one shard wrote NAME-00001.safetensors, NAME-00002.safetensors, … instead of
 * NAME.safetensors. Each holds its number as metadata "shard", the last one also "last_shard".
 */
#ifndef SAE_SHARDS_H
#define SAE_SHARDS_H

#include "sae/source.h"
#include "tensor/safetensors.h"

#define SAE_ACTS_FORMAT "scalpel.activations.1"

/* Rows of a file whose documents and positions are in memory at a time. */
enum { SAE_SHARD_PIECE = 1 << 18 };

/* One file. */
typedef struct {
    char *path;
    tn_safetensors *file;
    size_t n;                       /* rows */
    tn_dtype dtype;                 /* of the rows: TN_F32 or TN_BF16 */
    const unsigned char *rows;      /* [n, d] */
    const unsigned char *doc, *pos; /* I32 [n], little-endian; documents are numbered in each file */
    const unsigned char *tokens;    /* I32 [n] */
    size_t docs;                    /* documents of its metadata */
    size_t first_row, first_doc;    /* numbers of its first among all files' */
    int number, last;               /* place in its capture, 0 when it is no shard; 1: the last one */
} sae_shard;

typedef struct {
    sae_shard *at; /* [count] */
    size_t count, cap;
    size_t rows, docs; /* of all files */
    int d, context;    /* width; 1 + the largest position */
    int prepend_bos;
    char model_name[128], hook_name[64];
    char name[224];        /* what errors call all of it */
    size_t current, piece; /* the source was asked for documents of this shard and piece last */
} sae_shards;

/* Opens files in the order given. A path is an activation file; NAME.safetensors where only its shards are
 * there, which have to be complete; or a directory, whose activation files are taken in the order of their
 * names. Checks all but the rows: shapes agree, widths and hook names are the same everywhere, documents and
 * positions are in range. */
int sae_shards_open(sae_shards *out, const char *const *paths, int count, tn_err *e);
void sae_shards_close(sae_shards *s);

/* The name of shard `number` (1 …) of a capture into `out`: "-00001" before the suffix. */
int sae_shard_path(char *dst, size_t cap, const char *out, int number, tn_err *e);

/* dst [d] = a row as F32. */
void sae_shards_row(const sae_shards *s, size_t row, float *dst);
/* The same as a training run's source, which uses s. Rows that are not finite are refused when they are read,
 * by file, row and column. */
sae_source sae_shards_source(sae_shards *s);

#endif
