/* A model that reads texts, as the source of a training run: rows are computed when they are asked for, and
 * nothing is stored. The same texts and options give the rows that sae capture writes. Commands only.
 *
 * Rows are numbered through the windows; those of outliers are among them and are left out when they are
 * read.
 */
#ifndef SAE_CMD_TEXT_SOURCE_H
#define SAE_CMD_TEXT_SOURCE_H

#include "qwen/batch.h"
#include "sae/attach.h"
#include "sae/cmd_texts.h"
#include "sae/commands.h"
#include "sae/source.h"

/* Rows of an option table; o is a text_source_opts. */
#define TEXT_SOURCE_OPTIONS(o)                                                                               \
    {"-m", "--model", CLI_STRING, &(o).model, "DIR", "--text: model that reads it", 0},                      \
        {"--layer", "-l", CLI_INT, &(o).layer, "L", "--text: layer whose residual stream is learnt", 0}, {   \
        "--site", NULL, CLI_STRING, &(o).site, "SITE",                                                       \
            "--text: resid_pre, attn_out, resid_mid, mlp_out or resid_post (default)", 0                     \
    }

typedef struct {
    const char *model, *site;
    int layer; /* -1: not given */
    texts_opts texts;
} text_source_opts;

typedef struct {
    writer w;
    text_windows texts;
    sae_capture capture;
    void *block;            /* behind capture */
    int per_window;         /* rows of a window */
    double limit;           /* rows longer than this are left out; 0: none */
    sae_acts_builder taken; /* a window's rows on their way */
    sae_acts_builder last;  /* those of the last window of the read before, in which the next one may begin */
    size_t last_window;     /* SIZE_MAX: none */
    char hook[64];
    cli_progress progress;
} text_source;

/* Opens the model, surveys the texts and, with --max-norm, measures the first rows. *out uses s; o must
 * outlive it. */
int text_source_open(text_source *s, const text_source_opts *o, int threads, sae_source *out, tn_err *e);
void text_source_close(text_source *s);

#endif
