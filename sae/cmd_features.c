/* sae features: the features of a label (or of every label), as a table, ids, JSON or pictures. */
#include "sae/cmd_inputs.h"
#include "sae/commands.h"
#include "sae/ranking.h"
#include "sae/round.h"
#include "tensor/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tokens of context before and after a feature's strongest token. */
#define CONTEXT_BEFORE 4
#define CONTEXT_AFTER 2
/* Examples shown per feature in the table; JSON has all SAE_TOP_ROWS. */
#define SHOWN_EXAMPLES 3

typedef struct {
    const char *sae_dir, *acts_path, *held_path, *model, *label, *by, *heatmap, *bars;
    int all, top, ids, json, threads;
    /* from here on: opened and computed */
    sae_feature_order order;
    sae_model sae;
    sae_acts acts, held_acts; /* held_acts: empty without --held-out */
    tok_model *tok;           /* NULL without -m */
    sae_vocabulary vocabulary;
    sae_feature_stats stats, held;
    sae_ranking ranking;
} job;

/* ---- Examples ---- */

/* "the old [ car] rattled": the strongest token with a little context. */
static void add_example(const job *j, sae_example x, tn_buf *out) {
    sae_context c = sae_example_context(&j->acts, x, CONTEXT_BEFORE, CONTEXT_AFTER);
    sae_rows_text(&j->acts, &j->vocabulary, c.first, c.row, out);
    tn_buf_putc(out, '[');
    sae_rows_text(&j->acts, &j->vocabulary, c.row, c.row + 1, out);
    tn_buf_putc(out, ']');
    sae_rows_text(&j->acts, &j->vocabulary, c.row + 1, c.last, out);
}

static const sae_example *examples_of(const job *j, int32_t feature) {
    return j->stats.examples + (size_t)feature * SAE_TOP_ROWS;
}

/* ---- Output ---- */

static const char *label_of(const job *j, int c) {
    return j->stats.labels[j->ranking.labels[c]];
}

static const sae_feature_score *score_of(const job *j, int c, int i) {
    return &j->ranking.scores[(size_t)c * (size_t)j->top + (size_t)i];
}

static float held_out_of(const job *j, int c, int i) {
    return j->ranking.held_out[(size_t)c * (size_t)j->top + (size_t)i];
}

static void print_feature(const job *j, int c, int i, tn_buf *text) {
    const sae_feature_score *s = score_of(j, c, i);
    float auroc = held_out_of(j, c, i);
    char held[32] = "";
    if (j->held_path && isnan(auroc))
        snprintf(held, sizeof held, " %8s", "-");
    else if (j->held_path)
        snprintf(held, sizeof held, " %8.3f", (double)auroc);
    printf("%-15s %8d %6.3f%s %9.4f %9.4f %7.1f%% %7.1f%% %8.3f", label_of(j, c), (int)s->feature,
           (double)s->auroc, held, (double)s->mean_in, (double)s->mean_out, 100.0 * (double)s->rate_in,
           100.0 * (double)s->rate_out, (double)s->max_in);
    const sae_example *x = examples_of(j, s->feature);
    tn_buf_clear(text);
    for (int k = 0; j->tok && k < SHOWN_EXAMPLES && x[k].z > 0.0f; k++) {
        tn_buf_puts(text, k ? " |" : "  ");
        add_example(j, x[k], text);
    }
    printf("%s\n", text->len ? text->data : "");
}

