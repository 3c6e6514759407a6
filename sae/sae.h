/* Sparse autoencoders: the model, its file format, encode and decode.
 *
 *     z = relu(x' · W_enc + b_enc)        x' = x, or x - b_dec when apply_b_dec_to_input
 *     x̂ = z · W_dec + b_dec
 *
 * Letters: D = d_in (width of the residual stream), F = d_sae (latents), n = rows. Row i of w_dec is the
 * direction latent i writes, row i of w_enc the one it reads: both [F, D] here, so that a latent's numbers
 * lie together. SAELens stores W_enc as [D, F]; reading and writing transpose it.
 */
#ifndef SAE_SAE_H
#define SAE_SAE_H

#include "tensor/kernels.h"
#include "tensor/safetensors.h"

typedef struct {
    int d_in, d_sae;
    int apply_b_dec_to_input;
    char architecture[24]; /* "standard" */
    char model_name[128];
    char hook_name[64]; /* "blocks.15.hook_resid_post" */
    int context_size;   /* of the captured texts, for SAELens' own evaluations */
} sae_config;

typedef struct {
    sae_config cfg;
    float *w_enc;   /* [F, D] */
    float *b_enc;   /* [F] */
    float *w_dec;   /* [F, D] */
    float *b_dec;   /* [D] */
    float *block;   /* the one allocation behind the four */
    tn_mat encoder; /* [F, D] what sae_encode reads: w_enc, or a smaller copy of it (sae/round.h) */
    void *rounded;  /* that copy, owned; else NULL */
} sae_model;

/* Zeroed parameters of the given shape. TN_EARG for widths of 0 or below. */
int sae_new(sae_model *out, const sae_config *cfg, tn_err *e);
void sae_free(sae_model *s);

/* SAELens directory (cfg.json, sae_weights.safetensors), F32, F16, BF16 or F64 weights. */
int sae_open_dir(sae_model *out, const char *dir, tn_err *e);
/* Writes one SAELens reads with SAE.load_from_disk, creating dir. extra_metadata (JSON text of an object, or
 * NULL) goes under metadata.scalpel_training. */
int sae_save_dir(const sae_model *s, const char *dir, const char *extra_metadata, tn_err *e);

/* Layer of cfg.hook_name; -1 when it names none. */
int sae_layer(const sae_model *s);

/* Bytes of scratch that sae_encode needs for n rows; 0 on overflow. */
size_t sae_encode_scratch(const sae_model *s, int n);
/* z [n, F] from x [n, D]. */
void sae_encode(const sae_model *s, tn_exec ex, const float *x, int n, float *z, void *scratch);
/* xhat [n, D] from z [n, F]; skips zeros. Each row's sum runs over latents in ascending order. */
void sae_decode(const sae_model *s, tn_exec ex, const float *z, int n, float *xhat);

#endif
