/* The SAE inside the forward pass: exactness of edits, positions, several layers, capture. */
#include "sae/attach.h"
#include "tensor/rng.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MODEL "tests/golden/forward/gqa2-odd-vocab"
#define T 23      /* tokens of a run */
#define PROMPT 14 /* of which these are the prompt */
#define F 96      /* latents */

typedef struct {
    qwen_model *model;
    int d, vocab, layers;
    int32_t tokens[T];
    sae_model sae[2]; /* different weights, the same shape */
    float *logits;    /* [T, vocab] of the last run */
    float *plain;     /* [T, vocab] of a run without hooks */
} fixture;

static void random_sae(sae_model *s, int d, uint64_t seed) {
    sae_config cfg = {.d_in = d, .d_sae = F, .apply_b_dec_to_input = 1};
    tn_rng r = tn_rng_seed(seed);
    CHECK_INT(sae_new(s, &cfg, NULL), TN_OK);
    for (int i = 0; i < F * d; i++) s->w_enc[i] = 0.3f * tn_rng_normal(&r);
    for (int i = 0; i < F * d; i++) s->w_dec[i] = 0.3f * tn_rng_normal(&r);
    for (int i = 0; i < F; i++) s->b_enc[i] = 0.1f * tn_rng_normal(&r) - 0.1f;
    for (int i = 0; i < d; i++) s->b_dec[i] = 0.1f * tn_rng_normal(&r);
}

/* Runs the tokens: the prompt in one call, the rest one by one when `decode` is set. */
static void run_model(fixture *f, const qwen_hook *hooks, int n_hooks, int chunk, int threads, int decode) {
    tn_err e = {0};
    qwen_state *s = NULL;
    qwen_opts o = qwen_opts_default(f->model);
    o.exec = tn_exec_make(NULL, threads);
    o.context = T;
    o.chunk = chunk;
    o.logit_rows = T;
    CHECK_INT(qwen_state_new(&s, f->model, &o, &e), TN_OK);
    CHECK_INT(qwen_set_hooks(s, hooks, n_hooks, &e), TN_OK);
    qwen_set_prompt_length(s, PROMPT);
    for (int at = 0; at < T;) {
        int n = at < PROMPT || !decode ? chunk : 1;
        if (n > T - at) n = T - at;
        const float *logits;
        if (!CHECK_INT(qwen_forward(s, f->tokens + at, n, QWEN_ALL_LOGITS, &logits, &e), TN_OK)) break;
        memcpy(f->logits + at * f->vocab, logits, (size_t)(n * f->vocab) * sizeof *logits);
        at += n;
    }
    qwen_state_free(s);
}

static size_t logit_bytes(const fixture *f) {
    return (size_t)T * (size_t)f->vocab * sizeof(float);
}

static void open_fixture(fixture *f) {
    tn_err e = {0};
    memset(f, 0, sizeof *f);
    if (!CHECK_INT(qwen_open_dir(&f->model, MODEL, &e), TN_OK)) CHECK_STR(e.msg, "");
    const qwen_config *c = qwen_model_config(f->model);
    f->d = c->hidden;
    f->vocab = c->vocab;
    f->layers = c->layers;
    tn_rng r = tn_rng_seed(1);
    for (int i = 0; i < T; i++) f->tokens[i] = (int32_t)tn_rng_below(&r, (uint64_t)f->vocab);
    random_sae(&f->sae[0], f->d, 2);
    random_sae(&f->sae[1], f->d, 3);
    f->logits = malloc(logit_bytes(f));
    f->plain = malloc(logit_bytes(f));
    run_model(f, NULL, 0, T, 1, 0);
    memcpy(f->plain, f->logits, logit_bytes(f));
}

static void close_fixture(fixture *f) {
    qwen_close(f->model);
    sae_free(&f->sae[0]);
    sae_free(&f->sae[1]);
    free(f->logits);
    free(f->plain);
}

/* A steering hook with its own memory. */
typedef struct {
    sae_steer steer;
    sae_edits edits;
    void *mem;
} mount;

