/* Training the vanilla sparse autoencoder.
 *
 *     loss = mean_b [ sum_d (x̂ - x)^2 + l1(t) * sum_i z_i * w_i ]      mean over the batch's rows
 *     w_i = |W_dec[i]| (SAELens), or 1 with a unit-norm decoder (dictionary_learning; the experiment)
 *
 * Adam without weight decay. With unit_norm_decoder the gradient's component along each decoder row is
 * removed before the step and the rows are scaled back to length 1 after it (Bricken et al. 2023, "Towards
 * Monosemanticity"). Results are the same bytes for any number of threads.
 */
#ifndef SAE_TRAIN_H
#define SAE_TRAIN_H

#include "sae/sae.h"
#include "tensor/rng.h"

typedef struct {
    int batch; /* rows per step */
    float lr, beta1, beta2, adam_eps;
    float l1;              /* coefficient after warm-up */
    int l1_warmup_steps;   /* l1(t) = l1 * min(t / warmup, 1), t from 0 */
    int lr_warmup_steps;   /* lr(t) = lr * min((t+1) / warmup, 1) */
    int lr_decay_steps;    /* last steps: linearly to 0 */
    int total_steps;       /* needed for the decay; 0 = no decay */
    float clip;            /* global L2 norm of the gradient; 0 = none */
    int unit_norm_decoder; /* 1: |W_dec[i]| = 1 and plain L1; 0: L1 weighted by |W_dec[i]| */
    float init_norm;       /* length of the encoder and decoder rows at the start */
    int dead_window;       /* steps without firing after which a latent counts as dead */
    uint64_t seed;
} sae_train_opts;

sae_train_opts sae_train_defaults(void);
int sae_train_check(const sae_train_opts *o, tn_err *e);

/* What one step (or an evaluation) measured. Sums in double. */
typedef struct {
    double mse;  /* mean_b sum_d (x̂-x)^2 */
    double l1;   /* mean_b sum_i z_i w_i, without the coefficient */
    double l0;   /* mean_b #{z_i > 0} */
    double loss; /* mse + l1(t) * l1 */
    double fve;  /* 1 - mse / mean_b |x - mean x|^2 over the same rows */
    int dead;    /* latents silent for dead_window steps */
} sae_metrics;

typedef struct sae_trainer sae_trainer;

/* A trainer around `model`, whose parameters it changes (it must outlive the trainer). All memory is taken
 * here; sae_train_step allocates nothing. */
int sae_trainer_new(sae_trainer **out, sae_model *model, const sae_train_opts *o, tn_exec ex, tn_err *e);
void sae_trainer_free(sae_trainer *t);

/* Random start: W_dec[i] drawn from U(-1, 1) and scaled to length init_norm, W_enc = W_dec (as SAELens: a
 * copy, not tied), biases 0. With unit_norm_decoder the rows of W_dec then get length 1; W_enc keeps its. */
void sae_init_params(sae_model *model, const sae_train_opts *o);

/* One optimiser step on x [n, D], n <= batch. A non-finite loss returns TN_ENUM with the parameters
 * untouched. */
int sae_train_step(sae_trainer *t, const float *x, int n, sae_metrics *m, tn_err *e);
/* Loss on x [n, D], n <= batch, at the current coefficient, changing nothing. */
int sae_train_eval(sae_trainer *t, const float *x, int n, sae_metrics *m, tn_err *e);

int sae_trainer_steps(const sae_trainer *t); /* steps taken */
/* [F] on how many rows of the latest batch (step or evaluation) each latent fired. */
const uint32_t *sae_trainer_fired(const sae_trainer *t);
/* The schedules: learning rate and L1 coefficient of step t = 0, 1, … */
double sae_lr_at(const sae_train_opts *o, int step);
double sae_l1_at(const sae_train_opts *o, int step);

/* Training state as one safetensors file: parameters, Adam moments, counters, steps; the options go into the
 * metadata, with the caller's own pairs after them. Loading continues bit for bit; it refuses a file of
 * another shape or made with other options (TN_EARG names the first that differs). */
int sae_trainer_save(const sae_trainer *t, const char *path, const tn_pair *extra, size_t n_extra, tn_err *e);
int sae_trainer_load(sae_trainer *t, const char *path, tn_err *e);

#endif
