/* sae eval on a tiny model: its documents, its output, its error lines. */
#include "sae/acts.h"
#include "sae/sae.h"
#include "tensor/json.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MODEL "tests/golden/tiny-chat"
#define DIR TEST_TMP "/cmd-eval"
#define SAE_DIR DIR "/sae"
#define STORIES DIR "/stories.jsonl"
#define EVAL BUILD_DIR "/sae eval -m " MODEL " -s " SAE_DIR " "

static char out[1 << 14], err[4096];

static int good(const char *command) {
    int code = test_shell(command, out, sizeof out, err, sizeof err);
    if (!CHECK_INT(code, 0)) {
        CHECK_STR(command, "");
        CHECK_STR(err, "");
    }
    return code == 0;
}

/* A command that must fail, with `part` in its first and (for failures) only line. */
static void bad(const char *command, int exit_code, const char *part) {
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), exit_code)) CHECK_STR(command, "");
    CHECK_STR(out, "");
    CHECK_HAS(err, "sae: error: ");
    CHECK_HAS(err, part);
    const char *newline = strchr(err, '\n');
    if (exit_code == 1) CHECK(newline && newline[1] == '\0');
}

/* Writes [I, -I] and [I; -I] for the given width, at `hook`. */
static void write_identity(const char *dir, int d, const char *hook) {
    tn_err e = {0};
    sae_model s;
    sae_config cfg = {.d_in = d, .d_sae = 2 * d};
    snprintf(cfg.hook_name, sizeof cfg.hook_name, "%s", hook);
    if (!CHECK_INT(sae_new(&s, &cfg, &e), TN_OK)) return;
    for (int i = 0; i < d; i++) {
        s.w_enc[i * d + i] = s.w_dec[i * d + i] = 1;
        s.w_enc[(d + i) * d + i] = s.w_dec[(d + i) * d + i] = -1;
    }
    CHECK_INT(sae_save_dir(&s, dir, NULL, &e), TN_OK);
    sae_free(&s);
}

static void prepare(void) {
    good("rm -rf " DIR " && mkdir -p " DIR);
    write_identity(SAE_DIR, 32, "blocks.1.hook_resid_post");
    good("echo '{\"prompt\": \"a car\", \"label\": \"car\", \"tokens\": [5, 6, 7, 8], \"text\": \"\"}\n"
         "{\"prompt\": \"a bus\", \"label\": \"bus\", \"text\": \"It was a bus.\"}\n"
         "{\"prompt\": \"a tram\", \"tokens\": [], \"text\": \"\"}' > " STORIES);
}

static double number(const char *key) {
    tn_json root;
    double v = NAN;
    if (!CHECK_INT(tn_json_parse(&root, out, strlen(out), NULL), TN_OK)) return v;
    tn_json_f64(tn_json_get(root, key), &v);
    return v;
}

static void numbers_of_stories(void) {
    good(EVAL "--prompts " STORIES " --json");
    CHECK_HAS(out, "\"hook_name\": \"blocks.1.hook_resid_post\"");
    CHECK_HAS(out, "\"positions\": \"generated\"");
    CHECK_NEAR(number("n_docs"), 2, 0); /* the third has no generated token */
    double rows = number("n_tokens");
    CHECK_NEAR(number("n_targets"), rows - 2, 0);
    CHECK_NEAR(number("l0"), 32, 0);
    CHECK_NEAR(number("mse"), 0, 0);
    CHECK_NEAR(number("fve"), 1, 0);
    CHECK_NEAR(number("cosine"), 1, 1e-12);
    CHECK_NEAR(number("l2_ratio"), 1, 1e-12);
    CHECK_NEAR(number("dead") + number("alive"), 64, 0);
    CHECK_NEAR(number("ce_difference"), 0, 0);
    CHECK_NEAR(number("loss_recovered"), 1, 0);
    CHECK_NEAR(number("loss_recovered_mean"), 1, 0);
    CHECK_NEAR(number("kl"), 0, 0);
    CHECK(number("ce_sae") == number("ce_original") && number("ce_zero") != number("ce_mean"));
    CHECK(number("l1") > 0);

    good(EVAL "--prompts " STORIES " --json --limit 1");
    CHECK_NEAR(number("n_tokens"), 4, 0);
    good(EVAL "--prompts " STORIES " --json --limit 1 --positions all");
    double all = number("n_tokens");
    good(EVAL "--prompts " STORIES " --json --limit 1 --positions all --skip-first");
    CHECK_NEAR(number("n_tokens"), all - 1, 0);
    good(EVAL "--prompts " STORIES " --json --limit 1 --positions prompt");
    CHECK_NEAR(number("n_tokens"), all - 4, 0);
    CHECK_NEAR(number("n_targets"), all - 4, 0); /* its last row predicts the first generated token */
    good(EVAL "--prompts " STORIES);
    CHECK_HAS(out, "SAELens 6.54");
    CHECK_HAS(out, "generated positions");
}

