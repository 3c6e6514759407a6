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
    if (tn_mul_size(rows, d, &x) || tn_mul_size((size_t)m->max_targets, (size_t)vocab, &logits))
        a->failed = 1;
    m->x = tn_arena_take(a, x, sizeof *m->x);
    m->mean = tn_arena_take(a, d, sizeof *m->mean);
    m->original = tn_arena_take(a, logits, sizeof *m->original);
    m->row_nll = tn_arena_take(a, rows, sizeof *m->row_nll);
    m->row_kl = tn_arena_take(a, rows, sizeof *m->row_kl);
}

int sae_effect_new(sae_effect *out, qwen_state *state, const sae_model *sae, int layer, qwen_site site,
                   int max_targets, tn_err *e) {
    const qwen_config *c = qwen_model_config(qwen_state_model(state));
    int chunk = qwen_state_opts(state)->chunk;
    *out = (sae_effect){.state = state, .sae = sae, .layer = layer, .site = site, .max_targets = max_targets};
    if (max_targets < 0) return tn_fail(e, TN_EARG, "documents of %d targets", max_targets);
    tn_arena measure = tn_arena_measure();
    carve(out, &measure, chunk, c->vocab);
    size_t steer = sae_steer_bytes(sae, 0, chunk), own = measure.used + TN_ALIGN, bytes;
    if (measure.failed || steer == 0 || tn_add_size(own, steer, &bytes))
        return tn_fail(e, TN_ENOMEM, "the documents are too long to evaluate");
    out->block = malloc(bytes);
    if (!out->block)
        return tn_fail(e, TN_ENOMEM, "no memory for the logits of %d targets (%zu MB)", max_targets,
                       bytes >> 20);
    tn_arena arena = tn_arena_on(out->block, own);
    carve(out, &arena, chunk, c->vocab);
    out->means.v = out->mean;
    /* The rows to replace are chosen by when the hook is on: it replaces all rows it sees. */
    int code = sae_steer_init(&out->steer, sae, NULL, out->layer, SAE_POS_ALL, 0, chunk, c->hidden,
                              (unsigned char *)out->block + own, steer, e);
    if (!code) code = sae_eval_new(&out->rows, sae->cfg.d_in, sae->cfg.d_sae, e);
    if (code) sae_effect_free(out);
    return code;
}

