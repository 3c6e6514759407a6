/* sae eval: how well an SAE reconstructs its rows, and what the model loses when it stands in for them. The
 * definitions are in sae/eval.h and sae/effect.h.
 */
#include "sae/cmd_eval.h"

#include "qwen/score.h"
#include "sae/cmd_inputs.h"
#include "sae/round.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_WINDOW = 128 };

/* ---- Options ---- */

static int check_by(eval_job *j, tn_err *e) {
    for (int i = 0; i < j->by.count; i++) {
        int label = strcmp(j->by.items[i], "label") == 0, position = strcmp(j->by.items[i], "position") == 0;
        if (!label && !position)
            return tn_fail(e, TN_EARG, "--by is label or position, not \"%s\"", j->by.items[i]);
        j->by_label |= label;
        j->by_position |= position;
    }
    if (j->by_label && j->text_path)
        return tn_fail(e, TN_EARG, "--text has no labels: --by can only be position");
    return TN_OK;
}

static int check_options(eval_job *j, tn_err *e) {
    int sources = !!j->acts_path + !!j->prompts_path + !!j->text_path;
    if (sources != 1)
        return tn_fail(e, TN_EARG, "give one of --prompts STORIES.jsonl, --text FILE, --acts FILE");
    j->source = j->acts_path ? j->acts_path : j->prompts_path ? j->prompts_path : j->text_path;
    if (j->acts_path && (j->model || j->positions_name || j->ctx || j->raw || j->system))
        return tn_fail(e, TN_EARG,
                       "--acts needs no model: -m, --positions, --ctx, --raw and --system do not go with it");
    if (!j->acts_path && !j->model) return tn_fail(e, TN_EARG, "-m DIR is missing");
    if (!j->positions_name) j->positions_name = j->prompts_path ? "generated" : "all";
    if (!sae_positions_parse(j->positions_name, &j->positions))
        return tn_fail(e, TN_EARG, "--positions is generated, prompt or all, not \"%s\"", j->positions_name);
    if (j->text_path && j->positions != SAE_POS_ALL)
        return tn_fail(e, TN_EARG, "--text has no prompt: --positions can only be all");
    if (j->text_path && (j->raw || j->system))
        return tn_fail(e, TN_EARG, "--text has no prompt: --raw and --system go with --prompts");
    if (j->prompts_path && j->ctx) return tn_fail(e, TN_EARG, "--ctx goes with --text");
    if (j->ctx == 0) j->ctx = DEFAULT_WINDOW;
    if (j->ctx < 2) return tn_fail(e, TN_EARG, "--ctx must be at least 2");
    if (j->limit < 1) return tn_fail(e, TN_EARG, "--limit must be at least 1");
    return check_by(j, e);
}

static int open_documents(eval_job *j, tn_err *e) {
    int code = writer_open(&j->w, j->model, j->threads, e);
    if (!code) code = placed_sae_open(&j->sae, j->sae_dir, j->encoder, j->w.exec, j->w.text.model, e);
    if (!code) code = eval_read_documents(j, e);
    if (code) return code;
    sae_effect_opts o = {j->sae.layer, j->sae.site, 0, j->by_position, j->labels.n};
    size_t longest = 0;
    for (size_t i = 0; i < j->n_docs; i++) {
        sae_effect_doc doc = eval_rows_of(j, &j->docs[i]);
        if (j->docs[i].n > longest) longest = j->docs[i].n;
        if (doc.end - doc.first > o.max_rows) o.max_rows = doc.end - doc.first;
    }
    qwen_sampling sampling = qwen_sampling_default();
    j->w.opts.logit_rows = QWEN_SCORE_ROWS;
    code = writer_start(&j->w, longest, &sampling, e);
    if (code) return code;
    code = sae_effect_new(&j->effect, j->w.state, &j->sae.model, &o, e);
    return code ? tn_fail_in(e, code, j->sae_dir) : TN_OK;
}

typedef int (*round_fn)(sae_effect *m, const sae_effect_doc *doc, tn_err *e);

