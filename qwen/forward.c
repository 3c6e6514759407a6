/* The forward pass. One body serves prefill, decode, capture, steering and batches: only the rows differ.
 *
 *     x = embedding[token]
 *     for each layer:                                                    site
 *         x                                                              resid_pre
 *         q, k, v = W_q n + b_q, W_k n + b_k, W_v n + b_v   n = rmsnorm(x)
 *         y = W_o attention(rope(q), rope(k), v)                         attn_out
 *         x = x + y                                                      resid_mid
 *         y = W_down (silu(W_gate n) * W_up n)              n = rmsnorm(x)
 *                                                                        mlp_out
 *         x = x + y                                                      resid_post
 *     logits = W_head rmsnorm(x)
 */
#include "qwen/state.h"
#include "tensor/par.h"

#include <string.h>

/* ---- Row by row: cheap steps, split over rows ---- */

typedef struct {
    const tn_kernels *k;
    float *y;       /* [n, width] */
    const float *x; /* [n, width] */
    const float *gain;
    size_t width;
    float eps;
} row_job;

static void norm_rows(void *ctx, size_t begin, size_t end) {
    const row_job *j = ctx;
    for (size_t i = begin; i < end; i++)
        j->k->rmsnorm(j->y + i * j->width, j->x + i * j->width, j->gain, j->width, j->eps);
}

/* y[n, d] = rmsnorm(x[n, d]) */
static void rmsnorm(const qwen_state *s, float *y, const float *x, const float *gain, size_t n) {
    const qwen_config *c = &s->model->config;
    row_job j = {s->opts.exec.k, y, x, gain, (size_t)c->hidden, c->rms_eps};
    tn_parallel_for(n, 1, s->opts.exec.threads, norm_rows, &j);
}

static void swiglu_rows(void *ctx, size_t begin, size_t end) {
    const row_job *j = ctx;
    for (size_t i = begin; i < end; i++)
        j->k->swiglu(j->y + i * j->width, j->y + i * j->width, j->x + i * j->width, j->width);
}

/* gate[n, i] = silu(gate) * up[n, i] */
static void swiglu(const qwen_state *s, float *gate, const float *up, size_t n) {
    row_job j = {s->opts.exec.k, gate, up, NULL, (size_t)s->model->config.intermediate, 0};
    tn_parallel_for(n, 1, s->opts.exec.threads, swiglu_rows, &j);
}

/* x[n, d] = embedding[tokens] */
static void embed(qwen_state *s, const qwen_rows *r) {
    const tn_mat *e = &s->model->embedding;
    for (int i = 0; i < r->n; i++) tn_mat_row(s->x + (size_t)i * e->cols, e, (size_t)r->tokens[i]);
}

/* ---- The layer ---- */

static int layer_forward(qwen_state *s, const qwen_rows *r, int l, tn_err *e) {
    const qwen_config *c = &s->model->config;
    const qwen_layer *w = &s->model->layer[l];
    const tn_exec ex = s->opts.exec;
    size_t n = (size_t)r->n, size = n * (size_t)c->hidden;
    int rc;

    if ((rc = qwen_run_hooks(s, r, l, QWEN_RESID_PRE, s->x, e))) return rc;

    rmsnorm(s, s->normed, s->x, w->attn_norm, n);
    const tn_product qkv[] = {{s->q, &w->q, w->q_bias}, {s->k, &w->k, w->k_bias}, {s->v, &w->v, w->v_bias}};
    tn_linear_all(ex, qkv, 3, s->normed, n, s->rounded);
    qwen_rope(s, r, s->q, c->heads);
    qwen_rope(s, r, s->k, c->kv_heads);
    qwen_cache_rows(s, r, l);
    qwen_attention(s, r, l);
    tn_linear(ex, s->y, s->heads, &w->o, NULL, n, s->rounded);
    if ((rc = qwen_run_hooks(s, r, l, QWEN_ATTN_OUT, s->y, e))) return rc;
    ex.k->add(s->x, s->y, size);
    if ((rc = qwen_run_hooks(s, r, l, QWEN_RESID_MID, s->x, e))) return rc;

    rmsnorm(s, s->normed, s->x, w->mlp_norm, n);
    const tn_product gate_up[] = {{s->gate, &w->gate, NULL}, {s->up, &w->up, NULL}};
    tn_linear_all(ex, gate_up, 2, s->normed, n, s->rounded);
    swiglu(s, s->gate, s->up, n);
    tn_linear(ex, s->y, s->gate, &w->down, NULL, n, s->rounded);
    if ((rc = qwen_run_hooks(s, r, l, QWEN_MLP_OUT, s->y, e))) return rc;
    ex.k->add(s->x, s->y, size);
    return qwen_run_hooks(s, r, l, QWEN_RESID_POST, s->x, e);
}

/* logits [n_wanted, vocab] of the wanted rows of x */
static void head_forward(qwen_state *s, const qwen_rows *r, float *logits) {
    size_t d = (size_t)s->model->config.hidden, n = (size_t)r->n_wanted;
    for (size_t i = 0; i < n; i++) memcpy(s->y + i * d, s->x + (size_t)r->wanted[i] * d, d * sizeof *s->x);
    rmsnorm(s, s->normed, s->y, s->model->final_norm, n);
    tn_linear(s->opts.exec, logits, s->normed, &s->model->head, NULL, n, s->rounded);
}

