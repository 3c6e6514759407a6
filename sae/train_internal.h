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

#include "sae/train.h"
#include "tensor/arena.h"

#define SAE_GROUP 64 /* latents per piece of work; their encoder rows stay in the second-level cache */
#define SAE_ROWS 64  /* batch rows per piece of work when decoding, for the same reason */

/* Four arrays shaped as the model's parameters: gradients and the two Adam moments. */
typedef struct {
    float *w_enc; /* [F, D] */
    float *w_dec; /* [F, D] */
    float *b_enc; /* [F] */
    float *b_dec; /* [D] */
} sae_params;

struct sae_trainer {
    sae_model *model;
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
    uint32_t *count; /* [F] */
    float *weight;   /* [F] w_i of the penalty: 1, or |W_dec[i]| */

    double *row_se;    /* [B] sum_d (x̂ - x)^2 */
    double *z_sum;     /* [F] sum_b z_i */
    double *grad_sq;   /* [F] squared length of the latent's gradient */
    double *mean;      /* [D] column sums of x */
    float *b_dec_part; /* [ceil(F / SAE_GROUP), D] what the encoder adds to b_dec's gradient */
    float *zero;       /* [D] the gradient of a latent that does not fire */
};

/* train_forward.c: x [n, D] -> the active lists, err = x̂ - x, and the metrics at coefficient l1. */
void sae_train_forward(sae_trainer *t, const float *x, int n, double l1, sae_metrics *m);
/* train_grad.c: gradients of the loss into t->g after a forward; returns their global L2 norm. */
double sae_train_gradient(sae_trainer *t, double l1);
/* train_update.c: one Adam step with the gradient times `scale`. */
void sae_train_update(sae_trainer *t, double lr, float scale);

#endif
