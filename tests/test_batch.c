/* Many sequences in one state: each yields the bits it yields alone. */
#include "tests/models.h"

#include <limits.h>

static tn_err err;

/* ---- The forward pass ---- */

enum { SEQS = 4, LENGTH = 30 };

/* Where a hook puts the rows of several sequences. */
typedef struct {
    recording r[SEQS];
} recordings;

static int record_each(void *ctx, const qwen_tap *t) {
    const recordings *all = ctx;
    size_t d = (size_t)t->d;
    for (int i = 0; i < t->n; i++) {
        CHECK(i == 0 || t->seq[i] != t->seq[i - 1] || t->pos[i] == t->pos[i - 1] + 1);
        memcpy(site_of(&all->r[t->seq[i]], t->layer, t->site) + (size_t)t->pos[i] * d, t->x + (size_t)i * d,
               d * sizeof *t->x);
    }
    return 0;
}

/* Feeds tokens [SEQS][LENGTH] in pieces of random lengths, of a random choice of sequences in random order,
 * and keeps every residual and every logit. */
static void feed_at_random(qwen_state *s, int32_t (*tokens)[LENGTH], recordings *all, uint64_t seed) {
    tn_rng rng = tn_rng_seed(seed);
    size_t vocab = (size_t)all->r[0].vocab;
    for (int left = SEQS * LENGTH; left > 0;) {
        qwen_piece pieces[SEQS];
        int first = (int)tn_rng_below(&rng, SEQS), count = 0;
        for (int i = 0; i < SEQS; i++) {
            int seq = (first + i) % SEQS, pos = qwen_seq_position(s, seq);
            int n = (int)tn_rng_below(&rng, 2) ? 1 : (int)tn_rng_below(&rng, 12);
            if (n > LENGTH - pos) n = LENGTH - pos;
            if (n > 0) pieces[count++] = (qwen_piece){seq, n, tokens[seq] + pos, QWEN_ALL_LOGITS};
        }
        const float *logits;
        if (count == 0) continue;
        if (!CHECK_INT(qwen_forward_batch(s, pieces, count, &logits, &err), TN_OK)) break;
        for (int i = 0; i < count; i++) {
            const qwen_piece *p = &pieces[i];
            size_t at = (size_t)(p->tokens - tokens[p->seq]);
            memcpy(all->r[p->seq].logits + at * vocab, logits, (size_t)p->n * vocab * sizeof *logits);
            logits += (size_t)p->n * vocab;
            left -= p->n;
        }
    }
}

static void sequences_do_not_feel_each_other(void) {
    static const char *const names[] = {"gqa7-bf16", "gqa2-odd-vocab"};
    static const int chunks[] = {1, 5, 64};
    int32_t tokens[SEQS][LENGTH], long_row[SEQS * LENGTH];
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        qwen_model *model = open_golden(names[m]);
        const qwen_config *c = qwen_model_config(model);
        recordings alone, all;
        make_tokens(long_row, SEQS * LENGTH, c->vocab);
        memcpy(tokens, long_row, sizeof tokens);
        for (int i = 0; i < SEQS; i++) {
            alone.r[i] = run(model, tn_kernels_select(NULL), 1, LENGTH, tokens[i], LENGTH);
            all.r[i] = alone.r[i];
            all.r[i].sites = malloc(site_count(&all.r[i]) * sizeof(float));
            all.r[i].logits = malloc(logit_count(&all.r[i]) * sizeof(float));
        }
        for (int trial = 0; trial < 9; trial++) {
            qwen_opts o = {.exec = tn_exec_make(NULL, 1 + trial / 3),
                           .context = LENGTH,
                           .chunk = chunks[trial % 3],
                           .sequences = SEQS,
                           .logit_rows = SEQS * LENGTH};
            qwen_state *s;
            qwen_hook hooks[QWEN_SITE_COUNT];
            for (int i = 0; i < QWEN_SITE_COUNT; i++)
                hooks[i] = (qwen_hook){(qwen_site)i, 0, c->layers - 1, record_each, &all};
            CHECK_INT(qwen_state_new(&s, model, &o, &err), TN_OK);
            CHECK_INT(qwen_set_hooks(s, hooks, QWEN_SITE_COUNT, &err), TN_OK);
            for (int i = 0; i < SEQS; i++) {
                memset(all.r[i].sites, 0, site_count(&all.r[i]) * sizeof(float));
                memset(all.r[i].logits, 0, logit_count(&all.r[i]) * sizeof(float));
            }
            feed_at_random(s, tokens, &all, (uint64_t)trial);
            for (int i = 0; i < SEQS; i++)
                if (!CHECK(same_bits(&all.r[i], &alone.r[i])))
                    printf("  %s, trial %d, sequence %d\n", names[m], trial, i);
            qwen_state_free(s);
        }
        for (int i = 0; i < SEQS; i++) {
            free_recording(&alone.r[i]);
            free_recording(&all.r[i]);
        }
        qwen_close(model);
    }
}

