/* What goes wrong for users of `sae`, for every architecture: exit 1, one clear line on stderr, and no file
 * with a number in it that is none.
 */
#include "sae/acts.h"
#include "sae/sae.h"
#include "tensor/dtype.h"
#include "tensor/os.h"
#include "tensor/rng.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL "tests/golden/tiny-chat"
#define DIR TEST_TMP "/sae-errors"
#define NAN_MODEL DIR "/nan-model"
#define SAE BUILD_DIR "/sae "
#define HOOK "blocks.1.hook_resid_post"

enum { D = 32, ROWS = 120 };

static const char *const archs[] = {
    "relu", "topk --k 4", "batchtopk --k 4", "matryoshka --k 4", "jumprelu --target-l0 4", "gated"};
enum { ARCHS = sizeof archs / sizeof *archs };

static char out[1 << 14], err[4096];

static void good(const char *command) {
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 0)) CHECK_STR(err, command);
}

/* `sae` with a formatted command, which must fail with `part` in its only line. */
static void bad(const char *part, const char *format, const char *a, const char *b) {
    char command[1024] = SAE;
    snprintf(command + strlen(command), sizeof command - strlen(command), format, a, b);
    int ok = CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 1);
    ok &= CHECK(strncmp(err, "sae: error: ", 12) == 0) & CHECK_HAS(err, part);
    const char *newline = strchr(err, '\n');
    ok &= CHECK(newline && newline[1] == '\0');
    if (!ok) printf("  %s\n", command);
}

/* ---- Files ---- */

typedef enum { SOUND, WITH_NAN, WITH_INFINITY, ALL_EQUAL, NO_ROWS, NO_LABELS, HALF_LABELLED } contents;

static void write_acts(const char *name, contents what, int d, const char *hook) {
    sae_acts_builder b = {.d = d};
    sae_doc docs[3] = {{"car", "", ""}, {"bus", "", ""}, {"tram", "", ""}};
    tn_rng rng = tn_rng_seed(3);
    char path[256];
    tn_err e;
    for (int i = 0; i < 3; i++)
        if (what == NO_LABELS || (what == HALF_LABELLED && i == 1)) docs[i].label = "";
    for (int row = 0; row < ROWS && what != NO_ROWS; row++) {
        float x[2 * D];
        for (int k = 0; k < d; k++) x[k] = what == ALL_EQUAL ? 1.5f : tn_rng_normal(&rng);
        if (row == 7 && what == WITH_NAN) x[3] = NAN;
        if (row == 7 && what == WITH_INFINITY) x[3] = -INFINITY;
        CHECK_INT(sae_acts_append(&b, x, row % 50, row < ROWS / 2 ? 0 : 1, row % 60), TN_OK);
    }
    snprintf(path, sizeof path, DIR "/%s.safetensors", name);
    CHECK_INT(sae_acts_write(&b, path, TN_F32, "tiny", hook, docs, 3, NULL, 0, &e), TN_OK);
    sae_acts_builder_free(&b);
}

/* A copy of the model with a NaN among the weights of block 1. */
static void break_model(void) {
    tn_safetensors *file;
    const tn_tensor *t;
    tn_map map;
    tn_err e;
    good("cp -r " MODEL " " NAN_MODEL " && chmod -R u+w " NAN_MODEL);
    CHECK_INT(tn_st_open_file(&file, MODEL "/model.safetensors", &e), TN_OK);
    CHECK_INT(tn_map_file(&map, MODEL "/model.safetensors", &e), TN_OK);
    unsigned char *bytes = malloc(map.size);
    memcpy(bytes, map.data, map.size);
    const unsigned char *first = tn_st_at(file, 0)->data;
    for (size_t i = 1; i < tn_st_count(file); i++)
        if ((const unsigned char *)tn_st_at(file, i)->data < first) first = tn_st_at(file, i)->data;
    t = tn_st_find(file, "model.layers.1.mlp.down_proj.weight");
    if (CHECK(t != NULL && t->dtype == TN_BF16)) {
        unsigned char *number = bytes + 8 + tn_load_u64(bytes) + ((const unsigned char *)t->data - first);
        number[0] = 0xc0, number[1] = 0x7f;
    }
    CHECK_INT(tn_write_file(NAN_MODEL "/model.safetensors", bytes, map.size, &e), TN_OK);
    free(bytes);
    tn_unmap_file(&map);
    tn_st_close(file);
}

