/* Matrix products over several threads.
 *
 * The columns of all products that share an input are laid end to end and dealt out in units; what happens
 * inside a unit is the loop nest of the tier. No sum is ever cut, so the number of threads changes no bit of
 * the result.
 */
#include "tensor/arena.h"
#include "tensor/kernels_tier.h"
#include "tensor/par.h"

/* A unit of columns: a multiple of every tier's tile and of the rows of a quantised block, so that none but
 * a matrix's last has a ragged edge. */
enum { UNIT = 48 };

/* Below this many multiplications waking a second thread costs more than it saves. */
enum { SERIAL_WORK = 100000 };

static size_t units(size_t columns) {
    return (columns + UNIT - 1) / UNIT;
}

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

/* What a thread may unpack weights in. */
static float *room_of(tn_exec ex, size_t worker) {
    return ex.room ? ex.room + worker * TN_MATMUL_ROOM : NULL;
}

/* ---- Linear layers ---- */

int tn_is_split(const tn_kernels *k, const tn_mat *w) {
    return k->matmul_split && !w->bits && w->dtype == TN_BF16 && w->cols > TN_NARROW_COLS;
}

typedef struct {
    tn_exec ex;
    const tn_product *p; /* [count] */
    int count;
    const float *x; /* [n, k] */
    size_t n, k;
    tn_qrows q;     /* the same in 8 bits when some weights are quantised */
    tn_split split; /* the same in parts when some weights are for matmul_split */
} sweep;

/* Columns j0 … j0+m-1 of one product. */
static void columns(const sweep *s, const tn_product *p, size_t j0, size_t m, float *room) {
    const tn_kernels *k = s->ex.k;
    const tn_mat *w = p->w;
    const size_t ldy = w->rows;
    float *y = p->y + j0;
    if (w->bits == 8)
        k->matmul_q8(y, ldy, &s->q, w, j0, m);
    else if (w->bits == 4)
        k->matmul_q4(y, ldy, &s->q, w, j0, m);
    else {
        const unsigned char *from = (const unsigned char *)w->data + j0 * w->cols * tn_dtype_size(w->dtype);
        if (tn_is_split(k, w))
            k->matmul_split(y, ldy, &s->split, from, w->cols, m, room);
        else
            (w->dtype == TN_BF16  ? k->matmul_bf16
             : w->dtype == TN_F16 ? k->matmul_f16
                                  : k->matmul_f32)(y, ldy, s->x, s->k, from, w->cols, s->n, m, s->k, room);
    }
    if (p->bias == NULL) return;
    for (size_t i = 0; i < s->n; i++) k->add(y + i * ldy, p->bias + j0, m);
}

/* Units begin … end-1 of all products laid end to end. */
static void some_units(void *ctx, size_t worker, size_t begin, size_t end) {
    const sweep *s = ctx;
    float *room = room_of(s->ex, worker);
    size_t first = 0; /* unit of the product's column 0 */
    for (int i = 0; i < s->count && first < end; i++) {
        const tn_product *p = &s->p[i];
        const size_t last = first + units(p->w->rows);
        const size_t from = begin > first ? begin : first, upto = min_size(end, last);
        if (from < upto) {
            const size_t j0 = (from - first) * UNIT, j1 = min_size((upto - first) * UNIT, p->w->rows);
            columns(s, p, j0, j1 - j0, room);
        }
        first = last;
    }
}

/* Rows begin … end-1 of x to 8 bits. */
static void quantize_rows(void *ctx, size_t begin, size_t end) {
    const sweep *s = ctx;
    const tn_qrows *q = &s->q;
    for (size_t i = begin; i < end; i++)
        s->ex.k->quantize(q->q + i * q->kpad, q->scale + i * q->groups, q->sum + i * (q->kpad / TN_Q_PAD),
                          s->x + i * s->k, s->k, q->group);
}

/* Groups begin … end-1 of x in parts. */
static void split_groups(void *ctx, size_t begin, size_t end) {
    const sweep *s = ctx;
    for (size_t g = begin; g < end; g++) s->ex.k->split(&s->split, s->x, s->k, g);
}

/* Room for n rows in 8 bits; the groups are at their most when each has TN_Q_PAD columns. */
static void carve_rounded(tn_qrows *q, tn_arena *a, size_t n, size_t k) {
    size_t bytes = 0, most = 0;
    if (k > SIZE_MAX - TN_Q_PAD || tn_mul_size(n, tn_q_pad(k), &bytes) ||
        tn_mul_size(n, tn_q_pad(k) / TN_Q_PAD, &most))
        a->failed = 1;
    q->q = tn_arena_take(a, bytes, sizeof *q->q);
    q->scale = tn_arena_take(a, most, sizeof *q->scale);
    q->sum = tn_arena_take(a, most, sizeof *q->sum);
}

static size_t split_groups_of(size_t n) {
    return n / TN_SPLIT_GROUP + (n % TN_SPLIT_GROUP != 0);
}

static void carve_split(tn_split *s, tn_arena *a, size_t n, size_t k) {
    enum { STEP_BYTES = TN_SPLIT_PARTS * TN_SPLIT_GROUP * TN_SPLIT_COLS * 2 };
    const size_t steps = k / TN_SPLIT_COLS + (k % TN_SPLIT_COLS != 0);
    size_t tiles = 0;
    if (tn_mul_size(split_groups_of(n), steps, &tiles)) a->failed = 1;
    s->tiles = tn_arena_take(a, tiles, STEP_BYTES);
}

/* Bytes for n rows, in parts too when `parts`; 0 on overflow. */
static size_t scratch_bytes(size_t n, size_t k, int parts) {
    tn_qrows q;
    tn_split split;
    tn_arena a = tn_arena_measure();
    carve_rounded(&q, &a, n, k);
    if (parts) carve_split(&split, &a, n, k);
    return a.failed ? 0 : a.used + TN_ALIGN; /* the caller's block may start anywhere */
}

