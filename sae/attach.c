/* Hooks on the residual stream: capture, SAE steering, direction steering, ablation. */
#include "sae/attach.h"

#include "tensor/arena.h"
#include "tensor/par.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- Which positions ---- */

static const char *const position_names[] = {"all", "prompt", "generated"};

int sae_positions_parse(const char *s, sae_positions *out) {
    for (int i = 0; i < 3; i++) {
        if (strcmp(s, position_names[i]) != 0) continue;
        *out = (sae_positions)i;
        return 1;
    }
    return 0;
}

const char *sae_positions_name(sae_positions p) {
    return position_names[p];
}

static int selected(const qwen_tap *t, sae_positions p, int row) {
    return p == SAE_POS_ALL || (p == SAE_POS_GENERATED) == t->generated[row];
}

/* Selected rows of a tap that lie next to each other. */
typedef struct {
    int first, n;
} run;

/* The run after *r; 0 when there is none. Begin with {0, 0}. */
static int next_run(const qwen_tap *t, sae_positions p, run *r) {
    int i = r->first + r->n;
    while (i < t->n && !selected(t, p, i)) i++;
    *r = (run){i, 0};
    while (i < t->n && selected(t, p, i)) i++;
    r->n = i - r->first;
    return r->n > 0;
}

/* ---- Capture ---- */

static void capture_carve(sae_capture *c, tn_arena *a) {
    size_t rows = 0, elements = 0;
    if (tn_mul_size((size_t)c->sequences, (size_t)c->max_rows, &rows) ||
        tn_mul_size(rows, (size_t)c->d, &elements))
        a->failed = 1;
    c->n = tn_arena_take(a, (size_t)c->sequences, sizeof *c->n);
    c->rows = tn_arena_take(a, elements, sizeof *c->rows);
    c->tokens = tn_arena_take(a, rows, sizeof *c->tokens);
    c->pos = tn_arena_take(a, rows, sizeof *c->pos);
}

size_t sae_capture_bytes(int d, int sequences, int max_rows) {
    sae_capture c = {.d = d, .sequences = sequences, .max_rows = max_rows};
    tn_arena a = tn_arena_measure();
    if (d < 1 || sequences < 1 || max_rows < 1) return 0;
    capture_carve(&c, &a);
    return a.failed ? 0 : a.used + TN_ALIGN;
}

int sae_capture_init(sae_capture *c, sae_positions positions, int d, int sequences, int max_rows, void *mem,
                     size_t cap, tn_err *e) {
    *c = (sae_capture){.positions = positions, .d = d, .sequences = sequences, .max_rows = max_rows};
    if (d < 1 || sequences < 1 || max_rows < 1)
        return tn_fail(e, TN_EARG, "capture of %d sequences of %d rows of width %d", sequences, max_rows, d);
    tn_arena a = tn_arena_on(mem, cap);
    capture_carve(c, &a);
    if (a.failed) return tn_fail(e, TN_ENOMEM, "not enough memory to capture %d rows", max_rows);
    memset(c->n, 0, (size_t)sequences * sizeof *c->n);
    return TN_OK;
}

int sae_capture_hook(void *ctx, const qwen_tap *tap) {
    sae_capture *c = ctx;
    size_t d = (size_t)c->d;
    for (int i = 0; i < tap->n; i++) {
        if (!selected(tap, c->positions, i) || (c->skip_first && tap->pos[i] == 0)) continue;
        int seq = tap->seq[i];
        if (seq >= c->sequences || c->n[seq] == c->max_rows) return TN_ENOMEM;
        size_t at = (size_t)seq * (size_t)c->max_rows + (size_t)c->n[seq]++;
        memcpy(c->rows + at * d, tap->x + (size_t)i * d, d * sizeof *c->rows);
        c->tokens[at] = tap->tokens[i];
        c->pos[at] = tap->pos[i];
    }
    return TN_OK;
}

int sae_capture_take(sae_capture *c, int seq, sae_acts_builder *out, int32_t doc, tn_err *e) {
    size_t first = (size_t)seq * (size_t)c->max_rows, end = first + (size_t)c->n[seq];
    c->n[seq] = 0;
    for (size_t i = first; i < end; i++) {
        const float *row = c->rows + i * (size_t)c->d;
        for (int k = 0; k < c->d; k++)
            if (!isfinite(row[k]))
                return tn_fail(e, TN_ENUM, "the activation at position %d is not finite", (int)c->pos[i]);
        if (sae_acts_append(out, row, c->tokens[i], doc, c->pos[i]))
            return tn_fail(e, TN_ENOMEM, "out of memory");
    }
    return TN_OK;
}

/* ---- Steering with an SAE ---- */

static void steer_carve(sae_steer *s, tn_arena *a) {
    size_t z = 0, scratch = sae_encode_scratch(s->sae, s->max_rows);
    if (tn_mul_size((size_t)s->max_rows, (size_t)s->sae->cfg.d_sae, &z) || scratch == 0) a->failed = 1;
    s->z = tn_arena_take(a, z, sizeof *s->z);
    s->edited = s->keep_error ? tn_arena_take(a, z, sizeof *s->edited) : NULL;
    s->scratch = tn_arena_take(a, scratch, 1);
}