static void prepare(void) {
    good("rm -rf " DIR " && mkdir -p " DIR);
    write_acts("sound", SOUND, D, HOOK);
    write_acts("nan", WITH_NAN, D, HOOK);
    write_acts("infinity", WITH_INFINITY, D, HOOK);
    write_acts("equal", ALL_EQUAL, D, HOOK);
    write_acts("none", NO_ROWS, D, HOOK);
    write_acts("unlabelled", NO_LABELS, D, HOOK);
    write_acts("half", HALF_LABELLED, D, HOOK);
    write_acts("wide", SOUND, D + 16, HOOK);
    write_acts("elsewhere", SOUND, D, "blocks.2.hook_resid_post");
    write_acts("deep", SOUND, D, "blocks.9.hook_resid_post");
    good(": > " DIR
         "/void.safetensors; echo '{\"prompt\": \"a car\", \"label\": \"car\", \"tokens\": [5, 6, 7]}' > " DIR
         "/stories.jsonl");
    for (int i = 0; i < ARCHS; i++) {
        char command[512];
        snprintf(command, sizeof command,
                 SAE "train -a " DIR "/sound.safetensors -o " DIR
                     "/sae%d --width 2x --epochs 1 --batch 16 --arch %s",
                 i, archs[i]);
        good(command);
    }
    good(SAE "train -a " DIR "/wide.safetensors -o " DIR "/sae-wide --width 2x --epochs 1 --batch 16");
    good(SAE "train -a " DIR "/deep.safetensors -o " DIR "/sae-deep --width 2x --epochs 1 --batch 16");
    break_model();
}

/* ---- Commands ---- */

static void training(void) {
    static const struct {
        const char *acts, *part;
    } cases[] = {{"nan", "nan.safetensors: activations: row 7 column 3 is nan"},
                 {"infinity", "infinity.safetensors: activations: row 7 column 3 is -inf"},
                 {"equal", "equal.safetensors: all 60 training rows are equal: there is nothing to learn"},
                 {"none", "none.safetensors: 0 rows of activations"},
                 {"void", "void.safetensors: 0 bytes are too few"}};
    for (int i = 0; i < ARCHS; i++) {
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
            bad(cases[k].part, "train -a " DIR "/%s.safetensors -o " DIR "/never --arch %s", cases[k].acts,
                archs[i]);
        bad("--width 0", "train -a " DIR "/sound.safetensors -o " DIR "/never --width 0 --arch %s%s",
            archs[i], "");
        bad("--width 0x", "train -a " DIR "/sound.safetensors -o " DIR "/never --width 0x --arch %s%s",
            archs[i], "");
    }
    static const char *const ranked[] = {"topk", "batchtopk", "matryoshka"};
    for (int i = 0; i < 3; i++)
        bad("k is 65, ", "train -a " DIR "/sound.safetensors -o " DIR "/never --width 2x --k 65 --arch %s%s",
            ranked[i], "");
    bad("the target of L0 is 65, there are only 64 latents",
        "train -a " DIR "/sound.safetensors -o " DIR "/never --width 2x --arch jumprelu --target-l0 65%s%s",
        "", "");
    CHECK(!tn_file_exists(DIR "/never/cfg.json") && !tn_file_exists(DIR "/never/sae_weights.safetensors"));
}

/* On activations: sae eval --acts and sae features. */
static void measuring(void) {
    static const struct {
        const char *acts, *eval, *features;
    } cases[] = {{"nan", "nan.safetensors: activations: row 7 column 3 is nan", "row 7 column 3 is nan"},
                 {"infinity", "row 7 column 3 is -inf", "row 7 column 3 is -inf"},
                 {"none", "none.safetensors: no row was selected", "no document with a label has a row"},
                 {"void", "void.safetensors: 0 bytes", "void.safetensors: 0 bytes"},
                 {"unlabelled", "unlabelled.safetensors: no document has a label",
                  "no document with a label has a row"},
                 {"wide", "wide.safetensors: SAE of width 32 does not fit activations of width 48",
                  "wide.safetensors: SAE of width 32 does not fit activations of width 48"},
                 {"elsewhere", "activations of blocks.2.hook_resid_post, the SAE was trained on " HOOK,
                  "activations of blocks.2.hook_resid_post, the SAE was trained on " HOOK}};
    for (int i = 0; i < ARCHS; i++) {
        char sae[256];
        snprintf(sae, sizeof sae, DIR "/sae%d", i);
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            bad(cases[k].eval, "eval -s %s --by label --acts " DIR "/%s.safetensors", sae, cases[k].acts);
            bad(cases[k].features, "features --all -s %s -a " DIR "/%s.safetensors", sae, cases[k].acts);
        }
    }
    bad("half.safetensors has no document labelled \"bus\"",
        "features -s " DIR "/sae0 -a " DIR "/%s --label %s", "half.safetensors", "bus");
    bad("the documents labelled \"tram\" have no row", "features -s " DIR "/sae0 -a " DIR "/%s --label %s",
        "half.safetensors", "tram");
    CHECK_INT(test_shell(SAE "features -s " DIR "/sae0 -a " DIR "/half.safetensors --label ''", out,
                         sizeof out, err, sizeof err),
              2);
    CHECK_HAS(err, "--label is empty");
}

