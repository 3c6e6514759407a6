/* Text files as windows of tokens, for sae capture and sae train. Commands only. */
#ifndef SAE_CMD_TEXTS_H
#define SAE_CMD_TEXTS_H

#include "tensor/cli.h"
#include "tensor/json.h"
#include "tokenizer/tokenizer.h"

/* Rows of an option table; o is a texts_opts. */
#define TEXTS_OPTIONS(o)                                                                                     \
    {"--text",   NULL,   CLI_STRINGS,                                                                        \
     &(o).paths, "FILE", "text to read, JSONL with \"text\" (*.jsonl) or plain UTF-8; may be repeated",      \
     0},                                                                                                     \
        {"--ctx", NULL, CLI_INT, &(o).ctx, "N", "--text: tokens of a window (128)", 0},                      \
        {"--bos",  NULL,    CLI_STRING,                                                                      \
         &(o).bos, "TOKEN", "--text: begin every window with this token, such as \"<|endoftext|>\"",         \
         0},                                                                                                 \
        {"--skip-first",                                                                                     \
         NULL,                                                                                               \
         CLI_FLAG,                                                                                           \
         &(o).skip_first,                                                                                    \
         NULL,                                                                                               \
         "leave out position 0 of every window or prompt (do so with Qwen)",                                 \
         0},                                                                                                 \
    {                                                                                                        \
        "--max-norm", NULL, CLI_FLOAT, &(o).max_norm, "M",                                                   \
            "leave out rows longer than M times the median (10 does well with Qwen)", 0                      \
    }

typedef struct {
    cli_strings paths;
    int ctx; /* 0: not given */
    const char *bos;
    int skip_first;
    float max_norm; /* 0: none */
} texts_opts;

/* All texts one after the other: a text, a separator, the next text, …; cut into windows, a rest below a
 * window left out. */
typedef struct {
    tok_ids tokens; /* four bytes a token: all that is held of the texts */
    size_t ctx;     /* tokens of a window, of which the first is opts.bos when there is one */
    size_t windows;
    int32_t bos, separator; /* -1: none */
} text_windows;

/* TN_EARG unless the options make sense, with --text or without. */
int texts_check(const texts_opts *o, tn_err *e);
/* Reads and encodes the files. The separator is "<|endoftext|>", or else the tokenizer's end token. */
int texts_read(text_windows *t, const texts_opts *o, const tok_model *tok, tn_err *e);
void texts_free(text_windows *t);
static inline const int32_t *texts_window(const text_windows *t, size_t i) {
    return t->tokens.data + i * t->ctx;
}

#endif
