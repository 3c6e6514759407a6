/* Training sparse autoencoders, with the losses of SAELens 6.54 (or of dictionary_learning: sae_convention):
 *
 *     loss = mean_b [ sum_d (x̂ - x)^2 ] + lambda(t) * penalty + aux      mean over the batch's rows
 *
 * penalty and aux are the architecture's: train_relu.c, train_topk.c, train_jumprelu.c, train_gated.c,
 * train_matryoshka.c. Where they weigh a latent it is by w_i = |W_dec[i]|, which is 1 with a unit-norm
 * decoder (dictionary_learning; the experiment).
 *
 * Adam without weight decay. With unit_norm_decoder the gradient's component along each decoder row is
 * removed before the step and the rows are scaled back to length 1 after it (Bricken et al. 2023, "Towards
 * Monosemanticity"). Results are the same bytes for any number of threads.
 */
#ifndef SAE_TRAIN_H
#define SAE_TRAIN_H

#include "sae/sae.h"
#include "tensor/rng.h"

typedef enum {
    SAE_TRAIN_RELU,      /* ReLU with an L1 penalty */
    SAE_TRAIN_TOPK,      /* k latents a row */
    SAE_TRAIN_BATCHTOPK, /* k latents a row on average; becomes a JumpReLU SAE */
    SAE_TRAIN_JUMPRELU,  /* learnt thresholds with a penalty on L0 */
    SAE_TRAIN_GATED,     /* gates and magnitudes, L1 on the gates */
    SAE_TRAIN_MATRYOSHKA /* BatchTopK SAEs of several widths, each the beginning of the next */
} sae_train_kind;

enum { SAE_MAX_WIDTHS = 12 };

/* Integer screening of the encoder (sae/screen.h), which changes the speed and not one bit: where it pays,
 * never, at every step. */
typedef enum { SAE_SCREEN_AUTO, SAE_SCREEN_OFF, SAE_SCREEN_ON } sae_screen_use;

typedef enum { SAE_L0_STEP, SAE_L0_QUADRATIC, SAE_L0_TANH, SAE_L0_MEAN } sae_l0_penalty;

/* Whose losses and schedules: where the libraries differ. As options of a training,
 *
 *                            SAELens 6.54                     dictionary_learning 0.1.0
 *     lr in warm-up          lr (t+1) / warmup                lr t / warmup: the first step changes nothing
 *     AuxK                   signed values, · n_dead / (D/2)  positive ones, divided by the error's variance
 *     dead                   silent for dead_window steps     … for dead_window rows, this batch's too
 *     Gated's auxiliary      teaches the decoder too          does not
 *     Matryoshka's levels    weigh 1                          weigh 1 / levels^2
 *     BatchTopK's threshold  average from 0; here with the    average that begins with the first batch
 *                            start's bias taken out           after threshold_start
 */
typedef enum { SAE_SAELENS, SAE_DICTIONARY_LEARNING } sae_convention;

typedef struct {
    sae_train_kind arch;
    sae_convention convention;
    int batch; /* rows per step */
    float lr, beta1, beta2, adam_eps;
    float l1;              /* lambda, the penalty's coefficient, after warm-up */
    int l1_warmup_steps;   /* lambda(t) = l1 * min(t / warmup, 1), t from 0 */
    int lr_warmup_steps;   /* lr(t) = lr * min((t+1) / warmup, 1) */
    int lr_decay_steps;    /* last steps: linearly to 0 */
    int total_steps;       /* needed for the decay; 0 = no decay */
    float clip;            /* global L2 norm of the gradient; 0 = none */
    int unit_norm_decoder; /* 1: |W_dec[i]| = 1 and plain L1; 0: L1 weighted by |W_dec[i]| */
    float init_norm;       /* length of the encoder and decoder rows at the start */
    int dead_window;       /* steps (or rows, see sae_convention) without firing that make a latent dead */
    int resample; /* steps between renewals of dead latents (train_resample.c), the first of them after
                   * step `resample` (from 0), none while the learning rate decays; lr's warm-up begins
                   * anew with each. 0 = never */
    uint64_t seed;

    /* TopK, BatchTopK and Matryoshka */
    float k;            /* latents a row; but for TopK it may have a fraction */
    float aux;          /* coefficient of AuxK */
    float threshold_lr; /* BatchTopK, Matryoshka: the newest batch's share in the threshold's average */

    /* JumpReLU */
    sae_l0_penalty l0_penalty;
    float target_l0;       /* of the quadratic penalties */
    float bandwidth;       /* width of the window around a threshold that gives it a gradient */
    float init_threshold;  /* at the start */
    float tanh_scale;      /* of the tanh penalty */
    float threshold_speed; /* learning rate of thresholds, in learning rates of the run */
    int ste_to_input;      /* 1: the window gives pre-activations a gradient too */
    float pre_act;         /* coefficient of the loss that lifts dead latents to their thresholds; 0 = none */

    /* Matryoshka: latents of the nested SAEs, ascending (see sae_train_fill_widths). */
    int n_widths;
    int widths[SAE_MAX_WIDTHS];

    int threshold_start; /* BatchTopK, Matryoshka: steps before the threshold's average begins */

    sae_screen_use screen;
} sae_train_opts;

