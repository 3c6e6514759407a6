/* The inside of a state, and the parts of the forward pass that work on it; for the files of this folder.
 *
 * Letters: n rows computed now (at most chunk), d hidden, h query heads, g key/value heads, e head_dim,
 * i intermediate, c context, s sequences.
 */
#ifndef QWEN_STATE_H
#define QWEN_STATE_H

#include "qwen/model.h"

/* One timeline. */
typedef struct {
    int pos;      /* tokens in it */
    int n_prompt; /* positions below it are the prompt */
    int adds;     /* tokens that the running call appends to it; 0 between calls */
} qwen_seq;

/* The rows a forward pass is at, as a hook sees them. */
typedef struct {
    int n;
    int32_t *tokens;          /* [n] */
    int *pos, *seq;           /* [n] */
    unsigned char *generated; /* [n] */
    int n_wanted;             /* rows whose logits are asked for */
    int *wanted;              /* [n_wanted] ascending */
} qwen_rows;

/* Rows that attention takes at once: with the heads of a group they fill the tiles of a product, and their
 * weights still fit in the second-level cache. */
enum { QWEN_ATTEND_ROWS = 4 };

struct qwen_state {
    const qwen_model *model;
    qwen_opts opts; /* chunk, sequences and logit_rows as used */
    qwen_seq *seqs; /* [s] */
    qwen_rows rows; /* of the running call */

    qwen_hook *hooks; /* [QWEN_MAX_HOOKS] in the order they run */
    int n_hooks;
    unsigned char *hooked; /* [layers, QWEN_SITE_COUNT] 1 where some hook listens */

    float *rope_cos, *rope_sin; /* [c, e/2] */

    /* What each layer remembers of a sequence's positions 0 … pos-1; what lies beyond pos is dead. A head's
     * keys follow each other by position, its values by component (transposed), so that both products of
     * attention run along memory. With head = (seq*layers + l)*g + kv:
     *   key   (head, position p, component j) = k_cache[(head*c + p)*e + j]
     *   value (head, position p, component j) = v_cache[(head*e + j)*v_stride + p] */
    float *k_cache;  /* [s, layers, g, c, e] */
    float *v_cache;  /* [s, layers, g, e, v_stride] */
    size_t v_stride; /* a little more than c, see state.c */

    float *x;         /* [n, d] the residual stream */
    float *normed;    /* [n, d] input of attention, of the MLP, of the head */
    float *y;         /* [n, d] what attention or the MLP adds */
    float *q;         /* [n, h*e] */
    float *k, *v;     /* [n, g*e] */
    float *heads;     /* [n, h*e] output of the heads, before o_proj */
    float *gate, *up; /* [n, i] */
    float *scores;    /* [threads, QWEN_ATTEND_ROWS, h/g, c] attention weights of a piece, see attention.c */
    float *queries;   /* [threads, QWEN_ATTEND_ROWS, h/g, e] its scaled queries, then its outputs */
    int32_t *blocks;  /* [n] first rows of the blocks that attention takes together */
    float *logits;    /* [logit_rows, vocab] */
    void *rounded;    /* rows of the widest input in 8 bits, for quantised weights */

    void *block; /* the allocation of qwen_state_new, else NULL */
};

/* rope.c: cos and sin [positions, head_dim/2] for every position. */
void qwen_rope_tables(const qwen_config *c, float *cos_table, float *sin_table, int positions);
/* rope.c: rotates every head of x [n, heads, head_dim] to its row's position. */
void qwen_rope(const qwen_state *s, const qwen_rows *r, float *x, int heads);

/* attention.c: puts s->k and s->v into the cache of `layer`, each row at its position of its sequence. */
void qwen_cache_rows(qwen_state *s, const qwen_rows *r, int layer);
/* attention.c: copies positions 0 … n-1 of every layer from one sequence to another. */
void qwen_cache_copy(qwen_state *s, int to, int from, int n);
/* attention.c: s->heads = causal attention of s->q over the cache of `layer`. */
void qwen_attention(qwen_state *s, const qwen_rows *r, int layer);

/* hooks.c: hands x [n, d] to the hooks of this site and layer. */
int qwen_run_hooks(const qwen_state *s, const qwen_rows *r, int layer, qwen_site site, float *x, tn_err *e);

#endif
