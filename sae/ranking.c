/* Rankings and their pictures (ranking.h). */
#include "sae/ranking.h"
#include "sae/plot.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

float sae_label_auroc(const sae_feature_stats *st, const char *label, int32_t feature) {
    int l = sae_label_find(st, label);
    if (l < 0 || st->label_tokens[l] == 0 || st->label_tokens[l] == st->n_tokens) return NAN;
    return st->auroc[(size_t)l * (size_t)st->d_sae + (size_t)feature];
}

int sae_held_out_stats(sae_feature_stats *out, const sae_model *s, const sae_acts *acts,
                       const sae_acts *ranked, tn_exec ex, tn_err *e) {
    *out = (sae_feature_stats){0};
    if (strcmp(acts->hook_name, ranked->hook_name) != 0)
        return tn_fail(e, TN_ESHAPE, "activations of %s, but the features are ranked on those of %s",
                       acts->hook_name, ranked->hook_name);
    return sae_feature_stats_new(out, s, acts, ex, e);
}

int sae_ranking_new(sae_ranking *out, const sae_feature_stats *stats, const sae_feature_stats *held,
                    int label, sae_feature_order order, int top, tn_err *e) {
    *out = (sae_ranking){.stats = stats, .n = label < 0 ? stats->n_labels : 1, .top = top};
    size_t n = (size_t)out->n, places;
    if (top < 1 || tn_mul_size(n, (size_t)top, &places))
        return tn_fail(e, TN_EARG, "%d features of %d labels", top, out->n);
    out->labels = calloc(n + 1, sizeof *out->labels);
    out->counts = calloc(n + 1, sizeof *out->counts);
    out->scores = calloc(places + 1, sizeof *out->scores);
    out->held_out = calloc(places + 1, sizeof *out->held_out);
    int code = out->labels && out->counts && out->scores && out->held_out
                   ? TN_OK
                   : tn_fail(e, TN_ENOMEM, "out of memory for %d features of %d labels", top, out->n);
    for (int i = 0; i < out->n && !code; i++) {
        sae_feature_score *scores = out->scores + (size_t)i * (size_t)top;
        out->labels[i] = label < 0 ? i : label;
        code = sae_features_top(stats, out->labels[i], order, top, scores, &out->counts[i], e);
        for (int k = 0; k < out->counts[i] && !code; k++)
            out->held_out[(size_t)i * (size_t)top + (size_t)k] =
                held ? sae_label_auroc(held, stats->labels[out->labels[i]], scores[k].feature) : NAN;
    }
    if (code) sae_ranking_free(out);
    return code;
}

void sae_ranking_free(sae_ranking *r) {
    free(r->labels);
    free(r->counts);
    free(r->scores);
    free(r->held_out);
    *r = (sae_ranking){0};
}

void sae_ranking_reach(const sae_ranking *r, int *chosen, int *held_out, int *comparable) {
    *chosen = *held_out = *comparable = 0;
    for (int i = 0; i < r->n; i++) {
        size_t best = (size_t)i * (size_t)r->top;
        if (r->counts[i] == 0) continue;
        *chosen += r->scores[best].auroc >= SAE_GOOD_AUROC;
        *held_out += r->held_out[best] >= SAE_GOOD_AUROC; /* false for NaN */
        *comparable += !isnan(r->held_out[best]);
    }
}

/* ---- Pictures ---- */

/* One row of the heat map: the feature's mean for every label, divided by the largest, so that rows of weak
 * and of strong features can be read alike. values [n_labels] */
static void relative_means(const sae_feature_stats *st, int32_t feature, double *values) {
    double largest = 0.0;
    for (int l = 0; l < st->n_labels; l++) {
        values[l] = (double)sae_feature_score_of(st, l, feature).mean_in;
        if (values[l] > largest) largest = values[l];
    }
    for (int l = 0; l < st->n_labels && largest > 0.0; l++) values[l] /= largest;
}

void sae_ranking_heatmap(const sae_ranking *r, int most, tn_buf *svg) {
    const sae_feature_stats *st = r->stats;
    size_t rows = 0, labels = (size_t)st->n_labels, cells;
    for (int i = 0; i < r->n; i++) rows += (size_t)(r->counts[i] < most ? r->counts[i] : most);
    double *values = tn_mul_size(rows, labels, &cells) ? NULL : calloc(cells + 1, sizeof *values);
    char(*names)[64] = calloc(rows + 1, sizeof *names);
    const char **row_names = calloc(rows + 1, sizeof *row_names);
    if (values && names && row_names) {
        size_t row = 0;
        for (int i = 0; i < r->n; i++) {
            for (int k = 0; k < r->counts[i] && k < most; k++, row++) {
                int32_t feature = r->scores[(size_t)i * (size_t)r->top + (size_t)k].feature;
                snprintf(names[row], sizeof names[row], "%.48s %d", st->labels[r->labels[i]], (int)feature);
                row_names[row] = names[row];
                relative_means(st, feature, values + row * labels);
            }
        }
        sae_chart chart = {.title = "Mean activation per category, relative to the feature's largest"};
        sae_plot_heatmap(&chart, row_names, (int)rows, st->labels, st->n_labels, values, svg);
    } else {
        svg->failed = 1;
    }
    free(values);
    free(names);
    free(row_names);
}

void sae_active_bars(const sae_feature_stats *st, tn_buf *svg) {
    double *values = calloc((size_t)st->n_labels + 1, sizeof *values);
    if (!values) {
        svg->failed = 1;
        return;
    }
    for (int l = 0; l < st->n_labels; l++) values[l] = sae_label_active(st, l, SAE_ACTIVE_SHARE);
    sae_chart chart = {.title = "Features that fire in at least half of a category's documents",
                       .y_label = "features"};
    sae_plot_bars(&chart, st->labels, values, st->n_labels, svg);
    free(values);
}