static qwen_hook mounted(mount *m, const fixture *f, int which, const char *ops, int layer, sae_positions p,
                         int keep_error, int max_rows) {
    tn_err e = {0};
    m->edits = (sae_edits){NULL, 0};
    if (ops) CHECK_INT(sae_edits_parse(&m->edits, ops, NULL, 0, &e), TN_OK);
    size_t cap = sae_steer_bytes(&f->sae[which], keep_error, max_rows);
    m->mem = malloc(cap);
    CHECK_INT(sae_steer_init(&m->steer, &f->sae[which], ops ? &m->edits : NULL, layer, p, keep_error,
                             max_rows, f->d, m->mem, cap, &e),
              TN_OK);
    return (qwen_hook){QWEN_RESID_POST, layer, layer, sae_steer_hook, &m->steer};
}

static void unmount(mount *m) {
    sae_edits_free(&m->edits);
    free(m->mem);
}

/* Keeps the rows a site has at this moment. */
typedef struct {
    float *rows; /* [T, d] */
} recorder;

static int record(void *ctx, const qwen_tap *t) {
    recorder *r = ctx;
    memcpy(r->rows + (size_t)t->pos[0] * (size_t)t->d, t->x, (size_t)(t->n * t->d) * sizeof(float));
    return 0;
}

/* ---- The definition, in double and without any of the code under test ---- */

typedef enum { NOTHING, HALVE, SET_ODD, ADD_TO_SOME, CLAMP_ALL, ABLATE_SOME } naive_op;

static double naive_edit(naive_op op, int i, double z) {
    switch (op) {
    case NOTHING:
        return z;
    case HALVE:
        return 0.5 * z;
    case SET_ODD:
        return i == 1 || i == 3 || i == 5 ? 2.5 : z;
    case ADD_TO_SOME:
        return i >= 10 && i <= 19 ? z + 1.25 : z;
    case CLAMP_ALL:
        return z < 0.25 ? 0.25 : z > 0.75 ? 0.75 : z;
    case ABLATE_SOME:
        return i < 48 ? 0.0 : z;
    }
    return z;
}

static void naive_steer(const sae_model *s, naive_op op, int keep_error, const float *h, float *out) {
    int d = s->cfg.d_in;
    double z[F], edited[F];
    for (int i = 0; i < F; i++) {
        double sum = (double)s->b_enc[i];
        for (int k = 0; k < d; k++) sum += ((double)h[k] - (double)s->b_dec[k]) * (double)s->w_enc[i * d + k];
        z[i] = sum > 0 ? sum : 0;
        edited[i] = naive_edit(op, i, z[i]);
    }
    for (int k = 0; k < d; k++) {
        double clean = (double)s->b_dec[k], changed = clean;
        for (int i = 0; i < F; i++) {
            clean += z[i] * (double)s->w_dec[i * d + k];
            changed += edited[i] * (double)s->w_dec[i * d + k];
        }
        out[k] = (float)(keep_error ? changed + ((double)h[k] - clean) : changed);
    }
}

/* ---- Cases ---- */

static void an_edit_that_changes_nothing_keeps_every_bit(void) {
    fixture f;
    open_fixture(&f);
    static const char *const ops[] = {NULL, "all *= 1", "3 += 0; all *= 1", "all clamp -1000 1000"};
    for (size_t i = 0; i < 4; i++) {
        mount m;
        qwen_hook h = mounted(&m, &f, 0, ops[i], 1, SAE_POS_ALL, 1, 8);
        run_model(&f, &h, 1, 8, 2, 1);
        CHECK(memcmp(f.logits, f.plain, logit_bytes(&f)) == 0);
        unmount(&m);
    }
    close_fixture(&f);
}

static void sae_only_is_decode_of_encode(void) {
    fixture f;
    open_fixture(&f);
    size_t rows = (size_t)(T * f.d);
    float *before = malloc(rows * sizeof(float)), *after = malloc(rows * sizeof(float));
    float *want = malloc(rows * sizeof(float));
    void *scratch = malloc(sae_encode_scratch(&f.sae[0], T));
    float *z = malloc(T * F * sizeof(float));
    recorder r0 = {before}, r1 = {after};
    mount m;
    qwen_hook hooks[3] = {{QWEN_RESID_POST, 0, 0, record, &r0},
                          mounted(&m, &f, 0, NULL, 0, SAE_POS_ALL, 0, 4), /* smaller than the chunk */
                          {QWEN_RESID_POST, 0, 0, record, &r1}};
    run_model(&f, hooks, 3, T, 1, 0);
    sae_encode(&f.sae[0], tn_exec_make(NULL, 1), before, T, z, scratch);
    sae_decode(&f.sae[0], tn_exec_make(NULL, 1), z, T, want);
    CHECK(memcmp(after, want, rows * sizeof(float)) == 0);
    CHECK(memcmp(f.logits, f.plain, logit_bytes(&f)) != 0);
    unmount(&m);
    free(before);
    free(after);
    free(want);
    free(scratch);
    free(z);
    close_fixture(&f);
}

