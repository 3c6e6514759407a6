/* qwen tokenize: standard input to token ids on one line, or ids back to text. */
#include "qwen/commands.h"
#include "tensor/json.h"
#include "tensor/os.h"

#include <string.h>

static const char summary[] = "Reads text from standard input and prints its token ids on one line.\n"
                              "With --decode it reads ids, separated by blanks or commas, and prints their "
                              "text byte for byte, special\n"
                              "tokens included, with nothing added. With --bench it prints how long opening "
                              "the tokenizer and\n"
                              "encoding the text once took.";

/* Ids are written by hand: a printf for each would take longer than finding it. */
static void put_id(tn_buf *out, int32_t id) {
    char digits[12];
    size_t at = sizeof digits;
    digits[--at] = ' ';
    do digits[--at] = (char)('0' + id % 10);
    while ((id /= 10) > 0);
    tn_buf_add(out, digits + at, sizeof digits - at);
}

static int encode(const tok_model *t, const tn_buf *in, unsigned flags, tn_err *e) {
    tok_ids ids = TOK_IDS_INIT;
    tn_buf out = TN_BUF_INIT;
    int code = tok_encode(t, in->data, in->len, flags, &ids, e);
    for (size_t i = 0; i < ids.len && !code; i++) put_id(&out, ids.data[i]);
    if (out.len) out.len--; /* no blank at the end of the line */
    tn_buf_putc(&out, '\n');
    if (!code && out.failed) code = tn_fail(e, TN_ENOMEM, "out of memory");
    if (!code) code = cmd_print(out.data, out.len, e);
    tok_ids_free(&ids);
    tn_buf_free(&out);
    return code;
}

/* The first pass over the text, in a tokenizer just opened. */
static int bench(const tok_model *t, const tn_buf *in, unsigned flags, double load_s, tn_err *e) {
    tok_ids ids = TOK_IDS_INIT;
    tn_buf text = TN_BUF_INIT;
    double start = tn_now();
    int code = tok_encode(t, in->data, in->len, flags, &ids, e);
    double encode_s = tn_now() - start;
    tn_json_out w = tn_json_writer(&text, 0);
    tn_json_begin_object(&w);
    tn_json_member_f64(&w, "load_s", load_s);
    tn_json_member_f64(&w, "encode_s", encode_s);
    tn_json_member_f64(&w, "mb_s", (double)in->len / 1e6 / encode_s);
    tn_json_member_i64(&w, "bytes", (int64_t)in->len);
    tn_json_member_i64(&w, "tokens", (int64_t)ids.len);
    tn_json_end_object(&w);
    tn_buf_putc(&text, '\n');
    if (!code && text.failed) code = tn_fail(e, TN_ENOMEM, "out of memory");
    if (!code) code = cmd_print(text.data, text.len, e);
    tok_ids_free(&ids);
    tn_buf_free(&text);
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
    int back = 0, special = 0, timed = 0;
    const cli_option rows[] = {
        {"--decode", NULL, CLI_FLAG, &back, NULL, "ids to text", 0},
        {"--special", NULL, CLI_FLAG, &special, NULL,
         "take special tokens written in the text, as <|im_end|>, for what they say", 0},
        {"--bench", NULL, CLI_FLAG, &timed, NULL, "print times and MB/s as JSON instead of the ids", 0},
        {0},
    };
    cmd_options options = {0};
    cmd_add_options(&options, rows);
    int leave = cmd_parse("tokenize", summary, &options, &common, argc, argv, NULL, NULL);
    if (leave >= 0) return leave;

    tn_err e;
    tok_model *t = NULL;
    tn_buf in = TN_BUF_INIT;
    double start = tn_now();
    int code = tok_open_dir(&t, common.dir, &e);
    double load_s = tn_now() - start;
    if (!code) code = cmd_read_stdin(&in, &e);
    unsigned flags = special ? TOK_SPECIAL : 0;
    if (!code && back)
        code = decode(t, &in, &e);
    else if (!code)
        code = timed ? bench(t, &in, flags, load_s, &e) : encode(t, &in, flags, &e);
    tn_buf_free(&in);
    tok_close(t);
    return cmd_finish(code, &e);
}
