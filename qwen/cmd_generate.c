/* qwen generate: answers one prompt, streamed, or a file of prompts, resumable. */
#include "qwen/commands.h"
#include "qwen/cmd_stories.h"
#include "tensor/json.h"
#include "tensor/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char summary[] = "Answers a prompt and prints the text as it is written.\n"
                              "With --jsonl it answers a file of prompts, one object a line: {\"prompt\": "
                              "\"...\", \"label\": \"car\"}, and\n"
                              "writes the same objects with \"text\", \"tokens\" (generated ids), \"finish\" "
                              "(\"stop\" or \"length\") and\n"
                              "\"seed\" to OUT. Each line has its own seed, made of --seed and its number. "
                              "Work lies in OUT.part until it\n"
                              "is complete; the same command continues it.";

typedef struct {
    cmd_common common;
    const char *prompt, *jsonl, *out, *system;
    int max_new, raw, context;
    qwen_sampling sampling;
} options;

/* Room for a prompt of n tokens and its answer, as far as the model reaches. */
static int context_for(const options *o, const cmd_session *s, size_t n) {
    int limit = qwen_max_context(s->text.model);
    if (o->context) return o->context;
    return n < (size_t)limit && o->max_new < limit - (int)n ? (int)n + o->max_new : limit;
}

/* Opens the timeline for prompts of at most `longest` tokens. */
static int open_state(const options *o, cmd_session *s, size_t longest, tn_err *e) {
    int code = cmd_open_state(s, context_for(o, s, longest), e);
    return code ? code : cmd_open_sampler(s, &o->sampling, e);
}

/* ids of a prompt that fits in the context. */
static int encode(const options *o, const cmd_session *s, const char *prompt, tok_ids *ids, tn_err *e) {
    int code = qwen_text_prompt(&s->text, prompt, o->raw, o->system, ids, e);
    int context = context_for(o, s, ids->len);
    if (!code && context >= 0 && ids->len > (size_t)context)
        code =
            tn_fail(e, TN_ECTX, "the prompt has %zu tokens, more than the context of %d", ids->len, context);
    return code;
}

/* ---- One prompt, streamed ---- */

static int generate_one(const options *o, cmd_session *s, tn_err *e) {
    tok_ids prompt = TOK_IDS_INIT, answer = TOK_IDS_INIT;
    int code = encode(o, s, o->prompt, &prompt, e);
    if (!code) code = open_state(o, s, prompt.len, e);
    double start = tn_now();
    if (!code) code = cmd_stream_answer(s, prompt.data, (int)prompt.len, o->max_new, &answer, NULL, e);
    if (!code) code = cmd_print("\n", 1, e);
    if (!code && tn_is_terminal(2))
        fprintf(stderr, "[%zu tokens read, %zu written, %.2f s]\n", prompt.len, answer.len, tn_now() - start);
    tok_ids_free(&prompt);
    tok_ids_free(&answer);
    return code;
}

/* ---- A file of prompts ---- */

/* Everything that a story depends on besides its prompt, as one line of JSON. */
static void describe(const options *o, const cmd_session *s, tn_buf *out) {
    tn_json_out w = tn_json_writer(out, 0);
    tn_json_begin_object(&w);
    tn_json_key(&w, "model");
    tn_json_puts(&w, qwen_model_name(s->text.model));
    tn_json_key(&w, "raw");
    tn_json_put_bool(&w, o->raw);
    tn_json_key(&w, "system");
    if (o->system)
        tn_json_puts(&w, o->system);
    else
        tn_json_put_null(&w);
    tn_json_key(&w, "max_new");
    tn_json_put_i64(&w, o->max_new);
    tn_json_key(&w, "context");
    tn_json_put_i64(&w, o->context);
    qwen_sampling_put(&w, &o->sampling);
    tn_json_end_object(&w);
}

static int keep_token(void *ctx, int32_t token) {
    return tok_ids_push(ctx, token);
}

/* Answers prompt [ids] and appends its line to *line. */
static int write_story(const options *o, cmd_session *s, const qwen_prompt *prompt, const tok_ids *ids,
                       uint64_t seed, tn_buf *line, tn_err *e) {
    tok_ids answer = TOK_IDS_INIT;
    tn_buf text = TN_BUF_INIT;
    qwen_finish finish;
    const qwen_gen_opts gen = {o->max_new, s->text.stops, s->text.n_stops};
    qwen_rewind(s->state, 0);
    qwen_sampler_reset(&s->sampler, seed);
    int code = qwen_generate(s->state, &s->sampler, ids->data, (int)ids->len, &gen, 0, keep_token, &answer,
                             &finish, e);
    if (!code) code = qwen_text_decode(&s->text, answer.data, answer.len, &text, e);
    if (!code) {
        const qwen_answer a = {.text = text.data,
                               .text_len = text.len,
                               .tokens = answer.data,
                               .n_tokens = answer.len,
                               .finish = finish == QWEN_FINISH_STOP ? "stop" : "length",
                               .seed = seed};
        code = qwen_story_put(line, prompt, &a, e);
    }
    tok_ids_free(&answer);
    tn_buf_free(&text);
    return code;
}

