/* Choosing the next token from logits. */
#ifndef QWEN_SAMPLE_H
#define QWEN_SAMPLE_H

#include "tensor/err.h"
#include "tensor/rng.h"

#include <stddef.h>

typedef struct {
    float temperature;    /* 0 = greedy (lowest id among equals) */
    int top_k;            /* keep the k largest; 0 = all */
    float top_p;          /* keep the smallest set with at least this mass (nucleus); 1 = all */
    float min_p;          /* keep p >= min_p * max p; 0 = all */
    float repeat_penalty; /* HF's repetition_penalty over prompt and output; 1 = none */
    uint64_t seed;
} qwen_sampling;

qwen_sampling qwen_sampling_default(void); /* greedy, seed 42 */
int qwen_sampling_check(const qwen_sampling *p, tn_err *e);

/* A token that may be chosen. */
typedef struct {
    float weight;
    int32_t id;
} qwen_candidate;

typedef struct {
    qwen_sampling params;
    tn_rng rng;
    int vocab;
    unsigned char *seen;  /* [vocab] 1 for ids in prompt or output */
    qwen_candidate *pool; /* [vocab] scratch of one call */
} qwen_sampler;

/* A sampler for a vocabulary of `vocab`, carved from the caller's block. Order of the filters: penalty,
 * temperature, top-k, top-p, min-p (as in HF transformers). */
size_t qwen_sampler_bytes(int vocab);
int qwen_sampler_init(qwen_sampler *s, const qwen_sampling *params, int vocab, void *mem, size_t cap,
                      tn_err *e);
/* The same on the caller's seen [vocab] and pool [vocab]; samplers that take turns may share a pool. */
int qwen_sampler_place(qwen_sampler *s, const qwen_sampling *params, int vocab, unsigned char *seen,
                       qwen_candidate *pool, tn_err *e);
void qwen_sampler_reset(qwen_sampler *s, uint64_t seed);  /* forgets seen tokens, reseeds */
void qwen_sampler_accept(qwen_sampler *s, int32_t token); /* mark as seen */
/* The next token; marks it as seen. logits [vocab] are read only. */
int32_t qwen_sampler_next(qwen_sampler *s, const float *logits);

/* TN_ENUM when the logit of the token that was chosen is no number: then the model is broken, or what a hook
 * made of its rows. */
int qwen_check_choice(const float *logits, int32_t token, tn_err *e);

/* The id of the largest of logits [vocab], the lowest among equals; as a greedy sampler without penalty. */
int32_t qwen_likeliest(const float *logits, int vocab);

/* The seed of item `index` of a run over many prompts: independent of the other items, so that the order of
 * work and a restart change nothing; below 2^53, so that JSON holds it. */
uint64_t qwen_item_seed(uint64_t seed, uint64_t index);

#endif
