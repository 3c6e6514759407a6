/* Quantising floats (quantize.h).
 *
 *     scale = extreme / low * c      w = clamp(round(x / scale), low, high)
 *
 * `extreme` is the group's value of largest magnitude. 8 bits take low = -127, high = 127 and c = 1: clipping
 * the extreme would make the others finer by less than it costs. 4 bits take -8 … 7, so that the extreme
 * lands on the one integer that has no counterpart. A smaller c clips it and is finer for all others, a
 * larger one may suit them better by chance: c runs over a fixed ladder, and what has the least sum of
 * (x - w * scale)^2 wins, the first when several do. Nothing but the weights is looked at, so the result does
 * not depend on any text.
 */
#include "tensor/quantize.h"

#include "tensor/kernels.h"

#include <math.h>
#include <string.h>

/* A group whose largest magnitude is below this becomes zeros: the squares of its errors could not be told
 * apart. */
#define TINY 1e-15f

enum { LANES = 16 };

/* What the integers can be, and the ladder of c: first + i * step, i < candidates. */
typedef struct {
    float low, high, first, step;
    int candidates;
} range;

static range range_of(int bits) {
    return bits == 8 ? (range){-127, 127, 1, 0, 1} : (range){-8, 7, 0.70f, 0.03f, 21};
}

/* x / scale to nearest, ties to even, within the range. Beyond 2^23 floats have no fraction: adding 1.5 *
 * 2^23 and taking it away rounds, for numbers as small as these, and compilers turn it into vectors. */
static inline float round_to(const range *r, float x, float inverse) {
    const float shift = 12582912.0f;
    float q = x * inverse;
    q = q < r->low ? r->low : q;
    q = q > r->high ? r->high : q;
    return (q + shift) - shift;
}

/* sum of (x - w * scale)^2, in lanes of a fixed order */
static float squared_error(const range *r, const float *x, size_t n, float scale) {
    const float inverse = 1 / scale;
    float lane[LANES] = {0}, sum = 0;
    for (size_t i = 0; i < n; i += LANES)
        for (size_t l = 0; l < LANES; l++) {
            const float d = x[i + l] - round_to(r, x[i + l], inverse) * scale;
            lane[l] += d * d;
        }
    for (size_t l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

float tn_quantize_group(int8_t *w, const float *x, size_t n, int bits) {
    const range r = range_of(bits);
    float extreme = 0; /* of the largest magnitude, with its sign */
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    memset(w, 0, n);
    if (fabsf(extreme) < TINY) return 0;

    float best = 0, scale = 0;
    for (int i = 0; i < r.candidates; i++) {
        const float c = r.first + (float)i * r.step;
        const float s = tn_bf16_to_f32(tn_f32_to_bf16(extreme / r.low * c)),
                    error = squared_error(&r, x, n, s);
        if (i == 0 || error < best) {
            best = error;
            scale = s;
        }
    }
    for (size_t i = 0; i < n; i++) w[i] = (int8_t)round_to(&r, x[i], 1 / scale);
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

void tn_quantize_block(unsigned char *data, unsigned char *scales, const float *x, size_t rows, size_t cols,
                       int bits, size_t group, float *padded, int8_t *w) {
    const size_t kpad = tn_q_pad(cols), groups = tn_q_groups(kpad, group);
    memset(padded, 0, kpad * sizeof *padded);
    for (size_t r = 0; r < TN_Q_ROWS; r++) {
        if (r < rows)
            memcpy(padded, x + r * cols, cols * sizeof *padded);
        else
            memset(padded, 0, cols * sizeof *padded);
        for (size_t g = 0; g < groups; g++) {
            const size_t begin = g * group, left = kpad - begin;
            const float scale =
                tn_quantize_group(w + begin, padded + begin, left < group ? left : group, bits);
            tn_store_u16(scales + (g * TN_Q_ROWS + r) * 2, tn_f32_to_bf16(scale));
        }
        place_row(data, w, kpad, r, bits);
    }
}
