/* sae steer: the same prompts answered by the model, by the model with SAEs in it, and with features edited.
 */
#include "sae/direction.h"
#include "sae/cmd_steer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SAES 64
#define MAX_WAYS (CLI_MAX_STRINGS + 3) /* original, SAE only, direction and one per --op */

typedef struct {
    const char *model, *text, *prompts_path, *positions_name, *direction, *out, *trace, *system, *encoder;
    cli_strings sae_dirs, ops, sets;
    qwen_sampling sampling;
    float alpha;
    int max_new, keep_error, feature_direction, project_out, layer, json, raw, threads;
    /* from here on: checked and opened */
    sae_positions positions;
    writer w;
    placed_sae saes[MAX_SAES];
    int n_saes;
    sae_feature_set named[CLI_MAX_STRINGS];
    char *set_names[CLI_MAX_STRINGS];
    int n_named;
    way ways[MAX_WAYS];
    answer answers[MAX_WAYS]; /* of the current prompt */
    int n_ways;
    sae_direction along;
    float *vector; /* [hidden], behind along.v */
    void *scratch; /* shared by all steering hooks: they run one after another */
    size_t scratch_bytes;
    int max_rows;
    qwen_prompts prompts;
    tok_ids *prompt_ids; /* [prompts.count] */
} job;

/* ---- Opening ---- */

static int check_options(job *j, tn_err *e) {
    if (!!j->text == !!j->prompts_path)
        return tn_fail(e, TN_EARG, "give either -p TEXT or --prompts FILE.jsonl");
    if (!sae_positions_parse(j->positions_name, &j->positions))
        return tn_fail(e, TN_EARG, "--positions is all, prompt or generated, not \"%s\"", j->positions_name);
    if (j->max_new < 1) return tn_fail(e, TN_EARG, "-n must be at least 1");
    if (j->direction && j->feature_direction >= 0)
        return tn_fail(e, TN_EARG, "give either --direction or --feature-direction");
    if (j->direction && j->layer < 0) return tn_fail(e, TN_EARG, "--direction needs --layer");
    if (j->feature_direction >= 0 && j->sae_dirs.count != 1)
        return tn_fail(e, TN_EARG, "--feature-direction needs exactly one -s");
    if (j->sae_dirs.count == 0 && (j->ops.count || !j->direction))
        return tn_fail(e, TN_EARG, "give an SAE with -s, or a --direction");
    return qwen_sampling_check(&j->sampling, e);
}

static int open_saes(job *j, tn_err *e) {
    for (int i = 0; i < j->sae_dirs.count; i++) {
        placed_sae *s = &j->saes[i];
        const char *dir = j->sae_dirs.items[i];
        int code = placed_sae_open(s, dir, j->encoder, j->w.exec, j->w.text.model, e);
        if (code) return code;
        j->n_saes++;
        size_t bytes = sae_steer_bytes(&s->model, 1, j->max_rows);
        if (bytes > j->scratch_bytes) j->scratch_bytes = bytes;
        if (bytes == 0) return tn_fail(e, TN_ENOMEM, "%s: too large", dir);
    }
    if (j->scratch_bytes) j->scratch = malloc(j->scratch_bytes);
    return j->scratch || !j->scratch_bytes ? TN_OK : tn_fail(e, TN_ENOMEM, "out of memory");
}

/* --set NAME=12,55 */
static int read_sets(job *j, tn_err *e) {
    for (int i = 0; i < j->sets.count; i++) {
        const char *text = j->sets.items[i], *equals = strchr(text, '=');
        if (!equals || equals == text)
            return tn_fail(e, TN_EARG, "--set: \"%s\" is not NAME=12,55,90-99", text);
        size_t len = (size_t)(equals - text);
        int reserved = (len == 3 && !strncmp(text, "all", 3)) || (len == 5 && !strncmp(text, "scale", 5));
        if (reserved || (*text >= '0' && *text <= '9'))
            return tn_fail(e, TN_EARG, "--set: a set cannot be called \"%.*s\"", (int)len, text);
        char *name = malloc(len + 1);
        if (!name) return tn_fail(e, TN_ENOMEM, "out of memory");
        memcpy(name, text, len);
        name[len] = '\0';
        j->set_names[j->n_named] = name;
        sae_feature_set *s = &j->named[j->n_named++];
        int32_t *features;
        int code = sae_features_parse(&features, &s->n_features, equals + 1, e);
        if (code) return tn_fail_in(e, code, "--set");
        s->name = name;
        s->features = features;
    }
    return TN_OK;
}

/* ---- The ways of answering ---- */

