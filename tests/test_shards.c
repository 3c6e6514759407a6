/* Activation files larger than memory: what training and analysis keep of them, and where they differ. */
#include "sae/acts.h"
#include "tensor/os.h"
#include "tensor/rng.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIR TEST_TMP "/shards"
enum { D = 64, PER_DOC = 500, ROWS = 100000 /* of a file: 27 MB */, FILES = 4 };

static char out[1 << 14], err[4096];

static void write_file(const char *path, int rows, uint64_t seed) {
    static float row[D];
    static sae_doc docs[ROWS / PER_DOC];
    sae_acts_builder b = {.d = D};
    tn_rng rng = tn_rng_seed(seed);
    for (int i = 0; i < rows; i++) {
        for (int k = 0; k < D; k++) row[k] = tn_rng_uniform(&rng) - 0.5f;
        sae_acts_append(&b, row, 0, i / PER_DOC, i % PER_DOC);
    }
    CHECK_INT(sae_acts_write(&b, path, TN_F32, "m", "blocks.1.hook_resid_post", docs, (size_t)rows / PER_DOC,
                             NULL, 0, NULL),
              TN_OK);
    sae_acts_builder_free(&b);
}

/* Megabytes that sae train says it used at the most, with a buffer of 4096 rows. */
static double memory_of(const char *acts) {
    char command[512];
    snprintf(command, sizeof command,
             BUILD_DIR "/sae train -a %s -o " DIR "/sae --arch topk --k 4 --width 1x --epochs 1 --batch 1024 "
                       "--buffer 4096 --threads 1",
             acts);
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 0)) CHECK_STR(err, "");
    const char *line = strstr(out, "\nmemory ");
    CHECK(line != NULL);
    return line ? strtod(line + strlen("\nmemory "), NULL) : 0;
}

/* 16 times the rows, 100 MB more, take no more memory than some pages around the rows that are read, as a
 * system maps more than the pages it was asked for. */
static void training_holds_the_buffer_only(void) {
    CHECK_INT(tn_make_dirs(DIR "/all", NULL), TN_OK);
    write_file(DIR "/small.safetensors", ROWS / 4, 9);
    for (int i = 0; i < FILES; i++) {
        char path[256];
        snprintf(path, sizeof path, DIR "/all/%d.safetensors", i);
        write_file(path, ROWS, (uint64_t)i);
    }
    double small = memory_of(DIR "/small.safetensors"), large = memory_of(DIR "/all");
    CHECK(small > 1);
    CHECK(large > 1);
#ifndef TN_SANITIZED /* which keeps what was freed */
    if (!CHECK(large < small + 24)) fprintf(stderr, "%g MB, then %g MB\n", small, large);
#endif
}

/* Opening for analysis copies the columns, 12 bytes a row, and reads the rows in passing. */
static void analysis_leaves_rows_in_their_files(void) {
    sae_acts a;
    tn_err e = {0};
    size_t before = tn_peak_memory();
    if (!CHECK_INT(sae_acts_open(&a, DIR "/all", &e), TN_OK)) return;
    CHECK_INT(a.n, FILES * ROWS);
    CHECK_INT(a.doc[a.n - 1], FILES * ROWS / PER_DOC - 1);
    CHECK(tn_peak_memory() - before < (size_t)FILES * ROWS * D * sizeof(float) / 4);
    sae_acts_close(&a);
}

void test_shards(void) {
    RUN(training_holds_the_buffer_only);
    RUN(analysis_leaves_rows_in_their_files);
    test_shell("rm -rf " DIR, NULL, 0, NULL, 0);
}
