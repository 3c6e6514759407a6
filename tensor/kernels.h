/* The arithmetic of the forward pass and of training, as a table of functions.
 *
 * Tiers: "scalar" is the portable definition that the tests believe; "avx2" and "avx512" (x86), "neon",
 * "neondot" and "neoni8mm" (64-bit ARM) do the same with intrinsics and are chosen at run time. Callers hold
 * a `tn_exec` (which table, how many threads) and never name an instruction set.
 *
 * Order of sums. In matmul each output element is a sum over k in a fixed order (drawn in
 * kernels_tier.h) that depends only on k, never on n, m, or how the work was split: one row gives the
 * same bits in prefill, decode and batch, for any number of threads. The error of a sum is at most a few
 * eps * sum_k |x w|, eps = 2^-23.
 *
 * Tiers compared: axpy, add, rope and adam have the same bits in all of them. What sums or takes an exp
 * has the same bits in all but scalar, which differs in the last digits.
 *
 * Unless said otherwise pointers need no alignment beyond float's, outputs do not overlap inputs, and
 * n = 0 is allowed.
 */
#ifndef TENSOR_KERNELS_H
#define TENSOR_KERNELS_H

#include "tensor/dtype.h"

/* A matrix that stays where it is, in the form it is stored in: floats, row-major, or quantised to 8 or 4
 * bits in the layout of docs/FORMATS.md (16 rows interleaved, so that a register holds the same four columns
 * of 16 rows):
 *
 *     bits 8: data   U8   [blocks, kpad/4, 16, 4]   byte = w + 128
 *     bits 4: data   U8   [blocks, kpad/8, 16, 4]   low half = w + 8 of columns 0-3, high half of columns 4-7
 *             steps  I8   [blocks, kpad/32, 16]     of TN_Q_PAD columns each, -15 … 15
 *             scales BF16 [blocks, groups, 16]      value = w * scale, with 4 bits w * step * scale
 *
 * blocks = ceil(rows/16), kpad = cols rounded up to TN_Q_PAD, groups = ceil(kpad/group).
 *
 * Steps make groups of 4 bits cheap: w * step is an integer of 8 bits, -120 … 120, so that products are
 * summed in integers over all of a long group, while each TN_Q_PAD columns have a spread of their own. */
typedef struct {
    const void *data; /* at any address */
    tn_dtype dtype;   /* TN_F32, TN_F16 or TN_BF16; TN_U8 when quantised */
    size_t rows, cols;
    int bits;           /* 0: floats; 8 or 4 */
    size_t group;       /* columns that share a scale, a multiple of TN_Q_PAD; only when quantised */
    const void *scales; /* little-endian BF16; only when quantised */
    const void *steps;  /* only with 4 bits */
} tn_mat;

enum { TN_Q_ROWS = 16, TN_Q_PAD = 32, TN_Q_MAX_STEP = 15 };

/* The most columns of a group. A 32-bit sum holds 65,536 products of 255 * 127; and with 4 bits 16,384 of
 * 8 * 128 * 127, which covers every step that a file may hold, sound or not. */
enum { TN_Q_MAX_GROUP8 = 65536, TN_Q_MAX_GROUP4 = 16384 };
static inline size_t tn_q_max_group(int bits) {
    return bits == 8 ? TN_Q_MAX_GROUP8 : TN_Q_MAX_GROUP4;
}

/* kpad of k columns, and groups of kpad columns. */
static inline size_t tn_q_pad(size_t k) {
    return (k + TN_Q_PAD - 1) / TN_Q_PAD * TN_Q_PAD;
}
static inline size_t tn_q_groups(size_t kpad, size_t group) {
    return (kpad + group - 1) / group;
}

/* Floats of working memory for one thread in a matmul of many rows: see matmul.c. */
enum { TN_MATMUL_ROOM = 24 * (5120 + 128 * 16) };

/* Rows of activations rounded to 8 bits, each group of columns with its own scale: x = q * scale. */
typedef struct {
    int8_t *q;    /* [n, kpad], -127 … 127; zeros beyond the last column */
    float *scale; /* [n, groups] */
    int32_t *sum; /* [n, kpad/32] of the q of TN_Q_PAD columns: what the weights' offset of 128 or 8 has to
                   * give back */
    size_t n, kpad, group, groups;
} tn_qrows;

/* Rows of activations, every number as the sum of three BF16 that it is exactly, laid out as the tier's
 * matmul_split reads them: at most [groups, k/32, 3, 16, 32] BF16, groups of 16 rows, both rounded up. */
