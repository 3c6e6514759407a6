/* The sampler against a naive definition of each filter, and its draws against the probabilities. */
#include "qwen/sample.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { V = 97 };

static tn_err err;

static void *make(qwen_sampler *s, qwen_sampling p, int vocab) {
    size_t bytes = qwen_sampler_bytes(vocab);
    void *block = malloc(bytes);
    if (!CHECK_INT(qwen_sampler_init(s, &p, vocab, block, bytes, &err), TN_OK)) printf("  %s\n", err.msg);
    return block;
}

/* logits [n] with some equal values among them */
static void random_logits(float *logits, int n, uint64_t seed) {
    tn_rng r = tn_rng_seed(seed);
    for (int i = 0; i < n; i++) logits[i] = roundf(tn_rng_normal(&r) * 20) / 10;
}

/* Token a before token b: larger logit, then lower id. */
static const float *naive_logits;
static int by_logit(const void *a, const void *b) {
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    if (naive_logits[i] != naive_logits[j]) return naive_logits[i] > naive_logits[j] ? -1 : 1;
    return i < j ? -1 : 1;
}

/* keep [n] and p [n]: the definition, by a full sort and a softmax before each filter. */
static void naive(const qwen_sampling *s, const float *logits, int n, int *keep, double *p) {
    int32_t order[V];
    float x[V];
    for (int i = 0; i < n; i++) {
        order[i] = i;
        x[i] = logits[i] / s->temperature;
        keep[i] = 1;
    }
    naive_logits = x;
    qsort(order, (size_t)n, sizeof *order, by_logit);
    if (s->top_k > 0 && s->top_k < n)
        for (int i = 0; i < n; i++) keep[i] = x[i] >= x[order[s->top_k - 1]];
    for (int pass = 0; pass < 2; pass++) {
        double sum = 0, before = 0, largest = (double)x[order[0]];
        for (int i = 0; i < n; i++) sum += keep[i] ? exp((double)x[i] - largest) : 0;
        for (int i = 0; i < n; i++) p[i] = keep[i] ? exp((double)x[i] - largest) / sum : 0;
        for (int r = 0; r < n; r++) {
            int i = order[r];
            int dropped = pass == 0 ? s->top_p < 1 && before >= (double)s->top_p
                                    : p[i] < (double)s->min_p * p[order[0]] * (1 - 1e-6);
            before += p[i];
            if (dropped) keep[i] = 0;
        }
    }
    double sum = 0;
    for (int i = 0; i < n; i++) sum += keep[i] ? p[i] : 0;
    for (int i = 0; i < n; i++) p[i] = keep[i] ? p[i] / sum : 0;
}

static void greedy_takes_lowest_of_equals(void) {
    qwen_sampler s;
    void *block = make(&s, qwen_sampling_default(), 5);
    CHECK_INT(qwen_sampler_next(&s, (const float[]){1, 3, 2, 3, 0}), 1);
    CHECK_INT(qwen_sampler_next(&s, (const float[]){-1, -1, -1, -1, -1}), 0);
    CHECK_INT(qwen_sampler_next(&s, (const float[]){-5, -4, -3, -2, -1}), 4);
    free(block);
}

/* Every token of the kept set appears, no other does, and each about as often as its probability says. */
static void draws_match(qwen_sampling params, uint64_t seed) {
    enum { DRAWS = 40000 };
    float logits[V];
    int keep[V], count[V] = {0}, failures = 0;
    double p[V];
    qwen_sampler s;
    random_logits(logits, V, seed);
    naive(&params, logits, V, keep, p);
    void *block = make(&s, params, V);
    for (int i = 0; i < DRAWS; i++) count[qwen_sampler_next(&s, logits)]++;
    for (int i = 0; i < V; i++) {
        double expected = p[i] * DRAWS, sigma = sqrt(expected * (1 - p[i]));
        if (count[i] && !keep[i]) failures++;
        if (fabs(count[i] - expected) > 5 * sigma + 1) failures++;
    }
    if (!CHECK_INT(failures, 0))
        printf("  seed %d, top_k %d, top_p %g, min_p %g, temperature %g\n", (int)seed, params.top_k,
               (double)params.top_p, (double)params.min_p, (double)params.temperature);
    free(block);
}

static void filters_match_their_definition(void) {
    static const int top_ks[] = {0, 1, 5, 40, 200};
    static const float top_ps[] = {1, 0.95f, 0.5f, 0.1f}, min_ps[] = {0, 0.05f, 0.5f};
    uint64_t seed = 1;
    for (size_t k = 0; k < sizeof top_ks / sizeof *top_ks; k++)
        for (size_t p = 0; p < sizeof top_ps / sizeof *top_ps; p++)
            for (size_t m = 0; m < sizeof min_ps / sizeof *min_ps; m++, seed++) {
                qwen_sampling params = qwen_sampling_default();
                params.temperature = seed % 2 ? 1.0f : 0.7f;
                params.top_k = top_ks[k];
                params.top_p = top_ps[p];
                params.min_p = min_ps[m];
                params.seed = seed;
                draws_match(params, seed);
            }
}

