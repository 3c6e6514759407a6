/* Whole training runs on made-up sparse data: what they write, how they resume, what they refuse. */
#include "sae/acts.h"
#include "sae/fit.h"
#include "sae/sae.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#define ACTS TEST_TMP "/fit-acts.safetensors"

enum { D = 16, F = 64, DOCS = 30, PER_DOC = 20, N = DOCS * PER_DOC };

/* Rows with a large mean, built from two of 24 directions each. */
static void make_row(tn_rng *rng, float row[D]) {
    for (int k = 0; k < D; k++) row[k] = 30;
    for (int s = 0; s < 2; s++) {
        tn_rng direction = tn_rng_seed(500 + tn_rng_below(rng, 24));
        float size = 5 + 5 * tn_rng_uniform(rng);
        for (int k = 0; k < D; k++) row[k] += size * tn_rng_normal(&direction);
    }
}

static void write_data(void) {
    static sae_doc docs[DOCS];
    sae_acts_builder b = {.d = D};
    tn_rng rng = tn_rng_seed(11);
    for (int r = 0; r < N; r++) {
        float row[D];
        make_row(&rng, row);
        sae_acts_append(&b, row, r, r / PER_DOC, r % PER_DOC);
    }
    test_path(""); /* makes the directory */
    CHECK_INT(sae_acts_write(&b, ACTS, TN_F32, "m", "blocks.3.hook_resid_post", docs, DOCS, NULL, 0, NULL),
              TN_OK);
    sae_acts_builder_free(&b);
}

/* Rows in memory as a source: what reading a file refuses can come from elsewhere. */
typedef struct {
    float rows[N * D];
} held_rows;

static uint32_t held_doc(void *ctx, uint32_t row) {
    (void)ctx;
    return row / PER_DOC;
}

static int held_read(void *ctx, const uint32_t *ids, size_t n, float *dst, unsigned char *keep, tn_err *e) {
    const held_rows *h = ctx;
    (void)e;
    for (size_t i = 0; i < n; i++) {
        memcpy(dst + i * D, h->rows + ids[i] * D, D * sizeof *dst);
        keep[i] = 1;
    }
    return TN_OK;
}

static sae_source held_source(held_rows *h) {
    tn_rng rng = tn_rng_seed(11);
    for (int r = 0; r < N; r++) make_row(&rng, h->rows + r * D);
    return (sae_source){h, D, N, DOCS, PER_DOC, 0, "m", "h", "rows", held_doc, held_read};
}

static sae_fit_opts quick(void) {
    sae_fit_opts o = sae_fit_defaults();
    o.d_sae = F;
    o.epochs = 40;
    o.train.batch = 50;
    o.train.lr = 0.01f;
    o.train.l1 = 0.3f;
    o.train.unit_norm_decoder = 1;
    o.validation = 0.2f;
    o.log_every = 10;
    return o;
}

static int fit(const char *dir, const sae_fit_opts *o, int threads, sae_fit_progress progress, void *ctx,
               sae_fit_result *r, tn_err *e) {
    static const char *const paths[] = {ACTS};
    sae_shards shards;
    if (!CHECK_INT(sae_shards_open(&shards, paths, 1, e), TN_OK)) return TN_EIO;
    const sae_source source = sae_shards_source(&shards);
    int rc = sae_fit(&source, dir, o, tn_exec_make(NULL, threads), progress, ctx, r, e);
    sae_shards_close(&shards);
    return rc;
}

static int exists(const char *dir, const char *name) {
    char path[512];
    tn_path_join(path, sizeof path, dir, name, NULL);
    return tn_file_exists(path);
}

static void forget(const char *dir) {
    static const char *const names[3] = {"cfg.json", "sae_weights.safetensors", "trainer.safetensors"};
    char path[512];
    for (int i = 0; i < 3; i++) {
        tn_path_join(path, sizeof path, dir, names[i], NULL);
        if (tn_file_exists(path)) tn_remove_file(path);
    }
}

