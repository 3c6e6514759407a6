/* qwen bench: tokens per second of prefill and decode, measured as they happen.
 *
 * One untimed run warms caches and pages the weights in. Each repeat then times one prefill of -p tokens
 * (with the logits of its last position) and -n single-token steps after it, each with its logits and the
 * choice of the likeliest token. The medians are reported, the extremes beside them.
 */
#include "qwen/commands.h"
#include "tensor/json.h"
#include "tensor/os.h"
#include "tensor/rng.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_REPEATS = 100 };

static const char summary[] = "Measures prefill of -p random tokens and decode of -n tokens after them: one "
                              "warm-up, then --repeats runs,\n"
                              "of which the medians are printed. Needs no tokenizer.";

typedef struct {
    cmd_common common;
    int prompt, decode, repeats, json;
    cmd_session s;
    int32_t *tokens;                                /* [prompt] */
    double prefill[MAX_REPEATS], step[MAX_REPEATS]; /* [repeats] tokens per second */
} bench;

static int32_t likeliest(const float *logits, int vocab) {
    int32_t best = 0;
    for (int32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

static int run_once(bench *b, double *prefill, double *step, tn_err *e) {
    int vocab = qwen_model_config(b->s.text.model)->vocab;
    const float *logits;
    qwen_rewind(b->s.state, 0);
    double start = tn_now();
    int code = qwen_forward(b->s.state, b->tokens, b->prompt, 0, &logits, e);
    double middle = tn_now();
    for (int i = 0; i < b->decode && !code; i++) {
        int32_t token = likeliest(logits, vocab);
        code = qwen_forward(b->s.state, &token, 1, 0, &logits, e);
    }
    double end = tn_now();
    *prefill = b->prompt / (middle - start);
    *step = b->decode / (end - middle);
    return code;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts x [n]; the middle value, or the mean of the two. */
static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

static int report(bench *b, tn_err *e) {
    double prefill = median(b->prefill, b->repeats), decode = median(b->step, b->repeats);
    int last = b->repeats - 1;
    if (!b->json) {
        printf("prefill  %9.2f tokens/s  (%d tokens; %.2f to %.2f)\n", prefill, b->prompt, b->prefill[0],
               b->prefill[last]);
        printf("decode   %9.2f tokens/s  (%d tokens; %.2f to %.2f)\n", decode, b->decode, b->step[0],
               b->step[last]);
        printf("%s, %s kernels, %d thread%s, median of %d\n", qwen_model_name(b->s.text.model),
               b->s.exec.k->name, b->s.exec.threads, b->s.exec.threads == 1 ? "" : "s", b->repeats);
        return TN_OK;
    }
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"prefill_tok_s", prefill},
                   {"decode_tok_s", decode},
                   {"prefill_min", b->prefill[0]},
                   {"prefill_max", b->prefill[last]},
                   {"decode_min", b->step[0]},
                   {"decode_max", b->step[last]},
                   {"prompt_tokens", b->prompt},
                   {"decode_tokens", b->decode},
                   {"repeats", b->repeats},
                   {"threads", b->s.exec.threads},
                   {"weight_bytes", (double)tn_st_bytes(qwen_model_weights(b->s.text.model))},
                   {"peak_memory_bytes", (double)tn_peak_memory()}};
    tn_buf text = TN_BUF_INIT;
    tn_json_out w = tn_json_writer(&text, 0);
    tn_json_begin_object(&w);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        tn_json_key(&w, numbers[i].key);
        tn_json_put_f64(&w, numbers[i].value);
    }
    tn_json_key(&w, "model");
    tn_json_puts(&w, qwen_model_name(b->s.text.model));
    tn_json_key(&w, "kernels");
    tn_json_puts(&w, b->s.exec.k->name);
    tn_json_end_object(&w);
    tn_buf_putc(&text, '\n');
    int code = text.failed ? tn_fail(e, TN_ENOMEM, "out of memory") : cmd_print(text.data, text.len, e);
    tn_buf_free(&text);
    return code;
}

static int run_bench(bench *b, tn_err *e) {
    int code = cmd_open(&b->s, &b->common, 0, e);
    if (code) return code;
    const qwen_config *c = qwen_model_config(b->s.text.model);
    int limit = qwen_max_context(b->s.text.model);
    if (b->prompt > limit - b->decode)
        return tn_fail(e, TN_ECTX, "%d + %d tokens do not fit in the model's %d positions", b->prompt,
                       b->decode, limit);
    b->tokens = malloc((size_t)b->prompt * sizeof *b->tokens);
    if (!b->tokens) return tn_fail(e, TN_ENOMEM, "out of memory");
    tn_rng rng = tn_rng_seed(b->common.seed);
    for (int i = 0; i < b->prompt; i++) b->tokens[i] = (int32_t)tn_rng_below(&rng, (uint64_t)c->vocab);
    code = cmd_open_state(&b->s, b->prompt + b->decode, e);
    cli_progress bar = cli_progress_start("bench", "runs", b->repeats + 1);
    if (!code) code = run_once(b, &b->prefill[0], &b->step[0], e);
    for (int i = 0; i < b->repeats && !code; i++) {
        cli_progress_update(&bar, i + 1, NULL);
        code = run_once(b, &b->prefill[i], &b->step[i], e);
    }
    cli_progress_end(&bar);
    return code ? code : report(b, e);
}

int cmd_bench(int argc, char **argv) {
    bench b = {.common = CMD_COMMON_INIT, .prompt = 512, .decode = 64, .repeats = 3};
    const cli_option rows[] = {
        {"-p", NULL, CLI_INT, &b.prompt, "N", "tokens of the prompt (512)", 0},
        {"-n", NULL, CLI_INT, &b.decode, "N", "tokens written after it (64)", 0},
        {"--repeats", NULL, CLI_INT, &b.repeats, "N", "timed runs (3)", 0},
        {"--json", NULL, CLI_FLAG, &b.json, NULL, "print one JSON object", 0},
        {0},
    };
    cmd_options table = {0};
    cmd_add_options(&table, rows);
    int leave = cmd_parse("bench", summary, &table, &b.common, argc, argv, NULL, NULL);
    if (leave >= 0) return leave;
    if (b.prompt < 1 || b.decode < 1 || b.repeats < 1 || b.repeats > MAX_REPEATS)
        return cli_usage_error("qwen", "bench", "-p and -n must be at least 1, --repeats 1 to %d",
                               MAX_REPEATS);

    tn_err e;
    int code = run_bench(&b, &e);
    free(b.tokens);
    cmd_close(&b.s);
    return cmd_finish(code, &e);
}
