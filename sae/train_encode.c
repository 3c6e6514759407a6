/* The encoder of a training step: which latents are listed on which row, for all rows.
 *
 * The search (search.h) finds what may be listed, with the small copy or densely, and its products in F32;
 * then the architecture decides about each, so that the results are the same bits with screening and without.
 *
 *     ReLU, JumpReLU, Gated     floor = 0
 *     BatchTopK, Matryoshka     floor = a guess at the least value kept of the whole batch
 *     TopK                      floor = the k-th largest value of the row so far
 */
#include "sae/train_internal.h"

#include "tensor/par.h"

#include <math.h>
#include <string.h>

enum {
    MOST_ROWS = 512,    /* of a block: its copy, with its scores, stays in the second-level cache, … */
    DENSE_ROWS = 256,   /* … where F32 takes twice the room */
    DENSE_STEPS = 31,   /* after screening has given up, before it is tried again */
    GUESSED_FROM = 64,  /* rows */
    MARGIN_PERCENT = 80 /* of the least value kept on those rows */
};

typedef struct {
    sae_trainer *t;
    const float *xin; /* [n, D] */
    size_t block;     /* rows at a time */
    sae_search search;
} encode_job;

static size_t rows_of_block(const sae_trainer *t, size_t n) {
    size_t rows = (n / (2 * (size_t)t->ex.threads) + 7) / 8 * 8, most = t->screening ? MOST_ROWS : DENSE_ROWS;
    return rows > most ? most : rows < 8 ? 8 : rows;
}

void sae_train_take_encoder(sae_trainer *t, tn_arena *a) {
    size_t d = (size_t)t->model->cfg.d_in, f = (size_t)t->model->cfg.d_sae;
    size_t threads = (size_t)t->ex.threads;
    t->bar_scale = tn_arena_take(a, f, sizeof *t->bar_scale);
    t->bar = tn_arena_take(a, f, sizeof *t->bar);
    t->screening = t->opts.screen == SAE_SCREEN_ON ||
                   (t->opts.screen == SAE_SCREEN_AUTO && strcmp(t->ex.k->name, "scalar") != 0);
    size_t rows = rows_of_block(t, (size_t)t->opts.batch);
    size_t panels = tn_rows_room(rows > SAE_ROWS ? rows : SAE_ROWS, d); /* train_auxk.c uses them, too */
    if (t->screening) {
        sae_screen_take(&t->screen, a, t->ex.k, sae_screen_form_for(t->ex.k), f, d);
    } else {
        t->screen.norm = tn_arena_take(a, f, sizeof *t->screen.norm); /* zeros */
        t->screen.loss = tn_arena_take(a, f, sizeof *t->screen.loss);
    }
    t->room = tn_arena_take(a, threads, sizeof *t->room);
    for (size_t w = 0; w < threads; w++) {
        sae_encode_room r = {.given_up = 0};
        size_t ranks = t->arch->per_row ? (size_t)t->opts.k : 0;
        sae_search_take(&r.search, a, rows, d, f, ranks, t->screening ? &t->screen : NULL);
        r.heap = tn_arena_take(a, ranks, sizeof *r.heap);
        r.search.panels = tn_arena_take(a, panels, sizeof *r.search.panels);
        if (t->screening) sae_screen_take_room(&r.copy, a, d);
        if (a->base && !a->failed) t->room[w] = r;
    }
}

/* ---- Before the rows: weights, bars and the small copy ---- */

void sae_train_copy(sae_trainer *t, size_t worker, size_t i) {
    const sae_model *s = t->model;
    sae_screen_copy(&t->screen, i, s->w_enc + i * (size_t)s->cfg.d_in, &t->room[worker].copy);
}

static void prepare_latents(void *ctx, size_t worker, size_t begin, size_t end) {
    const encode_job *job = ctx;
    sae_trainer *t = job->t;
    const sae_model *s = t->model;
    size_t d = (size_t)s->cfg.d_in;
    for (size_t i = begin; i < end; i++) {
        const float *w = s->w_dec + i * d;
        t->weight[i] = t->opts.unit_norm_decoder ? 1.0f : sqrtf(t->ex.k->dot(w, w, d));
        t->bar[i] = t->arch->bar(t, i);
        /* the value is (p + bias) w_i, rounded twice */
        t->bar_scale[i] = t->arch->per_row || t->arch->batch_wide ? (1 - 0x1p-20f) / t->weight[i] : 0.0f;
        if (job->search.screened && !t->copied) sae_train_copy(t, worker, i);
    }
}

/* ---- One block of rows ---- */

/* The row's list: what the architecture lists, and of that the k largest where rows have a k of their own.
 * Of equal values the latents of lower index stay; a NaN stays always. */