/* "relu", "topk", "batchtopk", "jumprelu", "gated", "matryoshka" ("standard" is relu); 1 when known. */
int sae_train_kind_find(const char *name, sae_train_kind *out);
/* "auto", "off", "on"; 1 when known. */
int sae_screen_use_find(const char *name, sae_screen_use *out);
/* 1: TopK, BatchTopK or Matryoshka, whose decoder rows get length 1 in the end (sae_train_finish). */
int sae_train_ranks(const sae_train_opts *o);
/* The SAE that such a training works on: fills the architecture's fields of cfg. */
void sae_train_config(const sae_train_opts *o, sae_config *cfg);

/* Completes the widths of a Matryoshka SAE: the last is all d_sae latents; where none are given the others
 * are their sixteenth, eighth, quarter and half. */
void sae_train_fill_widths(sae_train_opts *o, int d_sae);

sae_train_opts sae_train_defaults(void);
/* Sets the options that a library has a default for to what it has for o->arch; k, batch, seed and widths
 * stay. What suits the length of the run (warm-up, decay, threshold_start) or the width (lr) is -1. */
void sae_train_follow(sae_train_opts *o, sae_convention convention);
/* dictionary_learning's learning rate for TopK, BatchTopK and Matryoshka. */
float sae_train_lr_of_width(int d_sae);
int sae_train_check(const sae_train_opts *o, tn_err *e);

/* What one step (or an evaluation) measured. Sums in double. */
typedef struct {
    double mse;  /* mean_b sum_d (x̂-x)^2 */
    double l1;   /* mean_b sum_i z_i w_i */
    double l0;   /* mean_b #{z_i > 0} */
    double loss; /* mse + lambda(t) * penalty + aux */
    double fve;  /* 1 - mse / mean_b |x - mean x|^2 over the same rows */
    int dead;    /* latents silent for dead_window steps */
    double penalty, aux;
} sae_metrics;

typedef struct sae_trainer sae_trainer;

/* A trainer around `model`, whose parameters it changes (it must outlive the trainer) and whose architecture
 * is that of sae_train_config. All memory is taken here; sae_train_step allocates nothing. From the first
 * step or evaluation on nobody else changes W_enc, of which the trainer keeps a copy. */
int sae_trainer_new(sae_trainer **out, sae_model *model, const sae_train_opts *o, tn_exec ex, tn_err *e);
void sae_trainer_free(sae_trainer *t);

/* Random start: W_dec[i] drawn from U(-1, 1) and scaled to length init_norm, W_enc = W_dec (as SAELens: a
 * copy, not tied), biases 0. With unit_norm_decoder the rows of W_dec then get length 1; W_enc keeps its.
 * Thresholds start at init_threshold. */
void sae_init_params(sae_model *model, const sae_train_opts *o);

/* One optimiser step on x [n, D], n <= batch. A non-finite loss returns TN_ENUM with the parameters
 * untouched. */
int sae_train_step(sae_trainer *t, const float *x, int n, sae_metrics *m, tn_err *e);
/* Loss on x [n, D], n <= batch, at the current coefficient, changing nothing. BatchTopK takes the latents
 * above its threshold, as the finished SAE will. */
int sae_train_eval(sae_trainer *t, const float *x, int n, sae_metrics *m, tn_err *e);

/* Puts the model into the form it is used in, after the last step: decoder rows of length 1 for TopK and
 * BatchTopK, which rank by it, and BatchTopK's threshold. */
void sae_train_finish(sae_trainer *t);

int sae_trainer_steps(const sae_trainer *t); /* steps taken */
/* [F] on how many rows of the latest batch (step or evaluation) each latent fired. */
const uint32_t *sae_trainer_fired(const sae_trainer *t);
/* The schedules: learning rate and L1 coefficient of step t = 0, 1, … */
double sae_lr_at(const sae_train_opts *o, int step);
double sae_l1_at(const sae_train_opts *o, int step);
/* 1: dead latents begin anew after step t. */
int sae_train_resamples(const sae_train_opts *o, int step);

/* Training state as one safetensors file: parameters, Adam moments, counters, steps; the options go into the
 * metadata, with the caller's own pairs after them. Loading continues bit for bit; it refuses a file of
 * another shape or made with other options (TN_EARG names the first that differs). */
int sae_trainer_save(const sae_trainer *t, const char *path, const tn_pair *extra, size_t n_extra, tn_err *e);
int sae_trainer_load(sae_trainer *t, const char *path, tn_err *e);

#endif
