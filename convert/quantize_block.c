/* Quantising floats (quantize_block.h). */
#include "convert/quantize_block.h"

#include "tensor/kernels.h"

#include <math.h>
#include <string.h>

/* A group whose largest magnitude is below this becomes zeros: 1 / scale must stay finite. */
#define TINY 1e-30f

float convert_quantize_group(int8_t *w, const float *x, size_t n, int bits) {
    const int low = bits == 8 ? -128 : -8, high = -low - 1;
    float extreme = 0; /* of the largest magnitude, with its sign */
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    memset(w, 0, n);
    if (fabsf(extreme) < TINY) return 0;
    const float scale = tn_bf16_to_f32(tn_f32_to_bf16(extreme / (float)low)), inverse = 1 / scale;
    for (size_t i = 0; i < n; i++) {
        const float q = rintf(x[i] * inverse);
        w[i] = (int8_t)(q < (float)low ? low : q > (float)high ? high : (int)q);
    }
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

void convert_quantize_block(unsigned char *data, unsigned char *scales, const float *x, size_t rows,
                            size_t cols, int bits, size_t group, int8_t *w) {
    const size_t kpad = tn_q_pad(cols), groups = tn_q_groups(kpad, group);
    for (size_t r = 0; r < TN_Q_ROWS; r++) {
        memset(w, 0, kpad);
        for (size_t g = 0; g < groups; g++) {
            const size_t begin = g * group, left = begin < cols ? cols - begin : 0;
            float scale = 0;
            if (r < rows && left)
                scale = convert_quantize_group(w + begin, x + r * cols + begin, left < group ? left : group,
                                               bits);
            tn_store_u16(scales + (g * TN_Q_ROWS + r) * 2, tn_f32_to_bf16(scale));
        }
        place_row(data, w, kpad, r, bits);
    }
}