static void same_file(const char *a, const char *b, const char *name) {
    char path[512];
    tn_map ma, mb;
    tn_path_join(path, sizeof path, a, name, NULL);
    if (!CHECK_INT(tn_map_file(&ma, path, NULL), TN_OK)) return;
    tn_path_join(path, sizeof path, b, name, NULL);
    if (CHECK_INT(tn_map_file(&mb, path, NULL), TN_OK)) {
        CHECK(ma.size == mb.size && memcmp(ma.data, mb.data, ma.size) == 0);
        tn_unmap_file(&mb);
    }
    tn_unmap_file(&ma);
}

static void same_run(const char *a, const char *b) {
    same_file(a, b, "cfg.json");
    same_file(a, b, "sae_weights.safetensors");
    same_file(a, b, "train.csv");
    same_file(a, b, "trainer.safetensors");
}

/* The saved SAE works on raw rows although training saw scaled ones, in both decoder conventions. */
static void learns_and_saves_the_raw_frame(void) {
    for (int unit = 0; unit < 2; unit++) {
        sae_fit_opts o = quick();
        o.train.unit_norm_decoder = unit;
        sae_fit_result r;
        tn_err e = {0};
        const char *dir = TEST_TMP "/fit-raw";
        if (!CHECK_INT(fit(dir, &o, 2, NULL, NULL, &r, &e), TN_OK)) {
            CHECK_STR(e.msg, "");
            return;
        }
        CHECK(r.train.fve > 0.9);
        CHECK(r.val.fve > 0.8);
        CHECK_INT(r.train_rows + r.val_rows, N);
        CHECK_INT(r.val_rows, N / 5);
        CHECK_INT(r.val_docs, DOCS / 5);
        CHECK_INT(r.total_steps, 40 * (N * 4 / 5 / 50));
        CHECK(fabs(r.scale - 1) > 0.01);

        sae_acts a;
        sae_model s;
        CHECK_INT(sae_acts_open(&a, ACTS, &e), TN_OK);
        CHECK_INT(sae_open_dir(&s, dir, &e), TN_OK);
        CHECK_STR(s.cfg.hook_name, "blocks.3.hook_resid_post");
        CHECK_INT(s.cfg.context_size, PER_DOC);
        float *x = malloc(N * D * sizeof *x), *xhat = malloc(N * D * sizeof *x),
              *z = malloc(N * F * sizeof *z);
        void *scratch = malloc(sae_encode_scratch(&s, N));
        for (uint32_t b = 0; b < N; b++) sae_acts_gather(&a, &b, 1, x + b * D);
        sae_encode(&s, tn_exec_make(NULL, 1), x, N, z, scratch);
        sae_decode(&s, tn_exec_make(NULL, 1), z, N, xhat);
        double se = 0, l0 = 0;
        for (int i = 0; i < N * D; i++)
            se += ((double)xhat[i] - (double)x[i]) * ((double)xhat[i] - (double)x[i]);
        for (int i = 0; i < N * F; i++) l0 += z[i] > 0;
        double share = (double)r.train_rows / N;
        double want = (share * r.train.mse + (1 - share) * r.val.mse) / (r.scale * r.scale);
        CHECK_NEAR(se / N, want, 1e-3 * want);
        CHECK_NEAR(l0 / N, share * r.train.l0 + (1 - share) * r.val.l0, 0.02);
        for (int i = 0; unit && i < F; i++) {
            double sq = 0;
            for (int k = 0; k < D; k++) sq += (double)s.w_dec[i * D + k] * (double)s.w_dec[i * D + k];
            CHECK_NEAR(sq, 1, 1e-5);
        }
        free(x), free(xhat), free(z), free(scratch);
        sae_free(&s);
        sae_acts_close(&a);
        sae_fit_result_free(&r);
    }
}

static void same_files_for_any_threads(void) {
    sae_fit_opts o = quick();
    sae_fit_result r;
    o.epochs = 4;
    const char *one = TEST_TMP "/fit-one", *three = TEST_TMP "/fit-three", *other = TEST_TMP "/fit-other";
    CHECK_INT(fit(one, &o, 1, NULL, NULL, &r, NULL), TN_OK);
    sae_fit_result_free(&r);
    CHECK_INT(fit(three, &o, 3, NULL, NULL, &r, NULL), TN_OK);
    same_run(one, three);
    double fve = r.train.fve;
    sae_fit_result_free(&r);
    o.train.seed++;
    CHECK_INT(fit(other, &o, 1, NULL, NULL, &r, NULL), TN_OK);
    CHECK(fve != r.train.fve);
    sae_fit_result_free(&r);
}

