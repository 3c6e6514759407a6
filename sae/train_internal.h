/* The trainer's memory, shared by the files train*.c and looked into by the tests.
 *
 * B = rows of the batch (opts.batch at most), D = d_in, F = d_sae.
 *
 * Everything after the encoder's product works on active latents only: latent i of the batch is a list of
 * the rows it fires on, in ascending order, with its values. The lists lie latent by latent, so each latent's
 * gradient is a sum over its own list in a fixed order: latents are shared out between threads without
 * changing one bit. Latents are handled in groups of SAE_GROUP, the smallest piece of work.
 *
 * There is no second, dense form of the passes behind the encoder: it would be faster only while more than
 * about a fifth of the latents fire, and a run that starts with few of them firing (fit.h) stays below that.
 */
#ifndef SAE_TRAIN_INTERNAL_H
#define SAE_TRAIN_INTERNAL_H

#include "sae/arch.h"
#include "sae/topk.h"
#include "sae/train.h"
#include "tensor/arena.h"

#define SAE_GROUP 64 /* latents per piece of work; their encoder rows stay in the second-level cache */
#define SAE_ROWS 64  /* batch rows per piece of work when decoding, for the same reason */

#define SAE_DIGITS 2048 /* values of the digits that BatchTopK counts */

/* Arrays shaped as the model's parameters: gradients and the two Adam moments. */
typedef struct {
    float *w_enc;                   /* [F, D] */
    float *w_dec;                   /* [F, D] */
    float *vector[SAE_MAX_VECTORS]; /* [F] each, as sae_arch.vectors lists them; NULL beyond the last */
    float *b_dec;                   /* [D] */
} sae_params;

/* The gradient of one latent, as sae_train_arch.gradient makes it. */
typedef struct {
    const float *w;           /* [D] W_dec[i] */
    const float *xin;         /* [n, D] what the encoder sees */
    float *dw_enc, *dw_dec;   /* [D] zeros at first */
    float lambda_n;           /* lambda / n */
    float dpre;               /* sum over rows of the gradient by the encoder's product */
    float dnorm;              /* gradient of |W_dec[i]| */
    float d[SAE_MAX_VECTORS]; /* of the latent's vectors */
} sae_latent_grad;

/* What tells architectures apart in training: train_ARCH.c, one table each. */
typedef struct {
    const char *name;
    const char *trained_as; /* its name in SAELens' metadata */
    sae_architecture model; /* what it is once trained */
    /* Turns row i of the encoder's product, z [n], into the latent's list, in place: z, rows, count, fired,
     * z_sum. A NaN is listed, which carries it into the loss. */
    void (*list)(sae_trainer *t, size_t i);
    /* After all lists are made: takes entries off them (or NULL). */
    void (*select)(sae_trainer *t);
    /* After x̂: the auxiliary loss; fills aux_err with its gradient by the reconstruction (or NULL). */
    double (*auxiliary)(sae_trainer *t);
    double (*penalty)(const sae_trainer *t);
    void (*gradient)(const sae_trainer *t, size_t i, sae_latent_grad *g);
    /* Adds to g [D] what moves b_dec as the start of a reconstruction; NULL: the sum of err. */
    void (*b_dec)(const sae_trainer *t, float *g);
    int auxk;       /* 1: AuxK is part of the auxiliary loss and has to know which latents are dead */
    int batch_wide; /* 1: latents are selected over the whole batch, with a threshold in the end */
    void (*after_step)(sae_trainer *t); /* state that is no parameter (or NULL) */
    void (*finish)(sae_trainer *t);     /* sae_train_finish (or NULL) */
} sae_train_arch;

extern const sae_train_arch sae_train_relu, sae_train_topk, sae_train_batchtopk, sae_train_jumprelu,
    sae_train_gated, sae_train_matryoshka;
const sae_train_arch *sae_train_arch_of(sae_train_kind kind);

struct sae_trainer {
    const sae_train_arch *arch;
    sae_model *model;
    sae_vector vectors[SAE_MAX_VECTORS]; /* the model's */
    int n_vectors;
    sae_train_opts opts;
    tn_exec ex;
    int steps; /* taken so far */
    void *memory;

    sae_params g, m, v; /* gradient, first and second moment */
    int32_t *silent;    /* [F] steps since the latent last fired */

    /* The batch at hand. */
    int n;           /* its rows */
    const float *x;  /* [n, D], the caller's */
    float *xin;      /* [B, D] x - b_dec (when apply_b_dec_to_input) */
    float *err;      /* [B, D] x̂, then G = 2/n (x̂ - x) */
    float *z;        /* [F, B] the first count[i] of row i: values of latent i where it fires */
    uint32_t *rows;  /* [F, B] … and on which rows, ascending */
    uint32_t *count; /* [F] length of the lists; JumpReLU lists what comes close to its threshold too */
    uint32_t *fired; /* [F] rows with z_i > 0 */
    float *weight;   /* [F] w_i: 1, or |W_dec[i]| */
    int evaluating;  /* 1 within sae_train_eval */

