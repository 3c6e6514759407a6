/* The SAE's parameters and its forward pass, as sae.h describes them. */
#include "sae/arch.h"
#include "sae/screened.h"

#include "tensor/arena.h"
#include "tensor/os.h"
#include "tensor/par.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Widths beyond this are refused: nothing real comes near, and products of two stay below 2^62. */
#define MAX_WIDTH (1 << 28)

/* Fewer latents than this are not worth waking a thread for. */
enum { ROW_GRAIN = 16384 };

int sae_new(sae_model *out, const sae_config *cfg, tn_err *e) {
    memset(out, 0, sizeof *out);
    if (cfg->d_in < 1 || cfg->d_in > MAX_WIDTH || cfg->d_sae < 1 || cfg->d_sae > MAX_WIDTH)
        return tn_fail(e, TN_EARG, "SAE of width %d -> %d: both must be between 1 and %d", cfg->d_in,
                       cfg->d_sae, MAX_WIDTH);
    const sae_arch *arch = sae_arch_of(cfg->architecture);
    if (!arch) return tn_fail(e, TN_EARG, "there is no architecture %d", (int)cfg->architecture);
    int rc = arch->check ? arch->check(cfg, e) : TN_OK;
    if (rc) return rc;
    sae_vector vectors[SAE_MAX_VECTORS];
    int n_vectors = arch->vectors(out, vectors);
    size_t d = (size_t)cfg->d_in, f = (size_t)cfg->d_sae, matrix, total;
    if (tn_mul_size(f, d, &matrix) || tn_mul_size(matrix, 2, &total) ||
        tn_add_size(total, (size_t)n_vectors * f + d, &total) || total > SIZE_MAX / sizeof(float))
        return tn_fail(e, TN_ENOMEM, "SAE of width %d -> %d is too large", cfg->d_in, cfg->d_sae);
    float *block = calloc(total, sizeof *block);
    if (!block)
        return tn_fail(e, TN_ENOMEM, "no memory for an SAE of width %d -> %d (%zu MB)", cfg->d_in, cfg->d_sae,
                       total * sizeof *block >> 20);
    tn_large_pages(block, total * sizeof *block);
    out->cfg = *cfg;
    out->block = block;
    out->w_enc = block;
    out->w_dec = block + matrix;
    for (int i = 0; i < n_vectors; i++) *vectors[i].data = out->w_dec + matrix + (size_t)i * f;
    out->b_dec = out->w_dec + matrix + (size_t)n_vectors * f;
    out->encoder = (tn_mat){.data = out->w_enc, .dtype = TN_F32, .rows = f, .cols = d};
    return TN_OK;
}

void sae_free(sae_model *s) {
    free(s->block);
    free(s->rounded);
    memset(s, 0, sizeof *s);
}

int sae_layer(const sae_model *s) {
    int layer;
    if (sscanf(s->cfg.hook_name, "blocks.%9d.", &layer) != 1 || layer < 0) return -1;
    return layer;
}

void sae_fold_decoder_norm(sae_model *s) {
    size_t d = (size_t)s->cfg.d_in;
    sae_vector vectors[SAE_MAX_VECTORS];
    int n_vectors = sae_arch_of(s->cfg.architecture)->vectors(s, vectors);
    for (size_t i = 0; i < (size_t)s->cfg.d_sae; i++) {
        float *enc = s->w_enc + i * d, *dec = s->w_dec + i * d; /* [D] */
        double squares = 0;
        for (size_t k = 0; k < d; k++) squares += (double)dec[k] * (double)dec[k];
        if (squares == 0) continue;
        float norm = (float)sqrt(squares);
        for (size_t k = 0; k < d; k++) {
            enc[k] *= norm;
            dec[k] /= norm;
        }
        for (int v = 0; v < n_vectors; v++)
            if (vectors[v].in_units) (*vectors[v].data)[i] *= norm;
    }
}

/* ---- encode ---- */

/* The scratch of sae_encode: rows less b_dec, what tn_linear needs, what the architecture needs for a row. */
typedef struct {
    float *centred;     /* [n, D] */
    void *linear;       /* of tn_linear, or of sae_screened_encode, which does all the rest */
    unsigned char *row; /* [n, row_bytes] */
    size_t row_bytes;
} encode_room;

