/* Quantising floats (quantize.h).
 *
 * 8 bits:  scale = extreme / -127      w = clamp(round(x / scale), -127, 127)
 *
 * `extreme` is the group's value of largest magnitude. Clipping it would make the others finer by less than
 * it costs.
 *
 * 4 bits:  w = clamp(round(x / (step * scale)), -8, 7), with a step for each TN_Q_PAD columns, a part.
 *
 * 1. What each part would like:  wish = extreme / -8 * c. The extreme lands on the one integer that has no
 *    counterpart. A smaller c clips it and is finer for all others, a larger one may suit them better by
 *    chance: c runs over a fixed ladder, and what has the least sum of (x - w * wish)^2 wins.
 * 2. The scale is that of the largest wish at the largest step, times a factor of another ladder. For each, a
 *    part takes the step with the least error among those around wish / scale; the scale wins whose errors
 *    together are the least.
 *
 * The first wins when several do. Nothing but the weights is looked at, so the result does not depend on any
 * text.
 */
#include "tensor/quantize.h"

#include "tensor/kernels.h"

#include <math.h>
#include <string.h>

/* What is below this becomes zeros: the squares of its errors could not be told apart. */
#define TINY 1e-15f

/* Ladders of c and of the scale's factor: first + i * step. Steps up to NEAR beside the nearest are tried. */
#define FIRST_C 0.70f
#define STEP_C 0.03f
#define FIRST_FACTOR 0.80f
#define STEP_FACTOR 0.05f
enum { LANES = 16, C_COUNT = 21, FACTORS = 9, NEAR = 1 };

static float bf16(float x) {
    return tn_bf16_to_f32(tn_f32_to_bf16(x));
}

/* The value of the largest magnitude, with its sign. */
static float extreme_of(const float *x, size_t n) {
    float extreme = 0;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    return extreme;
}

/* x / scale to nearest, ties to even, within low … high. Floats from 2^23 on have no fraction: adding 1.5 *
 * 2^23 rounds, for numbers as small as these. Bounds are those of integers because compilers make vectors of
 * such comparisons, and not of floats'. */
static inline int32_t round_to(int32_t low, int32_t high, float x, float inverse) {
    int32_t q = (int32_t)(x * inverse + 12582912.0f) - 12582912;
    q = q < low ? low : q;
    return q > high ? high : q;
}

float tn_quantize_group8(int8_t *w, const float *x, size_t n) {
    const float extreme = extreme_of(x, n);
    memset(w, 0, n);
    if (fabsf(extreme) < TINY) return 0;
    const float scale = bf16(extreme / -127);
    for (size_t i = 0; i < n; i++) w[i] = (int8_t)round_to(-127, 127, x[i], 1 / scale);
    return scale;
}