/* Takes every document through one of the two rounds, which runs the model `runs` times on each. */
static int run_round(eval_job *j, round_fn round, int runs, cli_progress *progress, tn_err *e) {
    double done = progress->done;
    for (size_t i = 0; i < j->n_docs; i++) {
        sae_effect_doc doc = eval_rows_of(j, &j->docs[i]);
        int code = round(&j->effect, &doc, e);
        if (code) {
            char where[1100];
            snprintf(where, sizeof where, "%s: %s %zu", j->source, j->text_path ? "window" : "line",
                     j->docs[i].number);
            return tn_fail_in(e, code, where);
        }
        cli_progress_update(progress, done + runs * (double)(i + 1), NULL);
    }
    return TN_OK;
}

static int measure_documents(eval_job *j, tn_err *e) {
    int code = open_documents(j, e);
    if (code) return code;
    cli_progress progress = cli_progress_start("eval", "runs", SAE_RUNS * (double)j->n_docs);
    code = run_round(j, sae_effect_add, SAE_RUNS - 1, &progress, e);
    if (!code) code = run_round(j, sae_effect_add_mean, 1, &progress, e);
    cli_progress_end(&progress);
    if (code) return code;
    if (j->effect.docs == 0)
        return tn_fail(e, TN_EARG, "%s: no position was selected, nothing to measure", j->source);
    if (j->effect.sums[SAE_ALL_ROWS].targets == 0)
        return tn_fail(e, TN_EARG, "%s: none of the rows predicts a token: there is nothing to measure",
                       j->source);
    return TN_OK;
}

/* ---- On activations alone ---- */

static void on_rows(void *progress, size_t rows) {
    cli_progress_update(progress, (double)rows, NULL);
}

/* The index of each document's label, into labels [n_docs]. */
static int index_labels(eval_job *j, int *labels, tn_err *e) {
    for (size_t i = 0; i < j->acts.n_docs; i++) {
        labels[i] = sae_label_list_add(&j->labels, j->acts.docs[i].label);
        if (labels[i] < 0) return tn_fail(e, TN_ENOMEM, "out of memory");
    }
    return eval_check_labels(j, e);
}

static int measure_rows(eval_job *j, tn_exec exec, const int *labels, tn_err *e) {
    const sae_config *c = &j->sae.model.cfg;
    int code = sae_parts_new(&j->parts, c->d_in, c->d_sae, j->by_position, j->labels.n, e);
    if (code) return code;
    cli_progress progress = cli_progress_start("eval", "rows", 2 * (double)j->acts.n);
    code = sae_eval_acts(&j->parts, &j->sae.model, &j->acts, labels,
                         (sae_eval_choice){j->skip_first, (size_t)j->limit}, exec, on_rows, &progress, e);
    cli_progress_end(&progress);
    if (code) return tn_fail_in(e, code, j->acts_path);
    if (j->parts.rows == 0)
        return tn_fail(e, TN_EARG, "%s: no row was selected, nothing to measure", j->acts_path);
    return TN_OK;
}

static int measure_acts(eval_job *j, tn_err *e) {
    tn_exec exec;
    int code = cli_exec(&exec, j->threads, e);
    if (!code) code = sae_open_dir(&j->sae.model, j->sae_dir, e);
    if (!code && j->encoder) code = sae_round_encoder(&j->sae.model, j->encoder, exec.threads, e);
    if (!code) code = sae_acts_open(&j->acts, j->acts_path, e);
    if (!code) code = check_same_hook(&j->sae.model, &j->acts, j->acts_path, e);
    if (code) return code;
    int *labels = NULL; /* [n_docs] */
    if (j->by_label) {
        labels = malloc((j->acts.n_docs ? j->acts.n_docs : 1) * sizeof *labels);
        code = labels ? index_labels(j, labels, e) : tn_fail(e, TN_ENOMEM, "out of memory");
    }
    if (!code) code = measure_rows(j, exec, labels, e);
    free(labels);
    return code;
}

/* ---- The command ---- */

static void close_all(eval_job *j) {
    sae_effect_free(&j->effect);
    sae_parts_free(&j->parts);
    sae_label_list_free(&j->labels);
    sae_acts_close(&j->acts);
    sae_free(&j->sae.model);
    tok_ids_free(&j->tokens);
    free(j->docs);
    writer_close(&j->w);
}

