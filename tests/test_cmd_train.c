/* sae train at the command line: what it writes, the same bytes for any number of threads and after a kill,
 * its error lines.
 */
#include "sae/acts.h"
#include "tensor/os.h"
#include "tensor/rng.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define DIR TEST_TMP "/cmd-train"
#define TRAIN BUILD_DIR "/sae train "
#define ACTS DIR "/acts.safetensors"
#define SMALL " --width 4x --epochs 6 --batch 32 --l1 0.3 --checkpoint-every 5"

enum { D = 24, ROWS = 400, DOCS = 20 };

static char out[1 << 16], err[4096];

/* Rows that are sparse sums of D fixed directions, in DOCS texts; `bad` replaces one number of row 7. */
static void write_acts(const char *path, float bad) {
    static float row[D];
    sae_acts_builder b = {.d = D};
    sae_doc docs[DOCS];
    tn_rng rng = tn_rng_seed(5);
    for (int i = 0; i < DOCS; i++) docs[i] = (sae_doc){.label = "car", .prompt = "p", .text = "t"};
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < D; k++) row[k] = 0.1f * tn_rng_normal(&rng);
        for (int j = 0; j < 3; j++) row[tn_rng_below(&rng, D)] += 2.0f + tn_rng_uniform(&rng);
        if (i == 7 && bad != 0) row[3] = bad;
        CHECK_INT(sae_acts_append(&b, row, i % 50, i * DOCS / ROWS, i), TN_OK);
    }
    tn_err e;
    CHECK_INT(sae_acts_write(&b, path, TN_F32, "tiny", "blocks.1.hook_resid_post", docs, DOCS, NULL, 0, &e),
              TN_OK);
    sae_acts_builder_free(&b);
}

static void good(const char *command) {
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 0)) CHECK_STR(err, "");
}

static void bad(const char *command, const char *part) {
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 1)) CHECK_STR(command, "");
    CHECK(strncmp(err, "sae: error: ", 12) == 0);
    CHECK_HAS(err, part);
    const char *newline = strchr(err, '\n');
    CHECK(newline && newline[1] == '\0');
}

static void prepare(void) {
    good("rm -rf " DIR " && mkdir -p " DIR);
    write_acts(ACTS, 0);
    good(TRAIN "-a " ACTS " -o " DIR "/one --threads 1" SMALL);
    CHECK_HAS(out, "24 -> 96 latents on blocks.1.hook_resid_post");
    CHECK_HAS(out, "validation");
    CHECK_HAS(out, "dead latents");
    good("cd " DIR "/one && test -s cfg.json -a -s loss.svg -a -s l1_mse.svg && head -1 train.csv");
    CHECK_HAS(out, "step,");
    CHECK_HAS(out, "val_mse");
}

#define SAME(a, b)                                                                                           \
    "for f in cfg.json sae_weights.safetensors train.csv trainer.safetensors loss.svg l1_mse.svg; do "       \
    "cmp " DIR "/" a "/$f " DIR "/" b "/$f || exit 1; done"

static void threads_do_not_matter(void) {
    good(TRAIN "-a " ACTS " -o " DIR "/three --threads 3" SMALL);
    good(SAME("one", "three"));
}

/* Every architecture: a kill, another number of threads, and the commands that use the SAE. */
static void other_architectures(void) {
    static const struct {
        const char *options, *saved_as;
    } archs[] = {
        {"--arch topk --k 4", "\"architecture\": \"topk\""},
        {"--arch topk --k 4 --free-decoder --aux 0.1", "\"rescale_acts_by_decoder_norm\": true"},
        {"--arch batchtopk --k 4.5", "\"training_architecture\": \"batchtopk\""},
        {"--arch matryoshka --k 4.5 --widths 10,30", "\"training_architecture\": \"matryoshka_batchtopk\""},
        {"--arch matryoshka --k 4", "\"matryoshka_widths\""},
        {"--arch jumprelu --target-l0 4 --threshold 0.1", "\"architecture\": \"jumprelu\""},
        {"--arch jumprelu --l0-penalty tanh --l0 0.5 --ste-to-input --bandwidth 1",
         "\"l0_penalty\": \"tanh\""},
        {"--arch jumprelu --convention dictionary_learning --lr 0.001", "\"apply_b_dec_to_input\": false"},
        {"--arch batchtopk --convention dictionary_learning --k 4",
         "\"convention\": \"dictionary_learning\""},
        {"--arch gated --convention dictionary_learning --l1 0.3", "\"clip\": 0"},
        {"--arch matryoshka --convention saelens --k 4", "\"unit_norm_decoder\": 0"},
        {"--arch gated --l1 0.3 --free-decoder", "\"architecture\": \"gated\""},
    };
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        char command[2048];
        snprintf(command, sizeof command,
                 "rm -rf " DIR "/a " DIR "/b; " TRAIN "-a " ACTS " -o " DIR
                 "/a --threads 1 --width 4x --epochs 6 "
                 "--batch 32 --checkpoint-every 5 %s && cat " DIR "/a/cfg.json",
                 archs[i].options);
        good(command);
        CHECK_HAS(out, archs[i].saved_as);
        snprintf(command, sizeof command,
                 "mkdir -p " DIR "/b; set -- --width 4x --epochs 6 --batch 32 --checkpoint-every 5 %s; " TRAIN
                 "-a " ACTS " -o " DIR "/b \"$@\" --threads 1 > /dev/null 2>&1 & p=$!; "
                 "while kill -0 $p 2> /dev/null && ! test -e " DIR "/b/trainer.safetensors; do :; done; "
                 "kill -9 $p 2> /dev/null; wait $p 2> /dev/null; " TRAIN "-a " ACTS " -o " DIR
                 "/b --width 4x --epochs 6 --batch 32 --checkpoint-every 5 %s "
                 "--resume --threads 3",
                 archs[i].options, archs[i].options);
        good(command);
        good(SAME("a", "b"));
        good(BUILD_DIR "/sae features -s " DIR "/a -a " ACTS " --label car --top 3");
    }
}

