/* safetensors files: round trips, and each way a file can lie with the message it earns. */
#include "tensor/rng.h"
#include "tensor/safetensors.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- images in memory ---- */

/* A file image: header text, then `data_bytes` bytes counting up from 0. */
static void make_image(tn_buf *b, const char *header, size_t data_bytes) {
    char length[8];
    tn_buf_clear(b);
    tn_store_u64(length, strlen(header));
    tn_buf_add(b, length, 8);
    tn_buf_puts(b, header);
    for (size_t i = 0; i < data_bytes; i++) tn_buf_putc(b, (char)i);
}

/* Opens a copy of exactly `size` bytes, so that the sanitizer sees a read past the end. */
static int open_copy(const void *data, size_t size, tn_err *e) {
    void *copy = malloc(size ? size : 1);
    tn_safetensors *f = NULL;
    if (!copy) return TN_ENOMEM;
    if (size) memcpy(copy, data, size);
    int rc = tn_st_open_mem(&f, copy, size, "f", e);
    if (rc == TN_OK) {             /* touch all that was promised */
        volatile unsigned sum = 0; /* the reads must not be optimised away */
        for (size_t i = 0; i < tn_st_count(f); i++) {
            const tn_tensor *t = tn_st_at(f, i);
            const unsigned char *bytes = t->data;
            for (size_t k = 0; k < t->count * tn_dtype_size(t->dtype); k++) sum = sum + bytes[k];
            CHECK(tn_st_find(f, t->name) == t);
        }
    } else {
        CHECK(f == NULL);
    }
    tn_st_close(f);
    free(copy);
    return rc;
}

static const char *refusal(const char *header, size_t data_bytes) {
    static tn_err e;
    tn_buf b = TN_BUF_INIT;
    make_image(&b, header, data_bytes);
    e.msg[0] = '\0';
    int rc = open_copy(b.data, b.len, &e);
    if (rc == TN_OK) snprintf(e.msg, sizeof e.msg, "accepted");
    CHECK(rc == TN_OK || rc == e.code);
    tn_buf_free(&b);
    return e.msg;
}

static void reads(void) {
    tn_buf b = TN_BUF_INIT;
    tn_err e;
    tn_safetensors *f;
    make_image(&b,
               "{\"__metadata__\":{\"format\":\"pt\",\"l\\u00e4nge\":\"a\\nb\"},"
               "\"w\":{\"dtype\":\"I16\",\"shape\":[2,3],\"data_offsets\":[4,16]},"
               "\"b\\\"\\u00fc\":{\"shape\":[],\"data_offsets\":[0,4],\"dtype\":\"F32\",\"note\":1},"
               "\"none\":{\"dtype\":\"F64\",\"shape\":[0,7],\"data_offsets\":[16,16]}}   ",
               16);
    if (CHECK_INT(tn_st_open_mem(&f, b.data, b.len, "f", &e), TN_OK)) {
        CHECK_INT(tn_st_count(f), 3);
        CHECK_INT(tn_st_bytes(f), 16);
        CHECK_STR(tn_st_at(f, 0)->name, "b\"\xc3\xbc");
        CHECK_STR(tn_st_at(f, 1)->name, "none");
        CHECK_STR(tn_st_at(f, 2)->name, "w");
        const tn_tensor *w = tn_st_find(f, "w");
        CHECK(w == tn_st_at(f, 2));
        CHECK_INT(w->dtype, TN_I16);
        CHECK_INT(w->rank, 2);
        CHECK_INT(w->shape[0], 2);
        CHECK_INT(w->shape[1], 3);
        CHECK_INT(w->count, 6);
        CHECK_INT(tn_load_u16(w->data), 0x0504);
        CHECK_INT(tn_st_at(f, 0)->rank, 0);
        CHECK_INT(tn_st_at(f, 0)->count, 1);
        CHECK_INT(tn_st_at(f, 1)->count, 0);
        CHECK(tn_st_find(f, "W") == NULL);
        CHECK(tn_st_find(f, "__metadata__") == NULL);

        tn_buf value = TN_BUF_INIT;
        CHECK_INT(tn_st_metadata(f, "l\xc3\xa4nge", &value), 1);
        CHECK_STR(value.data, "a\nb");
        CHECK_INT(tn_st_metadata(f, "other", &value), 0);
        tn_buf_free(&value);
    }
    tn_st_close(f);
    tn_buf_free(&b);
    CHECK_STR(refusal("{}", 0), "accepted");
}

