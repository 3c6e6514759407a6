/* From floats to 8- and 4-bit integers with a scale for each group of columns; the layout is the one of
 * docs/FORMATS.md. */
#ifndef TENSOR_QUANTIZE_H
#define TENSOR_QUANTIZE_H

#include "tensor/base.h"

/* w[n] = x[n] / scale, rounded to -127 … 127 (bits 8) or -8 … 7 (bits 4), and returns the scale: with
 * 4 bits, of 21 candidates the one whose w * scale comes closest to x in the sum of squares. It is a number
 * that BF16 holds. n is a multiple of TN_Q_PAD, and all x are finite. */
float tn_quantize_group(int8_t *w, const float *x, size_t n, int bits);

/* A block: up to TN_Q_ROWS rows of `cols` floats x [rows, cols] become
 *     data [kpad/4 or kpad/8, 64] and scales [groups, TN_Q_ROWS] BF16, little-endian.
 * Rows and columns beyond the matrix are zeros. padded [kpad] and w [kpad] are scratch. */
void tn_quantize_block(unsigned char *data, unsigned char *scales, const float *x, size_t rows, size_t cols,
                       int bits, size_t group, float *padded, int8_t *w);

#endif
