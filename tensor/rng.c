/* xoshiro256** and the distributions of rng.h. */
#include "tensor/rng.h"

#include <math.h>

/* splitmix64 spreads any seed, 0 included, over the whole state. */
static uint64_t splitmix(uint64_t *x) {
    uint64_t z = *x += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

tn_rng tn_rng_seed(uint64_t seed) {
    tn_rng r;
    for (int i = 0; i < 4; i++) r.s[i] = splitmix(&seed);
    return r;
}

static uint64_t rotl(uint64_t x, int k) {
    return x << k | x >> (64 - k);
}

uint64_t tn_rng_u64(tn_rng *r) {
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

float tn_rng_uniform(tn_rng *r) {
    return (float)(tn_rng_u64(r) >> 40) * 0x1p-24f;
}

float tn_rng_normal(tn_rng *r) {
    /* u in (0, 1], so that the logarithm is finite */
    double u = (double)((tn_rng_u64(r) >> 11) + 1) * 0x1p-53;
    double v = (double)(tn_rng_u64(r) >> 11) * 0x1p-53;
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

uint64_t tn_rng_below(tn_rng *r, uint64_t n) {
    /* Numbers below 2^64 mod n would make small results likelier: draw again. */
    uint64_t reject = (UINT64_MAX - n + 1) % n;
    uint64_t x;
    do x = tn_rng_u64(r);
    while (x < reject);
    return x % n;
}

void tn_rng_shuffle(tn_rng *r, uint32_t *idx, uint32_t n) {
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)tn_rng_below(r, i);
        uint32_t t = idx[i - 1];
        idx[i - 1] = idx[j];
        idx[j] = t;
    }
}
