/* From rows of activations to latents: sae_encode of sae.h, sae_encode_active of active.h. */
#include "sae/active.h"
#include "sae/arch.h"
#include "sae/screened.h"

#include "tensor/arena.h"
#include "tensor/par.h"

/* Fewer latents than this are not worth waking a thread for. */
enum { ROW_GRAIN = 16384 };

/* The scratch: rows less b_dec, what tn_linear needs, what the architecture needs for a row, and for lists a
 * place for z. */
typedef struct {
    float *centred;     /* [n, D] */
    void *linear;       /* of tn_linear, or of what screens, which does all the rest */
    unsigned char *row; /* [n, row_bytes] */
    size_t row_bytes;
    float *z; /* [n, F], or NULL */
} encode_room;

static encode_room carve(const sae_model *s, size_t n, int lists, tn_arena *a) {
    const sae_arch *arch = sae_arch_of(s->cfg.architecture);
    encode_room r = {.row_bytes = arch->scratch && !s->screened ? arch->scratch(&s->cfg) : 0};
    size_t d = (size_t)s->cfg.d_in, elements = 0, cells = 0,
           bytes = s->screened ? sae_screened_scratch(s, n) : tn_linear_scratch(n, d);
    if (tn_mul_size(n, d, &elements) || tn_mul_size(n, (size_t)s->cfg.d_sae, &cells) || bytes == 0)
        a->failed = 1;
    r.centred = tn_arena_take(a, elements, sizeof *r.centred);
    r.linear = tn_arena_take(a, bytes, 1);
    r.row = tn_arena_take(a, n, r.row_bytes);
    if (lists) r.z = tn_arena_take(a, cells, sizeof *r.z);
    return r;
}

static size_t scratch_bytes(const sae_model *s, int n, int lists) {
    tn_arena a = tn_arena_measure();
    carve(s, (size_t)n, lists, &a);
    return a.failed ? 0 : a.used + TN_ALIGN;
}

size_t sae_encode_scratch(const sae_model *s, int n) {
    return scratch_bytes(s, n, 0);
}

size_t sae_encode_active_scratch(const sae_model *s, int n) {
    return scratch_bytes(s, n, 1);
}

typedef struct {
    const sae_model *s;
    const sae_arch *arch;
    const float *x;        /* [n, D] */
    float *z;              /* [n, F] */
    const sae_active *out; /* or NULL */
    encode_room room;
} encode_job;

static void centre_rows(void *ctx, size_t begin, size_t end) {
    const encode_job *job = ctx;
    size_t d = (size_t)job->s->cfg.d_in;
    for (size_t r = begin; r < end; r++)
        for (size_t k = 0; k < d; k++) job->room.centred[r * d + k] = job->x[r * d + k] - job->s->b_dec[k];
}

static void activate_rows(void *ctx, size_t begin, size_t end) {
    const encode_job *job = ctx;
    size_t f = (size_t)job->s->cfg.d_sae;
    for (size_t r = begin; r < end; r++) {
        float *z = job->z + r * f;
        size_t at = 0;
        job->arch->activate(job->s, z, job->room.row + r * job->room.row_bytes);
        if (job->out)
            job->out->n_of_row[r] =
                (uint32_t)sae_list_some(z, f, &at, job->out->of_row + r * job->out->room, job->out->room);
    }
}

/* The latents of the job's n rows, in z and where there is `out` in lists. */
static void encode(encode_job *job, tn_exec ex, size_t n) {
    const sae_model *s = job->s;
    const float *x = job->x;
    if (s->cfg.apply_b_dec_to_input) {
        tn_parallel_for(n, 1 + ROW_GRAIN / (size_t)s->cfg.d_in, ex.threads, centre_rows, job);
        x = job->room.centred;
    }
    if (s->screened) {
        sae_screened_encode(s, ex, x, n, job->z, job->out, job->room.linear);
        return;
    }
    tn_linear(ex, job->z, x, &s->encoder, s->b_enc, n, job->room.linear);
    tn_parallel_for(n, 1 + ROW_GRAIN / (size_t)s->cfg.d_sae, ex.threads, activate_rows, job);
}

void sae_encode(const sae_model *s, tn_exec ex, const float *x, int n, float *z, void *scratch) {
    tn_arena a = tn_arena_on(scratch, sae_encode_scratch(s, n));
    encode_job job = {
        .s = s, .arch = sae_arch_of(s->cfg.architecture), .x = x, .z = z, .room = carve(s, (size_t)n, 0, &a)};
    encode(&job, ex, (size_t)n);
}

void sae_encode_active(const sae_model *s, tn_exec ex, const float *x, int n, const sae_active *out,
                       void *scratch) {
    tn_arena a = tn_arena_on(scratch, sae_encode_active_scratch(s, n));
    encode_job job = {.s = s,
                      .arch = sae_arch_of(s->cfg.architecture),
                      .x = x,
                      .out = out,
                      .room = carve(s, (size_t)n, 1, &a)};
    job.z = job.room.z;
    encode(&job, ex, (size_t)n);
}
