/* The parameter update: clipped gradient -> Adam -> decoder rows back to length 1.
 *
 * Adam runs over every parameter at every step, also where the gradient is zero: the moments decay and keep
 * moving a latent for a while after it has last fired, as in a dense implementation.
 */
#include "sae/train_internal.h"

#include "tensor/par.h"

#include <math.h>

typedef struct {
    sae_trainer *t;
    tn_adam how;
    int copy; /* 1: the next step will look for a small copy of the encoder */
} update_job;

/* w [n] back to length 1. */
static void normalise(const tn_kernels *k, float *w, size_t n) {
    enum { LANES = 16 }; /* divided at once */
    float norm = sqrtf(k->dot(w, w, n));
    size_t i = 0;
    if (!(norm > 0)) return;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++) w[i + l] /= norm;
    for (; i < n; i++) w[i] /= norm;
}

/* All that the step does to a latent's rows, one after the other while they are in cache. */
static void update_groups(void *ctx, size_t worker, size_t begin, size_t end) {
    const update_job *job = ctx;
    sae_trainer *t = job->t;
    sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in;
    const tn_kernels *k = t->ex.k;
    for (int j = 0; j < t->n_vectors; j++) {
        tn_adam how = job->how;
        if (t->vectors[j].data == &s->threshold) how.lr *= t->opts.threshold_speed;
        k->adam(*t->vectors[j].data + begin, t->g.vector[j] + begin, t->m.vector[j] + begin,
                t->v.vector[j] + begin, end - begin, &how);
    }
    for (size_t i = begin; i < end && s->threshold; i++) /* below 0 it would let negative values pass */
        if (s->threshold[i] < 0) s->threshold[i] = 0;
    for (size_t i = begin; i < end; i++) {
        size_t at = i * d;
        int touched = sae_train_touched(t, i);
        float *w = s->w_dec + at; /* [D] */
        k->adam(s->w_enc + at, touched ? t->g.w_enc + at : t->zero, t->m.w_enc + at, t->v.w_enc + at, d,
                &job->how);
        if (job->copy) sae_train_copy(t, worker, i);
        k->adam(w, touched ? t->g.w_dec + at : t->zero, t->m.w_dec + at, t->v.w_dec + at, d, &job->how);
        if (t->opts.unit_norm_decoder) normalise(k, w, d);
    }
}

void sae_train_update(sae_trainer *t, double lr, float scale) {
    sae_model *s = t->model;
    const sae_train_opts *o = &t->opts;
    update_job job = {.t = t, .copy = t->screening && t->dense_steps == 0};
    job.how = (tn_adam){.lr = (float)lr,
                        .b1 = o->beta1,
                        .b2 = o->beta2,
                        .eps = o->adam_eps,
                        .c1 = (float)(1 - pow((double)o->beta1, t->steps + 1)),
                        .c2 = (float)(1 - pow((double)o->beta2, t->steps + 1)),
                        .scale = scale};
    tn_parallel_for_workers((size_t)s->cfg.d_sae, SAE_GROUP, t->ex.threads, update_groups, &job);
    t->copied = job.copy;
    t->ex.k->adam(s->b_dec, t->g.b_dec, t->m.b_dec, t->v.b_dec, (size_t)s->cfg.d_in, &job.how);
}
