/* The model with an SAE, with zeros and with the mean in it (effect.h). */
#include "sae/effect.h"

#include "qwen/score.h"
#include "tensor/arena.h"
#include "tensor/par.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Opening ---- */

static void carve(sae_effect *m, tn_arena *a, int chunk, int vocab) {
    size_t d = (size_t)m->sae->cfg.d_in, rows = (size_t)chunk, x = 0, logits = 0;
    if (tn_mul_size(rows, d, &x) || tn_mul_size((size_t)m->o.max_rows, (size_t)vocab, &logits)) a->failed = 1;
    m->x = tn_arena_take(a, x, sizeof *m->x);
    m->mean = tn_arena_take(a, d, sizeof *m->mean);
    m->original = tn_arena_take(a, logits, sizeof *m->original);
    m->row_nll = tn_arena_take(a, rows, sizeof *m->row_nll);
    m->row_kl = tn_arena_take(a, rows, sizeof *m->row_kl);
}

/* The buffers and the steering hook's memory behind them. */
static int take_memory(sae_effect *m, tn_err *e) {
    const qwen_config *c = qwen_model_config(qwen_state_model(m->state));
    int chunk = qwen_state_opts(m->state)->chunk;
    tn_arena measure = tn_arena_measure();
    carve(m, &measure, chunk, c->vocab);
    size_t steer = sae_steer_bytes(m->sae, 0, chunk), own = measure.used + TN_ALIGN, bytes;
    if (measure.failed || steer == 0 || tn_add_size(own, steer, &bytes))
        return tn_fail(e, TN_ENOMEM, "the documents are too long to evaluate");
    m->block = malloc(bytes);
    if (!m->block)
        return tn_fail(e, TN_ENOMEM, "no memory for the logits of %d rows (%zu MB)", m->o.max_rows,
                       bytes >> 20);
    tn_arena arena = tn_arena_on(m->block, own);
    carve(m, &arena, chunk, c->vocab);
    m->means.v = m->mean;
    /* The rows to replace are chosen by when the hook is on: it replaces all rows it sees. */
    return sae_steer_init(&m->steer, m->sae, NULL, m->o.layer, SAE_POS_ALL, 0, chunk, c->hidden,
                          (unsigned char *)m->block + own, steer, e);
}

int sae_effect_new(sae_effect *out, qwen_state *state, const sae_model *sae, const sae_effect_opts *o,
                   tn_err *e) {
    *out = (sae_effect){.state = state, .sae = sae, .o = *o};
    if (o->max_rows < 0 || o->n_labels < 0)
        return tn_fail(e, TN_EARG, "documents of %d rows, %d labels", o->max_rows, o->n_labels);
    int code = take_memory(out, e);
    if (!code)
        code = sae_parts_new(&out->rows, sae->cfg.d_in, sae->cfg.d_sae, o->by_position, o->n_labels, e);
    if (!code && !(out->sums = calloc((size_t)out->rows.n, sizeof *out->sums)))
        code = tn_fail(e, TN_ENOMEM, "out of memory");
    if (code) sae_effect_free(out);
    return code;
}

void sae_effect_free(sae_effect *m) {
    sae_parts_free(&m->rows);
    free(m->sums);
    free(m->block);
    *m = (sae_effect){0};
}

/* ---- Scoring ---- */

/* log of sum_i exp(logits[i] - *max) */
static double log_sum(const float *logits, int vocab, double *max) {
    float top = logits[0];
    for (int i = 1; i < vocab; i++)
        if (logits[i] > top) top = logits[i];
    double sum = 0;
    *max = (double)top;
    for (int i = 0; i < vocab; i++) sum += exp((double)logits[i] - *max);
    return log(sum);
}

double sae_effect_kl(const float *p, const float *q, int vocab) {
    double p_max, q_max, sum = 0;
    double p_log = log_sum(p, vocab, &p_max), q_log = log_sum(q, vocab, &q_max);
    for (int i = 0; i < vocab; i++) {
        double log_p = (double)p[i] - p_max - p_log, log_q = (double)q[i] - q_max - q_log;
        sum += exp(log_p) * (log_p - log_q);
    }
    return sum;
}

/* One chunk of a run, to be scored. */
typedef struct {
    sae_effect *m;
    const float *logits;    /* [n, vocab] */
    const float *original;  /* [n, vocab] to compare with, NULL: only the cross entropy is wanted */
    const int32_t *targets; /* [n_targets] the first rows have one */
    int n_targets, vocab;
} scoring;