static void every_operation_follows_its_formula(void) {
    static const struct {
        naive_op op;
        const char *text;
    } cases[] = {{NOTHING, NULL},
                 {HALVE, "all *= 0.5"},
                 {SET_ODD, "1,3,5 = 2.5"},
                 {ADD_TO_SOME, "10-19 += 1.25"},
                 {CLAMP_ALL, "all clamp 0.25 0.75"},
                 {ABLATE_SOME, "0-47 ablate"}};
    static const struct {
        sae_positions p;
        int first, last;
    } where[] = {{SAE_POS_ALL, 0, T}, {SAE_POS_PROMPT, 0, PROMPT}, {SAE_POS_GENERATED, PROMPT, T}};
    fixture f;
    open_fixture(&f);
    size_t rows = (size_t)(T * f.d);
    float *before = malloc(rows * sizeof(float)), *after = malloc(rows * sizeof(float));
    float *want = malloc(rows * sizeof(float));
    recorder r0 = {before}, r1 = {after};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        for (int keep = 0; keep < 2; keep++) {
            for (int w = 0; w < 3; w++) {
                mount m;
                qwen_hook hooks[3] = {{QWEN_RESID_POST, 0, 0, record, &r0},
                                      mounted(&m, &f, 0, cases[c].text, 0, where[w].p, keep, 5),
                                      {QWEN_RESID_POST, 0, 0, record, &r1}};
                run_model(&f, hooks, 3, 5, 1, 1);
                memcpy(want, before, rows * sizeof(float));
                for (int t = where[w].first; t < where[w].last; t++)
                    naive_steer(&f.sae[0], cases[c].op, keep, before + t * f.d, want + t * f.d);
                CHECK_NEAR(test_rel_error(after, want, rows), 0, 2e-6);
                for (int t = 0; t < T; t++) /* a row that is not selected is not touched */
                    if (t < where[w].first || t >= where[w].last)
                        CHECK(memcmp(after + t * f.d, before + t * f.d, (size_t)f.d * sizeof(float)) == 0);
                unmount(&m);
            }
        }
    }
    free(before);
    free(after);
    free(want);
    close_fixture(&f);
}

static void chunks_and_threads_change_nothing(void) {
    fixture f;
    open_fixture(&f);
    float *want = malloc(logit_bytes(&f));
    for (int keep = 0; keep < 2; keep++) {
        for (int run = 0; run < 6; run++) {
            static const int chunks[] = {T, 1, 7, 8, T, 3};
            mount m;
            qwen_hook h =
                mounted(&m, &f, 0, "all *= 0.5; 4 += 2", 0, SAE_POS_GENERATED, keep, run == 4 ? 2 : T);
            run_model(&f, &h, 1, chunks[run], run % 2 ? 3 : 1, run >= 3);
            if (run == 0)
                memcpy(want, f.logits, logit_bytes(&f));
            else
                CHECK(memcmp(f.logits, want, logit_bytes(&f)) == 0);
            unmount(&m);
        }
    }
    free(want);
    close_fixture(&f);
}

