/* sae capture: runs prompts (or stories written before) or texts through a model and keeps the residual
 * stream.
 *
 * A line that already holds an answer ("tokens", or else "text") is replayed: prompt and answer go through
 * prefill, which gives the same bits as decoding did. Other prompts are answered here. Texts are cut into
 * windows of tokens, each of which is a document.
 */
#include "sae/cmd_capture_note.h"
#include "sae/cmd_capture_out.h"

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
    int finished;
    sae_doc doc;
    sae_acts_builder *rows; /* [n_layers] */
} held_doc;

typedef struct {
    const char *model, *out, *site_name, *positions_name, *dtype_name;
    cli_strings layer_names;
    qwen_sampling sampling;
    int threads, batch, shard_rows, resume;
    capture_docs docs;
    /* from here on: checked and opened */
    qwen_site site;
    tap_layer layers[MAX_LAYERS];
    int n_layers;
    writer w;
    size_t next;    /* documents before are in the output */
    held_doc *held; /* [docs.room] of the stretch */
    capture_note note;
    capture_out output;
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
    capture_docs *d = &j->docs;
    if (!qwen_site_from_name(j->site_name, &j->site))
        return tn_fail(
            e, TN_EARG,
            "--site: there is no site \"%s\" (resid_pre, attn_out, resid_mid, mlp_out, resid_post)",
            j->site_name);
    if (!j->positions_name) j->positions_name = d->prompts_path ? "generated" : "all";
    if (!sae_positions_parse(j->positions_name, &d->positions))
        return tn_fail(e, TN_EARG, "--positions is generated, prompt or all, not \"%s\"", j->positions_name);
    if (strcmp(j->dtype_name, "f32") != 0 && strcmp(j->dtype_name, "bf16") != 0)
        return tn_fail(e, TN_EARG, "--dtype is f32 or bf16, not \"%s\"", j->dtype_name);
    j->output.dtype = strcmp(j->dtype_name, "f32") == 0 ? TN_F32 : TN_BF16;
    int code = texts_check(&d->text_opts, e);
    if (code) return code;
    if (!!d->prompts_path == (d->text_opts.paths.count > 0))
        return tn_fail(e, TN_EARG, "give either --prompts FILE.jsonl or --text FILE");
    if (!d->prompts_path && d->positions != SAE_POS_ALL)
        return tn_fail(e, TN_EARG, "--text has no prompt: --positions can only be all");
    if (!d->prompts_path && (d->raw || d->system))
        return tn_fail(e, TN_EARG, "--text has no prompt: --raw and --system go with --prompts");
    if (j->shard_rows < 0) return tn_fail(e, TN_EARG, "--shard must be at least 1");
    if (d->max_new < 1) return tn_fail(e, TN_EARG, "-n must be at least 1");
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
        int code = sae_capture_init(&l->capture, j->docs.positions, hidden, o->sequences, o->context,
                                    l->block, bytes, e);
        if (code) return code;
        l->capture.skip_first = j->docs.text_opts.skip_first;
        hooks[i] = (qwen_hook){j->site, l->layer, l->layer, sae_capture_hook, &l->capture};
    }
    return qwen_set_hooks(j->w.state, hooks, j->n_layers, e);
}

/* The metadata, and the files. */
static int open_output(job *j, tn_err *e) {
    capture_out *o = &j->output;
    size_t hidden = (size_t)qwen_model_config(j->w.text.model)->hidden;
    int code = capture_note_make(&j->note, &j->docs, &j->sampling, e);
    if (code) return code;
    o->model_name = qwen_model_name(j->w.text.model);
    o->max_norm = j->docs.text_opts.max_norm;
    o->extra = j->note.pairs;
    o->n_extra = j->note.n;
    o->shard_rows = j->shard_rows ? (size_t)j->shard_rows : SHARD_BYTES / hidden / tn_dtype_size(o->dtype);
    for (int i = 0; i < j->n_layers; i++) {
        o->layers[i].rows.d = (int)hidden;
        qwen_hook_name(o->layers[i].hook, sizeof o->layers[i].hook, j->layers[i].layer, j->site);
    }
    code = capture_out_begin(o, j->resume, &j->next, e);
    if (!code && j->next > j->docs.count)
        code =
            tn_fail(e, TN_EARG, "the shards hold %zu documents, there are only %zu", j->next, j->docs.count);
    return code;
}

/* Reads the documents, makes a state with room for the longest, and finds out what cannot be run before
 * anything is written. */
static int open_all(job *j, tn_err *e) {
    size_t longest = 0;
    j->docs.seed = j->sampling.seed;
    int code = writer_open(&j->w, j->model, j->threads, e);
    if (!code) code = capture_docs_open(&j->docs, &j->w, &longest, e);
    if (code) return code;
    j->held = calloc(j->docs.room, sizeof *j->held);
    if (!j->held) return tn_fail(e, TN_ENOMEM, "no memory for %zu documents", j->docs.room);
    int automatic = qwen_batch_sequences(j->w.text.model, writer_context(&j->w, longest), j->docs.count);
    j->w.opts.sequences = j->w.opts.logit_rows = j->batch ? j->batch : automatic;
    code = writer_start(&j->w, longest, &j->sampling, e);
    if (!code) code = listen(j, e);
    if (!code) code = capture_docs_stretch(&j->docs, &j->w, 0, e);
    return code ? code : open_output(j, e);
}

