/* Rows of the residual stream, computed as a training run asks for them (cmd_text_source.h). */
#include "sae/cmd_text_source.h"

#include "sae/outliers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One call of read: the rows asked for, and the windows they are in. */
typedef struct {
    text_source *s;
    const uint32_t *ids; /* [n] ascending */
    size_t n;
    float *dst;          /* [n, D] */
    unsigned char *keep; /* [n] */
    size_t *first;       /* [windows] to be computed: where the rows of each begin in ids */
    size_t windows;
} reading;

static size_t window_of(const text_source *s, uint32_t row) {
    return row / (uint32_t)s->per_window;
}

/* Copies the rows asked for of one window, whose rows are b; ids[at] is the first of them. */
static void deliver(const reading *r, size_t at, const sae_acts_builder *b) {
    const text_source *s = r->s;
    size_t window = window_of(s, r->ids[at]), d = (size_t)b->d;
    for (; at < r->n && window_of(s, r->ids[at]) == window; at++) {
        const float *row = b->rows + r->ids[at] % (uint32_t)s->per_window * d;
        memcpy(r->dst + at * d, row, d * sizeof *row);
        if (r->keep) r->keep[at] = s->limit == 0 || sae_row_norm(row, b->d) <= s->limit;
    }
}

static int window_done(void *ctx, const qwen_done *done, tn_err *e) {
    reading *r = ctx;
    text_source *s = r->s;
    size_t at = r->first[done->index];
    s->taken.n = 0;
    int rc = sae_capture_take(&s->capture, done->seq, &s->taken, 0, e);
    if (rc) {
        char where[32];
        snprintf(where, sizeof where, "window %zu", window_of(s, r->ids[at]) + 1);
        return tn_fail_in(e, rc, where);
    }
    deliver(r, at, &s->taken);
    if (done->index + 1 == r->windows) {
        sae_acts_builder other = s->last;
        s->last = s->taken;
        s->taken = other;
        s->last_window = window_of(s, r->ids[at]);
    }
    cli_progress_update(&s->progress, s->progress.done + 1, NULL);
    return TN_OK;
}

/* Runs the model on the windows of a call. */
static int compute(reading *r, tn_err *e) {
    text_source *s = r->s;
    const qwen_batch_opts opts = {.sampling = qwen_sampling_default()};
    size_t ctx = s->texts.ctx, n = r->windows;
    qwen_item *items = calloc(n, sizeof *items);        /* [windows] */
    int32_t *tokens = malloc(n * ctx * sizeof *tokens); /* [windows, ctx] */
    int rc = items && tokens ? TN_OK : tn_fail(e, TN_ENOMEM, "no memory for %zu windows", n);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = texts_window(&s->texts, window_of(s, r->ids[r->first[i]]), tokens + i * ctx, e);
        items[i] = (qwen_item){.prompt = tokens + i * ctx, .n_prompt = (int)ctx, .replay = 1};
    }
    if (!rc) rc = qwen_batch_run(s->w.state, items, n, &opts, window_done, r, e);
    free(items);
    free(tokens);
    return rc;
}

static int read_rows(void *ctx, const uint32_t *ids, size_t n, float *dst, unsigned char *keep, tn_err *e) {
    text_source *s = ctx;
    reading r = {s, ids, n, dst, keep, malloc(n * sizeof *r.first), 0};
    if (n > 0 && !r.first) return tn_fail(e, TN_ENOMEM, "no memory to read %zu rows", n);
    for (size_t i = 0; i < n; i++) {
        size_t window = window_of(s, ids[i]);
        if (i > 0 && window == window_of(s, ids[i - 1])) continue;
        if (window == s->last_window)
            deliver(&r, i, &s->last);
        else
            r.first[r.windows++] = i;
    }
    int rc = r.windows ? compute(&r, e) : TN_OK;
    free(r.first);
    return rc;
}

static uint32_t doc_of(void *ctx, uint32_t row) {
    return (uint32_t)window_of(ctx, row);
}

