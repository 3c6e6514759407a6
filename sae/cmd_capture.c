/* sae capture: runs prompts (or stories written before) or texts through a model and keeps the residual
 * stream.
 *
 * A line that already holds an answer ("tokens", or else "text") is replayed: prompt and answer go through
 * prefill, which gives the same bits as decoding did. Other prompts are answered here. Texts are cut into
 * windows of tokens, each of which is a document.
 */
#include "qwen/batch.h"
#include "sae/attach.h"
#include "sae/cmd_capture_out.h"
#include "sae/cmd_texts.h"
#include "sae/commands.h"
#include "tensor/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARD_BYTES ((size_t)1 << 30) /* of rows, unless --shard says otherwise */

/* One captured layer. */
typedef struct {
    int layer;
    sae_capture capture;
    void *block; /* behind capture */
} tap_layer;

/* A document that is finished and waits for earlier ones. */
typedef struct {
    char *text;             /* NULL: not finished */
    sae_acts_builder *rows; /* [n_layers] */
} held_doc;

typedef struct {
    const char *model, *prompts_path, *out, *site_name, *positions_name, *dtype_name, *system;
    cli_strings layer_names;
    texts_opts text_opts;
    qwen_sampling sampling;
    int max_new, raw, threads, batch, shard_rows, resume;
    /* from here on: checked and opened */
    qwen_site site;
    sae_positions positions;
    tap_layer layers[MAX_LAYERS];
    int n_layers;
    writer w;
    text_windows texts;   /* with --text: the documents are its windows, */
    qwen_prompts prompts; /* else prompts */
    size_t count;         /* documents */
    size_t first;         /* those before are in earlier shards */
    size_t next;          /* those before are in the output */
    tok_ids *prompt_ids;  /* [prompts.count] */
    tok_ids *answer_ids;  /* [prompts.count] known beforehand */
    qwen_item *items;     /* [count] */
    held_doc *held;       /* [count] */
    capture_out output;
    tn_pair extra[16]; /* metadata of the files */
    size_t n_extra;
    tn_buf sampling_text, paths_text;
    char count_text[24], ctx_text[24], norm_text[32];
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
    if (!j->positions_name) j->positions_name = j->prompts_path ? "generated" : "all";
    if (!sae_positions_parse(j->positions_name, &j->positions))
        return tn_fail(e, TN_EARG, "--positions is generated, prompt or all, not \"%s\"", j->positions_name);
    if (strcmp(j->dtype_name, "f32") != 0 && strcmp(j->dtype_name, "bf16") != 0)
        return tn_fail(e, TN_EARG, "--dtype is f32 or bf16, not \"%s\"", j->dtype_name);
    j->output.dtype = strcmp(j->dtype_name, "f32") == 0 ? TN_F32 : TN_BF16;
    int code = texts_check(&j->text_opts, e);
    if (code) return code;
    if (!!j->prompts_path == (j->text_opts.paths.count > 0))
        return tn_fail(e, TN_EARG, "give either --prompts FILE.jsonl or --text FILE");
    if (!j->prompts_path && j->positions != SAE_POS_ALL)
        return tn_fail(e, TN_EARG, "--text has no prompt: --positions can only be all");
    if (!j->prompts_path && (j->raw || j->system))
        return tn_fail(e, TN_EARG, "--text has no prompt: --raw and --system go with --prompts");
    if (j->shard_rows < 0) return tn_fail(e, TN_EARG, "--shard must be at least 1");
    if (j->max_new < 1) return tn_fail(e, TN_EARG, "-n must be at least 1");
    if (j->batch < 0) return tn_fail(e, TN_EARG, "--batch must be at least 1");
    for (int i = 0; i < j->layer_names.count; i++) {
        char *end;
        long layer = strtol(j->layer_names.items[i], &end, 10);
        if (end == j->layer_names.items[i] || *end || layer < 0 || layer > 1000000)
            return tn_fail(e, TN_EARG, "--layer: \"%s\" is no layer", j->layer_names.items[i]);
        for (int k = 0; k < j->n_layers; k++)
            if (j->layers[k].layer == layer) return tn_fail(e, TN_EARG, "--layer %ld is given twice", layer);
        out_layer *o = &j->output.layers[j->n_layers];
        j->layers[j->n_layers++].layer = (int)layer;
        code = layer_path(o->path, sizeof o->path, j->out, (int)layer, j->layer_names.count > 1, e);
        if (code) return code;
    }
    j->output.n_layers = j->n_layers;
    return qwen_sampling_check(&j->sampling, e);
}

