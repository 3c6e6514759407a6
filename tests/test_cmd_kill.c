/* sae train killed at any moment: with --resume it ends with the bytes of a run that was left alone, and
 * leaves nothing else behind.
 */
#include "sae/acts.h"
#include "tensor/os.h"
#include "tensor/rng.h"
#include "tests/test.h"

#include <stdio.h>

#define DIR TEST_TMP "/cmd-kill"
#define ACTS DIR "/acts.safetensors"

enum { D = 16, ROWS = 600, DOCS = 20, KILLS = 50 };

/* Rows that are sparse sums of D fixed directions, in DOCS texts. */
static void prepare(void) {
    sae_acts_builder b = {.d = D};
    sae_doc docs[DOCS];
    tn_rng rng = tn_rng_seed(9);
    for (int i = 0; i < DOCS; i++) docs[i] = (sae_doc){.label = "car", .prompt = "p", .text = "t"};
    for (int i = 0; i < ROWS; i++) {
        float row[D];
        for (int k = 0; k < D; k++) row[k] = 0.1f * tn_rng_normal(&rng);
        for (int j = 0; j < 3; j++) row[tn_rng_below(&rng, D)] += 2.0f + tn_rng_uniform(&rng);
        CHECK_INT(sae_acts_append(&b, row, i % 50, i * DOCS / ROWS, i), TN_OK);
    }
    tn_err e;
    test_shell("rm -rf " DIR " && mkdir -p " DIR, NULL, 0, NULL, 0);
    CHECK_INT(sae_acts_write(&b, ACTS, TN_F32, "tiny", "blocks.1.hook_resid_post", docs, DOCS, NULL, 0, &e),
              TN_OK);
    sae_acts_builder_free(&b);
}

/* Starts the run, kills it after a random time, starts it again … KILLS times, with one to three threads. A
 * run that ends before it is killed is compared and begun anew, so that kills fall everywhere from the first
 * millisecond to the last. */
static void kill_at_random_times(const char *options, int seed) {
    char command[2048], out[1024], err[4096];
    snprintf(command, sizeof command,
             BUILD_DIR "/sae train -a " ACTS " -o " DIR
                       "/calm --width 4x --epochs 10 --batch 32 --log-every 20 "
                       "--checkpoint-every 20 --threads 1 %s",
             options);
    double start = tn_now();
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 0)) CHECK_STR(err, "");
    int most = (int)(600 * (tn_now() - start)) + 10; /* milliseconds until a kill: some runs see several */
    snprintf(
        command, sizeof command,
        "s=%d; kills=0; ends=0; while test $kills -lt %d -o $ends -lt 1; do s=$(( (s * 1103515245 + 12345) & "
        "2147483647 )); r=$(( s >> 16 )); " BUILD_DIR "/sae train -a " ACTS " -o " DIR
        "/hurt --width 4x --epochs 10 --batch 32 --log-every 20 --checkpoint-every 20 --threads $(( r %% 3 + "
        "1 "
        ")) --resume %s > /dev/null 2> " DIR "/error & p=$!; sleep $(printf 0.%%03d $(( r %% %d ))); "
        "test $kills -lt %d && kill -9 $p; wait $p; code=$?; "
        "if test $code = 137; then kills=$(( kills + 1 )); elif test $code = 0; then ends=$(( ends + 1 )); "
        "diff -r " DIR "/calm " DIR "/hurt || exit 1; rm -rf " DIR "/hurt; "
        "else cat " DIR "/error; exit 1; fi; done; echo $kills",
        seed, KILLS, options, most < 999 ? most : 999, KILLS);
    if (!CHECK_INT(test_shell(command, out, sizeof out, NULL, 0), 0)) CHECK_STR(command, "");
    CHECK_STR(out, "50\n");
    test_shell("rm -rf " DIR "/calm " DIR "/hurt", NULL, 0, NULL, 0);
}

static void relu(void) {
    kill_at_random_times("--arch relu --l1 0.3", 1);
}

static void batchtopk(void) {
    kill_at_random_times("--arch batchtopk --k 4", 2);
}

void test_cmd_kill(void) {
    RUN(prepare);
    RUN(relu);
    RUN(batchtopk);
}
