/* The SAE inside the forward pass: hooks that capture rows and hooks that change them. The only library file
 * of sae/ that sees qwen.
 */
#ifndef SAE_ATTACH_H
#define SAE_ATTACH_H

#include "qwen/qwen.h"
#include "sae/acts.h"
#include "sae/edit.h"

typedef enum { SAE_POS_ALL, SAE_POS_PROMPT, SAE_POS_GENERATED } sae_positions;
/* "all", "prompt", "generated"; 1 when known. */
int sae_positions_parse(const char *s, sae_positions *out);

/* Capture: appends the selected rows to a builder. Set `doc` before each document. */
typedef struct {
    sae_acts_builder *out;
    sae_positions positions;
    int32_t doc;
} sae_capture;
int sae_capture_hook(void *ctx, const qwen_tap *tap);

/* Steering with an SAE at the selected positions:
 *   keep_error = 0:  h <- decode(edit(encode(h)))
 *   keep_error = 1:  h <- h + sum_i (z'_i - z_i) W_dec[i]   (the SAE's error term stays; an edit that
 *                    changes nothing leaves h untouched, bit for bit)
 * edits NULL or empty with keep_error 0 is "SAE only". */
typedef struct {
    const sae_model *sae;
    const sae_edits *edits; /* may be NULL */
    int layer;              /* the layer it is attached to */
    sae_positions positions;
    int keep_error;
    int max_rows;   /* rows the scratch is sized for (the state's chunk) */
    float *z;       /* [max_rows, F] */
    float *rows;    /* [max_rows, D] */
    float *xhat;    /* [max_rows, D] */
    float *scratch; /* [max_rows, D] */
} sae_steer;
size_t sae_steer_bytes(const sae_model *sae, int max_rows); /* scratch */
/* TN_ESHAPE when the SAE's width is not the model's: "SAE of width 576 does not fit the model's 896". */
int sae_steer_init(sae_steer *s, const sae_model *sae, const sae_edits *edits, int layer,
                   sae_positions positions, int keep_error, int max_rows, int hidden, void *mem, size_t cap,
                   tn_err *e);
int sae_steer_hook(void *ctx, const qwen_tap *tap);

/* Plain direction steering: h <- h + alpha * v, or with project_out h <- h - alpha * (v·h) v / (v·v). */
typedef struct {
    const float *v; /* [d] */
    float alpha;
    int project_out;
    sae_positions positions;
} sae_direction;
int sae_direction_hook(void *ctx, const qwen_tap *tap);

#endif
