/* Tiles of AMX for kernels_amx*.c: how they are set up, and 16 x 16 numbers turned over.
 *
 * A tile is a register of up to 16 rows of 64 bytes; one instruction multiplies two of them and adds to a
 * third,
 *
 *     C [16, 16] of 32 bits  +=  A [16, depth] * B [depth, 16]        depth 32 of 16 bits, 64 of 8
 *
 * where 32 bits of B hold the 2 or 4 numbers of one column that follow each other along the depth (Intel
 * Architecture Instruction Set Extensions Programming Reference, chapter "Intel AMX"). The row of C that
 * belongs to a row of A, and the column that belongs to a column of B, are summed on their own in a fixed
 * order along the depth: what lies beside them changes no bit.
 */
#ifndef TENSOR_KERNELS_X86_AMX_H
#define TENSOR_KERNELS_X86_AMX_H

#include "tensor/kernels_tier.h"

#include <immintrin.h>
#include <string.h>

enum { TILE_ROWS = 16, TILE_ROW_BYTES = 64, TILE_BYTES = TILE_ROWS * TILE_ROW_BYTES, TILES = 8 };

/* The first `count` lanes of 16, or all of them. */
static inline __mmask16 first_lanes(size_t count) {
    return count >= 16 ? (__mmask16)0xFFFF : (__mmask16)((1u << count) - 1);
}

/* Operand of LDTILECFG. */
typedef struct {
    uint8_t palette, start_row, zero[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes;

/* All eight tiles whole. Whoever configures calls _tile_release when done: tiles in use make task switches
 * slower. */
static inline tile_shapes whole_tiles(void) {
    tile_shapes shapes = {.palette = 1};
    for (int i = 0; i < TILES; i++) {
        shapes.row_bytes[i] = TILE_ROW_BYTES;
        shapes.rows[i] = TILE_ROWS;
    }
    return shapes;
}

/* The shapes must be in memory whole: GCC 12 believes that the intrinsic reads eight bytes of them. */
static inline void configure_tiles(const tile_shapes *shapes) {
    __asm__ volatile("" : : "r"(shapes) : "memory");
    _tile_loadconfig(shapes);
}

/* The upper halves of 2 x 16 floats: 32 BF16, rounded toward zero. */
TN_INLINE __m512i upper_halves(__m512 first, __m512 second) {
    const __m512i odd = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31,
                                         29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    return _mm512_permutex2var_epi16(_mm512_castps_si512(first), odd, _mm512_castps_si512(second));
}

/* r[i] lane j <-> r[j] lane i: pairs, then fours, then quarters of registers change places. */
TN_INLINE void transpose16(__m512i r[16]) {
    __m512i t[16];
    TN_UNROLL for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    TN_UNROLL for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    /* r[4a + c] quarter q now holds lanes of column 4q + c, rows 4a … 4a+3. */
    TN_UNROLL for (int c = 0; c < 4; c++) {
        const __m512i low01 = _mm512_shuffle_i32x4(r[c], r[c + 4], 0x88);
        const __m512i low23 = _mm512_shuffle_i32x4(r[c + 8], r[c + 12], 0x88);
        const __m512i high01 = _mm512_shuffle_i32x4(r[c], r[c + 4], 0xDD);
        const __m512i high23 = _mm512_shuffle_i32x4(r[c + 8], r[c + 12], 0xDD);
        t[c] = _mm512_shuffle_i32x4(low01, low23, 0x88);
        t[c + 8] = _mm512_shuffle_i32x4(low01, low23, 0xDD);
        t[c + 4] = _mm512_shuffle_i32x4(high01, high23, 0x88);
        t[c + 12] = _mm512_shuffle_i32x4(high01, high23, 0xDD);
    }
    TN_UNROLL for (int i = 0; i < 16; i++) r[i] = t[i];
}

#endif
