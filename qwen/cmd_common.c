/* What the subcommands of `qwen` share (commands.h). */
#include "qwen/commands.h"
#include "tensor/rng.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Options ---- */

void cmd_add_options(cmd_options *o, const cli_option *rows) {
    /* The last row stays zero: it ends the table. */
    for (; rows->name && o->n < (int)(sizeof o->rows / sizeof o->rows[0]) - 1; rows++)
        o->rows[o->n++] = *rows;
}

void cmd_add_sampling(cmd_options *o, qwen_sampling *s) {
    const cli_option rows[] = {
        {"--temp", NULL, CLI_FLOAT, &s->temperature, "X", "temperature; 0 = always the likeliest token (0)",
         0},
        {"--top-k", NULL, CLI_INT, &s->top_k, "K", "choose among the K likeliest tokens; 0 = all", 0},
        {"--top-p", NULL, CLI_FLOAT, &s->top_p, "P", "choose among the likeliest tokens of total mass P", 0},
        {"--min-p", NULL, CLI_FLOAT, &s->min_p, "P", "leave out tokens below P times the likeliest", 0},
        {"--repeat-penalty", NULL, CLI_FLOAT, &s->repeat_penalty, "X",
         "penalty on tokens that occurred; 1 = none", 0},
        {0},
    };
    cmd_add_options(o, rows);
}

int cmd_parse(const char *sub, const char *summary, cmd_options *o, cmd_common *common, int argc, char **argv,
              const char **file, const char *file_help) {
    const cli_option rows[] = {
        {"-m", "--model", CLI_STRING, &common->dir, "DIR", "model directory (Hugging Face layout)", 1},
        {"--threads", NULL, CLI_INT, &common->threads, "N", "threads; 0 = one per core (default)", 0},
        {"--seed", NULL, CLI_U64, &common->seed, "N", "seed of everything random (42)", 0},
        {0},
    };
    const cli_option file_row[] = {{"FILE", NULL, CLI_STRING, NULL, NULL, file_help, 1}, {0}};
    const char *positional[1] = {NULL};
    if (file) cmd_add_options(o, file_row);
    cmd_add_options(o, rows);
    int leave = cli_parse("qwen", sub, summary, o->rows, argc, argv, positional, file ? 1 : 0, NULL);
    if (file) *file = positional[0];
    return leave;
}

/* ---- A model that writes ---- */

int cmd_open(cmd_session *s, const cmd_common *common, int with_tokenizer, tn_err *e) {
    memset(s, 0, sizeof *s);
    int code = cli_exec(&s->exec, common->threads, e);
    if (code) return code;
    code = with_tokenizer ? qwen_text_open(&s->text, common->dir, e)
                          : qwen_open_dir(&s->text.model, common->dir, e);
    if (code) return code;
    s->opts = qwen_opts_default(s->text.model);
    s->opts.exec = s->exec;
    return TN_OK;
}

int cmd_open_state(cmd_session *s, int context, tn_err *e) {
    if (context != 0) s->opts.context = context;
    return qwen_state_new(&s->state, s->text.model, &s->opts, e);
}

int cmd_open_sampler(cmd_session *s, const qwen_sampling *sampling, tn_err *e) {
    int vocab = qwen_model_config(s->text.model)->vocab;
    size_t bytes = qwen_sampler_bytes(vocab);
    s->sampler_mem = malloc(bytes);
    if (!s->sampler_mem) return tn_fail(e, TN_ENOMEM, "out of memory");
    return qwen_sampler_init(&s->sampler, sampling, vocab, s->sampler_mem, bytes, e);
}

void cmd_close(cmd_session *s) {
    qwen_state_free(s->state);
    free(s->sampler_mem);
    qwen_text_close(&s->text);
    memset(s, 0, sizeof *s);
}

/* Where streamed tokens go. */
typedef struct {
    const qwen_text *model;
    tok_stream stream;
    tn_buf text; /* characters that are complete and not printed yet */
    tok_ids *answer;
    int code; /* of the first failure, which e explains */
    tn_err *e;
} printer;

static int print_token(void *ctx, int32_t token) {
    printer *p = ctx;
    tn_buf_clear(&p->text);
    if (tok_ids_push(p->answer, token)) p->code = tn_fail(p->e, TN_ENOMEM, "out of memory");
    if (!p->code) p->code = qwen_text_push(p->model, &p->stream, token, &p->text, p->e);
    if (!p->code) p->code = cmd_print(p->text.data, p->text.len, p->e);
    return p->code;
}

int cmd_stream_answer(cmd_session *s, const int32_t *prompt, int n, int max_new, tok_ids *answer,
                      qwen_finish *finish, tn_err *e) {
    tn_err print_error;
    printer p = {.model = &s->text, .text = TN_BUF_INIT, .answer = answer, .e = &print_error};
    const qwen_gen_opts o = {max_new, s->text.stops, s->text.n_stops};
    int code = qwen_generate(s->state, &s->sampler, prompt, n, &o, 0, print_token, &p, finish, e);
    if (p.code) *e = print_error; /* says more than "stopped" */
    if (!code) {
        tn_buf_clear(&p.text);
        tok_stream_end(&p.stream, &p.text);
        code = cmd_print(p.text.data, p.text.len, e);
    }
    tn_buf_free(&p.text);
    return code;
}

int cmd_check_prompt(const cmd_session *s, const tok_ids *ids, tn_err *e) {
    int limit = qwen_max_context(s->text.model);
    if (ids->len == 0) return tn_fail(e, TN_EARG, "the prompt is empty");
    if (ids->len > (size_t)limit)
        return tn_fail(e, TN_ECTX, "the prompt has %zu tokens, more than the context of %d", ids->len, limit);
    return TN_OK;
}

/* ---- Input and output ---- */

int cmd_read_stdin(tn_buf *out, tn_err *e) {
    char chunk[1 << 14];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, stdin)) > 0) tn_buf_add(out, chunk, n);
    if (ferror(stdin)) return tn_fail(e, TN_EIO, "standard input: %s", strerror(errno));
    tn_buf_add(out, "", 0); /* so that data is never NULL */
    return out->failed ? tn_fail(e, TN_ENOMEM, "out of memory") : TN_OK;
}

int cmd_parse_ids(const char *text, tok_ids *ids, tn_err *e) {
    static const char separators[] = " \t\r\n,";
    for (const char *p = text + strspn(text, separators); *p; p += strspn(p, separators)) {
        char *end;
        errno = 0;
        long id = strtol(p, &end, 10);
        if (end == p || (*end && !strchr(separators, *end)) || errno || id < 0 || id > INT32_MAX) {
            size_t shown = strcspn(p, separators);
            return tn_fail(e, TN_EARG, "\"%.*s\" is no token id", (int)(shown < 40 ? shown : 40), p);
        }
        if (tok_ids_push(ids, (int32_t)id)) return tn_fail(e, TN_ENOMEM, "out of memory");
        p = end;
    }
    return TN_OK;
}

int cmd_print(const char *text, size_t len, tn_err *e) {
    if (len && fwrite(text, 1, len, stdout) == len && fflush(stdout) == 0) return TN_OK;
    return len ? tn_fail(e, TN_EIO, "standard output could not be written") : TN_OK;
}

int cmd_finish(int code, const tn_err *e) {
    if (ferror(stdout)) return 1; /* cli_main will say so */
    return code ? cli_error("qwen", e) : 0;
}
