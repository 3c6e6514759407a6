/* sae steer: showing the answers, and recording their logits. */
#include "sae/cmd_steer.h"
#include "tensor/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void print_answers(const qwen_prompt *p, const way *ways, const answer *answers, int n) {
    printf("## %s\n", p->prompt);
    for (int i = 0; i < n; i++) {
        printf("\n### %s\n\n", ways[i].name);
        if (ways[i].op) printf("`%s`\n\n", ways[i].op);
        printf("%s\n", answers[i].text.data);
    }
    printf("\n");
    fflush(stdout);
}

void add_answers_json(const qwen_prompt *p, const way *ways, const answer *answers, int n, tn_buf *out) {
    tn_json_out w = tn_json_writer(out, 0);
    tn_json_begin_object(&w);
    tn_json_key(&w, "prompt");
    tn_json_puts(&w, p->prompt);
    if (p->label && p->label[0]) {
        tn_json_key(&w, "label");
        tn_json_puts(&w, p->label);
    }
    tn_json_key(&w, "answers");
    tn_json_begin_array(&w);
    for (int i = 0; i < n; i++) {
        tn_json_begin_object(&w);
        tn_json_key(&w, "name");
        tn_json_puts(&w, ways[i].name);
        if (ways[i].op) {
            tn_json_key(&w, "op");
            tn_json_puts(&w, ways[i].op);
        }
        tn_json_key(&w, "text");
        tn_json_put_string(&w, answers[i].text.data, answers[i].text.len);
        tn_json_key(&w, "tokens");
        tn_json_begin_array(&w);
        for (size_t k = 0; k < answers[i].tokens.len; k++) tn_json_put_i64(&w, answers[i].tokens.data[k]);
        tn_json_end_array(&w);
        tn_json_end_object(&w);
    }
    tn_json_end_array(&w);
    tn_json_end_object(&w);
    tn_buf_putc(out, '\n');
}

/* ---- Trace ---- */

/* Little-endian bytes of tokens, prompt first. */
static int write_tokens(tn_st_writer *f, const tok_ids *ids, size_t n) {
    unsigned char bytes[4];
    int code = TN_OK;
    for (size_t i = 0; i < n && !code; i++) {
        tn_store_u32(bytes, (uint32_t)ids->data[i]);
        code = tn_st_write(f, bytes, sizeof bytes);
    }
    return code;
}

/* Computes the logits of ids [n] on a fresh timeline and writes them. */
static int write_logits(writer *w, tn_st_writer *f, const tok_ids *ids, size_t n, unsigned char *row,
                        tn_err *e) {
    size_t vocab = (size_t)qwen_model_config(w->text.model)->vocab;
    for (size_t i = 0; i < n; i++) {
        const float *logits;
        int code = qwen_forward(w->state, &ids->data[i], 1, 0, &logits, e);
        if (code) return code;
        tn_from_f32(row, TN_F32, logits, vocab);
        tn_st_write(f, row, vocab * 4); /* the writer keeps its first error */
    }
    return TN_OK;
}

static int trace_ways(writer *w, tn_st_writer *f, const tok_ids *prompt, const way *ways,
                      const answer *answers, int n, tn_err *e) {
    unsigned char *row = malloc((size_t)qwen_model_config(w->text.model)->vocab * 4);
    int code = row ? TN_OK : tn_fail(e, TN_ENOMEM, "out of memory");
    for (int i = 0; i < n && !code; i++) {
        code = qwen_set_hooks(w->state, ways[i].hooks, ways[i].n_hooks, e);
        if (code) break;
        qwen_rewind(w->state, 0);
        qwen_set_prompt_length(w->state, (int)prompt->len);
        const tok_ids *ids = &answers[i].tokens;
        size_t fed = writer_fed(w, prompt, ids);
        write_tokens(f, prompt, prompt->len);
        write_tokens(f, ids, fed);
        code = write_logits(w, f, prompt, prompt->len, row, e);
        if (!code) code = write_logits(w, f, ids, fed, row, e);
    }
    free(row);
    return code;
}

int write_trace(writer *w, const char *path, const tok_ids *prompt, const way *ways, const answer *answers,
                int n, tn_err *e) {
    tn_tensor_spec *specs = calloc((size_t)n * 2, sizeof *specs);
    char(*names)[80] = calloc((size_t)n * 2, sizeof *names);
    tn_st_writer *f = NULL;
    int code = specs && names ? TN_OK : tn_fail(e, TN_ENOMEM, "out of memory");
    for (int i = 0; i < n && !code; i++) {
        size_t length = prompt->len + writer_fed(w, prompt, &answers[i].tokens),
               vocab = (size_t)qwen_model_config(w->text.model)->vocab;
        snprintf(names[2 * i], sizeof names[0], "%s.tokens", ways[i].name);
        snprintf(names[2 * i + 1], sizeof names[0], "%s.logits", ways[i].name);
        specs[2 * i] = (tn_tensor_spec){names[2 * i], TN_I32, 1, {length}};
        specs[2 * i + 1] = (tn_tensor_spec){names[2 * i + 1], TN_F32, 2, {length, vocab}};
    }
    char n_prompt[24];
    snprintf(n_prompt, sizeof n_prompt, "%zu", prompt->len);
    const tn_pair metadata[] = {{"format", "scalpel.steer.1"}, {"n_prompt", n_prompt}};
    if (!code) code = tn_st_create(&f, path, specs, (size_t)n * 2, metadata, 2, e);
    if (!code) code = trace_ways(w, f, prompt, ways, answers, n, e);
    if (!code)
        code = tn_st_finish(f, e);
    else
        tn_st_abandon(f);
    free(specs);
    free(names);
    return code;
}
