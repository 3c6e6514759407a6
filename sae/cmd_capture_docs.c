/* Prompts and windows as documents of a capture (cmd_capture_docs.h). */
#include "sae/cmd_capture_docs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STRETCH = 1 << 18 /* tokens */ };

int capture_docs_fail(const capture_docs *d, size_t index, int code, tn_err *e) {
    char where[1100];
    if (d->prompts_path)
        snprintf(where, sizeof where, "%s: line %zu", d->prompts_path, d->prompts.items[index].line);
    else
        snprintf(where, sizeof where, "window %zu", index + 1);
    return tn_fail_in(e, code, where);
}

/* ---- reading ---- */

static int read_prompts(capture_docs *d, const writer *w, size_t *longest, tn_err *e) {
    int code = qwen_prompts_read(&d->prompts, d->prompts_path, e);
    if (code) return code;
    size_t answer = (size_t)d->max_new;
    d->count = d->room = d->prompts.count;
    if (d->count == 0) return tn_fail(e, TN_EFORMAT, "%s: there is no prompt", d->prompts_path);
    d->prompt_ids = calloc(d->count, sizeof *d->prompt_ids);
    d->answer_ids = calloc(d->count, sizeof *d->answer_ids);
    if (!d->prompt_ids || !d->answer_ids) return tn_fail(e, TN_ENOMEM, "out of memory");
    code = encode_prompts(w, &d->prompts, d->raw, d->system, d->prompt_ids, longest, e);
    for (size_t i = 0; i < d->count && !code; i++) {
        code = known_answer(w, &d->prompts.items[i], &d->answer_ids[i], e);
        if (d->answer_ids[i].len > answer) answer = d->answer_ids[i].len;
    }
    *longest += answer;
    return code;
}

static int read_texts(capture_docs *d, const writer *w, size_t *longest, tn_err *e) {
    int limit = qwen_max_context(w->text.model);
    int code = texts_open(&d->texts, &d->text_opts, w->text.tok, e);
    if (code) return code;
    size_t ctx = d->texts.ctx;
    *longest = ctx;
    if (ctx > (size_t)limit)
        return tn_fail(e, TN_ECTX, "windows of %zu tokens do not fit in the model's context of %d", ctx,
                       limit);
    d->count = d->texts.windows;
    d->room = STRETCH / ctx < 1 ? 1 : STRETCH / ctx;
    if (d->room > d->count) d->room = d->count;
    d->tokens = malloc(d->room * ctx * sizeof *d->tokens);
    return d->tokens ? TN_OK : tn_fail(e, TN_ENOMEM, "no memory for %zu windows", d->room);
}

int capture_docs_open(capture_docs *d, const writer *w, size_t *longest, tn_err *e) {
    int code = d->prompts_path ? read_prompts(d, w, longest, e) : read_texts(d, w, longest, e);
    if (code) return code;
    if (d->count > INT32_MAX) return tn_fail(e, TN_EUNSUP, "%zu documents are too many", d->count);
    d->items = calloc(d->room, sizeof *d->items);
    return d->items ? TN_OK : tn_fail(e, TN_ENOMEM, "no memory for %zu documents", d->room);
}

/* ---- through the model ---- */

static qwen_item prompt_item(const capture_docs *d, const writer *w, size_t index) {
    const qwen_prompt *p = &d->prompts.items[index];
    const tok_ids *prompt = &d->prompt_ids[index], *answer = &d->answer_ids[index];
    return (qwen_item){.prompt = prompt->data,
                       .n_prompt = (int)prompt->len,
                       .answer = answer->data,
                       .n_answer = (int)writer_fed(w, prompt, answer),
                       .replay = p->tokens || p->text || d->positions == SAE_POS_PROMPT,
                       .seed = qwen_item_seed(d->seed, index)};
}

/* A window is a prompt without an answer. */
static int window_item(capture_docs *d, size_t index, qwen_item *out, tn_err *e) {
    int32_t *tokens = d->tokens + (index - d->first) * d->texts.ctx;
    *out = (qwen_item){.prompt = tokens, .n_prompt = (int)d->texts.ctx, .replay = 1};
    return texts_window(&d->texts, index, tokens, e);
}

int capture_docs_stretch(capture_docs *d, const writer *w, size_t first, tn_err *e) {
    if (d->n > 0 && first == d->first) return TN_OK;
    d->first = first;
    d->n = d->count - first < d->room ? d->count - first : d->room;
    for (size_t i = 0; i < d->n; i++) {
        int code = TN_OK;
        if (d->prompts_path)
            d->items[i] = prompt_item(d, w, first + i);
        else
            code = window_item(d, first + i, &d->items[i], e);
        if (!code) code = qwen_item_check(w->state, &d->items[i], e);
        if (code) return capture_docs_fail(d, first + i, code, e);
    }
    return TN_OK;
}

static int put_text(const capture_docs *d, const writer *w, size_t index, const qwen_done *done, tn_buf *text,
                    tn_err *e) {
    if (!d->prompts_path) return writer_decode(w, d->items[index - d->first].prompt, d->texts.ctx, text, e);
    const qwen_prompt *p = &d->prompts.items[index];
    const tok_ids *known = &d->answer_ids[index];
    if (known->len && !p->text) return writer_decode(w, known->data, known->len, text, e);
    if (!p->text) return writer_decode(w, done->tokens, (size_t)done->n, text, e);
    tn_buf_add(text, p->text, strlen(p->text) + 1);
    return text->failed ? tn_fail(e, TN_ENOMEM, "out of memory") : TN_OK;
}

int capture_docs_take(const capture_docs *d, const writer *w, size_t index, const qwen_done *done,
                      sae_doc *out, tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    int code = put_text(d, w, index, done, &text, e);
    *out = (sae_doc){.text = text.data};
    if (!code && d->prompts_path) {
        out->label = d->prompts.items[index].label;
        out->prompt = d->prompts.items[index].prompt;
    }
    return code;
}

void capture_docs_close(capture_docs *d) {
    free(d->items);
    free(d->tokens);
    free_prompt_ids(d->prompt_ids, d->prompts.count);
    free_prompt_ids(d->answer_ids, d->prompts.count);
    qwen_prompts_free(&d->prompts);
    texts_close(&d->texts);
}
