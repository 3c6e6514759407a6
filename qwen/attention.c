/* Causal grouped-query attention over the cache (Ainslie et al. 2023, arXiv:2305.13245).
 *
 * The query heads of one group share a key/value head. For row i at position p, for each head of the group:
 *
 *     score_t = q . k_t / sqrt(head_dim)        t = 0 … p
 *     weight  = softmax(score)
 *     out     = sum_t weight_t * v_t
 *
 * A piece of work is a kv head and up to QWEN_ATTEND_ROWS neighbouring rows of one sequence, whose queries
 * then go through one product with the keys and one with the values. A row's weights beyond its own position
 * are zero, which changes no bit of its sums (unless a value is not finite), and every sum has the order of
 * matmul: a row does not see which others are computed with it, nor which thread it is on.
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
} attention_job;

/* How many rows from row i on are of one sequence and may go together. */
static size_t block_length(const qwen_rows *r, size_t i) {
    size_t n = 1;
    while (n < QWEN_ATTEND_ROWS && i + n < (size_t)r->n && r->seq[i + n] == r->seq[i]) n++;
    return n;
}

/* Rows i … i+n-1, which follow each other in one sequence, and one kv head. The group's queries of all rows
 * are one matrix [n * group, head_dim]. */
static void attend(const attention_job *job, size_t worker, size_t i, size_t n, size_t kv) {
    const qwen_state *s = job->s;
    const qwen_config *c = &s->model->config;
    const tn_kernels *kern = s->opts.exec.k;
    size_t dim = (size_t)c->head_dim, n_kv = (size_t)c->kv_heads, group = (size_t)c->heads / n_kv,
           context = (size_t)s->opts.context, queries = QWEN_ATTEND_ROWS * group;
    size_t first = (size_t)job->r->pos[i] + 1, last = first + n - 1; /* positions the rows may look at */
    size_t head = cached_head(s, job->r->seq[i], job->layer, kv);
    float *scores = s->scores + worker * queries * context; /* [n, group, context] */
    float *q = s->queries + worker * queries * dim;         /* [n, group, head_dim], later the outputs */
    float *room = s->opts.exec.room + worker * TN_MATMUL_ROOM;
    const float scale = 1.0f / sqrtf((float)dim);

    for (size_t a = 0; a < n; a++) {
        const float *from = s->q + ((i + a) * n_kv + kv) * group * dim;
        for (size_t j = 0; j < group * dim; j++) q[a * group * dim + j] = from[j] * scale;
    }
    kern->matmul_f32(scores, context, q, dim, keys_of(s, head), dim, n * group, last, dim, room);
    for (size_t a = 0; a < n; a++)
        for (size_t h = 0; h < group; h++) {
            float *row = scores + (a * group + h) * context;
            kern->softmax(row, first + a);
            memset(row + first + a, 0, (n - 1 - a) * sizeof *row);
        }
    kern->matmul_f32(q, dim, scores, context, values_of(s, head), s->v_stride, n * group, dim, last, room);
    for (size_t a = 0; a < n; a++)
        memcpy(s->heads + ((i + a) * n_kv + kv) * group * dim, q + a * group * dim, group * dim * sizeof *q);
}

/* Pieces begin … end-1: piece p is kv head p % kv_heads of the block at row s->blocks[p / kv_heads]. */
static void attend_pieces(void *ctx, size_t worker, size_t begin, size_t end) {
    const attention_job *job = ctx;
    size_t n_kv = (size_t)job->s->model->config.kv_heads;
    for (size_t p = begin; p < end; p++) {
        size_t i = (size_t)job->s->blocks[p / n_kv];
        attend(job, worker, i, block_length(job->r, i), p % n_kv);
    }
}

void qwen_attention(qwen_state *s, const qwen_rows *r, int layer) {
    const qwen_config *c = &s->model->config;
    size_t blocks = 0;
    double seen = 0; /* positions that all rows look at; a double cannot wrap */
    for (size_t i = 0; i < (size_t)r->n; i += block_length(r, i)) s->blocks[blocks++] = (int32_t)i;
    for (int i = 0; i < r->n; i++) seen += r->pos[i] + 1;
    /* Each costs two products of head_dim for each query head. */
    int threads = 2.0 * c->heads * c->head_dim * seen < SERIAL_WORK ? 1 : s->opts.exec.threads;
    attention_job job = {s, r, layer};
    tn_parallel_for_workers(blocks * (size_t)c->kv_heads, 1, threads, attend_pieces, &job);
}
