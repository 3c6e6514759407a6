/* sae report: opens what the page is made of, and writes the page. */
#include "sae/cmd_inputs.h"
#include "sae/commands.h"
#include "sae/fit_log.h"
#include "sae/report.h"
#include "sae/round.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *model_dir, *sae_dir, *acts_path, *held_path, *eval_path, *control_path, *title, *out;
    cli_strings answer_paths;
    int top, threads;
    /* from here on: opened and computed */
    qwen_text text;
    sae_model sae;
    sae_acts acts, held_acts;
    sae_feature_stats stats, held;
    sae_ranking ranking;
    sae_fit_log log;
    sae_report_json cfg, eval, control;
    sae_report_answers answers[CLI_MAX_STRINGS];
    int n_answers;
} job;

/* ---- Opening ---- */

static int check_options(const job *j, tn_err *e) {
    if (j->top < 1 || j->top > 1000) return tn_fail(e, TN_EARG, "--top must be 1 to 1000");
    return TN_OK;
}

/* cfg.json for the settings of the training, and train.csv, which an SAE from elsewhere may lack. */
static int open_sae(job *j, tn_err *e) {
    char path[1024];
    int code = sae_open_dir(&j->sae, j->sae_dir, e);
    if (!code) code = tn_path_join(path, sizeof path, j->sae_dir, "cfg.json", e);
    if (!code) code = sae_report_json_open(&j->cfg, path, e);
    if (!code) code = tn_path_join(path, sizeof path, j->sae_dir, "train.csv", e);
    if (!code && tn_file_exists(path)) code = sae_fit_log_read(&j->log, path, e);
    return code;
}

static int open_acts(job *j, tn_err *e) {
    int code = sae_acts_open(&j->acts, j->acts_path, e);
    if (!code && j->held_path) code = sae_acts_open(&j->held_acts, j->held_path, e);
    if (!code) code = check_same_hook(&j->sae, &j->acts, j->acts_path, e);
    return code;
}

static int open_results(job *j, tn_err *e) {
    int code = TN_OK;
    for (int i = 0; i < j->answer_paths.count && !code; i++) {
        code = sae_report_answers_open(&j->answers[i], j->answer_paths.items[i], e);
        if (!code) j->n_answers++;
    }
    if (!code && j->eval_path) code = sae_report_json_open(&j->eval, j->eval_path, e);
    if (!code && j->control_path) code = sae_report_json_open(&j->control, j->control_path, e);
    return code;
}

static int compute(job *j, tn_err *e) {
    tn_exec exec;
    int code = cli_exec(&exec, j->threads, e);
    if (!code) code = sae_round_encoder(&j->sae, "screen", exec.threads, e);
    if (code) return code;
    code = sae_feature_stats_new(&j->stats, &j->sae, &j->acts, exec, e);
    if (code) return tn_fail_in(e, code, j->acts_path);
    if (j->held_path) {
        code = sae_held_out_stats(&j->held, &j->sae, &j->held_acts, &j->acts, exec, e);
        if (code) return tn_fail_in(e, code, j->held_path);
    }
    return sae_ranking_new(&j->ranking, &j->stats, j->held_path ? &j->held : NULL, -1, SAE_BY_AUROC, j->top,
                           e);
}

/* ---- The page ---- */

static size_t count_parameters(const qwen_model *m) {
    const tn_safetensors *weights = qwen_model_weights(m);
    size_t n = 0;
    for (size_t i = 0; i < tn_st_count(weights); i++) n += tn_st_at(weights, i)->count;
    return n;
}