static void several_layers_at_once(void) {
    fixture f;
    open_fixture(&f);
    size_t rows = (size_t)(T * f.d);
    float *seen[4], *want = malloc(rows * sizeof(float));
    recorder r[4];
    for (int i = 0; i < 4; i++) r[i].rows = seen[i] = malloc(rows * sizeof(float));
    mount a, b;
    /* One text for both SAEs: each takes the statements of its own layer. */
    qwen_hook hooks[6] = {{QWEN_RESID_POST, 0, 0, record, &r[0]},
                          mounted(&a, &f, 0, "all@0 *= 0.5; 10-19@1 += 1.25", 0, SAE_POS_ALL, 0, T),
                          {QWEN_RESID_POST, 0, 0, record, &r[1]},
                          {QWEN_RESID_POST, 1, 1, record, &r[2]},
                          mounted(&b, &f, 1, "all@0 *= 0.5; 10-19@1 += 1.25", 1, SAE_POS_ALL, 1, T),
                          {QWEN_RESID_POST, 1, 1, record, &r[3]}};
    run_model(&f, hooks, 6, T, 1, 0);
    for (int t = 0; t < T; t++) naive_steer(&f.sae[0], HALVE, 0, seen[0] + t * f.d, want + t * f.d);
    CHECK_NEAR(test_rel_error(seen[1], want, rows), 0, 2e-6);
    for (int t = 0; t < T; t++) naive_steer(&f.sae[1], ADD_TO_SOME, 1, seen[2] + t * f.d, want + t * f.d);
    CHECK_NEAR(test_rel_error(seen[3], want, rows), 0, 2e-6);
    unmount(&a);
    unmount(&b);
    for (int i = 0; i < 4; i++) free(seen[i]);
    free(want);
    close_fixture(&f);
}

static void directions(void) {
    fixture f;
    open_fixture(&f);
    size_t rows = (size_t)(T * f.d);
    float *before = malloc(rows * sizeof(float)), *after = malloc(rows * sizeof(float));
    const float *v = f.sae[0].w_dec;
    recorder r0 = {before}, r1 = {after};
    for (int project = 0; project < 2; project++) {
        sae_direction s = {v, project ? 1.0f : -1.5f, project, SAE_POS_GENERATED};
        qwen_hook hooks[3] = {{QWEN_RESID_POST, 1, 1, record, &r0},
                              {QWEN_RESID_POST, 1, 1, sae_direction_hook, &s},
                              {QWEN_RESID_POST, 1, 1, record, &r1}};
        run_model(&f, hooks, 3, 4, 2, 1);
        for (int t = 0; t < T; t++) {
            double vh = 0, vv = 0, left = 0;
            for (int k = 0; k < f.d; k++) {
                vh += (double)v[k] * (double)before[t * f.d + k];
                vv += (double)v[k] * (double)v[k];
                left += (double)v[k] * (double)after[t * f.d + k];
            }
            for (int k = 0; k < f.d; k++) {
                double h = (double)before[t * f.d + k];
                double want = t < PROMPT ? h : project ? h - vh / vv * (double)v[k] : h - 1.5 * (double)v[k];
                CHECK_NEAR(after[t * f.d + k], want, 1e-5);
            }
            if (project && t >= PROMPT) CHECK_NEAR(left, 0, 1e-5);
        }
    }
    static const float zero[256];
    sae_direction nowhere = {zero, 1.0f, 1, SAE_POS_ALL}; /* a zero vector has no direction to remove */
    qwen_hook h = {QWEN_RESID_POST, 1, 1, sae_direction_hook, &nowhere};
    CHECK(f.d <= 256);
    run_model(&f, &h, 1, T, 1, 0);
    CHECK(memcmp(f.logits, f.plain, logit_bytes(&f)) == 0);
    free(before);
    free(after);
    close_fixture(&f);
}

