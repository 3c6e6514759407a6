/* sae bench: what an SAE in the forward pass costs.
 *
 * The model writes -n tokens as it is and -n tokens with the SAE in place of the residual stream, in turns,
 * --repeats times each, after one turn of each that is not counted. The medians are compared.
 */
#include "sae/attach.h"
#include "sae/cmd_placed.h"
#include "sae/commands.h"
#include "tensor/json.h"
#include "tensor/os.h"
#include "tensor/rng.h"
#include "tensor/spread.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_REPEATS = 100, PROMPT = 16 /* random tokens before those that are timed */ };

typedef struct {
    const char *model_dir, *sae_dir, *encoder;
    int tokens, repeats, threads, json;
    uint64_t seed;
    /* from here on: opened */
    tn_exec exec;
    qwen_model *model;
    qwen_state *state;
    placed_sae sae;
    sae_steer steer;
    void *block; /* of steer */
    int32_t prompt[PROMPT];
    double active, rows;                             /* latents that fired; rows that were encoded */
    double plain[MAX_REPEATS], spliced[MAX_REPEATS]; /* tokens per second */
} job;

/* Counts the latents that fire; runs once, outside the timed turns. */
static int count_hook(void *ctx, const qwen_tap *tap) {
    job *j = ctx;
    int code = sae_steer_hook(&j->steer, tap);
    for (int i = 0; i < tap->n * j->sae.model.cfg.d_sae; i++) j->active += j->steer.z[i] != 0.0f;
    j->rows += tap->n;
    return code;
}

static int open_all(job *j, tn_err *e) {
    int code = cli_exec(&j->exec, j->threads, e);
    if (!code) code = qwen_open_dir(&j->model, j->model_dir, e);
    if (code) return code;
    const qwen_config *c = qwen_model_config(j->model);
    qwen_opts o = qwen_opts_default(j->model);
    o.exec = j->exec;
    o.context = PROMPT + j->tokens;
    code = qwen_state_new(&j->state, j->model, &o, e);
    if (!code) code = placed_sae_open(&j->sae, j->sae_dir, j->encoder, j->exec, j->model, e);
    if (code) return code;
    size_t bytes = sae_steer_bytes(&j->sae.model, 0, PROMPT);
    if (!(j->block = malloc(bytes))) return tn_fail(e, TN_ENOMEM, "out of memory");
    tn_rng rng = tn_rng_seed(j->seed);
    for (int i = 0; i < PROMPT; i++) j->prompt[i] = (int32_t)tn_rng_below(&rng, (uint64_t)c->vocab);
    code = sae_steer_init(&j->steer, &j->sae.model, NULL, j->sae.layer, SAE_POS_ALL, 0, PROMPT, c->hidden,
                          j->block, bytes, e);
    return code ? tn_fail_in(e, code, j->sae_dir) : TN_OK;
}

/* One turn with this hook, or without any; *rate is tokens per second. */
static int turn(job *j, qwen_hook_fn fn, void *ctx, double *rate, tn_err *e) {
    const int vocab = qwen_model_config(j->model)->vocab;
    const qwen_hook hook = {j->sae.site, j->sae.layer, j->sae.layer, fn, ctx};
    const float *logits;
    qwen_rewind(j->state, 0);
    int code = qwen_set_hooks(j->state, &hook, fn != NULL, e);
    if (!code) code = qwen_forward(j->state, j->prompt, PROMPT, 0, &logits, e);
    const double start = tn_now();
    for (int i = 0; i < j->tokens && !code; i++) {
        const int32_t token = qwen_likeliest(logits, vocab);
        code = qwen_forward(j->state, &token, 1, 0, &logits, e);
    }
    *rate = j->tokens / (tn_now() - start);
    return code;
}

static int run_all(job *j, tn_err *e) {
    double warm_up;
    cli_progress bar = cli_progress_start("bench", "turns", j->repeats);
    int code = turn(j, NULL, NULL, &warm_up, e);
    if (!code) code = turn(j, count_hook, j, &warm_up, e);
    for (int i = 0; i < j->repeats && !code; i++) {
        code = turn(j, NULL, NULL, &j->plain[i], e);
        if (!code) code = turn(j, sae_steer_hook, &j->steer, &j->spliced[i], e);
        cli_progress_update(&bar, i + 1, NULL);
    }
    cli_progress_end(&bar);
    return code;
}

