/* The SAE inside the forward pass: hooks that capture rows and hooks that change them. With sae/effect, which
 * runs the model, the only library file of sae/ that sees qwen.
 *
 * Every hook works on buffers its _init took from the caller's block; none allocates. Row i of a tap is
 * changed from row i alone and every sum has a fixed order, so results depend neither on the number of
 * threads nor on how the positions were cut into chunks.
 */
#ifndef SAE_ATTACH_H
#define SAE_ATTACH_H

#include "qwen/qwen.h"
#include "sae/acts.h"
#include "sae/edit.h"

typedef enum { SAE_POS_ALL, SAE_POS_PROMPT, SAE_POS_GENERATED } sae_positions;
/* "all", "prompt", "generated"; 1 when known. */
int sae_positions_parse(const char *s, sae_positions *out);
const char *sae_positions_name(sae_positions p);

/* Capture: copies the selected rows of each sequence's document; sae_capture_take then moves them to a
 * builder, outside the forward pass. */
typedef struct {
    sae_positions positions;
    int skip_first; /* 1: not position 0 of a sequence, where Qwen's residual stream is far from any other; 0
                       after init */
    int d;
    int sequences;         /* of the state */
    int max_rows;          /* rows a document may have: the state's context */
    int *n;                /* [sequences] rows held */
    float *rows;           /* [sequences, max_rows, d] */
    int32_t *tokens, *pos; /* [sequences, max_rows] */
} sae_capture;
size_t sae_capture_bytes(int d, int sequences, int max_rows);
int sae_capture_init(sae_capture *c, sae_positions positions, int d, int sequences, int max_rows, void *mem,
                     size_t cap, tn_err *e);
/* TN_ENOMEM when more than max_rows rows come between two takes. */
int sae_capture_hook(void *ctx, const qwen_tap *tap);
/* Appends the rows held of a sequence to `out` as document `doc` and starts it anew. TN_ENUM when a row is
 * not finite. */
int sae_capture_take(sae_capture *c, int seq, sae_acts_builder *out, int32_t doc, tn_err *e);

/* Steering with an SAE at the selected positions:
 *   keep_error = 0:  h <- decode(edit(encode(h)))
 *   keep_error = 1:  h <- h + sum_i (z'_i - z_i) W_dec[i]   (the SAE's error term stays; an edit that
 *                    changes nothing leaves h untouched, bit for bit)
 * edits NULL or empty with keep_error 0 is "SAE only". */
typedef struct {
    const sae_model *sae;
    const sae_edits *edits; /* may be NULL */
    int layer;              /* the layer it is attached to: statements with "@LAYER" ask for it */
    sae_positions positions;
    int keep_error;
    int max_rows;  /* rows the scratch is sized for (the state's chunk); longer taps are cut */
    float *z;      /* [max_rows, F] */
    float *edited; /* [max_rows, F]; NULL without keep_error */
    void *scratch; /* of sae_encode for max_rows */
} sae_steer;
size_t sae_steer_bytes(const sae_model *sae, int keep_error, int max_rows);
/* TN_ESHAPE when the SAE's width is not the model's: "SAE of width 576 does not fit the model's 896"; TN_EARG
 * for an edit of a feature the SAE has not. */
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

/* Ablation: the selected rows become v, or zero. */
typedef struct {
    const float *v; /* [d]; NULL: zeros */
    sae_positions positions;
} sae_replace;
int sae_replace_hook(void *ctx, const qwen_tap *tap);

#endif