/* Puts the document's place before the error. */
static int fail_at(const job *j, size_t index, int code, tn_err *e) {
    char where[1100];
    if (j->prompts_path)
        snprintf(where, sizeof where, "%s: line %zu", j->prompts_path, j->prompts.items[index].line);
    else
        snprintf(where, sizeof where, "window %zu", index + 1);
    return tn_fail_in(e, code, where);
}

/* ---- Documents ---- */

static int make_room(job *j, size_t count, tn_err *e) {
    j->count = count;
    j->items = calloc(count, sizeof *j->items);
    j->held = calloc(count, sizeof *j->held);
    return j->items && j->held ? TN_OK : tn_fail(e, TN_ENOMEM, "no memory for %zu documents", count);
}

/* What is to be done with each prompt; the answers come later, when the context is known. */
static int read_prompts(job *j, size_t *longest, tn_err *e) {
    int code = qwen_prompts_read(&j->prompts, j->prompts_path, e);
    if (code) return code;
    size_t count = j->prompts.count, room = (size_t)j->max_new;
    if (count == 0) return tn_fail(e, TN_EFORMAT, "%s: there is no prompt", j->prompts_path);
    if ((code = make_room(j, count, e))) return code;
    j->prompt_ids = calloc(count, sizeof *j->prompt_ids);
    j->answer_ids = calloc(count, sizeof *j->answer_ids);
    if (!j->prompt_ids || !j->answer_ids) return tn_fail(e, TN_ENOMEM, "out of memory");
    code = encode_prompts(&j->w, &j->prompts, j->raw, j->system, j->prompt_ids, longest, e);
    for (size_t i = 0; i < count && !code; i++) {
        const qwen_prompt *p = &j->prompts.items[i];
        j->items[i].replay = p->tokens || p->text || j->positions == SAE_POS_PROMPT;
        code = known_answer(&j->w, p, &j->answer_ids[i], e);
        if (j->answer_ids[i].len > room) room = j->answer_ids[i].len;
    }
    *longest += room;
    return code;
}

static int read_texts(job *j, size_t *longest, tn_err *e) {
    int limit = qwen_max_context(j->w.text.model);
    int code = texts_read(&j->texts, &j->text_opts, j->w.text.tok, e);
    if (code) return code;
    *longest = j->texts.ctx;
    if (*longest > (size_t)limit)
        return tn_fail(e, TN_ECTX, "windows of %zu tokens do not fit in the model's context of %d", *longest,
                       limit);
    return make_room(j, j->texts.windows, e);
}

/* Fills in the tokens of prompt and answer that go through the model; a window is a prompt without an answer.
 */
static int set_item(job *j, size_t index, tn_err *e) {
    qwen_item *item = &j->items[index];
    if (j->prompts_path) {
        const tok_ids *prompt = &j->prompt_ids[index], *answer = &j->answer_ids[index];
        item->prompt = prompt->data;
        item->n_prompt = (int)prompt->len;
        item->answer = answer->data;
        item->n_answer = (int)writer_fed(&j->w, prompt, answer);
        item->seed = qwen_item_seed(j->sampling.seed, index);
    } else {
        *item =
            (qwen_item){.prompt = texts_window(&j->texts, index), .n_prompt = (int)j->texts.ctx, .replay = 1};
    }
    int code = qwen_item_check(j->w.state, item, e);
    return code ? fail_at(j, index, code, e) : TN_OK;
}

/* ---- Preparation ---- */

/* Hangs a capture on every layer. */
static int listen(job *j, tn_err *e) {
    const qwen_opts *o = qwen_state_opts(j->w.state);
    int hidden = qwen_model_config(j->w.text.model)->hidden;
    qwen_hook hooks[MAX_LAYERS];
    for (int i = 0; i < j->n_layers; i++) {
        tap_layer *l = &j->layers[i];
        size_t bytes = sae_capture_bytes(hidden, o->sequences, o->context); /* no document has more rows */
        l->block = bytes ? malloc(bytes) : NULL;
        if (!l->block) return tn_fail(e, TN_ENOMEM, "out of memory");
        int code =
            sae_capture_init(&l->capture, j->positions, hidden, o->sequences, o->context, l->block, bytes, e);
        if (code) return code;
        l->capture.skip_first = j->text_opts.skip_first;
        hooks[i] = (qwen_hook){j->site, l->layer, l->layer, sae_capture_hook, &l->capture};
    }
    return qwen_set_hooks(j->w.state, hooks, j->n_layers, e);
}

