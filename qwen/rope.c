/* Rotary position embedding (Su et al. 2021, arXiv:2104.09864), with YaRN (Peng et al. 2023,
 * arXiv:2309.00071) when the config asks for it.
 *
 *     freq_i  = theta^(-2i / head_dim)                       i < head_dim/2
 *     angle   = position * freq_i
 *     (x_i, x_{i+half}) is rotated by angle
 *
 * Precision. The models were trained with freq and angle rounded to F32, and at position 4096 one unit in
 * the last place of freq already turns the pair by 2e-4: the rounding is part of the model. So each value
 * is rounded where the reference implementation rounds it (theta^(2i/head_dim), its reciprocal, the angle),
 * and only cos, sin and pow themselves are taken in double and rounded once.
 */
#include "qwen/state.h"

#include <math.h>

/* theta^(2i / head_dim) in F32: the wavelength over 2 pi. */
static float wavelength(const qwen_config *c, int i) {
    float exponent = (float)(2 * i) / (float)c->head_dim;
    return (float)pow((double)c->rope_theta, (double)exponent);
}

/* The (fractional) pair that turns `rotations` times over the original context: YaRN equation 17 solved
 * for the dimension. */
static double pair_of_rotations(const qwen_config *c, double rotations) {
    const double two_pi = 6.283185307179586;
    return c->head_dim * log(c->yarn_original_positions / (rotations * two_pi)) /
           (2 * log((double)c->rope_theta));
}

/* Pairs before `low` turn often and keep their frequency, pairs after `high` turn rarely and are slowed down
 * by the factor, those between are mixed linearly. */
static float yarn_frequency(const qwen_config *c, int i) {
    double low = floor(pair_of_rotations(c, (double)c->yarn_beta_fast));
    double high = ceil(pair_of_rotations(c, (double)c->yarn_beta_slow));
    low = fmax(low, 0);
    high = fmin(high, c->head_dim - 1);
    if (low == high) high += 0.001; /* as the reference does, against 0/0 */

    float ramp = ((float)i - (float)low) / (float)(high - low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    float keep = 1.0f - ramp;
    float extrapolated = 1.0f / wavelength(c, i);
    float interpolated = 1.0f / (c->yarn_factor * wavelength(c, i));
    return interpolated * (1.0f - keep) + extrapolated * keep;
}

void qwen_rope_tables(const qwen_config *c, float *cos_table, float *sin_table, int positions) {
    int half = c->head_dim / 2;
    for (int i = 0; i < half; i++) {
        float freq = c->yarn_factor > 1 ? yarn_frequency(c, i) : 1.0f / wavelength(c, i);
        for (int p = 0; p < positions; p++) {
            size_t at = (size_t)p * (size_t)half + (size_t)i;
            float angle = (float)p * freq;
            cos_table[at] = (float)cos((double)angle) * c->yarn_attention_factor;
            sin_table[at] = (float)sin((double)angle) * c->yarn_attention_factor;
        }
    }
}

void qwen_rope(const qwen_state *s, const qwen_rows *r, float *x, int heads) {
    size_t dim = (size_t)s->model->config.head_dim, half = dim / 2;
    for (int i = 0; i < r->n; i++) {
        const float *c = s->rope_cos + (size_t)r->pos[i] * half;
        const float *sn = s->rope_sin + (size_t)r->pos[i] * half;
        for (int h = 0; h < heads; h++, x += dim) s->opts.exec.k->rope(x, c, sn, half);
    }
}
