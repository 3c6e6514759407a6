/* The split of a training run's rows (fit_split.h). Memory goes with the documents, not with the rows. */
#include "sae/fit_split.h"

#include <stdlib.h>
#include <string.h>

tn_rng sae_fit_stream(uint64_t seed, uint64_t which) {
    return tn_rng_seed(seed ^ (which * 0x9E3779B97F4A7C15u));
}

static uint32_t item_of(const sae_fit_split *s, uint32_t row) {
    return s->by_rows ? row : s->source->doc(s->source->ctx, row);
}

int sae_fit_split_mark(const sae_fit_split *s, uint32_t row) {
    return s->marks[item_of(s, row)];
}

/* The items that have rows, in order of appearance, and the rows of each. */
typedef struct {
    uint32_t *size;  /* [items] */
    uint32_t *order; /* [used] */
    uint32_t used;
} item_list;

/* Draws the items of validation, in random order, until the share is reached; at least one is drawn and one
 * is left. Then those to be measured, in the same way. */
static int draw(sae_fit_split *s, item_list *l, const sae_fit_opts *o, uint32_t buffer, tn_err *e) {
    uint32_t n = s->source->rows, at = 0;
    size_t wanted = (size_t)((double)o->validation * (double)n + 0.5), taken = 0;
    if (!s->fits && wanted > buffer / 8) wanted = buffer / 8;
    for (uint32_t row = 0; row < n; row++) {
        uint32_t item = item_of(s, row);
        if (l->size[item]++ == 0) l->order[l->used++] = item;
    }
    tn_rng rng = sae_fit_stream(o->train.seed, SAE_STREAM_SPLIT);
    if (o->validation > 0) {
        if (l->used < 2)
            return tn_fail(e, TN_EARG, "%s: %s cannot be split into training and validation", s->source->name,
                           s->by_rows ? "a single row" : "the rows of a single document");
        tn_rng_shuffle(&rng, l->order, l->used);
        for (; at + 1 < l->used && (at == 0 || taken < wanted); at++) {
            s->marks[l->order[at]] = SAE_FIT_VALIDATES;
            taken += l->size[l->order[at]];
        }
    } else if (!s->fits) {
        tn_rng_shuffle(&rng, l->order, l->used);
    }
    s->n_val = (uint32_t)taken;
    s->n_train = n - s->n_val;
    s->val_docs = at;
    s->train_docs = l->used - at;
    taken = 0;
    for (; !s->fits && at < l->used && taken < SAE_FIT_MEASURED_ROWS; at++) {
        s->marks[l->order[at]] = SAE_FIT_MEASURED;
        taken += l->size[l->order[at]];
    }
    return TN_OK;
}

/* Lists the rows of validation. */
static int list_validation(sae_fit_split *s, uint64_t seed, tn_err *e) {
    s->val = malloc((s->n_val ? s->n_val : 1) * sizeof *s->val);
    if (!s->val) return tn_fail(e, TN_ENOMEM, "no memory to list %u rows", s->n_val);
    uint32_t n = 0;
    for (uint32_t row = 0; row < s->source->rows && s->n_val; row++)
        if (sae_fit_split_mark(s, row) == SAE_FIT_VALIDATES) s->val[n++] = row;
    tn_rng rng = sae_fit_stream(seed, SAE_STREAM_VAL_ORDER);
    tn_rng_shuffle(&rng, s->val, s->n_val);
    return TN_OK;
}

int sae_fit_split_new(sae_fit_split *out, const sae_source *source, const sae_fit_opts *o, uint32_t buffer,
                      tn_err *e) {
    *out = (sae_fit_split){.source = source, .by_rows = o->split_rows, .fits = source->rows <= buffer};
    if (source->rows < 1) return tn_fail(e, TN_EARG, "%s: 0 rows of activations", source->name);
    if (out->by_rows && !out->fits)
        return tn_fail(e, TN_EARG,
                       "single rows can be held back only of data that fits into the buffer (%u rows)",
                       buffer);
    size_t items = out->by_rows ? source->rows : source->docs;
    item_list list = {calloc(items + 1, sizeof *list.size), malloc((items + 1) * sizeof *list.order), 0};
    out->marks = calloc(items + 1, 1);
    int rc = list.size && list.order && out->marks
                 ? TN_OK
                 : tn_fail(e, TN_ENOMEM, "no memory to split %zu documents", items);
    if (!rc) rc = draw(out, &list, o, buffer, e);
    free(list.size);
    free(list.order);
    if (!rc) rc = list_validation(out, o->train.seed, e);
    if (rc) sae_fit_split_free(out);
    return rc;
}

void sae_fit_split_free(sae_fit_split *s) {
    free(s->marks);
    free(s->val);
    memset(s, 0, sizeof *s);
}
