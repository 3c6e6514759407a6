/* qwen tokenize: standard input to token ids on one line, or ids back to text. */
#include "qwen/commands.h"

#include <stdio.h>
#include <string.h>

static const char summary[] = "Reads text from standard input and prints its token ids on one line.\n"
                              "With --decode it reads ids, separated by blanks or commas, and prints their "
                              "text byte for byte, special\n"
                              "tokens included, with nothing added.";

static int encode(const tok_model *t, const tn_buf *in, int special, tn_err *e) {
    tok_ids ids = TOK_IDS_INIT;
    int code = tok_encode(t, in->data, in->len, special ? TOK_SPECIAL : 0, &ids, e);
    for (size_t i = 0; i < ids.len && !code; i++) printf(i ? " %ld" : "%ld", (long)ids.data[i]);
    if (!code) putchar('\n');
    tok_ids_free(&ids);
    return code;
}

static int decode(const tok_model *t, const tn_buf *in, tn_err *e) {
    tok_ids ids = TOK_IDS_INIT;
    tn_buf text = TN_BUF_INIT;
    int code = cmd_parse_ids(in->data, &ids, e);
    if (!code) code = tok_decode(t, ids.data, ids.len, 0, &text, e);
    if (!code && text.failed) code = tn_fail(e, TN_ENOMEM, "out of memory");
    if (!code) code = cmd_print(text.data, text.len, e);
    tok_ids_free(&ids);
    tn_buf_free(&text);
    return code;
}

int cmd_tokenize(int argc, char **argv) {
    cmd_common common = CMD_COMMON_INIT;
    int back = 0, special = 0;
    const cli_option rows[] = {
        {"--decode", NULL, CLI_FLAG, &back, NULL, "ids to text", 0},
        {"--special", NULL, CLI_FLAG, &special, NULL,
         "take special tokens written in the text, as <|im_end|>, for what they say", 0},
        {0},
    };
    cmd_options options = {0};
    cmd_add_options(&options, rows);
    int leave = cmd_parse("tokenize", summary, &options, &common, argc, argv, NULL, NULL);
    if (leave >= 0) return leave;

    tn_err e;
    tok_model *t = NULL;
    tn_buf in = TN_BUF_INIT;
    int code = tok_open_dir(&t, common.dir, &e);
    if (!code) code = cmd_read_stdin(&in, &e);
    if (!code) code = back ? decode(t, &in, &e) : encode(t, &in, special, &e);
    tn_buf_free(&in);
    tok_close(t);
    return cmd_finish(code, &e);
}