void sae_effect_free(sae_effect *m) {
    sae_eval_free(&m->rows);
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

/* One chunk of a run whose rows are to be scored. */
typedef struct {
    sae_effect *m;
    const float *logits;    /* [n, vocab] */
    const float *original;  /* [n, vocab] to compare with, NULL: only the cross entropy is wanted */
    const int32_t *targets; /* [n] */
    int vocab;
} scoring;

static void score_rows(void *ctx, size_t begin, size_t end) {
    const scoring *s = ctx;
    for (size_t i = begin; i < end; i++) {
        size_t at = i * (size_t)s->vocab;
        s->m->row_nll[i] = qwen_nll(s->logits + at, s->vocab, s->targets[i]);
        s->m->row_kl[i] = s->original ? sae_effect_kl(s->original + at, s->logits + at, s->vocab) : 0;
    }
}

/* ---- Running ---- */

/* Measures the SAE on the rows of a tap while putting its reconstruction in their place. A tap has at most
 * `chunk` rows, so the latents of all of them are still in the steering hook's memory. */
static int reconstruct_hook(void *ctx, const qwen_tap *tap) {
    sae_effect *m = ctx;
    memcpy(m->x, tap->x, (size_t)tap->n * (size_t)tap->d * sizeof *m->x);
    int code = sae_steer_hook(&m->steer, tap);
    if (!code) sae_eval_add(&m->rows, m->x, tap->x, m->steer.z, tap->n);
    return code;
}

/* Rows of the document that predict one of its tokens. */
static int target_count(const sae_effect_doc *doc) {
    int end = doc->end < doc->n - 1 ? doc->end : doc->n - 1;
    return end > doc->first ? end - doc->first : 0;
}

/* Computes the rows to replace, after the tokens before them, and scores those that have a target. */
static int run(sae_effect *m, const sae_effect_doc *doc, sae_effect_run which, tn_err *e) {
    const qwen_opts *o = qwen_state_opts(m->state);
    int vocab = qwen_model_config(qwen_state_model(m->state))->vocab, targets = target_count(doc);
    /* The SAE is measured on every row; to the others a row without a target is of no use. */
    int rows = which == SAE_RUN_SAE ? doc->end - doc->first : targets;
    qwen_hook hook = {m->site, m->layer, m->layer, sae_replace_hook, &m->zeros};
    if (which == SAE_RUN_SAE) hook = (qwen_hook){m->site, m->layer, m->layer, reconstruct_hook, m};
    if (which == SAE_RUN_MEAN) hook.ctx = &m->means;
    int code = qwen_set_hooks(m->state, &hook, which != SAE_RUN_ORIGINAL, e);
    int most = o->logit_rows < o->chunk ? o->logit_rows : o->chunk;
    qwen_rewind(m->state, doc->first);
    for (int at = 0; at < rows && !code; at += most) {
        int n = rows - at < most ? rows - at : most;
        int scored = targets - at < n ? targets - at : n;
        const float *logits;
        code = qwen_forward(m->state, doc->tokens + doc->first + at, n, QWEN_ALL_LOGITS, &logits, e);
        if (code || scored <= 0) continue;
        float *original = m->original + (size_t)at * (size_t)vocab;
        scoring job = {m, logits, which == SAE_RUN_SAE ? original : NULL, doc->tokens + doc->first + at + 1,
                       vocab};
        tn_parallel_for((size_t)scored, 1, o->exec.threads, score_rows, &job);
        for (int i = 0; i < scored; i++) {
            m->nll[which] += m->row_nll[i];
            m->kl += m->row_kl[i];
        }
        if (which == SAE_RUN_ORIGINAL)
            memcpy(original, logits, (size_t)scored * (size_t)vocab * sizeof *original);
    }
    return code;
}

/* Checks the document and fills the KV cache with the tokens before its first row to replace. */
static int start(sae_effect *m, const sae_effect_doc *doc, tn_err *e) {
    int targets = target_count(doc);
    if (doc->first < 0 || doc->end > doc->n)
        return tn_fail(e, TN_EARG, "rows %d to %d of a document of %d tokens", doc->first, doc->end, doc->n);
    if (targets > m->max_targets)
        return tn_fail(e, TN_EARG, "a document of %d targets, expected at most %d", targets, m->max_targets);
    /* A target is scored before it is fed, if it ever is. */
    int code = qwen_check_tokens(qwen_state_model(m->state), doc->tokens, doc->n, e);
    if (code) return code;
    qwen_rewind(m->state, 0);
    code = qwen_set_hooks(m->state, NULL, 0, e);
    if (code || doc->first == 0) return code;
    return qwen_forward(m->state, doc->tokens, doc->first, QWEN_NO_LOGITS, NULL, e);
}

int sae_effect_add(sae_effect *m, const sae_effect_doc *doc, tn_err *e) {
    if (doc->end <= doc->first) return TN_OK;
    int code = start(m, doc, e);
    if (!code) code = run(m, doc, SAE_RUN_ORIGINAL, e);
    if (!code) code = run(m, doc, SAE_RUN_SAE, e);
    if (!code) code = run(m, doc, SAE_RUN_ZERO, e);
    if (code) return code;
    /* A NaN or an infinity in a row is one in these sums. */
    if (!isfinite(m->rows.shift_sq) || !isfinite(m->rows.error_sq))
        return tn_fail(e, TN_ENUM, "an activation or its reconstruction is not finite");
    m->docs++;
    m->targets += (size_t)target_count(doc);
    return TN_OK;
}

int sae_effect_add_mean(sae_effect *m, const sae_effect_doc *doc, tn_err *e) {
    if (target_count(doc) == 0) return TN_OK;
    sae_eval_mean(&m->rows, m->mean);
    int code = start(m, doc, e);
    return code ? code : run(m, doc, SAE_RUN_MEAN, e);
}

sae_effect_result sae_effect_finish(const sae_effect *m) {
    double n = (double)m->targets; /* 0 / 0 is NaN: no targets, no numbers */
    sae_effect_result r = {.rows = sae_eval_finish(&m->rows), .docs = m->docs, .targets = m->targets};
    r.ce_original = m->nll[SAE_RUN_ORIGINAL] / n;
    r.ce_sae = m->nll[SAE_RUN_SAE] / n;
    r.ce_zero = m->nll[SAE_RUN_ZERO] / n;
    r.ce_mean = m->nll[SAE_RUN_MEAN] / n;
    r.ce_difference = r.ce_sae - r.ce_original;
    r.loss_recovered = (r.ce_zero - r.ce_sae) / (r.ce_zero - r.ce_original);
    r.loss_recovered_mean = (r.ce_mean - r.ce_sae) / (r.ce_mean - r.ce_original);
    r.kl = m->kl / n;
    return r;
}
