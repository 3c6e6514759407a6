/* How surprised the model is by a text: the negative log-likelihood of each token given those before. */
#ifndef QWEN_SCORE_H
#define QWEN_SCORE_H

#include "qwen/qwen.h"

/* -log softmax(logits)[target], summed in double in the order of the vocabulary. logits [vocab] */
double qwen_nll(const float *logits, int vocab, int32_t target);

/* Rows of logits that a state for scoring does well to hold: the head's weights are read once for so many. */
enum { QWEN_SCORE_ROWS = 64 };

/* Starts the timeline of s anew with tokens [n] and sets nll[i - 1] = -log p(tokens[i] | tokens before it)
 * for 1 <= i < n. nll [n - 1] */
int qwen_score_window(qwen_state *s, const int32_t *tokens, int n, double *nll, tn_err *e);

#endif
