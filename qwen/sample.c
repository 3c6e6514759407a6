/* Choosing the next token: repetition penalty, temperature, top-k, top-p, min-p, then one draw.
 *
 * The filters have the order and the meaning they have in HF transformers: the penalty divides positive and
 * multiplies negative logits of seen tokens (Keskar et al. 2019, arXiv:1909.05858); top-k keeps every token
 * that is not below the k-th largest, ties included; top-p (Holtzman et al. 2020, arXiv:1904.09751) keeps a
 * token while the mass of those before it is below p; min-p (Nguyen et al. 2024, arXiv:2407.01082) keeps
 * p >= min_p * largest p.
 *
 * Sorting 150,000 logits for every token would be slow, so candidates are gathered only from what can
 * survive, and top-p takes them off a heap until it has enough. Among equals the lower id comes first, so the
 * result is the same everywhere.
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
    s->pool = tn_arena_take(a, vocab, sizeof *s->pool);
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
    size_t need = qwen_sampler_bytes(vocab);
    if (need == 0) return tn_fail(e, TN_EARG, "a sampler for a vocabulary of %d", vocab);
    if (!mem || cap < need)
        return tn_fail(e, TN_ENOMEM, "the sampler needs %zu bytes, the block has %zu", need, mem ? cap : 0);
    tn_arena a = tn_arena_on(mem, cap);
    carve(s, (size_t)vocab, &a);
    return qwen_sampler_place(s, params, vocab, s->seen, s->pool, e);
}

int qwen_sampler_place(qwen_sampler *s, const qwen_sampling *params, int vocab, unsigned char *seen,
                       qwen_candidate *pool, tn_err *e) {
    int rc = qwen_sampling_check(params, e);
    if (rc) return rc;
    *s = (qwen_sampler){.params = *params, .vocab = vocab, .seen = seen, .pool = pool};
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

/* ---- Heaps of candidates ---- */

/* a comes after b in the order of choice: smaller weight, or the higher id among equals. */
static int weaker(qwen_candidate a, qwen_candidate b) {
    return a.weight < b.weight || (a.weight == b.weight && a.id > b.id);
}

/* Which candidate is a heap's root. */
typedef enum { WEAKEST, STRONGEST } root_kind;

/* a belongs above b. */
static int above(qwen_candidate a, qwen_candidate b, root_kind root) {
    return root == WEAKEST ? weaker(a, b) : weaker(b, a);
}

/* Restores the heap c [n] below position i. */
static void sift_down(qwen_candidate *c, int n, int i, root_kind root) {
    qwen_candidate moving = c[i];
    for (int child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && above(c[child + 1], c[child], root)) child++;
        if (!above(c[child], moving, root)) break;
        c[i] = c[child];
    }
    c[i] = moving;
}

static void make_heap(qwen_candidate *c, int n, root_kind root) {
    for (int i = n / 2; i-- > 0;) sift_down(c, n, i, root);
}

/* ---- The filters ---- */

/* A logit with the penalty applied. */
static float penalised(const qwen_sampler *s, const float *logits, int32_t id) {
    float l = logits[id], penalty = s->params.repeat_penalty;
    return !s->seen[id] ? l : l < 0 ? l * penalty : l / penalty;
}

static qwen_candidate strongest(const qwen_sampler *s, const float *logits) {
    qwen_candidate best = {penalised(s, logits, 0), 0};
    for (int32_t i = 1; i < s->vocab; i++) {
        float l = penalised(s, logits, i);
        if (l > best.weight) best = (qwen_candidate){l, i};
    }
    return best;
}

/* The k-th largest logit, 0 < k < vocab: a heap of the k best so far, whose root is the bar. */
static float kth_largest(qwen_sampler *s, const float *logits, int k) {
    for (int32_t i = 0; i < k; i++) s->pool[i] = (qwen_candidate){penalised(s, logits, i), i};
    make_heap(s->pool, k, WEAKEST);
    for (int32_t i = k; i < s->vocab; i++) {
        float l = penalised(s, logits, i);
        if (!(s->pool[0].weight < l)) continue;
        s->pool[0] = (qwen_candidate){l, i};
        sift_down(s->pool, k, 0, WEAKEST);
    }
    return s->pool[0].weight;
}

