/* sae capture: runs prompts (or stories written before) through a model and keeps the residual stream.
 *
 * A line that already holds an answer ("tokens", or else "text") is replayed: prompt and answer go through
 * prefill, which gives the same bits as decoding did. Other prompts are answered here.
 */
#include "qwen/batch.h"
#include "sae/attach.h"
#include "sae/commands.h"
#include "tensor/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LAYERS CLI_MAX_STRINGS

/* One captured layer. */
typedef struct {
    int layer;
    sae_capture capture;
    void *block;            /* behind capture */
    sae_acts_builder *held; /* [prompts.count] rows of documents that wait for earlier ones */
    sae_acts_builder rows;  /* of the others, in the order of the file */
    char path[1024];
} tap_layer;

typedef struct {
    const char *model, *prompts_path, *out, *site_name, *positions_name, *dtype_name, *system;
    cli_strings layer_names;
    qwen_sampling sampling;
    int max_new, raw, threads, batch;
    /* from here on: checked and opened */
    qwen_site site;
    sae_positions positions;
    tn_dtype dtype;
    tap_layer layers[MAX_LAYERS];
    int n_layers;
    writer w;
    qwen_prompts prompts;
    tok_ids *prompt_ids; /* [prompts.count] */
    tok_ids *answer_ids; /* [prompts.count] known beforehand */
    qwen_item *items;    /* [prompts.count] */
    sae_doc *docs;       /* [prompts.count]; text is owned and there when the document is finished, the others
                          * belong to prompts */
    size_t finished;     /* documents */
    size_t in_order;     /* documents whose rows are in their place: the first ones */
    cli_progress progress;
} job;

/* OUT for one of several layers: "{layer}" becomes the number, else "-L15" goes before the suffix. */
static int layer_path(char *dst, size_t cap, const char *out, int layer, int several, tn_err *e) {
    const char *mark = strstr(out, "{layer}"), *slash = strrchr(out, '/'), *dot = strrchr(out, '.');
    int n;
    if (mark)
        n = snprintf(dst, cap, "%.*s%d%s", (int)(mark - out), out, layer, mark + strlen("{layer}"));
    else if (several && dot && (!slash || dot > slash))
        n = snprintf(dst, cap, "%.*s-L%d%s", (int)(dot - out), out, layer, dot);
    else
        n = several ? snprintf(dst, cap, "%s-L%d", out, layer) : snprintf(dst, cap, "%s", out);
    return n < 0 || (size_t)n >= cap ? tn_fail(e, TN_EARG, "the name of the output file is too long") : TN_OK;
}

static int check_options(job *j, tn_err *e) {
    if (!qwen_site_from_name(j->site_name, &j->site))
        return tn_fail(
            e, TN_EARG,
            "--site: there is no site \"%s\" (resid_pre, attn_out, resid_mid, mlp_out, resid_post)",
            j->site_name);
    if (!sae_positions_parse(j->positions_name, &j->positions))
        return tn_fail(e, TN_EARG, "--positions is generated, prompt or all, not \"%s\"", j->positions_name);
    if (strcmp(j->dtype_name, "f32") != 0 && strcmp(j->dtype_name, "bf16") != 0)
        return tn_fail(e, TN_EARG, "--dtype is f32 or bf16, not \"%s\"", j->dtype_name);
    j->dtype = strcmp(j->dtype_name, "f32") == 0 ? TN_F32 : TN_BF16;
    if (j->max_new < 1) return tn_fail(e, TN_EARG, "-n must be at least 1");
    if (j->batch < 0) return tn_fail(e, TN_EARG, "--batch must be at least 1");
    for (int i = 0; i < j->layer_names.count; i++) {
        char *end;
        long layer = strtol(j->layer_names.items[i], &end, 10);
        if (end == j->layer_names.items[i] || *end || layer < 0 || layer > 1000000)
            return tn_fail(e, TN_EARG, "--layer: \"%s\" is no layer", j->layer_names.items[i]);
        for (int k = 0; k < j->n_layers; k++)
            if (j->layers[k].layer == layer) return tn_fail(e, TN_EARG, "--layer %ld is given twice", layer);
        tap_layer *l = &j->layers[j->n_layers++];
        l->layer = (int)layer;
        int code = layer_path(l->path, sizeof l->path, j->out, l->layer, j->layer_names.count > 1, e);
        if (code) return code;
    }
    return qwen_sampling_check(&j->sampling, e);
}