size_t tn_linear_scratch(size_t n, size_t k) {
#if defined(__x86_64__)
    return scratch_bytes(n, k, 1);
#else
    return scratch_bytes(n, k, 0); /* no other processor has a tier with matmul_split */
#endif
}

void tn_linear_all(tn_exec ex, const tn_product *p, int count, const float *x, size_t n, void *scratch) {
    sweep s = {.ex = ex, .p = p, .count = count, .x = x, .n = n, .k = p[0].w->cols};
    size_t all = 0, group = 0;
    int parts = 0;
    double work = 0; /* a double, which cannot wrap */
    for (int i = 0; i < count; i++) {
        all += units(p[i].w->rows);
        work += (double)n * (double)p[i].w->rows * (double)s.k;
        if (p[i].w->bits) group = p[i].w->group;
        parts = parts || tn_is_split(ex.k, p[i].w);
    }
    const int threads = work < SERIAL_WORK ? 1 : ex.threads;
    tn_arena room = {0};
    if (group || parts) room = tn_arena_on(scratch, scratch_bytes(n, s.k, parts));
    if (parts) {
        carve_split(&s.split, &room, n, s.k);
        s.split.n = n;
        s.split.k = s.k;
        tn_parallel_for(split_groups_of(n), 1, threads, split_groups, &s);
    }
    if (group) {
        carve_rounded(&s.q, &room, n, s.k);
        s.q.n = n;
        s.q.kpad = tn_q_pad(s.k);
        s.q.group = group;
        s.q.groups = tn_q_groups(s.q.kpad, group);
        tn_parallel_for(n, 1, threads, quantize_rows, &s);
    }
    tn_parallel_for_workers(all, 1, threads, some_units, &s);
}

void tn_linear(tn_exec ex, float *y, const float *x, const tn_mat *w, const float *bias, size_t n,
               void *scratch) {
    const tn_product p = {y, w, bias};
    tn_linear_all(ex, &p, 1, x, n, scratch);
}

size_t tn_mat_bytes(const tn_mat *w) {
    if (!w->bits) return w->rows * w->cols * tn_dtype_size(w->dtype);
    const size_t rows = (w->rows + TN_Q_ROWS - 1) / TN_Q_ROWS * TN_Q_ROWS, kpad = tn_q_pad(w->cols);
    const size_t steps = w->bits == 4 ? kpad / TN_Q_PAD : 0;
    return rows * (kpad * (size_t)w->bits / 8 + steps + 2 * tn_q_groups(kpad, w->group));
}

void tn_mat_row(float *dst, const tn_mat *w, size_t row) {
    if (!w->bits) {
        const unsigned char *from = (const unsigned char *)w->data + row * w->cols * tn_dtype_size(w->dtype);
        (void)tn_to_f32(dst, from, w->dtype, w->cols);
        return;
    }
    const size_t kpad = tn_q_pad(w->cols), block = row / TN_Q_ROWS, r = row % TN_Q_ROWS;
    const unsigned char *data =
        (const unsigned char *)w->data + block * (TN_Q_ROWS * kpad * (size_t)w->bits / 8) + r * 4;
    const unsigned char *scales =
        (const unsigned char *)w->scales + (block * tn_q_groups(kpad, w->group) * TN_Q_ROWS + r) * 2;
    const int8_t *steps = w->steps;
    const size_t first_step = block * (kpad / TN_Q_PAD) * TN_Q_ROWS + r;
    for (size_t k = 0; k < w->cols; k++) {
        const float scale = tn_bf16_to_f32(tn_load_u16(scales + k / w->group * TN_Q_ROWS * 2));
        const int byte = data[w->bits == 8 ? k / 4 * 64 + k % 4 : k / 8 * 64 + k % 4];
        int value = byte - 128;
        if (w->bits == 4)
            value = ((k % 8 < 4 ? byte & 15 : byte >> 4) - 8) * steps[first_step + k / TN_Q_PAD * TN_Q_ROWS];
        dst[k] = (float)value * scale;
    }
}

/* ---- Products of plain F32 matrices, for gradients ---- */

/* y[i*ldy + j] = sum_k x[i*ldx + k] * w[j*ldw + k]   i < n, j < m */
typedef struct {
    tn_exec ex;
    float *y;
    const float *x, *w;
    size_t ldy, ldx, ldw, n, m, k;
} product;

static void some_rows(void *ctx, size_t worker, size_t begin, size_t end) {
    const product *p = ctx;
    p->ex.k->matmul_f32(p->y + begin * p->ldy, p->ldy, p->x + begin * p->ldx, p->ldx, p->w, p->ldw,
                        end - begin, p->m, p->k, room_of(p->ex, worker));
}

static void some_columns(void *ctx, size_t worker, size_t begin, size_t end) {
    const product *p = ctx;
    p->ex.k->matmul_f32(p->y + begin, p->ldy, p->x, p->ldx, p->w + begin * p->ldw, p->ldw, p->n, end - begin,
                        p->k, room_of(p->ex, worker));
}

/* Cut along the longer side. */
void tn_matmul_f32(tn_exec ex, float *y, size_t ldy, const float *x, size_t ldx, const float *w, size_t ldw,
                   size_t n, size_t m, size_t k) {
    product p = {ex, y, x, w, ldy, ldx, ldw, n, m, k};
    const int threads = (double)n * (double)m * (double)k < SERIAL_WORK ? 1 : ex.threads;
    tn_parallel_for_workers(n > m ? n : m, UNIT, threads, n > m ? some_rows : some_columns, &p);
}
