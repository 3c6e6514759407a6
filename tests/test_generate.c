/* Generation: the same as sampling and feeding back by hand, and each way it ends. */
#include "qwen/generate.h"
#include "tests/models.h"

static tn_err err;

typedef struct {
    int32_t tokens[64];
    int n, stop_after;
} collected;

static int collect(void *ctx, int32_t token) {
    collected *c = ctx;
    c->tokens[c->n++] = token;
    return c->n == c->stop_after;
}

static void generation_is_sample_and_feed_back(void) {
    static const int32_t prompt[3] = {1, 2, 3};
    qwen_model *m = open_golden("gqa2-odd-vocab");
    int vocab = qwen_model_config(m)->vocab;
    qwen_state *s = new_state(m, tn_kernels_select(NULL), 1, 24, 8);
    size_t bytes = qwen_sampler_bytes(vocab);
    void *block = malloc(bytes);
    qwen_sampling params = qwen_sampling_default();
    params.repeat_penalty = 1.3f; /* without it a random model soon repeats itself */
    qwen_sampler sampler;
    CHECK_INT(qwen_sampler_init(&sampler, &params, vocab, block, bytes, &err), TN_OK);

    /* By hand. */
    int32_t want[8];
    const float *logits;
    for (int i = 0; i < 3; i++) qwen_sampler_accept(&sampler, prompt[i]);
    qwen_forward(s, prompt, 3, 0, &logits, &err);
    for (int i = 0; i < 8; i++) {
        want[i] = qwen_sampler_next(&sampler, logits);
        qwen_forward(s, &want[i], 1, 0, &logits, &err);
    }

    probe p = {.row_pos = -1};
    const qwen_hook h = {QWEN_RESID_POST, 1, 1, probe_hook, &p};
    CHECK_INT(qwen_set_hooks(s, &h, 1, &err), TN_OK);
    qwen_gen_opts o = {.max_new = 8, .stops = NULL, .n_stops = 0};
    qwen_finish finish;
    for (int feed_last = 0; feed_last < 2; feed_last++) {
        collected got = {.n = 0};
        p.rows_seen = 0;
        qwen_rewind(s, 0);
        qwen_sampler_reset(&sampler, 1);
        CHECK_INT(qwen_generate(s, &sampler, prompt, 3, &o, feed_last, collect, &got, &finish, &err), TN_OK);
        CHECK_INT(finish, QWEN_FINISH_LENGTH);
        CHECK_INT(got.n, 8);
        CHECK(!memcmp(got.tokens, want, sizeof want));
        CHECK_INT(p.generated, 1);
        CHECK_INT(qwen_position(s), 10 + feed_last);
        CHECK_INT(p.rows_seen, 10 + feed_last);
    }

    /* A stop token ends the text and is not reported. */
    int first = 0;
    while (want[first] != want[5]) first++;
    collected got = {.n = 0};
    o.stops = &want[5];
    o.n_stops = 1;
    qwen_rewind(s, 0);
    qwen_sampler_reset(&sampler, 1);
    CHECK_INT(qwen_generate(s, &sampler, prompt, 3, &o, 0, collect, &got, &finish, &err), TN_OK);
    CHECK_INT(finish, QWEN_FINISH_STOP);
    CHECK_INT(got.n, first);
    CHECK_INT(qwen_position(s), 3 + first);

    /* The receiver stops it; the context ends it; a prompt too long is refused before anything is computed.
     */
    o.n_stops = 0;
    got = (collected){.n = 0, .stop_after = 2};
    qwen_rewind(s, 0);
    CHECK_INT(qwen_generate(s, &sampler, prompt, 3, &o, 0, collect, &got, &finish, &err), TN_ESTOP);
    CHECK_INT(got.n, 2);
    got = (collected){.n = 0};
    o.max_new = 60;
    qwen_rewind(s, 0);
    CHECK_INT(qwen_generate(s, &sampler, prompt, 3, &o, 1, collect, &got, &finish, &err), TN_OK);
    CHECK_INT(finish, QWEN_FINISH_LENGTH);
    CHECK_INT(got.n, 22); /* 24 positions hold the prompt and 21; one more was sampled from the last */
    CHECK_INT(qwen_position(s), 24);
    p.rows_seen = 0;
    CHECK_INT(qwen_generate(s, &sampler, prompt, 3, &o, 0, collect, &got, &finish, &err), TN_ECTX);
    CHECK_INT(p.rows_seen, 0);

    sampler.vocab--;
    CHECK_INT(qwen_generate(s, &sampler, prompt, 3, &o, 0, collect, &got, &finish, &err), TN_EARG);
    free(block);
    qwen_state_free(s);
    qwen_close(m);
}

void test_generate(void) {
    RUN(generation_is_sample_and_feed_back);
}
