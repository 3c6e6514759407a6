/* The small foundations: number formats, UTF-8, random numbers, the arena, errors. */
#include "tests/test.h"
#include "tensor/arena.h"
#include "tensor/dtype.h"
#include "tensor/err.h"
#include "tensor/rng.h"
#include "tensor/utf8.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static void half_formats_round_trip(void) {
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = tn_f16_to_f32((uint16_t)h), b = tn_bf16_to_f32((uint16_t)h);
        if (isnan(f))
            CHECK(isnan(tn_f16_to_f32(tn_f32_to_f16(f))));
        else if (tn_f32_to_f16(f) != h)
            CHECK_INT(tn_f32_to_f16(f), h);
        if (isnan(b))
            CHECK(isnan(tn_bf16_to_f32(tn_f32_to_bf16(b))));
        else if (tn_f32_to_bf16(b) != h)
            CHECK_INT(tn_f32_to_bf16(b), h);
    }
}

static void rounding_is_to_nearest_even(void) {
    CHECK_INT(tn_f32_to_f16(65519.0f), 0x7bff);          /* just below the midpoint to infinity */
    CHECK_INT(tn_f32_to_f16(65520.0f), 0x7c00);          /* the midpoint rounds away */
    CHECK_INT(tn_f32_to_f16(1.0f + 0x1p-11f), 0x3c00);   /* tie, even below */
    CHECK_INT(tn_f32_to_f16(1.0f + 0x1.8p-10f), 0x3c02); /* tie, even above */
    CHECK_INT(tn_f32_to_f16(0x1p-25f), 0);               /* tie with zero */
    CHECK_INT(tn_f32_to_f16(0x1.8p-25f), 1);
    CHECK_INT(tn_f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);
    CHECK_INT(tn_f32_to_bf16(1.0f + 0x1.8p-7f), 0x3f82);
    CHECK_INT(tn_f32_to_bf16(-0.0f), 0x8000);
}

static void conversions_by_array(void) {
    unsigned char raw[1 + 8 * 3]; /* odd addresses on purpose */
    float x[3] = {1.5f, -2.0f, 1e-3f}, y[3];
    tn_dtype types[] = {TN_F32, TN_BF16, TN_F16};
    for (int t = 0; t < 3; t++) {
        CHECK_INT(tn_from_f32(raw + 1, types[t], x, 3), TN_OK);
        CHECK_INT(tn_to_f32(y, raw + 1, types[t], 3), TN_OK);
        for (int i = 0; i < 3; i++) CHECK_NEAR(y[i], x[i], fabs(x[i]) * 0x1p-8);
    }
    tn_store_u64(raw + 1, 0x3ff8000000000000u);
    CHECK_INT(tn_to_f32(y, raw + 1, TN_F64, 1), TN_OK);
    CHECK_NEAR(y[0], 1.5, 0);
    CHECK_INT(tn_to_f32(y, raw, TN_I32, 1), TN_EUNSUP);
    CHECK_INT(tn_dtype_from_name("BF16", 4), TN_BF16);
    CHECK_INT(tn_dtype_from_name("BF1", 3), TN_DTYPE_COUNT);
}

static void utf8_accepts_exactly_the_well_formed(void) {
    char s[4];
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        int n = tn_utf8_put(s, cp);
        int want = cp >= 0xd800 && cp < 0xe000 ? 0 : n;
        if (tn_utf8_length(s, 4) != want) CHECK_INT(tn_utf8_length(s, 4), want);
        if (want && tn_utf8_get(s, n) != cp) CHECK_INT(tn_utf8_get(s, n), cp);
        if (n > 1 && tn_utf8_length(s, (size_t)n - 1)) CHECK_INT(cp, -1);
    }
    CHECK_INT(tn_utf8_length("\xc0\x80", 2), 0);         /* overlong */
    CHECK_INT(tn_utf8_length("\xf4\x90\x80\x80", 4), 0); /* past the last code point */
    CHECK_INT(tn_utf8_length("\x80", 1), 0);
}

