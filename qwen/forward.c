/* The forward pass. One body serves prefill, decode, capture and steering: only the number of rows differs.
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

/* logits [rows, vocab] of the last `rows` rows of x [n, d] */
static void head_forward(qwen_state *s, const qwen_rows *r, int rows) {
    const float *x = s->x + (size_t)(r->n - rows) * (size_t)s->model->config.hidden;
    rmsnorm(s, s->normed, x, s->model->final_norm, (size_t)rows);
    tn_linear(s->opts.exec, s->logits, s->normed, &s->model->head, NULL, (size_t)rows, s->rounded);
}

/* ---- The whole ---- */

static int check_call(const qwen_state *s, const int32_t *tokens, int n, unsigned flags, tn_err *e) {
    int vocab = s->model->config.vocab, context = s->opts.context;
    if (n < 1) return tn_fail(e, TN_EARG, "a forward pass of %d tokens, expected at least 1", n);
    if (n > context - s->pos)
        return tn_fail(e, TN_ECTX, "%d tokens at position %d do not fit in the context of %d", n, s->pos,
                       context);
    if (flags & ~(unsigned)(QWEN_ALL_LOGITS | QWEN_NO_LOGITS) || flags == (QWEN_ALL_LOGITS | QWEN_NO_LOGITS))
        return tn_fail(e, TN_EARG, "flags %u of a forward pass are unknown or contradict each other", flags);
    if ((flags & QWEN_ALL_LOGITS) && n > s->opts.chunk)
        return tn_fail(e, TN_EARG, "logits of all %d positions were asked for, but a chunk has only %d", n,
                       s->opts.chunk);
    for (int i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= vocab)
            return tn_fail(e, TN_EARG, "token id %ld is out of range: the vocabulary has ids 0 to %d",
                           (long)tokens[i], vocab - 1);
    return TN_OK;
}

int qwen_forward(qwen_state *s, const int32_t *tokens, int n, unsigned flags, const float **logits,
                 tn_err *e) {
    if (logits) *logits = NULL;
    int rc = check_call(s, tokens, n, flags, e);
    if (rc) return rc;

    /* s->pos moves only at the end: after a failure the rows written so far lie beyond it and are dead. */
    qwen_rows r = {.tokens = tokens, .n = 0, .pos0 = s->pos};
    for (int done = 0; done < n; done += r.n) {
        r.tokens = tokens + done;
        r.n = n - done < s->opts.chunk ? n - done : s->opts.chunk;
        r.pos0 = s->pos + done;
        embed(s, &r);
        for (int l = 0; l < s->model->config.layers; l++)
            if ((rc = layer_forward(s, &r, l, e))) return rc;
    }
    s->pos += n;
    if (flags & QWEN_NO_LOGITS) return TN_OK;
    head_forward(s, &r, flags & QWEN_ALL_LOGITS ? r.n : 1);
    if (logits) *logits = s->logits;
    return TN_OK;
}
