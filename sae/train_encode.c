/* The encoder of a training step: which latents are listed on which row (train_internal.h), for all rows.
 *
 * A block of rows meets one chunk of latents after the other. The products p = W_enc[i] · xin of a chunk, or
 * their approximations y when screening (screen.h), are held against a bar that every listed product
 * reaches: what lies below is forgotten at once, so nothing of size [B, F] is kept.
 *
 *     bar of latent i on row b    floor_b / w_i + s_i       s_i: the least p that the architecture may list
 *
 *     ReLU, JumpReLU, Gated       floor = 0
 *     BatchTopK                   floor = a guess at the least value kept of the whole batch
 *     TopK                        floor = the k-th largest value so far: a heap for each row
 *
 * When screening, the heap holds lower bounds of values, and what has been found is reduced once more by the
 * floor in the end. Then the products are computed in F32, 64 latents at a time, so that their rows of W_enc
 * stay in cache for all rows of the block, and the architecture decides about each as it does without
 * screening: the results are the same bits.
 */
#include "sae/train_internal.h"

#include "tensor/par.h"

#include <math.h>
#include <string.h>

enum {
    MOST_ROWS = 256,    /* of a block: in 8 bits, and with its scores, it stays in the second-level cache */
    CHUNK = 192,        /* latents: a multiple of the tiles of every kernel */
    TOO_MANY = 8,       /* screening stops where more than 1 in so many has to be computed */
    DENSE_STEPS = 31,   /* … and is tried again after so many steps */
    GUESSED_FROM = 64,  /* rows */
    MARGIN_PERCENT = 80 /* of the least value kept on those rows */
};

typedef struct {
    sae_trainer *t;
    const float *xin; /* [n, D] */
    size_t block;     /* rows at a time */
    int screened;
} encode_job;

static size_t rows_of_block(const sae_trainer *t, size_t n) {
    size_t rows = (n / (4 * (size_t)t->ex.threads) + 7) / 8 * 8;
    return rows > MOST_ROWS ? MOST_ROWS : rows < 8 ? 8 : rows;
}

void sae_train_take_encoder(sae_trainer *t, tn_arena *a) {
    size_t d = (size_t)t->model->cfg.d_in, f = (size_t)t->model->cfg.d_sae;
    size_t rows = rows_of_block(t, (size_t)t->opts.batch), found = 0;
    size_t threads = (size_t)t->ex.threads;
    if (tn_mul_size(rows, f, &found)) a->failed = 1;
    t->bar_scale = tn_arena_take(a, f, sizeof *t->bar_scale);
    t->bar = tn_arena_take(a, f, sizeof *t->bar);
    t->screening = t->opts.screen == SAE_SCREEN_ON ||
                   (t->opts.screen == SAE_SCREEN_AUTO && strcmp(t->ex.k->name, "scalar") != 0);
    if (t->screening) {
        sae_screen_take(&t->screen, a, f, d);
    } else {
        t->screen.norm = tn_arena_take(a, f, sizeof *t->screen.norm); /* zeros */
        t->screen.loss = tn_arena_take(a, f, sizeof *t->screen.loss);
    }
    t->room = tn_arena_take(a, threads, sizeof *t->room);
    for (size_t w = 0; w < threads; w++) {
        sae_encode_room r = {0};
        r.scores = tn_arena_take(a, rows * CHUNK, sizeof *r.scores);
        r.panels = tn_arena_take(a, TN_MATMUL_ROOM, sizeof *r.panels);
        r.at = tn_arena_take(a, CHUNK, sizeof *r.at);
        r.found = tn_arena_take(a, found, sizeof *r.found);
        r.n_found = tn_arena_take(a, rows, sizeof *r.n_found);
        r.place = tn_arena_take(a, rows, sizeof *r.place);
        r.floor = tn_arena_take(a, rows, sizeof *r.floor);
        r.held = tn_arena_take(a, rows, sizeof *r.held);
        if (t->arch->per_row) r.heap = tn_arena_take(a, rows * (size_t)t->opts.k, sizeof *r.heap);
        if (t->screening) {
            sae_screen_take_rows(&r.rows, a, rows, d);
            sae_screen_take_room(&r.copy, a, d);
        }
        if (a->base && !a->failed) t->room[w] = r;
    }
}

