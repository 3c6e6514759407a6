/* Training on more rows than the buffer holds: several files as one source, the shuffle buffer, the split and
 * the figures of a sample, resuming in the middle of it all, and the memory it takes. */
#include "sae/acts.h"
#include "sae/fit_rows.h"
#include "tensor/os.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIR TEST_TMP "/stream"

enum { D = 8, PER_DOC = 10, N = 3000 };

static char out[1 << 16], err[4096];

/* Rows first … last-1 of a made-up stream as a file; row r has r / 1000 in column 0. */
static void write_rows(const char *path, int first, int last, int width, const char *hook, float bad) {
    sae_acts_builder b = {.d = width};
    sae_doc *docs = calloc((size_t)(last - first) / PER_DOC + 1, sizeof *docs);
    for (int r = first; r < last; r++) {
        tn_rng rng = tn_rng_seed((uint64_t)r);
        float row[64] = {(float)r / 1000};
        for (int k = 1; k < width; k++) row[k] = tn_rng_normal(&rng) + (float)(r % 3 == k % 3 ? 3 : 0);
        if (r == first + 7 && bad != 0) row[3] = bad;
        sae_acts_append(&b, row, r, (r - first) / PER_DOC, r % PER_DOC);
    }
    tn_err e = {0};
    if (!CHECK_INT(
            sae_acts_write(&b, path, TN_F32, "m", hook, docs, (size_t)(last - first) / PER_DOC, NULL, 0, &e),
            TN_OK))
        CHECK_STR(e.msg, "");
    free(docs);
    sae_acts_builder_free(&b);
}

#define HOOK "blocks.1.hook_resid_post"
static const char *const FILES[3] = {DIR "/data/a.safetensors", DIR "/data/b.safetensors",
                                     DIR "/data/c.safetensors"};
static const char *const WHOLE = DIR "/whole.safetensors";

static void prepare(void) {
    CHECK_INT(
        test_shell("rm -rf " DIR " && mkdir -p " DIR "/data " DIR "/empty", out, sizeof out, err, sizeof err),
        0);
    write_rows(FILES[0], 0, 1200, D, HOOK, 0);
    write_rows(FILES[1], 1200, 1210, D, HOOK, 0);
    write_rows(FILES[2], 1210, N, D, HOOK, 0);
    write_rows(WHOLE, 0, N, D, HOOK, 0);
}

/* A directory, the list of its files and the same rows in one file are the same source. */
static void several_files_are_one_source(void) {
    static const char *const dir[] = {DIR "/data"};
    const char *const *paths[3] = {dir, FILES, &WHOLE};
    const int counts[3] = {1, 3, 1};
    for (int i = 0; i < 3; i++) {
        sae_shards shards;
        tn_err e = {0};
        if (!CHECK_INT(sae_shards_open(&shards, paths[i], counts[i], &e), TN_OK)) {
            CHECK_STR(e.msg, "");
            continue;
        }
        const sae_source s = sae_shards_source(&shards);
        CHECK_INT(s.rows, N);
        CHECK_INT(s.docs, N / PER_DOC);
        CHECK_INT(s.context, PER_DOC);
        const uint32_t ids[6] = {0, 1199, 1200, 1209, 1210, N - 1};
        float rows[6 * D];
        unsigned char keep[6];
        CHECK_INT(s.read(s.ctx, ids, 6, rows, keep, &e), TN_OK);
        for (int k = 0; k < 6; k++) {
            CHECK_NEAR(rows[k * D] * 1000, ids[k], 0.01);
            CHECK_INT(keep[k], 1);
            CHECK_INT(s.doc(s.ctx, ids[k]), ids[k] / PER_DOC);
        }
        sae_shards_close(&shards);
    }
    sae_acts a;
    tn_err e = {0};
    if (!CHECK_INT(sae_acts_open(&a, DIR "/data", &e), TN_OK)) return;
    CHECK_INT(a.n, N);
    CHECK_INT(a.doc[1205], 120);
    CHECK_INT(a.tokens[N - 1], N - 1);
    CHECK_INT(a.n_docs, N / PER_DOC);
    sae_acts_close(&a);
}

static sae_fit_opts options(uint32_t buffer) {
    sae_fit_opts o = sae_fit_defaults();
    o.d_sae = 16;
    o.epochs = 2;
    o.train.batch = 50;
    o.buffer = buffer;
    return o;
}

