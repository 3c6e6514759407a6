/* qwen chat: a conversation, streamed.
 *
 * Every turn renders the whole conversation through the chat template and compares it with what the KV cache
 * holds: the common beginning is kept, the cache is rewound to where the two part, and only the rest is
 * computed. Usually that is just the new message. The model's answers may come back from the template as
 * other tokens than it wrote; then a little more is computed, and the result is what a fresh start would
 * give.
 */
#include "qwen/commands.h"
#include "tensor/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char summary[] =
    "Talks. Each line of standard input is a message; the answer is printed as it is written. /reset\n"
    "forgets the conversation, /system TEXT does too and sets the system message, /quit (or the end of the\n"
    "input) leaves. Sampling as in Qwen2.5's own configuration: temperature 0.7, top-k 20, top-p 0.8,\n"
    "repetition penalty 1.05.";

typedef struct {
    cmd_session s;
    uint64_t seed;
    int max_new;
    int interactive; /* standard input is a terminal */
    char *system;    /* owned; NULL = the template's */
    tok_message *messages;
    size_t n_messages, cap;
    tok_ids cached; /* ids of the timeline, position by position */
    uint64_t turn;
} chat;

/* ---- The list of messages ---- */

static char *copy(const char *text) {
    size_t size = strlen(text) + 1;
    char *out = malloc(size);
    return out ? memcpy(out, text, size) : NULL;
}

static int add_message(chat *c, const char *role, const char *content, tn_err *e) {
    if (c->n_messages == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 16, bytes;
        tok_message *more = tn_mul_size(cap, sizeof *more, &bytes) ? NULL : realloc(c->messages, bytes);
        if (!more) return tn_fail(e, TN_ENOMEM, "out of memory");
        c->messages = more;
        c->cap = cap;
    }
    char *text = copy(content);
    if (!text) return tn_fail(e, TN_ENOMEM, "out of memory");
    c->messages[c->n_messages++] = (tok_message){role, text};
    return TN_OK;
}

static void drop_messages(chat *c, size_t keep) {
    while (c->n_messages > keep) free((char *)c->messages[--c->n_messages].content);
}

/* ---- One turn ---- */

/* Positions of the timeline that `ids` begins with; at least one token is left to compute. */
static size_t common_prefix(const chat *c, const tok_ids *ids) {
    size_t n = 0;
    while (n < c->cached.len && n + 1 < ids->len && c->cached.data[n] == ids->data[n]) n++;
    return n;
}

/* Notes on the conversation itself: for the eyes of the one who talks, not for the output. */
static void note(const char *text) {
    fprintf(stderr, "[%s]\n", text);
}

/* Answers the conversation `ids`; its last message is the user's. */
static int answer(chat *c, const tok_ids *ids, tn_err *e) {
    size_t keep = common_prefix(c, ids);
    tok_ids written = TOK_IDS_INIT;
    tn_buf text = TN_BUF_INIT;
    qwen_finish finish;
    qwen_rewind(c->s.state, (int)keep);
    qwen_sampler_reset(&c->s.sampler, qwen_item_seed(c->seed, c->turn++));
    for (size_t i = 0; i < keep; i++) qwen_sampler_accept(&c->s.sampler, ids->data[i]);
    int code =
        cmd_stream_answer(&c->s, ids->data + keep, (int)(ids->len - keep), c->max_new, &written, &finish, e);
    if (!code) code = cmd_print("\n", 1, e);
    /* The timeline now holds ids and those of the answer that were fed back. */
    c->cached.len = keep;
    size_t position = (size_t)qwen_position(c->s.state);
    for (size_t i = keep; i < position && !code; i++)
        if (tok_ids_push(&c->cached, i < ids->len ? ids->data[i] : written.data[i - ids->len]))
            code = tn_fail(e, TN_ENOMEM, "out of memory");
    if (!code) code = qwen_text_decode(&c->s.text, written.data, written.len, &text, e);
    if (!code) code = add_message(c, "assistant", text.data, e);
    if (!code && finish == QWEN_FINISH_LENGTH)
        note(written.len == (size_t)c->max_new ? "the answer was cut off at -n tokens"
                                               : "the context is full: /reset begins a new conversation");
    tok_ids_free(&written);
    tn_buf_free(&text);
    return code;
}

