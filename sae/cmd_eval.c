/* sae eval: how well an SAE reconstructs its rows, and what the model loses when it stands in for them. The
 * definitions are in sae/eval.h and sae/effect.h.
 *
 * Documents are stories, prompt and answer as sae capture replays them, or windows of a text.
 */
#include "qwen/score.h"
#include "sae/cmd_placed.h"
#include "sae/commands.h"
#include "sae/effect.h"
#include "tensor/json.h"
#include "tensor/os.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEFAULT_WINDOW = 128 };

/* A document, as a piece of the list of all tokens. */
typedef struct {
    size_t at, n;
    size_t n_prompt; /* its first tokens, which the model did not write */
    size_t number;   /* line or window, for messages */
} document;

typedef struct {
    const char *model, *sae_dir, *prompts_path, *text_path, *positions_name, *system, *out, *encoder;
    int ctx, skip_first, raw, json, limit, threads;
    /* from here on: checked and opened */
    sae_positions positions;
    writer w;
    placed_sae sae;
    tok_ids tokens; /* of all documents, one after the other */
    document *docs; /* [n_docs] */
    size_t n_docs;
    sae_effect effect;
} job;

static int check_options(job *j, tn_err *e) {
    if (!!j->prompts_path == !!j->text_path)
        return tn_fail(e, TN_EARG, "give either --prompts STORIES.jsonl or --text FILE");
    if (!j->positions_name) j->positions_name = j->text_path ? "all" : "generated";
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
    return TN_OK;
}

/* ---- Documents ---- */

static int make_room(job *j, size_t count, tn_err *e) {
    j->docs = calloc(count, sizeof *j->docs);
    return j->docs ? TN_OK : tn_fail(e, TN_ENOMEM, "out of memory");
}

static size_t limited(const job *j, size_t count) {
    return (size_t)j->limit < count ? (size_t)j->limit : count;
}

static int add_story(job *j, const qwen_prompt *p, tn_err *e) {
    document *d = &j->docs[j->n_docs++];
    d->at = j->tokens.len;
    d->number = p->line;
    if (!p->tokens && !p->text && j->positions != SAE_POS_PROMPT)
        return tn_fail(e, TN_EFORMAT, "only a prompt, expected a story with \"tokens\" or \"text\"");
    int code = qwen_text_prompt(&j->w.text, p->prompt, j->raw, j->system, &j->tokens, e);
    d->n_prompt = j->tokens.len - d->at;
    if (!code) code = known_answer(&j->w, p, &j->tokens, e);
    d->n = j->tokens.len - d->at;
    size_t limit = (size_t)qwen_max_context(j->w.text.model);
    if (!code && d->n > limit + 1) /* the last token of an answer that filled the context is never fed */
        code = tn_fail(e, TN_ECTX, "%zu tokens do not fit in the model's context of %zu", d->n, limit);
    return code;
}

static int read_stories(job *j, tn_err *e) {
    qwen_prompts stories;
    int code = qwen_prompts_read(&stories, j->prompts_path, e);
    if (code) return code;
    size_t count = limited(j, stories.count);
    code = count ? make_room(j, count, e) : tn_fail(e, TN_EFORMAT, "%s: there is no prompt", j->prompts_path);
    for (size_t i = 0; i < count && !code; i++) {
        code = add_story(j, &stories.items[i], e);
        if (!code) continue;
        char where[1100];
        snprintf(where, sizeof where, "%s: line %zu", j->prompts_path, stories.items[i].line);
        tn_fail_in(e, code, where);
    }
    qwen_prompts_free(&stories);
    return code;
}

/* Windows of ctx tokens; the last, shorter one counts when it has at least two. */
static int read_text(job *j, tn_err *e) {
    size_t ctx = (size_t)j->ctx, limit = (size_t)qwen_max_context(j->w.text.model);
    if (ctx > limit)
        return tn_fail(e, TN_ECTX, "windows of %zu tokens do not fit in the model's context of %zu", ctx,
                       limit);
    tn_map map;
    int code = tn_map_file(&map, j->text_path, e);
    if (code) return code;
    code = tok_encode(j->w.text.tok, map.size ? map.data : "", map.size, TOK_SPECIAL, &j->tokens, e);
    tn_unmap_file(&map);
    if (code) return tn_fail_in(e, code, j->text_path);
    if (j->tokens.len < 2)
        return tn_fail(e, TN_EARG, "%s: fewer than two tokens, nothing to predict", j->text_path);
    size_t count = limited(j, j->tokens.len / ctx + (j->tokens.len % ctx >= 2));
    code = make_room(j, count, e);
    for (; j->n_docs < count && !code; j->n_docs++) {
        size_t at = j->n_docs * ctx, left = j->tokens.len - at;
        j->docs[j->n_docs] = (document){at, left < ctx ? left : ctx, 0, j->n_docs + 1};
    }
    return code;
}

