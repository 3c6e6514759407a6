/* Negative log-likelihoods of a window of text (score.h). */
#include "qwen/score.h"

#include "tensor/par.h"

#include <math.h>

double qwen_nll(const float *logits, int vocab, int32_t target) {
    float max = logits[0];
    for (int i = 1; i < vocab; i++)
        if (logits[i] > max) max = logits[i];
    double sum = 0; /* of exp(logit - max), which never overflows */
    for (int i = 0; i < vocab; i++) sum += exp((double)logits[i] - (double)max);
    return log(sum) + (double)max - (double)logits[target];
}

typedef struct {
    const float *logits;    /* [rows, vocab] */
    const int32_t *targets; /* [rows] */
    double *nll;            /* [rows] */
    int vocab;
} rows_job;

static void score_rows(void *ctx, size_t begin, size_t end) {
    const rows_job *j = ctx;
    for (size_t i = begin; i < end; i++)
        j->nll[i] = qwen_nll(j->logits + i * (size_t)j->vocab, j->vocab, j->targets[i]);
}

int qwen_score_window(qwen_state *s, const int32_t *tokens, int n, double *nll, tn_err *e) {
    const qwen_opts *o = qwen_state_opts(s);
    int vocab = qwen_model_config(qwen_state_model(s))->vocab;
    int rc = qwen_check_tokens(qwen_state_model(s), tokens, n, e);
    if (rc) return rc;
    qwen_rewind(s, 0);
    /* The last token is only predicted, never fed. */
    for (int at = 0; at < n - 1; at += o->logit_rows) {
        int rows = n - 1 - at < o->logit_rows ? n - 1 - at : o->logit_rows;
        const float *logits;
        int code = qwen_forward(s, tokens + at, rows, QWEN_ALL_LOGITS, &logits, e);
        if (code) return code;
        rows_job job = {logits, tokens + at + 1, nll + at, vocab};
        tn_parallel_for((size_t)rows, 1, o->exec.threads, score_rows, &job);
    }
    return TN_OK;
}