static int turn(chat *c, const char *message, tn_err *e) {
    tok_ids ids = TOK_IDS_INIT;
    int context = qwen_state_opts(c->s.state)->context;
    int code = add_message(c, "user", message, e);
    if (!code) code = tok_chat(c->s.text.tok, c->system, c->messages, c->n_messages, 1, &ids, e);
    if (!code && ids.len >= (size_t)context) {
        drop_messages(c, c->n_messages - 1);
        fprintf(stderr,
                "[the context is full: this message would make it %zu tokens of %d; it was left out; "
                "/reset begins a new conversation]\n",
                ids.len, context);
    } else if (!code) {
        code = answer(c, &ids, e);
    }
    tok_ids_free(&ids);
    return code;
}

/* ---- Lines and commands ---- */

/* The next line without its end; 0 at the end of the input. */
static int read_line(tn_buf *line) {
    int c;
    tn_buf_clear(line);
    while ((c = getchar()) != EOF && c != '\n') tn_buf_putc(line, (char)c);
    while (line->len && line->data[line->len - 1] == '\r') line->data[--line->len] = '\0';
    tn_buf_add(line, "", 0);
    return !line->failed && (c != EOF || line->len > 0);
}

/* A line that begins with "/"; returns 1 when the conversation is over. */
static int command(chat *c, const char *line, int *code, tn_err *e) {
    if (strcmp(line, "/quit") == 0) return 1;
    if (strcmp(line, "/reset") == 0) {
        drop_messages(c, 0);
        note("a new conversation");
    } else if (strncmp(line, "/system", 7) == 0 && (line[7] == ' ' || line[7] == '\0')) {
        drop_messages(c, 0);
        free(c->system);
        c->system = line[7] ? copy(line + 8) : NULL;
        if (line[7] && !c->system) *code = tn_fail(e, TN_ENOMEM, "out of memory");
        note(line[7] ? "a new conversation with this system message"
                     : "a new conversation with the default system message");
    } else {
        note("the commands are /reset, /system TEXT and /quit");
    }
    return 0;
}

static int converse(chat *c, tn_err *e) {
    tn_buf line = TN_BUF_INIT;
    int code = TN_OK, over = 0;
    while (!code && !over) {
        if (c->interactive) fputs("> ", stderr);
        if (!read_line(&line)) break;
        if (line.data[0] == '/')
            over = command(c, line.data, &code, e);
        else if (line.len)
            code = turn(c, line.data, e);
    }
    if (line.failed) code = tn_fail(e, TN_ENOMEM, "out of memory");
    tn_buf_free(&line);
    return code;
}

int cmd_chat(int argc, char **argv) {
    cmd_common common = CMD_COMMON_INIT;
    const char *system = NULL;
    int max_new = 512, context = 0;
    qwen_sampling sampling = qwen_sampling_default();
    sampling.temperature = 0.7f;
    sampling.top_k = 20;
    sampling.top_p = 0.8f;
    sampling.repeat_penalty = 1.05f;
    const cli_option rows[] = {
        {"--system", NULL, CLI_STRING, &system, "TEXT", "system message (the template's own; \"\" for none)",
         0},
        {"-n", NULL, CLI_INT, &max_new, "N", "most tokens of one answer (512)", 0},
        {"--ctx", NULL, CLI_INT, &context, "N", "tokens of the whole conversation (2048)", 0},
        {0},
    };
    cmd_options table = {0};
    cmd_add_options(&table, rows);
    cmd_add_sampling(&table, &sampling);
    int leave = cmd_parse("chat", summary, &table, &common, argc, argv, NULL, NULL);
    if (leave >= 0) return leave;
    if (max_new < 1) return cli_usage_error("qwen", "chat", "-n must be at least 1");

    tn_err e;
    chat c = {.seed = common.seed, .max_new = max_new, .interactive = tn_is_terminal(0)};
    int code = cmd_open(&c.s, &common, 1, &e);
    if (!code) code = cmd_open_state(&c.s, context, &e);
    if (!code) code = cmd_open_sampler(&c.s, &sampling, &e);
    if (!code && system && !(c.system = copy(system))) code = tn_fail(&e, TN_ENOMEM, "out of memory");
    if (!code) code = converse(&c, &e);
    drop_messages(&c, 0);
    free(c.messages);
    free(c.system);
    tok_ids_free(&c.cached);
    cmd_close(&c.s);
    return cmd_finish(code, &e);
}
