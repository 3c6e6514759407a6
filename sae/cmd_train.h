/* What the files cmd_train*.c of `sae train` share. */
#ifndef SAE_CMD_TRAIN_H
#define SAE_CMD_TRAIN_H

#include "sae/cmd_text_source.h"
#include "sae/fit.h"
#include "tensor/cli.h"

#define TRAIN_MAX_VALUES 16

/* An option that sets the sparsity: one value, or several, for which an SAE each is trained. */
typedef struct {
    const char *text; /* "0.5,1,2"; NULL when it was not given */
    float values[TRAIN_MAX_VALUES];
    int n;
    float *dst; /* where the trainer's options hold it */
} train_values;

/* What the options are parsed into before they are checked. */
typedef struct {
    const char *out, *arch, *convention, *width, *widths, *l0_penalty, *screen;
    cli_strings acts;
    text_source_opts text;
    sae_fit_opts fit;
    train_values l1, l0, k, target_l0;
    float aux, bandwidth, threshold, threshold_speed, pre_act; /* TRAIN_UNSET, or of the architecture */
    int ste_to_input;
    int threads, buffer, no_scale, no_center, free_decoder, no_b_dec_input;
    const char *list_name;    /* "k" when --k has several values, else NULL */
    const train_values *list; /* these values */
} train_args;

/* A number that was not given. */
#define TRAIN_UNSET -1e30f

/* cmd_train_run.c: trains on the rows of `source`, once or for each value of the list; writes curves and
 * prints a summary. */
int train_run(train_args *a, const sae_source *source, tn_exec ex, tn_err *e);

#endif
