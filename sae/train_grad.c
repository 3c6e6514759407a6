/* The backward half of a training step. With e = x̂ - x, G = (2/n) e, lambda the penalty's coefficient, for
 * every latent i and the rows b of its list:
 *
 *     dz_bi     = G_b · W_dec[i] + what the penalty adds, and from it dpre_bi (train_ARCH.c)
 *     dW_dec[i] = sum_b z_bi G_b   + d|W_dec[i]| W_dec[i] / |W_dec[i]|
 *     dW_enc[i] = sum_b dpre_bi xin_b
 *     db_dec    = sum_b G_b        - sum_i (sum_b dpre_bi) W_enc[i]
 *
 * The term with d|W_dec[i]| is there where the loss has the row's length in it, the last one where
 * xin = x - b_dec.
 *
 * With a unit-norm decoder the part of dW_dec[i] along W_dec[i] is taken out: it would only change the
 * length that the update restores anyway.
 */
#include "sae/train_internal.h"

#include "tensor/par.h"

#include <math.h>
#include <string.h>

static void scale_error(void *ctx, size_t begin, size_t end) {
    sae_trainer *t = ctx;
    size_t d = (size_t)t->model->cfg.d_in;
    float factor = (float)(2 * sae_train_mse_weight(&t->opts) / t->n);
    for (size_t j = begin * d; j < end * d; j++) t->err[j] *= factor;
}

typedef struct {
    sae_trainer *t;
    float penalty; /* lambda / n */
} grad_job;

enum { AT_A_TIME = 2 * SAE_ROWS }; /* batch rows that a group of latents meets at a time */

/* The latents of a group and their gradients. */
typedef struct {
    const grad_job *job;
    size_t i0, i1;
    float *dw_enc, *dw_dec; /* [SAE_GRADIENTS, D] each, in cache while the entries are added */
    float *dpre;            /* [SAE_GRADIENTS, n] of the entries, one latent after the other */
    sae_latent_grad of[SAE_GRADIENTS];
} group;

/* Lets `gradient` look at the lists' entries, which those of latent i are number[i] of (NULL: i). A block of
 * rows at a time, which stay in cache while all latents of the group pass by; a latent's entries keep their
 * order. */
static void for_entries(group *q, const sae_lists *l, const int32_t *number,
                        void (*gradient)(const sae_trainer *, size_t, sae_latent_grad *)) {
    const sae_trainer *t = q->job->t;
    size_t place[SAE_GRADIENTS], stop[SAE_GRADIENTS], start = SIZE_MAX;
    for (size_t i = q->i0; i < q->i1; i++) {
        size_t at = number && number[i] >= 0 ? (size_t)number[i] : i;
        int none = number && number[i] < 0;
        place[i - q->i0] = none ? 0 : l->first[at];
        stop[i - q->i0] = none ? 0 : l->first[at + 1];
        if (!none && start == SIZE_MAX) start = l->first[at];
    }
    for (size_t b = AT_A_TIME; b < (size_t)t->n + AT_A_TIME; b += AT_A_TIME)
        for (size_t i = q->i0, j = 0; i < q->i1; i++, j++) {
            sae_latent_grad *g = &q->of[j];
            size_t first = place[j];
            while (place[j] < stop[j] && l->of_latent[place[j]].at < b) place[j]++;
            g->list = l->of_latent + first;
            g->count = place[j] - first;
            if (g->count == 0) continue;
            g->dpre_of = q->dpre + (first - start);
            gradient(t, i, g);
        }
}

/* dW_enc[i] += dpre_b xin_b of the entries that g shows. */
static void encoder_gradient(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    size_t d = (size_t)t->model->cfg.d_in, a = 0;
    (void)i;
    while (a < g->count) {
        const float *xs[SAE_AT_ONCE]; /* [n] rows [D] */
        float dpre[SAE_AT_ONCE];
        size_t n = 0;
        for (; n < SAE_AT_ONCE && a < g->count; a++) {
            if (g->dpre_of[a] == 0) continue;
            dpre[n] = g->dpre_of[a];
            xs[n++] = g->xin + g->list[a].at * d;
        }
        tn_axpys(t->ex.k, g->dw_enc, dpre, xs, n, d);
    }
}

/* Adds what the lists' entries give. The decoder's part and the encoder's one after the other: of twice as
 * many rows only half as many latents would stay in cache. */
static void add_entries(group *q, const sae_lists *l, const int32_t *number,
                        void (*gradient)(const sae_trainer *, size_t, sae_latent_grad *)) {
    for_entries(q, l, number, gradient);
    for_entries(q, l, number, encoder_gradient);
}

static void start_latent(group *q, size_t i) {
    const sae_trainer *t = q->job->t;
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in;
    sae_latent_grad *g = &q->of[i - q->i0];
    *g = (sae_latent_grad){.w = s->w_dec + i * d,
                           .xin = s->cfg.apply_b_dec_to_input ? t->xin : t->x,
                           .dw_enc = q->dw_enc + (i - q->i0) * d,
                           .dw_dec = q->dw_dec + (i - q->i0) * d,
                           .lambda_n = q->job->penalty};
    if (!sae_train_touched(t, i)) return; /* its rows of g stay unwritten: the update takes zeros for them */
    memset(g->dw_enc, 0, d * sizeof *g->dw_enc);
    memset(g->dw_dec, 0, d * sizeof *g->dw_dec);
}

