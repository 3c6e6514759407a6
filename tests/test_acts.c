/* Activation files: what is written is read back, and every broken promise of the format is named. */
#include "sae/acts.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N 5
#define D 3

static const sae_doc DOCS[2] = {{"car", "Tell \"one\"", "a\nb"}, {"bus", "", "\xe2\x82\xac"}};

static void fill(sae_acts_builder *b) {
    *b = (sae_acts_builder){.d = D};
    for (int r = 0; r < N; r++) {
        float row[D] = {(float)r, -0.5f * (float)r, 3.25f};
        CHECK_INT(sae_acts_append(b, row, 100 + r, r / 3, r % 3), TN_OK);
    }
}

static const char *write_sample(const char *name, tn_dtype dtype) {
    sae_acts_builder b;
    fill(&b);
    const char *path = test_path(name);
    tn_pair extra = {"temperature", "0"};
    tn_err e = {0};
    if (!CHECK_INT(
            sae_acts_write(&b, path, dtype, "a/model", "blocks.2.hook_resid_post", DOCS, 2, &extra, 1, &e),
            TN_OK))
        CHECK_STR(e.msg, "");
    sae_acts_builder_free(&b);
    return path;
}

static void round_trip(void) {
    const tn_dtype dtypes[2] = {TN_F32, TN_BF16};
    for (int t = 0; t < 2; t++) {
        const char *path = write_sample("acts.safetensors", dtypes[t]);
        sae_acts a;
        tn_err e = {0};
        if (!CHECK_INT(sae_acts_open(&a, path, &e), TN_OK)) {
            CHECK_STR(e.msg, "");
            return;
        }
        CHECK_INT(a.n, N);
        CHECK_INT(a.d, D);
        CHECK_INT(a.files.at[0].dtype, dtypes[t]);
        CHECK_STR(a.model_name, "a/model");
        CHECK_STR(a.hook_name, "blocks.2.hook_resid_post");
        CHECK_INT(a.n_docs, 2);
        CHECK_STR(a.docs[0].prompt, "Tell \"one\"");
        CHECK_STR(a.docs[0].text, "a\nb");
        CHECK_STR(a.docs[1].text, "\xe2\x82\xac");
        CHECK_STR(a.docs[1].prompt, "");
        CHECK_INT(a.tokens[4], 104);
        CHECK_INT(a.doc[2], 0);
        CHECK_INT(a.doc[3], 1);
        CHECK_INT(a.pos[4], 1);
        uint32_t idx[2] = {4, 1};
        float rows[2 * D];
        sae_acts_gather(&a, idx, 2, rows);
        CHECK_NEAR(rows[0], 4, 0);
        CHECK_NEAR(rows[1], -2, 0);
        CHECK_NEAR(rows[D + 1], -0.5, 0);
        sae_acts_close(&a);
    }
}

static void builder_grows(void) {
    sae_acts_builder b = {.d = 2};
    for (int r = 0; r < 1000; r++) {
        float row[2] = {(float)r, (float)-r};
        sae_acts_append(&b, row, r, 0, r);
    }
    CHECK_INT(b.n, 1000);
    CHECK_NEAR(b.rows[2 * 999 + 1], -999, 0);
    CHECK_INT(b.tokens[700], 700);
    sae_acts_builder_free(&b);
}

static void empty_file(void) {
    sae_acts_builder b = {.d = 4};
    sae_acts a;
    const char *path = test_path("empty.safetensors");
    CHECK_INT(sae_acts_write(&b, path, TN_F32, "", "", NULL, 0, NULL, 0, NULL), TN_OK);
    if (!CHECK_INT(sae_acts_open(&a, path, NULL), TN_OK)) return;
    CHECK_INT(a.n, 0);
    CHECK_INT(a.n_docs, 0);
    sae_acts_close(&a);
}

static void refuses_non_finite(void) {
    sae_acts_builder b;
    fill(&b);
    b.rows[2 * D + 1] = NAN;
    const char *path = test_path("nan.safetensors");
    tn_err e = {0};
    sae_acts a;
    CHECK_INT(sae_acts_write(&b, path, TN_F32, "m", "h", DOCS, 2, NULL, 0, &e), TN_OK);
    CHECK_INT(sae_acts_open(&a, path, &e), TN_ENUM);
    CHECK_HAS(e.msg, "row 2 column 1");
    CHECK_HAS(e.msg, "nan.safetensors");
    sae_acts_builder_free(&b);
}

