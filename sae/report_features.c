/* The report's sections on the texts and on the features that tell their categories apart. */
#include "sae/report_html.h"

#include <math.h>

/* Tokens of context around a feature's strongest one, and how many examples are shown. */
#define CONTEXT_BEFORE 8
#define CONTEXT_AFTER 5
#define SHOWN_EXAMPLES 3

/* ---- Texts ---- */

/* The first text of a label as the fold's heading, the others inside. */
static void put_texts(const sae_report *r, int label, tn_buf *b) {
    int first = 1;
    for (size_t i = 0; i < r->acts->n_docs; i++) {
        if (r->stats->doc_label[i] != label) continue;
        if (first) {
            tn_buf_puts(b, "<details><summary><b>");
            sae_html_label(b, r->stats->labels[label]);
            tn_buf_puts(b, "</b><span dir=\"auto\">");
            sae_svg_escape(b, r->acts->docs[i].text);
            tn_buf_puts(b, "</span></summary><ol start=\"2\">\n");
            first = 0;
        } else {
            tn_buf_puts(b, "<li dir=\"auto\">");
            sae_svg_escape(b, r->acts->docs[i].text);
            tn_buf_puts(b, "</li>\n");
        }
    }
    if (!first) tn_buf_puts(b, "</ol></details>\n");
}

void sae_report_stories(const sae_report *r, tn_buf *b) {
    tn_buf_puts(
        b, "<p>These are the texts that were recorded, the first of each category; unfold one to read the "
           "others.</p>\n");
    if (r->acts->n_docs > 0 && r->acts->docs[0].prompt[0]) {
        tn_buf_puts(
            b,
            "<p class=\"note\">The first was asked for with</p>\n<blockquote class=\"prompt\" dir=\"auto\">");
        sae_svg_escape(b, r->acts->docs[0].prompt);
        tn_buf_puts(b, "</blockquote>\n");
    }
    for (int l = 0; l < r->stats->n_labels; l++) put_texts(r, l, b);
}

/* ---- Features ---- */

/* Appends rows first … last-1 as escaped text. */
static void put_rows(const sae_report *r, size_t first, size_t last, tn_buf *b) {
    tn_buf text = TN_BUF_INIT;
    sae_rows_text(r->acts, &r->vocabulary, first, last, &text);
    if (text.failed) b->failed = 1;
    if (text.data) sae_svg_escape(b, text.data);
    tn_buf_free(&text);
}

/* The strongest token, marked; a space before the word stays outside. */
static void put_strongest(const sae_report *r, sae_example x, tn_buf *b) {
    tn_buf text = TN_BUF_INIT;
    sae_rows_text(r->acts, &r->vocabulary, x.row, (size_t)x.row + 1, &text);
    if (text.failed) b->failed = 1;
    const char *word = text.data ? text.data : "";
    if (word[0] == ' ' && word[1]) {
        tn_buf_putc(b, ' ');
        word++;
    }
    tn_buf_puts(b, "<mark title=\"activation ");
    sae_html_number(b, (double)x.z);
    tn_buf_puts(b, ", in a text of category ");
    sae_html_label(b, r->acts->docs[x.doc].label);
    tn_buf_puts(b, "\">");
    sae_svg_escape(b, word);
    tn_buf_puts(b, "</mark>");
    tn_buf_free(&text);
}

static void put_examples(const sae_report *r, int32_t feature, tn_buf *b) {
    const sae_example *x = r->stats->examples + (size_t)feature * SAE_TOP_ROWS;
    tn_buf_puts(b, "<td class=\"where\">");
    for (int k = 0; k < SHOWN_EXAMPLES && k < SAE_TOP_ROWS && x[k].z > 0.0f; k++) {
        sae_context c = sae_example_context(r->acts, x[k], CONTEXT_BEFORE, CONTEXT_AFTER);
        tn_buf_puts(b, "<div dir=\"auto\">");
        put_rows(r, c.first, c.row, b);
        put_strongest(r, x[k], b);
        put_rows(r, c.row + 1, c.last, b);
        tn_buf_puts(b, "</div>");
    }
    tn_buf_puts(b, "</td>");
}

