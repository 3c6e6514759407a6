/* Sparse autoencoders: the model, its file format, encode and decode.
 *
 *     pre = x' · W_enc + b_enc      x' = x, or x - b_dec when apply_b_dec_to_input
 *     z   = act(pre)                what the architecture is about: sae/arch_*.c
 *     x̂   = z · W_dec + b_dec
 *
 * Letters: D = d_in (width of the residual stream), F = d_sae (latents), n = rows. Row i of w_dec is the
 * direction latent i writes, row i of w_enc the one it reads: both [F, D] here, so that a latent's numbers
 * lie together. SAELens stores W_enc as [D, F]; reading and writing transpose it.
 */
#ifndef SAE_SAE_H
#define SAE_SAE_H

#include "tensor/kernels.h"
#include "tensor/safetensors.h"

/* How latents are switched on. BatchTopK and Matryoshka SAEs are JumpReLU SAEs once they are trained. */
typedef enum { SAE_STANDARD, SAE_TOPK, SAE_JUMPRELU, SAE_GATED } sae_architecture;

typedef struct {
    int d_in, d_sae;
    int apply_b_dec_to_input;
    sae_architecture architecture;
    int k;                            /* TopK: latents that may fire on a row, 1 … d_sae */
    int rescale_acts_by_decoder_norm; /* TopK: rows of W_dec have length 1 (see sae_open_dir) */
    char trained_as[24];              /* "batchtopk" …; "" = as the architecture's name */
    char model_name[128];
    char hook_name[64]; /* "blocks.15.hook_resid_post" */
    int context_size;   /* of the captured texts, for SAELens' own evaluations */
    int prepend_bos;    /* 1: they began with a token that is not the text's */
} sae_config;

/* The architecture's parameters are arrays of its own; those of the others are NULL. */
typedef struct {
    sae_config cfg;
    float *w_enc;     /* [F, D] */
    float *w_dec;     /* [F, D] */
    float *b_dec;     /* [D] */
    float *b_enc;     /* [F] all but Gated */
    float *threshold; /* [F] JumpReLU */
    float *b_gate;    /* [F] Gated */
    float *b_mag;     /* [F] Gated */
    float *r_mag;     /* [F] Gated */
    float *block;     /* all of them, one behind the other from the start of a line of cache, … */
    void *memory;     /* … in the one allocation */
    tn_mat encoder;   /* [F, D] what sae_encode reads: w_enc, or a smaller copy of it (sae/round.h) */
    void *rounded;    /* that copy, owned; else NULL */
    const struct sae_screened *screened; /* within `rounded`: sae_encode screens (sae/screened.h); or NULL */
} sae_model;

/* Zeroed parameters of the given shape. TN_EARG for widths of 0 or below, an unknown architecture, k outside
 * 1 … d_sae. */
int sae_new(sae_model *out, const sae_config *cfg, tn_err *e);
void sae_free(sae_model *s);

/* The architecture's name in cfg.json: "standard", "topk", "jumprelu", "gated". */
const char *sae_architecture_name(sae_architecture a);

/* SAELens directory (cfg.json, sae_weights.safetensors), F32, F16, BF16 or F64 weights. In a TopK SAE with
 * rescale_acts_by_decoder_norm latents are ranked by their pre-activation times the length of their decoder
 * row: these lengths are moved into the encoder here, so that z and W_dec mean the same in every SAE. */
int sae_open_dir(sae_model *out, const char *dir, tn_err *e);
/* Writes one SAELens reads with SAE.load_from_disk, creating dir. extra_metadata (JSON text of an object, or
 * NULL) goes under metadata.scalpel_training. */
int sae_save_dir(const sae_model *s, const char *dir, const char *extra_metadata, tn_err *e);

/* Multiplies latent i by the length of its row of W_dec, which becomes 1: x̂ stays. A row of zeros stays.
 * Call before sae_round_encoder. */
void sae_fold_decoder_norm(sae_model *s);

/* Layer of cfg.hook_name; -1 when it names none. */
int sae_layer(const sae_model *s);

/* Bytes of scratch that sae_encode needs for n rows; 0 on overflow. */
size_t sae_encode_scratch(const sae_model *s, int n);
/* z [n, F] from x [n, D]. */
void sae_encode(const sae_model *s, tn_exec ex, const float *x, int n, float *z, void *scratch);
/* xhat [n, D] from z [n, F]; skips zeros. Each row's sum runs over latents in ascending order. */
void sae_decode(const sae_model *s, tn_exec ex, const float *z, int n, float *xhat);

#endif
