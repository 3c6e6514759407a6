/* Text files as windows of tokens, for sae capture and sae train. Commands only.
 *
 * All texts one after the other: a text, a separator, the next text, …; cut into windows, a rest below a
 * window left out.
 *
 * Memory does not grow with the texts. Opening reads them once, counts their tokens and notes where pieces
 * of some 100 KB begin; the tokens of a window are found by encoding its piece again, which costs little
 * beside running a model on them.
 */
#ifndef SAE_CMD_TEXTS_H
#define SAE_CMD_TEXTS_H

#include "tensor/cli.h"
#include "tensor/json.h"
#include "tensor/os.h"
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

/* A stretch of a file: part of a plain text, or lines of JSONL. */
typedef struct {
    int file;     /* of opts.paths */
    size_t begin; /* byte of the file */
    size_t line;  /* of the file, from 1; JSONL only */
    size_t token; /* tokens of the texts before it */
} text_piece;

typedef struct {
    size_t ctx;     /* tokens of a window, of which the first is opts.bos when there is one */
    size_t windows; /* that are full */
    size_t tokens;  /* of all windows and the rest */
    /* own: */
    const texts_opts *opts;
    const tok_model *tok;
    int32_t bos, separator; /* -1: none */
    text_piece *pieces;     /* [n_pieces], and one that stands for the end */
    size_t n_pieces, cap;
    tn_map map;   /* of file `mapped` */
    int mapped;   /* -1: none */
    tok_ids held; /* tokens of piece number `held_piece` */
    size_t held_piece;
    tn_buf line; /* text of a line of JSONL */
} text_windows;

/* TN_EARG unless the options make sense, with --text or without. */
int texts_check(const texts_opts *o, tn_err *e);
/* Reads the files, which must not change meanwhile. o and tok must outlive *t, which is to be closed whatever
 * is returned. The separator is "<|endoftext|>", or else the tokenizer's end token. */
int texts_open(text_windows *t, const texts_opts *o, const tok_model *tok, tn_err *e);
/* dst [ctx] = the tokens of window i. Windows that are asked for in order are read in one pass. */
int texts_window(text_windows *t, size_t i, int32_t *dst, tn_err *e);
void texts_close(text_windows *t);

#endif
