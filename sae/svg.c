/* The marks of svg.h. */
#include "sae/svg.h"
#include "tensor/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- text ---- */

/* Characters below this are counted as narrow, from here on (Chinese, Japanese, Korean, emoji) as wide. */
#define FIRST_WIDE 0x2e80

/* The character at s and its length; U+FFFD and 1 for a byte that is no UTF-8. */
static uint32_t character(const char *s, int *length) {
    size_t left = 1;
    while (left < 4 && s[left]) left++;
    *length = tn_utf8_length(s, left);
    if (*length) return tn_utf8_get(s, *length);
    *length = 1;
    return 0xfffd;
}

void sae_svg_escape(tn_buf *b, const char *text) {
    int n;
    for (const char *s = text; *s; s += n) {
        uint32_t c = character(s, &n);
        if (c == '&')
            tn_buf_puts(b, "&amp;");
        else if (c == '<')
            tn_buf_puts(b, "&lt;");
        else if (c == '>')
            tn_buf_puts(b, "&gt;");
        else if (c == '"')
            tn_buf_puts(b, "&quot;");
        else if (c == '\t' || c == '\n' || c == '\r')
            tn_buf_putc(b, ' ');
        else if (c < 0x20 || c >= 0xfffd) /* not allowed in XML 1.0, or broken; above U+FFFF see below */
            tn_buf_add(b, c > 0xffff ? s : "\xef\xbf\xbd", c > 0xffff ? (size_t)n : 3);
        else
            tn_buf_add(b, s, (size_t)n);
    }
}

static double character_width(uint32_t c) {
    if (c >= FIRST_WIDE) return SAE_SVG_FONT;
    return SAE_SVG_FONT * (c < 0x80 && strchr("iljtfrI.,:;|'!() -", (int)c) ? 0.36 : 0.6);
}

double sae_svg_text_width(const char *text) {
    double width = 0;
    int n;
    for (const char *s = text; *s; s += n) width += character_width(character(s, &n));
    return width;
}

double sae_svg_names_width(const char *const *names, int n) {
    double width = 0;
    for (int i = 0; i < n; i++) width = fmax(width, sae_svg_text_width(names[i]));
    return fmin(width, SAE_SVG_NAME);
}

char *sae_svg_shorten(char *dst, size_t cap, const char *text, double width) {
    static const char ellipsis[] = "…";
    if (strlen(text) < cap && sae_svg_text_width(text) <= width) return memcpy(dst, text, strlen(text) + 1);
    double left = width - SAE_SVG_FONT;
    size_t used = 0;
    int n;
    for (const char *s = text; *s; s += n) {
        left -= character_width(character(s, &n));
        if (left < 0 || used + (size_t)n + sizeof ellipsis > cap) break;
        memcpy(dst + used, s, (size_t)n);
        used += (size_t)n;
    }
    memcpy(dst + used, ellipsis, sizeof ellipsis);
    return dst;
}