/* One epoch's row numbers, by column 0. */
static void take_epoch(sae_fit_rows *r, int epoch, uint32_t from, uint32_t n, int *taken) {
    float x[D];
    uint32_t kept;
    CHECK_INT(sae_fit_rows_seek(r, epoch, from, NULL), TN_OK);
    for (uint32_t i = from; i < n; i++) {
        CHECK_INT(sae_fit_rows_next(r, 1, x, &kept, NULL), TN_OK);
        CHECK_INT(kept, 1);
        taken[i] = (int)lround((double)x[0] / r->scale * 1000);
    }
}

/* An epoch has every training row once, in an order that the buffer mixes, and can be entered anywhere. */
static void an_epoch_passes_through_the_buffer(void) {
    static int taken[N], again[N], seen[N];
    sae_shards shards;
    sae_fit_rows r;
    tn_err e = {0};
    if (!CHECK_INT(sae_shards_open(&shards, FILES, 3, &e), TN_OK)) return;
    const sae_source s = sae_shards_source(&shards);
    for (uint32_t buffer = 401; buffer <= N; buffer += N - 401) {
        sae_fit_opts o = options(buffer);
        if (!CHECK_INT(sae_fit_rows_new(&r, &s, &o, &e), TN_OK)) CHECK_STR(e.msg, "");
        uint32_t n = r.split.n_train, cap = r.buffer.cap;
        CHECK_INT(n + r.split.n_val, N);
        CHECK(cap + r.split.n_val <= buffer);
        CHECK_INT(r.split.n_val, buffer < N ? 50 : N / 10); /* an eighth of the buffer at most */
        take_epoch(&r, 1, 0, n, taken);
        memset(seen, 0, sizeof seen);
        for (uint32_t i = 0; i < n; i++) seen[taken[i]]++;
        for (uint32_t i = 0; i < r.split.n_val; i++) seen[r.split.val[i]]++;
        int once = 1, early = 0;
        for (int i = 0; i < N; i++) once &= seen[i] == 1;
        CHECK(once);
        /* Nothing comes before the buffer could have read it, and much comes later than in order. */
        for (uint32_t i = 0; i < n; i++) early += taken[i] > (int)(i + cap + r.split.n_val);
        CHECK_INT(early, 0);
        int late = 0;
        for (uint32_t i = 0; i < n; i++) late += taken[i] + (int)cap / 4 < (int)i;
        CHECK(late > (int)n / 10);
        for (uint32_t from = 0; from < n; from += 149) {
            take_epoch(&r, 1, from, n, again);
            CHECK(memcmp(taken + from, again + from, (n - from) * sizeof *taken) == 0);
        }
        take_epoch(&r, 0, 0, n, again);
        CHECK(memcmp(taken, again, n * sizeof *taken) != 0);
        sae_fit_rows_free(&r);
    }
    sae_shards_close(&shards);
}

#define TRAIN BUILD_DIR "/sae train "
#define OPTIONS " --width 24 --epochs 3 --batch 64 --checkpoint-every 7 --log-every 7 --l1 0.1 --no-scale"
#define SAME(a, b)                                                                                           \
    "for f in cfg.json sae_weights.safetensors train.csv trainer.safetensors; do "                           \
    "cmp " DIR "/" a "/$f " DIR "/" b "/$f || exit 1; done"

static void good(const char *command) {
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 0)) CHECK_STR(err, "");
}

static void bad(const char *command, const char *part) {
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 1)) CHECK_STR(command, "");
    CHECK_HAS(err, part);
    const char *newline = strchr(err, '\n');
    CHECK(newline && newline[1] == '\0');
}

