/* Writing text one token at a time: ids in, ids out. */
#ifndef QWEN_GENERATE_H
#define QWEN_GENERATE_H

#include "qwen/qwen.h"
#include "qwen/sample.h"

typedef enum { QWEN_FINISH_LENGTH, QWEN_FINISH_STOP } qwen_finish;

/* Called with each new token before it is fed back (the stop token is not reported). Non-zero stops the
 * generation with TN_ESTOP. */
typedef int (*qwen_token_fn)(void *ctx, int32_t token);

typedef struct {
    int max_new;          /* most tokens to write */
    const int32_t *stops; /* [n_stops] tokens that end the text */
    int n_stops;
} qwen_gen_opts;

/* Continues the timeline of s: marks the prompt's end for the hooks, prefills prompt [n] (>= 1), then
 * samples until a stop token, max_new tokens or a full context (TN_ECTX before anything is computed when
 * the prompt alone does not fit). Every reported token but, at QWEN_FINISH_LENGTH, the last has been fed
 * back when the call returns; with feed_last the last one is fed too, so that hooks see every generated
 * token (in a full context it cannot be). The sampler learns the prompt's tokens and is not reset here.
 * *finish may be NULL. */
int qwen_generate(qwen_state *s, qwen_sampler *sampler, const int32_t *prompt, int n,
                  const qwen_gen_opts *opts, int feed_last, qwen_token_fn fn, void *ctx, qwen_finish *finish,
                  tn_err *e);

#endif
