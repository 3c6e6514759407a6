/* The parts of the report's page, and the bits of HTML they share. Inside of report_*.c.
 *
 * Every element is closed ("<meta …/>" too), so that the page is well-formed XML as well as HTML. Text from
 * outside goes through sae_svg_escape or sae_html_string, and stands in elements and double-quoted attributes
 * only.
 */
#ifndef SAE_REPORT_HTML_H
#define SAE_REPORT_HTML_H

#include "sae/report.h"
#include "sae/svg.h"

/* Appends the text of a JSON string, escaped; nothing for other kinds. */
void sae_html_string(tn_buf *b, tn_json v);
/* Appends "8,964". */
void sae_html_count(tn_buf *b, size_t n);
/* Appends a number as a reader wants it: whole ones as they are, others with four significant digits, a
 * dash for a NaN. */
void sae_html_number(tn_buf *b, double v);
/* Around a picture, which scrolls on a narrow screen; caption may be NULL. */
void sae_html_figure(tn_buf *b);
void sae_html_figure_end(tn_buf *b, const char *caption);
/* A name with its value for a <dl>. */
void sae_html_fact(tn_buf *b, const char *name, const char *value);
void sae_html_fact_count(tn_buf *b, const char *name, size_t n);
/* The same for every member of an object that is a string, number or truth value, in the file's order. */
void sae_html_members(tn_buf *b, tn_json object);
/* A label, or words for the empty one. */
void sae_html_label(tn_buf *b, const char *label);

/* The page's <style> element. */
void sae_html_style(tn_buf *b);

/* The sections, each written only when there is something in it; their headings are the page's. */
void sae_report_surgery(const sae_report *r, tn_buf *b);
void sae_report_controls(const sae_report *r, tn_buf *b);
void sae_report_stories(const sae_report *r, tn_buf *b);
void sae_report_training(const sae_report *r, tn_buf *b);
void sae_report_features(const sae_report *r, tn_buf *b);

#endif
