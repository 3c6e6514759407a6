/* Matrices of safetensors files, as floats or quantised; the layout is drawn in docs/FORMATS.md.
 *
 *     NAME           F32, F16 or BF16   [rows, cols]
 * or
 *     NAME.q8        U8                 [blocks, kpad/4, 64]
 *  or NAME.q4        U8                 [blocks, kpad/8, 64]
 *     NAME.steps     I8                 [blocks, kpad/32, 16]    with .q4
 *     NAME.scales    BF16               [blocks, groups, 16]
 *
 * with blocks, kpad and groups as in tensor/kernels.h. The group's size is a decimal number in __metadata__
 * under TN_Q_GROUP_KEY; embedding and head have their own under TN_Q_HEAD_GROUP_KEY where that is there.
 */
#ifndef TENSOR_MAT_FILE_H
#define TENSOR_MAT_FILE_H

#include "tensor/kernels.h"
#include "tensor/safetensors.h"

#define TN_Q_GROUP_KEY "quant_group"
#define TN_Q_HEAD_GROUP_KEY "quant_group_head"
#define TN_Q_SCALES_SUFFIX ".scales"
#define TN_Q_STEPS_SUFFIX ".steps"

/* 1 for the names of the embedding and of the head. */
int tn_mat_is_head(const char *name);

/* ".q8" or ".q4" */
const char *tn_q_suffix(int bits);

/* Shapes of the tensors of a quantised matrix, zeros for steps that it has none of; TN_ESHAPE when rows or
 * cols are beyond what can be counted.
 */
typedef struct {
    size_t data[3], steps[3], scales[3];
} tn_q_shapes;
int tn_q_shapes_of(tn_q_shapes *out, size_t rows, size_t cols, int bits, size_t group, tn_err *e);

/* TN_EARG unless `group` is a multiple of TN_Q_PAD up to tn_q_max_group(bits). */
int tn_q_check_group(size_t group, int bits, tn_err *e);

/* 1 when NAME is there in any form. */
int tn_mat_exists(const tn_safetensors *f, const char *name);

/* The matrix NAME [rows, cols] of f, in whichever form it is there; *out points into f. Types and shapes are
 * demanded: TN_EFORMAT, TN_ESHAPE. */
int tn_mat_take(tn_mat *out, const tn_safetensors *f, const char *name, size_t rows, size_t cols, tn_err *e);

#endif
