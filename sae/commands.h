/* The subcommands of `sae`, and what those that run a model share. */
#ifndef SAE_COMMANDS_H
#define SAE_COMMANDS_H

#include "qwen/text.h"
#include "tensor/cli.h"

int cmd_capture(int argc, char **argv);
int cmd_train(int argc, char **argv);
int cmd_frontier(int argc, char **argv);
int cmd_features(int argc, char **argv);
int cmd_steer(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_control(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_bench_train(int argc, char **argv);
int cmd_convert(int argc, char **argv);

/* Rows of an option table: how text is written. p is a qwen_sampling. */
#define SAMPLING_OPTIONS(p)                                                                                    \
    {"--temp",  NULL,                                                                                          \
     CLI_FLOAT, &(p).temperature,                                                                              \
     "X",       "temperature (0, the default: always the likeliest token)",                                    \
     0},                                                                                                       \
        {"--top-k", NULL, CLI_INT, &(p).top_k, "K", "sample among the K likeliest tokens (0: all)", 0},        \
        {"--top-p", NULL, CLI_FLOAT, &(p).top_p, "P", "sample among the likeliest tokens of total mass P", 0}, \
        {"--min-p", NULL, CLI_FLOAT, &(p).min_p, "P", "leave out tokens below P times the likeliest", 0},      \
        {"--repeat-penalty",                                                                                   \
         NULL,                                                                                                 \
         CLI_FLOAT,                                                                                            \
         &(p).repeat_penalty,                                                                                  \
         "X",                                                                                                  \
         "divide logits of tokens already there",                                                              \
         0},                                                                                                   \
    {                                                                                                          \
        "--seed", NULL, CLI_U64, &(p).seed, "N", "seed of the sampling", 0                                     \
    }

/* A model, its tokenizer and one timeline. */
typedef struct {
    qwen_text text;
    tn_exec exec;
    qwen_opts opts; /* of the timeline; may be changed between writer_open and writer_start */
    qwen_state *state;
    qwen_sampler sampler;
    void *sampler_block;
} writer;

/* Opens model and tokenizer of `dir`. */
int writer_open(writer *w, const char *dir, int threads, tn_err *e);
/* Positions of a timeline with room for `tokens` tokens, or for as many as the model allows. */
int writer_context(const writer *w, size_t tokens);
/* Makes the timeline, with room for `tokens` tokens or as many as the model allows. */
int writer_start(writer *w, size_t tokens, const qwen_sampling *sampling, tn_err *e);
void writer_close(writer *w);
/* Starts the timeline anew and answers prompt [n]: appends at most max_new tokens to *answer. Hooks see every
 * one of them. */
int writer_generate(writer *w, const tok_ids *prompt, int max_new, uint64_t seed, tok_ids *answer, tn_err *e);
/* For several answers to one prompt: starts the timeline anew and computes all of the prompt but its last
 * token, whose logits begin every answer; *held is how many tokens that is. */
int writer_prefill(writer *w, const tok_ids *prompt, size_t *held, tn_err *e);
/* writer_generate on a timeline that holds the first `held` tokens of the prompt, or more, already: the same
 * bits as long as no hook changes those. */
int writer_continue(writer *w, const tok_ids *prompt, size_t held, int max_new, uint64_t seed,
                    tok_ids *answer, tn_err *e);
/* Appends the text of an answer [n] and a NUL behind its end. Special tokens are left out; a character that
 * max_new cut in two becomes U+FFFD. */
int writer_decode(const writer *w, const int32_t *ids, size_t n, tn_buf *out, tn_err *e);
/* Tokens of the answer that were fed back to the model: all, but for the last of one that filled the context.
 */
size_t writer_fed(const writer *w, const tok_ids *prompt, const tok_ids *answer);

/* Tokens of all prompts; the longest. Frees nothing on failure: call free_prompt_ids either way. */
int encode_prompts(const writer *w, const qwen_prompts *p, int raw, const char *system,
                   tok_ids *ids /* [count] */, size_t *longest, tn_err *e);
void free_prompt_ids(tok_ids *ids, size_t count);
/* Appends the answer a line already holds, as tokens; none when it is only a prompt. */
int known_answer(const writer *w, const qwen_prompt *p, tok_ids *answer, tn_err *e);

#endif