static void score_rows(void *ctx, size_t begin, size_t end) {
    const scoring *s = ctx;
    for (size_t i = begin; i < end; i++) {
        size_t at = i * (size_t)s->vocab;
        int targeted = i < (size_t)s->n_targets;
        s->m->row_nll[i] = targeted ? qwen_nll(s->logits + at, s->vocab, s->targets[i]) : 0;
        s->m->row_kl[i] = s->original ? sae_effect_kl(s->original + at, s->logits + at, s->vocab) : 0;
    }
}

/* Adds the scores of rows pos … pos+n-1 to the parts they belong to; the first n_targets have a target. */
static void add_scores(sae_effect *m, sae_effect_run which, int pos, int n, int n_targets) {
    for (int i = 0; i < n; i++) {
        int of[SAE_MEMBERSHIPS], parts = sae_parts_of(&m->rows, pos + i, m->label, of);
        for (int p = 0; p < parts; p++) {
            sae_effect_sums *s = &m->sums[of[p]];
            s->nll[which] += m->row_nll[i];
            s->kl[which] += m->row_kl[i];
            s->targets += which == SAE_RUN_ORIGINAL && i < n_targets;
        }
    }
}

/* ---- Running ---- */

/* Measures the SAE on the rows of a tap while putting its reconstruction in their place. A tap has at most
 * `chunk` rows, so the latents of all of them are still in the steering hook's memory. */
static int reconstruct_hook(void *ctx, const qwen_tap *tap) {
    sae_effect *m = ctx;
    size_t d = (size_t)tap->d, f = (size_t)m->sae->cfg.d_sae;
    memcpy(m->x, tap->x, (size_t)tap->n * d * sizeof *m->x);
    int code = sae_steer_hook(&m->steer, tap);
    for (size_t i = 0; i < (size_t)tap->n && !code; i++)
        sae_parts_add(&m->rows, m->x + i * d, tap->x + i * d, m->steer.z + i * f, tap->pos[i], m->label);
    return code;
}

/* The second look at the rows, before the mean takes their place. */
static int mean_hook(void *ctx, const qwen_tap *tap) {
    sae_effect *m = ctx;
    for (int i = 0; i < tap->n; i++)
        sae_parts_add_again(&m->rows, tap->x + (size_t)i * (size_t)tap->d, tap->pos[i], m->label);
    return sae_replace_hook(&m->means, tap);
}

/* Rows of the document that predict one of its tokens: the first ones. */
static int target_count(const sae_effect_doc *doc) {
    int end = doc->end < doc->n - 1 ? doc->end : doc->n - 1;
    return end > doc->first ? end - doc->first : 0;
}

/* Computes the rows to replace, after the tokens before them, and scores them. */
static int run(sae_effect *m, const sae_effect_doc *doc, sae_effect_run which, tn_err *e) {
    const qwen_hook hooks[SAE_RUNS] = {
        [SAE_RUN_SAE] = {m->o.site, m->o.layer, m->o.layer, reconstruct_hook, m},
        [SAE_RUN_ZERO] = {m->o.site, m->o.layer, m->o.layer, sae_replace_hook, &m->zeros},
        [SAE_RUN_MEAN] = {m->o.site, m->o.layer, m->o.layer, mean_hook, m},
    };
    const qwen_opts *o = qwen_state_opts(m->state);
    int vocab = qwen_model_config(qwen_state_model(m->state))->vocab;
    int rows = doc->end - doc->first, targets = target_count(doc);
    int compared = which == SAE_RUN_SAE || which == SAE_RUN_ZERO;
    int most = o->logit_rows < o->chunk ? o->logit_rows : o->chunk;
    int code = qwen_set_hooks(m->state, &hooks[which], which != SAE_RUN_ORIGINAL, e);
    qwen_rewind(m->state, doc->first);
    for (int at = 0; at < rows && !code; at += most) {
        int n = rows - at < most ? rows - at : most, left = targets > at ? targets - at : 0;
        const int32_t *tokens = doc->tokens + doc->first + at;
        const float *logits;
        code = qwen_forward(m->state, tokens, n, QWEN_ALL_LOGITS, &logits, e);
        if (code) break;
        float *original = m->original + (size_t)at * (size_t)vocab;
        scoring job = {m, logits, compared ? original : NULL, tokens + 1, left < n ? left : n, vocab};
        tn_parallel_for((size_t)n, 1, o->exec.threads, score_rows, &job);
        add_scores(m, which, doc->first + at, n, job.n_targets);
        if (which == SAE_RUN_ORIGINAL) memcpy(original, logits, (size_t)n * (size_t)vocab * sizeof *original);
    }
    return code;
}