static void refuses_unknown_document(void) {
    sae_acts_builder b;
    fill(&b);
    b.doc[3] = 2;
    const char *path = test_path("doc.safetensors");
    tn_err e = {0};
    sae_acts a;
    CHECK_INT(sae_acts_write(&b, path, TN_F32, "m", "h", DOCS, 2, NULL, 0, &e), TN_OK);
    CHECK_INT(sae_acts_open(&a, path, &e), TN_EFORMAT);
    CHECK_HAS(e.msg, "row 3 belongs to document 2 of 2");
    sae_acts_builder_free(&b);
}

/* A file with `n_ints` values in each integer tensor, of type `ints`, and rows of type `rows`. */
static int open_crafted(tn_dtype rows, tn_dtype ints, size_t n_ints, const char *format, const char *docs,
                        tn_err *e) {
    const char *path = test_path("crafted.safetensors");
    tn_tensor_spec specs[4] = {{"activations", rows, 2, {2, 2}},
                               {"tokens", ints, 1, {n_ints}},
                               {"doc", ints, 1, {n_ints}},
                               {"pos", ints, 1, {n_ints}}};
    tn_pair meta[2] = {{"format", format}, {"documents", docs}};
    tn_st_writer *w;
    unsigned char zeros[256] = {0};
    CHECK_INT(tn_st_create(&w, path, specs, 4, meta, 2, e), TN_OK);
    tn_st_write(w, zeros, 4 * tn_dtype_size(rows) + 3 * n_ints * tn_dtype_size(ints));
    CHECK_INT(tn_st_finish(w, e), TN_OK);
    sae_acts a;
    int rc = sae_acts_open(&a, path, e);
    if (rc == TN_OK) sae_acts_close(&a);
    return rc;
}

static void strict_format(void) {
    tn_err e = {0};
    const char *ok = "[{}]", *format = "scalpel.activations.1";
    CHECK_INT(open_crafted(TN_F32, TN_I32, 2, format, ok, &e), TN_OK);
    CHECK_INT(open_crafted(TN_F16, TN_I32, 2, format, ok, &e), TN_ESHAPE);
    CHECK_HAS(e.msg, "F16, expected F32 or BF16");
    CHECK_INT(open_crafted(TN_F32, TN_I64, 2, format, ok, &e), TN_ESHAPE);
    CHECK_HAS(e.msg, "\"tokens\" has dtype I64, expected I32");
    CHECK_INT(open_crafted(TN_F32, TN_I32, 3, format, ok, &e), TN_ESHAPE);
    CHECK_HAS(e.msg, "tokens");
    CHECK_INT(open_crafted(TN_F32, TN_I32, 2, "scalpel.activations.9", ok, &e), TN_EUNSUP);
    CHECK_HAS(e.msg, "scalpel.activations.9");
    CHECK_INT(open_crafted(TN_F32, TN_I32, 2, format, "[{}", &e), TN_EFORMAT);
    CHECK_HAS(e.msg, "documents");
    CHECK_INT(open_crafted(TN_F32, TN_I32, 2, format, "{}", &e), TN_EFORMAT);
    CHECK_HAS(e.msg, "no array");
    CHECK_INT(open_crafted(TN_F32, TN_I32, 2, format, "[]", &e), TN_EFORMAT);
    CHECK_HAS(e.msg, "document 0 of 0");
}

static void missing_file(void) {
    sae_acts a;
    tn_err e = {0};
    CHECK_INT(sae_acts_open(&a, test_path("no-such-file"), &e), TN_EIO);
    CHECK_HAS(e.msg, "no-such-file");
    sae_acts_builder b = {.d = 1};
    CHECK_INT(sae_acts_write(&b, test_path("x"), TN_F16, "", "", NULL, 0, NULL, 0, &e), TN_EARG);
}

void test_acts(void) {
    RUN(round_trip);
    RUN(builder_grows);
    RUN(empty_file);
    RUN(refuses_non_finite);
    RUN(refuses_unknown_document);
    RUN(strict_format);
    RUN(missing_file);
}
