/* Metadata of a capture (cmd_capture_note.h); docs/FORMATS.md lists the keys. */
#include "sae/cmd_capture_note.h"

#include <stdio.h>

static void add(capture_note *n, const char *key, const char *value) {
    n->pairs[n->n++] = (tn_pair){key, value};
}

/* How the answers were written, as a JSON object. */
static void put_sampling(tn_buf *out, const capture_docs *d, const qwen_sampling *sampling) {
    tn_json_out w = tn_json_writer(out, 0);
    tn_json_begin_object(&w);
    tn_json_key(&w, "max_new");
    tn_json_put_i64(&w, d->max_new);
    qwen_sampling_put(&w, sampling);
    tn_json_end_object(&w);
}

static void describe_prompts(capture_note *n, const capture_docs *d, const qwen_sampling *sampling) {
    size_t written_here = 0;
    for (size_t i = 0; i < d->count; i++)
        written_here += !d->prompts.items[i].tokens && !d->prompts.items[i].text;
    add(n, "prompts_file", d->prompts_path);
    /* Replayed stories were sampled elsewhere: their settings are not ours to claim. */
    if (!written_here || d->positions == SAE_POS_PROMPT) return;
    put_sampling(&n->sampling, d, sampling);
    add(n, "sampling", n->sampling.data);
}

static void describe_texts(capture_note *n, const capture_docs *d) {
    const texts_opts *o = &d->text_opts;
    tn_json_out w = tn_json_writer(&n->paths, 0);
    tn_json_begin_array(&w);
    for (int i = 0; i < o->paths.count; i++) tn_json_puts(&w, o->paths.items[i]);
    tn_json_end_array(&w);
    snprintf(n->ctx, sizeof n->ctx, "%zu", d->texts.ctx);
    snprintf(n->tokens, sizeof n->tokens, "%zu", d->texts.tokens);
    add(n, "text_files", n->paths.data);
    add(n, "text_tokens", n->tokens);
    add(n, "context_size", n->ctx);
    add(n, "prepend_bos", o->bos ? "true" : "false");
    if (o->bos) add(n, "bos_token", o->bos);
}

int capture_note_make(capture_note *out, const capture_docs *d, const qwen_sampling *sampling, tn_err *e) {
    const texts_opts *o = &d->text_opts;
    *out = (capture_note){.sampling = TN_BUF_INIT, .paths = TN_BUF_INIT};
    add(out, "positions", sae_positions_name(d->positions));
    if (d->prompts_path)
        describe_prompts(out, d, sampling);
    else
        describe_texts(out, d);
    if (o->skip_first) add(out, "skip_first", "true");
    if (o->max_norm > 0) {
        snprintf(out->max_norm, sizeof out->max_norm, "%.9g", (double)o->max_norm);
        add(out, "max_norm", out->max_norm);
    }
    return out->sampling.failed || out->paths.failed ? tn_fail(e, TN_ENOMEM, "out of memory") : TN_OK;
}

void capture_note_free(capture_note *n) {
    tn_buf_free(&n->sampling);
    tn_buf_free(&n->paths);
}
