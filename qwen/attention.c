/* Causal grouped-query attention over the cache (Ainslie et al. 2023, arXiv:2305.13245).
 *
 * The query heads of one group share a key/value head. For row i at position p, for each head of the group:
 *
 *     score_t = q . k_t / sqrt(head_dim)        t = 0 … p
 *     weight  = softmax(score)
 *     out     = sum_t weight_t * v_t
 *
 * Each (row, kv head) is one piece of work with its own fixed order of sums over its own p + 1 positions: it
 * does not see which rows, of its own sequence or of others, are computed together, nor which thread it is
 * on.
 */
#include "qwen/state.h"
#include "tensor/par.h"

#include <math.h>
#include <string.h>

/* Below this many multiplications waking a second thread costs more than it saves. */
enum { SERIAL_WORK = 100000 };

/* One kv head of one layer of one sequence, among all that are cached. */
static size_t cached_head(const qwen_state *s, int seq, int layer, size_t kv) {
    const qwen_config *c = &s->model->config;
    return ((size_t)seq * (size_t)c->layers + (size_t)layer) * (size_t)c->kv_heads + kv;
}

/* Its keys [context, head_dim]. */
static float *keys_of(const qwen_state *s, size_t head) {
    return s->k_cache + head * (size_t)s->opts.context * (size_t)s->model->config.head_dim;
}

/* Its values [head_dim, v_stride]. */
static float *values_of(const qwen_state *s, size_t head) {
    return s->v_cache + head * (size_t)s->model->config.head_dim * s->v_stride;
}

void qwen_cache_rows(qwen_state *s, const qwen_rows *r, int layer) {
    size_t n_kv = (size_t)s->model->config.kv_heads, dim = (size_t)s->model->config.head_dim;
    const float *k = s->k, *v = s->v; /* [head_dim] of row i and head kv */
    for (int i = 0; i < r->n; i++) {
        size_t p = (size_t)r->pos[i], head = cached_head(s, r->seq[i], layer, 0);
        for (size_t kv = 0; kv < n_kv; kv++, k += dim, v += dim) {
            float *values = values_of(s, head + kv);
            memcpy(keys_of(s, head + kv) + p * dim, k, dim * sizeof *k);
            for (size_t j = 0; j < dim; j++) values[j * s->v_stride + p] = v[j];
        }
    }
}

void qwen_cache_copy(qwen_state *s, int to, int from, int n) {
    size_t heads = cached_head(s, 1, 0, 0), dim = (size_t)s->model->config.head_dim; /* heads of a sequence */
    size_t positions = (size_t)n;
    for (size_t h = 0; h < heads; h++) {
        size_t a = (size_t)to * heads + h, b = (size_t)from * heads + h;
        memcpy(keys_of(s, a), keys_of(s, b), positions * dim * sizeof(float));
        for (size_t j = 0; j < dim; j++)
            memcpy(values_of(s, a) + j * s->v_stride, values_of(s, b) + j * s->v_stride,
                   positions * sizeof(float));
    }
}

typedef struct {
    const qwen_state *s;
    const qwen_rows *r;
    int layer;
    size_t pieces;  /* n * kv_heads */
    size_t workers; /* one slice of s->scores each */
} attention_job;

/* Piece (row i, kv head): the group's heads at once, which reads each key and value once for all of them. */
static void attend(const attention_job *job, size_t i, size_t kv, float *scores /* [group, context] */) {
    const qwen_state *s = job->s;
    const qwen_config *c = &s->model->config;
    const tn_kernels *kern = s->opts.exec.k;
    size_t dim = (size_t)c->head_dim, group = (size_t)(c->heads / c->kv_heads),
           context = (size_t)s->opts.context;
    size_t seen = (size_t)job->r->pos[i] + 1; /* positions this row may look at */
    size_t head = cached_head(s, job->r->seq[i], job->layer, kv);
    size_t at = (i * (size_t)c->kv_heads + kv) * group * dim;
    float *q = s->q + at;       /* [group, head_dim] */
    float *out = s->heads + at; /* [group, head_dim] */

    float scale = 1.0f / sqrtf((float)dim);
    for (size_t j = 0; j < group * dim; j++) q[j] *= scale;
    kern->matmul_f32(scores, context, q, dim, keys_of(s, head), dim, group, seen, dim, NULL);
    for (size_t h = 0; h < group; h++) kern->softmax(scores + h * context, seen);
    kern->matmul_f32(out, dim, scores, context, values_of(s, head), s->v_stride, group, dim, seen, NULL);
}

/* Workers begin … end-1 take every workers-th piece: later rows see more, so neighbours are dealt out. */
static void attend_share(void *ctx, size_t begin, size_t end) {
    const attention_job *job = ctx;
    const qwen_config *c = &job->s->model->config;
    size_t n_kv = (size_t)c->kv_heads,
           slice = (size_t)(c->heads / c->kv_heads) * (size_t)job->s->opts.context;
    for (size_t w = begin; w < end; w++)
        for (size_t piece = w; piece < job->pieces; piece += job->workers)
            attend(job, piece / n_kv, piece % n_kv, job->s->scores + w * slice);
}

void qwen_attention(qwen_state *s, const qwen_rows *r, int layer) {
    const qwen_config *c = &s->model->config;
    size_t pieces = (size_t)r->n * (size_t)c->kv_heads;
    size_t workers = (size_t)s->opts.exec.threads;
    double seen = 0; /* positions that all rows look at; a double cannot wrap */
    for (int i = 0; i < r->n; i++) seen += r->pos[i] + 1;
    /* Each costs two products of head_dim for each query head. */
    if (2.0 * c->heads * c->head_dim * seen < SERIAL_WORK) workers = 1;
    if (workers > pieces) workers = pieces;
    attention_job job = {.s = s, .r = r, .layer = layer, .pieces = pieces, .workers = workers};
    tn_parallel_for(workers, 1, (int)workers, attend_share, &job);
}
