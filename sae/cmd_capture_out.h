/* What sae capture writes: one activation file for each layer, or shards when there is too much for one.
 *
 * Documents come in order, with their rows at every layer. When the rows of a layer outgrow a shard, every
 * layer writes the documents so far as its next shard, so that shards of the same number hold the same
 * documents. Each appears under its name when it is complete; a capture that is killed goes on behind the
 * last shard that all layers have. Commands only.
 */
#ifndef SAE_CMD_CAPTURE_OUT_H
#define SAE_CMD_CAPTURE_OUT_H

#include "sae/acts.h"
#include "tensor/cli.h"

enum { MAX_LAYERS = CLI_MAX_STRINGS };

typedef struct {
    char path[1024];       /* of the file, or of the shards without their numbers */
    char hook[64];         /* name of the place */
    sae_acts_builder rows; /* of the shard that is being filled; set d */
    double limit;          /* rows longer than this are left out; 0: not known yet, or none */
    size_t dropped;        /* such rows in this shard */
    size_t written;        /* rows in the shards before */
} out_layer;

typedef struct {
    out_layer layers[MAX_LAYERS];
    int n_layers;
    /* set by the caller: */
    const char *model_name;
    tn_dtype dtype;
    size_t shard_rows;    /* most rows of a shard */
    float max_norm;       /* multiple of the median length, 0: none */
    const tn_pair *extra; /* [n_extra] metadata: how the rows came about */
    size_t n_extra;
    /* own: */
    sae_doc *docs; /* [n_docs] of the shard that is being filled; texts are owned */
    size_t n_docs, cap_docs;
    size_t first_doc; /* documents in the shards before */
    int shards;       /* written */
    int complete;     /* the last shard is there already */
} capture_out;

/* Makes the directories of the files and looks for shards of an earlier capture. With resume it is continued:
 * *done is how many documents they hold (all of them are there when `complete`); TN_EARG when it was another
 * capture. Without, shards are refused.
 */
int capture_out_begin(capture_out *o, int resume, size_t *done, tn_err *e);
/* Takes the next document, whose text becomes the output's, and moves its rows (rows[i] for layer i) into it.
 */
int capture_out_add(capture_out *o, sae_doc doc, const sae_acts_builder *rows, tn_err *e);
/* Writes what is left. TN_EARG when no row at all was captured. */
int capture_out_end(capture_out *o, tn_err *e);
void capture_out_free(capture_out *o);

#endif
