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
    RUN(writer_round_trip);
    RUN(writer_indents);
}
