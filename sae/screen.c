/* The 8-bit copy of an encoder and its error bounds (screen.h). */
#include "sae/screen.h"

#include <math.h>
#include <string.h>

/* Columns that share a scale. Fewer bring the bound down and the cost of a product up. */
enum { GROUP = 128, LANES = 16 };

#define U 0x1p-24 /* half the distance from 1 to the next float */
#define LARGEST 1e18f

static size_t group_of(size_t kpad) {
    return kpad < GROUP ? kpad : GROUP;
}

void sae_screen_take(sae_screen *s, tn_arena *a, size_t f, size_t d) {
    size_t blocks = (f + TN_Q_ROWS - 1) / TN_Q_ROWS, bytes = 0;
    s->kpad = tn_q_pad(d);
    s->groups = tn_q_groups(s->kpad, group_of(s->kpad));
    if (tn_mul_size(blocks * TN_Q_ROWS, s->kpad, &bytes)) a->failed = 1;
    s->data = tn_arena_take(a, bytes, 1);
    s->scales = tn_arena_take(a, blocks * TN_Q_ROWS * s->groups, tn_dtype_size(TN_BF16));
    s->norm = tn_arena_take(a, f, sizeof *s->norm);
    s->loss = tn_arena_take(a, f, sizeof *s->loss);
    s->w = (tn_mat){.data = s->data,
                    .dtype = TN_U8,
                    .rows = f,
                    .cols = d,
                    .bits = 8,
                    .group = group_of(s->kpad),
                    .scales = s->scales};
}

void sae_screen_take_rows(sae_screen_rows *r, tn_arena *a, size_t n, size_t d) {
    tn_qrows *q = &r->q;
    size_t bytes = 0;
    *q = (tn_qrows){.n = n, .kpad = tn_q_pad(d)};
    q->group = group_of(q->kpad);
    q->groups = tn_q_groups(q->kpad, q->group);
    if (tn_mul_size(n, q->kpad, &bytes)) a->failed = 1;
    q->q = tn_arena_take(a, bytes, sizeof *q->q);
    q->scale = tn_arena_take(a, n * q->groups, sizeof *q->scale);
    q->sum = tn_arena_take(a, n * (q->kpad / TN_Q_PAD), sizeof *q->sum);
    r->a = tn_arena_take(a, n, sizeof *r->a);
    r->b = tn_arena_take(a, n, sizeof *r->b);
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
    return sqrtf((float)d) * 0x1p-63f;
}

/* No less than |x|. */
static float length(const tn_kernels *k, const float *x, size_t d) {
    return sqrtf(k->dot(x, x, d)) * rounded_away(d) + smallest(d);
}

/* No less than |x - q * scale|, given a length of x; x's columns beyond d count as zeros, as q's are. */
static float difference(const float *x, const int8_t *q, const float *scale, size_t d, size_t group,
                        float length_of_x) {
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
    /* each difference is off by at most 2 u of |x~_k| and of itself; 16 u |x| covers both */
    return sqrtf(sum) * rounded_away(d) + (float)(16 * U) * length_of_x + smallest(d);
}

/* `v` unless it is too large for the sums to be bounded, or a NaN. */
static float bounded(float v) {
    return v <= LARGEST ? v : INFINITY;
}

void sae_screen_copy(const sae_screen *s, const tn_kernels *k, size_t i, const float *w,
                     const sae_screen_room *room) {
    size_t block = i / TN_Q_ROWS, r = i % TN_Q_ROWS, d = s->w.cols, g;
    unsigned char *data = s->data + block * TN_Q_ROWS * s->kpad + r * 4;
    k->quantize(room->q, room->scale, room->sum, w, d, s->w.group);
    for (g = 0; g < s->groups; g++) { /* the scale as it is stored is what w~ has */
        uint16_t half = tn_f32_to_bf16(room->scale[g]);
        tn_store_u16(s->scales + ((block * s->groups + g) * TN_Q_ROWS + r) * 2, half);
        room->scale[g] = tn_bf16_to_f32(half);
    }
    for (size_t c = 0; c < s->kpad; c += 4) {
        uint32_t four;
        memcpy(&four, room->q + c, sizeof four);
        four ^= 0x80808080u; /* + 128 in each byte */
        memcpy(data + c / 4 * 64, &four, sizeof four);
    }
    float norm = length(k, w, d);
    s->norm[i] = bounded(norm);
    s->loss[i] = bounded(difference(w, room->q, room->scale, d, s->w.group, norm));
}

void sae_screen_row(const sae_screen_rows *rows, const tn_kernels *k, size_t r, const float *x, size_t d) {
    const tn_qrows *q = &rows->q;
    int8_t *to = q->q + r * q->kpad;
    float *scale = q->scale + r * q->groups;
    k->quantize(to, scale, q->sum + r * (q->kpad / TN_Q_PAD), x, d, q->group);
    float norm = length(k, x, d), off = difference(x, to, scale, d, q->group, norm), near = norm + off;
    float sums = ((float)d / LANES + 8) * (float)U, groups = (float)(q->groups + 8) * (float)U;
    rows->a[r] = bounded((off + sums * norm + groups * near) * (1 + 0x1p-20f));
    rows->b[r] = bounded(near * (1 + groups) * (1 + 0x1p-20f));
}

float sae_screen_below(double v, double magnitude) {
    return (float)(v - magnitude * 0x1p-20);
}