/* Killed after some checkpoint; where exactly is the machine's business, the outcome must not be. */
static void a_killed_run_resumes_to_the_same_bytes(void) {
    good("mkdir -p " DIR "/killed; " TRAIN "-a " ACTS " -o " DIR "/killed --threads 1" SMALL
         " > /dev/null 2>&1 & p=$!; "
         "while kill -0 $p 2> /dev/null && ! test -e " DIR "/killed/trainer.safetensors; do :; done; "
         "kill -9 $p 2> /dev/null; wait $p 2> /dev/null; true");
    good(TRAIN "-a " ACTS " -o " DIR "/killed --resume --threads 2" SMALL);
    good(SAME("one", "killed"));
}

static void errors_are_one_line(void) {
    bad(TRAIN "-a " DIR "/none.safetensors -o " DIR "/x", "none.safetensors: No such file or directory");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --width 0", "width");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --lr 0", "lr is 0");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --arch vanilla",
        "relu, topk, batchtopk, matryoshka, jumprelu or gated");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --arch topk --width 1x --k 25",
        "k is 25, it must be between 1 and the 24");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --arch batchtopk --width 1x --k 24.5",
        "k is 24.5, there are only 24 latents");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --arch topk --k 0", "k is 0");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --arch topk --k 1.5",
        "only batchtopk and matryoshka can take a fraction");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --arch matryoshka --widths 8,x", "--widths 8,x: expected");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --arch matryoshka --widths 9,8", "they must ascend");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --arch matryoshka --widths 8,999999", "they must ascend");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --arch topk --widths 8", "--widths does not go with --arch topk");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --convention torch",
        "--convention is saelens or dictionary_learning");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --arch topk --l1 2", "--l1 does not go with --arch topk");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --k 5", "--k does not go with --arch relu");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --arch gated --target-l0 5",
        "--target-l0 does not go with --arch gated");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --arch jumprelu --l0-penalty l1",
        "--l0-penalty is step, quadratic, tanh or mean");
    bad(TRAIN "-a " ACTS " -o " DIR "/x --arch jumprelu --l0-penalty tanh --target-l0 5",
        "goes with --l0-penalty quadratic");
    bad(TRAIN "-a " ACTS " -o " DIR "/one --resume --threads 1 --width 2x --epochs 6", "");
    good("head -c 5000 " ACTS " > " DIR "/cut.safetensors");
    bad(TRAIN "-a " DIR "/cut.safetensors -o " DIR "/x", "cut.safetensors: ");
    write_acts(DIR "/nan.safetensors", (float)NAN);
    bad(TRAIN "-a " DIR "/nan.safetensors -o " DIR "/x", "row 7");
    write_acts(DIR "/inf.safetensors", (float)INFINITY);
    bad(TRAIN "-a " DIR "/inf.safetensors -o " DIR "/x", "row 7");
    good("test ! -e " DIR "/x/cfg.json"); /* nothing bad was saved */
}

static void a_full_disk_leaves_no_sae(void) {
    bad("trap '' XFSZ; ulimit -f 8; " TRAIN "-a " ACTS " -o " DIR "/full --threads 1" SMALL, "full/");
    good("test ! -e " DIR "/full/cfg.json");
}

void test_cmd_train(void) {
    RUN(prepare);
    RUN(threads_do_not_matter);
    RUN(other_architectures);
    RUN(a_killed_run_resumes_to_the_same_bytes);
    RUN(errors_are_one_line);
    RUN(a_full_disk_leaves_no_sae);
}