/* ---- Before the rows: weights, bars and the 8-bit copy ---- */

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
        if (job->screened) sae_screen_copy(&t->screen, t->ex.k, i, s->w_enc + i * d, &t->room[worker].copy);
    }
}

/* ---- One block of rows ---- */

/* Offers a lower bound of the value of latent i on row r, whose product is at least `product` - off. */
static void offer(const sae_trainer *t, sae_encode_room *room, size_t r, size_t i, float product,
                  double off) {
    size_t k = (size_t)t->opts.k;
    double value = ((double)product - off + (double)t->model->b_enc[i]) * (double)t->weight[i];
    /* The value in F32 is rounded twice after the sum of (3). NaNs do not compete. */
    if (value > 1e-30)
        sae_topk_offer(room->heap + r * k, &room->held[r], (uint32_t)k, (float)(value * (1 - 0x1p-20)),
                       (uint32_t)i);
}

/* What of row r reaches the bar in a chunk of m latents from i0. */
static void find(const encode_job *job, sae_encode_room *room, size_t r, size_t i0, size_t m) {
    const sae_trainer *t = job->t;
    const sae_screen *s = &t->screen;
    size_t f = (size_t)t->model->cfg.d_sae, k = (size_t)t->opts.k;
    const float *y = room->scores + r * CHUNK; /* [m] */
    tn_bar bar = {.p = s->norm + i0, .q = s->loss + i0, .r = t->bar_scale + i0, .s = t->bar + i0};
    bar.c = room->floor[r];
    if (job->screened) {
        bar.a = room->rows.a[r];
        bar.b = room->rows.b[r];
    }
    size_t count = t->ex.k->reaching(room->at, y, &bar, m);
    sae_entry *found = room->found + r * f + room->n_found[r];
    for (size_t j = 0; j < count; j++) found[j] = (sae_entry){(uint32_t)i0 + room->at[j], y[room->at[j]]};
    room->n_found[r] += (uint32_t)count;
    if (!t->arch->per_row) return;
    for (size_t j = 0; j < count; j++) {
        size_t at = room->at[j];
        double off = (double)bar.a * (double)bar.p[at] + (double)bar.b * (double)bar.q[at];
        offer(t, room, r, i0 + at, y[at], off * (1 + 1e-6));
    }
    if (room->held[r] == k) room->floor[r] = room->heap[r * k].value;
}

/* Products of rows b0 … b0+n-1 with all latents, or approximations: fills found. */
static void find_all(const encode_job *job, sae_encode_room *room, size_t b0, size_t n) {
    const sae_trainer *t = job->t;
    const tn_kernels *k = t->ex.k;
    size_t d = (size_t)t->model->cfg.d_in, f = (size_t)t->model->cfg.d_sae;
    for (size_t r = 0; r < n; r++) {
        room->n_found[r] = room->held[r] = 0;
        room->floor[r] = t->floor;
        if (job->screened) sae_screen_row(&room->rows, k, r, job->xin + (b0 + r) * d, d);
    }
    room->rows.q.n = n;
    for (size_t i0 = 0; i0 < f; i0 += CHUNK) {
        size_t m = f - i0 < CHUNK ? f - i0 : CHUNK;
        if (job->screened)
            k->matmul_q8(room->scores, CHUNK, &room->rows.q, &t->screen.w, i0, m);
        else
            k->matmul_f32(room->scores, CHUNK, job->xin + b0 * d, d, t->model->w_enc + i0 * d, d, n, m, d,
                          room->panels);
        for (size_t r = 0; r < n; r++) find(job, room, r, i0, m);
    }
}

