/* The log of a training run: train.csv, kept as text so that a checkpoint can carry it. */
#ifndef SAE_FIT_LOG_H
#define SAE_FIT_LOG_H

#include "sae/fit.h"

typedef struct {
    tn_buf csv;          /* header and lines so far */
    sae_fit_line *lines; /* [n] the same, parsed */
    size_t n, cap;
} sae_fit_log;

int sae_fit_log_start(sae_fit_log *log, tn_err *e);
/* Adds a line; the stored one has the digits of the text, so that a resumed run holds the same numbers. */
int sae_fit_log_add(sae_fit_log *log, const sae_fit_line *line, tn_err *e);
/* Takes over the text of an earlier run. */
int sae_fit_log_restore(sae_fit_log *log, const char *csv, tn_err *e);
/* The same from a file, into a log that holds nothing yet; free it in any case. */
int sae_fit_log_read(sae_fit_log *log, const char *path, tn_err *e);
void sae_fit_log_free(sae_fit_log *log);

#endif
