/* qwen lens: the logit lens (nostalgebraist 2020): what the model would say if it stopped after each layer.
 *
 *     p_L = softmax(head · rmsnorm(resid_post_L))     L = 0 … layers-1
 *
 * The last row is the model's own answer.
 */
#include "qwen/commands.h"
#include "qwen/score.h"
#include "tensor/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TOP = 20 };

static const char summary[] =
    "Logit lens: final norm and head applied to the output of every layer, at one position of the prompt.\n"
    "Prints each layer's likeliest next tokens; the column \"answer\" is how likely the layer finds the\n"
    "token that the last layer puts first.";

typedef struct {
    cmd_common common;
    const char *prompt, *system;
    int raw, top, position;
    cmd_session s;
    tok_ids ids;
    float *rows;   /* [layers, d] resid_post at the position */
    float *logits; /* [layers, vocab] */
    int32_t *best; /* [layers, top] likeliest first */
    void *scratch; /* of tn_linear for rows */
} lens;

static int keep_row(void *ctx, const qwen_tap *tap) {
    lens *l = ctx;
    int row = l->position - tap->pos[0];
    if (row >= 0 && row < tap->n)
        memcpy(l->rows + (size_t)tap->layer * (size_t)tap->d, tap->x + (size_t)row * (size_t)tap->d,
               (size_t)tap->d * sizeof *tap->x);
    return 0;
}

/* best [top] = the largest of logits [vocab], lower ids first among equals. */
static void find_best(const float *logits, int vocab, int32_t *best, int top) {
    int n = 0;
    for (int32_t id = 0; id < vocab; id++) {
        int at = n;
        while (at > 0 && logits[best[at - 1]] < logits[id]) at--;
        if (at == top) continue;
        if (n < top) n++;
        memmove(best + at + 1, best + at, (size_t)(n - 1 - at) * sizeof *best);
        best[at] = id;
    }
}

static int compute(lens *l, tn_err *e) {
    const qwen_model *m = l->s.text.model;
    const qwen_config *c = qwen_model_config(m);
    size_t layers = (size_t)c->layers, d = (size_t)c->hidden, vocab = (size_t)c->vocab;
    const qwen_hook hook = {QWEN_RESID_POST, 0, c->layers - 1, keep_row, l};
    tn_mat head = qwen_model_head(m);
    l->rows = calloc(layers * d, sizeof *l->rows);
    l->logits = calloc(layers * vocab, sizeof *l->logits);
    l->best = calloc(layers * (size_t)l->top, sizeof *l->best);
    l->scratch = malloc(tn_linear_scratch(layers, d));
    if (!l->rows || !l->logits || !l->best || !l->scratch) return tn_fail(e, TN_ENOMEM, "out of memory");
    int code = qwen_set_hooks(l->s.state, &hook, 1, e);
    if (!code) code = qwen_forward(l->s.state, l->ids.data, (int)l->ids.len, QWEN_NO_LOGITS, NULL, e);
    if (code) return code;
    for (size_t i = 0; i < layers; i++)
        l->s.exec.k->rmsnorm(l->rows + i * d, l->rows + i * d, qwen_model_final_norm(m), d, c->rms_eps);
    tn_linear(l->s.exec, l->logits, l->rows, &head, NULL, layers, l->scratch);
    for (size_t i = 0; i < layers; i++)
        find_best(l->logits + i * vocab, c->vocab, l->best + i * (size_t)l->top, l->top);
    return TN_OK;
}

/* ---- The table ---- */

/* Columns a code point takes on a terminal: 0 for marks, 2 for East Asian wide ones, else 1. */
static int columns_of(uint32_t cp) {
    if ((cp >= 0x300 && cp <= 0x36f) || (cp >= 0x200b && cp <= 0x200f) || cp == 0xfe0f) return 0;
    if ((cp >= 0x1100 && cp <= 0x115f) || (cp >= 0x2e80 && cp <= 0xa4cf) || (cp >= 0xac00 && cp <= 0xd7a3) ||
        (cp >= 0xf900 && cp <= 0xfaff) || (cp >= 0xfe30 && cp <= 0xfe6f) || (cp >= 0xff00 && cp <= 0xff60) ||
        (cp >= 0x1f300 && cp <= 0x1faff) || (cp >= 0x20000 && cp <= 0x3fffd))
        return 2;
    return 1;
}

/* Appends text [len] in quotes, with control characters and broken UTF-8 escaped; returns its columns. */
static int put_quoted(tn_buf *out, const char *text, size_t len) {
    int columns = 2;
    tn_buf_putc(out, '"');
    for (size_t i = 0; i < len;) {
        int n = tn_utf8_length(text + i, len - i);
        unsigned char c = (unsigned char)text[i];
        size_t before = out->len;
        if (n > 0 && c >= 0x20 && c != 0x7f) {
            tn_buf_add(out, text + i, (size_t)n);
            columns += columns_of(tn_utf8_get(text + i, n));
            i += (size_t)n;
            continue;
        }
        if (c == '\n')
            tn_buf_puts(out, "\\n");
        else if (c == '\t')
            tn_buf_puts(out, "\\t");
        else
            tn_buf_printf(out, "\\x%02x", (unsigned)c);
        columns += (int)(out->len - before);
        i++;
    }
    tn_buf_putc(out, '"');
    return columns;
}