static void print_table(const job *j) {
    printf("%s of %s, %d features, %zu documents, %zu tokens\n", j->sae.cfg.hook_name, j->sae_dir,
           j->sae.cfg.d_sae, j->acts.n_docs, j->acts.n);
    printf("%-15s %8s %6s%s %9s %9s %8s %8s %8s%s\n", "label", "feature", "AUROC",
           j->held_path ? " held out" : "", "mean in", "mean out", "fires in", "out", "max",
           j->tok ? "  strongest at" : "");
    tn_buf text = TN_BUF_INIT;
    for (int c = 0; c < j->ranking.n; c++) {
        for (int i = 0; i < j->ranking.counts[c]; i++) print_feature(j, c, i, &text);
        if (j->ranking.counts[c] == 0) printf("%-15s no feature fires\n", label_of(j, c));
    }
    tn_buf_free(&text);
    if (!j->held_path) return;
    int chosen, held, comparable;
    sae_ranking_reach(&j->ranking, &chosen, &held, &comparable);
    printf("best feature of %d of %d labels has AUROC >= %.2f on %s, %d of %d on %s\n", chosen, j->ranking.n,
           (double)SAE_GOOD_AUROC, j->acts_path, held, comparable, j->held_path);
}

/* "12,55,90" for a script; with --all one line per label: the label, a tab, the ids. */
static void print_ids(const job *j) {
    for (int c = 0; c < j->ranking.n; c++) {
        if (j->all) printf("%s\t", label_of(j, c));
        for (int i = 0; i < j->ranking.counts[c]; i++)
            printf("%s%d", i ? "," : "", (int)score_of(j, c, i)->feature);
        printf("\n");
    }
}

static void put_feature(const job *j, int c, int i, tn_json_out *w) {
    const sae_feature_score *s = score_of(j, c, i);
    tn_json_begin_object(w);
    tn_json_key(w, "feature");
    tn_json_put_i64(w, s->feature);
    tn_json_member_f32(w, "auroc", s->auroc);
    if (j->held_path)
        tn_json_member_f32(w, "auroc_held_out", held_out_of(j, c, i)); /* null where there is none */
    tn_json_member_f32(w, "diff", s->diff);
    tn_json_member_f32(w, "mean_in", s->mean_in);
    tn_json_member_f32(w, "mean_out", s->mean_out);
    tn_json_member_f32(w, "rate_in", s->rate_in);
    tn_json_member_f32(w, "rate_out", s->rate_out);
    tn_json_member_f32(w, "max_in", s->max_in);
    tn_json_key(w, "examples");
    tn_json_begin_array(w);
    const sae_example *x = examples_of(j, s->feature);
    tn_buf text = TN_BUF_INIT;
    for (int k = 0; k < SAE_TOP_ROWS && x[k].z > 0.0f; k++) {
        tn_json_begin_object(w);
        tn_json_member_f32(w, "z", x[k].z);
        tn_json_key(w, "doc");
        tn_json_put_i64(w, x[k].doc);
        tn_json_key(w, "label");
        tn_json_puts(w, j->acts.docs[x[k].doc].label);
        tn_json_key(w, "pos");
        tn_json_put_i64(w, j->acts.pos[x[k].row]);
        if (j->tok) {
            tn_buf_clear(&text);
            add_example(j, x[k], &text);
            tn_json_key(w, "text");
            tn_json_put_string(w, text.data ? text.data : "", text.len);
        }
        tn_json_end_object(w);
    }
    tn_buf_free(&text);
    tn_json_end_array(w);
    tn_json_end_object(w);
}

static int print_json(const job *j, tn_err *e) {
    tn_buf out = TN_BUF_INIT;
    tn_json_out w = tn_json_writer(&out, 2);
    tn_json_begin_object(&w);
    tn_json_key(&w, "hook_name");
    tn_json_puts(&w, j->sae.cfg.hook_name);
    tn_json_key(&w, "d_sae");
    tn_json_put_i64(&w, j->sae.cfg.d_sae);
    tn_json_key(&w, "documents");
    tn_json_put_i64(&w, (int64_t)j->acts.n_docs);
    tn_json_key(&w, "tokens");
    tn_json_put_i64(&w, (int64_t)j->acts.n);
    tn_json_key(&w, "labels");
    tn_json_begin_array(&w);
    for (int c = 0; c < j->ranking.n; c++) {
        tn_json_begin_object(&w);
        tn_json_key(&w, "label");
        tn_json_puts(&w, label_of(j, c));
        tn_json_key(&w, "active_features"); /* in at least half of the label's documents */
        tn_json_put_i64(&w, sae_label_active(&j->stats, j->ranking.labels[c], SAE_ACTIVE_SHARE));
        tn_json_key(&w, "features");
        tn_json_begin_array(&w);
        for (int i = 0; i < j->ranking.counts[c]; i++) put_feature(j, c, i, &w);
        tn_json_end_array(&w);
        tn_json_end_object(&w);
    }
    tn_json_end_array(&w);
    tn_json_end_object(&w);
    if (out.failed) {
        tn_buf_free(&out);
        return tn_fail(e, TN_ENOMEM, "out of memory");
    }
    printf("%s\n", out.data);
    tn_buf_free(&out);
    return TN_OK;
}

