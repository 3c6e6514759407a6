/* qwen generate: answers one prompt, streamed, or a file of prompts, resumable. */
#include "qwen/commands.h"
#include "qwen/batch.h"
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
    int max_new, raw, context, batch, ignore_eos;
    qwen_sampling sampling;
} options;

/* Room for a prompt of n tokens and its answer, as far as the model reaches. */
static int context_for(const options *o, const cmd_session *s, size_t n) {
    int limit = qwen_max_context(s->text.model);
    if (o->context) return o->context;
    return n < (size_t)limit && o->max_new < limit - (int)n ? (int)n + o->max_new : limit;
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
    if (!code) code = cmd_open_state(s, context_for(o, s, prompt.len), e);
    if (!code) code = cmd_open_sampler(s, &o->sampling, e);
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
    tn_json_key(&w, "ignore_eos");
    tn_json_put_bool(&w, o->ignore_eos);
    qwen_sampling_put(&w, &o->sampling);
    tn_json_end_object(&w);
}

/* A run over a file. */
typedef struct {
    const options *o;
    cmd_session *s;
    const qwen_prompts *prompts;
    qwen_item *items; /* [prompts->count] */
    cmd_stories stories;
    size_t before; /* stories that an earlier run wrote */
    size_t now;    /* stories written here, and the tokens of all of them */
    double tokens;
    double start;
    cli_progress bar;
} file_run;

/* Puts a finished story into the file. */
static int keep_story(void *ctx, const qwen_done *done, tn_err *e) {
    file_run *r = ctx;
    size_t index = r->before + done->index;
    tn_buf text = TN_BUF_INIT, line = TN_BUF_INIT;
    int code = qwen_text_decode(&r->s->text, done->tokens, (size_t)done->n, &text, e);
    if (!code) {
        const qwen_answer a = {.text = text.data,
                               .text_len = text.len,
                               .tokens = done->tokens,
                               .n_tokens = (size_t)done->n,
                               .finish = done->finish == QWEN_FINISH_STOP ? "stop" : "length",
                               .seed = r->items[index].seed};
        code = qwen_story_put(&line, &r->prompts->items[index], &a, e);
    }
    if (!code) code = cmd_stories_add(&r->stories, index, &line, e);
    tn_buf_free(&text);
    tn_buf_free(&line);
    char note[48];
    r->tokens += done->n;
    snprintf(note, sizeof note, "%.0f tokens/s", r->tokens / (tn_now() - r->start));
    cli_progress_update(&r->bar, (double)++r->now, note);
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
    file_run r = {.o = o, .s = s, .prompts = prompts, .start = tn_now()};
    tn_buf settings = TN_BUF_INIT;
    describe(o, s, &settings);
    r.items = calloc(prompts->count + 1, sizeof *r.items); /* + 1: an empty file is no lack of memory */
    int code = settings.failed || !r.items ? tn_fail(e, TN_ENOMEM, "out of memory")
                                           : cmd_stories_open(&r.stories, o->out, settings.data, prompts, e);
    if (!code) {
        for (size_t i = 0; i < prompts->count; i++)
            r.items[i] = (qwen_item){.prompt = ids[i].data,
                                     .n_prompt = (int)ids[i].len,
                                     .seed = qwen_item_seed(o->common.seed, i)};
        const qwen_batch_opts batch = {.gen = {o->max_new, s->text.stops, s->text.n_stops},
                                       .sampling = o->sampling,
                                       .share_prefixes = 1};
        r.before = r.stories.done;
        r.bar = cli_progress_start("generate", "stories", (double)(prompts->count - r.before));
        code = qwen_batch_run(s->state, r.items + r.before, prompts->count - r.before, &batch, keep_story, &r,
                              e);
        cli_progress_end(&r.bar);
        if (!code) code = cmd_stories_finish(&r.stories, e);
        cmd_stories_close(&r.stories);
    }
    free(r.items);
    tn_buf_free(&settings);
    return code;
}

static int generate_file(const options *o, cmd_session *s, tn_err *e) {
    qwen_prompts prompts;
    size_t longest = 0;
    int code = qwen_prompts_read(&prompts, o->jsonl, e);
    if (code) return code;
    tok_ids *ids = calloc(prompts.count + 1, sizeof *ids); /* + 1: an empty file is no lack of memory */
    code = ids ? encode_all(o, s, &prompts, ids, &longest, e) : tn_fail(e, TN_ENOMEM, "out of memory");
    if (!code) {
        int context = context_for(o, s, longest);
        s->opts.sequences = o->batch ? o->batch : qwen_batch_sequences(s->text.model, context, prompts.count);
        s->opts.logit_rows = s->opts.sequences;
        code = cmd_open_state(s, context, e);
    }
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
        {"--batch", NULL, CLI_INT, &o.batch, "N", "prompts of --jsonl at once (what memory allows, up to 32)",
         0},
        {"--ignore-eos", NULL, CLI_FLAG, &o.ignore_eos, NULL, "write -n tokens, whatever they are", 0},
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
    if (o.batch < 0) return cli_usage_error("qwen", "generate", "--batch must be at least 1");
    if (o.context < 0) return cli_usage_error("qwen", "generate", "--ctx must be at least 1");
    o.sampling.seed = o.common.seed;

    tn_err e;
    cmd_session s = {0};
    int code = qwen_sampling_check(&o.sampling, &e);
    if (!code) code = cmd_open(&s, &o.common, 1, &e);
    if (!code && o.ignore_eos) s.text.n_stops = 0;
    if (!code) code = o.jsonl ? generate_file(&o, &s, &e) : generate_one(&o, &s, &e);
    cmd_close(&s);
    return cmd_finish(code, &e);
}
