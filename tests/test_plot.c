/* The SVG charts: sound XML whatever the names hold, a mark for every value that can be drawn, round ticks.
 */
#include "sae/plot.h"
#include "sae/plot_axis.h"
#include "sae/svg.h"
#include "tests/test.h"
#include "tests/xml.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int count(const char *text, const char *part) {
    int n = 0;
    for (const char *s = text; (s = strstr(s, part)) != NULL; s += strlen(part)) n++;
    return n;
}

/* Sound, and free of numbers that are none. */
static void check_picture(const tn_buf *b) {
    const char *mistake = b->data ? xml_mistake(b->data) : "empty";
    CHECK_STR(mistake ? mistake : "", "");
    if (mistake) printf("%s\n", b->data ? b->data : "");
    CHECK_INT(count(b->data, "nan") + count(b->data, "inf\""), 0);
    CHECK(strncmp(b->data, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", 52) == 0);
}

static void checker_checks(void) {
    CHECK(xml_mistake("<a b=\"1\"><c/>x &amp; y</a>\n") == NULL);
    CHECK(xml_mistake("<a><c></a>") != NULL);
    CHECK(xml_mistake("<a>&</a>") != NULL);
    CHECK(xml_mistake("<a b=1/>") != NULL);
    CHECK(xml_mistake("<a/><a/>") != NULL);
    CHECK(xml_mistake("<a>") != NULL);
    CHECK(xml_mistake("<a>\1</a>") != NULL);
}

/* ---- charts ---- */

static const char nasty[] = "<b> & \"q\" 'a' \xc3\xbc \xff\xfe \xef\xbf\xbf \1 \xe8\xbd\xa6";
static const sae_chart nasty_chart = {nasty, nasty, nasty, 0, 0, 1};

static void names_are_escaped(void) {
    tn_buf b = TN_BUF_INIT;
    static const double x[] = {1, 2}, y[] = {3, 4};
    static const sae_series s = {nasty, x, y, 2};
    const char *names[] = {nasty, "b"};
    sae_plot_lines(&nasty_chart, &s, 1, &b);
    check_picture(&b);
    CHECK_HAS(b.data,
              "&lt;b&gt; &amp; &quot;q&quot; 'a' \xc3\xbc \xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd \xef\xbf\xbd "
              "\xe8\xbd\xa6");
    tn_buf_clear(&b);
    sae_plot_bars(&nasty_chart, names, y, 2, &b);
    check_picture(&b);
    tn_buf_clear(&b);
    static const double grid[] = {1, 2, 3, 4};
    sae_plot_heatmap(&nasty_chart, names, 2, names, 2, grid, &b);
    check_picture(&b);
    tn_buf_free(&b);
}

static void lines(void) {
    tn_buf b = TN_BUF_INIT;
    static const double x[] = {0, 1, 2, 3, 4, 5}, y[] = {1, 4, NAN, 2, INFINITY, 3},
                        z[] = {-1, 0, 1, 2, 3, 4};
    const sae_series s[] = {{"one", x, y, 6}, {"two", x, z, 6}, {NULL, x, x, 6}};
    sae_chart c = {"T", "X", "Y", 0, 0, 1};
    sae_plot_lines(&c, s, 3, &b);
    check_picture(&b);
    CHECK_INT(count(b.data, "<circle"), 4 + 6 + 6);
    CHECK_INT(count(b.data, "<path"), 3 + 2); /* lines, and two named ones in the legend */
    CHECK_INT(count(b.data, ">one<"), 1);
    CHECK_HAS(b.data, "<title>one: 1, 4</title>");

    tn_buf_clear(&b);
    c.points = 0; /* only the points between missing ones stay marked */
    sae_plot_lines(&c, s, 2, &b);
    check_picture(&b);
    CHECK_INT(count(b.data, "<circle"), 2);

    tn_buf_clear(&b);
    c.points = c.log_y = 1; /* -1 and 0 have no logarithm */
    sae_plot_lines(&c, s + 1, 1, &b);
    check_picture(&b);
    CHECK_INT(count(b.data, "<circle"), 4);
    tn_buf_free(&b);
}

/* Where the marks are: a known value at a known pixel, larger values higher up. */
static void positions(void) {
    sae_axis a = sae_axis_fit(0, 10, 0, 0, 5);
    a.from = 100;
    a.to = 200;
    CHECK_NEAR(sae_axis_at(&a, 2.5), 125, 1e-9);
    a = sae_axis_fit(1, 10000, 1, 0, 5);
    a.from = 400;
    a.to = 0;
    CHECK_NEAR(sae_axis_at(&a, 100), 200, 1e-9);
}

static void nothing_to_draw(void) {
    tn_buf b = TN_BUF_INIT;
    static const double none[] = {NAN, INFINITY, -INFINITY}, minus[] = {-1, -2, 0},
                        huge[] = {1e300, -1e300, 1e200};
    const double *const cases[] = {none, minus, huge};
    sae_chart c = {"T", NULL, NULL, 1, 1, 1};
    const char *names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        sae_series s = {"s", cases[i], cases[i], 3};
        tn_buf_clear(&b);
        sae_plot_lines(&c, &s, 1, &b);
        check_picture(&b);
        CHECK_HAS(b.data, ">no data<");
        tn_buf_clear(&b);
        sae_plot_bars(&c, names, cases[i], 3, &b);
        check_picture(&b);
        tn_buf_clear(&b);
        sae_plot_heatmap(&c, names, 1, names, 3, cases[i], &b);
        check_picture(&b);
    }
    tn_buf_clear(&b);
    sae_plot_lines(&c, NULL, 0, &b);
    sae_plot_bars(&c, NULL, NULL, 0, &b);
    sae_plot_heatmap(&c, NULL, 0, names, 3, NULL, &b);
    CHECK_INT(count(b.data, ">no data<"), 3);
    tn_buf_clear(&b);
    sae_series empty = {"s", NULL, NULL, 0};
    c.title = NULL;
    sae_plot_lines(&c, &empty, 1, &b);
    check_picture(&b);
    tn_buf_free(&b);
}

/* One point, and many equal ones, lie inside the picture. */
static void equal_values(void) {
    static const double values[] = {0, 5, -5, 1e-12, 1e12, 1e99, -1e-99, 0.1};
    tn_buf b = TN_BUF_INIT;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        double v[] = {values[i], values[i]};
        for (int n = 1; n <= 2; n++) {
            for (int is_log = 0; is_log <= (values[i] > 1e-99); is_log++) {
                sae_chart c = {"T", NULL, NULL, is_log, is_log, 1};
                sae_series s = {"s", v, v, n};
                tn_buf_clear(&b);
                sae_plot_lines(&c, &s, 1, &b);
                check_picture(&b);
                CHECK_INT(count(b.data, "<circle"), n);
                const char *dot = strstr(b.data, "cx=\"");
                double x = dot ? strtod(dot + 4, NULL) : -1;
                CHECK(x > 0 && x < 640);
            }
        }
    }
    tn_buf_free(&b);
}

