/* Round ticks (see plot_axis.h): steps of 1, 2 or 5 times a power of ten; on logarithmic axes the numbers
 * 1, 2, 5, 10, 20, … themselves, or only the powers of ten when there are many.
 */
#include "sae/plot_axis.h"
#include "sae/svg.h"

#include <math.h>

/* Beyond these sizes differences and quotients of values could overflow or vanish. */
#define LARGEST 1e100
#define SMALLEST 1e-100

int sae_axis_takes(int is_log, double v) {
    if (!isfinite(v) || fabs(v) > LARGEST) return 0;
    return is_log ? v > SMALLEST : 1;
}

static void add_tick(sae_axis *a, double v) {
    if (a->n_ticks < SAE_AXIS_TICKS) a->tick[a->n_ticks++] = v;
}

/* The smallest of 1, 2, 5, 10 times a power of ten that is at least `raw`. */
static double round_step(double raw) {
    double power = pow(10, floor(log10(raw)));
    double m = raw / power;
    return power * (m <= 1.0001 ? 1 : m <= 2.0001 ? 2 : m <= 5.0001 ? 5 : 10);
}

/* Size of the labels' numbers: all of an axis get the same suffix. */
static double largest_tick(const sae_axis *a) {
    return a->n_ticks ? fmax(fabs(a->tick[0]), fabs(a->tick[a->n_ticks - 1])) : 0;
}

static void linear_ticks(sae_axis *a, int widen, int wanted) {
    double step = round_step((a->hi - a->lo) / wanted);
    double first = a->lo / step, last = a->hi / step; /* in steps; a ten-thousandth of one is forgiven */
    first = widen ? floor(first + 1e-4) : ceil(first - 1e-4);
    last = widen ? ceil(last - 1e-4) : floor(last + 1e-4);
    if (widen) {
        a->lo = first * step;
        a->hi = last * step;
    }
    for (double i = first; i <= last; i++) add_tick(a, i * step);
    double size = largest_tick(a);
    double unit = size >= 1e9 ? 1e9 : size >= 1e6 ? 1e6 : size >= 1e4 ? 1e3 : 1; /* as in sae_svg_number */
    double digits = -floor(log10(step / unit) + 1e-9);
    a->digits = digits < 0 ? 0 : digits > 9 ? 9 : (int)digits;
}

/* Number i of … 0.5, 1, 2, 5, 10, 20 …, with 1 at i = 0. */
static double mark_125(int i) {
    static const double m[] = {1, 2, 5};
    int decade = (int)floor(i / 3.0);
    return m[i - 3 * decade] * pow(10, decade);
}

static void log_ticks(sae_axis *a, int widen, int wanted) {
    int first = 3 * (int)floor(log10(a->lo)), last; /* a mark at or below lo */
    while (mark_125(first + 1) <= a->lo * 1.0001) first++;
    last = first;
    while (mark_125(last) < a->hi / 1.0001) last++; /* a mark at or above hi */
    if (widen) {
        a->lo = mark_125(first);
        a->hi = mark_125(last);
    }
    if (mark_125(first) < a->lo / 1.0001) first++;
    if (mark_125(last) > a->hi * 1.0001) last--;
    int decades = (last - first) / 3;
    int stride = decades > wanted ? (decades + wanted - 1) / wanted : 1;
    for (int i = first; i <= last; i++) {
        int is_power = i % 3 == 0;
        if (last - first <= 7 || (is_power && (i / 3) % stride == 0)) add_tick(a, mark_125(i));
    }
    a->digits = -1;
}

sae_axis sae_axis_fit(double lo, double hi, int is_log, int widen, int wanted) {
    sae_axis a = {.is_log = is_log, .lo = lo, .hi = hi};
    double size = fmax(fabs(lo), fabs(hi));
    if (is_log) {
        if (hi / lo < 1.0001) { /* one value: a factor of two to both sides */
            a.lo = lo / 2;
            a.hi = hi * 2;
        }
        /* a narrow logarithmic axis would have one tick or none; there, even steps look right */
        if (a.hi / a.lo < 6)
            linear_ticks(&a, 0, wanted);
        else
            log_ticks(&a, widen, wanted);
    } else {
        if (size < SMALLEST) {
            a.lo = 0;
            a.hi = 1;
        } else if (hi - lo <= 1e-9 * size) { /* one value: it lies in the middle */
            a.lo = lo - 0.5 * size;
            a.hi = hi + 0.5 * size;
        }
        linear_ticks(&a, widen, wanted);
    }
    return a;
}

double sae_axis_at(const sae_axis *a, double v) {
    double t = a->is_log ? log(v / a->lo) / log(a->hi / a->lo) : (v - a->lo) / (a->hi - a->lo);
    return a->from + t * (a->to - a->from);
}

char *sae_axis_label(const sae_axis *a, int tick, char *dst, size_t cap) {
    double v = a->tick[tick];
    return sae_svg_number(dst, cap, v, a->digits, a->digits < 0 ? v : largest_tick(a));
}