/* ---- Pictures ---- */

static int write_picture(const char *path, tn_buf *svg, tn_err *e) {
    int code =
        svg->failed ? tn_fail(e, TN_ENOMEM, "out of memory") : tn_write_file(path, svg->data, svg->len, e);
    tn_buf_free(svg);
    return code;
}

static int draw(const job *j, tn_err *e) {
    tn_buf svg = TN_BUF_INIT;
    int code = TN_OK;
    if (j->heatmap) {
        sae_ranking_heatmap(&j->ranking, j->top, &svg);
        code = write_picture(j->heatmap, &svg, e);
    }
    if (j->bars && !code) {
        sae_active_bars(&j->stats, &svg);
        code = write_picture(j->bars, &svg, e);
    }
    return code;
}

/* ---- Steps ---- */

static int check_options(job *j, tn_err *e) {
    if (!!j->label == !!j->all) return tn_fail(e, TN_EARG, "give either --label NAME or --all");
    if (j->label && !j->label[0]) return tn_fail(e, TN_EARG, "--label is empty");
    if (j->top == 0) j->top = j->all && !j->ids ? 1 : 10;
    if (j->top < 1 || j->top > 100000) return tn_fail(e, TN_EARG, "--top must be at least 1");
    if (strcmp(j->by, "diff") != 0 && strcmp(j->by, "auroc") != 0)
        return tn_fail(e, TN_EARG, "--by is diff or auroc, not \"%s\"", j->by);
    j->order = strcmp(j->by, "diff") == 0 ? SAE_BY_DIFF : SAE_BY_AUROC;
    return TN_OK;
}

static int compute(job *j, tn_err *e) {
    tn_exec exec;
    int code = cli_exec(&exec, j->threads, e);
    if (!code) code = sae_open_dir(&j->sae, j->sae_dir, e);
    if (!code) code = sae_round_encoder(&j->sae, "screen", exec.threads, e);
    if (!code) code = sae_acts_open(&j->acts, j->acts_path, e);
    if (!code && j->held_path) code = sae_acts_open(&j->held_acts, j->held_path, e);
    if (!code && j->model) code = tok_open_dir(&j->tok, j->model, e);
    j->vocabulary = tokenizer_vocabulary(j->tok);
    if (!code) code = check_same_hook(&j->sae, &j->acts, j->acts_path, e);
    if (!code && (code = sae_feature_stats_new(&j->stats, &j->sae, &j->acts, exec, e)) != TN_OK)
        tn_fail_in(e, code, j->acts_path);
    if (!code && j->held_path) {
        code = sae_held_out_stats(&j->held, &j->sae, &j->held_acts, &j->acts, exec, e);
        if (code) tn_fail_in(e, code, j->held_path);
    }
    return code;
}