/* Puts the prompt's line before the error. */
static int fail_at(const job *j, size_t index, int code, tn_err *e) {
    char where[1100];
    snprintf(where, sizeof where, "%s: line %zu", j->prompts_path, j->prompts.items[index].line);
    return tn_fail_in(e, code, where);
}

/* What is to be done with each prompt; the answers come later, when the context is known. */
static int read_items(job *j, size_t *longest, tn_err *e) {
    size_t count = j->prompts.count;
    j->prompt_ids = calloc(count, sizeof *j->prompt_ids);
    j->answer_ids = calloc(count, sizeof *j->answer_ids);
    j->items = calloc(count, sizeof *j->items);
    j->docs = calloc(count, sizeof *j->docs);
    if (!j->prompt_ids || !j->answer_ids || !j->items || !j->docs)
        return tn_fail(e, TN_ENOMEM, "out of memory");
    int code = encode_prompts(&j->w, &j->prompts, j->raw, j->system, j->prompt_ids, longest, e);
    size_t room = (size_t)j->max_new;
    for (size_t i = 0; i < count && !code; i++) {
        const qwen_prompt *p = &j->prompts.items[i];
        j->items[i].replay = p->tokens || p->text || j->positions == SAE_POS_PROMPT;
        code = known_answer(&j->w, p, &j->answer_ids[i], e);
        if (j->answer_ids[i].len > room) room = j->answer_ids[i].len;
    }
    *longest += room;
    return code;
}

/* Hangs a capture on every layer. */
static int listen(job *j, tn_err *e) {
    const qwen_opts *o = qwen_state_opts(j->w.state);
    int hidden = qwen_model_config(j->w.text.model)->hidden;
    qwen_hook hooks[MAX_LAYERS];
    for (int i = 0; i < j->n_layers; i++) {
        tap_layer *l = &j->layers[i];
        size_t bytes = sae_capture_bytes(hidden, o->sequences, o->context); /* no document has more rows */
        l->block = bytes ? malloc(bytes) : NULL;
        l->held = calloc(j->prompts.count, sizeof *l->held);
        if (!l->block || !l->held) return tn_fail(e, TN_ENOMEM, "out of memory");
        int code =
            sae_capture_init(&l->capture, j->positions, hidden, o->sequences, o->context, l->block, bytes, e);
        if (code) return code;
        l->rows.d = hidden;
        hooks[i] = (qwen_hook){j->site, l->layer, l->layer, sae_capture_hook, &l->capture};
    }
    return qwen_set_hooks(j->w.state, hooks, j->n_layers, e);
}

/* Reads the prompts and makes a state with room for the longest. */
static int open_all(job *j, tn_err *e) {
    size_t longest = 0;
    int code = qwen_prompts_read(&j->prompts, j->prompts_path, e);
    if (code) return code;
    size_t count = j->prompts.count;
    if (count == 0) return tn_fail(e, TN_EFORMAT, "%s: there is no prompt", j->prompts_path);
    if (count > INT32_MAX) return tn_fail(e, TN_EUNSUP, "%s: too many prompts", j->prompts_path);
    code = writer_open(&j->w, j->model, j->threads, e);
    if (!code) code = read_items(j, &longest, e);
    if (code) return code;
    int automatic = qwen_batch_sequences(j->w.text.model, writer_context(&j->w, longest), count);
    j->w.opts.sequences = j->w.opts.logit_rows = j->batch ? j->batch : automatic;
    code = writer_start(&j->w, longest, &j->sampling, e);
    return code ? code : listen(j, e);
}

/* The tokens of prompt and answer that go through the model. */
static int set_tokens(job *j, size_t index, tn_err *e) {
    const tok_ids *prompt = &j->prompt_ids[index], *answer = &j->answer_ids[index];
    qwen_item *item = &j->items[index];
    item->prompt = prompt->data;
    item->n_prompt = (int)prompt->len;
    item->answer = answer->data;
    item->n_answer = (int)writer_fed(&j->w, prompt, answer);
    item->seed = qwen_item_seed(j->sampling.seed, index);
    int code = qwen_item_check(j->w.state, item, e);
    return code ? fail_at(j, index, code, e) : TN_OK;
}