/* |v| = m · 10^e with e as superscript digits. */
static void scientific(char *dst, size_t cap, const char *sign, double v) {
    static const char *const digits[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    int e = (int)floor(log10(v) + 1e-9);
    char mantissa[32];
    snprintf(mantissa, sizeof mantissa, "%.3g·", v / pow(10, e));
    int a = e < 0 ? -e : e;
    snprintf(dst, cap, "%s%s10%s%s%s%s", sign, strcmp(mantissa, "1·") == 0 ? "" : mantissa, e < 0 ? "⁻" : "",
             a >= 100 ? digits[a / 100 % 10] : "", a >= 10 ? digits[a / 10 % 10] : "", digits[a % 10]);
}

char *sae_svg_number(char *dst, size_t cap, double v, int digits, double like) {
    static const struct {
        double from, unit;
        const char *suffix;
    } scales[] = {{1e9, 1e9, "G"}, {1e6, 1e6, "M"}, {1e4, 1e3, "k"}, {0, 1, ""}};
    const char *sign = v < 0 ? "−" : "";
    double size = fabs(v);
    like = fabs(like);
    if (size == 0) {
        snprintf(dst, cap, "0");
    } else if (like >= 1e13 || like < 1e-3) {
        scientific(dst, cap, sign, size);
    } else {
        int i = 0;
        while (like < scales[i].from) i++;
        size /= scales[i].unit;
        if (digits < 0) digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
        char plain[64];
        int n = snprintf(plain, sizeof plain, "%.*f", digits, size);
        if (strchr(plain, '.')) { /* "2.50" reads "2.5" */
            while (plain[n - 1] == '0') plain[--n] = '\0';
            if (plain[n - 1] == '.') plain[--n] = '\0';
        }
        snprintf(dst, cap, "%s%s%s", sign, plain, scales[i].suffix);
    }
    return dst;
}

/* ---- marks ---- */

void sae_svg_begin(tn_buf *b, double width, double height, const char *title) {
    tn_buf_printf(b,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
                  "height=\"%.0f\" role=\"img\" font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, "
                  "'Helvetica Neue', Arial, sans-serif\" font-size=\"%d\">\n",
                  width, height, width, height, SAE_SVG_FONT);
    tn_buf_puts(b, "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n");
    if (!title) return;
    tn_buf_printf(b, "<text x=\"%d\" y=\"26\" font-size=\"15\" font-weight=\"600\" fill=\"%s\">",
                  SAE_SVG_EDGE, SAE_SVG_INK);
    sae_svg_escape(b, title);
    tn_buf_puts(b, "</text>\n");
}

void sae_svg_end(tn_buf *b) {
    tn_buf_puts(b, "</svg>\n");
}

void sae_svg_no_data(tn_buf *b, const char *title) {
    sae_svg_begin(b, 320, 96, title);
    sae_svg_text(b, 160, 64, SAE_SVG_MIDDLE, SAE_SVG_QUIET, "no data");
    sae_svg_end(b);
}

void sae_svg_line(tn_buf *b, double x1, double y1, double x2, double y2, const char *colour) {
    tn_buf_printf(b, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2,
                  y2, colour);
}

/* Ends an element that was left open before its "/>", with the tip inside. */
static void close_mark(tn_buf *b, const char *element, const char *tip) {
    if (!tip) {
        tn_buf_puts(b, "/>\n");
        return;
    }
    tn_buf_puts(b, "><title>");
    sae_svg_escape(b, tip);
    tn_buf_printf(b, "</title></%s>\n", element);
}

void sae_svg_rect(tn_buf *b, double x, double y, double w, double h, const char *fill, const char *tip) {
    tn_buf_printf(b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"", x, y, w, h,
                  fill);
    close_mark(b, "rect", tip);
}

void sae_svg_dot(tn_buf *b, double x, double y, const char *fill, const char *tip) {
    tn_buf_printf(b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\" stroke=\"#ffffff\"", x, y, fill);
    close_mark(b, "circle", tip);
}

void sae_svg_text(tn_buf *b, double x, double y, sae_svg_anchor anchor, const char *colour,
                  const char *text) {
    static const char *const anchors[] = {"", " text-anchor=\"middle\"", " text-anchor=\"end\""};
    tn_buf_printf(b, "<text x=\"%.1f\" y=\"%.1f\"%s fill=\"%s\">", x, y, anchors[anchor], colour);
    sae_svg_escape(b, text);
    tn_buf_puts(b, "</text>\n");
}

void sae_svg_slanted_text(tn_buf *b, double x, double y, const char *colour, const char *text) {
    tn_buf_printf(b, "<text transform=\"translate(%.1f %.1f) rotate(-45)\" fill=\"%s\">", x, y, colour);
    sae_svg_escape(b, text);
    tn_buf_puts(b, "</text>\n");
}
