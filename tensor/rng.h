/* Seeded random numbers: xoshiro256** (Blackman & Vigna 2018), seeded through splitmix64.
 * The same seed gives the same numbers on every machine. */
#ifndef TENSOR_RNG_H
#define TENSOR_RNG_H

#include <stdint.h>

typedef struct {
    uint64_t s[4];
} tn_rng;

tn_rng tn_rng_seed(uint64_t seed);
uint64_t tn_rng_u64(tn_rng *r);
float tn_rng_uniform(tn_rng *r);              /* [0, 1), 24 random bits */
float tn_rng_normal(tn_rng *r);               /* mean 0, variance 1; Box-Muller in double */
uint64_t tn_rng_below(tn_rng *r, uint64_t n); /* 0 … n-1, unbiased; n > 0 */
/* Fisher-Yates shuffle of idx [n]. */
void tn_rng_shuffle(tn_rng *r, uint32_t *idx, uint32_t n);

#endif
