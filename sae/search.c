/* The search of search.h. */
#include "sae/search.h"

#include "tensor/swar.h"

#include <string.h>

enum {
    CACHE = 3 << 18, /* bytes of a second-level cache that are taken for granted */
    FEWEST = 16
};

size_t sae_rows_in_cache(size_t d) {
    size_t rows = CACHE / sizeof(float) / d;
    return rows < FEWEST ? FEWEST : rows;
}

void sae_search_take(sae_search_room *room, tn_arena *a, size_t rows, size_t d, size_t most, size_t ranks,
                     const sae_screen *screen) {
    size_t found = 0, pool = 0;
    if (tn_mul_size(rows, most, &found) || tn_mul_size(rows, 2 * ranks, &pool)) a->failed = 1;
    *room = (sae_search_room){.most = most};
    room->scores = tn_arena_take(a, rows * SAE_CHUNK, sizeof *room->scores);
    room->at = tn_arena_take(a, rows * SAE_CHUNK, sizeof *room->at);
    room->found = tn_arena_take(a, found, sizeof *room->found);
    room->n_found = tn_arena_take(a, rows, sizeof *room->n_found);
    room->place = tn_arena_take(a, rows, sizeof *room->place);
    room->floor = tn_arena_take(a, rows, sizeof *room->floor);
    room->held = tn_arena_take(a, rows, sizeof *room->held);
    room->pool = tn_arena_take(a, pool, sizeof *room->pool);
    if (screen) sae_screen_take_rows(&room->rows, a, screen->form, rows, d);
}

sae_search_room sae_search_from(const sae_search_room *room, const sae_search *s, size_t r) {
    sae_search_room part = *room;
    part.scores += r * SAE_CHUNK;
    part.at += r * SAE_CHUNK;
    part.found += r * room->most;
    part.n_found += r;
    part.place += r;
    part.floor += r;
    part.held += r;
    part.pool += r * 2 * s->ranks;
    part.rows = sae_screen_rows_from(&room->rows, r);
    return part;
}

/* Of row r's pool the k largest stay, and make the floor. */
static void raise_floor(const sae_search *s, sae_search_room *room, size_t r) {
    if (room->held[r] < s->ranks) return;
    room->floor[r] = sae_topk_kth(room->pool + r * 2 * s->ranks, room->held[r], s->ranks);
    room->held[r] = (uint32_t)s->ranks;
}

/* Offers a lower bound of the value of latent i on row r, whose product is at least `product` - off. */
static void offer(const sae_search *s, sae_search_room *room, size_t r, size_t i, float product, double off) {
    double weight = s->weight ? (double)s->weight[i] : 1;
    double value = ((double)product - off + (double)s->bias[i]) * weight;
    if (!(value > 1e-30)) return;                 /* NaNs do not compete */
    float bound = (float)(value * (1 - 0x1p-20)); /* the value in F32 is rounded twice after its product */
    if (bound <= room->floor[r]) return;
    room->pool[r * 2 * s->ranks + room->held[r]++] = bound;
    if (room->held[r] == 2 * s->ranks) raise_floor(s, room, r);
}

/* What of row r reaches the bar in a chunk of m latents from i0; 0 when it is too much. */
static int find(const sae_search *s, sae_search_room *room, size_t r, size_t i0, size_t m) {
    const float *y = room->scores + r * SAE_CHUNK; /* [m] */
    uint32_t *at = room->at + r * SAE_CHUNK;
    tn_bar bar = {.p = s->screen->norm + i0, .q = s->screen->loss + i0, .r = s->scale + i0, .s = s->bar + i0};
    bar.c = room->floor[r];
    if (s->screened) {
        bar.a = room->rows.a[r];
        bar.b = room->rows.b[r];
    }
    size_t count = s->k->reaching(at, y, &bar, m);
    if (count > room->most - room->n_found[r]) return 0;
    sae_entry *found = room->found + r * room->most + room->n_found[r];
    for (size_t j = 0; j < count; j++) found[j] = (sae_entry){(uint32_t)i0 + at[j], y[at[j]]};
    room->n_found[r] += (uint32_t)count;
    if (s->ranks == 0) return 1;
    for (size_t j = 0; j < count; j++) {
        double off = (double)bar.a * (double)bar.p[at[j]] + (double)bar.b * (double)bar.q[at[j]];
        offer(s, room, r, i0 + at[j], y[at[j]], s->screened ? off * (1 + 1e-6) : 0);
    }
    return 1;
}

