/* sae features: the features of a label (or of every label), as a table, ids, JSON or pictures. */
#include "sae/commands.h"
#include "sae/features.h"
#include "sae/plot.h"
#include "tensor/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tokens of context before and after a feature's strongest token. */
#define CONTEXT_BEFORE 4
#define CONTEXT_AFTER 2
/* Examples shown per feature in the table; JSON has all SAE_TOP_ROWS. */
#define SHOWN_EXAMPLES 3
/* A feature counts as active for a label when it fires in at least this share of its documents. */
#define ACTIVE_SHARE 0.5

typedef struct {
    const char *sae_dir, *acts_path, *model, *label, *by, *heatmap, *bars;
    int all, top, ids, json, threads;
    /* from here on: opened and computed */
    sae_feature_order order;
    sae_model sae;
    sae_acts acts;
    tok_model *tok; /* NULL without -m */
    sae_feature_stats stats;
    int *chosen; /* [n_chosen] labels asked for */
    int n_chosen;
    sae_feature_score *scores; /* [n_chosen, top] */
    int *counts;               /* [n_chosen] */
} job;

/* ---- Examples ---- */

/* Appends the bytes of rows first … last-1 (which follow each other in one document), spaces for control
 * characters, so that a table stays a table. */
static void add_tokens(const job *j, size_t first, size_t last, tn_buf *out) {
    for (size_t row = first; row < last; row++) {
        const char *bytes;
        size_t len;
        if (tok_bytes(j->tok, j->acts.tokens[row], &bytes, &len)) continue;
        for (size_t i = 0; i < len; i++) tn_buf_putc(out, (unsigned char)bytes[i] < ' ' ? ' ' : bytes[i]);
    }
}

/* Are rows a and a+1 neighbours in one text? */
static int follows(const sae_acts *acts, size_t a) {
    return acts->doc[a] == acts->doc[a + 1] && acts->pos[a] + 1 == acts->pos[a + 1];
}

/* "the old [ car] rattled": the strongest token with a little context. */
static void add_example(const job *j, sae_example x, tn_buf *out) {
    size_t first = x.row, last = (size_t)x.row + 1;
    while (first > 0 && x.row - first < CONTEXT_BEFORE && follows(&j->acts, first - 1)) first--;
    while (last < j->acts.n && last - x.row <= CONTEXT_AFTER && follows(&j->acts, last - 1)) last++;
    add_tokens(j, first, x.row, out);
    tn_buf_putc(out, '[');
    add_tokens(j, x.row, (size_t)x.row + 1, out);
    tn_buf_putc(out, ']');
    add_tokens(j, (size_t)x.row + 1, last, out);
}

static const sae_example *examples_of(const job *j, int32_t feature) {
    return j->stats.examples + (size_t)feature * SAE_TOP_ROWS;
}

/* ---- Output ---- */

static void print_table(const job *j) {
    printf("%s of %s, %d features, %zu documents, %zu tokens\n", j->sae.cfg.hook_name, j->sae_dir,
           j->sae.cfg.d_sae, j->acts.n_docs, j->acts.n);
    printf("%-14s %8s %6s %9s %9s %8s %8s %8s%s\n", "label", "feature", "AUROC", "mean in", "mean out",
           "fires in", "out", "max", j->tok ? "  strongest at" : "");
    tn_buf text = TN_BUF_INIT;
    for (int c = 0; c < j->n_chosen; c++) {
        for (int i = 0; i < j->counts[c]; i++) {
            const sae_feature_score *s = &j->scores[c * j->top + i];
            printf("%-14s %8d %6.3f %9.4f %9.4f %7.1f%% %7.1f%% %8.3f", j->stats.labels[j->chosen[c]],
                   (int)s->feature, (double)s->auroc, (double)s->mean_in, (double)s->mean_out,
                   100.0 * (double)s->rate_in, 100.0 * (double)s->rate_out, (double)s->max_in);
            const sae_example *x = examples_of(j, s->feature);
            tn_buf_clear(&text);
            for (int k = 0; j->tok && k < SHOWN_EXAMPLES && x[k].z > 0.0f; k++) {
                tn_buf_puts(&text, k ? " |" : "  ");
                add_example(j, x[k], &text);
            }
            printf("%s\n", text.len ? text.data : "");
        }
        if (j->counts[c] == 0) printf("%-14s no feature fires\n", j->stats.labels[j->chosen[c]]);
    }
    tn_buf_free(&text);
}

