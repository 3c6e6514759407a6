/* Timelines and their scratch: options, and all the memory carved from one block.
 *
 * carve() names every buffer with its shape, once. It runs on a measuring arena to know the size and on the
 * caller's block to get the pointers, so the two cannot disagree.
 */
#include "qwen/state.h"
#include "tensor/os.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 1024, MAX_SEQUENCES = 4096, DEFAULT_CONTEXT = 2048, DEFAULT_CHUNK = 256 };

qwen_opts qwen_opts_default(const qwen_model *m) {
    int positions = m->config.max_positions;
    return (qwen_opts){.exec = tn_exec_make(NULL, 0),
                       .context = positions < DEFAULT_CONTEXT ? positions : DEFAULT_CONTEXT,
                       .chunk = DEFAULT_CHUNK,
                       .sequences = 1,
                       .logit_rows = 1};
}

int qwen_max_context(const qwen_model *m) {
    const qwen_config *c = &m->config;
    double stretched = (double)c->yarn_factor * c->yarn_original_positions;
    if (stretched >= INT_MAX) return INT_MAX;
    return stretched > c->max_positions ? (int)stretched : c->max_positions;
}

static int check_opts(const qwen_model *m, const qwen_opts *o, tn_err *e) {
    int limit = qwen_max_context(m);
    if (!o->exec.k)
        return tn_fail(e, TN_EARG, "no kernels were chosen, or they cannot run on this processor");
    if (o->exec.threads < 1 || o->exec.threads > MAX_THREADS)
        return tn_fail(e, TN_EARG, "threads is %d, expected 1 to %d", o->exec.threads, MAX_THREADS);
    if (o->context < 1) return tn_fail(e, TN_EARG, "the context is %d, expected at least 1", o->context);
    if (o->context > limit)
        return tn_fail(e, TN_EARG, "a context of %d is more than the model's %d positions", o->context,
                       limit);
    if (o->chunk < 1) return tn_fail(e, TN_EARG, "the chunk is %d, expected at least 1", o->chunk);
    if (o->sequences < 0 || o->sequences > MAX_SEQUENCES)
        return tn_fail(e, TN_EARG, "sequences is %d, expected 1 to %d", o->sequences, MAX_SEQUENCES);
    if (o->logit_rows < 0)
        return tn_fail(e, TN_EARG, "rows of logits are %d, expected at least 1", o->logit_rows);
    return TN_OK;
}

/* The options with what was left open filled in. A chunk larger than what all sequences hold is of no use. */
static qwen_opts settle(const qwen_opts *o) {
    qwen_opts used = *o;
    if (used.sequences == 0) used.sequences = 1;
    if (used.logit_rows == 0) used.logit_rows = 1;
    if (used.chunk / used.sequences >= used.context) used.chunk = used.context * used.sequences;
    return used;
}

/* Floats [a, b, c]. */
static float *floats(tn_arena *arena, size_t a, size_t b, size_t c) {
    size_t n;
    if (tn_mul_size(a, b, &n) || tn_mul_size(n, c, &n)) {
        arena->failed = 1;
        return NULL;
    }
    return tn_arena_take(arena, n, sizeof(float));
}

/* A state whose buffers lie in `a`, itself included; returns where it belongs (NULL when measuring). */
static qwen_state *carve(qwen_state *s, const qwen_model *m, const qwen_opts *asked, tn_arena *a) {
    const qwen_opts o = settle(asked);
    const qwen_config *cfg = &m->config;
    size_t layers = (size_t)cfg->layers, d = (size_t)cfg->hidden, inter = (size_t)cfg->intermediate;
    size_t heads = (size_t)cfg->heads, kv = (size_t)cfg->kv_heads, dim = (size_t)cfg->head_dim;
    size_t context = (size_t)o.context, sequences = (size_t)o.sequences, n = (size_t)o.chunk;

    memset(s, 0, sizeof *s);
    qwen_state *self = tn_arena_take(a, 1, sizeof *self);
    s->model = m;
    s->opts = o;
    /* A context is often a power of two; without the extra cache line a head's rows of values would all fall
     * into the same few sets of the processor's cache. */
    s->v_stride = context + TN_ALIGN / sizeof(float);

    s->hooks = tn_arena_take(a, QWEN_MAX_HOOKS, sizeof *s->hooks);
    s->hooked = tn_arena_take(a, layers * QWEN_SITE_COUNT, 1);
    s->rope_cos = floats(a, 1, context, dim / 2);
    s->rope_sin = floats(a, 1, context, dim / 2);
    size_t cached_heads = 0;
    if (tn_mul_size(sequences, layers * kv, &cached_heads)) a->failed = 1;
    s->k_cache = floats(a, cached_heads, context, dim);
    s->v_cache = floats(a, cached_heads, dim, s->v_stride);
    s->seqs = tn_arena_take(a, sequences, sizeof *s->seqs);
    s->rows.tokens = tn_arena_take(a, n, sizeof *s->rows.tokens);
    s->rows.pos = tn_arena_take(a, n, sizeof *s->rows.pos);
    s->rows.seq = tn_arena_take(a, n, sizeof *s->rows.seq);
    s->rows.generated = tn_arena_take(a, n, 1);
    s->rows.wanted = tn_arena_take(a, n, sizeof *s->rows.wanted);
    s->x = floats(a, 1, n, d);
    s->normed = floats(a, 1, n, d);
    s->y = floats(a, 1, n, d);
    s->q = floats(a, n, heads, dim);
    s->k = floats(a, n, kv, dim);
    s->v = floats(a, n, kv, dim);
    s->heads = floats(a, n, heads, dim);
    s->gate = floats(a, 1, n, inter);
    s->up = floats(a, 1, n, inter);
    size_t queries = (size_t)o.exec.threads * QWEN_ATTEND_ROWS;
    s->scores = floats(a, queries, heads / kv, context);
    s->queries = floats(a, queries, heads / kv, dim);
    s->blocks = tn_arena_take(a, n, sizeof *s->blocks);
    s->logits = floats(a, 1, (size_t)o.logit_rows, (size_t)cfg->vocab);
    size_t widest = inter > d ? inter : d;
    if (heads * dim > widest) widest = heads * dim;
    size_t scratch = tn_linear_scratch(n, widest);
    if (!scratch) a->failed = 1;
    s->rounded = tn_arena_take(a, scratch, 1);
    s->opts.exec.room = floats(a, 1, (size_t)o.exec.threads, TN_MATMUL_ROOM);
    return self;
}