/* Products of x [n, D] with all latents, or approximations, against their bars. */
static int find_all(const sae_search *s, sae_search_room *room, const float *x, size_t n) {
    for (size_t r = 0; r < n; r++) {
        room->n_found[r] = room->held[r] = 0;
        room->floor[r] = s->floor;
        if (s->screened) sae_screen_row(s->screen, &room->rows, r, x + r * s->d);
    }
    tn_rows rows = tn_rows_pack(s->k, x, n, s->d, s->screened ? NULL : room->panels);
    for (size_t i0 = 0; i0 < s->f; i0 += SAE_CHUNK) {
        size_t m = s->f - i0 < SAE_CHUNK ? s->f - i0 : SAE_CHUNK;
        if (s->screened)
            sae_screen_product(s->screen, room->scores, SAE_CHUNK, &room->rows, n, i0, m);
        else
            tn_matmul_rows(s->k, room->scores, SAE_CHUNK, &rows, s->w_enc + i0 * s->d, m);
        for (size_t r = 0; r < n; r++)
            if (!find(s, room, r, i0, m)) return 0;
    }
    return 1;
}

/* Takes off what does not reach row r's floor as it is in the end. */
static void reduce(const sae_search *s, sae_search_room *room, size_t r) {
    sae_entry *found = room->found + r * room->most;
    float a = s->screened ? room->rows.a[r] : 0, b = s->screened ? room->rows.b[r] : 0;
    uint32_t count = 0;
    raise_floor(s, room, r);
    for (uint32_t j = 0; j < room->n_found[r]; j++) {
        uint32_t i = found[j].at;
        float have = found[j].z + (a * s->screen->norm[i] + b * s->screen->loss[i]);
        if (!(have < room->floor[r] * s->scale[i] + s->bar[i])) found[count++] = found[j];
    }
    room->n_found[r] = count;
}

/* Products in F32 that are computed together, and where they go: those of one half, while the rows of the
 * other's, which lie anywhere in memory, come nearer. Where most latents are needed OFTEN by a block of rows,
 * their rows are in cache already, and asking for them only costs time. */
enum { AT_ONCE = 8, OFTEN = 2 };
typedef struct {
    const float *x[AT_ONCE], *w[AT_ONCE]; /* rows [D] */
    float *z[AT_ONCE];
    size_t n;
} half;
typedef struct {
    half halves[2];
    int filling, seldom;
} products;

static void flush(const sae_search *s, half *p) {
    float z[AT_ONCE];
    tn_dots(s->k, z, p->x, p->w, p->n, s->d);
    for (size_t c = 0; c < p->n; c++) *p->z[c] = z[c];
    p->n = 0;
}

static void ask_for(const sae_search *s, products *p, const float *x, const float *w, float *z) {
    half *h = &p->halves[p->filling];
    if (p->seldom) tn_prefetch(w, s->d * sizeof *w);
    h->x[h->n] = x;
    h->w[h->n] = w;
    h->z[h->n++] = z;
    if (h->n < AT_ONCE) return;
    p->filling = !p->filling;
    flush(s, &p->halves[p->filling]);
}

/* Puts products in F32 in the place of approximations, `all` of them. */
static void compute(const sae_search *s, sae_search_room *room, const float *x, size_t n, size_t all) {
    size_t group = sae_rows_in_cache(s->d);
    products p = {.seldom = all < OFTEN * s->f};
    memset(room->place, 0, n * sizeof *room->place);
    for (size_t i0 = 0; i0 < s->f; i0 += group)
        for (size_t r = 0; r < n; r++) {
            sae_entry *found = room->found + r * room->most;
            uint32_t j = room->place[r];
            for (; j < room->n_found[r] && found[j].at < i0 + group; j++)
                ask_for(s, &p, x + r * s->d, s->w_enc + found[j].at * s->d, &found[j].z);
            room->place[r] = j;
        }
    for (int h = 0; h < 2; h++) flush(s, &p.halves[h]);
}

int sae_search_rows(const sae_search *s, sae_search_room *room, const float *x, size_t n) {
    if (!find_all(s, room, x, n)) return 0;
    size_t all = 0;
    for (size_t r = 0; r < n; r++) {
        if (s->ranks > 0) reduce(s, room, r);
        all += room->n_found[r];
    }
    if (!s->screened) return 1;
    if (all > n * s->f / SAE_TOO_MANY) return 0;
    compute(s, room, x, n, all);
    return 1;
}
