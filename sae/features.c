/* Statistics of latents per label: one pass over the rows, then one ranking of the documents per latent. */
#include "sae/features.h"

#include "sae/active.h"

#include "tensor/par.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK 1024 /* rows encoded at once */
#define PIECES 8   /* ranges of features for each thread: they differ in work */

void sae_feature_stats_free(sae_feature_stats *st) {
    free(st->labels);
    free(st->doc_mean);
    free(st->doc_label);
    free(st->doc_tokens);
    free(st->label_sum);
    free(st->label_fires);
    free(st->label_max);
    free(st->auroc);
    free(st->label_tokens);
    free(st->examples);
    *st = (sae_feature_stats){0};
}

int sae_label_find(const sae_feature_stats *st, const char *label) {
    for (int i = 0; i < st->n_labels; i++)
        if (strcmp(st->labels[i], label) == 0) return i;
    return -1;
}

/* ---- Setting up ---- */

/* calloc of rows * cols elements; NULL on overflow too. */
static void *table(size_t rows, size_t cols, size_t size) {
    size_t n;
    if (tn_mul_size(rows, cols, &n)) return NULL;
    return calloc(n ? n : 1, size);
}

/* Labels, documents and their counts. */
static int index_labels(sae_feature_stats *st, const sae_acts *acts) {
    st->n_docs = acts->n_docs;
    st->labels = table(acts->n_docs, 1, sizeof *st->labels);
    st->doc_label = table(acts->n_docs, 1, sizeof *st->doc_label);
    st->doc_tokens = table(acts->n_docs, 1, sizeof *st->doc_tokens);
    if (!st->labels || !st->doc_label || !st->doc_tokens) return 0;
    for (size_t i = 0; i < acts->n_docs; i++) {
        int label = sae_label_find(st, acts->docs[i].label);
        if (label < 0) {
            label = st->n_labels++;
            st->labels[label] = acts->docs[i].label;
        }
        st->doc_label[i] = label;
    }
    st->label_tokens = table((size_t)st->n_labels, 1, sizeof *st->label_tokens);
    if (!st->label_tokens) return 0;
    for (size_t i = 0; i < acts->n; i++) {
        st->doc_tokens[acts->doc[i]]++;
        st->label_tokens[st->doc_label[acts->doc[i]]]++;
    }
    return 1;
}

static int take_tables(sae_feature_stats *st) {
    size_t f = (size_t)st->d_sae, labels = (size_t)st->n_labels;
    st->doc_mean = table(st->n_docs, f, sizeof *st->doc_mean);
    st->label_sum = table(labels, f, sizeof *st->label_sum);
    st->label_fires = table(labels, f, sizeof *st->label_fires);
    st->label_max = table(labels, f, sizeof *st->label_max);
    st->auroc = table(labels, f, sizeof *st->auroc);
    st->examples = table(f, SAE_TOP_ROWS, sizeof *st->examples);
    return st->doc_mean && st->label_sum && st->label_fires && st->label_max && st->auroc && st->examples;
}

/* ---- The pass over the rows ---- */

/* Puts a row into a feature's list [SAE_TOP_ROWS], which keeps one row per document. */
static void keep_example(sae_example *list, sae_example new) {
    int place = SAE_TOP_ROWS - 1; /* the entry that has to go */
    for (int i = 0; i < SAE_TOP_ROWS; i++)
        if (list[i].z > 0.0f && list[i].doc == new.doc) place = i;
    if (new.z <= list[place].z) return;
    for (; place > 0 && list[place - 1].z < new.z; place--) list[place] = list[place - 1];
    list[place] = new;
}

typedef struct {
    sae_feature_stats *st;
    const sae_acts *acts;
    const sae_active *active; /* [n] */
    size_t row0;              /* index of the block's first row */
    size_t n;
} block;

