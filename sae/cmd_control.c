/* sae control: does turning up a category's features move answers to it, and would random features do as
 * well?
 *
 * Every case is answered in six ways, greedily: by the model ("original"), through the SAE ("SAE only"), and
 * with z <- scale * z, z[features] += strength, where the features are none ("scaled"), TARGET's ("target"),
 * equally many random ones ("random"), or OTHER's ("other").
 */
#include "sae/cmd_control.h"
#include "sae/cmd_placed.h"
#include "tensor/json.h"
#include "tensor/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    control_settings s;
    const char *positions_name;
    /* from here on: opened */
    writer w;
    placed_sae sae;
    int max_rows;
    size_t scratch_bytes;
    void *scratch;
    sae_label_ids labels;  /* features cut to the first --top, ascending */
    unsigned char *listed; /* [d_sae] 1 for features of the file, those behind --top too */
    int32_t *random;       /* [most features of a label] */
    qwen_prompts questions;
    tok_ids *prompt_ids; /* [questions.count] */
    control_case *cases; /* [questions.count] */
    /* of the current way and case */
    sae_edit statements[2]; /* all *= scale; features += strength */
    sae_edits edits;        /* = statements */
    sae_steer steer;
    control_answer answers[N_WAYS];
    sae_tally tallies[N_WAYS];
} job;

/* ---- Opening ---- */

static int check_options(job *j, tn_err *e) {
    control_settings *s = &j->s;
    if (!sae_positions_parse(j->positions_name, &s->positions))
        return tn_fail(e, TN_EARG, "--positions is generated, all or prompt, not \"%s\"", j->positions_name);
    if (s->max_new < 1) return tn_fail(e, TN_EARG, "-n must be at least 1");
    if (s->top < 0) return tn_fail(e, TN_EARG, "--top must not be negative");
    return TN_OK;
}

/* The label's number; it must have features to be turned up. */
static int find_label(const job *j, int *number, const char *label, tn_err *e) {
    *number = sae_label_ids_find(&j->labels, label);
    if (*number < 0) return tn_fail(e, TN_EARG, "there is no label \"%s\" in %s", label, j->s.features_path);
    if (j->labels.items[*number].n_features == 0)
        return tn_fail(e, TN_EARG, "the label \"%s\" has no features in %s", label, j->s.features_path);
    return TN_OK;
}

static int read_case(const job *j, control_case *c, const qwen_prompt *question, tn_err *e) {
    tn_json line, other;
    tn_buf name = TN_BUF_INIT;
    c->question = question;
    int code = tn_json_parse(&line, question->extra_raw, strlen(question->extra_raw), e);
    if (code) return code;
    if (!question->label[0]) return tn_fail(e, TN_EFORMAT, "there is no \"label\"");
    other = tn_json_get(line, "other");
    if (other.kind != TN_JSON_STRING) return tn_fail(e, TN_EFORMAT, "there is no \"other\"");
    tn_buf_add(&name, "", 0); /* an empty name is a string too */
    tn_json_string(other, &name);
    code = name.failed ? tn_fail(e, TN_ENOMEM, "out of memory") : TN_OK;
    if (!code) code = find_label(j, &c->target, question->label, e);
    if (!code) code = find_label(j, &c->other, name.data, e);
    if (!code && c->target == c->other)
        code = tn_fail(e, TN_EARG, "\"label\" and \"other\" are both \"%s\"", name.data);
    tn_buf_free(&name);
    return code;
}