/* ---- The whole ---- */

int qwen_check_tokens(const qwen_model *m, const int32_t *tokens, int n, tn_err *e) {
    for (int i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= m->config.vocab)
            return tn_fail(e, TN_EARG, "token id %ld is out of range: the vocabulary has ids 0 to %d",
                           (long)tokens[i], m->config.vocab - 1);
    return TN_OK;
}

/* How many of a piece's rows, its last ones, have logits. */
static int logit_rows_of(const qwen_piece *p) {
    return p->flags & QWEN_ALL_LOGITS ? p->n : p->flags & QWEN_NO_LOGITS ? 0 : 1;
}

static int check_piece(const qwen_state *s, const qwen_piece *p, tn_err *e) {
    int context = s->opts.context;
    if (p->n < 1) return tn_fail(e, TN_EARG, "a forward pass of %d tokens, expected at least 1", p->n);
    if (p->seq < 0 || p->seq >= s->opts.sequences)
        return tn_fail(e, TN_EARG, "sequence %d is out of range: the state has sequences 0 to %d", p->seq,
                       s->opts.sequences - 1);
    const qwen_seq *q = &s->seqs[p->seq];
    if (q->adds) return tn_fail(e, TN_EARG, "sequence %d has two pieces in one forward pass", p->seq);
    if (p->n > context - q->pos)
        return tn_fail(e, TN_ECTX, "%d tokens at position %d do not fit in the context of %d", p->n, q->pos,
                       context);
    unsigned both = QWEN_ALL_LOGITS | QWEN_NO_LOGITS;
    if ((p->flags & ~both) || p->flags == both)
        return tn_fail(e, TN_EARG, "flags %u of a forward pass are unknown or contradict each other",
                       p->flags);
    return qwen_check_tokens(s->model, p->tokens, p->n, e);
}

/* Checks every piece and notes on its sequence how much it adds. */
static int check_call(qwen_state *s, const qwen_piece *pieces, int count, tn_err *e) {
    int room = s->opts.logit_rows;
    if (count < 1) return tn_fail(e, TN_EARG, "a forward pass of %d pieces, expected at least 1", count);
    for (int i = 0; i < count; i++) {
        int rc = check_piece(s, &pieces[i], e);
        if (rc) return rc;
        s->seqs[pieces[i].seq].adds = pieces[i].n;
        if (logit_rows_of(&pieces[i]) > room)
            return tn_fail(e, TN_EARG, "more rows of logits were asked for than the state holds (%d)",
                           s->opts.logit_rows);
        room -= logit_rows_of(&pieces[i]);
    }
    return TN_OK;
}

/* Where a call is: the next row is token `at` of the first piece. */
typedef struct {
    const qwen_piece *piece, *end;
    int at;
} cursor;

/* Takes the next rows, at most a chunk; 0 when there are none. */
static int take_rows(qwen_state *s, cursor *c) {
    qwen_rows *r = &s->rows;
    r->n = r->n_wanted = 0;
    while (c->piece < c->end && r->n < s->opts.chunk) {
        const qwen_piece *p = c->piece;
        const qwen_seq *q = &s->seqs[p->seq];
        int i = r->n++;
        r->tokens[i] = p->tokens[c->at];
        r->pos[i] = q->pos + c->at;
        r->seq[i] = p->seq;
        r->generated[i] = r->pos[i] >= q->n_prompt;
        if (c->at++ >= p->n - logit_rows_of(p)) r->wanted[r->n_wanted++] = i;
        if (c->at < p->n) continue;
        c->piece++;
        c->at = 0;
    }
    return r->n;
}

/* Positions are moved by the caller, at the end: after a failure the rows written so far lie beyond them and
 * are dead. */
static int run(qwen_state *s, const qwen_piece *pieces, int count, const float **logits, tn_err *e) {
    int rc = check_call(s, pieces, count, e), done = 0; /* rows of logits */
    if (rc) return rc;
    cursor c = {pieces, pieces + count, 0};
    while (take_rows(s, &c)) {
        const qwen_rows *r = &s->rows;
        embed(s, r);
        for (int l = 0; l < s->model->config.layers; l++)
            if ((rc = layer_forward(s, r, l, e))) return rc;
        if (r->n_wanted) head_forward(s, r, s->logits + (size_t)done * (size_t)s->model->config.vocab);
        done += r->n_wanted;
    }
    if (done && logits) *logits = s->logits;
    return TN_OK;
}

int qwen_forward_batch(qwen_state *s, const qwen_piece *pieces, int count, const float **logits, tn_err *e) {
    if (logits) *logits = NULL;
    int rc = run(s, pieces, count, logits, e);
    for (int i = 0; i < s->opts.sequences; i++) {
        if (!rc) s->seqs[i].pos += s->seqs[i].adds;
        s->seqs[i].adds = 0;
    }
    return rc;
}

int qwen_forward(qwen_state *s, const int32_t *tokens, int n, unsigned flags, const float **logits,
                 tn_err *e) {
    const qwen_piece all = {.seq = 0, .n = n, .tokens = tokens, .flags = flags};
    return qwen_forward_batch(s, &all, 1, logits, e);
}
