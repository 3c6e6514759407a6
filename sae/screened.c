/* Screening for an SAE that is not trained any more (screened.h). */
#include "sae/screened.h"

#include "sae/arch.h"
#include "sae/search.h"
#include "tensor/par.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_ROWS = 512, /* of a block */
    FEW_ROWS = 16,
    FORMS = 2
};

/* The one allocation behind sae_model.screened. */
struct sae_screened {
    sae_screen copy[FORMS]; /* by form: 8 bits for a few rows, which wait for the bytes; the best for many */
    float *bar, *scale;     /* [F] of the search */
};

typedef struct {
    const sae_model *s;
    const struct sae_screened *made;
    const sae_screen_room *room; /* [threads] */
} copy_job;

/* The least product of latent i with a row that lets it fire. */
static float bar_of(const sae_model *s, size_t i) {
    double bias = s->b_gate ? (double)s->b_gate[i] : (double)s->b_enc[i];
    double theta = s->threshold && s->threshold[i] > 0 ? (double)s->threshold[i] : 0;
    return sae_screen_below(theta - bias, theta + fabs(bias));
}

static void copy_rows(void *ctx, size_t worker, size_t begin, size_t end) {
    const copy_job *job = ctx;
    for (size_t i = begin; i < end; i++) {
        job->made->bar[i] = bar_of(job->s, i);
        job->made->scale[i] = 1 - 0x1p-20f;
        for (int form = 0; form < FORMS; form++)
            if (job->made->copy[form].k)
                sae_screen_copy(&job->made->copy[form], i, job->s->w_enc + i * (size_t)job->s->cfg.d_in,
                                &job->room[worker]);
    }
}

static void take(struct sae_screened **made, struct sae_screened *own, sae_screen_room *room, int threads,
                 tn_arena *a, size_t f, size_t d) {
    *made = tn_arena_take(a, 1, sizeof **made);
    const tn_kernels *k = tn_kernels_select(NULL);
    sae_screen_take(&own->copy[SAE_IN_8_BITS], a, k, SAE_IN_8_BITS, f, d);
    own->copy[SAE_IN_BF16].k = NULL;
    if (sae_screen_form_for(k) == SAE_IN_BF16)
        sae_screen_take(&own->copy[SAE_IN_BF16], a, k, SAE_IN_BF16, f, d);
    own->bar = tn_arena_take(a, f, sizeof *own->bar);
    own->scale = tn_arena_take(a, f, sizeof *own->scale);
    for (int w = 0; w < threads; w++) sae_screen_take_room(&room[w], a, d);
}

int sae_screen_encoder(sae_model *s, int threads, tn_err *e) {
    size_t f = (size_t)s->cfg.d_sae, d = (size_t)s->cfg.d_in;
    struct sae_screened own, *made = NULL;
    sae_screen_room *room = calloc((size_t)threads, sizeof *room);
    tn_arena a = tn_arena_measure();
    if (room) take(&made, &own, room, threads, &a, f, d);
    size_t bytes = a.used + TN_ALIGN;
    if (room && !a.failed) s->rounded = calloc(bytes, 1);
    if (!s->rounded) {
        free(room);
        return tn_fail(e, TN_ENOMEM, "no memory for the small copy of the encoder");
    }
    a = tn_arena_on(s->rounded, bytes);
    take(&made, &own, room, threads, &a, f, d);
    *made = own;
    s->screened = made;
    copy_job job = {s, made, room};
    tn_parallel_for_workers(f, TN_Q_ROWS, threads, copy_rows, &job);
    free(room);
    return TN_OK;
}

/* ---- Encoding ---- */

/* The scratch of n rows. */
typedef struct {
    sae_search_room search;
    unsigned char *row; /* [n, row_bytes] what the architecture needs for a row */
    size_t row_bytes;
} encode_room;

/* Which copy serves n rows. */
static const sae_screen *copy_for(const sae_model *s, size_t n) {
    const sae_screen *many = &s->screened->copy[SAE_IN_BF16];
    return n > FEW_ROWS && many->k ? many : &s->screened->copy[SAE_IN_8_BITS];
}

static encode_room carve(const sae_model *s, size_t n, tn_arena *a) {
    const sae_arch *arch = sae_arch_of(s->cfg.architecture);
    encode_room r = {.row_bytes = arch->scratch ? arch->scratch(&s->cfg) : 0};
    sae_search_take(&r.search, a, n, (size_t)s->cfg.d_in, (size_t)s->cfg.d_sae / SAE_TOO_MANY + SAE_CHUNK,
                    s->cfg.architecture == SAE_TOPK ? (size_t)s->cfg.k : 0, copy_for(s, n));
    r.row = tn_arena_take(a, n, r.row_bytes);
    return r;
}

size_t sae_screened_scratch(const sae_model *s, size_t n) {
    tn_arena a = tn_arena_measure();
    if (!s->screened) return 0;
    carve(s, n, &a);
    return a.failed ? 0 : a.used + TN_ALIGN;
}