static int read_cases(job *j, tn_err *e) {
    const char *path = j->s.cases_path;
    int code = qwen_prompts_read(&j->questions, path, e);
    if (code) return code;
    size_t count = j->questions.count;
    if (count == 0) return tn_fail(e, TN_EFORMAT, "%s: there is no case", path);
    if (count > INT32_MAX) return tn_fail(e, TN_EUNSUP, "%s: too many cases", path);
    j->prompt_ids = calloc(count, sizeof *j->prompt_ids);
    j->cases = calloc(count, sizeof *j->cases);
    if (!j->prompt_ids || !j->cases) return tn_fail(e, TN_ENOMEM, "out of memory");
    for (size_t i = 0; i < count && !code; i++) {
        code = read_case(j, &j->cases[i], &j->questions.items[i], e);
        if (code) {
            char where[1100];
            snprintf(where, sizeof where, "%s: line %zu", path, j->questions.items[i].line);
            tn_fail_in(e, code, where);
        }
    }
    return code;
}

/* Cuts the labels' features to the first --top and makes room for as many random ones. */
static int prepare_features(job *j, tn_err *e) {
    int d_sae = j->sae.model.cfg.d_sae, most = 0;
    int code = sae_label_ids_check(&j->labels, d_sae, e);
    if (code) return tn_fail_in(e, code, j->s.features_path);
    j->listed = malloc((size_t)d_sae);
    if (!j->listed) return tn_fail(e, TN_ENOMEM, "out of memory");
    sae_mark_listed(&j->labels, d_sae, j->listed);
    sae_label_ids_top(&j->labels, j->s.top);
    for (size_t i = 0; i < j->questions.count; i++) {
        int n = j->labels.items[j->cases[i].target].n_features;
        if (n > most) most = n;
    }
    j->random = malloc((size_t)most * sizeof *j->random);
    if (!j->random) return tn_fail(e, TN_ENOMEM, "out of memory");
    return sae_draw_unlisted(j->listed, d_sae, most, 0, j->random, e); /* are there enough? */
}

/* Puts way `way` into the model; its features are known. */
static int attach(job *j, int way, tn_err *e) {
    if (way == WAY_ORIGINAL) return qwen_set_hooks(j->w.state, NULL, 0, e);
    const control_answer *a = &j->answers[way];
    placed_sae *p = &j->sae;
    int edited = way != WAY_SAE_ONLY, hidden = qwen_model_config(j->w.text.model)->hidden;
    j->statements[1].features = a->features;
    j->statements[1].n_features = a->n_features;
    int code =
        sae_steer_init(&j->steer, &p->model, edited ? &j->edits : NULL, p->layer, j->s.positions,
                       edited && j->s.keep_error, j->max_rows, hidden, j->scratch, j->scratch_bytes, e);
    if (code) return tn_fail_in(e, code, j->s.sae_dir);
    qwen_hook hook = {p->site, p->layer, p->layer, sae_steer_hook, &j->steer};
    return qwen_set_hooks(j->w.state, &hook, 1, e);
}

static int open_all(job *j, tn_err *e) {
    int code = sae_label_ids_read(&j->labels, j->s.features_path, e);
    if (!code) code = read_cases(j, e);
    if (!code) code = writer_open(&j->w, j->s.model, j->s.threads, e);
    size_t longest = 0;
    if (!code) code = encode_prompts(&j->w, &j->questions, 0, NULL, j->prompt_ids, &longest, e);
    if (!code) code = placed_sae_open(&j->sae, j->s.sae_dir, NULL, j->w.exec, j->w.text.model, e);
    if (!code) code = prepare_features(j, e);
    if (code) return code;
    j->max_rows = qwen_opts_default(j->w.text.model).chunk;
    j->scratch_bytes = sae_steer_bytes(&j->sae.model, 1, j->max_rows);
    j->scratch = j->scratch_bytes ? malloc(j->scratch_bytes) : NULL;
    if (!j->scratch) return tn_fail(e, TN_ENOMEM, "out of memory");
    j->statements[0] = (sae_edit){.op = SAE_SCALE, .a = j->s.scale, .layer = -1, .all = 1};
    j->statements[1] = (sae_edit){.op = SAE_ADD, .a = j->s.strength, .layer = -1};
    j->edits = (sae_edits){j->statements, 2};
    const qwen_sampling greedy = qwen_sampling_default();
    code = writer_start(&j->w, longest + (size_t)j->s.max_new, &greedy, e);
    return code ? code
                : attach(j, WAY_SAE_ONLY, e); /* an SAE of another width is found before the first token */
}