static const char summary[] =
    "Measures an SAE: how well it reconstructs the rows at its hook and, in its model, how much worse the\n"
    "model predicts when those rows are replaced by the reconstruction, by zeros, or by their mean. --acts\n"
    "measures the reconstruction on an activation file alone.\n"
    "\n"
    "A document is a story (prompt in the chat template, then \"tokens\" or \"text\", as written by\n"
    "`qwen generate --jsonl`) or a window of a text. Definitions are those of SAELens 6.54 run_evals,\n"
    "pooled over all rows in double; x' is the reconstruction of x, z the latents:\n"
    "  L0, L1           mean number of latents that fire, mean of sum |z| (decoder norms left out)\n"
    "  MSE              mean |x'-x|^2, summed over the width\n"
    "  FVE              1 - MSE / (mean |x|^2 - |mean x|^2), SAELens' explained_variance; \"row by row\" is\n"
    "                   its explained_variance_legacy, the mean of 1 - |x'-x|^2 / |x - mean x|^2\n"
    "  shrinkage        |x'|/|x|, mean of the ratio; relative reconstruction bias, mean |x'|^2 / mean x.x'\n"
    "  dead, density    latents that fire on none of the rows; on how many rows the others do\n"
    "  CE               -log p in nats, mean over the tokens predicted from replaced rows: the row at\n"
    "                   position p predicts token p + 1, the last of a document none\n"
    "  loss recovered   (CE zero - CE SAE) / (CE zero - CE original), and with the mean in place of zero;\n"
    "                   both are put at the same rows as the SAE\n"
    "  KL               mean KL(original || SAE) over the vocabulary, of all replaced rows; of zeros too\n"
    "--by adds the same numbers for parts of the rows, each about its own mean.";

int cmd_eval(int argc, char **argv) {
    eval_job j = {.tokens = TOK_IDS_INIT, .limit = INT_MAX};
    const cli_option options[] = {
        {"-m", "--model", CLI_STRING, &j.model, "DIR", "Hugging Face model directory (not with --acts)", 0},
        {"-s", "--sae", CLI_STRING, &j.sae_dir, "SAEDIR", "SAE directory", 1},
        ENCODER_OPTION(j.encoder),
        {"--prompts", NULL, CLI_STRING, &j.prompts_path, "STORIES.jsonl", "documents: stories", 0},
        {"--text", NULL, CLI_STRING, &j.text_path, "FILE", "documents: windows of a text (UTF-8)", 0},
        {"-a", "--acts", CLI_STRING, &j.acts_path, "ACTS.safetensors",
         "no model, only the activations that sae capture wrote", 0},
        {"--by", NULL, CLI_STRINGS, &j.by, "WHAT",
         "also for every label, or position (in ranges); may be repeated", 0},
        {"--ctx", NULL, CLI_INT, &j.ctx, "N", "tokens of a window of the text (128)", 0},
        {"--positions", NULL, CLI_STRING, &j.positions_name, "WHICH",
         "rows to replace: generated (default), prompt or all (--text)", 0},
        {"--skip-first", NULL, CLI_FLAG, &j.skip_first, NULL, "leave every document's first position alone",
         0},
        {"--limit", NULL, CLI_INT, &j.limit, "N", "only the first N documents", 0},
        {"--raw", NULL, CLI_FLAG, &j.raw, NULL, "no chat template around the prompt", 0},
        {"--system", NULL, CLI_STRING, &j.system, "TEXT", "system message (default: the template's)", 0},
        {"--json", NULL, CLI_FLAG, &j.json, NULL, "one JSON object instead of the table", 0},
        {"-o", "--output", CLI_STRING, &j.out, "OUT.json", "write the JSON object to a file too", 0},
        {"--threads", NULL, CLI_INT, &j.threads, "N", "threads (0: one per core)", 0},
        {0},
    };
    int exit_code = cli_parse("sae", "eval", summary, options, argc, argv, NULL, 0, NULL);
    if (exit_code >= 0) return exit_code;
    tn_err e;
    if (check_options(&j, &e)) return cli_usage_error("sae", "eval", "%s", e.msg);
    int code = j.acts_path ? measure_acts(&j, &e) : measure_documents(&j, &e);
    if (!code) code = eval_show(&j, &e);
    close_all(&j);
    return code ? cli_error("sae", &e) : 0;
}