/* The label asked for, which must have rows; -1 for all of them. */
static int find_label(const job *j, int *wanted, tn_err *e) {
    const sae_feature_stats *st = &j->stats;
    *wanted = -1;
    if (j->all) {
        int named = 0;
        for (int i = 0; i < st->n_labels; i++) named |= st->labels[i][0] && st->label_tokens[i];
        return named ? TN_OK : tn_fail(e, TN_EARG, "%s: no document with a label has a row", j->acts_path);
    }
    *wanted = sae_label_find(st, j->label);
    if (*wanted < 0) return tn_fail(e, TN_EARG, "%s has no document labelled \"%s\"", j->acts_path, j->label);
    if (st->label_tokens[*wanted] == 0)
        return tn_fail(e, TN_EARG, "%s: the documents labelled \"%s\" have no row", j->acts_path, j->label);
    return TN_OK;
}

static int choose(job *j, tn_err *e) {
    int wanted, code = find_label(j, &wanted, e);
    if (code) return code;
    return sae_ranking_new(&j->ranking, &j->stats, j->held_path ? &j->held : NULL, wanted, j->order, j->top,
                           e);
}

static int show(const job *j, tn_err *e) {
    int code = draw(j, e);
    if (code) return code;
    if (j->json) return print_json(j, e);
    if (j->ids)
        print_ids(j);
    else
        print_table(j);
    return TN_OK;
}

static void close_all(job *j) {
    sae_ranking_free(&j->ranking);
    sae_feature_stats_free(&j->stats);
    sae_feature_stats_free(&j->held);
    tok_close(j->tok);
    sae_acts_close(&j->acts);
    sae_acts_close(&j->held_acts);
    sae_free(&j->sae);
}

static const char summary[] =
    "Ranks the features of an SAE by how much they belong to a label of the captured documents. AUROC is\n"
    "over documents: the chance that a random document of the label has a higher mean activation than a\n"
    "random other one. \"mean\" and \"fires\" are over tokens, inside and outside the label. \"held out\"\n"
    "is the same features' AUROC on documents that had no say in choosing them (\"-\": none of that\n"
    "label).";

int cmd_features(int argc, char **argv) {
    job j = {.by = "auroc"};
    const cli_option options[] = {
        {"-s", "--sae", CLI_STRING, &j.sae_dir, "SAEDIR", "SAE directory", 1},
        {"-a", "--acts", CLI_STRING, &j.acts_path, "ACTS.safetensors", "activations written by sae capture",
         1},
        {"--held-out", NULL, CLI_STRING, &j.held_path, "ACTS2.safetensors",
         "activations of other documents: AUROC there too", 0},
        {"--label", NULL, CLI_STRING, &j.label, "NAME", "features of this label", 0},
        {"--all", NULL, CLI_FLAG, &j.all, NULL, "the best features of every label", 0},
        {"--top", NULL, CLI_INT, &j.top, "N", "features per label (10; a table of --all: 1)", 0},
        {"--by", NULL, CLI_STRING, &j.by, "ORDER", "auroc (default) or diff (difference of means)", 0},
        {"-m", "--model", CLI_STRING, &j.model, "DIR", "show strongest tokens with this model's tokenizer",
         0},
        {"--ids", NULL, CLI_FLAG, &j.ids, NULL, "only the ids: 12,55,90 (--all: LABEL<tab>ids)", 0},
        {"--json", NULL, CLI_FLAG, &j.json, NULL, "one JSON object", 0},
        {"--heatmap", NULL, CLI_STRING, &j.heatmap, "FILE.svg", "picture: chosen features x labels", 0},
        {"--bars", NULL, CLI_STRING, &j.bars, "FILE.svg", "picture: active features per label", 0},
        {"--threads", NULL, CLI_INT, &j.threads, "N", "threads (0: one per core)", 0},
        {0},
    };
    int exit_code = cli_parse("sae", "features", summary, options, argc, argv, NULL, 0, NULL);
    if (exit_code >= 0) return exit_code;
    tn_err e;
    if (check_options(&j, &e)) return cli_usage_error("sae", "features", "%s", e.msg);
    int code = compute(&j, &e);
    if (!code) code = choose(&j, &e);
    if (!code) code = show(&j, &e);
    close_all(&j);
    return code ? cli_error("sae", &e) : 0;
}
