/* The report's section on training: the curves, and how good the finished SAE is. */
#include "sae/fit_charts.h"
#include "sae/report_html.h"

/* What `sae eval` measures, in plain words. */
static const struct {
    const char *key, *name, *meaning;
} measures[] = {
    {"fve", "explained variance", "1 would be a perfect copy of the list, 0 is no better than its average"},
    {"cosine", "cosine", "how well the copy's direction agrees; 1 is the same"},
    {"l2_ratio", "length", "length of the copy, relative to the list's"},
    {"mse", "squared error", "distance between list and copy, squared"},
    {"l0", "active features", "how many features it takes to write one token's list"},
    {"l1", "sum of activations", "what training keeps small, besides the error"},
    {"alive", "features in use", "fire somewhere in the texts measured"},
    {"dead", "silent features", "fire nowhere in them"},
    {"ce_original", "loss, model as it is", "surprise per token in nats; lower is better"},
    {"ce_sae", "loss, through the SAE", "the same with the copy in place of the list"},
    {"ce_zero", "loss, with zeros", "... with nothing there at all"},
    {"ce_mean", "loss, with the average", "... with the average list everywhere"},
    {"ce_difference", "loss added", "what the SAE costs the model"},
    {"loss_recovered", "loss recovered", "1: the SAE costs nothing; 0: it is no better than zeros"},
    {"loss_recovered_mean", "loss recovered, from the average", "the same, compared with the average list"},
    {"kl", "KL divergence", "how far the model's guesses at the next token shift, in nats"},
};

static void put_curves(const sae_report *r, tn_buf *b) {
    sae_html_figure(b);
    sae_chart_loss(r->log, r->n_log, b);
    sae_html_figure_end(
        b, "Where the error on the validation texts rises while that on the training texts falls, the "
           "SAE has begun to learn its texts by heart.");
    sae_html_figure(b);
    sae_chart_l1_mse(r->log, r->n_log, b);
    sae_html_figure_end(
        b, "The two aims against each other: fewer and weaker features to the bottom, a smaller error "
           "to the left.");
}

static void put_measures(const sae_report *r, tn_buf *b) {
    double tokens = 0, texts = 0, v;
    tn_buf_puts(b, "<h3>How good it is</h3>\n");
    if (tn_json_f64(tn_json_get(r->eval->root, "n_tokens"), &tokens) &&
        tn_json_f64(tn_json_get(r->eval->root, "n_docs"), &texts)) {
        tn_buf_puts(b, "<p class=\"note\">Measured on ");
        sae_html_number(b, tokens);
        tn_buf_puts(b, " tokens of ");
        sae_html_number(b, texts);
        tn_buf_puts(b, " texts.</p>\n");
    }
    tn_buf_puts(b, "<div class=\"scroll\" tabindex=\"0\">\n<table>\n<tbody>\n");
    for (size_t i = 0; i < sizeof measures / sizeof measures[0]; i++) {
        if (!tn_json_f64(tn_json_get(r->eval->root, measures[i].key), &v)) continue;
        tn_buf_printf(b, "<tr><th scope=\"row\">%s</th><td class=\"n\">", measures[i].name);
        sae_html_number(b, v);
        tn_buf_printf(b, "</td><td>%s</td></tr>\n", measures[i].meaning);
    }
    tn_buf_puts(b, "</tbody>\n</table>\n</div>\n");
}

void sae_report_training(const sae_report *r, tn_buf *b) {
    tn_buf_puts(
        b, "<p>In training the SAE is shown one token's list at a time and has to give it back (MSE is the "
           "error "
           "it makes) with as little switched on as possible (L1 is how much that is). The two pull against "
           "each other, and out of that come features that are rarely on but mean something when they "
           "are.</p>\n");
    if (r->n_log > 0) put_curves(r, b);
    if (r->eval) put_measures(r, b);
}