static int write_page(const job *j, tn_err *e) {
    sae_report r = {
        .title = j->title,
        .model_name = qwen_model_name(j->text.model),
        .layers = qwen_model_config(j->text.model)->layers,
        .parameters = count_parameters(j->text.model),
        .sae = &j->sae,
        .sae_name = sae_report_file_name(j->sae_dir),
        .acts_name = sae_report_file_name(j->acts_path),
        .held_name = j->held_path ? sae_report_file_name(j->held_path) : NULL,
        .acts = &j->acts,
        .held_acts = j->held_path ? &j->held_acts : NULL,
        .stats = &j->stats,
        .ranking = &j->ranking,
        .vocabulary = tokenizer_vocabulary(j->text.tok),
        .log = j->log.lines,
        .n_log = j->log.n,
        .settings = tn_json_get(tn_json_get(j->cfg.root, "metadata"), "scalpel_training"),
        .answers = j->answers,
        .n_answers = j->n_answers,
        .eval = j->eval_path ? &j->eval : NULL,
        .control = j->control_path ? &j->control : NULL,
    };
    tn_buf page = TN_BUF_INIT;
    sae_report_write(&r, &page);
    int code =
        page.failed ? tn_fail(e, TN_ENOMEM, "out of memory") : tn_write_file(j->out, page.data, page.len, e);
    if (!code) printf("%s: %zu bytes\n", j->out, page.len);
    tn_buf_free(&page);
    return code;
}

static void close_all(job *j) {
    for (int i = 0; i < j->n_answers; i++) sae_report_answers_close(&j->answers[i]);
    sae_report_json_close(&j->cfg);
    sae_report_json_close(&j->eval);
    sae_report_json_close(&j->control);
    sae_fit_log_free(&j->log);
    sae_ranking_free(&j->ranking);
    sae_feature_stats_free(&j->stats);
    sae_feature_stats_free(&j->held);
    sae_acts_close(&j->acts);
    sae_acts_close(&j->held_acts);
    sae_free(&j->sae);
    qwen_text_close(&j->text);
}

static const char summary[] =
    "Writes one HTML page that tells the whole story of an SAE: what was recorded, what edited answers\n"
    "say, whether controls agree, how training went, and which features belong to which category. The page\n"
    "needs no other file and no network. What is not given is left out.";

int cmd_report(int argc, char **argv) {
    job j = {.top = 3};
    const cli_option options[] = {
        {"-m", "--model", CLI_STRING, &j.model_dir, "DIR", "Hugging Face model directory", 1},
        {"-s", "--sae", CLI_STRING, &j.sae_dir, "SAEDIR", "SAE directory", 1},
        {"-a", "--acts", CLI_STRING, &j.acts_path, "ACTS.safetensors", "activations written by sae capture",
         1},
        {"-o", "--output", CLI_STRING, &j.out, "REPORT.html", "the page", 1},
        {"--held-out", NULL, CLI_STRING, &j.held_path, "ACTS2.safetensors",
         "activations of other documents, to check features on", 0},
        {"--answers", NULL, CLI_STRINGS, &j.answer_paths, "[TITLE=]FILE",
         "answers written by sae steer -o; may be repeated", 0},
        {"--eval", NULL, CLI_STRING, &j.eval_path, "EVAL.json", "output of sae eval --json", 0},
        {"--control", NULL, CLI_STRING, &j.control_path, "CONTROL.json", "output of sae control --json", 0},
        {"--title", NULL, CLI_STRING, &j.title, "TEXT", "heading of the page", 0},
        {"--top", NULL, CLI_INT, &j.top, "N", "features per category (3)", 0},
        {"--threads", NULL, CLI_INT, &j.threads, "N", "threads (0: one per core)", 0},
        {0},
    };
    int exit_code = cli_parse("sae", "report", summary, options, argc, argv, NULL, 0, NULL);
    if (exit_code >= 0) return exit_code;
    tn_err e;
    if (check_options(&j, &e)) return cli_usage_error("sae", "report", "%s", e.msg);
    int code = qwen_text_open(&j.text, j.model_dir, &e);
    if (!code) code = open_sae(&j, &e);
    if (!code) code = open_acts(&j, &e);
    if (!code) code = open_results(&j, &e);
    if (!code) code = compute(&j, &e);
    if (!code) code = write_page(&j, &e);
    close_all(&j);
    return code ? cli_error("sae", &e) : 0;
}