typedef struct {
    unsigned char *tiles;
    size_t n, k;
} tn_split;

enum { TN_PAIR_PAD = 32 /* columns of whole tiles in matmul_pairs */ };
enum { TN_SPLIT_GROUP = 16, TN_SPLIT_COLS = 32, TN_SPLIT_PARTS = 3 };

/* A bar that numbers may reach, one for each: c * r[i] + s[i], less the slack a * p[i] + b * q[i]. */
typedef struct {
    const float *p, *q, *r, *s; /* [n] */
    float a, b, c;
} tn_bar;

/* How an Adam step goes. c1 = 1-b1^t, c2 = 1-b2^t, computed in double from these same floats: 1-0.999f is
 * 1e-5 off 1-0.999, and only then does the bias cancel. */
typedef struct {
    float lr, b1, b2, eps, c1, c2;
    float scale; /* of the gradient: below 1 when it is clipped */
} tn_adam;

enum { TN_FMA_LANES = 192, TN_TILE_FLOP = 4 * 2 * 16 * 16 * 32 };

typedef struct {
    const char *name; /* "scalar", "avx2", … */

    /* y[i*ldy + j] = sum_k x[i*ldx + k] * w[j*ldw + k]   i < n, j < m
     * w holds elements of the type in the name, in the machine's byte order, at any address: files do
     * not promise alignment. ldw counts elements. k = 0 gives zeros. Serial, tiled for the caches; faster
     * for many rows when `room` has TN_MATMUL_ROOM floats, aligned to TN_ALIGN, to unpack weights in (or
     * NULL). */
    void (*matmul_f32)(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                       size_t m, size_t k, float *room);
    void (*matmul_f16)(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                       size_t m, size_t k, float *room);
    void (*matmul_bf16)(float *y, size_t ldy, const float *x, size_t ldx, const void *w, size_t ldw, size_t n,
                        size_t m, size_t k, float *room);

    const struct tn_tile *tile_f32; /* how matmul_f32 uses panels (tn_rows_pack), or NULL: it has none */

    /* The same with BF16 weights for processors that multiply BF16 much faster than F32; both NULL where
     * there is no such way. split: writes rows TN_SPLIT_GROUP*g … of x to s. matmul_split: y from all rows of
     * s, j < m; k >= 1; the arithmetic is that of F32 (only additions round), but numbers below 2^-126 count
     * as 0, and sums run in another order than in matmul_bf16, so the bits differ; they do not depend on n or
     * m either. */
    void (*split)(const tn_split *s, const float *x, size_t ldx, size_t g);
    void (*matmul_split)(float *y, size_t ldy, const tn_split *s, const void *w, size_t ldw, size_t m,
                         float *room);

    /* Products of rows rounded to BF16, for processors that multiply BF16 much faster than F32; both NULL
     * where there is no such way. round_pairs: the BF16 nearest to x [k], two columns at a time `stride`
     * bytes apart, zeros up to a multiple of TN_PAIR_PAD; a NaN may become a number, and below 2^-126 a
     * number may count as 0. Returns sum_k (x - rounded)^2, added in 16 lanes. matmul_pairs: y[i*ldy + j] =
     * sum_k x[i][k] w[j][k] of such rows: x [n, kpad] with a stride of 4, w [ceil(m/16), kpad/2, 16, 2] with
     * one of 64. Writes all of the last 16 columns of y. What a product loses is at most (k/32 + 24) 2^-24 of
     * it, and 2^-126 where it passes by a number below that. Serial. */
    float (*round_pairs)(unsigned char *to, size_t stride, const float *x, size_t k);
    void (*matmul_pairs)(float *y, size_t ldy, const unsigned char *x, size_t n, const unsigned char *w,
                         size_t m, size_t k);

    /* One row of tn_qrows: scale[g] = max |x| / 127 over the group and q = x * (127 / max), rounded to
     * nearest, ties to even; sum [kpad/32]. A group whose max is below 1e-30 is all zeros; one that is not
     * finite has scale NaN, so that the result shows it. Every tier gives the same bits. */
    void (*quantize)(int8_t *q, float *scale, int32_t *sum, const float *x, size_t k, size_t group);

    /* y[i*ldy + j] = sum_g x.scale[i][g] * w.scale[j0+j][g] * (sum_{k in g} x.q[i][k] * w[j0+j][k])
     * with w * step in the place of w in matmul_q4,
     * for all rows i of x and j < m; j0 is a multiple of TN_Q_ROWS. The inner sum is exact in 32-bit
     * integers, the outer one runs over g in order: y += (float)inner * (x.scale * w.scale), so the bits of a
     * row depend neither on n nor on m. w.bits says which of the two. Serial. */
    void (*matmul_q8)(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);
    void (*matmul_q4)(float *y, size_t ldy, const tn_qrows *x, const tn_mat *w, size_t j0, size_t m);

    /* Lists in at [n] the i < n, ascending, for which y[i] + (a*p[i] + b*q[i]) < c*r[i] + s[i] is not so - a
     * NaN on either side counts as reaching - and returns how many. Tiers may round differently by a few
     * 2^-24 of the largest term: with a = b = 0 the left side is y[i] itself. */
    size_t (*reaching)(uint32_t *at, const float *y, const tn_bar *bar, size_t n);

    /* sum_i a[i] * b[i], the same order as matmul_f32 */
    float (*dot)(const float *a, const float *b, size_t n);
    /* y[i] += a * x[i] */
    void (*axpy)(float *y, float a, const float *x, size_t n);
    /* Several of these at once, with the same bits (tn_dots and those behind it); NULL where that gains
     * nothing. */
    void (*dots)(float *y, const float *const *x, const float *const *w, size_t count, size_t n);
    void (*axpys)(float *y, const float *a, const float *const *x, size_t count, size_t n);
    void (*dots_axpys)(float *dots, float *y, const float *a, const float *const *x, const float *w,
                       size_t count, size_t n);
    /* to[i] = from[i], past the caches: for what is not read again soon (tn_put_away); or NULL */
    void (*put_away)(float *to, const float *from, size_t n);
    /* y[i] += x[i]; y may equal x */
    void (*add)(float *y, const float *x, size_t n);

    /* y[i] = x[i] / sqrt(mean_j x[j]^2 + eps) * gain[i]; y may equal x
     * (Zhang & Sennrich 2019, arXiv:1910.07467) */
    void (*rmsnorm)(float *y, const float *x, const float *gain, size_t d, float eps);
    /* Rotates pairs (x[i], x[i + half]) by the angle whose cosine and sine are given:
     * x[i] = x[i]*c[i] - x[i+half]*s[i], x[i+half] = x[i+half]*c[i] + x[i]*s[i]   i < half
     * (rotate-half form of Su et al. 2021, arXiv:2104.09864) */
    void (*rope)(float *x, const float *c, const float *s, size_t half);
    /* x = exp(x - max) / sum, in place; n >= 1. exp's relative error is below 2e-7. */
    void (*softmax)(float *x, size_t n);
    /* y[i] = gate[i] / (1 + exp(-gate[i])) * up[i]; y may equal gate or up (Shazeer 2020,
     * arXiv:2002.05202) */
    void (*swiglu)(float *y, const float *gate, const float *up, size_t n);

    /* One Adam step (Kingma & Ba 2015, arXiv:1412.6980, algorithm 1) over p, g, m, v [n], with h = *how:
     * m = h.b1*m + (1-h.b1)*G; v = h.b2*v + (1-h.b2)*G^2; p -= h.lr * (m/h.c1) / (sqrt(v/h.c2) + h.eps)
     * where G = h.scale * g. Every operation rounds once, as plain C does. */
    void (*adam)(float *p, const float *g, float *m, float *v, size_t n, const tn_adam *how);

    /* `rounds` times TN_FMA_LANES independent multiply-adds between registers, as fast as the tier can;
     * nothing is for use, sink [TN_FMA_LANES] only keeps the compiler from leaving it out. Measures the
     * peak that matmul is compared with (peaks.h); may be NULL, then nothing is. */
    void (*fma_rounds)(float *sink, size_t rounds);
    /* The same for the products that matmul_split is made of: `rounds` times TN_TILE_FLOP operations in BF16;
     * NULL together with matmul_split. */
    void (*tile_rounds)(size_t rounds);
} tn_kernels;