/* ---- The run ---- */

/* Keeps the text and the rows of a finished document. */
static int keep_document(job *j, held_doc *h, size_t index, const qwen_done *done, tn_err *e) {
    h->rows = calloc((size_t)j->n_layers, sizeof *h->rows);
    if (!h->rows) return tn_fail(e, TN_ENOMEM, "out of memory");
    int code = capture_docs_take(&j->docs, &j->w, index, done, &h->doc, e);
    for (int i = 0; i < j->n_layers && !code; i++) {
        h->rows[i].d = j->output.layers[i].rows.d;
        code = sae_capture_take(&j->layers[i].capture, done->seq, &h->rows[i], 0, e);
    }
    h->finished = !code;
    return code;
}

static void free_held(const job *j, held_doc *h) {
    for (int i = 0; i < j->n_layers && h->rows; i++) sae_acts_builder_free(&h->rows[i]);
    free(h->rows);
    free(h->doc.text);
    *h = (held_doc){0};
}

/* Hands the documents that are next in order to the output. */
static int hand_over(job *j, tn_err *e) {
    int code = TN_OK;
    for (; j->next < j->docs.first + j->docs.n && !code; j->next++) {
        held_doc *h = &j->held[j->next - j->docs.first];
        if (!h->finished) break;
        code = capture_out_add(&j->output, h->doc, h->rows, e);
        h->doc.text = NULL; /* the output's now */
        free_held(j, h);
    }
    return code;
}

static int document_done(void *ctx, const qwen_done *done, tn_err *e) {
    job *j = ctx;
    size_t index = j->docs.first + done->index;
    int code = keep_document(j, &j->held[done->index], index, done, e);
    if (code) return capture_docs_fail(&j->docs, index, code, e);
    cli_progress_update(&j->progress, j->progress.done + 1, NULL);
    return hand_over(j, e);
}

static int run_all(job *j, tn_err *e) {
    capture_docs *d = &j->docs;
    /* Who asks for prompt rows asks for those of every prompt. */
    const qwen_batch_opts o = {.gen = {d->max_new, j->w.text.stops, j->w.text.n_stops},
                               .feed_last = 1,
                               .sampling = j->sampling,
                               .share_prefixes = d->positions == SAE_POS_GENERATED};
    int code = TN_OK;
    j->progress =
        cli_progress_start("capture", d->prompts_path ? "prompts" : "windows", (double)(d->count - j->next));
    while (j->next < d->count && !code) {
        code = capture_docs_stretch(d, &j->w, j->next, e);
        if (!code) code = qwen_batch_run(j->w.state, d->items, d->n, &o, document_done, j, e);
    }
    cli_progress_end(&j->progress);
    return code ? code : capture_out_end(&j->output, e);
}

static void print_result(const job *j) {
    for (int i = 0; i < j->n_layers; i++) {
        const out_layer *l = &j->output.layers[i];
        printf("%s: %zu rows of %s, width %d, from %zu %s", l->path, l->written, l->hook, l->rows.d,
               j->docs.count, j->docs.prompts_path ? "prompts" : "windows");
        if (j->output.shards) printf(", in %d shards", j->output.shards);
        printf("\n");
    }
}

static void close_all(job *j) {
    for (int i = 0; i < j->n_layers; i++) free(j->layers[i].block);
    for (size_t i = 0; i < j->docs.room && j->held; i++) free_held(j, &j->held[i]);
    free(j->held);
    capture_out_free(&j->output);
    capture_note_free(&j->note);
    capture_docs_close(&j->docs);
    writer_close(&j->w);
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
    job j = {.sampling = qwen_sampling_default(),
             .docs = {.max_new = 80},
             .site_name = "resid_post",
             .dtype_name = "f32"};
    const cli_option options[] = {
        {"-m", "--model", CLI_STRING, &j.model, "DIR", "Hugging Face model directory", 1},
        {"--layer", "-l", CLI_STRINGS, &j.layer_names, "L", "layer to capture; may be repeated", 1},
        {"--prompts", NULL, CLI_STRING, &j.docs.prompts_path, "FILE.jsonl", "prompts, or stories to replay",
         0},
        TEXTS_OPTIONS(j.docs.text_opts),
        {"-o", "--output", CLI_STRING, &j.out, "OUT.safetensors", "activation file to write", 1},
        {"-n", NULL, CLI_INT, &j.docs.max_new, "N", "most tokens to generate per prompt (80)", 0},
        {"--site", NULL, CLI_STRING, &j.site_name, "SITE",
         "resid_pre, attn_out, resid_mid, mlp_out or resid_post (default)", 0},
        {"--positions", NULL, CLI_STRING, &j.positions_name, "WHICH",
         "prompts: generated (default), prompt or all", 0},
        {"--dtype", NULL, CLI_STRING, &j.dtype_name, "T", "f32 (default) or bf16", 0},
        {"--shard", NULL, CLI_INT, &j.shard_rows, "ROWS", "most rows of a file (1 GiB of them)", 0},
        {"--resume", NULL, CLI_FLAG, &j.resume, NULL, "go on behind the shards that are there", 0},
        {"--raw", NULL, CLI_FLAG, &j.docs.raw, NULL, "no chat template around the prompt", 0},
        {"--system", NULL, CLI_STRING, &j.docs.system, "TEXT", "system message (default: the template's)", 0},
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
