/* The loop nest of matmul, shared by all tiers: it decides which tile comes when, never how a sum is
 * made (kernels_tier.h), so blocking changes speed and not one bit of the result.
 *
 *     for each block of 128 rows of w              \  w's block of one chunk, 256 KB in F32,
 *       for each chunk of 512 columns              /  stays in L2 for all rows of x
 *         for each tile-high strip of x's rows        8 rows of x, 16 KB, stay in L1
 *           for each tile-wide strip of w's rows      streams from L2
 *             tile
 *
 * After Goto & van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008,
 * without their packing: both operands already run along k.
 */
#include "tensor/kernels_tier.h"

enum { BLOCK = 128 };

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

void tn_matmul_tiled(const tn_tile *tile, float *y, size_t ldy, const float *x, size_t ldx, const void *w,
                     size_t ldw, size_t n, size_t m, size_t k) {
    const unsigned char *wb = w;
    /* With one strip of x there is nothing to reuse w for, and the speed is that of reading w. One row of
     * w after the other is one stream through memory, which prefetchers follow better than several. */
    const size_t block = n > tile->rows ? BLOCK : 1;
    for (size_t j0 = 0; j0 < m; j0 += block) {
        const size_t j1 = min_size(j0 + block, m);
        size_t k0 = 0;
        do { /* at least once: k = 0 gives zeros */
            const size_t kn = min_size(k - k0, TN_CHUNK);
            for (size_t i = 0; i < n; i += tile->rows) {
                const size_t rows = min_size(n - i, tile->rows);
                for (size_t j = j0; j < j1; j += tile->cols) {
                    const size_t cols = min_size(j1 - j, tile->cols);
                    tile->fn(y + i * ldy + j, ldy, x + i * ldx + k0, ldx, wb + (j * ldw + k0) * tile->w_size,
                             ldw, rows, cols, kn, k0 > 0);
                }
            }
            k0 += kn;
        } while (k0 < k);
    }
}