static void windows_of_a_text(void) {
    good(EVAL "--text tests/golden/prose.txt --ctx 20 --limit 3 --json --threads 2");
    CHECK_HAS(out, "\"positions\": \"all\"");
    CHECK_NEAR(number("n_tokens"), 60, 0);
    CHECK_NEAR(number("n_targets"), 57, 0);
    static char one[sizeof out];
    memcpy(one, out, sizeof out);
    good(EVAL "--text tests/golden/prose.txt --ctx 20 --limit 3 --json --threads 1");
    CHECK_STR(out, one);
    good("printf 'a b' > " DIR "/short.txt && " EVAL "--text " DIR "/short.txt --json");
    CHECK_NEAR(number("n_docs"), 1, 0);
    bad(EVAL "--text " DIR "/short.txt --skip-first", 1, "none of the rows predicts a token");
}

/* A number of element i of the array `list`. */
static double number_of(const char *list, int i, const char *key) {
    tn_json root, at, value;
    double v = NAN;
    if (!CHECK_INT(tn_json_parse(&root, out, strlen(out), NULL), TN_OK)) return v;
    tn_json_iter it = tn_json_each(tn_json_get(root, list));
    for (int k = 0; k <= i; k++)
        if (!CHECK(tn_json_next(&it, &at, &value))) return v;
    tn_json_f64(tn_json_get(value, key), &v);
    return v;
}

static void labels_and_positions(void) {
    good(EVAL "--prompts " STORIES " --json --by label --by position");
    CHECK_HAS(out, "\"label\": \"bus\"");
    double rows = number("n_tokens"), ce = number("ce_zero"), bus = number_of("by_label", 1, "n_tokens");
    CHECK_NEAR(number_of("by_label", 0, "n_tokens"), 4, 0);
    CHECK_NEAR(bus, rows - 4, 0);
    CHECK_NEAR(number_of("by_label", 2, "n_tokens"), 0, 0); /* the tram's story has no tokens, and no label */
    CHECK(isnan(number_of("by_label", 2, "fve")) && isnan(number_of("by_label", 2, "ce_original")));
    CHECK_NEAR((3 * number_of("by_label", 0, "ce_zero") + (bus - 1) * number_of("by_label", 1, "ce_zero")),
               ce * (rows - 2), 1e-9);
    CHECK_NEAR(number_of("by_position", 0, "first"), 32, 0);
    CHECK_NEAR(number_of("by_position", 0, "last"), 63, 0);
    CHECK_NEAR(number_of("by_position", 0, "ce_zero"), ce, 0);
    good(EVAL "--text tests/golden/prose.txt --ctx 20 --limit 3 --json --by position");
    CHECK_NEAR(number_of("by_position", 0, "n_tokens"), 3, 0);
    CHECK_NEAR(number_of("by_position", 2, "n_tokens"), 6, 0);  /* positions 2 and 3 of three windows */
    CHECK_NEAR(number_of("by_position", 5, "n_tokens"), 12, 0); /* 16 to 19 */
    CHECK_NEAR(number_of("by_position", 5, "n_targets"), 9, 0); /* the last predicts nothing */
    good(EVAL "--prompts " STORIES " --by label");
    CHECK_HAS(out, "by label");
    CHECK_HAS(out, "(none)");
    good("grep -v tram " STORIES " | sed 's/, \"label\": \"[a-z]*\"//' > " DIR "/unlabelled.jsonl");
    bad(EVAL "--prompts " DIR "/unlabelled.jsonl --by label", 1, "unlabelled.jsonl: no document has a label");
    bad(EVAL "--text tests/golden/prose.txt --by label", 2, "--text has no labels");
    bad(EVAL "--prompts " STORIES " --by tokens", 2, "--by is label or position");
}