static void capture_keeps_the_selected_rows(void) {
    fixture f;
    open_fixture(&f);
    float *seen = malloc((size_t)(T * f.d) * sizeof(float));
    recorder r = {seen};
    static const struct {
        sae_positions p;
        int first, last;
    } where[] = {{SAE_POS_ALL, 0, T}, {SAE_POS_PROMPT, 0, PROMPT}, {SAE_POS_GENERATED, PROMPT, T}};
    for (int w = 0; w < 3; w++) {
        for (int decode = 0; decode < 2; decode++) {
            tn_err e = {0};
            sae_capture c;
            size_t cap = sae_capture_bytes(f.d, 1, T);
            void *mem = malloc(cap);
            sae_acts_builder b = {.d = f.d};
            CHECK_INT(sae_capture_init(&c, where[w].p, f.d, 1, T, mem, cap, &e), TN_OK);
            qwen_hook hooks[2] = {{QWEN_RESID_MID, 1, 1, record, &r},
                                  {QWEN_RESID_MID, 1, 1, sae_capture_hook, &c}};
            int n = where[w].last - where[w].first;
            for (int32_t doc = 0; doc < 2; doc++) {
                run_model(&f, hooks, 2, 6, 1, decode);
                CHECK_INT(c.n[0], n);
                CHECK_INT(sae_capture_take(&c, 0, &b, doc, &e), TN_OK);
            }
            CHECK(memcmp(f.logits, f.plain, logit_bytes(&f)) == 0);
            if (CHECK_INT(b.n, 2 * n)) {
                CHECK(memcmp(b.rows + n * f.d, seen + where[w].first * f.d,
                             (size_t)(n * f.d) * sizeof(float)) == 0);
                for (int i = 0; i < 2 * n; i++) {
                    CHECK_INT(b.doc[i], i / n);
                    CHECK_INT(b.pos[i], where[w].first + i % n);
                    CHECK_INT(b.tokens[i], f.tokens[b.pos[i]]);
                }
            }
            sae_acts_builder_free(&b);
            free(mem);
        }
    }
    free(seen);
    close_fixture(&f);
}

static void what_cannot_be_is_refused(void) {
    fixture f;
    open_fixture(&f);
    tn_err e = {0};
    sae_steer s;
    sae_edits edits;
    size_t cap = sae_steer_bytes(&f.sae[0], 1, 4);
    void *mem = malloc(cap);
    CHECK_INT(sae_steer_init(&s, &f.sae[0], NULL, 0, SAE_POS_ALL, 1, 4, f.d + 1, mem, cap, &e), TN_ESHAPE);
    CHECK_HAS(e.msg, "does not fit the model's");
    CHECK_INT(sae_edits_parse(&edits, "96 = 1", NULL, 0, &e), TN_OK);
    CHECK_INT(sae_steer_init(&s, &f.sae[0], &edits, 0, SAE_POS_ALL, 1, 4, f.d, mem, cap, &e), TN_EARG);
    CHECK_HAS(e.msg, "feature 96 is out of range");
    CHECK_INT(sae_steer_init(&s, &f.sae[0], NULL, 0, SAE_POS_ALL, 1, 4, f.d, mem, cap / 2, &e), TN_ENOMEM);
    CHECK_INT(sae_steer_init(&s, &f.sae[0], NULL, 0, SAE_POS_ALL, 1, 0, f.d, mem, cap, &e), TN_EARG);
    sae_edits_free(&edits);
    free(mem);

    /* A capture that is too small stops the forward; a row that is no number stops the take. */
    sae_capture c;
    cap = sae_capture_bytes(f.d, 1, 4);
    mem = malloc(cap);
    CHECK_INT(sae_capture_init(&c, SAE_POS_ALL, f.d, 1, 4, mem, cap, &e), TN_OK);
    float *x = calloc((size_t)(5 * f.d), sizeof *x);
    const int pos[3] = {0, 1, 2}, seq[3] = {0, 0, 0};
    const unsigned char generated[3] = {0, 0, 0};
    qwen_tap tap = {
        .n = 3, .d = f.d, .tokens = f.tokens, .pos = pos, .seq = seq, .generated = generated, .x = x};
    CHECK_INT(sae_capture_hook(&c, &tap), TN_OK);
    CHECK(sae_capture_hook(&c, &tap) != TN_OK);
    c.rows[f.d] = (float)NAN;
    sae_acts_builder b = {.d = f.d};
    CHECK_INT(sae_capture_take(&c, 0, &b, 0, &e), TN_ENUM);
    CHECK_STR(e.msg, "the activation at position 1 is not finite");
    sae_acts_builder_free(&b);
    free(x);
    free(mem);

    sae_positions p;
    CHECK(sae_positions_parse("generated", &p) && p == SAE_POS_GENERATED);
    CHECK(!sae_positions_parse("none", &p));
    close_fixture(&f);
}

void test_attach(void) {
    RUN(an_edit_that_changes_nothing_keeps_every_bit);
    RUN(sae_only_is_decode_of_encode);
    RUN(every_operation_follows_its_formula);
    RUN(chunks_and_threads_change_nothing);
    RUN(several_layers_at_once);
    RUN(directions);
    RUN(capture_keeps_the_selected_rows);
    RUN(what_cannot_be_is_refused);
}