/* s->pool = every id that top-k keeps, with weight exp((logit - largest) / temperature); returns how many,
 * *mass is their sum. */
static int weigh(qwen_sampler *s, const float *logits, float largest, double *mass) {
    int k = s->params.top_k, n = 0;
    float bar = k > 0 && k < s->vocab ? kth_largest(s, logits, k) : -INFINITY;
    *mass = 0;
    for (int32_t i = 0; i < s->vocab; i++) {
        float l = penalised(s, logits, i);
        if (!(l >= bar)) continue;
        float weight = expf((l - largest) / s->params.temperature);
        *mass += (double)weight;
        if (weight > 0) s->pool[n++] = (qwen_candidate){weight, i};
    }
    return n;
}

/* Drops those of s->pool [n] that weigh less than `bar`; returns how many are left, *kept is their sum. */
static int drop_below(qwen_sampler *s, int n, double bar, double *kept) {
    int left = 0;
    *kept = 0;
    for (int i = 0; i < n; i++) {
        if ((double)s->pool[i].weight < bar) continue;
        *kept += (double)s->pool[i].weight;
        s->pool[left++] = s->pool[i];
    }
    return left;
}

/* Takes the strongest of s->pool [n] until they weigh `limit` together, which is *kept then. They lie at the
 * end of the pool, the first taken last; returns how many. */
static int take_until(qwen_sampler *s, int n, double limit, double *kept) {
    int taken = 0;
    make_heap(s->pool, n, STRONGEST);
    for (*kept = 0; taken < n && *kept < limit; taken++) {
        qwen_candidate best = s->pool[0];
        *kept += (double)best.weight;
        s->pool[0] = s->pool[n - 1 - taken];
        s->pool[n - 1 - taken] = best;
        sift_down(s->pool, n - 1 - taken, 0, STRONGEST);
    }
    return taken;
}

/* One draw among the tokens that every filter keeps; `fallback` when there are none. */
static int32_t draw(qwen_sampler *s, const float *logits, qwen_candidate fallback) {
    double mass, kept, top_p = (double)s->params.top_p;
    int n = weigh(s, logits, fallback.weight, &mass), step = 1;
    /* Weights are relative to the largest, which is 1, so min-p is a plain bar. Tokens that each weigh less
     * than (1 - p) / vocab of the mass weigh less than 1 - p together: top-p would drop them all. */
    double bar = (double)s->params.min_p;
    if (top_p < 1) bar = fmax(bar, (1 - top_p) / s->vocab * mass);
    n = drop_below(s, n, bar, &kept);
    const qwen_candidate *c = s->pool;
    if (top_p < 1) {
        int all = n;
        n = take_until(s, all, top_p * mass, &kept);
        c = s->pool + all - 1;
        step = -1;
    }
    double target = (double)tn_rng_uniform(&s->rng) * kept;
    int32_t token = fallback.id;
    /* Rounding may leave the target unreached: then the last candidate is meant. With logits that are no
     * numbers there are no candidates. */
    for (int i = 0; i < n && target >= 0; i++, c += step) {
        token = c->id;
        target -= (double)c->weight;
    }
    return token;
}

int32_t qwen_sampler_next(qwen_sampler *s, const float *logits) {
    qwen_candidate best = strongest(s, logits);
    int32_t token = s->params.temperature > 0 ? draw(s, logits, best) : best.id;
    qwen_sampler_accept(s, token);
    return token;
}

int qwen_check_choice(const float *logits, int32_t token, tn_err *e) {
    return isfinite(logits[token]) ? TN_OK : tn_fail(e, TN_ENUM, "the model's logits are not finite");
}

int32_t qwen_likeliest(const float *logits, int vocab) {
    int32_t best = 0;
    for (int32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

uint64_t qwen_item_seed(uint64_t seed, uint64_t index) {
    /* The odd constant is 2^64 divided by the golden ratio: neighbouring items start far apart. */
    tn_rng r = tn_rng_seed(seed ^ ((index + 1) * 0x9E3779B97F4A7C15u));
    return tn_rng_u64(&r) >> 11;
}