static encode_room carve(const sae_model *s, size_t n, tn_arena *a) {
    const sae_arch *arch = sae_arch_of(s->cfg.architecture);
    encode_room r = {.row_bytes = arch->scratch && !s->screened ? arch->scratch(&s->cfg) : 0};
    size_t d = (size_t)s->cfg.d_in, elements = 0,
           bytes = s->screened ? sae_screened_scratch(s, n) : tn_linear_scratch(n, d);
    if (tn_mul_size(n, d, &elements) || bytes == 0) a->failed = 1;
    r.centred = tn_arena_take(a, elements, sizeof *r.centred);
    r.linear = tn_arena_take(a, bytes, 1);
    r.row = tn_arena_take(a, n, r.row_bytes);
    return r;
}

size_t sae_encode_scratch(const sae_model *s, int n) {
    tn_arena a = tn_arena_measure();
    carve(s, (size_t)n, &a);
    return a.failed ? 0 : a.used + TN_ALIGN;
}

typedef struct {
    const sae_model *s;
    const sae_arch *arch;
    float *z; /* [n, F] */
    encode_room room;
} activate_job;

static void activate_rows(void *ctx, size_t begin, size_t end) {
    const activate_job *job = ctx;
    for (size_t r = begin; r < end; r++)
        job->arch->activate(job->s, job->z + r * (size_t)job->s->cfg.d_sae,
                            job->room.row + r * job->room.row_bytes);
}

void sae_encode(const sae_model *s, tn_exec ex, const float *x, int n, float *z, void *scratch) {
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae, rows = (size_t)n;
    tn_arena a = tn_arena_on(scratch, sae_encode_scratch(s, n));
    activate_job job = {s, sae_arch_of(s->cfg.architecture), z, carve(s, rows, &a)};
    if (s->cfg.apply_b_dec_to_input) {
        float *centred = job.room.centred;
        for (size_t r = 0; r < rows; r++)
            for (size_t k = 0; k < d; k++) centred[r * d + k] = x[r * d + k] - s->b_dec[k];
        x = centred;
    }
    if (s->screened) {
        sae_screened_encode(s, ex, x, rows, z, job.room.linear);
        return;
    }
    tn_linear(ex, z, x, &s->encoder, s->b_enc, rows, job.room.linear);
    tn_parallel_for(rows, 1 + ROW_GRAIN / f, ex.threads, activate_rows, &job);
}

/* ---- decode ---- */

typedef struct {
    const sae_model *s;
    const tn_kernels *k;
    const float *z; /* [n, F] */
    float *xhat;    /* [n, D] */
} decode_job;

enum { RUN = 16 /* latents that are skipped at once where all are silent */ };

static int all_silent(const float *z) { /* [RUN] */
    uint64_t two[RUN / 2], any = 0;
    memcpy(two, z, sizeof two);
    for (int j = 0; j < RUN / 2; j++) any |= two[j];
    return any == 0;
}

static void decode_rows(void *ctx, size_t begin, size_t end) {
    const decode_job *job = ctx;
    const sae_model *s = job->s;
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae;
    for (size_t r = begin; r < end; r++) {
        const float *z = job->z + r * f; /* [F] */
        float *xhat = job->xhat + r * d; /* [D] */
        memcpy(xhat, s->b_dec, d * sizeof *xhat);
        for (size_t i0 = 0; i0 < f; i0 += RUN) {
            if (i0 + RUN <= f && all_silent(z + i0)) continue;
            for (size_t i = i0; i < f && i < i0 + RUN; i++)
                if (z[i] != 0.0f) job->k->axpy(xhat, z[i], s->w_dec + i * d, d);
        }
    }
}

void sae_decode(const sae_model *s, tn_exec ex, const float *z, int n, float *xhat) {
    decode_job job = {.s = s, .k = ex.k, .z = z, .xhat = xhat};
    tn_parallel_for((size_t)n, 1, ex.threads, decode_rows, &job);
}
