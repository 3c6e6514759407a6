/* Curves of training (fit_charts.h). */
#include "sae/fit_charts.h"
#include "sae/plot.h"

#include <math.h>
#include <stdlib.h>

enum { STEP, TRAIN_MSE, VAL_MSE, TRAIN_L1, VAL_L1, N_COLUMNS };

/* The log turned on its side. */
typedef struct {
    double *column[N_COLUMNS]; /* [n] each; column[0] is the allocation */
    int n;
    int curves; /* 2 with validation, else 1 */
} columns;

static int take_columns(columns *c, const sae_fit_line *lines, size_t n) {
    size_t cells;
    if (n > INT32_MAX || tn_mul_size(n, N_COLUMNS, &cells)) return 0;
    double *block = malloc((cells + 1) * sizeof *block);
    if (!block) return 0;
    *c = (columns){.n = (int)n, .curves = 1};
    for (size_t k = 0; k < N_COLUMNS; k++) c->column[k] = block + k * n;
    for (size_t i = 0; i < n; i++) {
        c->column[STEP][i] = lines[i].step;
        c->column[TRAIN_MSE][i] = lines[i].train_mse;
        c->column[VAL_MSE][i] = lines[i].val_mse;
        c->column[TRAIN_L1][i] = lines[i].train_l1;
        c->column[VAL_L1][i] = lines[i].val_l1;
        if (!isnan(lines[i].val_mse)) c->curves = 2;
    }
    return 1;
}

void sae_chart_loss(const sae_fit_line *lines, size_t n, tn_buf *svg) {
    columns c;
    if (!take_columns(&c, lines, n)) {
        svg->failed = 1;
        return;
    }
    sae_chart chart = {.title = "Reconstruction error", .x_label = "step", .y_label = "MSE", .log_y = 1};
    sae_series series[2] = {{"train", c.column[STEP], c.column[TRAIN_MSE], c.n},
                            {"validation", c.column[STEP], c.column[VAL_MSE], c.n}};
    sae_plot_lines(&chart, series, c.curves, svg);
    free(c.column[0]);
}

void sae_chart_l1_mse(const sae_fit_line *lines, size_t n, tn_buf *svg) {
    columns c;
    if (!take_columns(&c, lines, n)) {
        svg->failed = 1;
        return;
    }
    sae_chart chart = {.title = "L1 against MSE along training",
                       .x_label = "MSE",
                       .y_label = "L1",
                       .log_x = 1,
                       .log_y = 1,
                       .points = 1};
    sae_series series[2] = {{"train", c.column[TRAIN_MSE], c.column[TRAIN_L1], c.n},
                            {"validation", c.column[VAL_MSE], c.column[VAL_L1], c.n}};
    sae_plot_lines(&chart, series, c.curves, svg);
    free(c.column[0]);
}