/* The rows of a document that are replaced: those at the positions asked for that the model ever computes. */
static sae_effect_doc rows_of(const job *j, const document *d) {
    size_t limit = (size_t)qwen_max_context(j->w.text.model), fed = d->n < limit ? d->n : limit;
    size_t first = j->positions == SAE_POS_GENERATED ? d->n_prompt : 0;
    size_t end = j->positions == SAE_POS_PROMPT ? d->n_prompt : fed;
    if (j->skip_first && first == 0) first = 1;
    return (sae_effect_doc){j->tokens.data + d->at, (int)d->n, (int)first, (int)end};
}

/* ---- Steps ---- */

static int open_all(job *j, tn_err *e) {
    int code = writer_open(&j->w, j->model, j->threads, e);
    if (!code) code = placed_sae_open(&j->sae, j->sae_dir, j->encoder, j->w.exec, j->w.text.model, e);
    if (!code) code = j->prompts_path ? read_stories(j, e) : read_text(j, e);
    if (code) return code;
    size_t longest = 0;
    int most_rows = 0;
    for (size_t i = 0; i < j->n_docs; i++) {
        sae_effect_doc doc = rows_of(j, &j->docs[i]);
        if (j->docs[i].n > longest) longest = j->docs[i].n;
        if (doc.end - doc.first > most_rows) most_rows = doc.end - doc.first;
    }
    qwen_sampling sampling = qwen_sampling_default();
    j->w.opts.logit_rows = QWEN_SCORE_ROWS;
    code = writer_start(&j->w, longest, &sampling, e);
    if (code) return code;
    code = sae_effect_new(&j->effect, j->w.state, &j->sae.model, j->sae.layer, j->sae.site, most_rows, e);
    return code ? tn_fail_in(e, code, j->sae_dir) : TN_OK;
}

typedef int (*round_fn)(sae_effect *m, const sae_effect_doc *doc, tn_err *e);

/* Takes every document through one of the two rounds, which runs the model `runs` times on each. */
static int run_round(job *j, round_fn round, int runs, cli_progress *progress, tn_err *e) {
    double done = progress->done;
    for (size_t i = 0; i < j->n_docs; i++) {
        sae_effect_doc doc = rows_of(j, &j->docs[i]);
        int code = round(&j->effect, &doc, e);
        if (code) {
            char where[1100];
            snprintf(where, sizeof where, "%s: %s %zu", j->text_path ? j->text_path : j->prompts_path,
                     j->text_path ? "window" : "line", j->docs[i].number);
            return tn_fail_in(e, code, where);
        }
        cli_progress_update(progress, done + runs * (double)(i + 1), NULL);
    }
    return TN_OK;
}

static int run_all(job *j, tn_err *e) {
    cli_progress progress = cli_progress_start("eval", "runs", SAE_RUNS * (double)j->n_docs);
    int code = run_round(j, sae_effect_add, SAE_RUNS - 1, &progress, e);
    if (!code) code = run_round(j, sae_effect_add_mean, 1, &progress, e);
    cli_progress_end(&progress);
    if (!code && j->effect.docs == 0)
        code = tn_fail(e, TN_EARG, "%s: no position was selected, nothing to measure",
                       j->text_path ? j->text_path : j->prompts_path);
    return code;
}

/* ---- Output ---- */

static void print_table(const job *j, const sae_effect_result *r) {
    const sae_config *c = &j->sae.model.cfg;
    printf("%s: %d latents at %s, width %d\n", j->sae_dir, c->d_sae, c->hook_name, c->d_in);
    printf("%zu documents, %zu rows (%s positions%s), %zu of them predict a token\n\n", r->docs, r->rows.n,
           sae_positions_name(j->positions), j->skip_first ? " but the first" : "", r->targets);
    printf("reconstruction      L0 %.2f   L1 %.4g   dead %d   alive %d\n", r->rows.l0, r->rows.l1,
           r->rows.dead, r->rows.alive);
    printf("                    MSE %.6g   per element %.6g   FVE %.4f\n", r->rows.mse,
           r->rows.mse_per_element, r->rows.fve);
    printf("                    cosine %.4f   |x'|/|x| %.4f   relative reconstruction bias %.4f\n\n",
           r->rows.cosine, r->rows.l2_ratio, r->rows.relative_reconstruction_bias);
    printf("in the model        %12s  %14s\n", "CE (nats)", "loss recovered");
    printf("  original          %12.4f\n", r->ce_original);
    printf("  SAE               %12.4f   %+.4f, KL(original || SAE) %.4f\n", r->ce_sae, r->ce_difference,
           r->kl);
    printf("  zero ablation     %12.4f  %14.4f\n", r->ce_zero, r->loss_recovered);
    printf("  mean ablation     %12.4f  %14.4f\n\n", r->ce_mean, r->loss_recovered_mean);
    printf("definitions: SAELens 6.54 run_evals, pooled over all rows (--help)\n");
}

