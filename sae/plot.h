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

/* Appends a line chart of series [n_series] to out. Ticks at round numbers, legend, no script. A value that
 * is no number breaks its line; a point without neighbours is marked. Every picture is one <svg> element that
 * can stand in a file of its own or inside a page; one without anything to draw says so. */
void sae_plot_lines(const sae_chart *c, const sae_series *series, int n_series, tn_buf *out);

/* A horizontal bar per name; values >= 0, others get no bar. y_label stands at the axis of the values, the
 * rest of the chart's fields but the title is not used. */
void sae_plot_bars(const sae_chart *c, const char *const *names, const double *values, int n, tn_buf *out);

/* The same with an interval low … high [n] (NULL: none) around every value, drawn as a line with ends. */
void sae_plot_bars_between(const sae_chart *c, const char *const *names, const double *values,
                           const double *low, const double *high, int n, tn_buf *out);

/* A grid of cells coloured by value (white = 0, dark = the largest): values [rows, cols]; a cell that is no
 * number stays grey. Only the chart's title is used. */
void sae_plot_heatmap(const sae_chart *c, const char *const *row_names, int rows,
                      const char *const *col_names, int cols, const double *values, tn_buf *out);

#endif