static int stop_at(void *ctx, int step, int total, const sae_metrics *m, const sae_fit_line *line) {
    (void)total, (void)m, (void)line;
    return step == *(int *)ctx;
}

static void resumes_as_if_never_stopped(void) {
    sae_fit_opts o = quick();
    o.epochs = 10;           /* 90 steps */
    o.checkpoint_every = 15; /* rounded up to 20 */
    const char *whole = TEST_TMP "/fit-whole", *parts = TEST_TMP "/fit-parts";
    sae_fit_result r;
    tn_err e = {0};
    CHECK_INT(fit(whole, &o, 2, NULL, NULL, &r, &e), TN_OK);
    size_t lines = r.n_lines;
    forget(parts);
    CHECK_INT(r.first_step, 0);
    sae_fit_result_free(&r);

    int stops[3] = {33, 57, 85};
    o.resume = 1;
    for (int i = 0; i < 3; i++) {
        CHECK_INT(fit(parts, &o, 1 + i, stop_at, &stops[i], &r, &e), TN_ESTOP);
        CHECK_HAS(e.msg, "stopped after step");
        CHECK(!exists(parts, "cfg.json"));
    }
    CHECK_INT(fit(parts, &o, 1, NULL, NULL, &r, &e), TN_OK);
    CHECK_INT(r.first_step, 80);
    CHECK_INT(r.n_lines, lines);
    sae_fit_result_free(&r);
    same_run(whole, parts);
    /* Resuming a finished run just writes the same again. */
    CHECK_INT(fit(parts, &o, 1, NULL, NULL, &r, &e), TN_OK);
    sae_fit_result_free(&r);
    same_run(whole, parts);

    o.train.l1 = 0.4f;
    CHECK_INT(fit(parts, &o, 1, NULL, NULL, &r, &e), TN_EARG);
    CHECK_HAS(e.msg, "l1");
    o = quick();
    o.epochs = 10;
    o.resume = 1;
    o.validation = 0.3f;
    CHECK_INT(fit(parts, &o, 1, NULL, NULL, &r, &e), TN_EARG);
    CHECK_HAS(e.msg, "other data or options");
}

static void log_has_a_line_per_interval(void) {
    sae_fit_opts o = quick();
    sae_fit_result r;
    const char *dir = TEST_TMP "/fit-log";
    o.epochs = 3; /* 27 steps: lines at 10, 20, 27 */
    CHECK_INT(fit(dir, &o, 1, NULL, NULL, &r, NULL), TN_OK);
    CHECK_INT(r.n_lines, 3);
    CHECK_INT(r.lines[0].step, 10);
    CHECK_INT(r.lines[0].epoch, 2);
    CHECK_INT(r.lines[2].step, 27);
    CHECK_INT(r.lines[2].epoch, 3);
    CHECK_NEAR(r.lines[2].tokens, 27 * 50, 0);
    CHECK(r.lines[2].train_mse < r.lines[0].train_mse);
    sae_fit_result_free(&r);

    char path[512];
    tn_map map;
    tn_path_join(path, sizeof path, dir, "train.csv", NULL);
    CHECK_INT(tn_map_file(&map, path, NULL), TN_OK);
    static const char header[] =
        "step,epoch,tokens,train_mse,train_l1,train_l0,val_mse,val_l1,val_l0,val_fve,dead,"
        "l1_coefficient,lr\n10,2,500,";
    CHECK(map.size > sizeof header && memcmp(map.data, header, sizeof header - 1) == 0);
    tn_unmap_file(&map);

    o.validation = 0;
    CHECK_INT(fit(dir, &o, 1, NULL, NULL, &r, NULL), TN_OK);
    CHECK_INT(r.val_rows, 0);
    CHECK(isnan(r.lines[0].val_mse));
    sae_fit_result_free(&r);
}

static void refused(const sae_fit_opts *o, int code, const char *says) {
    sae_fit_result r;
    tn_err e = {0};
    const char *dir = TEST_TMP "/fit-refused";
    forget(dir);
    CHECK_INT(fit(dir, o, 1, NULL, NULL, &r, &e), code);
    CHECK_HAS(e.msg, says);
    CHECK(!exists(dir, "cfg.json") && !exists(dir, "sae_weights.safetensors"));
}