/* "12,55,90" for a script; with --all one line per label: the label, a tab, the ids. */
static void print_ids(const job *j) {
    for (int c = 0; c < j->n_chosen; c++) {
        if (j->all) printf("%s\t", j->stats.labels[j->chosen[c]]);
        for (int i = 0; i < j->counts[c]; i++)
            printf("%s%d", i ? "," : "", (int)j->scores[c * j->top + i].feature);
        printf("\n");
    }
}

static void put_number(tn_json_out *w, const char *key, float v) {
    tn_json_key(w, key);
    tn_json_put_f32(w, v);
}

static void put_feature(const job *j, const sae_feature_score *s, tn_json_out *w) {
    tn_json_begin_object(w);
    tn_json_key(w, "feature");
    tn_json_put_i64(w, s->feature);
    put_number(w, "auroc", s->auroc);
    put_number(w, "diff", s->diff);
    put_number(w, "mean_in", s->mean_in);
    put_number(w, "mean_out", s->mean_out);
    put_number(w, "rate_in", s->rate_in);
    put_number(w, "rate_out", s->rate_out);
    put_number(w, "max_in", s->max_in);
    tn_json_key(w, "examples");
    tn_json_begin_array(w);
    const sae_example *x = examples_of(j, s->feature);
    tn_buf text = TN_BUF_INIT;
    for (int k = 0; k < SAE_TOP_ROWS && x[k].z > 0.0f; k++) {
        tn_json_begin_object(w);
        put_number(w, "z", x[k].z);
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
    for (int c = 0; c < j->n_chosen; c++) {
        tn_json_begin_object(&w);
        tn_json_key(&w, "label");
        tn_json_puts(&w, j->stats.labels[j->chosen[c]]);
        tn_json_key(&w, "active_features"); /* in at least half of the label's documents */
        tn_json_put_i64(&w, sae_label_active(&j->stats, j->chosen[c], ACTIVE_SHARE));
        tn_json_key(&w, "features");
        tn_json_begin_array(&w);
        for (int i = 0; i < j->counts[c]; i++) put_feature(j, &j->scores[c * j->top + i], &w);
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

/* Each chosen feature's mean activation for every label, as a share of its largest, so that rows of weak and
 * of strong features can be read alike. */
static int draw_heatmap(const job *j, tn_err *e) {
    size_t rows = 0, labels = (size_t)j->stats.n_labels, row = 0;
    for (int c = 0; c < j->n_chosen; c++) rows += (size_t)j->counts[c];
    double *values = calloc(rows * labels + 1, sizeof *values);
    char(*names)[64] = calloc(rows + 1, sizeof *names);
    const char **row_names = calloc(rows + 1, sizeof *row_names);
    if (!values || !names || !row_names) {
        free(values);
        free(names);
        free(row_names);
        return tn_fail(e, TN_ENOMEM, "out of memory");
    }
    for (int c = 0; c < j->n_chosen; c++) {
        for (int i = 0; i < j->counts[c]; i++, row++) {
            int32_t feature = j->scores[c * j->top + i].feature;
            snprintf(names[row], sizeof names[row], "%s %d", j->stats.labels[j->chosen[c]], (int)feature);
            row_names[row] = names[row];
            double *v = values + row * labels, largest = 0.0;
            for (size_t l = 0; l < labels; l++) {
                v[l] = (double)sae_feature_score_of(&j->stats, (int)l, feature).mean_in;
                if (v[l] > largest) largest = v[l];
            }
            for (size_t l = 0; l < labels && largest > 0.0; l++) v[l] /= largest;
        }
    }
    sae_chart chart = {.title = "Mean activation per category, relative to the feature's largest",
                       .x_label = "category of the story",
                       .y_label = "feature"};
    tn_buf svg = TN_BUF_INIT;
    sae_plot_heatmap(&chart, row_names, (int)rows, j->stats.labels, (int)labels, values, &svg);
    free(values);
    free(names);
    free(row_names);
    return write_picture(j->heatmap, &svg, e);
}

/* How many features fire in at least half of each label's documents. */
static int draw_bars(const job *j, tn_err *e) {
    double *values = calloc((size_t)j->stats.n_labels, sizeof *values);
    if (!values) return tn_fail(e, TN_ENOMEM, "out of memory");
    for (int l = 0; l < j->stats.n_labels; l++) values[l] = sae_label_active(&j->stats, l, ACTIVE_SHARE);
    sae_chart chart = {.title = "Features that fire in at least half of a category's documents",
                       .x_label = "category",
                       .y_label = "features"};
    tn_buf svg = TN_BUF_INIT;
    sae_plot_bars(&chart, j->stats.labels, values, j->stats.n_labels, &svg);
    free(values);
    return write_picture(j->bars, &svg, e);
}

/* ---- Steps ---- */

static int check_options(job *j, tn_err *e) {
    if (!!j->label == !!j->all) return tn_fail(e, TN_EARG, "give either --label NAME or --all");
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
    if (!code) code = sae_acts_open(&j->acts, j->acts_path, e);
    if (!code && j->model) code = tok_open_dir(&j->tok, j->model, e);
    if (!code && strcmp(j->sae.cfg.hook_name, j->acts.hook_name) != 0)
        fprintf(stderr, "note: the SAE was trained on %s, the activations are of %s\n", j->sae.cfg.hook_name,
                j->acts.hook_name);
    if (!code) code = sae_feature_stats_new(&j->stats, &j->sae, &j->acts, exec, e);
    return code;
}

static int choose(job *j, tn_err *e) {
    int wanted = j->all ? -1 : sae_label_find(&j->stats, j->label);
    if (!j->all && wanted < 0)
        return tn_fail(e, TN_EARG, "%s has no document labelled \"%s\"", j->acts_path, j->label);
    j->n_chosen = j->all ? j->stats.n_labels : 1;
    j->chosen = calloc((size_t)j->n_chosen, sizeof *j->chosen);
    j->counts = calloc((size_t)j->n_chosen, sizeof *j->counts);
    j->scores = calloc((size_t)j->n_chosen * (size_t)j->top, sizeof *j->scores);
    if (!j->chosen || !j->counts || !j->scores) return tn_fail(e, TN_ENOMEM, "out of memory");
    int code = TN_OK;
    for (int c = 0; c < j->n_chosen && !code; c++) {
        j->chosen[c] = j->all ? c : wanted;
        code = sae_features_top(&j->stats, j->chosen[c], j->order, j->top, j->scores + c * j->top,
                                &j->counts[c], e);
    }
    return code;
}

static int show(const job *j, tn_err *e) {
    int code = j->heatmap ? draw_heatmap(j, e) : TN_OK;
    if (!code && j->bars) code = draw_bars(j, e);
    if (code) return code;
    if (j->json) return print_json(j, e);
    if (j->ids)
        print_ids(j);
    else
        print_table(j);
    return TN_OK;
}

static void close_all(job *j) {
    sae_feature_stats_free(&j->stats);
    tok_close(j->tok);
    sae_acts_close(&j->acts);
    sae_free(&j->sae);
    free(j->chosen);
    free(j->counts);
    free(j->scores);
}

static const char summary[] =
    "Ranks the features of an SAE by how much they belong to a label of the captured documents.\n"
    "AUROC is over documents: the chance that a random document of the label has a higher mean activation "
    "than a\n"
    "random other one. \"mean\" and \"fires\" are over tokens, inside and outside the label.";

int cmd_features(int argc, char **argv) {
    job j = {.by = "auroc"};
    const cli_option options[] = {
        {"-s", "--sae", CLI_STRING, &j.sae_dir, "SAEDIR", "SAE directory", 1},
        {"-a", "--acts", CLI_STRING, &j.acts_path, "ACTS.safetensors", "activations written by sae capture",
         1},
        {"--label", NULL, CLI_STRING, &j.label, "NAME", "features of this label", 0},
        {"--all", NULL, CLI_FLAG, &j.all, NULL, "the best features of every label", 0},
        {"--top", NULL, CLI_INT, &j.top, "N", "features per label (10; --all: 1)", 0},
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
