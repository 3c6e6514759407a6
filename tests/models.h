/* What the tests of the forward pass share: the golden models, a recorded run, a hook that watches. */
#ifndef TESTS_MODELS_H
#define TESTS_MODELS_H

#include "qwen/qwen.h"
#include "tensor/rng.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/forward/"

enum { LONG = 80 /* tokens of the runs that compare with each other; the goldens' models hold 128 */ };

static inline qwen_model *open_golden(const char *name) {
    char dir[128];
    qwen_model *m;
    tn_err e;
    snprintf(dir, sizeof dir, GOLDEN "%s", name);
    if (!CHECK_INT(qwen_open_dir(&m, dir, &e), TN_OK)) printf("  %s\n", e.msg);
    return m;
}

static inline qwen_state *new_state(const qwen_model *m, const tn_kernels *k, int threads, int context,
                                    int chunk) {
    qwen_opts o = {
        .exec = {.k = k, .threads = threads}, .context = context, .chunk = chunk, .logit_rows = context};
    qwen_state *s;
    tn_err e;
    if (!CHECK_INT(qwen_state_new(&s, m, &o, &e), TN_OK)) printf("  %s\n", e.msg);
    return s;
}

static inline void make_tokens(int32_t *tokens, int n, int vocab) {
    tn_rng r = tn_rng_seed(7);
    for (int i = 0; i < n; i++) tokens[i] = (int32_t)tn_rng_below(&r, (uint64_t)vocab);
}

/* ---- Recording a run ---- */

typedef struct {
    int n, d, layers, vocab;
    float *sites;  /* [layers, QWEN_SITE_COUNT, n, d] */
    float *logits; /* [n, vocab] */
} recording;

static inline float *site_of(const recording *r, int layer, qwen_site site) {
    size_t rows = (size_t)r->n * (size_t)r->d;
    return r->sites + ((size_t)layer * QWEN_SITE_COUNT + (size_t)site) * rows;
}

static inline int record(void *ctx, const qwen_tap *t) {
    const recording *r = ctx;
    memcpy(site_of(r, t->layer, t->site) + (size_t)t->pos[0] * (size_t)t->d, t->x,
           (size_t)t->n * (size_t)t->d * sizeof *t->x);
    return 0;
}

static inline size_t site_count(const recording *r) {
    return (size_t)r->layers * QWEN_SITE_COUNT * (size_t)r->n * (size_t)r->d;
}

static inline size_t logit_count(const recording *r) {
    return (size_t)r->n * (size_t)r->vocab;
}

static inline void free_recording(recording *r) {
    free(r->sites);
    free(r->logits);
}

/* Runs tokens [n] in pieces of `chunk` and keeps every residual and every logit. */
static inline recording run(const qwen_model *m, const tn_kernels *k, int threads, int chunk,
                            const int32_t *tokens, int n) {
    const qwen_config *c = qwen_model_config(m);
    recording r = {.n = n, .d = c->hidden, .layers = c->layers, .vocab = c->vocab};
    tn_err e;
    r.sites = calloc(site_count(&r), sizeof *r.sites);
    r.logits = calloc(logit_count(&r), sizeof *r.logits);

    qwen_hook hooks[QWEN_SITE_COUNT];
    for (int i = 0; i < QWEN_SITE_COUNT; i++)
        hooks[i] = (qwen_hook){(qwen_site)i, 0, c->layers - 1, record, &r};
    qwen_state *s = new_state(m, k, threads, n, chunk);
    CHECK_INT(qwen_set_hooks(s, hooks, QWEN_SITE_COUNT, &e), TN_OK);
    for (int i = 0; i < n; i += chunk) {
        int now = n - i < chunk ? n - i : chunk;
        const float *logits;
        if (!CHECK_INT(qwen_forward(s, tokens + i, now, QWEN_ALL_LOGITS, &logits, &e), TN_OK)) break;
        memcpy(r.logits + (size_t)i * (size_t)r.vocab, logits,
               (size_t)now * (size_t)r.vocab * sizeof *logits);
    }
    qwen_state_free(s);
    return r;
}

static inline int same_bits(const recording *a, const recording *b) {
    return !memcmp(a->sites, b->sites, site_count(a) * sizeof *a->sites) &&
           !memcmp(a->logits, b->logits, logit_count(a) * sizeof *a->logits);
}

/* ---- A hook that watches, edits and aborts ---- */

/* What a test's hook does when it is called. */
typedef struct {
    int calls, abort_at_pos, code; /* returns code when the rows contain abort_at_pos */
    float add;                     /* added to every component of row row_pos */
    int row_pos;
    int generated, rows_seen, last_pos0; /* of row 0 of the last call, and of all */
    int32_t first_token;
} probe;

static inline int probe_hook(void *ctx, const qwen_tap *t) {
    probe *p = ctx;
    p->calls++;
    p->generated = t->generated[0];
    p->rows_seen += t->n;
    p->last_pos0 = t->pos[0];
    p->first_token = t->tokens[0];
    int abort = 0;
    for (int row = 0; row < t->n; row++) {
        for (int i = 0; i < t->d && t->pos[row] == p->row_pos; i++) t->x[row * t->d + i] += p->add;
        abort |= t->pos[row] == p->abort_at_pos;
    }
    return abort ? p->code : 0;
}

#endif
