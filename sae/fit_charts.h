/* The curves of a training run, from its log: for the files beside train.csv, and for the report. */
#ifndef SAE_FIT_CHARTS_H
#define SAE_FIT_CHARTS_H

#include "sae/fit.h"

/* Appends a picture of lines [n]. Curves of the validation are left out when no line has such a figure; a
 * picture that memory does not suffice for sets svg->failed. */
void sae_chart_loss(const sae_fit_line *lines, size_t n, tn_buf *svg);   /* MSE by step */
void sae_chart_l1_mse(const sae_fit_line *lines, size_t n, tn_buf *svg); /* L1 by MSE */

#endif
