/* JSON: what is accepted, what is refused and where, lookups, escapes, the writer. */
#include "tests/test.h"
#include "tensor/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static tn_json parse(const char *text) {
    tn_json v = {TN_JSON_NONE, NULL, 0};
    tn_err e;
    CHECK_INT(tn_json_parse(&v, text, strlen(text), &e), TN_OK);
    return v;
}

static void refuses(const char *text, const char *message) {
    tn_json v;
    tn_err e = {0};
    CHECK_INT(tn_json_parse(&v, text, strlen(text), &e), TN_EFORMAT);
    CHECK_STR(e.msg, message);
}

static void values_and_lookups(void) {
    tn_json v = parse(" {\"a\": 1, \"b\": [true, null, -2.5e1], \"c\": {\"d\": \"x\"}, \"a\": 7 } ");
    int64_t i = 0;
    double d = 0;
    int b = 0;
    CHECK(tn_json_i64(tn_json_get(v, "a"), &i) && i == 7); /* the last of equal keys wins */
    tn_json list = tn_json_get(v, "b"), item;
    CHECK_INT(tn_json_count(list), 3);
    tn_json_iter it = tn_json_each(list);
    CHECK(tn_json_next(&it, NULL, &item) && tn_json_bool(item, &b) && b == 1);
    CHECK(tn_json_next(&it, NULL, &item) && item.kind == TN_JSON_NULL);
    CHECK(tn_json_next(&it, NULL, &item) && tn_json_f64(item, &d) && d == -25.0);
    CHECK(!tn_json_next(&it, NULL, &item));
    CHECK(tn_json_is(tn_json_get(tn_json_get(v, "c"), "d"), "x"));
    CHECK_INT(tn_json_get(v, "missing").kind, TN_JSON_NONE);
    CHECK_INT(tn_json_get(list, "a").kind, TN_JSON_NONE);
    CHECK_INT(tn_json_count(parse("[]")), 0);
    CHECK_INT(tn_json_count(parse("{ }")), 0);
}

static void numbers(void) {
    int64_t i = 0;
    double d = 0;
    CHECK(tn_json_i64(parse("9223372036854775807"), &i) && i == INT64_MAX);
    CHECK(!tn_json_i64(parse("9223372036854775808"), &i));
    CHECK(!tn_json_i64(parse("1.5"), &i));
    CHECK(tn_json_i64(parse("1e3"), &i) && i == 1000);
    CHECK(tn_json_f64(parse("1e-06"), &d) && d == 1e-6);
    CHECK(!tn_json_f64(parse("1e999"), &d));
    CHECK(!tn_json_f64(parse("\"1\""), &d));
}

static void mistakes_name_the_byte(void) {
    refuses("", "bad JSON: the text is empty");
    refuses("{\"a\" 1}", "bad JSON at byte 5: expected ':'");
    refuses("{\"a\": 1", "bad JSON at byte 7: expected ',' or '}'");
    refuses("[1 2]", "bad JSON at byte 3: expected ',' or ']'");
    refuses("[1,]", "bad JSON at byte 3: expected a value");
    refuses("{\"a\":1,}", "bad JSON at byte 7: expected '\"'");
    refuses("01", "bad JSON at byte 1: expected the end");
    refuses("\"abc", "bad JSON at byte 4: expected '\"'");
    refuses("\"\\x\"", "bad JSON at byte 2: expected an escape character");
    refuses("\"\\u12g4\"", "bad JSON at byte 5: expected four hex digits");
    refuses("\"a\nb\"", "bad JSON at byte 2: expected no control character inside a string");
    refuses("nul", "bad JSON at byte 0: expected a value");
    refuses("{} x", "bad JSON at byte 3: expected the end");
    refuses("-", "bad JSON at byte 1: expected a digit");
    refuses("1.", "bad JSON at byte 2: expected a digit");
    char deep[200];
    memset(deep, '[', sizeof deep);
    deep[199] = '\0';
    refuses(deep, "bad JSON at byte 64: expected at most 64 levels");
}

static void every_prefix_is_refused(void) {
    const char *text = "{\"k\\u0041\": [1.5e-3, \"\\ud83d\\ude00\", {\"z\": false}], \"n\": null}";
    tn_json v;
    for (size_t n = 0; n < strlen(text); n++) CHECK_INT(tn_json_parse(&v, text, n, NULL), TN_EFORMAT);
    CHECK_INT(tn_json_parse(&v, text, strlen(text), NULL), TN_OK);
    CHECK_INT(tn_json_count(tn_json_get(v, "kA")), 3);
}

static void escapes(void) {
    tn_buf b = TN_BUF_INIT;
    CHECK(tn_json_string(parse("\"a\\n\\\"\\\\\\/\\u00e9\\ud83d\\ude00\\ud800x\""), &b));
    CHECK_STR(b.data, "a\n\"\\/\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbdx");
    tn_buf_free(&b);
    char small[4];
    CHECK(tn_json_copy(parse("\"abc\""), small, sizeof small));
    CHECK_STR(small, "abc");
    CHECK(!tn_json_copy(parse("\"abcd\""), small, sizeof small));
    CHECK(!tn_json_is(parse("\"abc\""), "ab"));
    CHECK(!tn_json_is(parse("\"ab\""), "abc"));
}