/* A further way called name [len]; NULL with *e set when the name is taken. */
static way *add_way(job *j, const char *name, size_t len, tn_err *e) {
    way *w = &j->ways[j->n_ways];
    if (len >= sizeof w->name) len = sizeof w->name - 1;
    memcpy(w->name, name, len);
    w->name[len] = '\0';
    for (int i = 0; i < j->n_ways; i++) {
        if (strcmp(j->ways[i].name, w->name) != 0) continue;
        tn_fail(e, TN_EARG, "two answers are called \"%s\": name them with --op 'NAME: ...'", w->name);
        return NULL;
    }
    size_t hooks = (size_t)j->n_saes + 1;
    w->steers = calloc(hooks, sizeof *w->steers);
    w->hooks = calloc(hooks, sizeof *w->hooks);
    j->n_ways++;
    if (w->steers && w->hooks) return w;
    tn_fail(e, TN_ENOMEM, "out of memory");
    return NULL;
}

/* Puts every SAE into the way, with its edits when it has some. */
static int add_saes(job *j, way *w, const sae_edits *edits, int keep_error, tn_err *e) {
    int hidden = qwen_model_config(j->w.text.model)->hidden;
    for (int i = 0; i < j->n_saes; i++) {
        placed_sae *s = &j->saes[i];
        int code = sae_steer_init(&w->steers[i], &s->model, edits, s->layer, j->positions, keep_error,
                                  j->max_rows, hidden, j->scratch, j->scratch_bytes, e);
        if (code) return tn_fail_in(e, code, edits ? "--op" : j->sae_dirs.items[i]);
        w->hooks[w->n_hooks++] = (qwen_hook){s->site, s->layer, s->layer, sae_steer_hook, &w->steers[i]};
    }
    return TN_OK;
}

/* A statement for a layer that has no SAE would silently do nothing. */
static int check_layers(const job *j, const sae_edits *edits, tn_err *e) {
    for (int k = 0; k < edits->count; k++) {
        int found = edits->items[k].layer < 0;
        for (int i = 0; i < j->n_saes; i++) found |= j->saes[i].layer == edits->items[k].layer;
        if (!found) return tn_fail(e, TN_EARG, "--op: no SAE is given for layer %d", edits->items[k].layer);
    }
    return TN_OK;
}

/* --op 'NAME: statements' or --op 'statements' */
static int add_op(job *j, const char *text, tn_err *e) {
    const char *colon = strchr(text, ':'), *name = colon ? text : "edited";
    way *w = add_way(j, name, colon ? (size_t)(colon - text) : strlen(name), e);
    if (!w) return e->code;
    w->op = colon ? colon + 1 + strspn(colon + 1, " ") : text;
    int code = sae_edits_parse(&w->edits, w->op, j->named, j->n_named, e);
    if (code) return tn_fail_in(e, code, "--op");
    code = check_layers(j, &w->edits, e);
    return code ? code : add_saes(j, w, &w->edits, j->keep_error, e);
}

static int add_direction(job *j, tn_err *e) {
    int hidden = qwen_model_config(j->w.text.model)->hidden, layer = j->layer;
    qwen_site site = QWEN_RESID_POST;
    if (j->direction) {
        int code = sae_direction_read(&j->vector, j->direction, hidden, e);
        if (code) return tn_fail_in(e, code, "--direction");
        j->along.v = j->vector;
    } else {
        const placed_sae *s = &j->saes[0];
        if (j->feature_direction >= s->model.cfg.d_sae)
            return tn_fail(e, TN_EARG, "--feature-direction: feature %d is out of range: the SAE has %d",
                           j->feature_direction, s->model.cfg.d_sae);
        j->along.v = s->model.w_dec + (size_t)j->feature_direction * (size_t)s->model.cfg.d_in;
        if (layer < 0) {
            layer = s->layer;
            site = s->site;
        }
    }
    j->along.alpha = j->alpha;
    j->along.project_out = j->project_out;
    j->along.positions = j->positions;
    way *w = add_way(j, "direction", strlen("direction"), e);
    if (!w) return e->code;
    w->hooks[w->n_hooks++] = (qwen_hook){site, layer, layer, sae_direction_hook, &j->along};
    return TN_OK;
}

static int add_ways(job *j, tn_err *e) {
    if (!add_way(j, "original", strlen("original"), e)) return e->code;
    int code = TN_OK;
    if (j->n_saes) {
        way *w = add_way(j, "SAE only", strlen("SAE only"), e);
        if (!w) return e->code;
        code = add_saes(j, w, NULL, 0, e);
    }
    for (int i = 0; i < j->ops.count && !code; i++) code = add_op(j, j->ops.items[i], e);
    if (!code && (j->direction || j->feature_direction >= 0)) code = add_direction(j, e);
    return code;
}

