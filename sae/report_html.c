/* The small pieces of the report's HTML (report_html.h). */
#include "sae/report_html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void sae_html_string(tn_buf *b, tn_json v) {
    tn_buf text = TN_BUF_INIT;
    tn_json_string(v, &text);
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == '\0') text.data[i] = '\1'; /* shown as U+FFFD; a NUL would end the string */
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

void sae_html_members(tn_buf *b, tn_json object) {
    tn_json key, value;
    if (object.kind != TN_JSON_OBJECT) return;
    for (tn_json_iter it = tn_json_each(object); tn_json_next(&it, &key, &value);) {
        double number;
        int truth;
        if (value.kind != TN_JSON_STRING && value.kind != TN_JSON_NUMBER && value.kind != TN_JSON_BOOL)
            continue;
        tn_buf_puts(b, "<div><dt>");
        sae_html_string(b, key);
        tn_buf_puts(b, "</dt><dd>");
        if (tn_json_f64(value, &number))
            sae_html_number(b, number);
        else if (tn_json_bool(value, &truth))
            tn_buf_puts(b, truth ? "yes" : "no");
        else
            sae_html_string(b, value);
        tn_buf_puts(b, "</dd></div>\n");
    }
}

void sae_html_label(tn_buf *b, const char *label) {
    if (label[0])
        sae_svg_escape(b, label);
    else
        tn_buf_puts(b, "(no label)");
}
