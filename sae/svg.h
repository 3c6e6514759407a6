/* The few SVG marks that the charts of plot.c are drawn with. Inside of the plotting; not a public header.
 *
 * All style is in attributes, none in a <style> element: several charts may lie in one HTML page without
 * colouring each other. Text is escaped here and nowhere else. Coordinates are pixels, y downwards.
 */
#ifndef SAE_SVG_H
#define SAE_SVG_H

#include "tensor/buf.h"

#define SAE_SVG_INK "#1f2328"   /* titles and names */
#define SAE_SVG_QUIET "#59636e" /* numbers and axis labels */
#define SAE_SVG_AXIS "#8c959f"
#define SAE_SVG_GRID "#e4e8ec"
#define SAE_SVG_FONT 12 /* pixels, all text but titles */

#define SAE_SVG_EDGE 16    /* between the picture's rim and anything in it */
#define SAE_SVG_GAP 8      /* between a label and what it labels */
#define SAE_SVG_TITLE 36   /* height that a title takes */
#define SAE_SVG_NAME 190   /* width beyond which names are shortened */
#define SAE_SVG_BASELINE 4 /* from the middle of a line of text down to its baseline */

/* Opens a picture of width × height on white and writes its title, which may be NULL. */
void sae_svg_begin(tn_buf *b, double width, double height, const char *title);
void sae_svg_end(tn_buf *b);
/* A whole picture that says that there is nothing to draw. */
void sae_svg_no_data(tn_buf *b, const char *title);

void sae_svg_line(tn_buf *b, double x1, double y1, double x2, double y2, const char *colour);
/* tip: shown while the pointer rests on the mark; NULL for none. */
void sae_svg_rect(tn_buf *b, double x, double y, double w, double h, const char *fill, const char *tip);
void sae_svg_dot(tn_buf *b, double x, double y, const char *fill, const char *tip);

typedef enum { SAE_SVG_START, SAE_SVG_MIDDLE, SAE_SVG_END } sae_svg_anchor;
void sae_svg_text(tn_buf *b, double x, double y, sae_svg_anchor anchor, const char *colour, const char *text);
/* Reads upwards at 45 degrees, starting at (x, y). */
void sae_svg_slanted_text(tn_buf *b, double x, double y, const char *colour, const char *text);

/* Appends text for use inside an element or an attribute; what XML cannot hold becomes U+FFFD. */
void sae_svg_escape(tn_buf *b, const char *text);

/* Width of text in SAE_SVG_FONT, estimated (the fonts are the reader's) a little on the wide side. */
double sae_svg_text_width(const char *text);

/* Width of the widest of names [n], at most SAE_SVG_NAME. */
double sae_svg_names_width(const char *const *names, int n);

/* Copies text into dst [cap], shortened with an ellipsis to at most `width` pixels. Returns dst. */
char *sae_svg_shorten(char *dst, size_t cap, const char *text, double width);

/* v for people, into dst [cap]: "0.25", "−3", "12.3k", "2·10⁻⁵". digits < 0: three significant ones, else as
 * many after the point, with the suffix fit for numbers of size `like`. Returns dst. */
char *sae_svg_number(char *dst, size_t cap, double v, int digits, double like);

#endif