/* What is left when all entries are added. */
static void finish_latent(group *q, size_t i) {
    sae_trainer *t = q->job->t;
    const tn_kernels *k = t->ex.k;
    size_t d = (size_t)t->model->cfg.d_in;
    sae_latent_grad *g = &q->of[i - q->i0];
    double squares = 0;
    if (sae_train_touched(t, i)) {
        const float *both[2] = {g->dw_dec, g->w};
        float dots[2];
        if (t->arch->rest) t->arch->rest(t, i, g);
        if (t->opts.unit_norm_decoder) {
            tn_dots(k, dots, both, (const float *[]){g->w, g->w}, 2, d);
            k->axpy(g->dw_dec, -dots[0] / dots[1], g->w, d);
        } else if (t->weight[i] > 0) {
            k->axpy(g->dw_dec, g->dnorm / t->weight[i], g->w, d);
        }
        both[1] = g->dw_enc;
        tn_dots(k, dots, both, both, 2, d);
        squares = (double)dots[1] + (double)dots[0];
    }
    for (int v = 0; v < t->n_vectors; v++) {
        t->g.vector[v][i] = g->d[v];
        squares += (double)g->d[v] * (double)g->d[v];
    }
    t->grad_sq[i] = squares;
}

/* What latents i0 … i1-1, at most SAE_GROUP, add to db_dec through xin. */
static void b_dec_part(const group *q, size_t i0, size_t i1) {
    const sae_trainer *t = q->job->t;
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in, n = 0;
    float *part = t->b_dec_part + i0 / SAE_GROUP * d, minus[SAE_GROUP];
    const float *rows[SAE_GROUP];
    memset(part, 0, d * sizeof *part);
    for (size_t i = i0; i < i1 && s->cfg.apply_b_dec_to_input; i++) {
        if (!sae_train_touched(t, i)) continue;
        minus[n] = -q->of[i - q->i0].dpre;
        rows[n++] = s->w_enc + i * d;
    }
    tn_axpys(t->ex.k, part, minus, rows, n, d);
}

/* The group's gradients go to t->g, which only the update reads: all latents that have one and stand side by
 * side at once. */
static void put_away(const group *q) {
    const sae_trainer *t = q->job->t;
    size_t d = (size_t)t->model->cfg.d_in;
    for (size_t i = q->i0, end; i < q->i1; i = end + 1) {
        for (end = i; end < q->i1 && sae_train_touched(t, end);) end++;
        size_t from = (i - q->i0) * d, n = (end - i) * d;
        tn_put_away(t->ex.k, t->g.w_enc + i * d, q->dw_enc + from, n);
        tn_put_away(t->ex.k, t->g.w_dec + i * d, q->dw_dec + from, n);
    }
}

static void gradient_groups(void *ctx, size_t worker, size_t begin, size_t end) {
    const grad_job *job = ctx;
    const sae_trainer *t = job->t;
    size_t d = (size_t)t->model->cfg.d_in;
    float *room = t->grad_room + worker * 2 * SAE_GRADIENTS * d;
    for (size_t i0 = begin; i0 < end; i0 += SAE_GRADIENTS) {
        group q = {.job = job,
                   .i0 = i0,
                   .i1 = end - i0 < SAE_GRADIENTS ? end : i0 + SAE_GRADIENTS,
                   .dw_enc = room,
                   .dw_dec = room + SAE_GRADIENTS * d,
                   .dpre = t->dpre_room + worker * SAE_GRADIENTS * (size_t)t->opts.batch};
        for (size_t i = i0; i < q.i1; i++) start_latent(&q, i);
        add_entries(&q, &t->lists, NULL, t->arch->gradient);
        if (t->n_dead > 0) add_entries(&q, &t->dead_lists, t->dead_at, sae_auxk_gradient);
        for (size_t i = i0; i < q.i1; i++) finish_latent(&q, i);
        for (size_t i = i0; i < q.i1; i += SAE_GROUP)
            b_dec_part(&q, i, q.i1 - i < SAE_GROUP ? q.i1 : i + SAE_GROUP);
        put_away(&q);
    }
}

void sae_train_add_rows(const sae_trainer *t, const float *rows, float *g) {
    size_t d = (size_t)t->model->cfg.d_in;
    for (size_t b = 0; b < (size_t)t->n; b++) t->ex.k->add(g, rows + b * d, d);
}

double sae_train_gradient(sae_trainer *t, double l1) {
    size_t d = (size_t)t->model->cfg.d_in, f = (size_t)t->model->cfg.d_sae;
    grad_job job = {.t = t, .penalty = (float)(l1 / t->n)};
    tn_parallel_for((size_t)t->n, SAE_ROWS, t->ex.threads, scale_error, t);
    tn_parallel_for_workers(f, SAE_GRADIENTS, t->ex.threads, gradient_groups, &job);

    /* The sums over all rows and over all groups, in order. */
    double squares = 0;
    memset(t->g.b_dec, 0, d * sizeof *t->g.b_dec);
    if (t->arch->b_dec)
        t->arch->b_dec(t, t->g.b_dec);
    else
        sae_train_add_rows(t, t->err, t->g.b_dec);
    for (size_t i0 = 0; i0 < f; i0 += SAE_GROUP)
        t->ex.k->add(t->g.b_dec, t->b_dec_part + i0 / SAE_GROUP * d, d);
    for (size_t k = 0; k < d; k++) squares += (double)t->g.b_dec[k] * (double)t->g.b_dec[k];
    for (size_t i = 0; i < f; i++) squares += t->grad_sq[i];
    return sqrt(squares);
}