/* Takes off what does not reach the floor as it is in the end; returns how many remain. */
static size_t reduce(const encode_job *job, sae_encode_room *room, size_t n) {
    const sae_trainer *t = job->t;
    const sae_screen *s = &t->screen;
    size_t f = (size_t)t->model->cfg.d_sae, all = 0;
    for (size_t r = 0; r < n; r++) {
        sae_entry *found = room->found + r * f;
        float a = job->screened ? room->rows.a[r] : 0, b = job->screened ? room->rows.b[r] : 0;
        uint32_t count = 0;
        for (uint32_t j = 0; j < room->n_found[r] && t->arch->per_row; j++) {
            uint32_t i = found[j].at;
            float have = found[j].z + (a * s->norm[i] + b * s->loss[i]);
            if (!(have < room->floor[r] * t->bar_scale[i] + t->bar[i])) found[count++] = found[j];
        }
        if (t->arch->per_row) room->n_found[r] = count;
        all += room->n_found[r];
    }
    return all;
}

/* Puts products in F32 in the place of approximations. */
static void compute(const encode_job *job, sae_encode_room *room, size_t b0, size_t n) {
    const sae_trainer *t = job->t;
    size_t d = (size_t)t->model->cfg.d_in, f = (size_t)t->model->cfg.d_sae;
    memset(room->place, 0, n * sizeof *room->place);
    for (size_t i0 = 0; i0 < f; i0 += SAE_GROUP)
        for (size_t r = 0; r < n; r++) {
            sae_entry *found = room->found + r * f;
            uint32_t j = room->place[r];
            for (; j < room->n_found[r] && found[j].at < i0 + SAE_GROUP; j++)
                found[j].z = t->ex.k->dot(job->xin + (b0 + r) * d, t->model->w_enc + found[j].at * d, d);
            room->place[r] = j;
        }
}

/* The row's list: what the architecture lists, and of that the k largest where rows have a k of their own.
 * Of equal values the latents of lower index stay; a NaN stays always. */
static void list_row(const sae_trainer *t, sae_encode_room *room, size_t r, size_t b) {
    size_t k = (size_t)t->opts.k, count = 0;
    const sae_entry *found = room->found + r * (size_t)t->model->cfg.d_sae;
    sae_entry *list = t->lists.of_row + b * t->lists.room;
    uint32_t held = 0;
    for (uint32_t j = 0; j < room->n_found[r] && !t->arch->per_row; j++)
        count += (size_t)t->arch->list(t, found[j].at, found[j].z, &list[count]);
    if (t->arch->per_row) {
        sae_pick *heap = room->heap + r * k;
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
    size_t f = (size_t)t->model->cfg.d_sae, step = job->block;
    for (size_t b0 = begin; b0 < end; b0 += step) {
        size_t n = end - b0 < step ? end - b0 : step;
        find_all(job, room, b0, n);
        if (job->screened) {
            if (reduce(job, room, n) <= n * f / TOO_MANY) {
                compute(job, room, b0, n);
            } else {
                encode_job dense = *job;
                dense.screened = 0;
                room->given_up += n;
                find_all(&dense, room, b0, n);
            }
        }
        for (size_t r = 0; r < n; r++) list_row(t, room, r, b0 + r);
    }
}

/* ---- All rows ---- */

static void encode(encode_job *job, size_t n) {
    job->block = rows_of_block(job->t, n);
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
    job.screened = t->screening && t->dense_steps == 0;
    if (t->dense_steps > 0) t->dense_steps--;
    for (int w = 0; w < t->ex.threads; w++) t->room[w].given_up = 0;
    t->floor = 0;
    tn_parallel_for_workers(f, SAE_GROUP, t->ex.threads, prepare_latents, &job);
    if (t->arch->batch_wide) t->floor = t->evaluating ? (float)sae_batchtopk_threshold(t) : guess_floor(&job);
    encode(&job, n);
    if (t->floor > 0 && !t->evaluating && (double)listed(t, n) < floor((double)t->opts.k * t->n)) {
        t->floor = 0; /* the guess was too high */
        encode(&job, n);
    }
    for (int w = 0; w < t->ex.threads; w++) given_up += t->room[w].given_up;
    if (t->opts.screen == SAE_SCREEN_AUTO && given_up > n / 2) t->dense_steps = DENSE_STEPS;
}