/* ---- Running ---- */

static int read_prompts(job *j, tn_err *e) {
    int code = TN_OK;
    if (j->prompts_path) {
        code = qwen_prompts_read(&j->prompts, j->prompts_path, e);
        if (!code && j->prompts.count == 0)
            code = tn_fail(e, TN_EFORMAT, "%s: there is no prompt", j->prompts_path);
    } else {
        j->prompts.items = calloc(1, sizeof *j->prompts.items);
        size_t size = strlen(j->text) + 1;
        char *prompt = malloc(size), *label = calloc(1, 1);
        if (prompt) memcpy(prompt, j->text, size);
        if (j->prompts.items) {
            j->prompts.count = 1;
            j->prompts.items[0].prompt = prompt;
            j->prompts.items[0].label = label;
        }
        if (!j->prompts.items || !prompt || !label) code = tn_fail(e, TN_ENOMEM, "out of memory");
    }
    if (!code && j->trace && j->prompts.count != 1)
        code = tn_fail(e, TN_EARG, "--trace takes exactly one prompt");
    if (code) return code;
    j->prompt_ids = calloc(j->prompts.count, sizeof *j->prompt_ids);
    return j->prompt_ids ? TN_OK : tn_fail(e, TN_ENOMEM, "out of memory");
}

static int open_all(job *j, tn_err *e) {
    int code = read_prompts(j, e);
    if (!code) code = writer_open(&j->w, j->model, j->threads, e);
    size_t longest = 0;
    if (!code) code = encode_prompts(&j->w, &j->prompts, j->raw, j->system, j->prompt_ids, &longest, e);
    if (code) return code;
    j->max_rows = qwen_opts_default(j->w.text.model).chunk;
    code = open_saes(j, e);
    if (!code) code = read_sets(j, e);
    if (!code) code = add_ways(j, e);
    if (!code) code = writer_start(&j->w, longest + (size_t)j->max_new, &j->sampling, e);
    /* Every way's hooks are tried before the first token is computed. */
    for (int i = 0; i < j->n_ways && !code; i++)
        code = qwen_set_hooks(j->w.state, j->ways[i].hooks, j->ways[i].n_hooks, e);
    return code;
}

static int answer_prompt(job *j, size_t index, tn_err *e) {
    int code = TN_OK;
    for (int i = 0; i < j->n_ways && !code; i++) {
        answer *a = &j->answers[i];
        a->tokens.len = 0;
        tn_buf_clear(&a->text);
        code = qwen_set_hooks(j->w.state, j->ways[i].hooks, j->ways[i].n_hooks, e);
        if (!code)
            code = writer_generate(&j->w, &j->prompt_ids[index], j->max_new, j->sampling.seed, &a->tokens, e);
        if (!code) code = writer_decode(&j->w, a->tokens.data, a->tokens.len, &a->text, e);
    }
    return code;
}

static int run_all(job *j, tn_err *e) {
    tn_out *out = NULL;
    tn_buf line = TN_BUF_INIT;
    int code = j->out ? tn_out_open(&out, j->out, e) : TN_OK;
    for (size_t i = 0; i < j->prompts.count && !code; i++) {
        const qwen_prompt *p = &j->prompts.items[i];
        code = answer_prompt(j, i, e);
        if (code) break;
        tn_buf_clear(&line);
        add_answers_json(p, j->ways, j->answers, j->n_ways, &line);
        if (line.failed) {
            code = tn_fail(e, TN_ENOMEM, "out of memory");
            break;
        }
        if (out) tn_out_write(out, line.data, line.len);
        if (j->json)
            printf("%s", line.data);
        else
            print_answers(p, j->ways, j->answers, j->n_ways);
    }
    tn_buf_free(&line);
    if (!code && j->trace)
        code = write_trace(&j->w, j->trace, &j->prompt_ids[0], j->ways, j->answers, j->n_ways, e);
    if (code)
        tn_out_discard(out);
    else if (out)
        code = tn_out_commit(out, e);
    return code;
}