/* Strings are scanned eight bytes at a time: their end, escapes and mistakes are found at every place. */
static void strings_of_every_length(void) {
    char text[64];
    for (size_t n = 0; n < 40; n++)
        for (size_t at = 0; at < n; at++) {
            tn_json v;
            tn_buf scratch = TN_BUF_INIT;
            tn_err e;
            memset(text, 0xc3, sizeof text);
            text[0] = text[n + 1] = '"';
            size_t len = 0;
            CHECK_INT(tn_json_parse(&v, text, n + 2, NULL), TN_OK);
            CHECK(tn_json_text(v, &len, &scratch) == text + 1 && len == n && scratch.len == 0);
            CHECK_INT(tn_json_parse(&v, text, n + 1, NULL), TN_EFORMAT); /* no end */

            text[1 + at] = 0x1f;
            CHECK_INT(tn_json_parse(&v, text, n + 2, &e), TN_EFORMAT);
            char message[80];
            snprintf(message, sizeof message,
                     "bad JSON at byte %zu: expected no control character inside a string", 1 + at);
            CHECK_STR(e.msg, message);

            text[1 + at] = '\\';
            text[2 + at] = '"'; /* an escaped quote; with the last byte escaped, the string has no end */
            CHECK_INT(tn_json_parse(&v, text, n + 2, NULL), at + 1 < n ? TN_OK : TN_EFORMAT);
            if (at + 1 < n) {
                const char *got = tn_json_text(v, &len, &scratch);
                CHECK(got == scratch.data && len == n - 1 && got[at] == '"');
                CHECK_INT(v.len, n + 2);
            }
            tn_buf_free(&scratch);
        }
}

static void members_found_while_checking(void) {
    static const tn_json_path paths[] = {{NULL, "a"}, {NULL, "m"}, {"m", "a"}, {"m", "b"}, {"m", "none"}};
    enum { A, M, M_A, M_B, M_NONE, COUNT };
    tn_json v[COUNT];
    const char *text = " {\"x\": {\"a\": 1}, \"m\": {\"b\": 2}, \"a\": [{\"a\": 3}, 4], \"a\": 5,"
                       "\"m\": {\"\\u0061\": {\"a\": {}, \"b\": 6}, \"c\": [7] , \"a\" : \"8\" } } ";
    CHECK_INT(tn_json_parse_members(v, paths, COUNT, text, strlen(text), NULL), TN_OK);
    tn_json root = parse(text), m = tn_json_get(root, "m");
    CHECK(v[A].text == tn_json_get(root, "a").text && v[A].len == 1); /* of equal keys the last, as there */
    CHECK(v[M].text == m.text && v[M].len == m.len && v[M].kind == TN_JSON_OBJECT);
    CHECK(tn_json_is(v[M_A], "8"));
    CHECK_INT(v[M_B].kind, TN_JSON_NONE); /* was in the "m" that the later one replaces */
    CHECK_INT(v[M_NONE].kind, TN_JSON_NONE);

    const char *list = "[{\"a\": 1, \"m\": {\"a\": 2}}, 3]", *scalar = "{\"m\": 4, \"a\": -5e1}";
    CHECK_INT(tn_json_parse_members(v, paths, COUNT, list, strlen(list), NULL), TN_OK);
    for (int i = 0; i < COUNT; i++) CHECK_INT(v[i].kind, TN_JSON_NONE);
    CHECK_INT(tn_json_parse_members(v, paths, COUNT, scalar, strlen(scalar), NULL), TN_OK);
    CHECK(v[M].kind == TN_JSON_NUMBER && v[A].len == 4 && v[M_A].kind == TN_JSON_NONE);
    CHECK_INT(tn_json_parse_members(v, paths, COUNT, text, strlen(text) - 3, NULL), TN_EFORMAT);
}

static void writer_round_trip(void) {
    tn_buf b = TN_BUF_INIT;
    tn_json_out w = tn_json_writer(&b, 0);
    tn_json_begin_object(&w);
    tn_json_key(&w, "s");
    tn_json_put_string(&w, "q\"\\\n\x01\xff\xc3\xa9", 8);
    tn_json_key(&w, "list");
    tn_json_begin_array(&w);
    tn_json_put_i64(&w, -3);
    tn_json_put_f64(&w, 0.1);
    tn_json_put_f32(&w, 0.7f);
    tn_json_put_f64(&w, (double)NAN);
    tn_json_put_bool(&w, 1);
    tn_json_put_null(&w);
    tn_json_end_array(&w);
    tn_json_key(&w, "empty");
    tn_json_begin_object(&w);
    tn_json_end_object(&w);
    tn_json_key(&w, "raw");
    tn_json_put_raw(&w, "[1]", 3);
    tn_json_end_object(&w);
    CHECK_STR(
        b.data,
        "{\"s\": \"q\\\"\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa9\", \"list\": [-3, 0.1, 0.7, null, true, null], "
        "\"empty\": {}, \"raw\": [1]}");
    tn_json v;
    CHECK_INT(tn_json_parse(&v, b.data, b.len, NULL), TN_OK);
    tn_buf_free(&b);
}

static void writer_indents(void) {
    tn_buf b = TN_BUF_INIT;
    tn_json_out w = tn_json_writer(&b, 2);
    tn_json_begin_object(&w);
    tn_json_key(&w, "a");
    tn_json_begin_array(&w);
    tn_json_put_i64(&w, 1);
    tn_json_put_i64(&w, 2);
    tn_json_end_array(&w);
    tn_json_end_object(&w);
    CHECK_STR(b.data, "{\n  \"a\": [\n    1,\n    2\n  ]\n}");
    tn_buf_free(&b);
}

void test_json(void) {
    RUN(values_and_lookups);
    RUN(numbers);
    RUN(mistakes_name_the_byte);
    RUN(every_prefix_is_refused);
    RUN(escapes);
    RUN(strings_of_every_length);
    RUN(members_found_while_checking);
    RUN(writer_round_trip);
    RUN(writer_indents);
}
