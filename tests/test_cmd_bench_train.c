/* `sae bench-train` as a user meets it, and --screen, which changes no byte of what is trained. */
#include "sae/acts.h"
#include "tensor/json.h"
#include "tensor/rng.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIR TEST_TMP "/bench-train"
#define ACTS DIR "/acts.safetensors"
#define BENCH BUILD_DIR "/sae bench-train -a " ACTS " --width 4 --batch 32 --steps 2 --threads 1 "
#define TRAIN BUILD_DIR "/sae train -a " ACTS " --width 4x --epochs 2 --batch 32 --threads 1 "

enum { D = 64, ROWS = 200, DOCS = 20 };

static char out[1 << 14], err[4096];

static int good(const char *command) {
    if (CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 0)) return 1;
    CHECK_STR(err, command);
    return 0;
}

static void bad(const char *command, int code, const char *part) {
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), code)) CHECK_STR(command, "");
    CHECK_HAS(err, part);
}

static void write_acts(const char *path, int rows) {
    static float row[D];
    static sae_doc docs[DOCS];
    sae_acts_builder b = {.d = D};
    tn_rng rng = tn_rng_seed(5);
    for (int i = 0; i < rows; i++) {
        for (int k = 0; k < D; k++) row[k] = tn_rng_normal(&rng);
        CHECK_INT(sae_acts_append(&b, row, 0, i * DOCS / ROWS, i), TN_OK);
    }
    CHECK_INT(sae_acts_write(&b, path, TN_F32, "m", "blocks.1.hook_resid_post", docs, DOCS, NULL, 0, NULL),
              TN_OK);
    sae_acts_builder_free(&b);
}

static void prepare(void) {
    good("rm -rf " DIR " && mkdir -p " DIR);
    write_acts(ACTS, ROWS);
    write_acts(DIR "/none.safetensors", 0);
}

/* A number of the JSON line that the command printed. */
static double figure(const char *key) {
    tn_json root;
    double v = -1;
    if (CHECK_INT(tn_json_parse(&root, out, strlen(out), NULL), TN_OK))
        CHECK(tn_json_f64(tn_json_get(root, key), &v));
    return v;
}

static void every_architecture_is_timed(void) {
    static const char *const archs[] = {"relu", "topk", "batchtopk", "matryoshka", "jumprelu", "gated"};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        char command[512];
        snprintf(command, sizeof command, BENCH "--arch %s --k 8", archs[i]);
        if (!good(command)) continue;
        double rate = figure("tok_s");
        CHECK(rate > 0 && figure("least") <= rate && rate <= figure("most"));
        CHECK(figure("l0") > 0);
        CHECK_INT((int)figure("d_in"), D);
        CHECK_INT((int)figure("d_sae"), 4 * D);
        CHECK_INT((int)figure("steps"), 2);
        if (strcmp(archs[i], "topk") == 0) CHECK_NEAR(figure("l0"), 8, 0);
    }
}

/* The same latents fire whichever way they are found. */
static void encoders_agree(void) {
    static const char *const exact[] = {"f32", "screen"};
    double l0[2] = {0, 1};
    for (int i = 0; i < 2; i++) {
        char command[512];
        snprintf(command, sizeof command, BENCH "--arch topk --k 8 --encoder %s", exact[i]);
        if (good(command)) l0[i] = figure("l0");
    }
    CHECK_NEAR(l0[0], l0[1], 0);
    good(BENCH "--arch relu --encoder bf16");
    good(BENCH "--arch relu --encoder q8");
}

static void screening_changes_no_byte(void) {
    static const char *const archs[] = {"relu", "topk --k 4", "batchtopk --k 4", "jumprelu"};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        char command[1024];
        snprintf(command, sizeof command,
                 "for m in on off auto; do " TRAIN "--arch %s --screen $m -o " DIR "/$m || exit 1; done; "
                 "for f in cfg.json sae_weights.safetensors train.csv; do cmp " DIR "/on/$f " DIR
                 "/off/$f && cmp " DIR "/auto/$f " DIR "/off/$f || exit 1; done",
                 archs[i]);
        good(command);
    }
}

static void errors_are_told(void) {
    bad(BENCH "--arch tropk", 1, "there is no architecture \"tropk\"");
    bad(BENCH "--screen maybe", 1, "--screen is auto, on or off, not \"maybe\"");
    bad(BENCH "--encoder f64", 1, "f64");
    bad(BENCH "--k 9999", 1, "9999");
    bad(BENCH "--steps 0", 2, "--steps is 1 to");
    bad(BENCH "--width 2000", 2, "--width 1 to 1024");
    bad(BUILD_DIR "/sae bench-train -a " DIR "/missing", 1, "missing");
    bad(BUILD_DIR "/sae bench-train -a " DIR "/none.safetensors", 1, "none.safetensors: 0 rows");
    bad(TRAIN "-o " DIR "/x --screen maybe", 1, "--screen is auto, on or off, not \"maybe\"");
}

void test_cmd_bench_train(void) {
    RUN(prepare);
    RUN(every_architecture_is_timed);
    RUN(encoders_agree);
    RUN(screening_changes_no_byte);
    RUN(errors_are_told);
}
