/* The loop nests of matmul, shared by all tiers: they decide which tile comes when, never how a sum is
 * made (kernels_tier.h), so blocking changes speed and not one bit of the result.
 *
 * Few rows of x: each weight is used so seldom that the time is that of reading it from memory, so w is read
 * once, as it is stored, in its order.
 *
 * Many rows, when there is room: from panels.
 *
 *     for each block of 24 rows of w
 *       for each block of the tile's panel_depth columns   (of w and x)
 *         unpack it into 8 panels, at most 480 KB in F32, which stay in L2 for all rows of x
 *         for each strip of panel_rows rows of x               stays in L1 or L2 for all panels
 *           for each panel: tile, and some of what the next block will unpack is asked for
 *
 * Where one block of columns is not the whole width, the lanes of a tile's sums are put aside between them,
 * for 128 rows of x at a time, after which the next 128 begin anew.
 *
 * After Goto & van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34(3), 2008; but
 * x needs no packing, as both operands already run along k.
 *
 * Where the same rows meet one block of weights after the other (tn_matmul_rows), x and w change places: the
 * rows of x are unpacked into panels once, and for each strip of panel_rows rows of w, which stays in L1,
 * comes each panel of x, and a tile of yᵀ from the two. No weight is copied then.
 */
#include "tensor/kernels_tier.h"
#include "tensor/swar.h"

enum {
    BLOCK_COLS = 24,   /* a multiple of TN_PANEL_COLS */
    PARKED_ROWS = 128, /* a multiple of every tier's panel_rows */
    FEW_ROWS = 16,     /* fewer are not worth unpacking for */
    BLOCK_BYTES = 256 * 1024
};

_Static_assert(TN_MATMUL_ROOM == BLOCK_COLS * (TN_PANEL_DEPTH + PARKED_ROWS * TN_LANES),
               "the room of kernels.h");

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

/* The operands of matmul in kernels.h. */
typedef struct {
    float *y;
    size_t ldy;
    const float *x;
    size_t ldx;
    const unsigned char *w;
    size_t ldw, n, m, k;
} operands;

/* Asks for some bytes, from `from` on, of so many rows of w that come next; behind w's end, in vain. */
static void ask_for(const unsigned char *w, size_t rows, size_t row_bytes, size_t from, size_t some) {
    for (size_t j = 0; j < rows; j++) tn_prefetch(w + j * row_bytes + from, some);
}

/* How many of so many bytes to ask for each time, when there are so many times. */
static size_t share(size_t bytes, size_t times) {
    return (bytes / times + TN_LINE) / TN_LINE * TN_LINE;
}

static size_t panel_floats(size_t k) {
    return (k + TN_LANES - 1) / TN_LANES * TN_LANES * TN_PANEL_COLS;
}

/* n, m and k are those of a block: whole tiles, at most BLOCK_COLS columns. Meanwhile the rows of the next
 * block come nearer, in as many parts as there are strips. */
static void block_from_panels(const tn_tile *tile, const operands *o, float *room, int first, int last) {
    const size_t tile_lanes = tile->panel_rows * TN_PANEL_COLS * TN_LANES;
    const size_t row_bytes = o->ldw * tile->w_size, bytes = o->k * tile->w_size;
    const size_t size = panel_floats(o->k), some = share(bytes, o->n / tile->panel_rows);
    const unsigned char *next = last ? o->w + BLOCK_COLS * row_bytes : o->w + bytes;
    float *lanes = room + BLOCK_COLS * TN_PANEL_DEPTH;
    const int parks = !(first && last);
    for (size_t j = 0; j < o->m; j += TN_PANEL_COLS)
        tile->pack(room + j / TN_PANEL_COLS * size, o->w + j * row_bytes, o->ldw, o->k);
    for (size_t i = 0, asked = 0; i < o->n; i += tile->panel_rows, asked += some)
        for (size_t j = 0; j < o->m; j += TN_PANEL_COLS) {
            if (asked < bytes) ask_for(next + j * row_bytes, TN_PANEL_COLS, row_bytes, asked, some);
            tile->panel((tn_place){o->y + i * o->ldy + j, o->ldy, 1}, o->x + i * o->ldx, o->ldx,
                        room + j / TN_PANEL_COLS * size, o->k, lanes, first, last);
            if (parks) lanes += tile_lanes;
        }
}

static void from_panels(const tn_tile *tile, const operands *all, float *room) {
    const size_t blocks = all->k / tile->panel_depth + (all->k % tile->panel_depth != 0);
    const size_t depth = (all->k / blocks + TN_LANES) / TN_LANES * TN_LANES; /* of a block, about equal */
    const size_t rows = blocks == 1 ? all->n : PARKED_ROWS;
    for (size_t j = 0; j < all->m; j += BLOCK_COLS)
        for (size_t i = 0; i < all->n; i += rows)
            for (size_t k = 0; k < all->k; k += depth) {
                operands o = *all;
                o.y += i * o.ldy + j;
                o.x += i * o.ldx + k;
                o.w += (j * o.ldw + k) * tile->w_size;
                o.n = min_size(o.n - i, rows);
                o.m = min_size(o.m - j, BLOCK_COLS);
                o.k = min_size(o.k - k, depth);
                block_from_panels(tile, &o, room, k == 0, k + o.k == all->k);
            }
}