/* One temperature close to 0 is as good as greedy; a high one reaches everything. */
static void temperature_flattens(void) {
    qwen_sampling p = qwen_sampling_default();
    qwen_sampler s;
    float logits[4] = {1, 2, 3, 2.9f};
    p.temperature = 0.001f;
    void *block = make(&s, p, 4);
    for (int i = 0; i < 100; i++) CHECK_INT(qwen_sampler_next(&s, logits), 2);
    free(block);
    int seen = 0;
    p.temperature = 100;
    block = make(&s, p, 4);
    for (int i = 0; i < 200; i++) seen |= 1 << qwen_sampler_next(&s, logits);
    CHECK_INT(seen, 15);
    free(block);
}

static void penalty_lowers_seen_tokens(void) {
    qwen_sampling p = qwen_sampling_default();
    qwen_sampler s;
    p.repeat_penalty = 2;
    void *block = make(&s, p, 4);
    const float logits[4] = {4, 3, 1.5f, -1};
    CHECK_INT(qwen_sampler_next(&s, logits), 0); /* now 2, 3, 1.5, -1 */
    CHECK_INT(qwen_sampler_next(&s, logits), 1); /* now 2, 1.5, 1.5, -1 */
    CHECK_INT(qwen_sampler_next(&s, logits), 0); /* a second time changes nothing */
    CHECK_INT(qwen_sampler_next(&s, logits), 0);
    const float negative[4] = {-1, -1.5f, -1.9f, -9}; /* seen ones double: -2, -3, -1.9, -9 */
    CHECK_INT(qwen_sampler_next(&s, negative), 2);
    qwen_sampler_reset(&s, 1);
    CHECK_INT(qwen_sampler_next(&s, negative), 0);
    qwen_sampler_reset(&s, 1);
    qwen_sampler_accept(&s, 0); /* a token of the prompt counts as seen */
    qwen_sampler_accept(&s, -1);
    qwen_sampler_accept(&s, 4); /* no tokens of this vocabulary: ignored */
    CHECK_INT(qwen_sampler_next(&s, negative), 1);
    free(block);
}

static void seed_repeats(void) {
    float logits[V];
    int32_t first[50];
    int differ = 0;
    qwen_sampler s;
    qwen_sampling p = qwen_sampling_default();
    p.temperature = 1;
    p.top_p = 0.9f;
    random_logits(logits, V, 3);
    void *block = make(&s, p, V);
    for (int i = 0; i < 50; i++) first[i] = qwen_sampler_next(&s, logits);
    qwen_sampler_reset(&s, p.seed);
    for (int i = 0; i < 50; i++) CHECK_INT(qwen_sampler_next(&s, logits), first[i]);
    qwen_sampler_reset(&s, p.seed + 1);
    for (int i = 0; i < 50; i++) differ += qwen_sampler_next(&s, logits) != first[i];
    CHECK(differ > 0);
    free(block);
}

/* Logits that are no numbers must give some token of the vocabulary, not a crash. */
static void survives_strange_logits(void) {
    const float strange[4][4] = {{NAN, NAN, NAN, NAN},
                                 {-INFINITY, -INFINITY, -INFINITY, -INFINITY},
                                 {INFINITY, 1, INFINITY, 2},
                                 {NAN, 1, -INFINITY, 2}};
    qwen_sampling p = qwen_sampling_default();
    for (int mode = 0; mode < 3; mode++) {
        qwen_sampler s;
        p.temperature = mode > 0 ? 1 : 0;
        p.top_k = mode > 1 ? 2 : 0;
        p.top_p = mode > 1 ? 0.9f : 1;
        void *block = make(&s, p, 4);
        for (int i = 0; i < 4; i++) {
            int32_t t = qwen_sampler_next(&s, strange[i]);
            CHECK(t >= 0 && t < 4);
        }
        free(block);
    }
}

static void refuses_bad_parameters(void) {
    static const struct {
        qwen_sampling p;
        const char *says;
    } cases[] = {
        {{-1, 0, 1, 0, 1, 0}, "temperature is -1, expected 0 to 1000"},
        {{NAN, 0, 1, 0, 1, 0}, "temperature is"},
        {{1, -1, 1, 0, 1, 0}, "top-k is -1, expected 0 or more"},
        {{1, 0, 0, 0, 1, 0}, "top-p is 0, expected more than 0 and at most 1"},
        {{1, 0, 1.5f, 0, 1, 0}, "top-p is 1.5"},
        {{1, 0, 1, -0.5f, 1, 0}, "min-p is -0.5, expected 0 to 1"},
        {{1, 0, 1, 0, 0, 0}, "the repetition penalty is 0, expected more than 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_INT(qwen_sampling_check(&cases[i].p, &err), TN_EARG);
        CHECK_HAS(err.msg, cases[i].says);
    }
    qwen_sampler s;
    char block[4096];
    qwen_sampling p = qwen_sampling_default();
    size_t need = qwen_sampler_bytes(V);
    CHECK(need > 0 && need <= sizeof block);
    CHECK_INT(qwen_sampler_init(&s, &p, V, block, need, &err), TN_OK);
    CHECK_INT(qwen_sampler_init(&s, &p, V, block, need - 1, &err), TN_ENOMEM);
    CHECK_INT(qwen_sampler_init(&s, &p, 0, block, need, &err), TN_EARG);
}

void test_sample(void) {
    RUN(greedy_takes_lowest_of_equals);
    RUN(filters_match_their_definition);
    RUN(temperature_flattens);
    RUN(penalty_lowers_seen_tokens);
    RUN(seed_repeats);
    RUN(survives_strange_logits);
    RUN(refuses_bad_parameters);
}