static void requires(void) {
    tn_buf b = TN_BUF_INIT;
    tn_err e;
    tn_safetensors *f;
    const tn_tensor *t;
    make_image(&b, "{\"x\":{\"dtype\":\"U8\",\"shape\":[2,3],\"data_offsets\":[0,6]}}", 6);
    if (CHECK_INT(tn_st_open_mem(&f, b.data, b.len, "model.safetensors", &e), TN_OK)) {
        CHECK_INT(tn_st_require(f, "x", 2, (size_t[]){2, 3}, &t, &e), TN_OK);
        CHECK(t == tn_st_find(f, "x"));
        CHECK_INT(tn_st_require(f, "x", 2, (size_t[]){3, 2}, &t, &e), TN_ESHAPE);
        CHECK_STR(e.msg, "model.safetensors: tensor \"x\" has shape [2, 3], expected [3, 2]");
        CHECK(t == NULL);
        CHECK_INT(tn_st_require(f, "x", 0, NULL, &t, &e), TN_ESHAPE);
        CHECK_STR(e.msg, "model.safetensors: tensor \"x\" has shape [2, 3], expected []");
        CHECK_INT(tn_st_require(f, "y", 1, (size_t[]){6}, &t, &e), TN_EFORMAT);
        CHECK_STR(e.msg, "model.safetensors: tensor \"y\" is missing");
    }
    tn_st_close(f);
    tn_buf_free(&b);
}

static void bad_headers(void) {
    tn_err e;
    CHECK_INT(open_copy("", 0, &e), TN_EFORMAT);
    CHECK_STR(e.msg, "f: 0 bytes are too few for a safetensors file");
    CHECK_INT(open_copy("\2\0\0\0\0\0\0", 7, &e), TN_EFORMAT);
    CHECK_STR(e.msg, "f: 7 bytes are too few for a safetensors file");
    CHECK_INT(open_copy("\3\0\0\0\0\0\0\0{}", 10, &e), TN_EFORMAT);
    CHECK_STR(e.msg, "f: the header ends at byte 11, past the file's end at 10");
    CHECK_INT(open_copy("\377\377\377\377\377\377\377\377{}", 10, &e), TN_EFORMAT);
    CHECK_STR(e.msg, "f: no safetensors file: its header would have 18446744073709551615 bytes");
    CHECK_INT(open_copy("\0\0\0\0\0\0\0\0", 8, &e), TN_EFORMAT);
    CHECK_HAS(e.msg, "f: bad JSON");

    CHECK_HAS(refusal("{\"x\" 1}", 0), "f: bad JSON at byte 5: expected ':'");
    CHECK_STR(refusal("[]", 0), "f: the header is no JSON object");
    CHECK_STR(refusal("{\"x\":[]}", 0), "f: tensor \"x\" is no object");
    CHECK_STR(refusal("{\"\":{}}", 0), "f: a tensor's name is empty or has a NUL in it");
    CHECK_STR(refusal("{\"a\\u0000b\":{}}", 0), "f: a tensor's name is empty or has a NUL in it");
    CHECK_STR(refusal("{\"__metadata__\":1}", 0), "f: __metadata__ is no object");
    CHECK_STR(refusal("{\"__metadata__\":{\"n\":1}}", 0),
              "f: __metadata__ holds something else than strings");
    CHECK_STR(refusal("{\"__metadata__\":{},\"__metadata__\":{}}", 0), "f: there are two __metadata__");
}

/* The refusal of one tensor "x" with these fields, in a file with 8 bytes of data. */
static const char *refusal_x(const char *fields) {
    char header[512];
    snprintf(header, sizeof header, "{\"x\":{%s}}", fields);
    return refusal(header, 8);
}

