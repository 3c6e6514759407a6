/* qwen perplexity: how well the model predicts a text. */
#include "qwen/commands.h"
#include "qwen/score.h"
#include "tensor/json.h"
#include "tensor/os.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEFAULT_WINDOW = 512 };

static const char summary[] =
    "Perplexity of a text, defined so that it can be repeated exactly elsewhere:\n"
    "  ids      tokenizer(text, add_special_tokens=False)\n"
    "  windows  ids[i*ctx : (i+1)*ctx], each on its own; the last, shorter one counts when it has >= 2 "
    "tokens\n"
    "  nll      of tokens 2, 3, ... of every window given the tokens before in that window\n"
    "  mean     over all predicted tokens, summed in double\n"
    "  ppl      exp(mean); its standard error is ppl * stddev(nll) / sqrt(predicted tokens)";

typedef struct {
    size_t tokens;    /* of the text */
    size_t predicted; /* of these, in all windows */
    double mean, error;
} score;

/* Mean of nll [n] and its standard error. */
static void mean_and_error(const double *nll, size_t n, score *out) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += nll[i];
    out->mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += (nll[i] - out->mean) * (nll[i] - out->mean);
    out->predicted = n;
    out->error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : 0;
}

static int score_text(cmd_session *s, const tok_ids *ids, int ctx, score *out, tn_err *e) {
    double *nll = malloc(ids->len * sizeof *nll + 1); /* + 1: never asks for nothing */
    if (!nll) return tn_fail(e, TN_ENOMEM, "out of memory");
    cli_progress bar = cli_progress_start("perplexity", "tokens", (double)ids->len);
    size_t n = 0;
    double sum = 0;
    int code = TN_OK;
    for (size_t at = 0; at + 1 < ids->len && !code; at += (size_t)ctx) {
        size_t left = ids->len - at;
        int window = left < (size_t)ctx ? (int)left : ctx;
        char note[32];
        code = qwen_score_window(s->state, ids->data + at, window, nll + n, e);
        for (int i = 1; i < window && !code; i++) sum += nll[n++];
        snprintf(note, sizeof note, "ppl %.2f", exp(sum / (double)n));
        if (!code) cli_progress_update(&bar, (double)at + window, note);
    }
    cli_progress_end(&bar);
    if (!code) mean_and_error(nll, n, out);
    out->tokens = ids->len;
    free(nll);
    return code;
}

/* ids of a text file. */
static int read_text(const tok_model *tok, const char *path, tok_ids *ids, tn_err *e) {
    tn_map map;
    int code = tn_map_file(&map, path, e);
    if (code) return code;
    code = tok_encode(tok, map.size ? map.data : "", map.size, TOK_SPECIAL, ids, e);
    tn_unmap_file(&map);
    if (!code && ids->len < 2)
        code = tn_fail(e, TN_EARG, "%s: fewer than two tokens, nothing to predict", path);
    return code;
}

static int print_score(const score *r, int ctx, int json, tn_err *e) {
    double ppl = exp(r->mean);
    if (!json) {
        printf("perplexity %.4f ± %.4f  (mean nll %.6f over %zu predicted of %zu tokens, windows of %d)\n",
               ppl, ppl * r->error, r->mean, r->predicted, r->tokens, ctx);
        return TN_OK;
    }
    tn_buf text = TN_BUF_INIT;
    tn_json_out w = tn_json_writer(&text, 0);
    tn_json_begin_object(&w);
    tn_json_key(&w, "perplexity");
    tn_json_put_f64(&w, ppl);
    tn_json_key(&w, "standard_error");
    tn_json_put_f64(&w, ppl * r->error);
    tn_json_key(&w, "mean_nll");
    tn_json_put_f64(&w, r->mean);
    tn_json_key(&w, "predicted_tokens");
    tn_json_put_i64(&w, (int64_t)r->predicted);
    tn_json_key(&w, "tokens");
    tn_json_put_i64(&w, (int64_t)r->tokens);
    tn_json_key(&w, "ctx");
    tn_json_put_i64(&w, ctx);
    tn_json_end_object(&w);
    tn_buf_putc(&text, '\n');
    int code = text.failed ? tn_fail(e, TN_ENOMEM, "out of memory") : cmd_print(text.data, text.len, e);
    tn_buf_free(&text);
    return code;
}

int cmd_perplexity(int argc, char **argv) {
    cmd_common common = CMD_COMMON_INIT;
    const char *path;
    int ctx = 0, json = 0;
    const cli_option rows[] = {
        {"--ctx", NULL, CLI_INT, &ctx, "N", "tokens of a window (512, or what the model can)", 0},
        {"--json", NULL, CLI_FLAG, &json, NULL, "print one JSON object", 0},
        {0},
    };
    cmd_options table = {0};
    cmd_add_options(&table, rows);
    int leave = cmd_parse("perplexity", summary, &table, &common, argc, argv, &path, "text file (UTF-8)");
    if (leave >= 0) return leave;
    if (ctx < 0 || ctx == 1) return cli_usage_error("qwen", "perplexity", "--ctx must be at least 2");

    tn_err e;
    cmd_session s;
    tok_ids ids = TOK_IDS_INIT;
    score result = {0};
    int code = cmd_open(&s, &common, 1, &e);
    if (!code && ctx == 0) {
        int limit = qwen_max_context(s.text.model);
        ctx = limit < DEFAULT_WINDOW ? limit : DEFAULT_WINDOW;
    }
    if (!code && ctx < 2) code = tn_fail(&e, TN_EARG, "windows of %d token predict nothing", ctx);
    s.opts.logit_rows = QWEN_SCORE_ROWS;
    if (!code) code = cmd_open_state(&s, ctx, &e);
    if (!code) code = read_text(s.text.tok, path, &ids, &e);
    if (!code) code = score_text(&s, &ids, ctx, &result, &e);
    if (!code) code = print_score(&result, ctx, json, &e);
    tok_ids_free(&ids);
    cmd_close(&s);
    return cmd_finish(code, &e);
}