typedef struct {
    const sae_model *s;
    const sae_arch *arch;
    sae_search search;
    encode_room room; /* of all rows */
    const float *x;   /* [n, D] */
    float *z;         /* [n, F] */
    const sae_active *out;
} encode_job;

/* Of the latents found [n] of a row those that fire stay, with their values; returns how many.
 *
 * They are activated as an SAE of just these n latents in the same order, so that nothing walks over all of
 * them. Their values, and their parameters behind them, lie in z [F] meanwhile; where they have no room
 * there, the whole row is activated. */
static size_t activate_found(const encode_job *job, sae_entry *found, size_t n, float *z, void *scratch) {
    const float *bias = job->s->b_enc;
    size_t f = job->search.f, count = 0;
    sae_model few = *job->s;
    sae_vector vectors[SAE_MAX_VECTORS];
    size_t n_vectors = (size_t)job->arch->vectors(&few, vectors);
    const int whole = n > f / (1 + n_vectors);
    for (size_t i = 0; i < f && whole; i++) z[i] = -INFINITY;
    for (size_t j = 0; j < n; j++) {
        float pre = bias ? found[j].z + bias[found[j].at] : found[j].z;
        z[whole ? found[j].at : j] = pre;
    }
    for (size_t v = 0; v < n_vectors && !whole; v++) {
        const float *all = *vectors[v].data; /* [F] */
        float *some = z + (1 + v) * n;       /* [n] */
        for (size_t j = 0; j < n; j++) some[j] = all[found[j].at];
        *vectors[v].data = some;
    }
    if (!whole) few.cfg.d_sae = (int)n;
    job->arch->activate(&few, z, scratch);
    for (size_t j = 0; j < n; j++) {
        float value = z[whole ? found[j].at : j];
        if (value != 0.0f) found[count++] = (sae_entry){found[j].at, value};
    }
    return count;
}

/* Row r of the job, from what was found on it. */
static void put_found(const encode_job *job, sae_entry *found, size_t n, size_t r, float *z) {
    n = activate_found(job, found, n, z, job->room.row + r * job->room.row_bytes);
    if (job->out) {
        memcpy(job->out->of_row + r * job->out->room, found, n * sizeof *found);
        job->out->n_of_row[r] = (uint32_t)n;
        return;
    }
    memset(z, 0, job->search.f * sizeof *z);
    for (size_t j = 0; j < n; j++) z[found[j].at] = found[j].z;
}

/* Row r of the job, from its products z [F]. */
static void put_dense(const encode_job *job, size_t r, float *z) {
    size_t f = job->search.f, at = 0;
    if (job->s->b_enc) job->search.k->add(z, job->s->b_enc, f);
    job->arch->activate(job->s, z, job->room.row + r * job->room.row_bytes);
    if (job->out)
        job->out->n_of_row[r] =
            (uint32_t)sae_list_some(z, f, &at, job->out->of_row + r * job->out->room, job->out->room);
}

/* Rows b0 … b0+n-1. */
static void encode_block(const encode_job *job, size_t b0, size_t n) {
    const sae_search *q = &job->search;
    const float *x = job->x + b0 * q->d;
    sae_search_room room = sae_search_from(&job->room.search, q, b0);
    float *z = job->z + b0 * q->f;
    if (!sae_search_rows(q, &room, x, n)) {
        q->k->matmul_f32(z, q->f, x, q->d, q->w_enc, q->d, n, q->f, q->d, NULL);
        for (size_t r = 0; r < n; r++) put_dense(job, b0 + r, z + r * q->f);
        return;
    }
    for (size_t r = 0; r < n; r++) /* lists need one row of z, again and again */
        put_found(job, room.found + r * room.most, room.n_found[r], b0 + r, job->out ? z : z + r * q->f);
}

static void encode_rows(void *ctx, size_t begin, size_t end) {
    const encode_job *job = ctx;
    for (size_t b0 = begin; b0 < end; b0 += MOST_ROWS)
        encode_block(job, b0, end - b0 < MOST_ROWS ? end - b0 : MOST_ROWS);
}

void sae_screened_encode(const sae_model *s, tn_exec ex, const float *x, size_t n, float *z,
                         const sae_active *out, void *scratch) {
    const struct sae_screened *made = s->screened;
    encode_job job = {.s = s, .arch = sae_arch_of(s->cfg.architecture), .x = x, .z = z, .out = out};
    tn_arena a = tn_arena_on(scratch, sae_screened_scratch(s, n));
    job.room = carve(s, n, &a);
    job.search = (sae_search){.k = ex.k,
                              .w_enc = s->w_enc,
                              .d = (size_t)s->cfg.d_in,
                              .f = (size_t)s->cfg.d_sae,
                              .screen = copy_for(s, n),
                              .screened = 1,
                              .bar = made->bar,
                              .scale = made->scale,
                              .ranks = s->cfg.architecture == SAE_TOPK ? (size_t)s->cfg.k : 0,
                              .bias = s->b_enc};
    size_t grain = n / (2 * (size_t)ex.threads) + 1;
    tn_parallel_for(n, grain < MOST_ROWS ? grain : MOST_ROWS, ex.threads, encode_rows, &job);
}