/* Adds the block's rows to the tables, for features begin … end-1. */
static void sum_block(void *ctx, size_t begin, size_t end) {
    const block *b = ctx;
    sae_feature_stats *st = b->st;
    size_t f = (size_t)st->d_sae;
    for (size_t i = 0; i < b->n; i++) {
        int32_t doc = b->acts->doc[b->row0 + i];
        const sae_entry *list = b->active->of_row + i * b->active->room,
                        *stop = list + b->active->n_of_row[i];
        float *mean = st->doc_mean + (size_t)doc * f; /* a sum until divide_means */
        size_t label = (size_t)st->doc_label[doc] * f;
        const sae_entry *first = sae_entry_from(list, b->active->n_of_row[i], begin);
        for (const sae_entry *e = first; e < stop && e->at < end; e++) {
            size_t k = e->at;
            if (!(e->z > 0.0f)) continue;
            mean[k] += e->z;
            st->label_sum[label + k] += (double)e->z;
            st->label_fires[label + k]++;
            if (e->z > st->label_max[label + k]) st->label_max[label + k] = e->z;
            keep_example(st->examples + k * SAE_TOP_ROWS, (sae_example){e->z, (uint32_t)(b->row0 + i), doc});
        }
    }
}

static int sum_rows(sae_feature_stats *st, const sae_model *s, const sae_acts *acts, tn_exec ex) {
    size_t d = (size_t)st->d_sae, w = (size_t)acts->d;
    float *x = table(BLOCK, w, sizeof *x);
    void *scratch = malloc(sae_encode_active_scratch(s, BLOCK));
    sae_active active;
    uint32_t idx[BLOCK];
    int ok = !sae_active_new(&active, s, BLOCK, NULL) && x && scratch;
    for (size_t row0 = 0; ok && row0 < acts->n; row0 += BLOCK) {
        size_t n = acts->n - row0 < BLOCK ? acts->n - row0 : BLOCK;
        for (size_t i = 0; i < n; i++) idx[i] = (uint32_t)(row0 + i);
        sae_acts_gather(acts, idx, n, x);
        sae_encode_active(s, ex, x, (int)n, &active, scratch);
        block b = {st, acts, &active, row0, n};
        tn_parallel_for(d, 1 + d / (PIECES * (size_t)ex.threads), ex.threads, sum_block, &b);
    }
    sae_active_free(&active);
    free(x);
    free(scratch);
    return ok;
}

static void divide_means(sae_feature_stats *st) {
    size_t f = (size_t)st->d_sae;
    for (size_t doc = 0; doc < st->n_docs; doc++)
        for (size_t k = 0; k < f && st->doc_tokens[doc]; k++)
            st->doc_mean[doc * f + k] /= (float)st->doc_tokens[doc];
}

/* ---- AUROC ---- */

typedef struct {
    float score;
    int32_t label;
} ranked;

static int by_score(const void *a, const void *b) {
    float x = ((const ranked *)a)->score, y = ((const ranked *)b)->score;
    return (x > y) - (x < y);
}

/* AUROC of every label from one ranking: with R the sum of the ranks of a label's n1 documents (from 1, ties
 * sharing their mean rank) among n0 others, AUROC = (R - n1(n1+1)/2) / (n1 n0), Mann and Whitney 1947. */
static int rank_documents(sae_feature_stats *st) {
    size_t f = (size_t)st->d_sae, labels = (size_t)st->n_labels, n = 0;
    ranked *r = table(st->n_docs, 1, sizeof *r);
    double *rank_sum = table(labels, 1, sizeof *rank_sum), *n1 = table(labels, 1, sizeof *n1);
    int ok = r && rank_sum && n1;
    for (size_t doc = 0; ok && doc < st->n_docs; doc++) {
        if (!st->doc_tokens[doc]) continue;
        n1[st->doc_label[doc]] += 1.0;
        n++;
    }
    for (size_t k = 0; ok && k < f; k++) {
        size_t m = 0;
        for (size_t doc = 0; doc < st->n_docs; doc++)
            if (st->doc_tokens[doc]) r[m++] = (ranked){st->doc_mean[doc * f + k], st->doc_label[doc]};
        qsort(r, n, sizeof *r, by_score);
        memset(rank_sum, 0, labels * sizeof *rank_sum);
        for (size_t i = 0, j; i < n; i = j) {
            for (j = i; j < n && !(r[j].score > r[i].score);) j++; /* i … j-1 are equal */
            for (size_t t = i; t < j; t++) rank_sum[r[t].label] += 0.5 * (double)(i + 1 + j);
        }
        for (size_t l = 0; l < labels; l++) {
            double pairs = n1[l] * ((double)n - n1[l]);
            double u = rank_sum[l] - 0.5 * n1[l] * (n1[l] + 1.0);
            st->auroc[l * f + k] = pairs > 0.0 ? (float)(u / pairs) : 0.5f;
        }
    }
    free(r);
    free(rank_sum);
    free(n1);
    return ok;
}