/* Rows that are all equal have no variance: there is nothing to explain, and no number is made up. */
static void no_variance(void) {
    for (int i = 0; i < ARCHS; i++) {
        char command[256];
        snprintf(command, sizeof command, SAE "eval --json -s " DIR "/sae%d --acts " DIR "/equal.safetensors",
                 i);
        good(command);
        CHECK_HAS(out, "\"fve\": 0,");
        CHECK_HAS(out, "\"explained_variance_legacy\": 0,");
        CHECK(!strstr(out, "nan") && !strstr(out, "inf"));
    }
}

/* A model whose rows become NaN, and SAEs that belong to another. */
static void in_a_model(void) {
    bad("stories.jsonl: line 1: the activation at position",
        "capture -m %s --layer 1 --prompts " DIR "/stories.jsonl --positions all -o %s", NAN_MODEL,
        DIR "/never.safetensors");
    CHECK(!tn_file_exists(DIR "/never.safetensors"));
    bad("layer 9 is out of range", "capture -m %s --layer 9 --prompts " DIR "/stories.jsonl -o %s", MODEL,
        DIR "/never.safetensors");
    good(": > " DIR "/empty.jsonl");
    bad("empty.jsonl: there is no prompt", "capture -m %s --layer 1 --prompts " DIR "/empty.jsonl -o %s",
        MODEL, DIR "/never.safetensors");
    for (int i = 0; i < ARCHS; i++) {
        char sae[256];
        snprintf(sae, sizeof sae, DIR "/sae%d", i);
        bad("not finite", "eval -m %s -s %s --prompts " DIR "/stories.jsonl", NAN_MODEL, sae);
        bad("not finite", "steer -m %s -s %s -p 'a car' -n 3", NAN_MODEL, sae);
        bad("makes rows that are not finite, or too large",
            "steer -m %s -s %s -p 'a car' -n 3 --op 'all += 3e38'", MODEL, sae);
        bad("makes rows that are not finite, or too large",
            "steer -m %s -s %s -p 'a car' -n 3 --keep-error --op 'all += 3e38'", MODEL, sae);
    }
    bad("sae-wide: SAE of width 48 does not fit the model's 32",
        "eval -m %s -s " DIR "/sae-wide --prompts %s", MODEL, DIR "/stories.jsonl");
    bad("SAE of width 48 does not fit the model's 32", "steer -m %s -s %s -p a", MODEL, DIR "/sae-wide");
    bad("layer 9 is out of range", "eval -m %s -s " DIR "/sae-deep --prompts %s", MODEL,
        DIR "/stories.jsonl");
    bad("layer 9 is out of range", "steer -m %s -s %s -p a", MODEL, DIR "/sae-deep");
}

/* cfg.json says what the weights are not. */
static void configurations(void) {
    static const struct {
        const char *edit, *part;
        int arch;
    } cases[] = {{"s/\"d_sae\": 64/\"d_sae\": 0/", "d_sae", 0},
                 {"s/\"d_in\": 32/\"d_in\": 0/", "d_in", 0},
                 {"s/\"d_sae\": 64/\"d_sae\": 65/", "W_enc", 0},
                 {"s/\"d_in\": 32/\"d_in\": -1/", "d_in", 0},
                 {"s/\"k\": 4/\"k\": 65/", "\"k\" is 65, expected 1 to d_sae", 1},
                 {"s/\"k\": 4/\"k\": 0/", "\"k\" is 0, expected", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char command[512];
        snprintf(command, sizeof command,
                 "rm -rf " DIR "/odd && cp -r " DIR "/sae%d " DIR "/odd && sed -i.bak '%s' " DIR
                 "/odd/cfg.json",
                 cases[i].arch, cases[i].edit);
        good(command);
        bad(cases[i].part, "eval -s %s --acts %s", DIR "/odd", DIR "/sound.safetensors");
    }
    bad("No such file or directory", "eval -s %s --acts %s", DIR "/no-sae", DIR "/sound.safetensors");
    good("rm -rf " DIR "/odd && cp -r " DIR "/sae0 " DIR "/odd && : > " DIR "/odd/cfg.json");
    bad("cfg.json", "features --all -s %s -a %s", DIR "/odd", DIR "/sound.safetensors");
}

void test_cmd_sae_errors(void) {
    RUN(prepare);
    RUN(training);
    RUN(measuring);
    RUN(no_variance);
    RUN(in_a_model);
    RUN(configurations);
}