/* The rows that `sae capture` wrote give the numbers that the model's own rows give. */
static void activations_alone(void) {
    static const char *const same[] = {
        "n_tokens", "l0",    "l1",       "mse",        "fve",         "explained_variance_legacy",
        "cosine",   "alive", "l2_ratio", "l2_norm_in", "l2_norm_out", "relative_reconstruction_bias"};
    enum { SAME = sizeof same / sizeof *same };
    double model[SAME], bus;
    good(BUILD_DIR "/sae capture -m " MODEL " --layer 1 --prompts " STORIES " -o " DIR "/acts.safetensors");
    good(EVAL "--prompts " STORIES " --json --by label");
    for (int i = 0; i < SAME; i++) model[i] = number(same[i]);
    bus = number_of("by_label", 1, "l1");
    good(BUILD_DIR "/sae eval -s " SAE_DIR " --acts " DIR "/acts.safetensors --json --by label --threads 2");
    for (int i = 0; i < SAME; i++) CHECK_NEAR(number(same[i]), model[i], 0);
    CHECK_NEAR(number_of("by_label", 1, "l1"), bus, 0);
    CHECK(isnan(number("ce_original")));
    good(BUILD_DIR "/sae eval -s " SAE_DIR " --acts " DIR "/acts.safetensors --limit 1 --encoder q8");
    CHECK_HAS(out, "1 documents, 4 rows of");
    CHECK_HAS(out, "latents by the share of rows");
    bad(BUILD_DIR "/sae eval -s " SAE_DIR " --acts " DIR "/acts.safetensors -m " MODEL, 2,
        "--acts needs no model");
    bad(BUILD_DIR "/sae eval -s " SAE_DIR " --prompts " STORIES, 2, "-m DIR is missing");
    bad(BUILD_DIR "/sae eval -s " SAE_DIR " --acts " DIR "/nothing.safetensors", 1, "No such file");
    write_identity(DIR "/wide", 48, "blocks.1.hook_resid_post");
    bad(BUILD_DIR "/sae eval -s " DIR "/wide --acts " DIR "/acts.safetensors", 1,
        "acts.safetensors: SAE of width 48 does not fit activations of width 32");
    write_identity(DIR "/deep", 32, "blocks.2.hook_resid_post");
    bad(BUILD_DIR "/sae eval -s " DIR "/deep --acts " DIR "/acts.safetensors", 1,
        "activations of blocks.1.hook_resid_post, the SAE was trained on blocks.2.hook_resid_post");
    sae_acts_builder none = {.d = 32};
    sae_doc doc = {"car", "", ""};
    CHECK_INT(sae_acts_write(&none, DIR "/empty.safetensors", TN_F32, "", "", &doc, 1, NULL, 0, NULL), TN_OK);
    bad(BUILD_DIR "/sae eval -s " SAE_DIR " --acts " DIR "/empty.safetensors", 1, "no row was selected");
}

