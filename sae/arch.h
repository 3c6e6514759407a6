/* What tells SAE architectures apart once they are trained: their parameters per latent, their settings in
 * cfg.json and how a row of pre-activations becomes latents. One small file each (arch_*.c); everything else
 * in sae/ works for all of them through this table.
 *
 * A new architecture is a file with a `const sae_arch`, a line in arch.c and a name in sae_architecture.
 */
#ifndef SAE_ARCH_H
#define SAE_ARCH_H

#include "sae/sae.h"
#include "tensor/json.h"

enum { SAE_MAX_VECTORS = 3 };

/* A parameter that every latent has one of. */
typedef struct {
    const char *name; /* of the tensor */
    float **data;     /* [F] the field of the model */
    int in_units;     /* 1: a bias or threshold, which scales as the latent's value does; 0: a logarithm */
} sae_vector;

typedef struct {
    const char *name; /* in cfg.json */

    /* The parameters per latent; returns how many. */
    int (*vectors)(sae_model *s, sae_vector out[SAE_MAX_VECTORS]);

    /* The architecture's own settings; all three may be NULL. */
    int (*read)(sae_config *cfg, tn_json root, tn_err *e);
    void (*write)(const sae_config *cfg, tn_json_out *w);
    int (*check)(const sae_config *cfg, tn_err *e);

    /* Turns one row of x' · W_enc + b_enc (without b_enc where the architecture has none) into latents, in
     * place: z [F]. A NaN stays one instead of looking like a silent latent. */
    void (*activate)(const sae_model *s, float *z, void *scratch);
    /* Bytes of scratch for a row, or NULL: none. */
    size_t (*scratch)(const sae_config *cfg);
} sae_arch;

extern const sae_arch sae_arch_standard, sae_arch_topk, sae_arch_jumprelu, sae_arch_gated;

/* The table's entry; NULL for a number that is no architecture. */
const sae_arch *sae_arch_of(sae_architecture a);
/* By its name in cfg.json; 1 when it is known. */
int sae_arch_find(const char *name, sae_architecture *out);

#endif
