/* The charts of plot.h: each measures its text, fits its axes, then draws from back to front. */
#include "sae/plot.h"
#include "sae/plot_axis.h"
#include "sae/svg.h"

#include <math.h>
#include <stdio.h>

#define EDGE SAE_SVG_EDGE
#define GAP SAE_SVG_GAP
#define BASELINE SAE_SVG_BASELINE
#define LINE 18   /* one line of text */
#define WIDTH 640 /* of line and bar charts */

/* Colours that stay apart for colour-blind readers (after Okabe & Ito, "Color universal design", 2008). */
static const char *const palette[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#6b6b6b"};
#define COLOURS ((int)(sizeof palette / sizeof palette[0]))

/* Series beyond the palette start over in dashes. */
static const char *dashes(int series) {
    static const char *const style[] = {"", " stroke-dasharray=\"6 4\"", " stroke-dasharray=\"2 3\""};
    return style[series / COLOURS % 3];
}

static double title_height(const sae_chart *c) {
    return c->title ? SAE_SVG_TITLE : EDGE;
}

static int has_text(const char *s) {
    return s && s[0];
}

/* ---- line charts ---- */

#define PLOT_H 240 /* between the axes */
#define SAMPLE 20  /* length of a line in the legend */

typedef struct {
    double left, right, top, bottom;
    sae_axis x, y;
    tn_buf *out;
} frame;

static int takes(const sae_chart *c, const sae_series *s, int i) {
    return sae_axis_takes(c->log_x, s->x[i]) && sae_axis_takes(c->log_y, s->y[i]);
}

/* Fits both axes to what can be drawn; 0 when that is nothing. */
static int fit_axes(frame *f, const sae_chart *c, const sae_series *series, int n_series) {
    double lo[2] = {INFINITY, INFINITY}, hi[2] = {-INFINITY, -INFINITY};
    for (int k = 0; k < n_series; k++) {
        for (int i = 0; i < series[k].n; i++) {
            if (!takes(c, &series[k], i)) continue;
            lo[0] = fmin(lo[0], series[k].x[i]);
            hi[0] = fmax(hi[0], series[k].x[i]);
            lo[1] = fmin(lo[1], series[k].y[i]);
            hi[1] = fmax(hi[1], series[k].y[i]);
        }
    }
    if (lo[0] > hi[0]) return 0;
    f->x = sae_axis_fit(lo[0], hi[0], c->log_x, 0, 7);
    f->y = sae_axis_fit(lo[1], hi[1], c->log_y, 1, 5);
    return 1;
}

/* Draws the legend from y downwards, or with out NULL only measures it; returns its height. */
static double legend(tn_buf *out, const sae_series *series, int n_series, double y) {
    double x = EDGE, height = 0;
    for (int k = 0; k < n_series; k++) {
        if (!has_text(series[k].name)) continue;
        double width = SAMPLE + 6 + sae_svg_text_width(series[k].name);
        if (height == 0) {
            height = LINE;
        } else if (x + width > WIDTH - EDGE) {
            x = EDGE;
            height += LINE;
        }
        if (out) {
            double middle = y + height - LINE / 2.0;
            tn_buf_printf(out, "<path d=\"M%.1f %.1fh%d\" stroke=\"%s\" stroke-width=\"2.5\"%s/>\n", x,
                          middle, SAMPLE, palette[k % COLOURS], dashes(k));
            sae_svg_text(out, x + SAMPLE + 6, middle + BASELINE, SAE_SVG_START, SAE_SVG_INK, series[k].name);
        }
        x += width + 2 * EDGE;
    }
    return height;
}

static void draw_axes(const frame *f, const sae_chart *c) {
    char label[48];
    for (int i = 0; i < f->y.n_ticks; i++) {
        double y = sae_axis_at(&f->y, f->y.tick[i]);
        sae_svg_line(f->out, f->left, y, f->right, y, SAE_SVG_GRID);
        sae_svg_text(f->out, f->left - GAP, y + BASELINE, SAE_SVG_END, SAE_SVG_QUIET,
                     sae_axis_label(&f->y, i, label, sizeof label));
    }
    for (int i = 0; i < f->x.n_ticks; i++) {
        double x = sae_axis_at(&f->x, f->x.tick[i]);
        sae_svg_line(f->out, x, f->bottom, x, f->bottom + 5, SAE_SVG_AXIS);
        sae_svg_text(f->out, x, f->bottom + 19, SAE_SVG_MIDDLE, SAE_SVG_QUIET,
                     sae_axis_label(&f->x, i, label, sizeof label));
    }
    sae_svg_line(f->out, f->left, f->bottom, f->right, f->bottom, SAE_SVG_AXIS);
    if (has_text(c->x_label))
        sae_svg_text(f->out, (f->left + f->right) / 2, f->bottom + 19 + LINE, SAE_SVG_MIDDLE, SAE_SVG_QUIET,
                     c->x_label);
}

/* The first index after `i` whose point is not drawn in the same half pixel column, or cannot be drawn. */
static int column_end(const frame *f, const sae_chart *c, const sae_series *s, int i) {
    double column = floor(2 * sae_axis_at(&f->x, s->x[i]));
    int j = i + 1;
    while (j < s->n && takes(c, s, j) && floor(2 * sae_axis_at(&f->x, s->x[j])) == column) j++;
    return j;
}

/* Of the points begin … end-1 in one column only the first, lowest, highest and last can be seen: a curve of
 * a million steps stays a small picture. */
static void put_column(const frame *f, const sae_series *s, int begin, int end, char *command) {
    int low = begin, high = begin;
    for (int i = begin; i < end; i++) {
        if (s->y[i] < s->y[low]) low = i;
        if (s->y[i] > s->y[high]) high = i;
    }
    for (int i = begin; i < end; i++) {
        if (i != begin && i != low && i != high && i != end - 1) continue;
        tn_buf_printf(f->out, "%c%.1f %.1f", *command, sae_axis_at(&f->x, s->x[i]),
                      sae_axis_at(&f->y, s->y[i]));
        *command = 'L';
    }
}

static void draw_dot(const frame *f, const sae_series *s, int i, const char *colour) {
    char tip[256];
    snprintf(tip, sizeof tip, "%.150s%s%.6g, %.6g", s->name ? s->name : "", has_text(s->name) ? ": " : "",
             s->x[i], s->y[i]);
    sae_svg_dot(f->out, sae_axis_at(&f->x, s->x[i]), sae_axis_at(&f->y, s->y[i]), colour, tip);
}

/* One line, broken where a value is missing. */
static void draw_series(const frame *f, const sae_chart *c, const sae_series *s, int k) {
    const char *colour = palette[k % COLOURS];
    tn_buf_puts(f->out, "<path d=\"M0 0"); /* a path may not be empty; this draws nothing */
    char command = 'M';
    for (int i = 0; i < s->n;) {
        if (takes(c, s, i)) {
            int end = column_end(f, c, s, i);
            put_column(f, s, i, end, &command);
            i = end;
        } else {
            command = 'M';
            i++;
        }
    }
    tn_buf_printf(f->out,
                  "\" fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-linejoin=\"round\" "
                  "stroke-linecap=\"round\"%s/>\n",
                  colour, dashes(k));
    for (int i = 0; i < s->n; i++) {
        int alone = (i == 0 || !takes(c, s, i - 1)) && (i + 1 == s->n || !takes(c, s, i + 1));
        if (takes(c, s, i) && (c->points || alone)) draw_dot(f, s, i, colour);
    }
}

void sae_plot_lines(const sae_chart *c, const sae_series *series, int n_series, tn_buf *out) {
    frame f = {.out = out};
    if (!fit_axes(&f, c, series, n_series)) {
        sae_svg_no_data(out, c->title);
        return;
    }
    double legend_y = title_height(c);
    double label_y = legend_y + legend(NULL, series, n_series, 0) + (has_text(c->y_label) ? LINE : 0);
    f.top = label_y + 12;
    f.bottom = f.top + PLOT_H;
    f.right = WIDTH - EDGE - GAP;
    f.left = EDGE;
    for (int i = 0; i < f.y.n_ticks; i++) {
        char label[48];
        double need = EDGE + sae_svg_text_width(sae_axis_label(&f.y, i, label, sizeof label)) + GAP;
        if (need > f.left) f.left = need;
    }
    sae_svg_begin(out, WIDTH, f.bottom + 19 + (has_text(c->x_label) ? LINE : 0) + EDGE - BASELINE, c->title);
    legend(out, series, n_series, legend_y);
    if (has_text(c->y_label))
        sae_svg_text(out, EDGE, label_y - BASELINE, SAE_SVG_START, SAE_SVG_QUIET, c->y_label);
    f.x.from = f.left;
    f.x.to = f.right;
    f.y.from = f.bottom;
    f.y.to = f.top;
    draw_axes(&f, c);
    for (int k = 0; k < n_series; k++) draw_series(&f, c, &series[k], k);
    sae_svg_end(out);
}

/* ---- bars ---- */

#define ROW_H 24 /* a bar and the space around it */
#define BAR_H 16
#define END_H 4 /* half the height of an interval's ends */

/* An interval as a line with an end on either side; returns where it ends. */
static double draw_interval(const sae_axis *axis, double low, double high, double middle, tn_buf *out) {
    double from = sae_axis_at(axis, low), to = sae_axis_at(axis, high);
    sae_svg_line(out, from, middle, to, middle, SAE_SVG_INK);
    sae_svg_line(out, from, middle - END_H, from, middle + END_H, SAE_SVG_INK);
    sae_svg_line(out, to, middle - END_H, to, middle + END_H, SAE_SVG_INK);
    return to;
}

void sae_plot_bars_between(const sae_chart *c, const char *const *names, const double *values,
                           const double *low, const double *high, int n, tn_buf *out) {
    if (n <= 0) {
        sae_svg_no_data(out, c->title);
        return;
    }
    double largest = 0;
    for (int i = 0; i < n; i++) {
        if (sae_axis_takes(0, values[i])) largest = fmax(largest, values[i]);
        if (high && sae_axis_takes(0, high[i])) largest = fmax(largest, high[i]);
    }
    sae_axis axis = sae_axis_fit(0, largest, 0, 1, 5);
    double top = title_height(c) + GAP, bottom = top + n * ROW_H;
    axis.from = EDGE + sae_svg_names_width(names, n) + GAP;
    axis.to = WIDTH - EDGE - 40; /* room for the number behind the longest bar */
    char text[256], tip[320];
    sae_svg_begin(out, WIDTH, bottom + 19 + (has_text(c->y_label) ? LINE : 0) + EDGE - BASELINE, c->title);
    for (int i = 0; i < axis.n_ticks; i++) {
        double x = sae_axis_at(&axis, axis.tick[i]);
        sae_svg_line(out, x, top, x, bottom, SAE_SVG_GRID);
        sae_svg_text(out, x, bottom + 17, SAE_SVG_MIDDLE, SAE_SVG_QUIET,
                     sae_axis_label(&axis, i, text, sizeof text));
    }
    if (has_text(c->y_label))
        sae_svg_text(out, (axis.from + axis.to) / 2, bottom + 17 + LINE, SAE_SVG_MIDDLE, SAE_SVG_QUIET,
                     c->y_label);
    for (int i = 0; i < n; i++) {
        double y = top + i * ROW_H, baseline = y + ROW_H / 2.0 + BASELINE, end = axis.from;
        sae_svg_text(out, axis.from - GAP, baseline, SAE_SVG_END, SAE_SVG_INK,
                     sae_svg_shorten(text, sizeof text, names[i], SAE_SVG_NAME));
        if (sae_axis_takes(0, values[i]) && values[i] >= 0) {
            end = sae_axis_at(&axis, values[i]);
            snprintf(tip, sizeof tip, "%.255s: %.6g", names[i], values[i]);
            sae_svg_rect(out, axis.from, y + (ROW_H - BAR_H) / 2.0, end - axis.from, BAR_H,
                         palette[low ? 5 : 0], tip);
            if (low && high && sae_axis_takes(0, low[i]) && sae_axis_takes(0, high[i]) && low[i] >= 0)
                end = fmax(end, draw_interval(&axis, low[i], high[i], y + ROW_H / 2.0, out));
            sae_svg_number(text, sizeof text, values[i], -1, values[i]);
        } else {
            snprintf(text, sizeof text, "–"); /* not a number: no bar */
        }
        sae_svg_text(out, end + 6, baseline, SAE_SVG_START, SAE_SVG_QUIET, text);
    }
    sae_svg_line(out, axis.from, top, axis.from, bottom, SAE_SVG_AXIS);
    sae_svg_end(out);
}

void sae_plot_bars(const sae_chart *c, const char *const *names, const double *values, int n, tn_buf *out) {
    sae_plot_bars_between(c, names, values, NULL, NULL, n, out);
}
