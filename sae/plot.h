/* Small SVG charts, written by hand so that a browser is all a reader needs. */
#ifndef SAE_PLOT_H
#define SAE_PLOT_H

#include "tensor/buf.h"

typedef struct {
    const char *name;
    const double *x, *y; /* [n] */
    int n;
} sae_series;

typedef struct {
    const char *title, *x_label, *y_label;
    int log_x, log_y; /* logarithmic axes: values <= 0 are left out */
    int points;       /* 1: mark the points */
} sae_chart;

/* Appends a line chart of series [n_series] to out. Ticks at round numbers, legend, no script. */
void sae_plot_lines(const sae_chart *c, const sae_series *series, int n_series, tn_buf *out);

/* A bar per name; values >= 0. */
void sae_plot_bars(const sae_chart *c, const char *const *names, const double *values, int n, tn_buf *out);

/* A grid of cells coloured by value (white = 0, dark = the largest): rows × cols, row-major. */
void sae_plot_heatmap(const sae_chart *c, const char *const *row_names, int rows, const char *const *col_names,
                      int cols, const double *values, tn_buf *out);

#endif
