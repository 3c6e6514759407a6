/* From rows' lists to latents' lists (train_lists.h): a counting sort, shared out by ranges of latents. */
#include "sae/train_lists.h"

#include "tensor/par.h"

#include <string.h>

enum { PIECES = 8 /* ranges for each thread: they differ in length */ };

void sae_lists_take(sae_lists *l, tn_arena *a, size_t batch, size_t room, size_t f) {
    size_t entries = 0;
    if (tn_mul_size(batch, room, &entries)) a->failed = 1;
    l->room = room;
    l->of_row = tn_arena_take(a, entries, sizeof *l->of_row);
    l->n_of_row = tn_arena_take(a, batch, sizeof *l->n_of_row);
    l->of_latent = tn_arena_take(a, entries, sizeof *l->of_latent);
    l->first = tn_arena_take(a, f + 1, sizeof *l->first);
    l->next = tn_arena_take(a, f, sizeof *l->next);
}

typedef struct {
    const sae_lists *l;
    size_t n; /* rows */
} turn;

static void count_latents(void *ctx, size_t begin, size_t end) {
    const turn *job = ctx;
    const sae_lists *l = job->l;
    memset(l->next + begin, 0, (end - begin) * sizeof *l->next);
    for (size_t b = 0; b < job->n; b++) {
        const sae_entry *list = l->of_row + b * l->room, *stop = list + l->n_of_row[b];
        for (const sae_entry *e = sae_entry_from(list, l->n_of_row[b], begin); e < stop && e->at < end; e++)
            l->next[e->at]++;
    }
}

static void fill_latents(void *ctx, size_t begin, size_t end) {
    const turn *job = ctx;
    const sae_lists *l = job->l;
    for (size_t b = 0; b < job->n; b++) {
        const sae_entry *list = l->of_row + b * l->room, *stop = list + l->n_of_row[b];
        for (const sae_entry *e = sae_entry_from(list, l->n_of_row[b], begin); e < stop && e->at < end; e++)
            l->of_latent[l->next[e->at]++] = (sae_entry){(uint32_t)b, e->z};
    }
}

void sae_lists_turn(const sae_lists *l, size_t n, size_t f, int threads) {
    turn job = {l, n};
    size_t grain = f / (PIECES * (size_t)threads) + 1;
    tn_parallel_for(f, grain, threads, count_latents, &job);
    l->first[0] = 0;
    for (size_t i = 0; i < f; i++) {
        l->first[i + 1] = l->first[i] + l->next[i];
        l->next[i] = l->first[i];
    }
    tn_parallel_for(f, grain, threads, fill_latents, &job);
}