/* Keeps the text and the rows of a finished document. */
static int keep_document(job *j, const qwen_done *done, tn_err *e) {
    const qwen_prompt *p = &j->prompts.items[done->index];
    tn_buf text = TN_BUF_INIT;
    int code = TN_OK;
    if (p->text) {
        tn_buf_add(&text, p->text, strlen(p->text) + 1);
        if (text.failed) code = tn_fail(e, TN_ENOMEM, "out of memory");
    } else {
        const tok_ids *known = &j->answer_ids[done->index];
        if (known->len)
            code = writer_decode(&j->w, known->data, known->len, &text, e);
        else
            code = writer_decode(&j->w, done->tokens, (size_t)done->n, &text, e);
    }
    j->docs[done->index] = (sae_doc){p->label, p->prompt, text.data};
    for (int i = 0; i < j->n_layers && !code; i++) {
        tap_layer *l = &j->layers[i];
        l->held[done->index].d = l->rows.d;
        code = sae_capture_take(&l->capture, done->seq, &l->held[done->index], (int32_t)done->index, e);
    }
    return code;
}

/* Moves the rows of documents that are next in the file's order to the end of l->rows. */
static int append_rows(tap_layer *l, const sae_doc *docs, size_t first, size_t count, tn_err *e) {
    for (size_t i = first; i < count && docs[i].text; i++) {
        sae_acts_builder *b = &l->held[i];
        for (size_t k = 0; k < b->n; k++)
            if (sae_acts_append(&l->rows, b->rows + k * (size_t)b->d, b->tokens[k], b->doc[k], b->pos[k]))
                return tn_fail(e, TN_ENOMEM, "out of memory");
        sae_acts_builder_free(b);
    }
    return TN_OK;
}

static int document_done(void *ctx, const qwen_done *done, tn_err *e) {
    job *j = ctx;
    size_t count = j->prompts.count;
    int code = keep_document(j, done, e);
    for (int i = 0; i < j->n_layers && !code; i++)
        code = append_rows(&j->layers[i], j->docs, j->in_order, count, e);
    while (j->in_order < count && j->docs[j->in_order].text) j->in_order++;
    if (code) return fail_at(j, done->index, code, e);
    cli_progress_update(&j->progress, (double)++j->finished, NULL);
    return TN_OK;
}

static int run_all(job *j, tn_err *e) {
    /* Who asks for prompt rows asks for those of every prompt. */
    const qwen_batch_opts o = {.gen = {j->max_new, j->w.text.stops, j->w.text.n_stops},
                               .feed_last = 1,
                               .sampling = j->sampling,
                               .share_prefixes = j->positions == SAE_POS_GENERATED};
    for (size_t i = 0; i < j->prompts.count; i++) {
        int code = set_tokens(j, i, e);
        if (code) return code;
    }
    j->progress = cli_progress_start("capture", "prompts", (double)j->prompts.count);
    int code = qwen_batch_run(j->w.state, j->items, j->prompts.count, &o, document_done, j, e);
    cli_progress_end(&j->progress);
    if (!code && j->layers[0].rows.n == 0)
        code = tn_fail(e, TN_EARG, "%s: no position was selected, nothing to write", j->prompts_path);
    return code;
}

/* How the texts came about, as a JSON object. */
static void describe_sampling(const job *j, tn_buf *out) {
    tn_json_out w = tn_json_writer(out, 0);
    tn_json_begin_object(&w);
    tn_json_key(&w, "max_new");
    tn_json_put_i64(&w, j->max_new);
    qwen_sampling_put(&w, &j->sampling);
    tn_json_end_object(&w);
}

