/* Choosing the next token: repetition penalty, temperature, top-k, top-p, min-p, then one draw.
 *
 * The filters have the order and the meaning they have in HF transformers: the penalty divides positive and
 * multiplies negative logits of seen tokens (Keskar et al. 2019, arXiv:1909.05858); top-k keeps every token
 * that is not below the k-th largest, ties included; top-p (Holtzman et al. 2020, arXiv:1904.09751) keeps a
 * token while the mass of those before it is below p; min-p (Nguyen et al. 2024, arXiv:2407.01082) keeps
 * p >= min_p * largest p.
 *
 * Sorting 150,000 logits for every token would be slow, so nothing is sorted before what cannot survive is
 * dropped. Among equals the lower id comes first, so the result is the same everywhere.
 */
#include "qwen/sample.h"
#include "tensor/arena.h"

#include <math.h>
#include <string.h>

qwen_sampling qwen_sampling_default(void) {
    return (qwen_sampling){
        .temperature = 0, .top_k = 0, .top_p = 1, .min_p = 0, .repeat_penalty = 1, .seed = 42};
}

/* The comparisons are written so that a NaN fails them. */
int qwen_sampling_check(const qwen_sampling *p, tn_err *e) {
    if (!(p->temperature >= 0 && p->temperature <= 1000))
        return tn_fail(e, TN_EARG, "temperature is %g, expected 0 to 1000", (double)p->temperature);
    if (p->top_k < 0) return tn_fail(e, TN_EARG, "top-k is %d, expected 0 or more", p->top_k);
    if (!(p->top_p > 0 && p->top_p <= 1))
        return tn_fail(e, TN_EARG, "top-p is %g, expected more than 0 and at most 1", (double)p->top_p);
    if (!(p->min_p >= 0 && p->min_p <= 1))
        return tn_fail(e, TN_EARG, "min-p is %g, expected 0 to 1", (double)p->min_p);
    if (!(p->repeat_penalty > 0 && p->repeat_penalty <= 1000))
        return tn_fail(e, TN_EARG, "the repetition penalty is %g, expected more than 0 and at most 1000",
                       (double)p->repeat_penalty);
    return TN_OK;
}

static void carve(qwen_sampler *s, size_t vocab, tn_arena *a) {
    s->probs = tn_arena_take(a, vocab, sizeof *s->probs);
    s->order = tn_arena_take(a, vocab, sizeof *s->order);
    s->seen = tn_arena_take(a, vocab, 1);
}

size_t qwen_sampler_bytes(int vocab) {
    qwen_sampler s;
    size_t bytes;
    if (vocab < 1) return 0;
    tn_arena a = tn_arena_measure();
    carve(&s, (size_t)vocab, &a);
    return a.failed || tn_add_size(a.used, TN_ALIGN, &bytes) ? 0 : bytes;
}

int qwen_sampler_init(qwen_sampler *s, const qwen_sampling *params, int vocab, void *mem, size_t cap,
                      tn_err *e) {
    int rc = qwen_sampling_check(params, e);
    if (rc) return rc;
    size_t need = qwen_sampler_bytes(vocab);
    if (need == 0) return tn_fail(e, TN_EARG, "a sampler for a vocabulary of %d", vocab);
    if (!mem || cap < need)
        return tn_fail(e, TN_ENOMEM, "the sampler needs %zu bytes, the block has %zu", need, mem ? cap : 0);
    s->params = *params;
    s->vocab = vocab;
    tn_arena a = tn_arena_on(mem, cap);
    carve(s, (size_t)vocab, &a);
    qwen_sampler_reset(s, params->seed);
    return TN_OK;
}

void qwen_sampler_reset(qwen_sampler *s, uint64_t seed) {
    s->rng = tn_rng_seed(seed);
    memset(s->seen, 0, (size_t)s->vocab);
}

void qwen_sampler_accept(qwen_sampler *s, int32_t token) {
    if (token >= 0 && token < s->vocab) s->seen[token] = 1;
}

/* ---- A heap of ids whose root is the weakest ---- */

/* Token a comes after token b in the order of choice: smaller value, or the higher id among equals. */
static int weaker(const float *value, int32_t a, int32_t b) {
    return value[a] < value[b] || (value[a] == value[b] && a > b);
}

/* Restores the heap id [n] below position i. */
static void sift_down(int32_t *id, int n, int i, const float *value) {
    int32_t moving = id[i];
    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && weaker(value, id[child + 1], id[child])) child++;
        if (!weaker(value, id[child], moving)) break;
        id[i] = id[child];
    }
    id[i] = moving;
}