static void add_extra(job *j, const char *key, const char *value) {
    j->extra[j->n_extra++] = (tn_pair){key, value};
}

/* How the texts came about, as a JSON object. */
static void describe_sampling(job *j) {
    tn_json_out w = tn_json_writer(&j->sampling_text, 0);
    tn_json_begin_object(&w);
    tn_json_key(&w, "max_new");
    tn_json_put_i64(&w, j->max_new);
    qwen_sampling_put(&w, &j->sampling);
    tn_json_end_object(&w);
}

static void describe_prompts(job *j) {
    size_t written_here = 0;
    for (size_t i = 0; i < j->count; i++)
        written_here += !j->prompts.items[i].tokens && !j->prompts.items[i].text;
    add_extra(j, "prompts_file", j->prompts_path);
    /* Replayed stories were sampled elsewhere: their settings are not ours to claim. */
    if (!written_here || j->positions == SAE_POS_PROMPT) return;
    describe_sampling(j);
    add_extra(j, "sampling", j->sampling_text.data);
}

static void describe_texts(job *j) {
    tn_json_out w = tn_json_writer(&j->paths_text, 0);
    tn_json_begin_array(&w);
    for (int i = 0; i < j->text_opts.paths.count; i++) tn_json_puts(&w, j->text_opts.paths.items[i]);
    tn_json_end_array(&w);
    snprintf(j->ctx_text, sizeof j->ctx_text, "%zu", j->texts.ctx);
    snprintf(j->count_text, sizeof j->count_text, "%zu", j->texts.tokens.len);
    add_extra(j, "text_files", j->paths_text.data);
    add_extra(j, "text_tokens", j->count_text);
    add_extra(j, "context_size", j->ctx_text);
    add_extra(j, "prepend_bos", j->text_opts.bos ? "true" : "false");
    if (j->text_opts.bos) add_extra(j, "bos_token", j->text_opts.bos);
}

/* The metadata, and the files. */
static int open_output(job *j, tn_err *e) {
    capture_out *o = &j->output;
    size_t hidden = (size_t)qwen_model_config(j->w.text.model)->hidden;
    add_extra(j, "positions", sae_positions_name(j->positions));
    if (j->prompts_path)
        describe_prompts(j);
    else
        describe_texts(j);
    if (j->text_opts.skip_first) add_extra(j, "skip_first", "true");
    if (j->text_opts.max_norm > 0) {
        snprintf(j->norm_text, sizeof j->norm_text, "%.9g", (double)j->text_opts.max_norm);
        add_extra(j, "max_norm", j->norm_text);
    }
    if (j->sampling_text.failed || j->paths_text.failed) return tn_fail(e, TN_ENOMEM, "out of memory");
    o->model_name = qwen_model_name(j->w.text.model);
    o->max_norm = j->text_opts.max_norm;
    o->extra = j->extra;
    o->n_extra = j->n_extra;
    o->shard_rows = j->shard_rows ? (size_t)j->shard_rows : SHARD_BYTES / hidden / tn_dtype_size(o->dtype);
    for (int i = 0; i < j->n_layers; i++) {
        o->layers[i].rows.d = (int)hidden;
        qwen_hook_name(o->layers[i].hook, sizeof o->layers[i].hook, j->layers[i].layer, j->site);
    }
    int code = capture_out_begin(o, j->resume, &j->first, e);
    if (!code && j->first > j->count)
        code = tn_fail(e, TN_EARG, "the shards hold %zu documents, there are only %zu", j->first, j->count);
    j->next = j->first;
    return code;
}