/* The limit of the rows' lengths, from the first rows. */
static int measure(text_source *s, const sae_source *source, float max_norm, tn_err *e) {
    uint32_t n = source->rows < SAE_OUTLIER_ROWS ? source->rows : SAE_OUTLIER_ROWS;
    float *rows = malloc((size_t)n * (size_t)source->d * sizeof *rows); /* [n, D] */
    uint32_t *ids = malloc(n * sizeof *ids);
    int rc = rows && ids ? TN_OK : tn_fail(e, TN_ENOMEM, "no memory for %u rows", n);
    for (uint32_t i = 0; i < n && !rc; i++) ids[i] = i;
    if (!rc) rc = read_rows(s, ids, n, rows, NULL, e);
    if (!rc) rc = sae_norm_limit(rows, n, source->d, (double)max_norm, &s->limit, e);
    free(rows);
    free(ids);
    return rc;
}

static int listen(text_source *s, const text_source_opts *o, qwen_site site, tn_err *e) {
    const qwen_opts *state = qwen_state_opts(s->w.state);
    int d = qwen_model_config(s->w.text.model)->hidden, ctx = (int)s->texts.ctx;
    size_t bytes = sae_capture_bytes(d, state->sequences, ctx);
    s->block = bytes ? malloc(bytes) : NULL;
    if (!s->block) return tn_fail(e, TN_ENOMEM, "out of memory");
    int rc = sae_capture_init(&s->capture, SAE_POS_ALL, d, state->sequences, ctx, s->block, bytes, e);
    if (rc) return rc;
    s->capture.skip_first = o->texts.skip_first;
    s->per_window = ctx - o->texts.skip_first;
    s->taken.d = s->last.d = d;
    qwen_hook_name(s->hook, sizeof s->hook, o->layer, site);
    const qwen_hook hook = {site, o->layer, o->layer, sae_capture_hook, &s->capture};
    return qwen_set_hooks(s->w.state, &hook, 1, e);
}

/* The model with room for as many windows at once as do it good. */
static int start(text_source *s, const text_source_opts *o, int threads, tn_err *e) {
    int rc = writer_open(&s->w, o->model, threads, e);
    if (!rc) rc = texts_open(&s->texts, &o->texts, s->w.text.tok, e);
    if (rc) return rc;
    int limit = qwen_max_context(s->w.text.model);
    if (s->texts.ctx > (size_t)limit)
        return tn_fail(e, TN_ECTX, "windows of %zu tokens do not fit in the model's context of %d",
                       s->texts.ctx, limit);
    qwen_sampling sampling = qwen_sampling_default();
    s->w.opts.sequences = s->w.opts.logit_rows =
        qwen_batch_sequences(s->w.text.model, (int)s->texts.ctx, s->texts.windows);
    return writer_start(&s->w, s->texts.ctx, &sampling, e);
}

int text_source_open(text_source *s, const text_source_opts *o, int threads, sae_source *out, tn_err *e) {
    qwen_site site = QWEN_RESID_POST;
    *s = (text_source){.last_window = SIZE_MAX};
    int rc = texts_check(&o->texts, e);
    if (!rc && (!o->model || o->layer < 0)) rc = tn_fail(e, TN_EARG, "--text needs -m DIR and --layer L");
    if (!rc && o->site && !qwen_site_from_name(o->site, &site))
        rc = tn_fail(e, TN_EARG, "--site: there is no site \"%s\"", o->site);
    if (!rc) rc = start(s, o, threads, e);
    if (!rc) rc = listen(s, o, site, e);
    if (!rc && s->texts.windows >= UINT32_MAX / (size_t)s->per_window)
        rc = tn_fail(e, TN_EUNSUP, "%zu windows are too many", s->texts.windows);
    if (!rc) {
        s->progress = cli_progress_start("reading", "windows", 0);
        *out = (sae_source){.ctx = s,
                            .name = o->texts.paths.items[0],
                            .d = s->taken.d,
                            .rows = (uint32_t)s->texts.windows * (uint32_t)s->per_window,
                            .docs = (uint32_t)s->texts.windows,
                            .context = (int)s->texts.ctx,
                            .prepend_bos = o->texts.bos != NULL,
                            .model_name = qwen_model_name(s->w.text.model),
                            .hook_name = s->hook,
                            .doc = doc_of,
                            .read = read_rows};
        if (o->texts.max_norm > 0) rc = measure(s, out, o->texts.max_norm, e);
    }
    if (rc) text_source_close(s);
    return rc;
}

void text_source_close(text_source *s) {
    free(s->block);
    sae_acts_builder_free(&s->taken);
    sae_acts_builder_free(&s->last);
    texts_close(&s->texts);
    writer_close(&s->w);
}