static int write_all(job *j, tn_err *e) {
    size_t written_here = 0;
    for (size_t i = 0; i < j->prompts.count; i++)
        written_here += !j->prompts.items[i].tokens && !j->prompts.items[i].text;
    tn_buf sampling = TN_BUF_INIT;
    describe_sampling(j, &sampling);
    if (sampling.failed) return tn_fail(e, TN_ENOMEM, "out of memory");
    /* Replayed stories were sampled elsewhere: their settings are not ours to claim. */
    const tn_pair extra[] = {{"positions", sae_positions_name(j->positions)},
                             {"prompts_file", j->prompts_path},
                             {"sampling", sampling.data}};
    size_t n_extra = written_here && j->positions != SAE_POS_PROMPT ? 3 : 2;
    int code = TN_OK;
    for (int i = 0; i < j->n_layers && !code; i++) {
        char hook[64];
        qwen_hook_name(hook, sizeof hook, j->layers[i].layer, j->site);
        code =
            sae_acts_write(&j->layers[i].rows, j->layers[i].path, j->dtype, qwen_model_name(j->w.text.model),
                           hook, j->docs, j->prompts.count, extra, n_extra, e);
        if (!code)
            printf("%s: %zu rows of %s, width %d, from %zu prompts\n", j->layers[i].path, j->layers[i].rows.n,
                   hook, j->layers[i].rows.d, j->prompts.count);
    }
    tn_buf_free(&sampling);
    return code;
}

static void close_all(job *j) {
    for (int i = 0; i < j->n_layers; i++) {
        tap_layer *l = &j->layers[i];
        for (size_t k = 0; k < j->prompts.count && l->held; k++) sae_acts_builder_free(&l->held[k]);
        free(l->held);
        free(l->block);
        sae_acts_builder_free(&l->rows);
    }
    for (size_t i = 0; i < j->prompts.count && j->docs; i++) free(j->docs[i].text);
    free(j->docs);
    free(j->items);
    free_prompt_ids(j->prompt_ids, j->prompts.count);
    free_prompt_ids(j->answer_ids, j->prompts.count);
    writer_close(&j->w);
    qwen_prompts_free(&j->prompts);
}

static const char summary[] =
    "Runs prompts through a model and writes the residual stream, one row per selected token.\n"
    "FILE.jsonl has one object a line: {\"prompt\": \"...\", \"label\": \"car\"}. Lines that already hold an "
    "answer\n"
    "(\"tokens\" or \"text\", as written by `qwen generate --jsonl`) are replayed, the others are answered "
    "here.\n"
    "With several --layer, \"{layer}\" in OUT becomes the layer; without it \"-L15\" goes before the suffix.";

int cmd_capture(int argc, char **argv) {
    job j = {.sampling = qwen_sampling_default(),
             .max_new = 80,
             .site_name = "resid_post",
             .positions_name = "generated",
             .dtype_name = "f32"};
    const cli_option options[] = {
        {"-m", "--model", CLI_STRING, &j.model, "DIR", "Hugging Face model directory", 1},
        {"--layer", "-l", CLI_STRINGS, &j.layer_names, "L", "layer to capture; may be repeated", 1},
        {"--prompts", NULL, CLI_STRING, &j.prompts_path, "FILE.jsonl", "prompts, or stories to replay", 1},
        {"-o", "--output", CLI_STRING, &j.out, "OUT.safetensors", "activation file to write", 1},
        {"-n", NULL, CLI_INT, &j.max_new, "N", "most tokens to generate per prompt (80)", 0},
        {"--site", NULL, CLI_STRING, &j.site_name, "SITE",
         "resid_pre, attn_out, resid_mid, mlp_out or resid_post (default)", 0},
        {"--positions", NULL, CLI_STRING, &j.positions_name, "WHICH", "generated (default), prompt or all",
         0},
        {"--dtype", NULL, CLI_STRING, &j.dtype_name, "T", "f32 (default) or bf16", 0},
        {"--raw", NULL, CLI_FLAG, &j.raw, NULL, "no chat template around the prompt", 0},
        {"--system", NULL, CLI_STRING, &j.system, "TEXT", "system message (default: the template's)", 0},
        SAMPLING_OPTIONS(j.sampling),
        {"--batch", NULL, CLI_INT, &j.batch, "N", "prompts at once (what memory allows, up to 32)", 0},
        {"--threads", NULL, CLI_INT, &j.threads, "N", "threads (0: one per core)", 0},
        {0},
    };
    int exit_code = cli_parse("sae", "capture", summary, options, argc, argv, NULL, 0, NULL);
    if (exit_code >= 0) return exit_code;
    tn_err e;
    if (check_options(&j, &e)) return cli_usage_error("sae", "capture", "%s", e.msg);
    int code = open_all(&j, &e);
    if (!code) code = run_all(&j, &e);
    if (!code) code = write_all(&j, &e);
    close_all(&j);
    return code ? cli_error("sae", &e) : 0;
}