/* ---- Running ---- */

static void use_features(control_answer *a, const sae_label_features *l) {
    a->features = l->features;
    a->n_features = l->n_features;
}

/* Which features the case's ways turn up. */
static int choose_features(job *j, size_t index, tn_err *e) {
    const control_case *c = &j->cases[index];
    control_answer *random = &j->answers[WAY_RANDOM];
    use_features(&j->answers[WAY_TARGET], &j->labels.items[c->target]);
    use_features(&j->answers[WAY_OTHER], &j->labels.items[c->other]);
    random->features = j->random;
    random->n_features = j->answers[WAY_TARGET].n_features;
    return sae_draw_unlisted(j->listed, j->sae.model.cfg.d_sae, random->n_features,
                             qwen_item_seed(j->s.seed, index), j->random, e);
}

static int answer_case(job *j, size_t index, tn_err *e) {
    const tok_ids *prompt = &j->prompt_ids[index];
    size_t held = 0;
    int code = choose_features(j, index, e);
    /* Hooks on generated tokens leave the prompt alone: it is computed once for all ways. */
    if (!code && j->s.positions == SAE_POS_GENERATED) {
        code = attach(j, WAY_ORIGINAL, e);
        if (!code) code = writer_prefill(&j->w, prompt, &held, e);
    }
    for (int i = 0; i < N_WAYS && !code; i++) {
        control_answer *a = &j->answers[i];
        a->tokens.len = 0;
        tn_buf_clear(&a->text);
        code = attach(j, i, e);
        if (!code) code = writer_continue(&j->w, prompt, held, j->s.max_new, j->s.seed, &a->tokens, e);
        if (!code) code = writer_decode(&j->w, a->tokens.data, a->tokens.len, &a->text, e);
        if (!code) a->named = sae_label_named(&j->labels, a->text.data, a->text.len);
    }
    for (int i = 0; i < N_WAYS && !code; i++)
        sae_tally_add(&j->tallies[i], j->answers[WAY_ORIGINAL].named, j->answers[i].named,
                      j->cases[index].target, j->cases[index].other);
    return code;
}

static int run_all(job *j, tn_err *e) {
    tn_out *out = NULL;
    tn_buf line = TN_BUF_INIT;
    int code = j->s.out ? tn_out_open(&out, j->s.out, e) : TN_OK;
    cli_progress progress = cli_progress_start("control", "cases", (double)j->questions.count);
    for (size_t i = 0; i < j->questions.count && !code; i++) {
        code = answer_case(j, i, e);
        tn_buf_clear(&line);
        if (!code && out) code = control_add_case(&j->cases[i], &j->labels, j->answers, &line, e);
        if (!code && out) tn_out_write(out, line.data, line.len);
        cli_progress_update(&progress, (double)(i + 1), NULL);
    }
    cli_progress_end(&progress);
    tn_buf_free(&line);
    if (code)
        tn_out_discard(out);
    else if (out)
        code = tn_out_commit(out, e);
    return code;
}

static void close_all(job *j) {
    for (int i = 0; i < N_WAYS; i++) {
        tok_ids_free(&j->answers[i].tokens);
        tn_buf_free(&j->answers[i].text);
    }
    free(j->cases);
    free_prompt_ids(j->prompt_ids, j->questions.count);
    qwen_prompts_free(&j->questions);
    free(j->random);
    free(j->listed);
    free(j->scratch);
    sae_label_ids_free(&j->labels);
    sae_free(&j->sae.model);
    writer_close(&j->w);
}