static void refuses_bad_options(void) {
    sae_fit_opts o = quick();
    o.d_sae = 0;
    refused(&o, TN_EARG, "16 -> 0");
    o = quick(), o.epochs = 0;
    refused(&o, TN_EARG, "0 epochs");
    o = quick(), o.validation = 1;
    refused(&o, TN_EARG, "validation");
    o = quick(), o.start_bias = -1;
    refused(&o, TN_EARG, "start bias");
    o = quick(), o.train.batch = 0;
    refused(&o, TN_EARG, "batch");
    o = quick(), o.train.lr = 0;
    refused(&o, TN_EARG, "lr");
    o = quick(), o.train.lr = 900, o.train.clip = 0, o.train.lr_warmup_steps = 0;
    refused(&o, TN_ENUM, "learning rate");
}

static void refuses_bad_data(void) {
    static held_rows h;
    sae_source source = held_source(&h);
    sae_fit_opts o = quick();
    sae_fit_result r;
    tn_err e = {0};
    const char *dir = TEST_TMP "/fit-bad";
    forget(dir);
    const float bad[2] = {NAN, INFINITY};
    o.validation = 0;
    for (int i = 0; i < 2; i++) {
        h.rows[17 * D + 3] = bad[i];
        CHECK_INT(sae_fit(&source, dir, &o, tn_exec_make(NULL, 1), NULL, NULL, &r, &e), TN_ENUM);
        CHECK_HAS(e.msg, "NaN");
    }
    for (int i = 0; i < N * D; i++) h.rows[i] = (float)(i % D);
    CHECK_INT(sae_fit(&source, dir, &o, tn_exec_make(NULL, 1), NULL, NULL, &r, &e), TN_ENUM);
    CHECK_HAS(e.msg, "equal");
    source.rows = PER_DOC; /* one document */
    o.validation = 0.1f;
    CHECK_INT(sae_fit(&source, dir, &o, tn_exec_make(NULL, 1), NULL, NULL, &r, &e), TN_EARG);
    CHECK_HAS(e.msg, "single document");
    source.rows = 0;
    CHECK_INT(sae_fit(&source, dir, &o, tn_exec_make(NULL, 1), NULL, NULL, &r, &e), TN_EARG);
    CHECK(!exists(dir, "cfg.json"));
}

/* Latents a row of a short JumpReLU run with this learning rate of thresholds. */
static double l0_of_short_run(float target, float threshold_speed) {
    sae_fit_opts o = quick();
    o.epochs = 10;
    o.train.arch = SAE_TRAIN_JUMPRELU;
    o.train.l0_penalty = SAE_L0_QUADRATIC;
    o.train.target_l0 = target;
    o.train.l1 = 1;
    o.train.lr = 0.001f;
    o.train.threshold_speed = threshold_speed;
    sae_fit_result r;
    tn_err e;
    if (!CHECK_INT(fit(TEST_TMP "/fit-jump", &o, 1, NULL, NULL, &r, &e), TN_OK)) return -1;
    double l0 = r.train.l0;
    sae_fit_result_free(&r);
    return l0;
}

/* At the speed of the other parameters they are still on their way when it ends. */
static void thresholds_arrive_in_a_short_run(void) {
    const float targets[] = {4, 6};
    for (int i = 0; i < 2; i++) {
        double target = (double)targets[i], l0 = l0_of_short_run(targets[i], -1);
        if (!CHECK(l0 > 0.8 * target && l0 < 1.25 * target)) printf("L0 %g for a target of %g\n", l0, target);
        CHECK(l0_of_short_run(targets[i], 1) > 1.25 * target);
    }
}

void test_fit(void) {
    write_data();
    RUN(learns_and_saves_the_raw_frame);
    RUN(same_files_for_any_threads);
    RUN(resumes_as_if_never_stopped);
    RUN(log_has_a_line_per_interval);
    RUN(thresholds_arrive_in_a_short_run);
    RUN(refuses_bad_options);
    RUN(refuses_bad_data);
}