/* Reads the documents and makes a state with room for the longest. */
static int open_all(job *j, tn_err *e) {
    size_t longest = 0;
    int code = writer_open(&j->w, j->model, j->threads, e);
    if (!code) code = j->prompts_path ? read_prompts(j, &longest, e) : read_texts(j, &longest, e);
    if (code) return code;
    if (j->count > INT32_MAX) return tn_fail(e, TN_EUNSUP, "%zu documents are too many", j->count);
    int automatic = qwen_batch_sequences(j->w.text.model, writer_context(&j->w, longest), j->count);
    j->w.opts.sequences = j->w.opts.logit_rows = j->batch ? j->batch : automatic;
    code = writer_start(&j->w, longest, &j->sampling, e);
    if (!code) code = listen(j, e);
    for (size_t i = 0; i < j->count && !code; i++) code = set_item(j, i, e);
    return code ? code : open_output(j, e);
}

/* ---- The run ---- */

/* The text of a finished document. */
static int put_text(job *j, size_t index, const qwen_done *done, tn_buf *text, tn_err *e) {
    if (!j->prompts_path) return writer_decode(&j->w, texts_window(&j->texts, index), j->texts.ctx, text, e);
    const qwen_prompt *p = &j->prompts.items[index];
    const tok_ids *known = &j->answer_ids[index];
    if (known->len && !p->text) return writer_decode(&j->w, known->data, known->len, text, e);
    if (!p->text) return writer_decode(&j->w, done->tokens, (size_t)done->n, text, e);
    tn_buf_add(text, p->text, strlen(p->text) + 1);
    return text->failed ? tn_fail(e, TN_ENOMEM, "out of memory") : TN_OK;
}

/* Keeps the text and the rows of a finished document. */
static int keep_document(job *j, size_t index, const qwen_done *done, tn_err *e) {
    held_doc *h = &j->held[index];
    tn_buf text = TN_BUF_INIT;
    h->rows = calloc((size_t)j->n_layers, sizeof *h->rows);
    int code = h->rows ? put_text(j, index, done, &text, e) : tn_fail(e, TN_ENOMEM, "out of memory");
    h->text = text.data;
    for (int i = 0; i < j->n_layers && !code; i++) {
        h->rows[i].d = j->output.layers[i].rows.d;
        code = sae_capture_take(&j->layers[i].capture, done->seq, &h->rows[i], 0, e);
    }
    return code;
}

static void free_held(const job *j, held_doc *h) {
    for (int i = 0; i < j->n_layers && h->rows; i++) sae_acts_builder_free(&h->rows[i]);
    free(h->rows);
    free(h->text);
    *h = (held_doc){NULL, NULL};
}

/* Hands the documents that are next in order to the output. */
static int hand_over(job *j, tn_err *e) {
    int code = TN_OK;
    for (; j->next < j->count && j->held[j->next].text && !code; j->next++) {
        held_doc *h = &j->held[j->next];
        sae_doc doc = {.text = h->text};
        if (j->prompts_path) {
            doc.label = j->prompts.items[j->next].label;
            doc.prompt = j->prompts.items[j->next].prompt;
        }
        h->text = NULL; /* the output's now */
        code = capture_out_add(&j->output, doc, h->rows, e);
        free_held(j, h);
    }
    return code;
}

static int document_done(void *ctx, const qwen_done *done, tn_err *e) {
    job *j = ctx;
    size_t index = j->first + done->index;
    int code = keep_document(j, index, done, e);
    if (code) return fail_at(j, index, code, e);
    cli_progress_update(&j->progress, j->progress.done + 1, NULL);
    return hand_over(j, e);
}

static int run_all(job *j, tn_err *e) {
    /* Who asks for prompt rows asks for those of every prompt. */
    const qwen_batch_opts o = {.gen = {j->max_new, j->w.text.stops, j->w.text.n_stops},
                               .feed_last = 1,
                               .sampling = j->sampling,
                               .share_prefixes = j->positions == SAE_POS_GENERATED};
    size_t left = j->count - j->first;
    j->progress = cli_progress_start("capture", j->prompts_path ? "prompts" : "windows", (double)left);
    int code = qwen_batch_run(j->w.state, j->items + j->first, left, &o, document_done, j, e);
    cli_progress_end(&j->progress);
    return code ? code : capture_out_end(&j->output, e);
}