static void a_copied_prefix_is_a_computed_one(void) {
    int32_t tokens[LENGTH];
    qwen_model *m = open_golden("gqa7-bf16");
    size_t vocab = (size_t)qwen_model_config(m)->vocab;
    make_tokens(tokens, LENGTH, (int)vocab);
    recording whole = run(m, tn_kernels_select(NULL), 1, LENGTH, tokens, LENGTH);
    qwen_opts o = {.exec = tn_exec_make(NULL, 1), .context = LENGTH, .chunk = 8, .sequences = 3};
    qwen_state *s;
    const float *logits;
    CHECK_INT(qwen_state_new(&s, m, &o, &err), TN_OK);
    CHECK_INT(qwen_forward(s, tokens, 20, 0, NULL, &err), TN_OK);
    qwen_seq_copy(s, 2, 0, 13);
    CHECK_INT(qwen_seq_position(s, 2), 13);
    CHECK_INT(qwen_seq_position(s, 1), 0);
    const qwen_piece two[] = {{0, LENGTH - 20, tokens + 20, QWEN_NO_LOGITS},
                              {2, LENGTH - 13, tokens + 13, 0}};
    CHECK_INT(qwen_forward_batch(s, two, 2, &logits, &err), TN_OK);
    CHECK(!memcmp(logits, whole.logits + (LENGTH - 1) * vocab, vocab * sizeof *logits));
    qwen_seq_copy(s, 0, 0, 5); /* of itself: a rewind */
    CHECK_INT(qwen_position(s), 5);
    CHECK_INT(qwen_forward(s, tokens + 5, 9, 0, &logits, &err), TN_OK);
    CHECK(!memcmp(logits, whole.logits + 13 * vocab, vocab * sizeof *logits));
    qwen_state_free(s);
    free_recording(&whole);
    qwen_close(m);
}

static int note_generated(void *ctx, const qwen_tap *t) {
    for (int i = 0; i < t->n; i++) ((int *)ctx)[t->seq[i]] += t->generated[i];
    return 0;
}