/* The best table this processor and operating system run, or the one called `name`; NULL when `name`
 * is unknown or cannot run here. name NULL or "" = best. Tables are constants. */
const tn_kernels *tn_kernels_select(const char *name);
/* Table i of those that run here, best first; NULL beyond the last. "scalar" is always there. */
const tn_kernels *tn_kernels_at(int i);

/* How to run: handed to everything that computes. Copy freely. */
typedef struct {
    const tn_kernels *k;
    int threads; /* >= 1 */
    float *room; /* [threads, TN_MATMUL_ROOM] aligned to TN_ALIGN, for one call at a time: products with many
                  * rows are faster with it; or NULL */
} tn_exec;

/* Best kernels (or those called `isa`), `threads` threads (0 = one per core). k is NULL when `isa` cannot
 * run here. No room. */
tn_exec tn_exec_make(const char *isa, int threads);

/* Bytes of w: all that a product with it has to read. */
size_t tn_mat_bytes(const tn_mat *w);

/* dst[cols] = row `row` of w as F32. */
void tn_mat_row(float *dst, const tn_mat *w, size_t row);

/* Bytes of scratch that tn_linear needs for n rows of k columns when the weights are quantised or BF16; 0 on
 * overflow. */
size_t tn_linear_scratch(size_t n, size_t k);

