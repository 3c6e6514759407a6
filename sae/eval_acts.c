/* Rows of an activation file through an SAE (eval_acts.h). */
#include "sae/eval_acts.h"

#include "tensor/arena.h"

#include <math.h>
#include <stdlib.h>

/* Rows at once: as many as keep the encoder's product busy, and their latents small. */
#define BLOCK 64

typedef struct {
    float *x, *xhat; /* [BLOCK, D] */
    float *z;        /* [BLOCK, F] */
    void *scratch;   /* of sae_encode */
    void *memory;
} buffers;

static void carve(buffers *b, const sae_model *s, tn_arena *a) {
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae, rows = 0, latents = 0;
    size_t scratch = sae_encode_scratch(s, BLOCK);
    if (tn_mul_size(BLOCK, d, &rows) || tn_mul_size(BLOCK, f, &latents) || scratch == 0) a->failed = 1;
    b->x = tn_arena_take(a, rows, sizeof *b->x);
    b->xhat = tn_arena_take(a, rows, sizeof *b->xhat);
    b->z = tn_arena_take(a, latents, sizeof *b->z);
    b->scratch = tn_arena_take(a, scratch, 1);
}

static int take_buffers(buffers *b, const sae_model *s, tn_err *e) {
    tn_arena a = tn_arena_measure();
    carve(b, s, &a);
    size_t bytes;
    b->memory = a.failed || tn_add_size(a.used, TN_ALIGN, &bytes) ? NULL : malloc(bytes);
    if (!b->memory) return tn_fail(e, TN_ENOMEM, "no memory for %d rows of %d latents", BLOCK, s->cfg.d_sae);
    a = tn_arena_on(b->memory, bytes);
    carve(b, s, &a);
    return TN_OK;
}

/* The next rows that count, from *row on, into idx [BLOCK]; returns how many. */
static size_t next_rows(const sae_acts *acts, sae_eval_choice c, size_t *row, uint32_t idx[BLOCK]) {
    size_t n = 0;
    for (; *row < acts->n && n < BLOCK; ++*row) {
        if ((size_t)acts->doc[*row] >= c.n_docs || (c.skip_first && acts->pos[*row] == 0)) continue;
        idx[n++] = (uint32_t)*row;
    }
    return n;
}

/* Rows idx [n] in one of the two rounds. */
static void take_rows(sae_parts *p, const sae_model *s, const sae_acts *acts, const int *labels, tn_exec ex,
                      const buffers *b, const uint32_t *idx, size_t n, int again) {
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae;
    sae_acts_gather(acts, idx, n, b->x);
    if (!again) {
        sae_encode(s, ex, b->x, (int)n, b->z, b->scratch);
        sae_decode(s, ex, b->z, (int)n, b->xhat);
    }
    for (size_t i = 0; i < n; i++) {
        int pos = acts->pos[idx[i]], label = labels ? labels[acts->doc[idx[i]]] : -1;
        if (again)
            sae_parts_add_again(p, b->x + i * d, pos, label);
        else
            sae_parts_add(p, b->x + i * d, b->xhat + i * d, b->z + i * f, pos, label);
    }
}

int sae_eval_acts(sae_parts *p, const sae_model *s, const sae_acts *acts, const int *labels,
                  sae_eval_choice choice, tn_exec ex, sae_eval_progress progress, void *ctx, tn_err *e) {
    if (acts->d != s->cfg.d_in)
        return tn_fail(e, TN_ESHAPE, "SAE of width %d does not fit activations of width %d", s->cfg.d_in,
                       acts->d);
    buffers b;
    int code = take_buffers(&b, s, e);
    if (!code) code = sae_parts_reserve(p, acts->n, e);
    for (int again = 0; again < 2 && !code; again++) {
        uint32_t idx[BLOCK];
        size_t n;
        for (size_t row = 0; (n = next_rows(acts, choice, &row, idx)) > 0;) {
            take_rows(p, s, acts, labels, ex, &b, idx, n, again);
            if (progress) progress(ctx, (size_t)again * acts->n + row);
        }
        if (!isfinite(p->part[SAE_ALL_ROWS].error_sq))
            code = tn_fail(e, TN_ENUM, "the reconstruction of a row is not finite");
    }
    free(b.memory);
    return code;
}
