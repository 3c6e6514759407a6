/* The report's sections on edited answers: the answers side by side, and whether controls agree. */
#include "sae/plot.h"
#include "sae/report_html.h"

#include <math.h>
#include <stdlib.h>

/* ---- Answers ---- */

/* What a way of answering does, for a reader who sees its name for the first time. */
static void put_way(tn_json answer, tn_buf *b) {
    tn_json op = tn_json_get(answer, "op"), name = tn_json_get(answer, "name");
    tn_buf_puts(b, "<p class=\"note\">");
    if (op.kind == TN_JSON_STRING) {
        tn_buf_puts(b, "<code>");
        sae_html_string(b, op);
        tn_buf_puts(b, "</code>");
    } else if (tn_json_is(name, "original")) {
        tn_buf_puts(b, "the model as it is");
    } else if (tn_json_is(name, "SAE only")) {
        tn_buf_puts(b, "the list replaced by the SAE's copy of it, nothing edited");
    } else {
        tn_buf_puts(b, "steered along a direction");
    }
    tn_buf_puts(b, "</p>\n");
}

/* The first question, large. */
static void put_first(tn_json question, tn_buf *b) {
    tn_json key, answer;
    tn_buf_puts(b, "<p class=\"ask\">Asked was</p>\n<blockquote class=\"question\" dir=\"auto\">");
    sae_html_string(b, tn_json_get(question, "prompt"));
    tn_buf_puts(b, "</blockquote>\n<div class=\"answers\">\n");
    for (tn_json_iter it = tn_json_each(tn_json_get(question, "answers"));
         tn_json_next(&it, &key, &answer);) {
        int edited = !tn_json_is(tn_json_get(answer, "name"), "original") &&
                     !tn_json_is(tn_json_get(answer, "name"), "SAE only");
        tn_buf_printf(b, "<div class=\"answer%s\">\n<h3>", edited ? " edited" : "");
        sae_html_string(b, tn_json_get(answer, "name"));
        tn_buf_puts(b, "</h3>\n");
        put_way(answer, b);
        tn_buf_puts(b, "<p dir=\"auto\">");
        sae_html_string(b, tn_json_get(answer, "text"));
        tn_buf_puts(b, "</p>\n</div>\n");
    }
    tn_buf_puts(b, "</div>\n");
}

/* The answer of `question` called as `way` is; kind TN_JSON_NONE when it has none. */
static tn_json same_way(tn_json question, tn_json way) {
    tn_json key, answer;
    tn_buf name = TN_BUF_INIT;
    tn_json_string(tn_json_get(way, "name"), &name);
    tn_json found = {TN_JSON_NONE, NULL, 0};
    for (tn_json_iter it = tn_json_each(tn_json_get(question, "answers")); tn_json_next(&it, &key, &answer);)
        if (tn_json_is(tn_json_get(answer, "name"), name.data ? name.data : "")) found = answer;
    tn_buf_free(&name);
    return found;
}

/* All questions but the first; the first one's ways are the columns. */
static void put_others(const sae_report_answers *a, tn_buf *b) {
    tn_json ways = tn_json_get(a->questions[0], "answers"), key, way;
    tn_buf_printf(b,
                  "<details class=\"print\"><summary>%s</summary>\n<div class=\"scroll\" tabindex=\"0\">\n"
                  "<table class=\"wide\">\n<thead><tr><th>question</th>",
                  a->n == 2 ? "One more question" : "The other questions, with all answers as they came");
    for (tn_json_iter it = tn_json_each(ways); tn_json_next(&it, &key, &way);) {
        tn_buf_puts(b, "<th>");
        sae_html_string(b, tn_json_get(way, "name"));
        tn_buf_puts(b, "</th>");
    }
    tn_buf_puts(b, "</tr></thead>\n<tbody>\n");
    for (size_t i = 1; i < a->n; i++) {
        tn_buf_puts(b, "<tr><th scope=\"row\" dir=\"auto\">");
        sae_html_string(b, tn_json_get(a->questions[i], "prompt"));
        tn_buf_puts(b, "</th>");
        for (tn_json_iter it = tn_json_each(ways); tn_json_next(&it, &key, &way);) {
            tn_json answer = same_way(a->questions[i], way);
            tn_buf_puts(b, "<td dir=\"auto\">");
            if (answer.kind == TN_JSON_NONE)
                tn_buf_puts(b, "–");
            else
                sae_html_string(b, tn_json_get(answer, "text"));
            tn_buf_puts(b, "</td>");
        }
        tn_buf_puts(b, "</tr>\n");
    }
    tn_buf_puts(b, "</tbody>\n</table>\n</div>\n</details>\n");
}

void sae_report_surgery(const sae_report *r, tn_buf *b) {
    tn_buf_puts(
        b, "<p>Every answer below starts from the same question and the same weights; only the features were "
           "edited while the model worked, for instance turned up or halved. If a feature means what it "
           "seems to mean, the answer leans towards it.</p>\n");
    for (int i = 0; i < r->n_answers; i++) {
        if (r->n_answers > 1) {
            tn_buf_puts(b, "<h3>");
            sae_svg_escape(b, r->answers[i].title);
            tn_buf_puts(b, "</h3>\n");
        }
        put_first(r->answers[i].questions[0], b);
        if (r->answers[i].n > 1) put_others(&r->answers[i], b);
    }
}