static int report(job *j, tn_err *e) {
    const tn_spread plain = tn_spread_of(j->plain, j->repeats),
                    spliced = tn_spread_of(j->spliced, j->repeats);
    const double l0 = j->active / j->rows, slower = 100 * (plain.median / spliced.median - 1);
    if (!j->json) {
        printf("without the SAE  %9.2f tokens/s  (%.2f to %.2f)\n", plain.median, plain.least, plain.most);
        printf("with the SAE     %9.2f tokens/s  (%.2f to %.2f)\n", spliced.median, spliced.least,
               spliced.most);
        printf("%.1f %% more time per token; %d -> %d, %s encoder, %.1f latents active, %s kernels, median "
               "of %d\n",
               slower, j->sae.model.cfg.d_in, j->sae.model.cfg.d_sae, j->encoder, l0, j->exec.k->name,
               j->repeats);
        return TN_OK;
    }
    tn_buf text = TN_BUF_INIT;
    tn_json_out w = tn_json_writer(&text, 0);
    tn_json_begin_object(&w);
    tn_json_member_f64(&w, "plain_tok_s", plain.median);
    tn_json_member_f64(&w, "sae_tok_s", spliced.median);
    tn_json_member_f64(&w, "more_time_percent", slower);
    tn_json_member_f64(&w, "l0", l0);
    tn_json_member_i64(&w, "d_in", j->sae.model.cfg.d_in);
    tn_json_member_i64(&w, "d_sae", j->sae.model.cfg.d_sae);
    tn_json_member_text(&w, "encoder", j->encoder);
    tn_json_member_text(&w, "kernels", j->exec.k->name);
    tn_json_member_i64(&w, "threads", j->exec.threads);
    tn_json_member_i64(&w, "repeats", j->repeats);
    tn_json_end_object(&w);
    tn_buf_putc(&text, '\n');
    if (text.failed) return tn_fail(e, TN_ENOMEM, "out of memory");
    fwrite(text.data, 1, text.len, stdout);
    tn_buf_free(&text);
    return TN_OK;
}

static void close_all(job *j) {
    free(j->block);
    sae_free(&j->sae.model);
    qwen_state_free(j->state);
    qwen_close(j->model);
}

static const char summary[] =
    "Measures decoding without and with an SAE in place of the residual stream, in turns, and prints the\n"
    "medians. Needs no tokenizer.";

int cmd_bench(int argc, char **argv) {
    job j = {.encoder = "f32", .tokens = 64, .repeats = 5, .seed = 42};
    const cli_option options[] = {
        {"-m", "--model", CLI_STRING, &j.model_dir, "DIR", "Hugging Face model directory", 1},
        {"-s", "--sae", CLI_STRING, &j.sae_dir, "SAEDIR", "SAE directory", 1},
        ENCODER_OPTION(j.encoder),
        {"-n", NULL, CLI_INT, &j.tokens, "N", "tokens a turn (64)", 0},
        {"--repeats", NULL, CLI_INT, &j.repeats, "N", "timed turns of each kind (5)", 0},
        {"--json", NULL, CLI_FLAG, &j.json, NULL, "print one JSON object", 0},
        {"--seed", NULL, CLI_U64, &j.seed, "N", "seed of the prompt's random tokens (42)", 0},
        {"--threads", NULL, CLI_INT, &j.threads, "N", "threads (0: one per core)", 0},
        {0},
    };
    int leave = cli_parse("sae", "bench", summary, options, argc, argv, NULL, 0, NULL);
    if (leave >= 0) return leave;
    if (j.tokens < 1 || j.tokens > 1000000 || j.repeats < 1 || j.repeats > MAX_REPEATS)
        return cli_usage_error("sae", "bench", "-n must be at least 1, --repeats 1 to %d", MAX_REPEATS);
    tn_err e;
    int code = open_all(&j, &e);
    if (!code) code = run_all(&j, &e);
    if (!code) code = report(&j, &e);
    close_all(&j);
    return code ? cli_error("sae", &e) : 0;
}