/* With weights as they are stored. */
static void direct(const tn_tile *tile, const operands *o) {
    /* Of a block of w's rows that stays in L2 for all strips of x; or, for one strip, all of them. */
    const size_t row_bytes = o->k * tile->w_size, fit = BLOCK_BYTES / (row_bytes + 1);
    const size_t block = o->n <= tile->rows ? o->m : fit < BLOCK_COLS ? BLOCK_COLS : fit;
    for (size_t j = 0; j < o->m; j += block)
        for (size_t i = 0; i < o->n; i += tile->rows)
            tile->fn(o->y + i * o->ldy + j, o->ldy, o->x + i * o->ldx, o->ldx,
                     o->w + j * o->ldw * tile->w_size, o->ldw, min_size(o->n - i, tile->rows),
                     min_size(o->m - j, block), o->k);
}

void tn_matmul_tiled(const tn_tile *tile, float *y, size_t ldy, const float *x, size_t ldx, const void *w,
                     size_t ldw, size_t n, size_t m, size_t k, float *room) {
    const operands all = {y, ldy, x, ldx, w, ldw, n, m, k};
    if (room == NULL || tile->pack == NULL || n < FEW_ROWS || k == 0) {
        direct(tile, &all);
        return;
    }
    /* Whole tiles from panels, then the columns and the rows that are left over. */
    operands whole = all, right = all, below = all;
    whole.n -= n % tile->panel_rows;
    whole.m -= m % TN_PANEL_COLS;
    from_panels(tile, &whole, room);
    right.y += whole.m;
    right.w += whole.m * ldw * tile->w_size;
    right.m -= whole.m;
    direct(tile, &right);
    below.y += whole.n * ldy;
    below.x += whole.n * ldx;
    below.n -= whole.n;
    below.m = whole.m;
    direct(tile, &below);
}

/* ---- Rows that many weights meet ---- */

static size_t panels_of(size_t n) {
    return (n + TN_PANEL_COLS - 1) / TN_PANEL_COLS;
}

/* The first row of panel p. The last panel begins before its turn where n is no multiple of 3, as the last
 * strip of w does: what is computed twice has the same bits. */
static size_t row_of_panel(const tn_rows *x, size_t p) {
    return min_size(p * TN_PANEL_COLS, x->n - TN_PANEL_COLS);
}

size_t tn_rows_room(size_t n, size_t k) {
    size_t packed = 0;
    if (tn_mul_size(panels_of(n), panel_floats(k), &packed)) return SIZE_MAX;
    return packed > TN_MATMUL_ROOM ? packed : TN_MATMUL_ROOM;
}

tn_rows tn_rows_pack(const tn_kernels *k, const float *x, size_t n, size_t width, float *room) {
    const tn_tile *tile = k->tile_f32;
    tn_rows rows = {.x = x, .room = room, .n = n, .k = width};
    rows.packed = room && tile && n >= FEW_ROWS && width > 0 && width <= tile->panel_depth;
    for (size_t p = 0; p < panels_of(n) && rows.packed; p++)
        tile->pack(room + p * panel_floats(width), x + row_of_panel(&rows, p) * width, width, width);
    return rows;
}

void tn_matmul_rows(const tn_kernels *k, float *y, size_t ldy, const tn_rows *x, const float *w, size_t m) {
    const tn_tile *tile = k->tile_f32;
    if (!x->packed || m < tile->panel_rows) {
        k->matmul_f32(y, ldy, x->x, x->k, w, x->k, x->n, m, x->k, x->packed ? NULL : x->room);
        return;
    }
    _Alignas(TN_ALIGN) float lanes[TN_PANEL_MOST_ROWS * TN_PANEL_COLS * TN_LANES];
    const size_t bytes = x->k * sizeof *w, panels = panels_of(x->n), some = share(bytes, panels);
    for (size_t at = 0; at < m; at += tile->panel_rows) {
        const size_t j = min_size(at, m - tile->panel_rows);
        const float *strip = w + j * x->k, *next = strip + tile->panel_rows * x->k;
        for (size_t p = 0, asked = 0; p < panels; p++, asked += some) {
            if (asked < bytes) ask_for((const unsigned char *)next, tile->panel_rows, bytes, asked, some);
            tile->panel((tn_place){y + row_of_panel(x, p) * ldy + j, 1, ldy}, strip, x->k,
                        x->room + p * panel_floats(x->k), x->k, lanes, 1, 1);
        }
    }
}
