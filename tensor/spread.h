/* The middle and the ends of a few measurements. */
#ifndef TENSOR_SPREAD_H
#define TENSOR_SPREAD_H

typedef struct {
    double median, least, most;
} tn_spread;

/* Sorts x [n], n >= 1; the median is the middle value, or the mean of the two. */
tn_spread tn_spread_of(double *x, int n);

#endif
