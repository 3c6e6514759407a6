/* Rounded copies of the encoder (round.h). */
#include "sae/round.h"

#include "sae/screened.h"

#include "tensor/arena.h"
#include "tensor/par.h"
#include "tensor/quantize.h"

#include <stdlib.h>
#include <string.h>

enum { GROUP = TN_Q_PAD /* columns that share a scale: the finest there is */ };

/* [F, D] as BF16 */
static int to_bf16(sae_model *s, tn_err *e) {
    const size_t n = (size_t)s->cfg.d_sae * (size_t)s->cfg.d_in;
    s->rounded = malloc(n * tn_dtype_size(TN_BF16));
    if (!s->rounded) return tn_fail(e, TN_ENOMEM, "no memory for the encoder in BF16");
    s->encoder.data = s->rounded;
    s->encoder.dtype = TN_BF16;
    return tn_from_f32(s->rounded, TN_BF16, s->w_enc, n);
}

typedef struct {
    const sae_model *s;
    size_t kpad, groups;
    unsigned char *data;   /* [blocks, kpad/4, 64] */
    unsigned char *scales; /* [blocks, groups, 16] BF16 */
    float *padded;         /* [blocks, kpad] scratch */
    int8_t *w;             /* [blocks, kpad] scratch */
} q8_job;

static void carve(q8_job *j, size_t blocks, tn_arena *a) {
    j->data = tn_arena_take(a, blocks * TN_Q_ROWS, j->kpad);
    j->scales = tn_arena_take(a, blocks * TN_Q_ROWS, j->groups * tn_dtype_size(TN_BF16));
    j->padded = tn_arena_take(a, blocks * j->kpad, sizeof *j->padded);
    j->w = tn_arena_take(a, blocks * j->kpad, sizeof *j->w);
}

static void some_blocks(void *ctx, size_t begin, size_t end) {
    const q8_job *j = ctx;
    const size_t d = (size_t)j->s->cfg.d_in, f = (size_t)j->s->cfg.d_sae;
    for (size_t b = begin; b < end; b++) {
        const size_t row = b * TN_Q_ROWS, rows = f - row < TN_Q_ROWS ? f - row : TN_Q_ROWS;
        tn_quantize_block(j->data + row * j->kpad, NULL, j->scales + row * j->groups * tn_dtype_size(TN_BF16),
                          j->s->w_enc + row * d, rows, d, 8, GROUP, j->padded + b * j->kpad,
                          j->w + b * j->kpad);
    }
}

static int to_q8(sae_model *s, int threads, tn_err *e) {
    const size_t blocks = ((size_t)s->cfg.d_sae + TN_Q_ROWS - 1) / TN_Q_ROWS;
    q8_job j = {.s = s, .kpad = tn_q_pad((size_t)s->cfg.d_in)};
    j.groups = tn_q_groups(j.kpad, GROUP);
    tn_arena a = tn_arena_measure();
    carve(&j, blocks, &a);
    const size_t bytes = a.used + TN_ALIGN;
    if (!a.failed) s->rounded = malloc(bytes);
    if (!s->rounded) return tn_fail(e, TN_ENOMEM, "no memory for the encoder in 8 bits");
    a = tn_arena_on(s->rounded, bytes);
    carve(&j, blocks, &a);
    tn_parallel_for(blocks, 1, threads, some_blocks, &j);
    s->encoder = (tn_mat){.data = j.data,
                          .dtype = TN_U8,
                          .rows = (size_t)s->cfg.d_sae,
                          .cols = (size_t)s->cfg.d_in,
                          .bits = 8,
                          .group = GROUP,
                          .scales = j.scales};
    return TN_OK;
}

int sae_round_encoder(sae_model *s, const char *type, int threads, tn_err *e) {
    if (strcmp(type, "f32") == 0) return TN_OK;
    if (strcmp(type, "bf16") == 0) return to_bf16(s, e);
    if (strcmp(type, "q8") == 0) return to_q8(s, threads, e);
    if (strcmp(type, "screen") == 0) return sae_screen_encoder(s, threads, e);
    return tn_fail(e, TN_EARG, "the encoder can be f32, screen, bf16 or q8, not \"%s\"", type);
}
