/* What this machine can do at most, measured: the rates that a model's speed is compared with. */
#ifndef TENSOR_PEAKS_H
#define TENSOR_PEAKS_H

#include "tensor/kernels.h"

/* Billions of floating-point operations a second of ex's tier and threads, a multiply-add being two, over
 * about `seconds`: independent multiply-adds in registers, nothing read or written. 0 for a tier that has no
 * such loop. */
double tn_fma_rate(tn_exec ex, double seconds);

/* The same of the tier's tiles, in BF16: products with BF16 weights take TN_SPLIT_PARTS of these operations
 * for each of F32. 0 for a tier that has none. */
double tn_tile_rate(tn_exec ex, double seconds);

enum {
    TN_READ_LINE = 8,       /* words of a cache line */
    TN_READ_UNIT = 1 << 17, /* a multiple of this many words is read, the rest is left out */
};

/* Fetches words [n] from memory once, on ex's threads, and returns the billions of
 * bytes a second. *sum receives the sum of every eighth word, one of each line. To measure memory and no
 * cache, n is many times the last cache's size. */
double tn_read_rate(tn_exec ex, const uint64_t *words, size_t n, uint64_t *sum);

#endif
