/* The report's page: its head, the opening, the sections that have something to say, and how to repeat it. */
#include "sae/report_html.h"

#include <string.h>

/* "the output of layer 18", or the hook's name where it is no layer's output. */
static void put_place(const sae_report *r, tn_buf *b) {
    const char *hook = r->sae->cfg.hook_name, *dot = strrchr(hook, '.');
    int layer = sae_layer(r->sae);
    if (layer >= 0 && dot && strcmp(dot, ".hook_resid_post") == 0) {
        tn_buf_printf(b, "the output of layer %d", layer);
    } else {
        tn_buf_puts(b, "the place called ");
        sae_svg_escape(b, hook[0] ? hook : "?");
    }
}

static void put_title(const sae_report *r, tn_buf *b) {
    if (r->title) {
        sae_svg_escape(b, r->title);
        return;
    }
    int layer = sae_layer(r->sae);
    if (layer >= 0)
        tn_buf_printf(b, "What goes on in layer %d of ", layer);
    else
        tn_buf_puts(b, "What goes on inside ");
    sae_svg_escape(b, r->model_name);
}

/* ---- What was done ---- */

static void put_overview(const sae_report *r, tn_buf *b) {
    tn_buf_puts(b, "<p>A language model turns every token, a word or a piece of one, into a list of ");
    sae_html_count(b, (size_t)r->sae->cfg.d_in);
    tn_buf_puts(b,
                " numbers and rewrites that list layer by layer, until it holds a guess at the next token. "
                "Here ");
    put_place(r, b);
    tn_buf_puts(b, " was recorded for ");
    sae_html_count(b, r->acts->n);
    tn_buf_puts(b, " tokens of ");
    sae_html_count(b, r->acts->n_docs);
    tn_buf_puts(
        b, " texts, and a sparse autoencoder (SAE) learned to write each list as the sum of a few out of ");
    sae_html_count(b, (size_t)r->sae->cfg.d_sae);
    tn_buf_puts(b, " fixed directions: its <em>features</em>.</p>\n");
    if (r->held_acts) {
        tn_buf_puts(b, "<p>");
        sae_html_count(b, r->held_acts->n_docs);
        tn_buf_puts(b, " further texts (");
        sae_html_count(b, r->held_acts->n);
        tn_buf_puts(b,
                    " tokens) were held out: they had no say in choosing features, and show what is true of "
                    "other texts as well.</p>\n");
    }
    tn_buf_puts(b, "<dl>\n");
    sae_html_fact(b, "Model", r->model_name);
    if (r->parameters) sae_html_fact_count(b, "Parameters", r->parameters);
    if (r->layers > 0) sae_html_fact_count(b, "Layers", (size_t)r->layers);
    sae_html_fact(b, "Recorded at", r->sae->cfg.hook_name);
    sae_html_fact_count(b, "Features", (size_t)r->sae->cfg.d_sae);
    sae_html_fact_count(b, "Texts", r->acts->n_docs);
    sae_html_fact_count(b, "Categories", (size_t)r->stats->n_labels);
    sae_html_fact_count(b, "Tokens", r->acts->n);
    tn_buf_puts(b, "</dl>\n");
}

/* ---- How to repeat it ---- */

static void put_repeat(const sae_report *r, tn_buf *b) {
    tn_buf_puts(b,
                "<p>The same files give this page again, byte for byte. The SAE is stored in the format of "
                "SAELens, and the recorded activations as safetensors, so other tools can check both.</p>\n"
                "<h3>Files</h3>\n<dl>\n");
    sae_html_fact(b, "Model", r->model_name);
    sae_html_fact(b, "SAE", r->sae_name);
    sae_html_fact(b, "Activations", r->acts_name);
    if (r->held_acts) sae_html_fact(b, "Held-out activations", r->held_name);
    for (int i = 0; i < r->n_answers; i++) sae_html_fact(b, "Answers", r->answers[i].title);
    if (r->eval) sae_html_fact(b, "Evaluation", r->eval->name);
    if (r->control) sae_html_fact(b, "Controls", r->control->name);
    tn_buf_puts(b, "</dl>\n");
    if (tn_json_count(r->settings) == 0) return;
    tn_buf_puts(b, "<h3>How the SAE was trained</h3>\n<dl>\n");
    sae_html_members(b, r->settings);
    tn_buf_puts(b, "</dl>\n");
}

/* ---- The page ---- */

static int always(const sae_report *r) {
    (void)r;
    return 1;
}

static int has_answers(const sae_report *r) {
    return r->n_answers > 0;
}

static int has_control(const sae_report *r) {
    return r->control && tn_json_count(tn_json_get(r->control->root, "ways")) > 0;
}

static int has_training(const sae_report *r) {
    return r->n_log > 0 || r->eval;
}

static const struct {
    const char *id, *title, *in_short; /* heading, and the same for the list at the top */
    int (*present)(const sae_report *r);
    void (*write)(const sae_report *r, tn_buf *b);
} sections[] = {
    {"overview", "The model, and what was done", "What was done", always, put_overview},
    {"surgery", "Surgery: the same question, with features edited", "Surgery", has_answers,
     sae_report_surgery},
    {"controls", "Is it the features? Controls", "Controls", has_control, sae_report_controls},
    {"stories", "The texts", "Texts", always, sae_report_stories},
    {"training", "Training the SAE, and how good it is", "Training", has_training, sae_report_training},
    {"features", "The features", "Features", always, sae_report_features},
    {"repeat", "How to repeat it", "Repeat it", always, put_repeat},
};
#define N_SECTIONS (sizeof sections / sizeof sections[0])

/* The page may load nothing and run nothing, whatever text it shows: browsers are told so as well. */
static const char head[] =
    "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n"
    "<meta charset=\"utf-8\"/>\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
    "<meta name=\"color-scheme\" content=\"light dark\"/>\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
    "'unsafe-inline'\"/>\n";

void sae_report_write(const sae_report *r, tn_buf *b) {
    tn_buf_puts(b, head);
    tn_buf_puts(b, "<title>");
    put_title(r, b);
    tn_buf_puts(b, "</title>\n");
    sae_html_style(b);
    tn_buf_puts(b, "</head>\n<body>\n<header>\n<p class=\"kicker\">A look inside a language model</p>\n<h1>");
    put_title(r, b);
    tn_buf_puts(
        b,
        "</h1>\n<p class=\"lead\">A language model computes with long lists of numbers that say nothing to "
        "a reader. A sparse autoencoder takes such a list apart into features, many of which do mean "
        "something, and lets us change them while the model speaks.</p>\n<nav><ol>\n");
    for (size_t i = 0; i < N_SECTIONS; i++)
        if (sections[i].present(r))
            tn_buf_printf(b, "<li><a href=\"#%s\">%s</a></li>\n", sections[i].id, sections[i].in_short);
    tn_buf_puts(b, "</ol></nav>\n</header>\n<main>\n");
    for (size_t i = 0; i < N_SECTIONS; i++) {
        if (!sections[i].present(r)) continue;
        tn_buf_printf(b, "<section id=\"%s\">\n<h2>%s</h2>\n", sections[i].id, sections[i].title);
        sections[i].write(r, b);
        tn_buf_puts(b, "</section>\n");
    }
    tn_buf_puts(b,
                "</main>\n<footer>Made by <code>sae report</code> of Scalpel.</footer>\n</body>\n</html>\n");
}