static void put_feature(const sae_report *r, int c, int i, tn_buf *b) {
    size_t at = (size_t)c * (size_t)r->ranking->top + (size_t)i;
    const sae_feature_score *s = &r->ranking->scores[at];
    tn_buf_printf(b, "<tr><td class=\"n\">%d</td><td class=\"n\">%.3f</td>", (int)s->feature,
                  (double)s->auroc);
    if (r->held_acts && isnan(r->ranking->held_out[at]))
        tn_buf_puts(b, "<td class=\"n\">–</td>");
    else if (r->held_acts)
        tn_buf_printf(b, "<td class=\"n\">%.3f</td>", (double)r->ranking->held_out[at]);
    tn_buf_printf(b, "<td class=\"n\">%.1f %%</td><td class=\"n\">%.1f %%</td>", 100 * (double)s->rate_in,
                  100 * (double)s->rate_out);
    if (r->vocabulary.ctx) put_examples(r, s->feature, b);
    tn_buf_puts(b, "</tr>\n");
}

static void put_table(const sae_report *r, tn_buf *b) {
    int columns = 4 + !!r->held_acts + !!r->vocabulary.ctx;
    tn_buf_puts(b, "<div class=\"scroll\" tabindex=\"0\">\n<table>\n<thead><tr><th class=\"n\">feature</th>"
                   "<th class=\"n\">AUROC</th>");
    if (r->held_acts) tn_buf_puts(b, "<th class=\"n\">held out</th>");
    tn_buf_puts(b, "<th class=\"n\">fires</th><th class=\"n\">elsewhere</th>");
    if (r->vocabulary.ctx) tn_buf_puts(b, "<th>strongest at</th>");
    tn_buf_puts(b, "</tr></thead>\n");
    for (int c = 0; c < r->ranking->n; c++) {
        tn_buf_printf(b, "<tbody>\n<tr class=\"group\"><th colspan=\"%d\" scope=\"rowgroup\">", columns);
        sae_html_label(b, r->stats->labels[r->ranking->labels[c]]);
        if (r->ranking->counts[c] == 0) tn_buf_puts(b, ": no feature fires");
        tn_buf_puts(b, "</th></tr>\n");
        for (int i = 0; i < r->ranking->counts[c]; i++) put_feature(r, c, i, b);
        tn_buf_puts(b, "</tbody>\n");
    }
    tn_buf_puts(b, "</table>\n</div>\n");
}

static void put_reach(const sae_report *r, tn_buf *b) {
    int chosen, held_out, comparable;
    sae_ranking_reach(r->ranking, &chosen, &held_out, &comparable);
    tn_buf_printf(b, "<p><strong>The best feature of %d of %d categories reaches an AUROC of %.2f.</strong>",
                  chosen, r->ranking->n, (double)SAE_GOOD_AUROC);
    if (r->held_acts)
        tn_buf_printf(b,
                      " On the held-out texts, which had no say in choosing it, the same feature still does "
                      "for <strong>%d of %d</strong>: that is the figure to believe.",
                      held_out, comparable);
    tn_buf_puts(b, "</p>\n");
}

void sae_report_features(const sae_report *r, tn_buf *b) {
    tn_buf_puts(
        b, "<p>Which features belong to which category? Take a text of the category and one of another: "
           "AUROC is "
           "the chance that the feature is stronger in the first, so 0.5 is the toss of a coin, and 1 never "
           "errs.</p>\n");
    put_reach(r, b);
    sae_html_figure(b);
    sae_ranking_heatmap(r->ranking, 1, b);
    sae_html_figure_end(
        b, "Each row is one category's best feature, each column the texts of a category. A strong "
           "diagonal says that each feature keeps to its own; strong spots beside it are confusions, "
           "often telling ones.");
    sae_html_figure(b);
    sae_active_bars(r->stats, b);
    sae_html_figure_end(b, NULL);
    tn_buf_puts(
        b,
        "<p class=\"note\">The best features of every category. \"Fires\" and \"elsewhere\" are the shares "
        "of tokens at which the feature is on, in the category's texts and in all others.");
    if (r->vocabulary.ctx) tn_buf_puts(b, " Marked is the token at which it is strongest.");
    tn_buf_puts(b, "</p>\n");
    put_table(r, b);
}
