/* The loop of generation: prefill, then sample and feed back. */
#include "qwen/generate.h"

#include <limits.h>

static int is_stop(const qwen_gen_opts *o, int32_t token) {
    for (int i = 0; i < o->n_stops; i++)
        if (o->stops[i] == token) return 1;
    return 0;
}

int qwen_generate(qwen_state *s, qwen_sampler *sampler, const int32_t *prompt, int n,
                  const qwen_gen_opts *opts, int feed_last, qwen_token_fn fn, void *ctx, qwen_finish *finish,
                  tn_err *e) {
    const float *logits;
    int vocab = qwen_model_config(qwen_state_model(s))->vocab;
    int start = qwen_position(s);
    if (finish) *finish = QWEN_FINISH_LENGTH;
    if (sampler->vocab != vocab)
        return tn_fail(e, TN_EARG, "the sampler is for a vocabulary of %d, the model has %d", sampler->vocab,
                       vocab);

    qwen_set_prompt_length(s, n < INT_MAX - start ? start + n : INT_MAX);
    int rc = qwen_forward(s, prompt, n, 0, &logits, e);
    if (rc) return rc;
    for (int i = 0; i < n; i++) qwen_sampler_accept(sampler, prompt[i]);

    for (int written = 0; written < opts->max_new; written++) {
        int32_t token = qwen_sampler_next(sampler, logits);
        if ((rc = qwen_check_choice(logits, token, e))) return rc;
        if (is_stop(opts, token)) {
            if (finish) *finish = QWEN_FINISH_STOP;
            return TN_OK;
        }
        if (fn && fn(ctx, token))
            return tn_fail(e, TN_ESTOP, "the receiver of the tokens stopped the generation");
        int last = written + 1 == opts->max_new;
        int full = qwen_position(s) == qwen_state_opts(s)->context;
        if (full || (last && !feed_last)) return TN_OK;
        rc = qwen_forward(s, &token, 1, last ? QWEN_NO_LOGITS : 0, &logits, e);
        if (rc) return rc;
    }
    return TN_OK;
}
