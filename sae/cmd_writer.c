/* What the commands that run a model share: opening it, one timeline, answering a prompt. */
#include "sae/commands.h"

#include <stdlib.h>
#include <string.h>

int writer_open(writer *w, const char *dir, int threads, tn_err *e) {
    memset(w, 0, sizeof *w);
    int code = cli_exec(&w->exec, threads, e);
    if (!code) code = qwen_text_open(&w->text, dir, e);
    if (code) return code;
    w->opts = qwen_opts_default(w->text.model);
    w->opts.exec = w->exec;
    return TN_OK;
}

int writer_context(const writer *w, size_t tokens) {
    int limit = qwen_max_context(w->text.model);
    return tokens < (size_t)limit ? (int)tokens : limit;
}

int writer_start(writer *w, size_t tokens, const qwen_sampling *sampling, tn_err *e) {
    const qwen_config *c = qwen_model_config(w->text.model);
    w->opts.context = writer_context(w, tokens);
    int code = qwen_state_new(&w->state, w->text.model, &w->opts, e);
    if (code) return code;
    size_t bytes = qwen_sampler_bytes(c->vocab);
    w->sampler_block = malloc(bytes);
    if (!w->sampler_block) return tn_fail(e, TN_ENOMEM, "out of memory");
    return qwen_sampler_init(&w->sampler, sampling, c->vocab, w->sampler_block, bytes, e);
}

size_t writer_fed(const writer *w, const tok_ids *prompt, const tok_ids *answer) {
    size_t context = (size_t)qwen_state_opts(w->state)->context;
    return answer->len - (prompt->len + answer->len == context + 1);
}

void writer_close(writer *w) {
    qwen_state_free(w->state);
    free(w->sampler_block);
    qwen_text_close(&w->text);
    memset(w, 0, sizeof *w);
}

static int keep_token(void *ctx, int32_t token) {
    return tok_ids_push(ctx, token);
}

int writer_generate(writer *w, const tok_ids *prompt, int max_new, uint64_t seed, tok_ids *answer,
                    tn_err *e) {
    return writer_continue(w, prompt, 0, max_new, seed, answer, e);
}

int writer_continue(writer *w, const tok_ids *prompt, size_t held, int max_new, uint64_t seed,
                    tok_ids *answer, tn_err *e) {
    qwen_gen_opts o = {max_new, w->text.stops, w->text.n_stops};
    qwen_rewind(w->state, (int)held);
    qwen_sampler_reset(&w->sampler, seed);
    for (size_t i = 0; i < held; i++) qwen_sampler_accept(&w->sampler, prompt->data[i]);
    return qwen_generate(w->state, &w->sampler, prompt->data + held, (int)(prompt->len - held), &o, 1,
                         keep_token, answer, NULL, e);
}

int writer_prefill(writer *w, const tok_ids *prompt, size_t *held, tn_err *e) {
    *held = prompt->len - 1;
    qwen_rewind(w->state, 0);
    qwen_set_prompt_length(w->state, (int)prompt->len);
    return *held ? qwen_forward(w->state, prompt->data, (int)*held, QWEN_NO_LOGITS, NULL, e) : TN_OK;
}

int writer_decode(const writer *w, const int32_t *ids, size_t n, tn_buf *out, tn_err *e) {
    tok_stream stream = {.n_pending = 0};
    int code = TN_OK;
    for (size_t i = 0; i < n && !code; i++) code = qwen_text_push(&w->text, &stream, ids[i], out, e);
    if (code) return code;
    tok_stream_end(&stream, out);
    tn_buf_add(out, "", 1); /* so that an empty text is a string too */
    if (out->failed) return tn_fail(e, TN_ENOMEM, "out of memory");
    out->len--;
    return TN_OK;
}

int encode_prompts(const writer *w, const qwen_prompts *p, int raw, const char *system, tok_ids *ids,
                   size_t *longest, tn_err *e) {
    *longest = 0;
    for (size_t i = 0; i < p->count; i++) {
        int code = qwen_text_prompt(&w->text, p->items[i].prompt, raw, system, &ids[i], e);
        if (code) return code;
        if (ids[i].len == 0) return tn_fail(e, TN_EARG, "prompt %zu is empty", i + 1);
        if (ids[i].len > *longest) *longest = ids[i].len;
    }
    return TN_OK;
}

int known_answer(const writer *w, const qwen_prompt *p, tok_ids *answer, tn_err *e) {
    if (!p->tokens && !p->text) return TN_OK;
    if (!p->tokens) return tok_encode(w->text.tok, p->text, p->text_len, 0, answer, e);
    for (size_t i = 0; i < p->n_tokens; i++)
        if (tok_ids_push(answer, p->tokens[i])) return tn_fail(e, TN_ENOMEM, "out of memory");
    return TN_OK;
}

void free_prompt_ids(tok_ids *ids, size_t count) {
    for (size_t i = 0; i < count && ids; i++) tok_ids_free(&ids[i]);
    free(ids);
}
