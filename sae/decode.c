/* From latents to rows of activations: sae_decode of sae.h, sae_decode_active of active.h.
 *
 * A few entries are added at once; meanwhile the rows of W_dec of those behind them come nearer, since they
 * lie anywhere in memory.
 */
#include "sae/active.h"

#include "tensor/par.h"
#include "tensor/swar.h"

#include <string.h>

enum { AT_ONCE = 16 };

typedef struct {
    const sae_model *s;
    const tn_kernels *k;
    const float *z;           /* [n, F], or … */
    const sae_active *active; /* … lists */
    float *xhat;              /* [n, D] */
} decode_job;

static void ask(const decode_job *job, const sae_entry *list, size_t n) {
    size_t d = (size_t)job->s->cfg.d_in;
    for (size_t j = 0; j < n; j++) tn_prefetch(job->s->w_dec + list[j].at * d, d * sizeof(float));
}

/* xhat [D] += n entries, at most AT_ONCE. */
static void add(const decode_job *job, float *xhat, const sae_entry *list, size_t n) {
    const float *rows[AT_ONCE];
    float z[AT_ONCE];
    size_t d = (size_t)job->s->cfg.d_in;
    for (size_t j = 0; j < n; j++) {
        rows[j] = job->s->w_dec + list[j].at * d;
        z[j] = list[j].z;
    }
    tn_axpys(job->k, xhat, z, rows, n, d);
}

static void decode_rows(void *ctx, size_t begin, size_t end) {
    const decode_job *job = ctx;
    size_t d = (size_t)job->s->cfg.d_in, f = (size_t)job->s->cfg.d_sae;
    for (size_t r = begin; r < end; r++) {
        float *xhat = job->xhat + r * d;
        sae_entry now[AT_ONCE], next[AT_ONCE];
        memcpy(xhat, job->s->b_dec, d * sizeof *xhat);
        size_t at = 0, n = sae_list_some(job->z + r * f, f, &at, now, AT_ONCE);
        while (n > 0) {
            size_t more = sae_list_some(job->z + r * f, f, &at, next, AT_ONCE);
            ask(job, next, more);
            add(job, xhat, now, n);
            memcpy(now, next, more * sizeof *now);
            n = more;
        }
    }
}

void sae_decode(const sae_model *s, tn_exec ex, const float *z, int n, float *xhat) {
    decode_job job = {.s = s, .k = ex.k, .z = z, .xhat = xhat};
    tn_parallel_for((size_t)n, 1, ex.threads, decode_rows, &job);
}

static size_t at_most(size_t n) {
    return n < AT_ONCE ? n : AT_ONCE;
}

static void decode_lists(void *ctx, size_t begin, size_t end) {
    const decode_job *job = ctx;
    const sae_active *a = job->active;
    size_t d = (size_t)job->s->cfg.d_in;
    for (size_t r = begin; r < end; r++) {
        const sae_entry *list = a->of_row + r * a->room;
        size_t n = a->n_of_row[r];
        memcpy(job->xhat + r * d, job->s->b_dec, d * sizeof *job->xhat);
        for (size_t j = 0; j < n; j += AT_ONCE) {
            if (j + AT_ONCE < n)
                ask(job, list + j + AT_ONCE, at_most(n - j - AT_ONCE));
            else if (r + 1 < end)
                ask(job, list + a->room, at_most(a->n_of_row[r + 1]));
            add(job, job->xhat + r * d, list + j, at_most(n - j));
        }
    }
}

void sae_decode_active(const sae_model *s, tn_exec ex, const sae_active *a, int n, float *xhat) {
    decode_job job = {.s = s, .k = ex.k, .active = a, .xhat = xhat};
    tn_parallel_for((size_t)n, 1, ex.threads, decode_lists, &job);
}