    double *row_se;    /* [B] sum_d (x̂ - x)^2 */
    double *z_sum;     /* [F] sum_b z_i */
    double *grad_sq;   /* [F] squared length of the latent's gradient */
    double *mean;      /* [D] column sums of x */
    float *b_dec_part; /* [ceil(F / SAE_GROUP), D] what the encoder adds to b_dec's gradient */
    float *zero;       /* [D] the gradient of a latent that does not fire */

    /* TopK: the heaps of select. BatchTopK and Matryoshka: histograms, threshold. */
    sae_pick *heap;   /* [B, k] */
    sae_pick *worst;  /* [B] the least latent kept on a row */
    size_t *digits;   /* [threads, SAE_DIGITS] how many values have this digit */
    double threshold; /* moving average of the least value kept, from 0 */
    float least;      /* … on the batch at hand */

    /* AuxK (TopK, BatchTopK, Matryoshka): the latents that are dead, reconstructing the error. */
    int n_dead;       /* 0: no auxiliary loss */
    int32_t *dead;    /* [n_dead] ascending */
    int32_t *dead_at; /* [F] place in `dead`, or -1 */
    float *dead_pre;  /* [n_dead, B] their pre-activations; room for F, of which pages unused cost nothing */
    sae_pick *dead_heap; /* [B, D/2] index = place in `dead` */
    float *aux_err;      /* [B, D] gradient of the auxiliary loss by its reconstruction */
    double *aux_se;      /* [B] its squared error */

    float
        *level_err; /* [opts.n_widths - 1, B, D] Matryoshka: gradient by reconstruction l and those beyond */

    float *gate;    /* [F, B] Gated: the encoder's product of a list's entries */
    double *row_l0; /* [B] JumpReLU: latents that fire on a row */
};

/* Entries a … of latent i's list with rows in [b0, b1): calls for every row block go through here. */
static inline uint32_t sae_train_first(const sae_trainer *t, size_t i, size_t row) {
    const uint32_t *rows = t->rows + i * (size_t)t->opts.batch;
    uint32_t lo = 0, count = t->count[i];
    while (count > 0) {
        uint32_t half = count / 2;
        if (rows[lo + half] < row) {
            lo += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return lo;
}

/* Has latent i a gradient on this batch? Its rows of t->g are written only then. */
static inline int sae_train_touched(const sae_trainer *t, size_t i) {
    return t->count[i] > 0 || (t->n_dead > 0 && t->dead_at[i] >= 0);
}

/* train_forward.c: x [n, D] -> the active lists, err = x̂ - x, and the metrics at coefficient l1. */
void sae_train_forward(sae_trainer *t, const float *x, int n, double l1, sae_metrics *m);
/* train_forward.c: adds what latent i decodes to on rows b0 … b1-1 to out [n, D], and 1 to l0 [n] (or NULL)
 * on those where it fires. */
void sae_train_decode_latent(const sae_trainer *t, size_t i, size_t b0, size_t b1, float *out, double *l0);
/* train_relu.c: the list of positive pre-activations, sae_train_arch.list of several architectures. */
void sae_train_list_positive(sae_trainer *t, size_t i);
/* train_relu.c: mean_b sum_i w_i z_sum_i */
double sae_train_l1(const sae_trainer *t);
/* train_auxk.c: which latents are dead (before the encoder), the auxiliary loss, a dead latent's gradient. */
void sae_auxk_start(sae_trainer *t);
double sae_auxk_loss(sae_trainer *t);
void sae_auxk_gradient(const sae_trainer *t, size_t i, sae_latent_grad *g);
/* train_topk.c: what BatchTopK shares. The gradient with err [n, D] as G; unit_rows moves the lengths of
 * decoder rows into the encoder. */
void sae_train_topk_list(sae_trainer *t, size_t i);
void sae_train_topk_gradient(const sae_trainer *t, size_t i, const float *err, sae_latent_grad *g);
double sae_train_no_penalty(const sae_trainer *t);
void sae_train_unit_rows(sae_trainer *t);
/* train_batchtopk.c: the threshold that the finished SAE has; what Matryoshka shares. */
double sae_batchtopk_threshold(const sae_trainer *t);
void sae_batchtopk_select(sae_trainer *t);
void sae_batchtopk_after_step(sae_trainer *t);
void sae_batchtopk_finish(sae_trainer *t);
/* train_grad.c: gradients of the loss into t->g after a forward; returns their global L2 norm. */
double sae_train_gradient(sae_trainer *t, double l1);
/* … g [D] += the sum of rows [n, D], in order. */
void sae_train_add_rows(const sae_trainer *t, const float *rows, float *g);
/* train_update.c: one Adam step with the gradient times `scale`. */
void sae_train_update(sae_trainer *t, double lr, float scale);

#endif
