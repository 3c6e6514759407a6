/* What the tiers share behind tensor/kernels.h; only kernels_*.c, matmul.c and cpu.c include this.
 *
 * The order of one sum, the same picture in every tier. With p[k] = x[k] * w[k]:
 *
 *     lane  0:  p[0]  + p[16] + p[32] + …     lane l adds every 16th product in the order of k,
 *     lane  1:  p[1]  + p[17] + p[33] + …
 *       …
 *     lane 15:  p[15] + p[31] + p[47] + …
 *
 *     0…7 += 8…15,  0…3 += 4…7,  0,1 += 2,3,  0 += 1    and the lanes fold in half four times.
 *
 * Sixteen lanes are one register of AVX-512 or two of AVX2, so every tier uses its full width without
 * reordering anything; AVX2, AVX-512 and NEON fuse each multiply with its add (one rounding, FMA) and give
 * the same bits, the scalar tier rounds twice. Sixteen chains instead of one also shorten the way of a
 * rounding error: it is at most about (k/16 + 4) * eps * sum |p|, and far less in practice, against
 * k * eps * sum |p| for one running total (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.,
 * section 4.2). Lanes may be put aside and taken up again, which changes nothing; folding them earlier would.
 */
#ifndef TENSOR_KERNELS_TIER_H
#define TENSOR_KERNELS_TIER_H

#include "tensor/kernels.h"

enum { TN_LANES = 16 };

/* Folds lane [16] in half four times and returns the sum; overwrites lane. */
static inline float tn_fold_lanes(float *lane) {
    for (int width = TN_LANES / 2; width > 0; width /= 2)
        for (int l = 0; l < width; l++) lane[l] += lane[l + width];
    return lane[0];
}

/* The inner piece of matmul where weights are used as they are stored:
 *     y[i*ldy + j] = sum_k x[i*ldx + k] * w[j*ldw + k]   i < rows (at most the tile's), j < cols (any)
 * ldw counts elements of w's type; w may be at any address. */
typedef void (*tn_tile_fn)(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw,
                           size_t rows, size_t cols, size_t k);

/* Where many rows share the weights, these are first unpacked into panels of a few columns, F32 and in the
 * order in which they are needed:  panel [ceil(k/16), TN_PANEL_COLS, 16], zeros beyond k. Where many weights
 * share the rows, it is these that the pack of F32 unpacks. */
enum { TN_PANEL_COLS = 3, TN_PANEL_DEPTH = 5120 };
typedef void (*tn_pack_fn)(float *panel, const void *w, size_t ldw, size_t k);

/* Where element [i, j] of a tile goes: y[i*down + j*right]; one of them is 1. */
typedef struct {
    float *y;
    size_t down, right;
} tn_place;

/* tn_tile.panel_rows rows by TN_PANEL_COLS columns of matmul from a panel, k columns of what may be more: the
 * lanes of the sums begin as `lanes` [rows, cols, 16], or at 0 when it is the first of them, and go back
 * there, unless it is the last and they fold into y. x is read up to k and no further. */
typedef void (*tn_panel_fn)(tn_place y, const float *x, size_t ldx, const float *panel, size_t k,
                            float *lanes, int first, int last);
enum { TN_PANEL_MOST_ROWS = 8 };

typedef struct tn_tile {
    tn_tile_fn fn;
    size_t rows;     /* at most in one call: as many sums as the registers hold */
    size_t w_size;   /* bytes of an element of w */
    tn_pack_fn pack; /* these three are 0 in a tier without panels */
    tn_panel_fn panel;
    size_t panel_rows;
    size_t panel_depth; /* columns of a panel, at most TN_PANEL_DEPTH */
} tn_tile;

/* matmul of kernels.h, cut into tiles in an order that suits the caches. */
void tn_matmul_tiled(const tn_tile *tile, float *y, size_t ldy, const float *x, size_t ldx, const void *w,
                     size_t ldw, size_t n, size_t m, size_t k, float *room);

/* Tiles of the tiers whose matmul has a file of its own. */
extern const tn_tile tn_avx2_f32, tn_avx2_f16, tn_avx2_bf16;
extern const tn_tile tn_avx512_f32, tn_avx512_f16, tn_avx512_bf16;
extern const tn_tile tn_neon_f32, tn_neon_f16, tn_neon_bf16;