/* One file, its parts and a directory train to the same bytes, with and without a buffer for all rows. */
static void files_do_not_matter(void) {
    good(TRAIN "-a " DIR "/whole.safetensors -o " DIR "/one --buffer 500 --threads 1" OPTIONS);
    CHECK_HAS(out, "silent on every measured row");
    good(TRAIN "-a " DIR "/data -o " DIR "/two --buffer 500 --threads 2" OPTIONS);
    good(TRAIN "-a " DIR "/data/a.safetensors -a " DIR "/data/b.safetensors -a " DIR
               "/data/c.safetensors -o " DIR "/three --buffer 500 --threads 3" OPTIONS);
    good(SAME("one", "two"));
    good(SAME("one", "three"));
    good(TRAIN "-a " DIR "/whole.safetensors -o " DIR "/all" OPTIONS);
    CHECK_HAS(out, "silent on every training row");
    good(TRAIN "-a " DIR "/data -o " DIR "/enough --buffer 3000" OPTIONS);
    good(SAME("all", "enough"));
    good("! cmp -s " DIR "/one/sae_weights.safetensors " DIR "/all/sae_weights.safetensors");
}

/* Killed after some checkpoint, which lies in the middle of an epoch and of the buffer. */
static void a_killed_run_resumes_in_the_middle_of_the_buffer(void) {
    good("mkdir -p " DIR "/killed; " TRAIN "-a " DIR "/data -o " DIR
         "/killed --buffer 500 --threads 1" OPTIONS " > /dev/null 2>&1 & p=$!; "
         "while kill -0 $p 2> /dev/null && ! test -e " DIR "/killed/trainer.safetensors; do :; done; "
         "kill -9 $p 2> /dev/null; wait $p 2> /dev/null; true");
    bad(TRAIN "-a " DIR "/data -o " DIR "/killed --buffer 600 --resume" OPTIONS, "other data or options");
    good(TRAIN "-a " DIR "/data -o " DIR "/killed --buffer 500 --resume --threads 2" OPTIONS);
    good(SAME("one", "killed"));
}

/* 32 MiB of rows through a buffer of 1 MiB. */
static void memory_is_bounded_by_the_buffer(void) {
    enum { WIDE = 64, ROWS = 16380, COPIES = 8 };
    char command[1024] = TRAIN;
    double peak = 0;
    write_rows(DIR "/wide.safetensors", 0, ROWS, WIDE, HOOK, 0);
    for (int i = 0; i < COPIES; i++) strcat(command, "-a " DIR "/wide.safetensors ");
    strcat(command, "--width 64 --epochs 1 --batch 256 --threads 1 -o " DIR "/wide --buffer 4096");
    good(command);
    const char *line = strstr(out, "memory ");
    if (!CHECK(line && sscanf(line, "memory %lf", &peak) == 1)) return;
#ifndef TN_SANITIZED /* which keeps what was freed */
    CHECK(peak > 1 && peak < 16);
#endif
}

static void errors_are_one_line(void) {
    write_rows(DIR "/narrow.safetensors", 0, 100, D - 1, HOOK, 0);
    write_rows(DIR "/other.safetensors", 0, 100, D, "blocks.2.hook_resid_post", 0);
    write_rows(DIR "/nan.safetensors", 0, 1000, D, HOOK, (float)NAN);
#define AFTER TRAIN "-o " DIR "/x --width 16 -a " DIR "/data -a " DIR
    bad(AFTER "/narrow.safetensors",
        "narrow.safetensors: rows of width 7, those of " DIR "/data/a.safetensors have 8");
    bad(AFTER "/other.safetensors", "other.safetensors: activations of blocks.2.hook_resid_post");
    bad(AFTER "/nan.safetensors", "nan.safetensors: activations: row 7 column 3 is");
    bad(AFTER "/nan.safetensors --buffer 2000", "nan.safetensors: activations: row 7 column 3 is");
    bad(AFTER "/empty", "empty: there is no activation file (*.safetensors) in it");
    bad(AFTER "/none.safetensors", "none.safetensors: No such file");
    good("head -c -9 " DIR "/data/c.safetensors > " DIR "/cut.safetensors");
    bad(AFTER "/cut.safetensors", "cut.safetensors: ");
    bad(AFTER "/data --buffer 100", "a buffer of 100 rows is too small for batches of 1024");
    bad(AFTER "/data --buffer 2000 --val-rows", "only of data that fits into the buffer");
    good("test ! -e " DIR "/x/cfg.json");
}

void test_stream(void) {
    RUN(prepare);
    RUN(several_files_are_one_source);
    RUN(an_epoch_passes_through_the_buffer);
    RUN(files_do_not_matter);
    RUN(a_killed_run_resumes_in_the_middle_of_the_buffer);
    RUN(memory_is_bounded_by_the_buffer);
    RUN(errors_are_one_line);
}
