/* The SAE's parameters, as sae.h describes them. */
#include "sae/arch.h"

#include "tensor/arena.h"
#include "tensor/os.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Widths beyond this are refused: nothing real comes near, and products of two stay below 2^62. */
#define MAX_WIDTH (1 << 28)

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
    size_t d = (size_t)cfg->d_in, f = (size_t)cfg->d_sae, matrix = 0, total = 0, bytes;
    tn_arena arena = tn_arena_measure();
    if (tn_mul_size(f, d, &matrix) || tn_mul_size(matrix, 2, &total) ||
        tn_add_size(total, (size_t)n_vectors * f + d, &total))
        arena.failed = 1;
    tn_arena_take(&arena, total, sizeof *out->block);
    if (arena.failed || tn_add_size(arena.used, TN_ALIGN, &bytes))
        return tn_fail(e, TN_ENOMEM, "SAE of width %d -> %d is too large", cfg->d_in, cfg->d_sae);
    out->memory = calloc(bytes, 1);
    if (!out->memory)
        return tn_fail(e, TN_ENOMEM, "no memory for an SAE of width %d -> %d (%zu MB)", cfg->d_in, cfg->d_sae,
                       bytes >> 20);
    tn_large_pages(out->memory, bytes);
    arena = tn_arena_on(out->memory, bytes);
    float *block = tn_arena_take(&arena, total, sizeof *block);
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
    free(s->memory);
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