size_t sae_steer_bytes(const sae_model *sae, int keep_error, int max_rows) {
    sae_steer s = {.sae = sae, .keep_error = keep_error, .max_rows = max_rows};
    tn_arena a = tn_arena_measure();
    if (max_rows < 1) return 0;
    steer_carve(&s, &a);
    return a.failed ? 0 : a.used + TN_ALIGN;
}

int sae_steer_init(sae_steer *s, const sae_model *sae, const sae_edits *edits, int layer,
                   sae_positions positions, int keep_error, int max_rows, int hidden, void *mem, size_t cap,
                   tn_err *e) {
    *s = (sae_steer){.sae = sae,
                     .edits = edits,
                     .layer = layer,
                     .positions = positions,
                     .keep_error = keep_error,
                     .max_rows = max_rows};
    if (sae->cfg.d_in != hidden)
        return tn_fail(e, TN_ESHAPE, "SAE of width %d does not fit the model's %d", sae->cfg.d_in, hidden);
    if (max_rows < 1) return tn_fail(e, TN_EARG, "steering needs room for at least one row");
    int code = edits ? sae_edits_check(edits, layer, sae->cfg.d_sae, e) : TN_OK;
    if (code) return code;
    tn_arena a = tn_arena_on(mem, cap);
    steer_carve(s, &a);
    return a.failed ? tn_fail(e, TN_ENOMEM, "not enough memory to steer %d rows", max_rows) : TN_OK;
}

/* keep_error: adds the changes of the latents to rows begin … end-1 of x. */
typedef struct {
    const sae_steer *s;
    const tn_kernels *k;
    float *x; /* [n, D] */
} delta;

static void add_delta(void *ctx, size_t begin, size_t end) {
    const delta *job = ctx;
    const sae_steer *s = job->s;
    size_t d = (size_t)s->sae->cfg.d_in, f = (size_t)s->sae->cfg.d_sae;
    for (size_t row = begin; row < end; row++) {
        const float *z = s->z + row * f;
        float *edited = s->edited + row * f;
        memcpy(edited, z, f * sizeof *edited);
        sae_edits_apply(s->edits, s->layer, edited, s->sae->cfg.d_sae);
        for (size_t i = 0; i < f; i++)
            if (edited[i] != z[i]) job->k->axpy(job->x + row * d, edited[i] - z[i], s->sae->w_dec + i * d, d);
    }
}

/* At most max_rows rows: x [n, D] in place. */
static void steer_rows(const sae_steer *s, tn_exec ex, float *x, int n) {
    sae_encode(s->sae, ex, x, n, s->z, s->scratch);
    if (s->keep_error) {
        delta job = {s, ex.k, x};
        tn_parallel_for((size_t)n, 1, ex.threads, add_delta, &job);
        return;
    }
    size_t f = (size_t)s->sae->cfg.d_sae;
    for (int i = 0; i < n && s->edits; i++)
        sae_edits_apply(s->edits, s->layer, s->z + (size_t)i * f, s->sae->cfg.d_sae);
    sae_decode(s->sae, ex, s->z, n, x);
}

/* TN_ENUM when a row of x [n, d] is not finite, or so long that the model's norms would make zeros of it. */
static int check_rows(const float *x, int n, size_t d) {
    for (size_t row = 0; row < (size_t)n; row++) {
        double squares = 0;
        for (size_t k = 0; k < d; k++) squares += (double)x[row * d + k] * (double)x[row * d + k];
        if (!(squares <= (double)FLT_MAX)) return TN_ENUM;
    }
    return TN_OK;
}

int sae_steer_hook(void *ctx, const qwen_tap *tap) {
    const sae_steer *s = ctx;
    int code = TN_OK;
    if (s->keep_error && !s->edits) return TN_OK; /* nothing can change */
    for (run r = {0, 0}; next_run(tap, s->positions, &r);)
        for (int done = 0; done < r.n && !code; done += s->max_rows) {
            int n = r.n - done < s->max_rows ? r.n - done : s->max_rows;
            float *x = tap->x + (size_t)(r.first + done) * (size_t)tap->d;
            steer_rows(s, tap->exec, x, n);
            code = check_rows(x, n, (size_t)tap->d);
        }
    return code;
}

/* ---- Steering along a direction ---- */

int sae_direction_hook(void *ctx, const qwen_tap *tap) {
    const sae_direction *s = ctx;
    const tn_kernels *k = tap->exec.k;
    size_t d = (size_t)tap->d;
    float vv = s->project_out ? k->dot(s->v, s->v, d) : 0.0f;
    for (int i = 0; i < tap->n; i++) {
        if (!selected(tap, s->positions, i)) continue;
        float *h = tap->x + (size_t)i * d;
        if (!s->project_out)
            k->axpy(h, s->alpha, s->v, d);
        else if (vv > 0.0f)
            k->axpy(h, -s->alpha * k->dot(s->v, h, d) / vv, s->v, d);
        if (check_rows(h, 1, d)) return TN_ENUM;
    }
    return TN_OK;
}

/* ---- Ablation ---- */

int sae_replace_hook(void *ctx, const qwen_tap *tap) {
    const sae_replace *s = ctx;
    size_t d = (size_t)tap->d;
    for (int i = 0; i < tap->n; i++) {
        if (!selected(tap, s->positions, i)) continue;
        float *h = tap->x + (size_t)i * d;
        if (s->v)
            memcpy(h, s->v, d * sizeof *h);
        else
            memset(h, 0, d * sizeof *h);
    }
    return TN_OK;
}