static void make_heap(int32_t *id, int n, const float *value) {
    for (int i = n / 2; i-- > 0;) sift_down(id, n, i, value);
}

/* Heap sort, strongest first. */
static void sort_ids(int32_t *id, int n, const float *value) {
    make_heap(id, n, value);
    while (n-- > 1) {
        int32_t weakest = id[0];
        id[0] = id[n];
        id[n] = weakest;
        sift_down(id, n, 0, value);
    }
}

/* ---- The filters ---- */

/* s->probs = logits with the penalty applied. */
static void penalise(qwen_sampler *s, const float *logits) {
    float penalty = s->params.repeat_penalty;
    for (int i = 0; i < s->vocab; i++) {
        float l = logits[i];
        s->probs[i] = !s->seen[i] ? l : l < 0 ? l * penalty : l / penalty;
    }
}

static int32_t strongest(const qwen_sampler *s) {
    int32_t best = 0;
    for (int32_t i = 1; i < s->vocab; i++)
        if (s->probs[i] > s->probs[best]) best = i;
    return best;
}

/* The k-th largest of s->probs, 0 < k < vocab: a heap of the k best so far, whose root is the bar. */
static float kth_largest(qwen_sampler *s, int k) {
    for (int32_t i = 0; i < k; i++) s->order[i] = i;
    make_heap(s->order, k, s->probs);
    for (int32_t i = k; i < s->vocab; i++) {
        if (!weaker(s->probs, s->order[0], i)) continue;
        s->order[0] = i;
        sift_down(s->order, k, 0, s->probs);
    }
    return s->probs[s->order[0]];
}

/* s->probs = exp((logit - largest) / temperature), 0 below the top-k bar. Returns the sum. */
static double weigh(qwen_sampler *s, float largest) {
    int k = s->params.top_k;
    float bar = k > 0 && k < s->vocab ? kth_largest(s, k) : -INFINITY;
    double mass = 0;
    for (int i = 0; i < s->vocab; i++) {
        s->probs[i] = s->probs[i] >= bar ? expf((s->probs[i] - largest) / s->params.temperature) : 0;
        mass += (double)s->probs[i];
    }
    return mass;
}

/* Puts the ids that survive every filter into s->order; returns how many, *mass is their sum of s->probs. */
static int choose_candidates(qwen_sampler *s, double *mass) {
    double top_p = (double)s->params.top_p;
    /* Weights are relative to the largest, which is 1, so min-p is a plain bar. Tokens that each weigh less
     * than (1 - p) / vocab of the mass weigh less than 1 - p together: top-p would drop them all. */
    double bar = (double)s->params.min_p;
    if (top_p < 1) bar = fmax(bar, (1 - top_p) / s->vocab * *mass);

    int n = 0;
    double kept = 0;
    for (int32_t i = 0; i < s->vocab; i++) {
        if (!(s->probs[i] > 0) || (double)s->probs[i] < bar) continue;
        s->order[n++] = i;
        kept += (double)s->probs[i];
    }
    if (top_p < 1) {
        double limit = top_p * *mass;
        int all = n;
        sort_ids(s->order, n, s->probs);
        for (n = 0, kept = 0; n < all && kept < limit; n++) kept += (double)s->probs[s->order[n]];
    }
    *mass = kept;
    return n;
}

int32_t qwen_sampler_next(qwen_sampler *s, const float *logits) {
    penalise(s, logits);
    int32_t token = strongest(s);
    if (s->params.temperature > 0) {
        double mass = weigh(s, s->probs[token]);
        int n = choose_candidates(s, &mass);
        double target = (double)tn_rng_uniform(&s->rng) * mass;
        /* Rounding may leave the target unreached: then the last candidate is meant. With logits that are
         * no numbers there are no candidates, and the strongest stays. */
        for (int i = 0; i < n && target >= 0; i++) {
            token = s->order[i];
            target -= (double)s->probs[token];
        }
    }
    qwen_sampler_accept(s, token);
    return token;
}

uint64_t qwen_item_seed(uint64_t seed, uint64_t index) {
    /* The odd constant is 2^64 divided by the golden ratio: neighbouring items start far apart. */
    tn_rng r = tn_rng_seed(seed ^ ((index + 1) * 0x9E3779B97F4A7C15u));
    return tn_rng_u64(&r) >> 11;
}