static void bars(void) {
    tn_buf b = TN_BUF_INIT;
    const char *names[] = {"car", "bus", "tram",
                           "a name that is much too long to stand beside its bar in full"};
    static const double values[] = {3, NAN, 0, 12345};
    sae_chart c = {"T", NULL, "features", 0, 0, 0};
    sae_plot_bars(&c, names, values, 4, &b);
    check_picture(&b);
    CHECK_INT(count(b.data, "<rect"), 1 + 3); /* the ground, and no bar for NaN */
    CHECK_INT(count(b.data, ">–<"), 1);
    CHECK_HAS(b.data, ">12.3k<");
    CHECK_HAS(b.data, "…<");
    CHECK_HAS(b.data, "in full: 12345</title>");
    tn_buf_free(&b);
}

/* Intervals widen the axis, and are left out where an end of them is no number. */
static void bars_with_intervals(void) {
    tn_buf plain = TN_BUF_INIT, b = TN_BUF_INIT;
    const char *names[] = {"car", "bus", "tram"};
    static const double values[] = {5, NAN, 3}, low[] = {4, 1, NAN}, high[] = {90, 2, 4};
    sae_chart c = {"T", NULL, "percent", 0, 0, 0};
    sae_plot_bars(&c, names, values, 3, &plain);
    sae_plot_bars_between(&c, names, values, low, high, 3, &b);
    check_picture(&b);
    CHECK_HAS(b.data, ">100<"); /* a tick beyond the highest end */
    CHECK(strstr(plain.data, ">100<") == NULL);
    CHECK_INT(count(b.data, "stroke=\"" SAE_SVG_INK "\""), 3); /* one line and its two ends */
    CHECK_INT(count(plain.data, "stroke=\"" SAE_SVG_INK "\""), 0);
    tn_buf_free(&plain);
    tn_buf_free(&b);
}

static void heatmap(void) {
    tn_buf b = TN_BUF_INIT;
    const char *rows[] = {"car", "bus"}, *cols[] = {"f1", "f2", "f3"};
    static const double values[] = {0, 4, 2, NAN, -1, 1};
    sae_chart c = {"T", NULL, NULL, 0, 0, 0};
    sae_plot_heatmap(&c, rows, 2, cols, 3, values, &b);
    check_picture(&b);
    CHECK_INT(count(b.data, "<title>"), 5); /* a cell for every number */
    CHECK_HAS(b.data, "fill=\"#ffffff\"><title>car, f1: 0</title>");
    CHECK_HAS(b.data, "fill=\"#08306b\"><title>car, f2: 4</title>");
    CHECK_HAS(b.data, "fill=\"#ffffff\"><title>bus, f2: -1</title>");
    tn_buf_free(&b);
}

