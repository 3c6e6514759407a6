/* The shuffle buffer of a training run (fit_buffer.h). */
#include "sae/fit_buffer.h"

#include "tensor/os.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE = 4096 }; /* rows read at a time */

static int by_key(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int sae_fit_read(const sae_source *source, const uint32_t *ids, const uint32_t *slots, uint32_t n, float *x,
                 unsigned char *keep, tn_err *e) {
    size_t d = (size_t)source->d, room = n < PIECE ? n : PIECE;
    if (n == 0) return TN_OK;
    uint64_t *keys = malloc(n * sizeof *keys);      /* [n] row number above, slot below */
    float *rows = malloc(room * d * sizeof *rows);  /* [PIECE, D] as they come */
    uint32_t *numbers = malloc(room * sizeof *ids); /* [PIECE] */
    unsigned char *kept = malloc(room);             /* [PIECE] */
    int rc = keys && rows && numbers && kept ? TN_OK : tn_fail(e, TN_ENOMEM, "no memory to read %u rows", n);
    if (!rc) {
        for (uint32_t i = 0; i < n; i++) {
            uint32_t slot = slots ? slots[i] : i;
            keys[i] = (uint64_t)ids[slot] << 32 | slot;
        }
        qsort(keys, n, sizeof *keys, by_key);
    }
    for (uint32_t first = 0; first < n && !rc; first += PIECE) {
        uint32_t count = n - first < PIECE ? n - first : PIECE;
        for (uint32_t i = 0; i < count; i++) numbers[i] = (uint32_t)(keys[first + i] >> 32);
        rc = source->read(source->ctx, numbers, count, rows, kept, e);
        for (uint32_t i = 0; i < count && !rc; i++) {
            uint32_t slot = (uint32_t)keys[first + i];
            memcpy(x + slot * d, rows + i * d, d * sizeof *x);
            keep[slot] = kept[i];
        }
    }
    free(keys);
    free(rows);
    free(numbers);
    free(kept);
    return rc;
}

/* Gives the slots from order[held] on the next training rows, as far as there are any. */
static void draw(sae_fit_buffer *b) {
    for (; b->held < b->cap && b->drawn < b->split->n_train; b->next_row++) {
        if (sae_fit_split_mark(b->split, b->next_row) == SAE_FIT_VALIDATES) continue;
        b->ids[b->order[b->held++]] = b->next_row;
        b->drawn++;
    }
}

static void shuffle(sae_fit_buffer *b) {
    tn_rng_shuffle(&b->rng, b->order, b->held);
    b->served = 0;
    b->serve_end = b->drawn == b->split->n_train ? b->held : b->cap / 2;
}

static void start_epoch(sae_fit_buffer *b, int epoch) {
    b->rng = sae_fit_stream(b->seed, SAE_STREAM_EPOCH + (uint64_t)epoch);
    for (uint32_t i = 0; i < b->cap; i++) b->order[i] = i;
    b->held = b->next_row = b->drawn = 0;
    draw(b);
    shuffle(b);
}

/* The slots that were served, at most half of them all, go behind the others and get new rows: those of
 * order[*first … held-1], before the shuffle. */
static void renew(sae_fit_buffer *b) {
    for (uint32_t i = 0; i < b->served; i++) {
        uint32_t done = b->order[i], *other = &b->order[b->held - 1 - i];
        b->order[i] = *other;
        *other = done;
    }
    b->held -= b->served;
    draw(b);
}

static int load(sae_fit_buffer *b, uint32_t first, tn_err *e) {
    return sae_fit_read(b->split->source, b->ids, b->order + first, b->held - first, b->x, b->keep, e);
}

int sae_fit_buffer_new(sae_fit_buffer *out, const sae_fit_split *split, uint32_t cap, uint64_t seed,
                       tn_err *e) {
    size_t d = (size_t)split->source->d, elements, bytes;
    *out = (sae_fit_buffer){.split = split, .cap = cap, .seed = seed};
    if (split->n_train <= cap) {
        out->cap = split->n_train;
        out->whole = 1;
    }
    cap = out->cap;
    if (tn_mul_size(cap, d, &elements) || tn_mul_size(elements, sizeof *out->x, &bytes))
        return tn_fail(e, TN_ENOMEM, "no memory for a buffer of %u rows", cap);
    out->ids = malloc(cap * sizeof *out->ids);
    out->x = malloc(bytes);
    out->keep = malloc(cap);
    out->order = malloc(cap * sizeof *out->order);
    int rc = out->ids && out->x && out->keep && out->order
                 ? TN_OK
                 : tn_fail(e, TN_ENOMEM, "no memory for a buffer of %u rows", cap);
    if (out->x) tn_large_pages(out->x, bytes);
    if (!rc && out->whole) {
        start_epoch(out, 0);
        rc = load(out, 0, e);
    }
    if (rc) sae_fit_buffer_free(out);
    return rc;
}

void sae_fit_buffer_free(sae_fit_buffer *b) {
    free(b->ids);
    free(b->x);
    free(b->keep);
    free(b->order);
    memset(b, 0, sizeof *b);
}

int sae_fit_buffer_seek(sae_fit_buffer *b, int epoch, uint32_t rows, tn_err *e) {
    start_epoch(b, epoch);
    while (rows > b->serve_end) {
        rows -= b->serve_end;
        b->served = b->serve_end;
        renew(b);
        shuffle(b);
    }
    b->served = rows;
    return b->whole ? TN_OK : load(b, b->served, e);
}

int sae_fit_buffer_next(sae_fit_buffer *b, uint32_t *slot, tn_err *e) {
    if (b->served == b->serve_end) {
        uint32_t left = b->held - b->served;
        renew(b);
        int rc = load(b, left, e);
        if (rc) return rc;
        shuffle(b);
    }
    *slot = b->order[b->served++];
    return TN_OK;
}

int sae_fit_buffer_measured(sae_fit_buffer *b, uint32_t *n, tn_err *e) {
    *n = b->cap;
    if (b->whole) return TN_OK;
    *n = 0;
    for (uint32_t row = 0; row < b->split->source->rows && *n < b->cap; row++)
        if (sae_fit_split_mark(b->split, row) == SAE_FIT_MEASURED) b->ids[(*n)++] = row;
    return sae_fit_read(b->split->source, b->ids, NULL, *n, b->x, b->keep, e);
}