static int show(const control_settings *s, const sae_tally *tallies, tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    control_add_json(s, tallies, &text);
    int code = text.failed ? tn_fail(e, TN_ENOMEM, "out of memory") : TN_OK;
    if (!code && s->json)
        printf("%s", text.data);
    else if (!code)
        control_print_table(s, tallies);
    if (!code && s->summary) code = tn_write_file(s->summary, text.data, text.len, e);
    tn_buf_free(&text);
    return code;
}

static const char summary[] =
    "Does turning up a category's features move answers to it, and would other features do as well? Cases\n"
    "are lines {\"prompt\": \"...\", \"label\": TARGET, \"other\": OTHER}. Each is answered six times,\n"
    "without chance:\n"
    "\n"
    "  original   by the model as it is\n"
    "  SAE only   with the SAE's reconstruction in its place\n"
    "  scaled     z = z * scale, and nothing added: what halving alone does\n"
    "  target     z = z * scale, and z + strength for TARGET's features\n"
    "  random     the same with as many features drawn from those FEATURES.ids lists for no label; every\n"
    "             case has a draw of its own, decided by --seed and the case's number\n"
    "  other      the same with OTHER's features\n"
    "\n"
    "An answer names the label that stands first in it (whole words, any case, plural too; \"cable car\"\n"
    "is no \"car\"). A case has moved when its answer names TARGET and the original answer does not.";

int cmd_control(int argc, char **argv) {
    job j = {.s = {.scale = 0.5f, .strength = 5.0f, .max_new = 24, .seed = 42},
             .positions_name = "generated"};
    const cli_option options[] = {
        {"-m", "--model", CLI_STRING, &j.s.model, "DIR", "Hugging Face model directory", 1},
        {"-s", "--sae", CLI_STRING, &j.s.sae_dir, "SAEDIR", "SAE directory", 1},
        {"--cases", NULL, CLI_STRING, &j.s.cases_path, "CASES.jsonl", "questions, TARGET and OTHER", 1},
        {"--features", NULL, CLI_STRING, &j.s.features_path, "FEATURES.ids",
         "what sae features --all --ids prints", 1},
        {"--scale", NULL, CLI_FLOAT, &j.s.scale, "X", "all latents are multiplied by it (0.5)", 0},
        {"--strength", NULL, CLI_FLOAT, &j.s.strength, "X", "added to the chosen features (5)", 0},
        {"--top", NULL, CLI_INT, &j.s.top, "K", "only the first K features of each label (0: all)", 0},
        {"--positions", NULL, CLI_STRING, &j.positions_name, "WHICH", "generated (default), all or prompt",
         0},
        {"--keep-error", NULL, CLI_FLAG, &j.s.keep_error, NULL, "edits keep what the SAE does not explain",
         0},
        {"-n", NULL, CLI_INT, &j.s.max_new, "N", "most tokens per answer (24)", 0},
        {"--seed", NULL, CLI_U64, &j.s.seed, "N", "seed of the random features (42)", 0},
        {"--json", NULL, CLI_FLAG, &j.s.json, NULL, "one JSON object instead of the table", 0},
        {"--summary", NULL, CLI_STRING, &j.s.summary, "OUT.json", "write that JSON object to a file too", 0},
        {"-o", "--output", CLI_STRING, &j.s.out, "OUT.jsonl", "write every case with its six answers", 0},
        {"--threads", NULL, CLI_INT, &j.s.threads, "N", "threads (0: one per core)", 0},
        {0},
    };
    int exit_code = cli_parse("sae", "control", summary, options, argc, argv, NULL, 0, NULL);
    if (exit_code >= 0) return exit_code;
    tn_err e;
    if (check_options(&j, &e)) return cli_usage_error("sae", "control", "%s", e.msg);
    int code = open_all(&j, &e);
    if (!code) code = run_all(&j, &e);
    if (!code) code = show(&j.s, j.tallies, &e);
    close_all(&j);
    return code ? cli_error("sae", &e) : 0;
}
