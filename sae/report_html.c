/* The small pieces of the report's HTML (report_html.h). */
#include "sae/report_html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The text of a JSON string. A NUL in it, which would end it, becomes a character that is shown as U+FFFD. */
static void take_text(tn_json v, tn_buf *text) {
    tn_json_string(v, text);
    for (size_t i = 0; i < text->len; i++)
        if (text->data[i] == '\0') text->data[i] = '\1';
}

void sae_html_string(tn_buf *b, tn_json v) {
    tn_buf text = TN_BUF_INIT;
    take_text(v, &text);
    if (text.failed) b->failed = 1;
    if (text.data) sae_svg_escape(b, text.data);
    tn_buf_free(&text);
}

void sae_html_count(tn_buf *b, size_t n) {
    char digits[32];
    int len = snprintf(digits, sizeof digits, "%zu", n);
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) tn_buf_putc(b, ',');
        tn_buf_putc(b, digits[i]);
    }
}

void sae_html_number(tn_buf *b, double v) {
    if (isnan(v))
        tn_buf_puts(b, "–");
    else if (v >= 0 && v < 4294967296.0 && v == floor(v))
        sae_html_count(b, (size_t)v);
    else
        tn_buf_printf(b, "%.4g", v);
}

void sae_html_figure(tn_buf *b) {
    tn_buf_puts(b, "<figure>\n<div class=\"scroll\" tabindex=\"0\">\n");
}

void sae_html_figure_end(tn_buf *b, const char *caption) {
    tn_buf_puts(b, "</div>\n");
    if (caption) {
        tn_buf_puts(b, "<figcaption>");
        sae_svg_escape(b, caption);
        tn_buf_puts(b, "</figcaption>\n");
    }
    tn_buf_puts(b, "</figure>\n");
}

void sae_html_fact(tn_buf *b, const char *name, const char *value) {
    tn_buf_puts(b, "<div><dt>");
    sae_svg_escape(b, name);
    tn_buf_puts(b, "</dt><dd>");
    sae_svg_escape(b, value);
    tn_buf_puts(b, "</dd></div>\n");
}

void sae_html_fact_count(tn_buf *b, const char *name, size_t n) {
    tn_buf value = TN_BUF_INIT;
    sae_html_count(&value, n);
    if (value.failed) b->failed = 1;
    sae_html_fact(b, name, value.data ? value.data : "");
    tn_buf_free(&value);
}

/* 42, 0.001, yes, text: as it would be typed again. Of a path only the file's name. */
static void put_value(tn_json v, tn_buf *out) {
    double number;
    int truth;
    tn_buf text = TN_BUF_INIT;
    if (tn_json_f64(v, &number)) {
        tn_buf_printf(out, number == floor(number) && fabs(number) < 1e15 ? "%.0f" : "%.4g", number);
    } else if (tn_json_bool(v, &truth)) {
        tn_buf_puts(out, truth ? "yes" : "no");
    } else {
        take_text(v, &text);
        if (text.data) tn_buf_puts(out, sae_report_file_name(text.data));
    }
    if (text.failed) out->failed = 1;
    tn_buf_free(&text);
}

void sae_html_members(tn_buf *b, tn_json object) {
    tn_json key, value;
    if (object.kind != TN_JSON_OBJECT) return;
    for (tn_json_iter it = tn_json_each(object); tn_json_next(&it, &key, &value);) {
        if (value.kind != TN_JSON_STRING && value.kind != TN_JSON_NUMBER && value.kind != TN_JSON_BOOL)
            continue;
        tn_buf name = TN_BUF_INIT, shown = TN_BUF_INIT;
        take_text(key, &name);
        for (size_t i = 0; i < name.len; i++)
            if (name.data[i] == '_') name.data[i] = ' '; /* "l1_coefficient" */
        put_value(value, &shown);
        if (name.failed || shown.failed) b->failed = 1;
        sae_html_fact(b, name.data ? name.data : "", shown.data ? shown.data : "");
        tn_buf_free(&name);
        tn_buf_free(&shown);
    }
}

void sae_html_label(tn_buf *b, const char *label) {
    if (label[0])
        sae_svg_escape(b, label);
    else
        tn_buf_puts(b, "(no label)");
}