static void close_all(job *j) {
    for (int i = 0; i < j->n_ways; i++) {
        sae_edits_free(&j->ways[i].edits);
        free(j->ways[i].steers);
        free(j->ways[i].hooks);
        tok_ids_free(&j->answers[i].tokens);
        tn_buf_free(&j->answers[i].text);
    }
    for (int i = 0; i < j->n_saes; i++) sae_free(&j->saes[i].model);
    for (int i = 0; i < j->n_named; i++) {
        free((void *)j->named[i].features);
        free(j->set_names[i]);
    }
    free(j->vector);
    free(j->scratch);
    free_prompt_ids(j->prompt_ids, j->prompts.count);
    writer_close(&j->w);
    qwen_prompts_free(&j->prompts);
}

static const char summary[] =
    "Answers prompts several times: by the model as it is (\"original\"), with every SAE's reconstruction\n"
    "in its place (\"SAE only\"), and once per --op with latents edited. Each SAE goes where its hook_name\n"
    "says.\n"
    "\n"
    "  --op 'NAME: STATEMENTS'   NAME is the answer's heading; 'STATEMENTS' alone is headed \"edited\"\n"
    "  STATEMENTS                TARGET[@LAYER] OPERATION; ... applied from left to right\n"
    "  TARGET                    all, or a list of features, ranges and --set names: 12,20-29,car\n"
    "  OPERATION                 *= x   += x   -= x   = x   clamp LOW HIGH   ablate\n"
    "\n"
    "  sae steer -m DIR -s SAE -p 'Which is bigger?' --set car=12,55 --op 'car features: all *= 0.5; car += "
    "4'";

int cmd_steer(int argc, char **argv) {
    job j = {.sampling = qwen_sampling_default(),
             .positions_name = "all",
             .alpha = 1.0f,
             .max_new = 64,
             .feature_direction = -1,
             .layer = -1};
    const cli_option options[] = {
        {"-m", "--model", CLI_STRING, &j.model, "DIR", "Hugging Face model directory", 1},
        {"-s", "--sae", CLI_STRINGS, &j.sae_dirs, "SAEDIR", "SAE directory; may be repeated", 0},
        ENCODER_OPTION(j.encoder),
        {"-p", "--prompt", CLI_STRING, &j.text, "TEXT", "the prompt", 0},
        {"--prompts", NULL, CLI_STRING, &j.prompts_path, "FILE.jsonl", "many prompts", 0},
        {"--op", NULL, CLI_STRINGS, &j.ops, "EDITS", "one more edited answer; may be repeated", 0},
        {"--set", NULL, CLI_STRINGS, &j.sets, "NAME=12,55", "a named list of features for --op", 0},
        {"--positions", NULL, CLI_STRING, &j.positions_name, "WHICH", "all (default), prompt or generated",
         0},
        {"--keep-error", NULL, CLI_FLAG, &j.keep_error, NULL, "edits keep what the SAE does not explain", 0},
        {"--direction", NULL, CLI_STRING, &j.direction, "FILE[:TENSOR[:ROW]]",
         "an answer steered along a vector", 0},
        {"--feature-direction", NULL, CLI_INT, &j.feature_direction, "N", "... along feature N's decoder row",
         0},
        {"--alpha", NULL, CLI_FLOAT, &j.alpha, "X", "times that vector is added (1)", 0},
        {"--project-out", NULL, CLI_FLAG, &j.project_out, NULL, "remove X times the part along it instead",
         0},
        {"--layer", NULL, CLI_INT, &j.layer, "L", "layer of the direction (output of layer L)", 0},
        {"-n", NULL, CLI_INT, &j.max_new, "N", "most tokens per answer (64)", 0},
        {"--raw", NULL, CLI_FLAG, &j.raw, NULL, "no chat template around the prompt", 0},
        {"--system", NULL, CLI_STRING, &j.system, "TEXT", "system message (default: the template's)", 0},
        SAMPLING_OPTIONS(j.sampling),
        {"--json", NULL, CLI_FLAG, &j.json, NULL, "print one JSON object per prompt", 0},
        {"-o", "--output", CLI_STRING, &j.out, "OUT.jsonl", "write the JSON objects to a file", 0},
        {"--trace", NULL, CLI_STRING, &j.trace, "FILE.safetensors",
         "write the logits of every answer (one prompt)", 0},
        {"--threads", NULL, CLI_INT, &j.threads, "N", "threads (0: one per core)", 0},
        {0},
    };
    int exit_code = cli_parse("sae", "steer", summary, options, argc, argv, NULL, 0, NULL);
    if (exit_code >= 0) return exit_code;
    tn_err e;
    if (check_options(&j, &e)) return cli_usage_error("sae", "steer", "%s", e.msg);
    int code = open_all(&j, &e);
    if (!code) code = run_all(&j, &e);
    close_all(&j);
    return code ? cli_error("sae", &e) : 0;
}