/* ids [count] of all prompts; raises *longest to the longest. Mistakes show before the work begins. */
static int encode_all(const options *o, const cmd_session *s, const qwen_prompts *prompts, tok_ids *ids,
                      size_t *longest, tn_err *e) {
    for (size_t i = 0; i < prompts->count; i++) {
        int code = encode(o, s, prompts->items[i].prompt, &ids[i], e);
        if (code) {
            char where[1100];
            snprintf(where, sizeof where, "%s: line %zu", o->jsonl, prompts->items[i].line);
            return tn_fail_in(e, code, where);
        }
        if (ids[i].len > *longest) *longest = ids[i].len;
    }
    return TN_OK;
}

static int answer_all(const options *o, cmd_session *s, const qwen_prompts *prompts, const tok_ids *ids,
                      tn_err *e) {
    cmd_stories stories;
    tn_buf line = TN_BUF_INIT;
    describe(o, s, &line);
    int code = line.failed ? tn_fail(e, TN_ENOMEM, "out of memory")
                           : cmd_stories_open(&stories, o->out, line.data, prompts, e);
    if (code) {
        tn_buf_free(&line);
        return code;
    }
    size_t before = stories.done;
    cli_progress bar = cli_progress_start("generate", "stories", (double)(prompts->count - before));
    while (!code && stories.done < prompts->count) {
        size_t i = stories.done;
        tn_buf_clear(&line);
        code = write_story(o, s, &prompts->items[i], &ids[i], qwen_item_seed(o->common.seed, i), &line, e);
        if (!code) code = cmd_stories_add(&stories, &line, e);
        cli_progress_update(&bar, (double)(stories.done - before), NULL);
    }
    cli_progress_end(&bar);
    if (!code) code = cmd_stories_finish(&stories, e);
    cmd_stories_close(&stories);
    tn_buf_free(&line);
    return code;
}

static int generate_file(const options *o, cmd_session *s, tn_err *e) {
    qwen_prompts prompts;
    size_t longest = 0;
    int code = qwen_prompts_read(&prompts, o->jsonl, e);
    if (code) return code;
    tok_ids *ids = calloc(prompts.count + 1, sizeof *ids); /* + 1: an empty file is no lack of memory */
    code = ids ? encode_all(o, s, &prompts, ids, &longest, e) : tn_fail(e, TN_ENOMEM, "out of memory");
    if (!code) code = open_state(o, s, longest, e);
    if (!code) code = answer_all(o, s, &prompts, ids, e);
    for (size_t i = 0; ids && i < prompts.count; i++) tok_ids_free(&ids[i]);
    free(ids);
    qwen_prompts_free(&prompts);
    return code;
}

int cmd_generate(int argc, char **argv) {
    options o = {.common = CMD_COMMON_INIT, .max_new = 128, .sampling = qwen_sampling_default()};
    const cli_option rows[] = {
        {"-p", "--prompt", CLI_STRING, &o.prompt, "TEXT", "the user's message", 0},
        {"--jsonl", NULL, CLI_STRING, &o.jsonl, "FILE", "a file of prompts instead", 0},
        {"-o", "--output", CLI_STRING, &o.out, "OUT", "where the stories of --jsonl go", 0},
        {"-n", NULL, CLI_INT, &o.max_new, "N", "most tokens to write (128)", 0},
        {"--raw", NULL, CLI_FLAG, &o.raw, NULL, "continue the text as it stands, without chat template", 0},
        {"--system", NULL, CLI_STRING, &o.system, "TEXT",
         "system message (the template's own; \"\" for none)", 0},
        {"--ctx", NULL, CLI_INT, &o.context, "N", "room for prompt and answer (what they need)", 0},
        {0},
    };
    cmd_options table = {0};
    cmd_add_options(&table, rows);
    cmd_add_sampling(&table, &o.sampling);
    int leave = cmd_parse("generate", summary, &table, &o.common, argc, argv, NULL, NULL);
    if (leave >= 0) return leave;
    if (!o.prompt == !o.jsonl) return cli_usage_error("qwen", "generate", "give either -p or --jsonl");
    if (!o.jsonl != !o.out) return cli_usage_error("qwen", "generate", "--jsonl and -o belong together");
    if (o.max_new < 1) return cli_usage_error("qwen", "generate", "-n must be at least 1");
    if (o.context < 0) return cli_usage_error("qwen", "generate", "--ctx must be at least 1");
    o.sampling.seed = o.common.seed;

    tn_err e;
    cmd_session s = {0};
    int code = qwen_sampling_check(&o.sampling, &e);
    if (!code) code = cmd_open(&s, &o.common, 1, &e);
    if (!code) code = o.jsonl ? generate_file(&o, &s, &e) : generate_one(&o, &s, &e);
    cmd_close(&s);
    return cmd_finish(code, &e);
}