static void random_numbers_are_pinned(void) {
    tn_rng r = tn_rng_seed(42);
    uint64_t first = tn_rng_u64(&r);
    tn_rng again = tn_rng_seed(42), other = tn_rng_seed(43);
    CHECK(first == tn_rng_u64(&again));
    CHECK(first != tn_rng_u64(&other));
    double sum = 0, squares = 0, mean = 0;
    for (int i = 0; i < 100000; i++) {
        float u = tn_rng_uniform(&r), g = tn_rng_normal(&r);
        if (u < 0 || u >= 1) CHECK_NEAR(u, 0.5, 0.5);
        mean += u;
        sum += g;
        squares += (double)g * g;
    }
    CHECK_NEAR(mean / 1e5, 0.5, 0.005);
    CHECK_NEAR(sum / 1e5, 0, 0.015);
    CHECK_NEAR(squares / 1e5, 1, 0.02);
    uint32_t idx[100], seen[100] = {0};
    for (uint32_t i = 0; i < 100; i++) idx[i] = i;
    tn_rng_shuffle(&r, idx, 100);
    for (int i = 0; i < 100; i++) seen[idx[i]]++;
    for (int i = 0; i < 100; i++) CHECK_INT(seen[i], 1);
    for (int i = 0; i < 1000; i++) CHECK(tn_rng_below(&r, 7) < 7);
}

/* The published splitmix64 and xoshiro256** sequence for state {1, 2, 3, 4}. */
static void generator_follows_its_reference(void) {
    tn_rng r = {{1, 2, 3, 4}};
    static const uint64_t want[] = {11520, 0, 1509978240, 1215971899390074240u};
    for (int i = 0; i < 4; i++) CHECK(tn_rng_u64(&r) == want[i]);
}

static void arena_measures_what_it_takes(void) {
    unsigned char block[1024];
    tn_arena m = tn_arena_measure();
    CHECK(tn_arena_take(&m, 3, 5) == NULL && tn_arena_take(&m, 100, 1) == NULL);
    CHECK_INT(m.used, 64 + 128);
    tn_arena a = tn_arena_on(block + 1, m.used + TN_ALIGN);
    unsigned char *p = tn_arena_take(&a, 3, 5);
    CHECK(p && (uintptr_t)p % TN_ALIGN == 0);
    CHECK(tn_arena_take(&a, 100, 1) != NULL && !a.failed);
    tn_arena tight = tn_arena_on(block, m.used - 1);
    tn_arena_take(&tight, 3, 5);
    CHECK(tn_arena_take(&tight, 100, 1) == NULL && tight.failed);
    CHECK(tn_arena_take(&m, SIZE_MAX / 2, 3) == NULL && m.failed);
}

static void errors_keep_one_line(void) {
    tn_err e;
    CHECK_INT(tn_fail(&e, TN_ESHAPE, "tensor \"%s\" is wrong", "x"), TN_ESHAPE);
    CHECK_INT(tn_fail_in(&e, e.code, "model.safetensors"), TN_ESHAPE);
    CHECK_STR(e.msg, "model.safetensors: tensor \"x\" is wrong");
    char longer[2000];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    tn_fail(&e, TN_EARG, "%s", longer);
    CHECK_INT(strlen(e.msg), sizeof e.msg - 1);
    tn_fail_in(&e, TN_EARG, "file");
    CHECK_INT(strlen(e.msg), sizeof e.msg - 1);
    CHECK(strncmp(e.msg, "file: aaa", 9) == 0);
    tn_fail(&e, TN_EFORMAT, "tensor \"%s\"", "a\nb\x1b[2J\xc3\xa9");
    CHECK_STR(e.msg, "tensor \"a?b?[2J\xc3\xa9\"");
    tn_fail_in(&e, TN_EFORMAT, "di\nr");
    CHECK_STR(e.msg, "di?r: tensor \"a?b?[2J\xc3\xa9\"");
    CHECK_INT(tn_fail(NULL, TN_EIO, "nobody listens"), TN_EIO);
}

void test_tensor(void) {
    RUN(half_formats_round_trip);
    RUN(rounding_is_to_nearest_even);
    RUN(conversions_by_array);
    RUN(utf8_accepts_exactly_the_well_formed);
    RUN(random_numbers_are_pinned);
    RUN(generator_follows_its_reference);
    RUN(arena_measures_what_it_takes);
    RUN(errors_keep_one_line);
}