/* ---- Controls ---- */

static double number_of(tn_json object, const char *key) {
    double v = NAN;
    tn_json_f64(tn_json_get(object, key), &v);
    return v;
}

static void put_number_cell(tn_buf *b, double v) {
    tn_buf_puts(b, "<td class=\"n\">");
    sae_html_number(b, v);
    tn_buf_puts(b, "</td>");
}

static void put_percent(tn_buf *b, double v) {
    if (isnan(v))
        tn_buf_puts(b, "–");
    else
        tn_buf_printf(b, "%.0f %%", 100 * v);
}

/* What a way of `sae control` does, for a reader who sees its name for the first time. */
static void put_control_way(tn_json way, tn_buf *b) {
    static const struct {
        const char *name, *meaning;
    } ways[] = {
        {"original", "the model as it is"},
        {"SAE only", "the list replaced by the SAE's copy of it"},
        {"scaled", "all features scaled, none turned up"},
        {"target", "features of the target turned up"},
        {"random", "as many other features, drawn at random"},
        {"other", "features of the other candidate"},
    };
    tn_json name = tn_json_get(way, "name");
    tn_buf_puts(b, "<th scope=\"row\">");
    sae_html_string(b, name);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        if (tn_json_is(name, ways[i].name)) tn_buf_printf(b, "<div class=\"note\">%s</div>", ways[i].meaning);
    tn_buf_puts(b, "</th>");
}

static void put_control_table(tn_json ways, tn_buf *b) {
    static const char *const counts[] = {"target", "other", "third", "none"};
    tn_json key, way;
    tn_buf_puts(
        b, "<div class=\"scroll\" tabindex=\"0\">\n<table>\n<thead><tr><th>way</th><th class=\"n\">moved</th>"
           "<th class=\"n\">of</th><th class=\"n\">share</th><th class=\"n\">95 % interval</th>"
           "<th class=\"n\">names the target</th><th class=\"n\">the other</th><th class=\"n\">a third</th>"
           "<th class=\"n\">none</th></tr></thead>\n<tbody>\n");
    for (tn_json_iter it = tn_json_each(ways); tn_json_next(&it, &key, &way);) {
        tn_buf_puts(b, "<tr>");
        put_control_way(way, b);
        put_number_cell(b, number_of(way, "moved"));
        put_number_cell(b, number_of(way, "n"));
        tn_buf_puts(b, "<td class=\"n\">");
        put_percent(b, number_of(way, "share"));
        tn_buf_puts(b, "</td><td class=\"n\">");
        put_percent(b, number_of(way, "low"));
        tn_buf_puts(b, " to ");
        put_percent(b, number_of(way, "high"));
        tn_buf_puts(b, "</td>");
        for (int i = 0; i < 4; i++) put_number_cell(b, number_of(way, counts[i]));
        tn_buf_puts(b, "</tr>\n");
    }
    tn_buf_puts(b, "</tbody>\n</table>\n</div>\n");
}

/* A bar per way: the share of answers that moved, in percent, with its interval. */
static void draw_control(tn_json ways, tn_buf *b) {
    size_t n = tn_json_count(ways), i = 0;
    double *value = calloc(3 * n + 1, sizeof *value);
    const char **names = calloc(n + 1, sizeof *names);
    tn_buf *texts = calloc(n + 1, sizeof *texts);
    tn_json key, way;
    if (value && names && texts && n <= INT32_MAX) {
        double *low = value + n, *high = low + n;
        for (tn_json_iter it = tn_json_each(ways); tn_json_next(&it, &key, &way); i++) {
            tn_json_string(tn_json_get(way, "name"), &texts[i]);
            names[i] = texts[i].data ? texts[i].data : "?";
            value[i] = 100 * number_of(way, "share");
            low[i] = 100 * number_of(way, "low");
            high[i] = 100 * number_of(way, "high");
        }
        sae_chart chart = {.title = "Answers that moved to the target", .y_label = "percent"};
        sae_html_figure(b);
        sae_plot_bars_between(&chart, names, value, low, high, (int)n, b);
        sae_html_figure_end(b, NULL);
    } else {
        b->failed = 1;
    }
    for (size_t k = 0; texts && k < n; k++) tn_buf_free(&texts[k]);
    free(texts);
    free(names);
    free(value);
}

void sae_report_controls(const sae_report *r, tn_buf *b) {
    tn_json ways = tn_json_get(r->control->root, "ways");
    tn_buf_puts(
        b, "<p>One changed answer proves little: any push of that size might have done it. So many questions "
           "were asked, each also with edits that should <em>not</em> work; only where the right features "
           "move clearly more answers to the target than those controls do is it the features that did "
           "it.</p>\n");
    draw_control(ways, b);
    tn_buf_puts(
        b, "<p class=\"note\">Only an answer that does not name the target by itself can move to it; such "
           "questions are counted here. The thin lines are 95 % intervals: where two of them hardly "
           "overlap, chance is a poor explanation. The last four columns count what all answers "
           "name.</p>\n");
    put_control_table(ways, b);
    tn_buf_puts(b, "<dl>\n");
    sae_html_members(b, r->control->root);
    sae_html_members(b, tn_json_get(r->control->root, "settings"));
    tn_buf_puts(b, "</dl>\n");
}
