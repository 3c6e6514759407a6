/* The small copy of an encoder and its error bounds (screen.h). */
#include "sae/screen.h"

#include <math.h>
#include <string.h>

/* Columns that share a scale. Fewer bring the bound down and the cost of a product up. */
enum { GROUP = 128, LANES = 16, BF16 = 2 /* bytes */, PAIR = 2 * BF16 };

#define U 0x1p-24 /* half the distance from 1 to the next float */
#define LARGEST 1e18f

static size_t group_of(size_t kpad) {
    return kpad < GROUP ? kpad : GROUP;
}

sae_screen_form sae_screen_form_for(const tn_kernels *k) {
    return k->matmul_pairs ? SAE_IN_BF16 : SAE_IN_8_BITS;
}

void sae_screen_take(sae_screen *s, tn_arena *a, const tn_kernels *k, sae_screen_form form, size_t f,
                     size_t d) {
    size_t blocks = (f + TN_Q_ROWS - 1) / TN_Q_ROWS, numbers = 0;
    *s = (sae_screen){.k = k, .form = form, .d = d, .kpad = tn_q_pad(d)};
    s->groups = tn_q_groups(s->kpad, group_of(s->kpad));
    if (tn_mul_size(blocks * TN_Q_ROWS, s->kpad, &numbers)) a->failed = 1;
    s->data = tn_arena_take(a, numbers, form == SAE_IN_BF16 ? BF16 : 1);
    s->norm = tn_arena_take(a, f, sizeof *s->norm);
    s->loss = tn_arena_take(a, f, sizeof *s->loss);
    if (form == SAE_IN_BF16) return;
    s->scales = tn_arena_take(a, blocks * TN_Q_ROWS * s->groups, BF16);
    s->w = (tn_mat){.data = s->data,
                    .dtype = TN_U8,
                    .rows = f,
                    .cols = d,
                    .bits = 8,
                    .group = group_of(s->kpad),
                    .scales = s->scales};
}

void sae_screen_take_rows(sae_screen_rows *r, tn_arena *a, sae_screen_form form, size_t n, size_t d) {
    tn_qrows *q = &r->q;
    size_t numbers = 0;
    *r = (sae_screen_rows){.q = {.n = n, .kpad = tn_q_pad(d)}};
    q->group = group_of(q->kpad);
    q->groups = tn_q_groups(q->kpad, q->group);
    if (tn_mul_size(n, q->kpad, &numbers)) a->failed = 1;
    r->a = tn_arena_take(a, n, sizeof *r->a);
    r->b = tn_arena_take(a, n, sizeof *r->b);
    if (form == SAE_IN_BF16) {
        r->pairs = tn_arena_take(a, numbers, BF16);
        r->pairs_bytes = q->kpad * BF16;
        return;
    }
    q->q = tn_arena_take(a, numbers, sizeof *q->q);
    q->scale = tn_arena_take(a, n * q->groups, sizeof *q->scale);
    q->sum = tn_arena_take(a, n * (q->kpad / TN_Q_PAD), sizeof *q->sum);
}

sae_screen_rows sae_screen_rows_from(const sae_screen_rows *rows, size_t r) {
    sae_screen_rows part = *rows;
    part.a += r;
    part.b += r;
    if (part.pairs) {
        part.pairs += r * part.pairs_bytes;
        return part;
    }
    part.q.q += r * part.q.kpad;
    part.q.scale += r * part.q.groups;
    part.q.sum += r * (part.q.kpad / TN_Q_PAD);
    return part;
}

void sae_screen_take_room(sae_screen_room *r, tn_arena *a, size_t d) {
    size_t kpad = tn_q_pad(d), groups = tn_q_groups(kpad, group_of(kpad));
    r->q = tn_arena_take(a, kpad, sizeof *r->q);
    r->scale = tn_arena_take(a, groups, sizeof *r->scale);
    r->sum = tn_arena_take(a, kpad / TN_Q_PAD, sizeof *r->sum);
}

/* What summing d squares in F32 may have rounded away, as a factor. */
static float rounded_away(size_t d) {
    return 1 + ((float)d / LANES + 16) * 0x1p-23f;
}

static float smallest(size_t d) {
    return sqrtf((float)d) * 0x1p-61f;
}

/* No less than |x|. */
static float length(const tn_kernels *k, const float *x, size_t d) {
    return sqrtf(k->dot(x, x, d)) * rounded_away(d) + smallest(d);
}

