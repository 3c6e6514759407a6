/* Many prompts at once: each sequence of a state is a slot, and a slot that has finished takes the next
 * prompt at once. One forward pass computes the next token of every story being written together with the
 * prompts being read, so that each weight is read from memory once for all of them.
 *
 * Every item gets the tokens and residuals that it gets alone: rows of different sequences do not see each
 * other, and each item has its own sampler and seed. Only the order of the work depends on the batch.
 */
#ifndef QWEN_BATCH_H
#define QWEN_BATCH_H

#include "qwen/generate.h"

/* A prompt and what is to be done with it. */
typedef struct {
    const int32_t *prompt; /* [n_prompt] */
    int n_prompt;          /* >= 1 */
    const int32_t *answer; /* [n_answer] known beforehand: it is fed as generated, nothing is sampled */
    int n_answer;
    int replay;    /* 1: feed `answer`, 0: write one */
    uint64_t seed; /* of the sampler */
} qwen_item;

/* An item that is finished. */
typedef struct {
    size_t index; /* of the item */
    int seq;      /* the sequence it was in; hooks have seen all its rows, and none of the next item's */
    const int32_t *tokens; /* [n] written; none when an answer was replayed */
    int n;
    qwen_finish finish;
} qwen_done;

/* Called for each item when it is finished, in no particular order. A code other than TN_OK ends the run,
 * which returns it; the function says why in *e. */
typedef int (*qwen_done_fn)(void *ctx, const qwen_done *done, tn_err *e);

typedef struct {
    qwen_gen_opts gen;
    int feed_last;          /* as in qwen_generate: hooks see every generated token */
    qwen_sampling sampling; /* but for the seed */
    /* 1: what prompts have in common is computed once and copied. Hooks that treat a prompt's rows one by
     * one, the same way in every prompt, give the same results; hooks that have to see the rows of every
     * prompt need 0. */
    int share_prefixes;
} qwen_batch_opts;

/* TN_ECTX or TN_EARG when the item cannot be run in s: too long, empty, ids the model has not. */
int qwen_item_check(const qwen_state *s, const qwen_item *item, tn_err *e);

/* Works off items [count] in all sequences of s, which start anew; s must hold a row of logits for each.
 * Memory is allocated once, none per token. An item that qwen_item_check refuses ends the run before anything
 * is computed ("prompt 3: …"); whatever a hook or fn returns ends it when it happens. */
int qwen_batch_run(qwen_state *s, const qwen_item *items, size_t count, const qwen_batch_opts *opts,
                   qwen_done_fn fn, void *ctx, tn_err *e);

/* A good number of sequences for `count` prompts whose answers end within `context`: enough to use each
 * weight many times, with a KV cache that stays within half a gigabyte. */
int qwen_batch_sequences(const qwen_model *m, int context, size_t count);

#endif