static void add_json(const job *j, const sae_effect_result *r, tn_buf *out) {
    tn_json_out w = tn_json_writer(out, 2);
    tn_json_begin_object(&w);
    tn_json_member_text(&w, "hook_name", j->sae.model.cfg.hook_name);
    tn_json_member_text(&w, "positions", sae_positions_name(j->positions));
    tn_json_member_bool(&w, "skip_first", j->skip_first);
    tn_json_member_i64(&w, "n_docs", (int64_t)r->docs);
    tn_json_member_i64(&w, "n_tokens", (int64_t)r->rows.n);
    tn_json_member_i64(&w, "n_targets", (int64_t)r->targets);
    tn_json_member_f64(&w, "l0", r->rows.l0);
    tn_json_member_f64(&w, "l1", r->rows.l1);
    tn_json_member_f64(&w, "mse", r->rows.mse);
    tn_json_member_f64(&w, "mse_per_element", r->rows.mse_per_element);
    tn_json_member_f64(&w, "fve", r->rows.fve);
    tn_json_member_f64(&w, "cosine", r->rows.cosine);
    tn_json_member_f64(&w, "l2_ratio", r->rows.l2_ratio);
    tn_json_member_f64(&w, "relative_reconstruction_bias", r->rows.relative_reconstruction_bias);
    tn_json_member_i64(&w, "dead", r->rows.dead);
    tn_json_member_i64(&w, "alive", r->rows.alive);
    tn_json_member_f64(&w, "ce_original", r->ce_original);
    tn_json_member_f64(&w, "ce_sae", r->ce_sae);
    tn_json_member_f64(&w, "ce_zero", r->ce_zero);
    tn_json_member_f64(&w, "ce_mean", r->ce_mean);
    tn_json_member_f64(&w, "ce_difference", r->ce_difference);
    tn_json_member_f64(&w, "loss_recovered", r->loss_recovered);
    tn_json_member_f64(&w, "loss_recovered_mean", r->loss_recovered_mean);
    tn_json_member_f64(&w, "kl", r->kl);
    tn_json_end_object(&w);
    tn_buf_putc(out, '\n');
}

static int show(const job *j, tn_err *e) {
    sae_effect_result r = sae_effect_finish(&j->effect);
    if (r.targets == 0)
        return tn_fail(e, TN_EARG, "none of the rows predicts a token: there is nothing to measure");
    tn_buf text = TN_BUF_INIT;
    add_json(j, &r, &text);
    int code = text.failed ? tn_fail(e, TN_ENOMEM, "out of memory") : TN_OK;
    if (!code && j->json)
        printf("%s", text.data);
    else if (!code)
        print_table(j, &r);
    if (!code && j->out) code = tn_write_file(j->out, text.data, text.len, e);
    tn_buf_free(&text);
    return code;
}

static void close_all(job *j) {
    sae_effect_free(&j->effect);
    sae_free(&j->sae.model);
    tok_ids_free(&j->tokens);
    free(j->docs);
    writer_close(&j->w);
}

static const char summary[] =
    "Measures an SAE in its model: how well it reconstructs the rows at its hook, and how much worse the "
    "model\n"
    "predicts when those rows are replaced by the reconstruction, by zeros, or by their mean.\n"
    "\n"
    "A document is a story (prompt in the chat template, then \"tokens\" or \"text\", as written by\n"
    "`qwen generate --jsonl`) or a window of a text. Definitions are those of SAELens 6.54 run_evals, pooled "
    "over\n"
    "all rows in double:\n"
    "  MSE              mean |x'-x|^2, summed over the width; FVE is 1 - MSE / (mean |x|^2 - |mean x|^2)\n"
    "  L1               mean of sum |z|, decoder norms left out\n"
    "  dead             latents that fire on none of the rows\n"
    "  CE               -log p in nats, mean over the tokens predicted from replaced rows: the row at "
    "position p\n"
    "                   predicts token p + 1, the last of a document none\n"
    "  loss recovered   (CE zero - CE SAE) / (CE zero - CE original), and with the mean in place of zero; "
    "both are\n"
    "                   put at the same rows as the SAE\n"
    "  KL               mean KL(original || SAE) over the vocabulary, at the same rows as CE";

int cmd_eval(int argc, char **argv) {
    job j = {.tokens = TOK_IDS_INIT, .limit = INT_MAX};
    const cli_option options[] = {
        {"-m", "--model", CLI_STRING, &j.model, "DIR", "Hugging Face model directory", 1},
        {"-s", "--sae", CLI_STRING, &j.sae_dir, "SAEDIR", "SAE directory", 1},
        ENCODER_OPTION(j.encoder),
        {"--prompts", NULL, CLI_STRING, &j.prompts_path, "STORIES.jsonl", "documents: stories", 0},
        {"--text", NULL, CLI_STRING, &j.text_path, "FILE", "documents: windows of a text (UTF-8)", 0},
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
    int code = open_all(&j, &e);
    if (!code) code = run_all(&j, &e);
    if (!code) code = show(&j, &e);
    close_all(&j);
    return code ? cli_error("sae", &e) : 0;
}