/* Appends a token's text; returns its columns. Ids the tokenizer does not know show as numbers: models often
 * have more rows than tokens. */
static int put_token(const lens *l, tn_buf *out, int32_t id) {
    const char *bytes;
    size_t len, before = out->len;
    if (!tok_bytes(l->s.text.tok, id, &bytes, &len)) return put_quoted(out, bytes, len);
    tn_buf_printf(out, "<%ld>", (long)id);
    return (int)(out->len - before);
}

/* One cell, "token" and its probability; returns its columns. */
static int put_cell(const lens *l, tn_buf *out, int layer, int rank) {
    int vocab = qwen_model_config(l->s.text.model)->vocab;
    int32_t id = l->best[(size_t)layer * (size_t)l->top + (size_t)rank];
    double p = exp(-qwen_nll(l->logits + (size_t)layer * (size_t)vocab, vocab, id));
    int columns = put_token(l, out, id);
    tn_buf_printf(out, " %.3f", p);
    return columns + 6;
}

static void pad(tn_buf *out, int columns) {
    for (; columns > 0; columns--) tn_buf_putc(out, ' ');
}

static int widest_cell(const lens *l, int layers, int rank) {
    tn_buf cell = TN_BUF_INIT;
    int widest = 0;
    for (int layer = 0; layer < layers; layer++) {
        tn_buf_clear(&cell);
        int columns = put_cell(l, &cell, layer, rank);
        if (columns > widest) widest = columns;
    }
    tn_buf_free(&cell);
    return widest;
}

static int print_table(const lens *l, tn_err *e) {
    const qwen_config *c = qwen_model_config(l->s.text.model);
    int32_t answer = l->best[(size_t)(c->layers - 1) * (size_t)l->top];
    int width[MAX_TOP];
    tn_buf out = TN_BUF_INIT;
    for (int rank = 0; rank < l->top; rank++) width[rank] = widest_cell(l, c->layers, rank);
    tn_buf_printf(&out, "position %d of 0 to %zu, token ", l->position, l->ids.len - 1);
    put_token(l, &out, l->ids.data[l->position]);
    tn_buf_puts(&out, "\nlayer  answer");
    for (int rank = 0; rank < l->top; rank++) {
        size_t before = out.len;
        tn_buf_printf(&out, "  %d", rank + 1);
        if (rank + 1 < l->top) pad(&out, width[rank] + 2 - (int)(out.len - before));
    }
    for (int layer = 0; layer < c->layers; layer++) {
        double p = exp(-qwen_nll(l->logits + (size_t)layer * (size_t)c->vocab, c->vocab, answer));
        tn_buf_printf(&out, "\n%5d  %6.3f", layer, p);
        for (int rank = 0; rank < l->top; rank++) {
            tn_buf_puts(&out, "  ");
            int columns = put_cell(l, &out, layer, rank);
            if (rank + 1 < l->top) pad(&out, width[rank] - columns);
        }
    }
    tn_buf_putc(&out, '\n');
    int code = out.failed ? tn_fail(e, TN_ENOMEM, "out of memory") : cmd_print(out.data, out.len, e);
    tn_buf_free(&out);
    return code;
}

static int run_lens(lens *l, tn_err *e) {
    int code = cmd_open(&l->s, &l->common, 1, e);
    if (!code) code = qwen_text_prompt(&l->s.text, l->prompt, l->raw, l->system, &l->ids, e);
    if (!code) code = cmd_check_prompt(&l->s, &l->ids, e);
    if (code) return code;
    int n = (int)l->ids.len, vocab = qwen_model_config(l->s.text.model)->vocab;
    if (l->position < -n || l->position >= n)
        return tn_fail(e, TN_EARG, "--position %d is out of range: the prompt has positions 0 to %d",
                       l->position, n - 1);
    if (l->position < 0) l->position += n;
    if (l->top > vocab) l->top = vocab;
    code = cmd_open_state(&l->s, n, e);
    if (!code) code = compute(l, e);
    return code ? code : print_table(l, e);
}

int cmd_lens(int argc, char **argv) {
    lens l = {.common = CMD_COMMON_INIT, .top = 5, .position = -1};
    const cli_option rows[] = {
        {"-p", "--prompt", CLI_STRING, &l.prompt, "TEXT", "the user's message", 1},
        {"--top", NULL, CLI_INT, &l.top, "K", "tokens to show for each layer (5)", 0},
        {"--position", NULL, CLI_INT, &l.position, "N", "position to look at; -1 = the last (default)", 0},
        {"--raw", NULL, CLI_FLAG, &l.raw, NULL, "the text as it stands, without chat template", 0},
        {"--system", NULL, CLI_STRING, &l.system, "TEXT", "system message (the template's own)", 0},
        {0},
    };
    cmd_options table = {0};
    cmd_add_options(&table, rows);
    int leave = cmd_parse("lens", summary, &table, &l.common, argc, argv, NULL, NULL);
    if (leave >= 0) return leave;
    if (l.top < 1 || l.top > MAX_TOP)
        return cli_usage_error("qwen", "lens", "--top must be 1 to %d", MAX_TOP);

    tn_err e;
    int code = run_lens(&l, &e);
    free(l.rows);
    free(l.logits);
    free(l.best);
    free(l.scratch);
    tok_ids_free(&l.ids);
    cmd_close(&l.s);
    return cmd_finish(code, &e);
}
