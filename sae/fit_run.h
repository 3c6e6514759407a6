/* A training run under way: what the files fit*.c share. */
#ifndef SAE_FIT_RUN_H
#define SAE_FIT_RUN_H

#include "sae/fit.h"
#include "sae/fit_log.h"
#include "sae/fit_rows.h"

typedef struct {
    const sae_source *source;
    sae_fit_opts o; /* with the automatic values filled in */
    sae_fit_rows rows;
    sae_fit_log log;
    sae_model model;
    sae_trainer *trainer;
    float *x; /* [batch, D] */
    int steps_per_epoch, total_steps;
    double mse_limit;
    char csv_path[1024], state_path[1024];
} sae_fit_run;

/* fit_plan.c: the options make sense; those that follow from the data and the length of the run are filled
 * in; the SAE at its start. */
int sae_fit_check(const sae_fit_opts *o, tn_err *e);
int sae_fit_plan(sae_fit_run *r, tn_err *e);
int sae_fit_new_model(sae_fit_run *r, tn_err *e);

/* fit_checkpoint.c: trainer.safetensors, with the log so far; loading refuses that of another run. */
int sae_fit_save(const sae_fit_run *r, tn_err *e);
int sae_fit_load(sae_fit_run *r, tn_err *e);

/* fit_measure.c: the metrics of the first n rows of a set, together. fired [F] (may be NULL) is set to 1 for
 * latents that fire.
 */
int sae_fit_measure(sae_fit_run *r, const sae_fit_set *set, uint32_t n, unsigned char *fired,
                    sae_metrics *out, tn_err *e);

/* fit_steps.c: all steps that are left, with their log and checkpoints. */
int sae_fit_steps(sae_fit_run *r, sae_fit_progress progress, void *ctx, tn_err *e);

#endif