int sae_feature_stats_new(sae_feature_stats *out, const sae_model *s, const sae_acts *acts, tn_exec ex,
                          tn_err *e) {
    *out = (sae_feature_stats){.d_sae = s->cfg.d_sae, .n_tokens = acts->n};
    if (acts->d != s->cfg.d_in)
        return tn_fail(e, TN_ESHAPE, "SAE of width %d does not fit activations of width %d", s->cfg.d_in,
                       acts->d);
    if (acts->n > UINT32_MAX) return tn_fail(e, TN_EUNSUP, "more than 2^32 activations in one file");
    int ok = index_labels(out, acts) && take_tables(out) && sum_rows(out, s, acts, ex);
    if (ok) divide_means(out);
    if (!ok || !rank_documents(out)) {
        sae_feature_stats_free(out);
        return tn_fail(e, TN_ENOMEM, "out of memory for the statistics of %d features over %zu documents",
                       s->cfg.d_sae, acts->n_docs);
    }
    return TN_OK;
}

/* ---- Reading the tables ---- */

sae_feature_score sae_feature_score_of(const sae_feature_stats *st, int label, int32_t feature) {
    size_t f = (size_t)st->d_sae, k = (size_t)feature, at = (size_t)label * f + k;
    double in = (double)st->label_tokens[label], out = (double)st->n_tokens - in;
    double sum_out = 0.0, fires_out = 0.0;
    for (int l = 0; l < st->n_labels; l++) {
        if (l == label) continue;
        sum_out += st->label_sum[(size_t)l * f + k];
        fires_out += (double)st->label_fires[(size_t)l * f + k];
    }
    sae_feature_score s = {.feature = feature, .max_in = st->label_max[at], .auroc = st->auroc[at]};
    if (in > 0.0) {
        s.mean_in = (float)(st->label_sum[at] / in);
        s.rate_in = (float)((double)st->label_fires[at] / in);
    }
    if (out > 0.0) {
        s.mean_out = (float)(sum_out / out);
        s.rate_out = (float)(fires_out / out);
    }
    s.diff = s.mean_in - s.mean_out;
    return s;
}

/* Descending; qsort has no context, hence one function per order. */
static int compare(float a1, float b1, float a2, float b2, int32_t fa, int32_t fb) {
    if (a1 != b1) return a1 > b1 ? -1 : 1;
    if (a2 != b2) return a2 > b2 ? -1 : 1;
    return (fa > fb) - (fa < fb);
}

static int by_diff(const void *pa, const void *pb) {
    const sae_feature_score *a = pa, *b = pb;
    return compare(a->diff, b->diff, a->auroc, b->auroc, a->feature, b->feature);
}

static int by_auroc(const void *pa, const void *pb) {
    const sae_feature_score *a = pa, *b = pb;
    return compare(a->auroc, b->auroc, a->diff, b->diff, a->feature, b->feature);
}

int sae_features_top(const sae_feature_stats *st, int label, sae_feature_order order, int top,
                     sae_feature_score *out, int *n, tn_err *e) {
    *n = 0;
    if (label < 0 || label >= st->n_labels) return tn_fail(e, TN_EARG, "there is no label %d", label);
    size_t f = (size_t)st->d_sae, count = 0;
    sae_feature_score *all = table(f, 1, sizeof *all);
    if (!all) return tn_fail(e, TN_ENOMEM, "out of memory");
    for (size_t k = 0; k < f; k++)
        if (st->label_fires[(size_t)label * f + k])
            all[count++] = sae_feature_score_of(st, label, (int32_t)k);
    qsort(all, count, sizeof *all, order == SAE_BY_DIFF ? by_diff : by_auroc);
    *n = (size_t)top < count ? top : (int)count;
    memcpy(out, all, (size_t)*n * sizeof *all);
    free(all);
    return TN_OK;
}

int sae_label_active(const sae_feature_stats *st, int label, double share) {
    size_t f = (size_t)st->d_sae, docs = 0;
    int active = 0;
    for (size_t doc = 0; doc < st->n_docs; doc++) docs += st->doc_label[doc] == label && st->doc_tokens[doc];
    for (size_t k = 0; k < f && docs; k++) {
        size_t firing = 0;
        for (size_t doc = 0; doc < st->n_docs; doc++)
            firing += st->doc_label[doc] == label && st->doc_mean[doc * f + k] > 0.0f;
        active += firing > 0 && (double)firing >= share * (double)docs;
    }
    return active;
}