/* sum of (x - w * scale)^2 over a part in 4 bits, in lanes of a fixed order; w = 0 when the scale is 0 */
static float squared_error(const float *x, float scale) {
    const float inverse = scale == 0 ? 0 : 1 / scale;
    float lane[LANES] = {0}, sum = 0;
    for (size_t i = 0; i < TN_Q_PAD; i += LANES)
        for (size_t l = 0; l < LANES; l++) {
            const float d = x[i + l] - (float)round_to(-8, 7, x[i + l], inverse) * scale;
            lane[l] += d * d;
        }
    for (size_t l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

/* The scale that suits a part on its own best; 0 when all of it is tiny. */
static float wish_of(const float *x) {
    const float extreme = extreme_of(x, TN_Q_PAD);
    float best = 0, wish = 0;
    if (fabsf(extreme) < TINY) return 0;
    for (int i = 0; i < C_COUNT; i++) {
        const float s = extreme / -8 * (FIRST_C + (float)i * STEP_C), error = squared_error(x, s);
        if (i == 0 || error < best) {
            best = error;
            wish = s;
        }
    }
    return wish;
}

/* The step for a part when the scale is given, and its error. */
static int best_step(float *error, const float *x, float wish, float scale) {
    const float nearest = rintf(wish / scale), most = (float)TN_Q_MAX_STEP;
    const int middle = (int)(nearest > most ? most : nearest < -most ? -most : nearest);
    const int low = middle - NEAR < -TN_Q_MAX_STEP ? -TN_Q_MAX_STEP : middle - NEAR;
    const int high = middle + NEAR > TN_Q_MAX_STEP ? TN_Q_MAX_STEP : middle + NEAR;
    int best = wish == 0 ? 0 : low;
    *error = squared_error(x, (float)best * scale);
    for (int step = low + 1; step <= high && wish != 0; step++) {
        const float e = squared_error(x, (float)step * scale);
        if (e < *error) {
            *error = e;
            best = step;
        }
    }
    return best;
}

/* steps [parts] for a scale, and the sum of their errors. */
static float best_steps(int8_t *steps, const float *x, const float *wish, size_t parts, float scale) {
    float sum = 0, error;
    for (size_t p = 0; p < parts; p++) {
        steps[p] = (int8_t)best_step(&error, x + p * TN_Q_PAD, wish[p], scale);
        sum += error;
    }
    return sum;
}

/* w [parts * TN_Q_PAD] */
static void round_parts(int8_t *w, const int8_t *steps, const float *x, size_t parts, float scale) {
    for (size_t i = 0; i < parts * TN_Q_PAD; i++) {
        const int step = steps[i / TN_Q_PAD];
        w[i] = (int8_t)round_to(-8, 7, x[i], step ? 1 / ((float)step * scale) : 0);
    }
}

float tn_quantize_group4(int8_t *w, int8_t *steps, const float *x, size_t n) {
    enum { MOST = TN_Q_MAX_GROUP4 / TN_Q_PAD };
    const size_t parts = n / TN_Q_PAD;
    float wish[MOST], largest = 0, best = 0, scale = 0;
    int8_t tried[MOST];
    for (size_t p = 0; p < parts; p++) {
        wish[p] = wish_of(x + p * TN_Q_PAD);
        if (fabsf(wish[p]) > largest) largest = fabsf(wish[p]);
    }
    memset(w, 0, n);
    memset(steps, 0, parts);
    if (largest == 0) return 0;
    for (int i = 0; i < FACTORS; i++) {
        const float s = bf16(largest / (float)TN_Q_MAX_STEP * (FIRST_FACTOR + (float)i * STEP_FACTOR));
        const float error = best_steps(tried, x, wish, parts, s);
        if (i == 0 || error < best) {
            best = error;
            scale = s;
            memcpy(steps, tried, parts);
        }
    }
    round_parts(w, steps, x, parts, scale);
    return scale;
}

/* Row r of a block, w [kpad], into its places. */
static void place_row(unsigned char *data, const int8_t *w, size_t kpad, size_t r, int bits) {
    if (bits == 8) {
        for (size_t k = 0; k < kpad; k++) data[k / 4 * 64 + r * 4 + k % 4] = (unsigned char)(w[k] + 128);
        return;
    }
    for (size_t k = 0; k < kpad; k += 8)
        for (size_t i = 0; i < 4; i++)
            data[k / 8 * 64 + r * 4 + i] = (unsigned char)((w[k + i] + 8) | (w[k + 4 + i] + 8) << 4);
}

void tn_quantize_block(unsigned char *data, int8_t *steps, unsigned char *scales, const float *x, size_t rows,
                       size_t cols, int bits, size_t group, float *padded, int8_t *w) {
    const size_t kpad = tn_q_pad(cols), groups = tn_q_groups(kpad, group);
    int8_t of_group[TN_Q_MAX_GROUP4 / TN_Q_PAD];
    memset(padded, 0, kpad * sizeof *padded);
    for (size_t r = 0; r < TN_Q_ROWS; r++) {
        if (r < rows)
            memcpy(padded, x + r * cols, cols * sizeof *padded);
        else
            memset(padded, 0, cols * sizeof *padded);
        for (size_t g = 0; g < groups; g++) {
            const size_t begin = g * group, left = kpad - begin, n = left < group ? left : group;
            const float scale = bits == 8 ? tn_quantize_group8(w + begin, padded + begin, n)
                                          : tn_quantize_group4(w + begin, of_group, padded + begin, n);
            tn_store_u16(scales + (g * TN_Q_ROWS + r) * 2, tn_f32_to_bf16(scale));
            for (size_t p = 0; bits == 4 && p < n / TN_Q_PAD; p++)
                steps[(begin / TN_Q_PAD + p) * TN_Q_ROWS + r] = of_group[p];
        }
        place_row(data, w, kpad, r, bits);
    }
}