/* A document that fills the context: the last token is predicted, but never fed. */
static void full_contexts(void) {
    good("rm -rf " DIR "/short && cp -r " MODEL " " DIR "/short && chmod -R u+w " DIR "/short && sed "
         "'s/\"max_position_embeddings\": [0-9]*/\"max_position_embeddings\": 8/' " MODEL
         "/config.json > " DIR
         "/short/config.json && echo '{\"prompt\": \"a\", \"tokens\": [1,2,3,4,5,6,7,8]}'"
         " > " DIR "/full.jsonl && echo '{\"prompt\": \"a\", \"tokens\": [1,2,3,4,5,6,7,8,9]}' > " DIR
         "/over.jsonl");
    good(BUILD_DIR "/sae eval --raw -m " DIR "/short -s " SAE_DIR " --json --prompts " DIR "/full.jsonl");
    CHECK_NEAR(number("n_tokens"), 7, 0);
    CHECK_NEAR(number("n_targets"), 7, 0);
    bad(BUILD_DIR "/sae eval --raw -m " DIR "/short -s " SAE_DIR " --json --prompts " DIR "/over.jsonl", 1,
        "over.jsonl: line 1: 10 tokens do not fit in the model's context of 8");
}

static void errors_are_one_line(void) {
    bad(EVAL, 2, "give one of --prompts STORIES.jsonl, --text FILE, --acts FILE");
    bad(EVAL "--prompts a --text b", 2, "give one of");
    bad(EVAL "--prompts " STORIES " --positions some", 2, "--positions is generated, prompt or all");
    bad(EVAL "--text " STORIES " --positions generated", 2, "--text has no prompt");
    bad(EVAL "--prompts " STORIES " --ctx 4", 2, "--ctx goes with --text");
    bad(EVAL "--text " STORIES " --ctx 1", 2, "--ctx must be at least 2");
    bad(EVAL "--prompts " STORIES " --limit -1", 2, "--limit must be at least 1");
    bad(EVAL "--text " STORIES " --ctx 300", 1, "windows of 300 tokens do not fit in the model's context");
    bad(EVAL "--prompts " DIR "/none.jsonl", 1, "none.jsonl: No such file");
    bad(": > " DIR "/empty; " EVAL "--prompts " DIR "/empty", 1, "empty: there is no prompt");
    bad(EVAL "--text " DIR "/empty", 1, "empty: fewer than two tokens");
    bad("echo '{\"prompt\": \"a\"}' > " DIR "/bare.jsonl; " EVAL "--prompts " DIR "/bare.jsonl", 1,
        "bare.jsonl: line 1: only a prompt, expected a story");
    bad("tail -n 1 " STORIES " > " DIR "/none.jsonl; " EVAL "--prompts " DIR "/none.jsonl", 1,
        "none.jsonl: no position was selected");
    bad("echo '{\"prompt\": \"a\", \"tokens\": [1, 99999]}' > " DIR "/id.jsonl; " EVAL "--prompts " DIR
        "/id.jsonl",
        1, "id.jsonl: line 1: token id 99999 is out of range");
    bad(EVAL "--prompts " STORIES " > /dev/full", 1, "No space left");
    write_identity(DIR "/wide", 48, "blocks.1.hook_resid_post");
    bad(BUILD_DIR "/sae eval -m " MODEL " -s " DIR "/wide --prompts " STORIES, 1,
        "wide: SAE of width 48 does not fit the model's 32");
    write_identity(DIR "/deep", 32, "blocks.7.hook_resid_post");
    bad(BUILD_DIR "/sae eval -m " MODEL " -s " DIR "/deep --prompts " STORIES, 1,
        "deep: layer 7 is out of range: the model has layers 0 to 2");
    write_identity(DIR "/nowhere", 32, "somewhere");
    bad(BUILD_DIR "/sae eval -m " MODEL " -s " DIR "/nowhere --prompts " STORIES, 1,
        "hook_name \"somewhere\" names no place");
}

void test_cmd_eval(void) {
    RUN(prepare);
    RUN(numbers_of_stories);
    RUN(windows_of_a_text);
    RUN(labels_and_positions);
    RUN(activations_alone);
    RUN(full_contexts);
    RUN(errors_are_one_line);
}