static void bad_tensors(void) {
    CHECK_STR(refusal_x("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), "accepted");
    CHECK_STR(refusal_x("\"shape\":[2],\"data_offsets\":[0,8]"), "f: tensor \"x\" has no dtype");
    CHECK_STR(refusal_x("\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]"), "f: tensor \"x\" has no dtype");
    CHECK_STR(refusal_x("\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]"),
              "f: tensor \"x\" has the unknown dtype \"F8_E4M3\"");
    CHECK_STR(refusal_x("\"dtype\":\"F32\",\"data_offsets\":[0,8]"), "f: tensor \"x\" has no shape");
    CHECK_STR(refusal_x("\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]"),
              "f: tensor \"x\" has no shape");
    CHECK_STR(refusal_x("\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]"),
              "f: tensor \"x\" has a dimension that is no size: -2");
    CHECK_STR(refusal_x("\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,8]"),
              "f: tensor \"x\" has a dimension that is no size: 1.5");
    CHECK_STR(refusal_x("\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]"),
              "f: tensor \"x\" has a dimension that is no size: \"2\"");
    CHECK_STR(refusal_x("\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]"),
              "f: tensor \"x\" has a dimension that is no size: 99999999999999999999");
    CHECK_STR(refusal_x("\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,8],\"data_offsets\":[0,8]"), "accepted");
    CHECK_STR(refusal_x("\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,8],\"data_offsets\":[0,8]"),
              "f: tensor \"x\" has more than 8 dimensions");
    CHECK_STR(refusal_x("\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]"),
              "f: tensor \"x\" has more elements than can be counted");
    /* 2^62 + 2 elements of four bytes are 2^64 + 8 bytes, which is 8 in 64 bits */
    CHECK_HAS(refusal_x("\"dtype\":\"F32\",\"shape\":[4611686018427387906],\"data_offsets\":[0,8]"),
              "f: tensor \"x\" occupies 8 bytes, its shape and dtype ask for");
    CHECK_STR(refusal_x("\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]"),
              "f: tensor \"x\" occupies 8 bytes, its shape and dtype ask for 12");
    CHECK_STR(refusal_x("\"dtype\":\"F32\",\"shape\":[2]"), "f: tensor \"x\" has no pair of data_offsets");
    CHECK_STR(refusal_x("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4,8]"),
              "f: tensor \"x\" has no pair of data_offsets");
    CHECK_STR(refusal_x("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]"),
              "f: tensor \"x\" has a data offset that is no size: -8");
    CHECK_STR(refusal_x("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]"),
              "f: tensor \"x\" ends before it begins");
    CHECK_HAS(refusal_x("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]"),
              "f: tensor \"x\" ends at byte 71, past the file's end at 70");
    CHECK_HAS(refusal_x("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,9223372036854775807]"),
              "past the file's end at");
    CHECK_STR(refusal_x("\"dtype\":\"F32\",\"shape\":[2],\"shape\":[2],\"data_offsets\":[0,8]"),
              "f: tensor \"x\" has two fields \"shape\"");
}

static void bad_layouts(void) {
    CHECK_STR(refusal("{\"a\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[0,5]},"
                      "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
                      8),
              "f: tensors \"a\" and \"b\" overlap at byte 117");
    CHECK_STR(refusal("{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
                      "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
                      8),
              "f: 1 bytes before tensor \"b\" belong to no tensor");
    CHECK_STR(refusal("{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 8),
              "f: the last 5 bytes belong to no tensor");
    CHECK_STR(refusal("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
                      "\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]}}",
                      8),
              "f: two tensors are called \"a\"");
    /* names sort before places do: twins on the same bytes are an overlap */
    CHECK_HAS(refusal("{\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]},"
                      "\"a\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8]}}",
                      8),
              "f: tensors \"a\" and \"a\" overlap");
}

/* A long hostile name is cut off; the message keeps its end. */
static void long_names(void) {
    tn_buf b = TN_BUF_INIT;
    tn_buf_puts(&b, "{\"");
    for (int i = 0; i < 5000; i++) tn_buf_putc(&b, 'n');
    tn_buf_puts(&b, "\":{}}");
    CHECK_HAS(refusal(b.data, 0), "nnn\" has no dtype");
    tn_buf_free(&b);
}

static const char small[] = "{\"__metadata__\":{\"k\":\"v\"},"
                            "\"a\":{\"dtype\":\"BF16\",\"shape\":[2,2],\"data_offsets\":[0,8]},"
                            "\"b\":{\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[8,9]},"
                            "\"c\":{\"dtype\":\"F32\",\"shape\":[3,1],\"data_offsets\":[9,21]}}";

/* Every shorter version of a sound file is refused. */
static void truncation(void) {
    tn_buf b = TN_BUF_INIT;
    tn_err e;
    make_image(&b, small, 21);
    CHECK_INT(open_copy(b.data, b.len, &e), TN_OK);
    for (size_t n = 0; n < b.len; n++) {
        int rc = open_copy(b.data, n, &e);
        if (!CHECK(rc == TN_EFORMAT && e.msg[0])) break;
    }
    tn_buf_free(&b);
}

/* Random damage: whatever is accepted must be readable to its last byte. */
static void damage(void) {
    tn_buf b = TN_BUF_INIT;
    tn_err e;
    tn_rng r = tn_rng_seed(20240607);
    size_t accepted = 0;
    static const char spice[] = "0123456789{}[]\",:-\\ue.";
    for (int round = 0; round < 20000; round++) {
        make_image(&b, small, 21);
        for (uint64_t flips = 1 + tn_rng_below(&r, 4); flips > 0; flips--) {
            size_t at = (size_t)tn_rng_below(&r, b.len);
            if (tn_rng_below(&r, 2))
                b.data[at] = (char)((unsigned char)b.data[at] ^ 1u << tn_rng_below(&r, 8));
            else
                b.data[at] = spice[tn_rng_below(&r, sizeof spice - 1)];
        }
        accepted += open_copy(b.data, b.len, &e) == TN_OK;
    }
    CHECK(accepted > 300 && accepted < 19700); /* the damage reaches both sides */
    tn_buf_free(&b);
}

/* ---- files ---- */

static void round_trip(void) {
    static const float w[6] = {1, -2, 3.5f, 0, 1e-30f, 7};
    static const int8_t q[3] = {-1, 0, 1};
    static const tn_tensor_spec specs[] = {
        {"z.weight", TN_F32, 2, {2, 3}}, {"empty", TN_F32, 1, {0}}, {"a \"q\"\n", TN_I8, 1, {3}}};
    static const tn_pair meta[] = {{"format", "pt"}, {"prompt", "line\n\"quoted\" \xc3\xbc"}};
    const char *path = test_path("st-round.safetensors");
    tn_st_writer *out;
    tn_err e;
    if (!CHECK_INT(tn_st_create(&out, path, specs, 3, meta, 2, &e), TN_OK)) return;
    CHECK_INT(tn_st_write(out, w, 5), TN_OK); /* pieces need not end where numbers do */
    CHECK_INT(tn_st_write(out, (const char *)w + 5, sizeof w - 5), TN_OK);
    CHECK_INT(tn_st_write(out, q, sizeof q), TN_OK);
    CHECK_INT(tn_st_finish(out, &e), TN_OK);

    tn_safetensors *f;
    if (!CHECK_INT(tn_st_open_file(&f, path, &e), TN_OK)) return;
    CHECK_INT(tn_st_count(f), 3);
    const tn_tensor *t;
    CHECK_INT(tn_st_require(f, "z.weight", 2, (size_t[]){2, 3}, &t, &e), TN_OK);
    CHECK(t && memcmp(t->data, w, sizeof w) == 0 && (uintptr_t)t->data % TN_ALIGN == 0);
    CHECK_INT(tn_st_require(f, "a \"q\"\n", 1, (size_t[]){3}, &t, &e), TN_OK);
    CHECK(t && memcmp(t->data, q, sizeof q) == 0);
    CHECK_INT(tn_st_require(f, "empty", 1, (size_t[]){0}, &t, &e), TN_OK);
    tn_buf value = TN_BUF_INIT;
    CHECK_INT(tn_st_metadata(f, "prompt", &value), 1);
    CHECK_STR(value.data, meta[1].value);
    tn_buf_free(&value);
    tn_st_close(f);

    CHECK_INT(tn_st_create(&out, path, NULL, 0, NULL, 0, &e), TN_OK); /* no tensors at all */
    CHECK_INT(tn_st_finish(out, &e), TN_OK);
    CHECK_INT(tn_st_open_file(&f, path, &e), TN_OK);
    CHECK_INT(tn_st_count(f), 0);
    CHECK(tn_st_find(f, "x") == NULL);
    tn_st_close(f);
}

static void writer_refusals(void) {
    const char *path = test_path("st-refused.safetensors");
    tn_remove_file(path);
    tn_st_writer *out;
    tn_err e;
    tn_tensor_spec twins[] = {{"x", TN_U8, 1, {4}}, {"x", TN_U8, 1, {4}}};
    CHECK_INT(tn_st_create(&out, path, twins, 2, NULL, 0, &e), TN_EARG);
    CHECK_HAS(e.msg, "st-refused.safetensors: two tensors are called \"x\"");
    CHECK(out == NULL);
    tn_tensor_spec huge[] = {{"x", TN_F64, 2, {SIZE_MAX / 2, 2}}};
    CHECK_INT(tn_st_create(&out, path, huge, 1, NULL, 0, &e), TN_EARG);
    CHECK_HAS(e.msg, "tensor \"x\" is too large");
    tn_tensor_spec odd[] = {{"__metadata__", TN_U8, 1, {1}}};
    CHECK_INT(tn_st_create(&out, path, odd, 1, NULL, 0, &e), TN_EARG);
    CHECK_HAS(e.msg, "a tensor cannot be called \"__metadata__\"");

    CHECK_INT(tn_st_create(&out, path, twins, 1, NULL, 0, &e), TN_OK);
    tn_st_write(out, "abc", 3);
    CHECK_INT(tn_st_finish(out, &e), TN_EARG);
    CHECK_HAS(e.msg, "st-refused.safetensors: 3 bytes of tensors were written, 4 were announced");
    CHECK_INT(tn_st_create(&out, path, twins, 1, NULL, 0, &e), TN_OK);
    tn_st_write(out, "abcde", 5);
    CHECK_INT(tn_st_finish(out, &e), TN_EARG);
    CHECK_INT(tn_st_create(&out, path, twins, 1, NULL, 0, &e), TN_OK);
    tn_st_abandon(out);
    tn_st_abandon(NULL);
    CHECK(!tn_file_exists(path));
    CHECK_INT(test_shell("ls " TEST_TMP " | grep -q 'st-refused'", NULL, 0, NULL, 0), 1);

    if (tn_file_exists("/dev/full")) {
        CHECK_INT(tn_st_create(&out, "/dev/full", twins, 1, NULL, 0, &e), TN_OK);
        tn_st_write(out, "abcd", 4);
        CHECK_INT(tn_st_finish(out, &e), TN_EIO);
        CHECK_STR(e.msg, "/dev/full: No space left on device");
    }
}

/* A file DIR/name with one U8 tensor of two bytes, or two tensors when `second` is given. */
static void write_shard(const char *name, const char *first, const char *second) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", TEST_TMP "/st-dir", name);
    tn_tensor_spec specs[] = {{first, TN_U8, 1, {2}}, {second, TN_U8, 1, {2}}};
    tn_st_writer *out;
    tn_err e;
    if (!CHECK_INT(tn_st_create(&out, path, specs, second ? 2 : 1, NULL, 0, &e), TN_OK)) return;
    tn_st_write(out, first, 2);
    if (second) tn_st_write(out, second, 2);
    CHECK_INT(tn_st_finish(out, &e), TN_OK);
}

/* Opens the directory with this weight_map; the message, or "accepted". */
static const char *open_mapped(const char *weight_map) {
    static tn_err e;
    char index[512];
    tn_safetensors *f;
    int n = snprintf(index, sizeof index, "{\"metadata\":{\"total_size\":1},\"weight_map\":%s}", weight_map);
    tn_write_file(TEST_TMP "/st-dir/model.safetensors.index.json", index, (size_t)n, &e);
    e.msg[0] = '\0';
    int rc = tn_st_open_dir(&f, TEST_TMP "/st-dir", &e);
    CHECK((rc == TN_OK) == (f != NULL));
    if (rc == TN_OK) snprintf(e.msg, sizeof e.msg, "accepted");
    tn_st_close(f);
    return e.msg;
}

#define ST_INDEX TEST_TMP "/st-dir/model.safetensors.index.json: "

static void shards(void) {
    tn_err e;
    tn_safetensors *f;
    const tn_tensor *t;
    test_shell("rm -rf " TEST_TMP "/st-dir", NULL, 0, NULL, 0);
    CHECK_INT(tn_st_open_dir(&f, TEST_TMP "/st-dir", &e), TN_EIO);
    CHECK_STR(e.msg, TEST_TMP "/st-dir: no such directory");
    tn_make_dirs(TEST_TMP "/st-dir", &e);
    CHECK_INT(tn_st_open_dir(&f, TEST_TMP "/st-dir", &e), TN_EIO);
    CHECK_HAS(e.msg, "st-dir: holds neither model.safetensors nor model.safetensors.index.json");

    write_shard("s1", "bb", "dd");
    write_shard("s2", "aa", "cc");
    CHECK_STR(open_mapped("{\"aa\":\"s2\",\"bb\":\"s1\",\"cc\":\"s2\",\"dd\":\"s1\"}"), "accepted");
    if (CHECK_INT(tn_st_open_dir(&f, TEST_TMP "/st-dir", &e), TN_OK)) {
        CHECK_INT(tn_st_count(f), 4);
        CHECK_INT(tn_st_bytes(f), 8);
        for (size_t i = 0; i < 4; i++) { /* in name order over both shards, each with its own bytes */
            t = tn_st_at(f, i);
            CHECK_INT(t->name[0], 'a' + (int)i);
            CHECK(memcmp(t->data, t->name, 2) == 0);
            CHECK(tn_st_find(f, t->name) == t);
        }
        CHECK_INT(tn_st_require(f, "ee", 1, (size_t[]){2}, &t, &e), TN_EFORMAT);
        CHECK_STR(e.msg, TEST_TMP "/st-dir: tensor \"ee\" is missing");
        tn_st_close(f);
    }
    CHECK_STR(open_mapped("{\"aa\":\"s1\"}"), ST_INDEX "tensor \"aa\" is not in s1");
    CHECK_STR(open_mapped("{\"aa\":\"s3\"}"), TEST_TMP "/st-dir/s3: No such file or directory");
    CHECK_STR(open_mapped("{\"aa\":\"../s1\"}"), ST_INDEX "tensor \"aa\" is in no plain file name");
    CHECK_STR(open_mapped("{\"aa\":\"..\"}"), ST_INDEX "tensor \"aa\" is in no plain file name");
    CHECK_STR(open_mapped("{\"aa\":\"/etc/passwd\"}"), ST_INDEX "tensor \"aa\" is in no plain file name");
    CHECK_STR(open_mapped("{\"aa\":7}"), ST_INDEX "tensor \"aa\" is in no plain file name");
    CHECK_STR(open_mapped("[]"), ST_INDEX "no object \"weight_map\"");
    CHECK_HAS(open_mapped("{"), ST_INDEX "bad JSON at byte");
    write_shard("s4", "aa", NULL);
    CHECK_STR(open_mapped("{\"aa\":\"s2\",\"bb\":\"s1\",\"aa\":\"s4\"}"),
              "tensor \"aa\" is in both " TEST_TMP "/st-dir/s2 and " TEST_TMP "/st-dir/s4");
    tn_write_file(TEST_TMP "/st-dir/s4", "short", 5, &e);
    CHECK_STR(open_mapped("{\"aa\":\"s4\"}"),
              TEST_TMP "/st-dir/s4: 5 bytes are too few for a safetensors file");

    write_shard("model.safetensors", "xx", NULL); /* a single file goes first */
    CHECK_INT(tn_st_open_dir(&f, TEST_TMP "/st-dir", &e), TN_OK);
    CHECK(tn_st_find(f, "xx") != NULL);
    tn_st_close(f);
}

void test_safetensors(void) {
    RUN(reads);
    RUN(requires);
    RUN(bad_headers);
    RUN(bad_tensors);
    RUN(bad_layouts);
    RUN(long_names);
    RUN(truncation);
    RUN(damage);
    RUN(round_trip);
    RUN(writer_refusals);
    RUN(shards);
}