/* kernels_avx512_matmul.c: it folds sums as matmul does */
void tn_avx512_dots(float *y, const float *const *x, const float *const *w, size_t count, size_t n);
void tn_avx512_dots_axpys(float *dots, float *y, const float *a, const float *const *x, const float *w,
                          size_t count, size_t n);

/* kernels_scalar.c: for tiers that have none of their own. */
size_t tn_scalar_reaching(uint32_t *at, const float *y, const tn_bar *bar, size_t n);

/* ---- Quantised weights ---- */

/* The sum of the q of columns begin … end-1 of row i, multiples of TN_Q_PAD. */
static inline int32_t tn_q_sum(const tn_qrows *x, size_t i, size_t begin, size_t end) {
    const int32_t *sum = x->sum + i * (x->kpad / TN_Q_PAD);
    int32_t total = 0;
    for (size_t part = begin / TN_Q_PAD; part < end / TN_Q_PAD; part++) total += sum[part];
    return total;
}

/* Rows of x at TN_Q_PAD columns. */
typedef struct {
    const int8_t *q; /* [rows, ldq] */
    size_t ldq;
    const int32_t *sum; /* [rows, ldsum] */
    size_t ldsum;
} tn_slab;

static inline tn_slab tn_slab_at(const tn_qrows *x, size_t row, size_t column) {
    const size_t slabs = x->kpad / TN_Q_PAD;
    return (tn_slab){x->q + row * x->kpad + column, x->kpad, x->sum + row * slabs + column / TN_Q_PAD, slabs};
}

/* A group whose largest |x| is below this is rounded to zeros: 127 / max must stay finite. */
#define TN_Q_TINY 1e-30f

/* kernels_scalar_quant.c: the reference of quantize, matmul_q8 and matmul_q4. */
void tn_scalar_quantize(int8_t *q, float *scale, int32_t *sum, const float *x, size_t k, size_t group);
void tn_scalar_matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);
void tn_scalar_matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);

/* Those of the x86 tiers, kernels_TIER_quant.c; the tiers with VNNI have the quantize of those without. */
void tn_avx2_quantize(int8_t *q, float *scale, int32_t *sum, const float *x, size_t k, size_t group);
void tn_avx512_quantize(int8_t *q, float *scale, int32_t *sum, const float *x, size_t k, size_t group);
void tn_avx2_matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);
void tn_avx2_matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);
void tn_avxvnni_matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);
void tn_avxvnni_matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);
void tn_avx512_matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);
void tn_avx512_matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);
void tn_avx512vnni_matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);
void tn_avx512vnni_matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);

/* kernels_amx.c, for the tier "amx" */
void tn_amx_split(const tn_split *s, const float *x, size_t ldx, size_t g);
void tn_amx_matmul_split(float *y, size_t ldy, const tn_split *s, const void *w, size_t ldw, size_t m,
                         float *room);
void tn_amx_tile_rounds(size_t rounds);
void tn_amx_matmul_q8(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);
void tn_amx_matmul_q4(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);

/* kernels_amx_pairs.c */
float tn_amx_round_pairs(unsigned char *to, size_t stride, const float *x, size_t k);
void tn_amx_matmul_pairs(float *y, size_t ldy, const unsigned char *x, size_t n, const unsigned char *w,
                         size_t m, size_t k);

/* The tables. All but the first are NULL where the compiler was not told to use the instruction set; whether
 * the processor has it is for cpu.c to find out. */
const tn_kernels *tn_tier_scalar(void);
const tn_kernels *tn_tier_avx2(void);
const tn_kernels *tn_tier_avxvnni(void); /* NULL also where the compiler does not know the instruction set */
const tn_kernels *tn_tier_avx512(void);
const tn_kernels *tn_tier_avx512vnni(void);
const tn_kernels *tn_tier_amx(void); /* NULL also where the compiler does not know the instruction set */
const tn_kernels *tn_tier_neon(void);
const tn_kernels *tn_tier_neondot(void);
const tn_kernels *tn_tier_neoni8mm(void);

/* For the intrinsics files: loops of constant length over arrays of registers must be unrolled, or the
 * arrays would live in memory. Clang takes GCC's pragma too, but obeys it too late for that. A build with the
 * sanitizers (TN_SANITIZED) leaves the loops as they are: with a check at every access the compiler would
 * take minutes for one file. */
#define TN_INLINE static inline __attribute__((always_inline))
#if defined(TN_SANITIZED)
#define TN_UNROLL
#elif defined(__clang__)
#define TN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define TN_UNROLL _Pragma("GCC unroll 32")
#endif

#endif
