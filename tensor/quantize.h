/* From floats to 8- and 4-bit integers with a scale for each group of columns; the layout is the one of
 * docs/FORMATS.md. */
#ifndef TENSOR_QUANTIZE_H
#define TENSOR_QUANTIZE_H

#include "tensor/base.h"

/* w[n] = x[n] / scale, rounded to -127 … 127, and returns the scale, a number that BF16 holds. n is a
 * multiple of TN_Q_PAD, and all x are finite. */
float tn_quantize_group8(int8_t *w, const float *x, size_t n);

/* The same for 4 bits: w[n] = x[n] / (step * scale), rounded to -8 … 7, with a step of -15 … 15 for each
 * TN_Q_PAD of x, steps [n / TN_Q_PAD]. Of some candidates those steps and that scale are taken whose w * step
 * * scale come closest to x in the sum of squares. */
float tn_quantize_group4(int8_t *w, int8_t *steps, const float *x, size_t n);

/* A block: up to TN_Q_ROWS rows of `cols` floats x [rows, cols] become
 *     data [kpad/4 or kpad/8, 64], scales [groups, TN_Q_ROWS] BF16, little-endian, and with 4 bits
 *     steps [kpad / TN_Q_PAD, TN_Q_ROWS] (with 8 NULL).
 * Rows and columns beyond the matrix are zeros. padded [kpad] and w [kpad] are scratch. */
void tn_quantize_block(unsigned char *data, int8_t *steps, unsigned char *scales, const float *x, size_t rows,
                       size_t cols, int bits, size_t group, float *padded, int8_t *w);

#endif