/* Checks the document and fills the KV cache with the tokens before its first row to replace. */
static int start(sae_effect *m, const sae_effect_doc *doc, tn_err *e) {
    int rows = doc->end - doc->first;
    if (doc->first < 0 || doc->end > doc->n)
        return tn_fail(e, TN_EARG, "rows %d to %d of a document of %d tokens", doc->first, doc->end, doc->n);
    if (rows > m->o.max_rows)
        return tn_fail(e, TN_EARG, "a document of %d rows, expected at most %d", rows, m->o.max_rows);
    m->label = doc->label;
    /* A target is scored before it is fed, if it ever is. */
    int code = qwen_check_tokens(qwen_state_model(m->state), doc->tokens, doc->n, e);
    if (code) return code;
    qwen_rewind(m->state, 0);
    code = qwen_set_hooks(m->state, NULL, 0, e);
    if (code || doc->first == 0) return code;
    return qwen_forward(m->state, doc->tokens, doc->first, QWEN_NO_LOGITS, NULL, e);
}

/* A NaN or an infinity in a row, a reconstruction or the logits behind them is one in these sums. */
static int check_finite(const sae_effect *m, tn_err *e) {
    const sae_eval *rows = &m->rows.part[SAE_ALL_ROWS];
    const sae_effect_sums *s = &m->sums[SAE_ALL_ROWS];
    int ok = isfinite(rows->shift_sq) && isfinite(rows->error_sq);
    if (!ok) return tn_fail(e, TN_ENUM, "an activation or its reconstruction is not finite");
    for (int run = 0; run < SAE_RUNS; run++) ok &= isfinite(s->nll[run]) && isfinite(s->kl[run]);
    return ok ? TN_OK : tn_fail(e, TN_ENUM, "the model's logits are not finite");
}

int sae_effect_add(sae_effect *m, const sae_effect_doc *doc, tn_err *e) {
    if (doc->end <= doc->first) return TN_OK;
    int code = start(m, doc, e);
    if (!code) code = sae_parts_reserve(&m->rows, (size_t)(doc->end - doc->first), e);
    if (!code) code = run(m, doc, SAE_RUN_ORIGINAL, e);
    if (!code) code = run(m, doc, SAE_RUN_SAE, e);
    if (!code) code = run(m, doc, SAE_RUN_ZERO, e);
    if (!code) code = check_finite(m, e);
    if (!code) m->docs++;
    return code;
}

int sae_effect_add_mean(sae_effect *m, const sae_effect_doc *doc, tn_err *e) {
    if (doc->end <= doc->first) return TN_OK;
    sae_eval_mean(&m->rows.part[SAE_ALL_ROWS], m->mean);
    int code = start(m, doc, e);
    if (!code) code = run(m, doc, SAE_RUN_MEAN, e);
    return code ? code : check_finite(m, e);
}

sae_effect_result sae_effect_finish(const sae_effect *m, int part) {
    const sae_effect_sums *s = &m->sums[part];
    double n = (double)s->targets; /* 0 / 0 is NaN: no targets, no numbers */
    sae_effect_result r = {.docs = m->docs, .targets = s->targets};
    r.rows = sae_eval_finish(&m->rows.part[part]);
    r.ce_original = s->nll[SAE_RUN_ORIGINAL] / n;
    r.ce_sae = s->nll[SAE_RUN_SAE] / n;
    r.ce_zero = s->nll[SAE_RUN_ZERO] / n;
    r.ce_mean = s->nll[SAE_RUN_MEAN] / n;
    r.ce_difference = r.ce_sae - r.ce_original;
    r.loss_recovered = (r.ce_zero - r.ce_sae) / (r.ce_zero - r.ce_original);
    r.loss_recovered_mean = (r.ce_mean - r.ce_sae) / (r.ce_mean - r.ce_original);
    r.kl = s->kl[SAE_RUN_SAE] / (double)r.rows.n;
    r.kl_zero = s->kl[SAE_RUN_ZERO] / (double)r.rows.n;
    r.kl_score = (r.kl_zero - r.kl) / r.kl_zero;
    return r;
}