static void refusals_leave_every_sequence(void) {
    static const int32_t tokens[8] = {1, 2, 3, 4, 5, 6, 7, 8}, bad = 101;
    qwen_model *m = open_golden("gqa2-odd-vocab");
    qwen_opts o = {.exec = tn_exec_make(NULL, 1), .context = 8, .chunk = 4, .sequences = 2, .logit_rows = 3};
    qwen_state *s;
    const float *logits;
    CHECK_INT(qwen_state_new(&s, m, &o, &err), TN_OK);
    const struct {
        qwen_piece pieces[2];
        int code;
        const char *says;
    } wrong[] = {
        {{{0, 1, tokens, 0}, {0, 1, tokens, 0}}, TN_EARG, "sequence 0 has two pieces in one forward pass"},
        {{{0, 1, tokens, 0}, {2, 1, tokens, 0}},
         TN_EARG,
         "sequence 2 is out of range: the state has sequences 0 to 1"},
        {{{0, 1, tokens, 0}, {-1, 1, tokens, 0}}, TN_EARG, "sequence -1 is out of range"},
        {{{0, 8, tokens, 0}, {1, 0, tokens, 0}}, TN_EARG, "0 tokens"},
        {{{0, 8, tokens, 0}, {1, 1, &bad, 0}}, TN_EARG, "token id 101 is out of range"},
        {{{0, 1, tokens, 0}, {1, 3, tokens, QWEN_ALL_LOGITS}}, TN_EARG, "more rows of logits"},
        {{{0, 7, tokens, 0}, {1, 8, tokens, 0}}, TN_ECTX, "8 tokens at position 1 do not fit"},
    };
    CHECK_INT(qwen_forward_batch(s, &(qwen_piece){1, 1, tokens, 0}, 1, &logits, &err), TN_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_INT(qwen_forward_batch(s, wrong[i].pieces, 2, &logits, &err), wrong[i].code);
        CHECK_HAS(err.msg, wrong[i].says);
        CHECK(logits == NULL);
        CHECK_INT(qwen_seq_position(s, 0), 0);
        CHECK_INT(qwen_seq_position(s, 1), 1);
    }
    CHECK_INT(qwen_forward_batch(s, NULL, 0, &logits, &err), TN_EARG);

    /* A hook that stops the second chunk; then the same call succeeds. */
    const qwen_piece both[] = {{0, 3, tokens, 0}, {1, 5, tokens, 0}};
    probe p = {.row_pos = -1, .abort_at_pos = 5, .code = 1};
    qwen_hook h = {QWEN_MLP_OUT, 1, 1, probe_hook, &p};
    CHECK_INT(qwen_set_hooks(s, &h, 1, &err), TN_OK);
    CHECK_INT(qwen_forward_batch(s, both, 2, &logits, &err), TN_ESTOP);
    CHECK_INT(p.rows_seen, 8);
    CHECK_INT(qwen_seq_position(s, 0), 0);
    CHECK_INT(qwen_seq_position(s, 1), 1);
    int generated[2] = {0, 0};
    h = (qwen_hook){QWEN_MLP_OUT, 1, 1, note_generated, generated};
    CHECK_INT(qwen_set_hooks(s, &h, 1, &err), TN_OK);
    qwen_seq_set_prompt_length(s, 1, 4);
    CHECK_INT(qwen_forward_batch(s, both, 2, &logits, &err), TN_OK);
    CHECK_INT(qwen_seq_position(s, 0), 3);
    CHECK_INT(qwen_seq_position(s, 1), 6);
    CHECK_INT(generated[0], 0);
    CHECK_INT(generated[1], 2);
    qwen_seq_rewind(s, 1, 2);
    CHECK_INT(qwen_seq_position(s, 1), 2);
    CHECK_INT(qwen_position(s), 3);
    qwen_state_free(s);

    o.sequences = 4097;
    CHECK_INT(qwen_state_new(&s, m, &o, &err), TN_EARG);
    CHECK_STR(err.msg, "sequences is 4097, expected 1 to 4096");
    o.sequences = 0;
    o.logit_rows = -1;
    CHECK_INT(qwen_state_new(&s, m, &o, &err), TN_EARG);
    o = (qwen_opts){.exec = tn_exec_make(NULL, 1), .context = 8, .chunk = INT_MAX, .sequences = 3};
    CHECK_INT(qwen_state_new(&s, m, &o, &err), TN_OK);
    CHECK_INT(qwen_state_opts(s)->chunk, 24);
    CHECK_INT(qwen_state_opts(s)->logit_rows, 1);
    qwen_state_free(s);
    qwen_close(m);
}

void test_batch(void) {
    RUN(sequences_do_not_feel_each_other);
    RUN(a_copied_prefix_is_a_computed_one);
    RUN(refusals_leave_every_sequence);
}