size_t qwen_state_bytes(const qwen_model *m, const qwen_opts *o) {
    qwen_state s;
    size_t bytes;
    if (check_opts(m, o, NULL)) return 0;
    tn_arena a = tn_arena_measure();
    carve(&s, m, o, &a);
    /* The caller's block may start anywhere. */
    return a.failed || tn_add_size(a.used, TN_ALIGN, &bytes) ? 0 : bytes;
}

int qwen_state_init(qwen_state **out, const qwen_model *m, const qwen_opts *o, void *mem, size_t cap,
                    tn_err *e) {
    *out = NULL;
    int rc = check_opts(m, o, e);
    if (rc) return rc;
    size_t need = qwen_state_bytes(m, o);
    if (need == 0) return tn_fail(e, TN_EARG, "a context of %d is too large to address", o->context);
    if (!mem || cap < need)
        return tn_fail(e, TN_ENOMEM, "the state needs %zu bytes, the block has %zu", need, mem ? cap : 0);

    qwen_state s;
    tn_arena a = tn_arena_on(mem, cap);
    qwen_state *self = carve(&s, m, o, &a);
    *self = s;
    memset(self->hooked, 0, (size_t)m->config.layers * QWEN_SITE_COUNT);
    for (int i = 0; i < s.opts.sequences; i++) s.seqs[i] = (qwen_seq){.n_prompt = INT_MAX};
    qwen_rope_tables(&m->config, self->rope_cos, self->rope_sin, o->context);
    *out = self;
    return TN_OK;
}

int qwen_state_new(qwen_state **out, const qwen_model *m, const qwen_opts *o, tn_err *e) {
    *out = NULL;
    size_t bytes = qwen_state_bytes(m, o); /* 0 for options that qwen_state_init will refuse */
    void *block = bytes ? malloc(bytes) : NULL;
    if (bytes && !block) return tn_fail(e, TN_ENOMEM, "out of memory: the state needs %zu bytes", bytes);
    int rc = qwen_state_init(out, m, o, block, bytes, e);
    if (rc)
        free(block);
    else
        (*out)->block = block;
    return rc;
}

void qwen_state_free(qwen_state *s) {
    if (s) free(s->block);
}

int qwen_seq_position(const qwen_state *s, int seq) {
    return s->seqs[seq].pos;
}

void qwen_seq_rewind(qwen_state *s, int seq, int pos) {
    if (pos < 0) pos = 0;
    if (pos < s->seqs[seq].pos) s->seqs[seq].pos = pos;
}

void qwen_seq_set_prompt_length(qwen_state *s, int seq, int n) {
    s->seqs[seq].n_prompt = n;
}

void qwen_seq_copy(qwen_state *s, int to, int from, int n) {
    if (to != from) qwen_cache_copy(s, to, from, n);
    s->seqs[to].pos = n;
}

int qwen_position(const qwen_state *s) {
    return qwen_seq_position(s, 0);
}

void qwen_rewind(qwen_state *s, int pos) {
    qwen_seq_rewind(s, 0, pos);
}

void qwen_set_prompt_length(qwen_state *s, int n) {
    qwen_seq_set_prompt_length(s, 0, n);
}

const qwen_model *qwen_state_model(const qwen_state *s) {
    return s->model;
}

const qwen_opts *qwen_state_opts(const qwen_state *s) {
    return &s->opts;
}
