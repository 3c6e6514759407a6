/* The heat map of plot.h. */
#include "sae/plot.h"
#include "sae/plot_axis.h"
#include "sae/svg.h"

#include <math.h>
#include <stdio.h>

#define EDGE SAE_SVG_EDGE
#define GAP SAE_SVG_GAP
#define GRID_W 560      /* of the cells, as far as their smallest and largest size allow */
#define LEGEND_W 120    /* the colour bar */
#define WITH_NUMBERS 34 /* cells at least this wide show their value */

/* White through blue to dark blue: lightness falls all the way, so it reads in grey as well. */
static void colour_of(char dst[8], double share) {
    static const double stop[4][3] = {{255, 255, 255}, {158, 202, 225}, {33, 113, 181}, {8, 48, 107}};
    double t = fmin(fmax(share, 0), 1) * 3;
    int k = t < 1 ? 0 : t < 2 ? 1 : 2;
    int rgb[3];
    for (int i = 0; i < 3; i++) rgb[i] = (int)(stop[k][i] + (t - k) * (stop[k + 1][i] - stop[k][i]) + 0.5);
    snprintf(dst, 8, "#%02x%02x%02x", (unsigned)rgb[0] & 255, (unsigned)rgb[1] & 255, (unsigned)rgb[2] & 255);
}

/* Every which name is written, so that they stay `apart` pixels apart. */
static int name_stride(double pitch, double apart) {
    return pitch >= apart ? 1 : (int)ceil(apart / pitch);
}

static void draw_cell(tn_buf *out, double x, double y, double w, double h, double share, double value,
                      const char *row, const char *col) {
    char colour[8], tip[320], text[48];
    colour_of(colour, share);
    snprintf(tip, sizeof tip, "%.120s, %.120s: %.6g", row, col, value);
    sae_svg_rect(out, x, y, w - 1, h - 1, colour, tip);
    if (w < WITH_NUMBERS) return;
    sae_svg_text(out, x + (w - 1) / 2, y + h / 2 + SAE_SVG_BASELINE - 0.5, SAE_SVG_MIDDLE,
                 share > 0.5 ? "#ffffff" : SAE_SVG_INK, sae_svg_number(text, sizeof text, value, -1, value));
}

/* "0 ▁▂▃ max" */
static void draw_legend(tn_buf *out, double x, double y, double largest) {
    enum { STEPS = 30 };
    char colour[8], text[48];
    sae_svg_text(out, x, y + 9, SAE_SVG_START, SAE_SVG_QUIET, "0");
    x += 12;
    sae_svg_rect(out, x - 1, y - 1, LEGEND_W + 2, 12, SAE_SVG_GRID, NULL);
    for (int i = 0; i < STEPS; i++) {
        colour_of(colour, i / (STEPS - 1.0));
        double w = (double)LEGEND_W / STEPS, overlap = i + 1 < STEPS ? 0.5 : 0; /* no seams */
        sae_svg_rect(out, x + i * w, y, w + overlap, 10, colour, NULL);
    }
    sae_svg_text(out, x + LEGEND_W + 6, y + 9, SAE_SVG_START, SAE_SVG_QUIET,
                 sae_svg_number(text, sizeof text, largest, -1, largest));
}

void sae_plot_heatmap(const sae_chart *c, const char *const *row_names, int rows,
                      const char *const *col_names, int cols, const double *values, tn_buf *out) {
    if (rows <= 0 || cols <= 0) {
        sae_svg_no_data(out, c->title);
        return;
    }
    double largest = 0;
    for (size_t i = 0; i < (size_t)rows * (size_t)cols; i++)
        if (sae_axis_takes(0, values[i])) largest = fmax(largest, values[i]);
    double w = fmin(fmax(floor((double)GRID_W / cols), 6), 56);
    double h = rows <= 40 ? 22 : fmax(floor(880.0 / rows), 6);
    double names_w = sae_svg_names_width(row_names, rows), names_h = sae_svg_names_width(col_names, cols);
    int slanted = 0;
    for (int j = 0; j < cols; j++) slanted |= sae_svg_text_width(col_names[j]) > w - 4;

    double left = EDGE + names_w + GAP;
    double top = (c->title ? SAE_SVG_TITLE : EDGE) + GAP + (slanted ? names_h * 0.71 + 10 : 16);
    double right = left + cols * w, bottom = top + rows * h;
    double width = fmax(right + EDGE + (slanted ? names_h * 0.71 : 0), left + LEGEND_W + 100);
    if (c->title)
        width = fmax(width, EDGE * 2 + sae_svg_text_width(c->title) * 1.3); /* its letters are larger */
    sae_svg_begin(out, width, bottom + 44, c->title);

    char text[256];
    int stride = name_stride(h, 11);
    for (int i = 0; i < rows; i += stride)
        sae_svg_text(out, left - GAP, top + (i + 0.5) * h + SAE_SVG_BASELINE, SAE_SVG_END, SAE_SVG_INK,
                     sae_svg_shorten(text, sizeof text, row_names[i], SAE_SVG_NAME));
    stride = slanted ? name_stride(w, 16) : 1;
    for (int j = 0; j < cols; j += stride) {
        sae_svg_shorten(text, sizeof text, col_names[j], SAE_SVG_NAME);
        if (slanted)
            sae_svg_slanted_text(out, left + (j + 0.5) * w + 4, top - 6, SAE_SVG_INK, text);
        else
            sae_svg_text(out, left + (j + 0.5) * w, top - 6, SAE_SVG_MIDDLE, SAE_SVG_INK, text);
    }
    /* The ground shows between the cells as a grid, and in place of cells that are no number. */
    sae_svg_rect(out, left - 1, top - 1, cols * w + 1, rows * h + 1, SAE_SVG_GRID, NULL);
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < cols; j++) {
            double v = values[(size_t)i * (size_t)cols + (size_t)j];
            if (!sae_axis_takes(0, v)) continue;
            draw_cell(out, left + j * w, top + i * h, w, h, largest > 0 ? v / largest : 0, v, row_names[i],
                      col_names[j]);
        }
    }
    draw_legend(out, left, bottom + 18, largest);
    sae_svg_end(out);
}