static void list_row(const sae_trainer *t, const sae_search_room *room, sae_pick *heap, size_t r, size_t b) {
    size_t k = (size_t)t->opts.k, count = 0;
    const sae_entry *found = room->found + r * room->most;
    sae_entry *list = t->lists.of_row + b * t->lists.room;
    uint32_t held = 0;
    for (uint32_t j = 0; j < room->n_found[r] && !t->arch->per_row; j++)
        count += (size_t)t->arch->list(t, found[j].at, found[j].z, &list[count]);
    if (t->arch->per_row) {
        sae_entry e;
        for (uint32_t j = 0; j < room->n_found[r]; j++)
            if (t->arch->list(t, found[j].at, found[j].z, &e) && !isnan(e.z))
                sae_topk_offer(heap, &held, (uint32_t)k, e.z * t->weight[e.at], e.at);
        sae_pick worst = held == k ? heap[0] : (sae_pick){0.0f, 0}; /* fewer than k: all stay */
        for (uint32_t j = 0; j < room->n_found[r] && count < t->lists.room; j++)
            if (t->arch->list(t, found[j].at, found[j].z, &e) &&
                (isnan(e.z) || sae_topk_kept(worst, e.z * t->weight[e.at], e.at)))
                list[count++] = e;
    }
    t->lists.n_of_row[b] = (uint32_t)count;
}

static void encode_rows(void *ctx, size_t worker, size_t begin, size_t end) {
    const encode_job *job = ctx;
    sae_trainer *t = job->t;
    sae_encode_room *room = &t->room[worker];
    sae_search dense = job->search;
    size_t step = job->block;
    dense.screened = 0;
    for (size_t b0 = begin; b0 < end; b0 += step) {
        size_t n = end - b0 < step ? end - b0 : step;
        const float *x = job->xin + b0 * (size_t)t->model->cfg.d_in;
        if (!sae_search_rows(&job->search, &room->search, x, n)) {
            room->given_up += n;
            sae_search_rows(&dense, &room->search, x, n);
        }
        for (size_t r = 0; r < n; r++) list_row(t, &room->search, room->heap, r, b0 + r);
    }
}

/* ---- All rows ---- */

static void encode(encode_job *job, size_t n) {
    job->block = rows_of_block(job->t, n);
    job->search.floor = job->t->floor;
    tn_parallel_for_workers(n, job->block, job->t->ex.threads, encode_rows, job);
}

static size_t listed(const sae_trainer *t, size_t n) {
    size_t sum = 0;
    for (size_t b = 0; b < n; b++) sum += t->lists.n_of_row[b];
    return sum;
}

/* A floor that the values kept of a batch probably exceed. */
static float guess_floor(encode_job *job) {
    sae_trainer *t = job->t;
    size_t rank = (size_t)((double)t->opts.k * GUESSED_FROM), found;
    if (t->n < 4 * GUESSED_FROM) return 0;
    encode(job, GUESSED_FROM);
    found = listed(t, GUESSED_FROM);
    return found < rank ? 0 : sae_batchtopk_rank(t, GUESSED_FROM, rank) * MARGIN_PERCENT / 100;
}

void sae_train_encode(sae_trainer *t) {
    size_t f = (size_t)t->model->cfg.d_sae, n = (size_t)t->n, given_up = 0;
    encode_job job = {.t = t, .xin = t->model->cfg.apply_b_dec_to_input ? t->xin : t->x};
    job.search = (sae_search){.k = t->ex.k,
                              .w_enc = t->model->w_enc,
                              .d = (size_t)t->model->cfg.d_in,
                              .f = f,
                              .screen = &t->screen,
                              .screened = t->screening && t->dense_steps == 0,
                              .bar = t->bar,
                              .scale = t->bar_scale,
                              .ranks = t->arch->per_row ? (size_t)t->opts.k : 0,
                              .bias = t->model->b_enc,
                              .weight = t->weight};
    if (t->dense_steps > 0) t->dense_steps--;
    for (int w = 0; w < t->ex.threads; w++) t->room[w].given_up = 0;
    t->floor = 0;
    tn_parallel_for_workers(f, SAE_GROUP, t->ex.threads, prepare_latents, &job);
    t->copied |= job.search.screened;
    if (t->arch->batch_wide) t->floor = t->evaluating ? (float)sae_batchtopk_threshold(t) : guess_floor(&job);
    encode(&job, n);
    if (t->floor > 0 && !t->evaluating && (double)listed(t, n) < floor((double)t->opts.k * t->n)) {
        t->floor = 0; /* the guess was too high */
        encode(&job, n);
    }
    for (int w = 0; w < t->ex.threads; w++) given_up += t->room[w].given_up;
    if (t->opts.screen == SAE_SCREEN_AUTO && given_up > n / 2) t->dense_steps = DENSE_STEPS;
}
