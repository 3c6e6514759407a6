/* The SAE's parameters and its forward pass, as sae.h describes them.
 *
 *     z = relu(x' · W_enc + b_enc)        x̂ = z · W_dec + b_dec
 */
#include "sae/sae.h"

#include "tensor/arena.h"
#include "tensor/par.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Widths beyond this are refused: nothing real comes near, and products of two stay below 2^62. */
#define MAX_WIDTH (1 << 28)

/* Fewer latents than this are not worth waking a thread for. */
enum { RELU_GRAIN = 16384 };

int sae_new(sae_model *out, const sae_config *cfg, tn_err *e) {
    memset(out, 0, sizeof *out);
    if (cfg->d_in < 1 || cfg->d_in > MAX_WIDTH || cfg->d_sae < 1 || cfg->d_sae > MAX_WIDTH)
        return tn_fail(e, TN_EARG, "SAE of width %d -> %d: both must be between 1 and %d", cfg->d_in,
                       cfg->d_sae, MAX_WIDTH);
    size_t d = (size_t)cfg->d_in, f = (size_t)cfg->d_sae, matrix, total;
    if (tn_mul_size(f, d, &matrix) || tn_mul_size(matrix, 2, &total) || tn_add_size(total, f + d, &total) ||
        total > SIZE_MAX / sizeof(float))
        return tn_fail(e, TN_ENOMEM, "SAE of width %d -> %d is too large", cfg->d_in, cfg->d_sae);
    float *block = calloc(total, sizeof *block);
    if (!block)
        return tn_fail(e, TN_ENOMEM, "no memory for an SAE of width %d -> %d (%zu MB)", cfg->d_in, cfg->d_sae,
                       total * sizeof *block >> 20);
    out->cfg = *cfg;
    out->block = block;
    out->w_enc = block;
    out->w_dec = block + matrix;
    out->b_enc = out->w_dec + matrix;
    out->b_dec = out->b_enc + f;
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

/* The scratch of sae_encode: rows less b_dec, then what tn_linear needs. */
static void carve(const sae_model *s, size_t n, tn_arena *a, float **centred, void **linear) {
    size_t d = (size_t)s->cfg.d_in, elements = 0, bytes = tn_linear_scratch(n, d);
    if (tn_mul_size(n, d, &elements) || bytes == 0) a->failed = 1;
    *centred = tn_arena_take(a, elements, sizeof **centred);
    *linear = tn_arena_take(a, bytes, 1);
}

size_t sae_encode_scratch(const sae_model *s, int n) {
    float *centred;
    void *linear;
    tn_arena a = tn_arena_measure();
    carve(s, (size_t)n, &a, &centred, &linear);
    return a.failed ? 0 : a.used + TN_ALIGN;
}

typedef struct {
    float *z; /* [n] */
} relu_job;

/* Written so that a NaN stays one instead of looking like a silent latent. */
static void relu(void *ctx, size_t begin, size_t end) {
    float *z = ((relu_job *)ctx)->z;
    for (size_t i = begin; i < end; i++) z[i] = z[i] <= 0.0f ? 0.0f : z[i];
}

void sae_encode(const sae_model *s, tn_exec ex, const float *x, int n, float *z, void *scratch) {
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae, rows = (size_t)n;
    float *centred;
    void *linear;
    tn_arena a = tn_arena_on(scratch, sae_encode_scratch(s, n));
    carve(s, rows, &a, &centred, &linear);
    if (s->cfg.apply_b_dec_to_input) {
        for (size_t r = 0; r < rows; r++)
            for (size_t k = 0; k < d; k++) centred[r * d + k] = x[r * d + k] - s->b_dec[k];
        x = centred;
    }
    tn_linear(ex, z, x, &s->encoder, s->b_enc, rows, linear);
    relu_job job = {z};
    tn_parallel_for(rows * f, RELU_GRAIN, ex.threads, relu, &job);
}

typedef struct {
    const sae_model *s;
    const tn_kernels *k;
    const float *z; /* [n, F] */
    float *xhat;    /* [n, D] */
} decode_job;

static void decode_rows(void *ctx, size_t begin, size_t end) {
    const decode_job *job = ctx;
    const sae_model *s = job->s;
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae;
    for (size_t r = begin; r < end; r++) {
        const float *z = job->z + r * f; /* [F] */
        float *xhat = job->xhat + r * d; /* [D] */
        memcpy(xhat, s->b_dec, d * sizeof *xhat);
        for (size_t i = 0; i < f; i++)
            if (z[i] != 0.0f) job->k->axpy(xhat, z[i], s->w_dec + i * d, d);
    }
}

void sae_decode(const sae_model *s, tn_exec ex, const float *z, int n, float *xhat) {
    decode_job job = {.s = s, .k = ex.k, .z = z, .xhat = xhat};
    tn_parallel_for((size_t)n, 1, ex.threads, decode_rows, &job);
}