/* y[n, w.rows] = x[n, w.cols] · wᵀ + bias[w.rows] (bias may be NULL), split over threads and tiled so
 * that a block of w is read from memory once for all n rows. This is HF's nn.Linear. Quantised and BF16
 * weights need scratch (tn_linear_scratch bytes) for x in 8 bits or in parts; with F32 and F16 it may be
 * NULL.
 *
 * Which kernel computes depends on the tier and on w alone, never on n: matmul_split, where there is one, for
 * BF16 matrices of more than TN_NARROW_COLS columns. Narrower ones, whose models are small enough for the
 * caches, gain little by it, and so have the same bits in all vector tiers. */
enum { TN_NARROW_COLS = 512 };
int tn_is_split(const tn_kernels *k, const tn_mat *w); /* 1: matmul_split computes products with w */
void tn_linear(tn_exec ex, float *y, const float *x, const tn_mat *w, const float *bias, size_t n,
               void *scratch);

/* Several such products of one input in one sweep over the threads (q, k and v; gate and up). All w have the
 * same cols, and the quantised ones the same group. */
typedef struct {
    float *y; /* [n, w->rows] */
    const tn_mat *w;
    const float *bias; /* [w->rows] or NULL */
} tn_product;
void tn_linear_all(tn_exec ex, const tn_product *p, int count, const float *x, size_t n, void *scratch);

/* The same with strides: y[i*ldy + j], x[i*ldx + k], all F32, w[j*ldw + k]. Used for gradients. */
void tn_matmul_f32(tn_exec ex, float *y, size_t ldy, const float *x, size_t ldx, const float *w, size_t ldw,
                   size_t n, size_t m, size_t k);

/* Rows x [n, k] that are going to meet one block of F32 weights after the other: packed in the order in which
 * the tiles of the tier need them, where it has such tiles and they are not too wide. Borrows x and the room,
 * tn_rows_room floats (SIZE_MAX on overflow), aligned to TN_ALIGN; NULL: as for matmul_f32, which then does
 * the work. */
typedef struct {
    const float *x;
    float *room;
    size_t n, k;
    int packed;
} tn_rows;
size_t tn_rows_room(size_t n, size_t k);
tn_rows tn_rows_pack(const tn_kernels *k, const float *x, size_t n, size_t width, float *room);
/* y[i*ldy + j] = sum_k x[i][k] * w[j][k]   i < n, j < m: the bits of matmul_f32. Serial. */
void tn_matmul_rows(const tn_kernels *k, float *y, size_t ldy, const tn_rows *x, const float *w, size_t m);

/* y[c] = sum_i x[c][i] * w[c][i]   c < count: the bits of k->dot, but the sums do not wait for each other. */
void tn_dots(const tn_kernels *k, float *y, const float *const *x, const float *const *w, size_t count,
             size_t n);
/* y[i] += a[c] * x[c][i] for c = 0 … count-1 in this order: the bits of k->axpy, but y is read and written
 * once. */
void tn_axpys(const tn_kernels *k, float *y, const float *a, const float *const *x, size_t count, size_t n);
/* Both, while each x is read once: dots[c] = sum_i x[c][i] * w[i], y[i] += a[c] * x[c][i]. y is none of x, w.
 */
void tn_dots_axpys(const tn_kernels *k, float *dots, float *y, const float *a, const float *const *x,
                   const float *w, size_t count, size_t n);

/* to[n] = from[n], which do not overlap; `to` does not come into the caches where the tier can avoid it. */
void tn_put_away(const tn_kernels *k, float *to, const float *from, size_t n);

/* dst[cols, rows] = srcᵀ, src[rows, cols] with row stride ld. */
void tn_transpose(tn_exec ex, float *dst, const float *src, size_t rows, size_t cols, size_t ld);

#endif