/* A million points stay a small picture with the extremes in it. */
static void long_curves(void) {
    enum { N = 1000000 };
    double *x = malloc(N * sizeof *x), *y = malloc(N * sizeof *y);
    tn_buf b = TN_BUF_INIT;
    if (CHECK(x && y)) {
        for (int i = 0; i < N; i++) {
            x[i] = i;
            y[i] = i % 1000 / 1000.0;
        }
        y[123456] = 100;
        sae_series s = {"s", x, y, N};
        sae_chart c = {"T", NULL, NULL, 0, 0, 0};
        sae_plot_lines(&c, &s, 1, &b);
        check_picture(&b);
        CHECK(b.len < 100000);
        CHECK_HAS(b.data, " 66.0L"); /* the outlier, at the top of the plot */
    }
    free(x);
    free(y);
    tn_buf_free(&b);
}

/* ---- axes and numbers ---- */

/* All tick labels with a space behind each. */
static const char *ticks(double lo, double hi, int is_log, int widen) {
    static char text[512];
    char label[64];
    size_t n = 0;
    sae_axis a = sae_axis_fit(lo, hi, is_log, widen, 5);
    text[0] = '\0';
    for (int i = 0; i < a.n_ticks; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s ", sae_axis_label(&a, i, label, sizeof label));
    return text;
}

static void round_ticks(void) {
    CHECK_STR(ticks(0, 10, 0, 0), "0 2 4 6 8 10 ");
    CHECK_STR(ticks(0.13, 2.2, 0, 1), "0 0.5 1 1.5 2 2.5 ");
    CHECK_STR(ticks(0.13, 2.2, 0, 0), "0.5 1 1.5 2 ");
    CHECK_STR(ticks(-3, 3, 0, 1), "−4 −2 0 2 4 ");
    CHECK_STR(ticks(0, 100000, 0, 0), "0 20k 40k 60k 80k 100k ");
    CHECK_STR(ticks(0, 999999, 0, 1), "0 0.2M 0.4M 0.6M 0.8M 1M ");
    CHECK_STR(ticks(1e-5, 5e-5, 0, 0), "10⁻⁵ 2·10⁻⁵ 3·10⁻⁵ 4·10⁻⁵ 5·10⁻⁵ ");
    CHECK_STR(ticks(0.3, 40, 1, 1), "0.2 0.5 1 2 5 10 20 50 ");
    CHECK_STR(ticks(0.3, 40, 1, 0), "0.5 1 2 5 10 20 ");
    CHECK_STR(ticks(4, 504, 1, 0), "5 10 20 50 100 200 500 ");
    CHECK_STR(ticks(1e-4, 1, 1, 0), "10⁻⁴ 0.001 0.01 0.1 1 ");
    CHECK_STR(ticks(1e-12, 1, 1, 0), "10⁻¹² 10⁻⁹ 10⁻⁶ 0.001 1 ");
    CHECK_STR(ticks(1, 3, 1, 0), "1 1.5 2 2.5 3 ");
    for (int e = -90; e <= 90; e++) { /* never too many, never none, over all sizes */
        for (double f = 1; f < 10; f += 0.7) {
            sae_axis a = sae_axis_fit(-pow(10, e), f * pow(10, e), 0, 1, 5);
            CHECK(a.n_ticks >= 3 && a.n_ticks <= 9 && a.tick[0] >= a.lo);
            a = sae_axis_fit(f, f * pow(10, (e + 90) * 0.5), 1, 0, 5);
            CHECK(a.n_ticks >= 2 && a.n_ticks <= 9);
        }
    }
}

static const char *number(double v) {
    static char text[64];
    return sae_svg_number(text, sizeof text, v, -1, v);
}

static void numbers(void) {
    CHECK_STR(number(0), "0");
    CHECK_STR(number(-2.5), "−2.5");
    CHECK_STR(number(1234), "1234");
    CHECK_STR(number(12345), "12.3k");
    CHECK_STR(number(2e6), "2M");
    CHECK_STR(number(0.0123), "0.012");
    CHECK_STR(number(2.5e-5), "2.5·10⁻⁵");
    CHECK_STR(number(1e20), "10²⁰");
    char text[16];
    CHECK_STR(sae_svg_shorten(text, sizeof text, "short", 100), "short");
    CHECK_STR(sae_svg_shorten(text, sizeof text, "wwwwwwwwww", 42), "wwww…");
    CHECK_STR(sae_svg_shorten(text, sizeof text, "wwwwwwwwwwwwwwwwwwwwwwwww", 1000), "wwwwwwwwwwww…");
}

void test_plot(void) {
    RUN(checker_checks);
    RUN(names_are_escaped);
    RUN(lines);
    RUN(positions);
    RUN(nothing_to_draw);
    RUN(equal_values);
    RUN(bars);
    RUN(bars_with_intervals);
    RUN(heatmap);
    RUN(long_curves);
    RUN(round_ticks);
    RUN(numbers);
}
