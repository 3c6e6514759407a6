/* A whole training run: rows of a source in, SAE directory out.
 *
 * Scale: s = sqrt(D) / mean_b |x_b| over the training rows, when `scale_inputs` (SAELens calls it
 * expected_average_only_in). Training sees s·x, so that learning rate and L1 coefficient mean the same for
 * every model and layer. At the end s is folded in: W_enc·s, W_dec/s, b_dec/s; with a unit-norm decoder
 * W_dec stays and biases and thresholds are divided, which scales z by 1/s. TopK and BatchTopK always have
 * unit-norm rows in the end.
 *
 * Split: whole documents go to validation (single rows with `split_rows`), drawn by the seed.
 *
 * Memory: at most `buffer` rows are held. When all rows fit, each epoch is a new seeded shuffle of the
 * training rows; else they pass through a shuffle buffer (fit_buffer.h), and what is said of "the training
 * rows" above and in the result (scale, mean, variance, final figures, dead latents) is measured on documents
 * of about 32,768 training rows, drawn by the seed. Epochs are cut into batches; a rest below a batch sits
 * out.
 *
 * Losses in the log are those of training, in the scaled frame; FVE and L0 do not depend on the frame.
 *
 * DIR receives cfg.json and sae_weights.safetensors (raw frame, at the end), train.csv (at every logged
 * step) and trainer.safetensors (at every checkpoint, and at the end). A run that is resumed continues as if
 * it had never stopped: same bytes in every file.
 */
#ifndef SAE_FIT_H
#define SAE_FIT_H

#include "sae/source.h"
#include "sae/train.h"

typedef struct {
    sae_train_opts train; /* total_steps is set from the epochs; negative l1_warmup_steps, lr_warmup_steps,
                             lr_decay_steps, dead_window: chosen from the length of the run */
    int d_sae;            /* latents */
    int apply_b_dec_to_input;
    int epochs;
    float validation; /* share of the rows, 0 … 0.9 */
    int split_rows;   /* 0: whole documents, so that no text is on both sides; 1: only when all rows fit */
    uint32_t buffer;  /* most rows in memory; 0 = as many as 1 GiB holds */
    int scale_inputs;
    int center_b_dec; /* start with b_dec = mean of the training rows */
    float start_bias; /* start with b_enc = -start_bias standard deviations of a pre-activation: few latents
                         fire from the first step on, instead of half of them (2: about 2%); Gated:
                         both biases. NaN: 2, or 0 for TopK and BatchTopK */
    int log_every;    /* steps; 0 = about 50 times in the run */
    int checkpoint_every; /* steps, rounded up to a multiple of log_every; 0 = only at the end */
    int resume;           /* continue from DIR/trainer.safetensors when it is there */
    int keep_finished;    /* leave DIR as it is when its run has ended well (found by resume): only
                             result.unchanged and the log are set then. A run from the start first removes
                             cfg.json, so that one that is there is this run's */
} sae_fit_opts;

sae_fit_opts sae_fit_defaults(void);

/* One line of train.csv. Training figures are means over the steps since the line before; validation figures
 * are taken on at most 1024 rows, the same ones every time. */
typedef struct {
    int step, epoch;
    double tokens;
    double train_mse, train_l1, train_l0;
    double val_mse, val_l1, val_l0, val_fve; /* NaN without validation rows (empty in the CSV) */
    int dead;
    double l1_coefficient, lr;
} sae_fit_line;

/* Called after every step; `line` is what was logged after it, or NULL. Non-zero stops the run with TN_ESTOP;
 * what was done since the last checkpoint is lost. */
typedef int (*sae_fit_progress)(void *ctx, int step, int total_steps, const sae_metrics *m,
                                const sae_fit_line *line);

typedef struct {
    size_t train_rows, val_rows, train_docs, val_docs;
    size_t measured_rows; /* training rows that `train` and `dead` speak of */
    int steps_per_epoch, total_steps;
    int first_step;         /* steps a resumed checkpoint had already taken */
    double scale;           /* s, 1 without scaling */
    sae_metrics train, val; /* of the finished SAE on the measured rows and on all of validation (zeros
                               without them); `dead` counts the latents that fire on no measured row */
    sae_fit_line *lines;    /* [n_lines] the log, owned */
    size_t n_lines;
    int unchanged; /* 1: see keep_finished */
} sae_fit_result;
void sae_fit_result_free(sae_fit_result *r);

/* Runs it. Nothing is written to cfg.json or sae_weights.safetensors unless the run ends well. */
int sae_fit(const sae_source *source, const char *dir, const sae_fit_opts *o, tn_exec ex,
            sae_fit_progress progress, void *ctx, sae_fit_result *out, tn_err *e);

#endif