static void print_result(const job *j) {
    for (int i = 0; i < j->n_layers; i++) {
        const out_layer *l = &j->output.layers[i];
        printf("%s: %zu rows of %s, width %d, from %zu %s", l->path, l->written, l->hook, l->rows.d, j->count,
               j->prompts_path ? "prompts" : "windows");
        if (j->output.shards) printf(", in %d shards", j->output.shards);
        printf("\n");
    }
}

static void close_all(job *j) {
    for (int i = 0; i < j->n_layers; i++) free(j->layers[i].block);
    for (size_t i = 0; i < j->count && j->held; i++) free_held(j, &j->held[i]);
    capture_out_free(&j->output);
    free(j->held);
    free(j->items);
    free_prompt_ids(j->prompt_ids, j->prompts.count);
    free_prompt_ids(j->answer_ids, j->prompts.count);
    tn_buf_free(&j->sampling_text);
    tn_buf_free(&j->paths_text);
    texts_free(&j->texts);
    writer_close(&j->w);
    qwen_prompts_free(&j->prompts);
}

static const char summary[] =
    "Runs prompts or texts through a model and writes the residual stream, one row per selected token.\n"
    "FILE.jsonl has one object a line: {\"prompt\": \"...\", \"label\": \"car\"}. Lines that already hold\n"
    "an answer (\"tokens\" or \"text\", as written by `qwen generate --jsonl`) are replayed, the others\n"
    "are answered here.\n"
    "Texts are joined by <|endoftext|> and cut into windows of --ctx tokens; each window is a document.\n"
    "With several --layer, \"{layer}\" in OUT becomes the layer; without it \"-L15\" goes before the "
    "suffix.\n"
    "Rows that outgrow one shard are written as OUT-00001.safetensors, OUT-00002.safetensors, … as they\n"
    "come; the other commands open them under the name OUT.safetensors.";

int cmd_capture(int argc, char **argv) {
    job j = {
        .sampling = qwen_sampling_default(), .max_new = 80, .site_name = "resid_post", .dtype_name = "f32"};
    const cli_option options[] = {
        {"-m", "--model", CLI_STRING, &j.model, "DIR", "Hugging Face model directory", 1},
        {"--layer", "-l", CLI_STRINGS, &j.layer_names, "L", "layer to capture; may be repeated", 1},
        {"--prompts", NULL, CLI_STRING, &j.prompts_path, "FILE.jsonl", "prompts, or stories to replay", 0},
        TEXTS_OPTIONS(j.text_opts),
        {"-o", "--output", CLI_STRING, &j.out, "OUT.safetensors", "activation file to write", 1},
        {"-n", NULL, CLI_INT, &j.max_new, "N", "most tokens to generate per prompt (80)", 0},
        {"--site", NULL, CLI_STRING, &j.site_name, "SITE",
         "resid_pre, attn_out, resid_mid, mlp_out or resid_post (default)", 0},
        {"--positions", NULL, CLI_STRING, &j.positions_name, "WHICH",
         "prompts: generated (default), prompt or all", 0},
        {"--dtype", NULL, CLI_STRING, &j.dtype_name, "T", "f32 (default) or bf16", 0},
        {"--shard", NULL, CLI_INT, &j.shard_rows, "ROWS", "most rows of a file (1 GiB of them)", 0},
        {"--resume", NULL, CLI_FLAG, &j.resume, NULL, "go on behind the shards that are there", 0},
        {"--raw", NULL, CLI_FLAG, &j.raw, NULL, "no chat template around the prompt", 0},
        {"--system", NULL, CLI_STRING, &j.system, "TEXT", "system message (default: the template's)", 0},
        SAMPLING_OPTIONS(j.sampling),
        {"--batch", NULL, CLI_INT, &j.batch, "N", "prompts or windows at once (what memory allows, up to 32)",
         0},
        {"--threads", NULL, CLI_INT, &j.threads, "N", "threads (0: one per core)", 0},
        {0},
    };
    int exit_code = cli_parse("sae", "capture", summary, options, argc, argv, NULL, 0, NULL);
    if (exit_code >= 0) return exit_code;
    tn_err e;
    if (check_options(&j, &e)) return cli_usage_error("sae", "capture", "%s", e.msg);
    int code = open_all(&j, &e);
    if (!code) code = run_all(&j, &e);
    if (!code) print_result(&j);
    close_all(&j);
    return code ? cli_error("sae", &e) : 0;
}