/* |x - q * scale|^2, added in LANES sums; x's columns beyond d count as zeros, as q's are. */
static float squares_of_difference(const float *x, const int8_t *q, const float *scale, size_t d,
                                   size_t group) {
    float lane[LANES] = {0}, sum = 0;
    size_t k = 0;
    for (; k + LANES <= d; k += LANES) {
        float s = scale[k / group];
        for (size_t l = 0; l < LANES; l++) {
            float e = x[k + l] - (float)q[k + l] * s;
            lane[l] += e * e;
        }
    }
    for (; k < d; k++) {
        float e = x[k] - (float)q[k] * scale[k / group];
        lane[0] += e * e;
    }
    for (size_t l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

/* `v` unless it is too large for the sums to be bounded, or a NaN. */
static float bounded(float v) {
    return v <= LARGEST ? v : INFINITY;
}

/* The length of what rounding took off, given the sum of its squares. Of 8 bits each difference is off by at
 * most 2 u of |x~_k| and of itself; 16 u |x| covers both. */
static float taken_off(float squares, size_t d, float length_of_x) {
    return sqrtf(squares) * rounded_away(d) + (float)(16 * U) * length_of_x + smallest(d);
}

/* Row i of the copy; returns |w - w~| squared. */
static float copy_8_bits(const sae_screen *s, size_t i, const float *w, const sae_screen_room *room) {
    size_t block = i / TN_Q_ROWS, r = i % TN_Q_ROWS, d = s->w.cols, g;
    unsigned char *data = s->data + block * TN_Q_ROWS * s->kpad + r * 4;
    s->k->quantize(room->q, room->scale, room->sum, w, d, s->w.group);
    for (g = 0; g < s->groups; g++) { /* the scale as it is stored is what w~ has */
        uint16_t half = tn_f32_to_bf16(room->scale[g]);
        tn_store_u16(s->scales + ((block * s->groups + g) * TN_Q_ROWS + r) * BF16, half);
        room->scale[g] = tn_bf16_to_f32(half);
    }
    for (size_t c = 0; c < s->kpad; c += 4) {
        uint32_t four;
        memcpy(&four, room->q + c, sizeof four);
        four ^= 0x80808080u; /* + 128 in each byte */
        memcpy(data + c / 4 * 64, &four, sizeof four);
    }
    return squares_of_difference(w, room->q, room->scale, d, s->w.group);
}

void sae_screen_copy(const sae_screen *s, size_t i, const float *w, const sae_screen_room *room) {
    size_t block = i / TN_Q_ROWS, r = i % TN_Q_ROWS;
    float norm = length(s->k, w, s->d), squares;
    if (s->form == SAE_IN_BF16)
        squares = s->k->round_pairs(s->data + block * TN_Q_ROWS * s->kpad * BF16 + r * PAIR, TN_Q_ROWS * PAIR,
                                    w, s->d);
    else
        squares = copy_8_bits(s, i, w, room);
    s->norm[i] = bounded(norm);
    s->loss[i] = bounded(taken_off(squares, s->d, norm));
}

/* R + 4 of screen.h. */
static float roundings(const sae_screen *s) {
    return s->form == SAE_IN_BF16 ? (float)s->kpad / TN_PAIR_PAD + 28 : (float)s->groups + 8;
}

void sae_screen_row(const sae_screen *s, const sae_screen_rows *rows, size_t r, const float *x) {
    const tn_qrows *q = &rows->q;
    float squares;
    if (s->form == SAE_IN_BF16) {
        squares = s->k->round_pairs(rows->pairs + r * rows->pairs_bytes, PAIR, x, s->d);
    } else {
        int8_t *to = q->q + r * q->kpad;
        float *scale = q->scale + r * q->groups;
        s->k->quantize(to, scale, q->sum + r * (q->kpad / TN_Q_PAD), x, s->d, q->group);
        squares = squares_of_difference(x, to, scale, s->d, q->group);
    }
    float norm = length(s->k, x, s->d), off = taken_off(squares, s->d, norm), near = norm + off;
    float sums = ((float)s->d / LANES + 8) * (float)U, products = roundings(s) * (float)U;
    rows->a[r] = bounded((off + sums * norm + products * near) * (1 + 0x1p-20f));
    rows->b[r] = bounded(near * (1 + products) * (1 + 0x1p-20f));
}

void sae_screen_product(const sae_screen *s, float *y, size_t ldy, const sae_screen_rows *rows, size_t n,
                        size_t i0, size_t m) {
    tn_qrows q = rows->q;
    q.n = n;
    if (s->form == SAE_IN_BF16)
        s->k->matmul_pairs(y, ldy, rows->pairs, n, s->data + i0 * s->kpad * BF16, m, s->d);
    else
        s->k->matmul_q8(y, ldy, &q, &s->w, i0, m);
}

float sae_screen_below(double v, double magnitude) {
    return (float)(v - magnitude * 0x1p-20);
}
