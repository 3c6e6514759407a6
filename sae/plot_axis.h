/* Scales of the charts: from values to pixels, with ticks at round numbers. Inside of the plotting. */
#ifndef SAE_PLOT_AXIS_H
#define SAE_PLOT_AXIS_H

#include <stddef.h>

#define SAE_AXIS_TICKS 16

typedef struct {
    int is_log;
    double lo, hi;               /* values at the two ends */
    double from, to;             /* pixels of lo and hi: set by the caller */
    double tick[SAE_AXIS_TICKS]; /* [n_ticks] values, rising */
    int n_ticks;
    int digits; /* after the point in tick labels, < 0: as each needs */
} sae_axis;

/* 1 when v can be drawn: finite, of sensible size, and positive on a logarithmic axis. */
int sae_axis_takes(int is_log, double v);

/* An axis for values lo … hi (each taken by sae_axis_takes; lo <= hi, equal is fine) with about `wanted` <= 8
 * ticks. widen: both ends move out to round numbers. */
sae_axis sae_axis_fit(double lo, double hi, int is_log, int widen, int wanted);

double sae_axis_at(const sae_axis *a, double v);                          /* pixel of v */
char *sae_axis_label(const sae_axis *a, int tick, char *dst, size_t cap); /* returns dst */

#endif
