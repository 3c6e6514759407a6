/* The sae command end to end on a tiny model, its error lines, and the experiment's script. */
#include "sae/acts.h"
#include "sae/sae.h"
#include "tensor/os.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL "tests/golden/tiny-chat"
#define SAE BUILD_DIR "/sae "
#define DIR TEST_TMP "/cmd-sae"
#define PROMPTS DIR "/prompts.jsonl"
#define SAE_DIR DIR "/sae15" /* trained on layer 1; the name means nothing */

static char out[1 << 20], err[4096];

/* Runs a command that must succeed. */
static int good(const char *command) {
    int code = test_shell(command, out, sizeof out, err, sizeof err);
    if (!CHECK_INT(code, 0)) {
        CHECK_STR(command, "");
        CHECK_STR(err, "");
    }
    return code == 0;
}

/* Runs a command that must fail with `exit_code`, and whose first and (for failures) only line says `part`.
 */
static void bad(const char *command, int exit_code, const char *part) {
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), exit_code)) CHECK_STR(command, "");
    CHECK_HAS(err, "sae: error: ");
    CHECK_HAS(err, part);
    const char *newline = strchr(err, '\n');
    if (exit_code == 1) CHECK(newline && newline[1] == '\0'); /* usage errors have a second line */
}

/* Prompts, their activations at two layers, and a small SAE: made once, used by all cases. */
static void prepare(void) {
    good("rm -rf " DIR " && mkdir -p " DIR);
    FILE *f = fopen(PROMPTS, "w");
    if (!CHECK(f != NULL)) return;
    static const char *const labels[] = {"car", "bus", "fire truck"};
    for (int i = 0; i < 9; i++)
        fprintf(f, "{\"prompt\": \"Tell %d \\\"things\\\" about a %s\", \"label\": \"%s\", \"extra\": [1]}\n",
                i, labels[i % 3], labels[i % 3]);
    fclose(f);
    good(SAE "capture -m " MODEL " --layer 1 --prompts " PROMPTS " -o " DIR
             "/acts.safetensors -n 12 --threads 1");
    CHECK_HAS(out, "blocks.1.hook_resid_post, width 32, from 9 prompts");
    good(SAE "train -a " DIR "/acts.safetensors -o " SAE_DIR
             " --width 4x --epochs 5 --batch 16 --l1 0.1 --threads 1");
}

static void stories_replay_to_the_same_bits(void) {
    good(BUILD_DIR "/qwen generate -m " MODEL " --jsonl " PROMPTS " -o " DIR
                   "/stories.jsonl -n 12 --threads 1");
    good(SAE "capture -m " MODEL " --layer 0 --layer 1 --prompts " DIR "/stories.jsonl -o " DIR
             "/replay.safetensors");
    sae_acts live, replay;
    tn_err e = {0};
    if (!CHECK_INT(sae_acts_open(&live, DIR "/acts.safetensors", &e), TN_OK)) return;
    if (CHECK_INT(sae_acts_open(&replay, DIR "/replay-L1.safetensors", &e), TN_OK)) {
        CHECK_INT(replay.n, live.n);
        CHECK_INT(live.n_docs, 9);
        CHECK(live.n > 9 && live.n <= 9 * 12);
        CHECK(memcmp(live.files.at[0].rows, replay.files.at[0].rows,
                     live.n * (size_t)live.d * sizeof(float)) == 0);
        CHECK(memcmp(live.tokens, replay.tokens, live.n * sizeof(int32_t)) == 0);
        CHECK(memcmp(live.pos, replay.pos, live.n * sizeof(int32_t)) == 0);
        CHECK(memcmp(live.doc, replay.doc, live.n * sizeof(int32_t)) == 0);
        CHECK_STR(replay.hook_name, "blocks.1.hook_resid_post");
        CHECK_STR(replay.docs[2].label, "fire truck");
        CHECK_STR(replay.docs[2].prompt, "Tell 2 \"things\" about a fire truck");
        CHECK_STR(replay.docs[2].text, live.docs[2].text);
        sae_acts_close(&replay);
    }
    CHECK(tn_file_exists(DIR "/replay-L0.safetensors"));
    sae_acts_close(&live);
}

/* Documents keep their order and every byte, however many are under way, whether written here or replayed. */
static void captures_do_not_depend_on_the_batch(void) {
    static const char *const positions[] = {"generated", "all", "prompt"};
    good(BUILD_DIR "/qwen generate -m " MODEL " --jsonl " PROMPTS " -o " DIR "/known.jsonl -n 5 --temp 2");
    good("(head -n 3 " DIR "/known.jsonl; cat " PROMPTS "; tail -n 2 " DIR "/known.jsonl) > " DIR
         "/mixed.jsonl");
    for (int i = 0; i < 3; i++)
        for (int batch = 1; batch <= 4; batch++) {
            char line[700];
            snprintf(line, sizeof line,
                     SAE
                     "capture -m " MODEL " --layer 2 --layer 0 --prompts " DIR "/mixed.jsonl -o " DIR
                     "/batch%d-{layer}.safetensors -n 9 --temp 1.5 --positions %s --batch %d --threads %d",
                     batch, positions[i], batch, batch);
            good(line);
            snprintf(line, sizeof line,
                     "cmp " DIR "/batch1-0.safetensors " DIR "/batch%d-0.safetensors && cmp " DIR
                     "/batch1-2.safetensors " DIR "/batch%d-2.safetensors",
                     batch, batch);
            good(line);
        }
}

static void capture_options(void) {
    sae_acts a;
    tn_err e = {0};
    good(SAE "capture -m " MODEL " --layer 2 --prompts " PROMPTS " -o " DIR
             "/p{layer}.safetensors --positions prompt"
             " --dtype bf16 --site mlp_out --raw");
    if (!CHECK_INT(sae_acts_open(&a, DIR "/p2.safetensors", &e), TN_OK)) return;
    CHECK_STR(a.hook_name, "blocks.2.hook_mlp_out");
    CHECK_INT(a.files.at[0].dtype, TN_BF16);
    CHECK_INT(a.pos[0], 0);
    sae_acts_close(&a);
}

/* An answer that fills the context ends with a token that was never fed back: replay leaves it out too. */
static void full_contexts_replay(void) {
    good("rm -rf " DIR "/short && cp -r " MODEL " " DIR "/short && chmod -R u+w " DIR "/short && sed "
         "'s/\"max_position_embeddings\": [0-9]*/\"max_position_embeddings\": 40/' " MODEL
         "/config.json > " DIR "/short/config.json && echo '{\"prompt\": \"a\"}' > " DIR "/a.jsonl");
    good(BUILD_DIR "/qwen generate --raw -n 100 -m " DIR "/short --jsonl " DIR "/a.jsonl -o " DIR
                   "/full.jsonl");
    good(SAE "capture --raw -m " DIR "/short --layer 1 --prompts " DIR "/full.jsonl -o " DIR
             "/full-replay.safetensors");
    CHECK_HAS(out, ": 39 rows of");
    good(SAE "steer --raw -m " DIR "/short -s " SAE_DIR " -p a -n 100 --trace " DIR
             "/full-trace.safetensors");
}

static void features_of_a_label(void) {
    good(SAE "features -s " SAE_DIR " -a " DIR "/acts.safetensors -m " MODEL " --label 'fire truck' --top 4");
    CHECK_HAS(out, "AUROC");
    CHECK_HAS(out, "fire truck");
    CHECK_HAS(out, "[");
    good(SAE "features -s " SAE_DIR " -a " DIR "/acts.safetensors --label car --top 3 --ids");
    int ids[3];
    CHECK_INT(sscanf(out, "%d,%d,%d", &ids[0], &ids[1], &ids[2]), 3);
    CHECK(strspn(out, "0123456789,\n") == strlen(out));
    good(SAE "features -s " SAE_DIR " -a " DIR "/acts.safetensors --all --by auroc --json --heatmap " DIR
             "/h.svg --bars " DIR "/b.svg");
    tn_json root;
    tn_err e = {0};
    CHECK_INT(tn_json_parse(&root, out, strlen(out), &e), TN_OK);
    CHECK_INT(tn_json_count(tn_json_get(root, "labels")), 3);
    good("grep -q '<svg' " DIR "/h.svg && grep -q 'fire truck' " DIR "/h.svg && grep -q '<svg' " DIR
         "/b.svg");
    good(SAE "features -s " SAE_DIR " -a " DIR "/acts.safetensors --all --ids --top 2");
    CHECK_HAS(out, "fire truck\t");
}

/* Prompts of other words: the same labels but for "fire truck". */
static void features_held_out(void) {
    good("sed -e 's/Tell/Say/' -e '/fire truck/d' " PROMPTS " > " DIR "/other.jsonl");
    good(SAE "capture -m " MODEL " --layer 1 --prompts " DIR "/other.jsonl -o " DIR
             "/other.safetensors -n 12 --threads 1");
#define FEATURES                                                                                             \
    SAE "features -s " SAE_DIR " -a " DIR "/acts.safetensors --held-out " DIR "/other.safetensors "
    good(FEATURES "--all");
    CHECK_HAS(out, "label            feature  AUROC held out   mean in");
    CHECK_HAS(strstr(out, "\nfire truck") ? strstr(out, "\nfire truck") : "", "        -    ");
    CHECK_HAS(out, " of 3 labels has AUROC >= 0.95 on " DIR "/acts.safetensors, ");
    CHECK_HAS(out, " of 2 on " DIR "/other.safetensors\n");
    good(FEATURES "--all --json");
    tn_json root, key, value;
    tn_err e = {0};
    CHECK_INT(tn_json_parse(&root, out, strlen(out), &e), TN_OK);
    for (tn_json_iter it = tn_json_each(tn_json_get(root, "labels")); tn_json_next(&it, &key, &value);) {
        tn_json feature;
        tn_json_iter features = tn_json_each(tn_json_get(value, "features"));
        if (!CHECK(tn_json_next(&features, &key, &feature))) continue;
        int missing = tn_json_is(tn_json_get(value, "label"), "fire truck");
        CHECK_INT(tn_json_get(feature, "auroc_held_out").kind, missing ? TN_JSON_NULL : TN_JSON_NUMBER);
    }
    good(SAE "capture -m " MODEL " --layer 2 --prompts " PROMPTS " -o " DIR "/l2.safetensors -n 2");
    bad(SAE "features -s " SAE_DIR " -a " DIR "/acts.safetensors --all --held-out " DIR "/l2.safetensors", 1,
        "l2.safetensors: activations of blocks.2.hook_resid_post, but the features are ranked on those of "
        "blocks.1.hook_resid_post");
    sae_acts_builder wide = {.d = 33};
    float row[33] = {0};
    sae_doc doc = {"car", "", ""};
    CHECK_INT(sae_acts_append(&wide, row, 0, 0, 0), TN_OK);
    CHECK_INT(sae_acts_write(&wide, DIR "/wide.safetensors", TN_F32, "tiny", "blocks.1.hook_resid_post", &doc,
                             1, NULL, 0, &e),
              TN_OK);
    sae_acts_builder_free(&wide);
    bad(SAE "features -s " SAE_DIR " -a " DIR "/acts.safetensors --all --held-out " DIR "/wide.safetensors",
        1, "wide.safetensors: SAE of width 32 does not fit activations of width 33");
}

static void steer_answers(void) {
    good(SAE "steer -m " MODEL " -s " SAE_DIR
             " -p 'a car?' --set car=1,2 --op 'same: all *= 1' --op 'car += 3'"
             " --keep-error -n 8 --json -o " DIR "/answers.jsonl");
    tn_json root, key, value;
    tn_err e = {0};
    CHECK_INT(tn_json_parse(&root, out, strlen(out), &e), TN_OK);
    CHECK(tn_json_is(tn_json_get(root, "prompt"), "a car?"));
    tn_json texts[8], answers = tn_json_get(root, "answers");
    static const char *const names[] = {"original", "SAE only", "same", "edited"};
    size_t n = 0;
    for (tn_json_iter it = tn_json_each(answers); tn_json_next(&it, &key, &value) && n < 4; n++) {
        CHECK(tn_json_is(tn_json_get(value, "name"), names[n]));
        texts[n] = tn_json_get(value, "tokens");
        CHECK(tn_json_count(texts[n]) <= 8);
    }
    CHECK_INT(n, 4);
    /* an edit that changes nothing, with the error term kept, answers as the model does */
    CHECK(texts[0].len == texts[2].len && memcmp(texts[0].text, texts[2].text, texts[0].len) == 0);
    good("grep -c answers " DIR "/answers.jsonl");
    CHECK_STR(out, "1\n");

    good(SAE "steer -m " MODEL " -s " SAE_DIR " --prompts " PROMPTS " --op 'half: all *= 0.5' -n 4");
    CHECK_HAS(out, "## Tell 8 \"things\" about a fire truck\n\n### original\n");
    CHECK_HAS(out, "### SAE only\n");
    CHECK_HAS(out, "### half\n\n`all *= 0.5`\n");
    good(SAE "steer -m " MODEL " -s " SAE_DIR " -p hi --feature-direction 3 --alpha 2 -n 4 --trace " DIR
             "/t.safetensors");
    CHECK_HAS(out, "### direction");
    good(SAE "steer -m " MODEL " --direction " SAE_DIR
             "/sae_weights.safetensors:W_dec:7 --layer 0 -p hi -n 4");
    CHECK_HAS(out, "### direction");
}

static void errors_are_one_line(void) {
    bad(SAE "capture -m " MODEL " --layer 3 --prompts " PROMPTS " -o " DIR "/x.safetensors", 1,
        "layer 3 is out of range: the model has layers 0 to 2");
    bad(SAE "capture -m " MODEL " --layer x --prompts " PROMPTS " -o " DIR "/x.safetensors", 2,
        "is no layer");
    bad(SAE "capture -m " MODEL " --layer 1 --prompts " DIR "/none.jsonl -o " DIR "/x.safetensors", 1,
        "none.jsonl: No such file");
    bad(SAE "capture -m " DIR "/none --layer 1 --prompts " PROMPTS " -o " DIR "/x.safetensors", 1,
        "No such file");
    bad("echo '{\"prompt\": 3}' > " DIR "/bad.jsonl; " SAE "capture -m " MODEL " --layer 1 --prompts " DIR
        "/bad.jsonl -o " DIR "/x.safetensors",
        1, "bad.jsonl: line 1: ");
    bad("echo '{\"prompt\": \"a\", \"tokens\": [1, 99999], \"text\": \"\"}' > " DIR "/bad.jsonl; " SAE
        "capture -m " MODEL " --layer 1 --prompts " DIR "/bad.jsonl -o " DIR "/x.safetensors",
        1, "bad.jsonl: line 1: ");
    bad("head -c 5000 /dev/zero | tr '\\0' 'q' | sed 's/.*/{\"prompt\": \"&\"}/' > " DIR "/long.jsonl; " SAE
        "capture -m " MODEL " --layer 1 --prompts " DIR "/long.jsonl -o " DIR "/x.safetensors",
        1, "long.jsonl: line 1: ");
    bad(SAE "capture -m " MODEL " --layer 1 --prompts " PROMPTS " -n 2 -o /dev/full", 1,
        "No space left on device");
    CHECK(!tn_file_exists(DIR "/x.safetensors"));

    bad(SAE "features -s " SAE_DIR " -a " DIR "/acts.safetensors --label spaceship", 1,
        "labelled \"spaceship\"");
    bad(SAE "features -s " SAE_DIR " -a " DIR "/acts.safetensors", 2, "--label NAME or --all");
    bad(SAE "features -s " SAE_DIR " -a " DIR "/acts.safetensors --all --json > /dev/full", 1,
        "No space left");
    bad("head -c 900 " DIR "/acts.safetensors > " DIR "/cut.safetensors; " SAE "features -s " SAE_DIR
        " -a " DIR "/cut.safetensors --all",
        1, "cut.safetensors: ");
    bad("cp -r " SAE_DIR " " DIR "/cut && head -c 2000 " SAE_DIR "/sae_weights.safetensors > " DIR
        "/cut/sae_weights.safetensors; " SAE "features -s " DIR "/cut -a " DIR "/acts.safetensors --all",
        1, "sae_weights.safetensors");

    bad(SAE "steer -m " MODEL " -s " SAE_DIR " -p a --op '12 ** 3'", 1, "--op: \"12 ** 3\": expected one of");
    bad(SAE "steer -m " MODEL " -s " SAE_DIR " -p a --op 'bus += 1'", 1, "no set of features called bus");
    bad(SAE "steer -m " MODEL " -s " SAE_DIR " -p a --op '128 = 1'", 1, "feature 128 is out of range");
    bad(SAE "steer -m " MODEL " -s " SAE_DIR " -p a --op '1@2 = 1'", 1, "no SAE is given for layer 2");
    bad(SAE "steer -m " MODEL " -s " SAE_DIR " -p a --op '1 = 1' --op '2 = 2'", 1,
        "two answers are called \"edited\"");
    bad(SAE "steer -m " MODEL " -s " SAE_DIR " -p a --set scale=3 --op 'scale *= 0'", 1,
        "--set: a set cannot be called \"scale\"");
    bad(SAE "steer -m " MODEL " -s " SAE_DIR " -p a --set 7up=3", 1, "--set: a set cannot be called");
    bad(SAE "steer -m " MODEL " -s " SAE_DIR " -p a --op '2147483647 ablate'", 1,
        "2147483647 is out of range");
    bad(SAE "steer -m " MODEL " -s " SAE_DIR " -p a --set car", 1, "--set: \"car\" is not NAME=");
    bad(SAE "steer -m " MODEL " -s " SAE_DIR " -p a -n 2 -o /dev/full", 1, "No space left on device");
    bad(SAE "steer -m " MODEL " -p a", 2, "give an SAE with -s, or a --direction");
    bad(SAE "steer -m " MODEL " -s " SAE_DIR, 2, "-p TEXT or --prompts");
    bad(SAE "steer -m " MODEL " --direction " SAE_DIR "/sae_weights.safetensors --layer 0 -p a", 1,
        "holds 4 tensors");
    bad(SAE "steer -m " MODEL " --direction " SAE_DIR "/sae_weights.safetensors:b_enc --layer 0 -p a", 1,
        "no vector of width 32");
    bad(SAE "steer -m " MODEL " --direction " SAE_DIR "/sae_weights.safetensors:W_dec:128 --layer 0 -p a", 1,
        "has rows 0 to 127");
    bad(SAE "steer -m " MODEL " --direction " SAE_DIR "/sae_weights.safetensors:W_dec:1 --layer 9 -p a", 1,
        "layer 9 is out of range");
}

static void bench_counts_what_an_sae_costs(void) {
    good(SAE "bench -m " MODEL " -s " SAE_DIR " -n 2 --repeats 2 --encoder bf16 --json");
    CHECK_HAS(out, "\"plain_tok_s\": ");
    CHECK_HAS(out, "\"encoder\": \"bf16\"");
    CHECK_HAS(out, "\"d_sae\": 128");
    good(SAE "bench -m " MODEL " -s " SAE_DIR " -n 2 --repeats 1");
    CHECK_HAS(out, "32 -> 128, f32 encoder");
    bad(SAE "bench -m " MODEL " -s " SAE_DIR " -n 0", 2, "-n must be at least 1");
    bad(SAE "bench -m " MODEL " -s " SAE_DIR " --encoder f8", 1,
        "the encoder can be f32, screen, bf16 or q8, not \"f8\"");
    bad(SAE "bench -m " MODEL " -s " SAE_DIR " -n 100000", 1, "context");
}

/* An SAE of another width, and one of a layer the model has not. */
static void an_sae_must_fit_the_model(void) {
    tn_err e = {0};
    sae_model s;
    sae_config cfg = {.d_in = 48, .d_sae = 4, .hook_name = "blocks.1.hook_resid_post"};
    CHECK_INT(sae_new(&s, &cfg, &e), TN_OK);
    CHECK_INT(sae_save_dir(&s, DIR "/wide", NULL, &e), TN_OK);
    sae_free(&s);
    bad(SAE "steer -m " MODEL " -s " DIR "/wide -p a", 1, "SAE of width 48 does not fit the model's 32");
    bad(SAE "features -s " DIR "/wide -a " DIR "/acts.safetensors --all", 1,
        "SAE of width 48 does not fit activations");
    cfg = (sae_config){.d_in = 32, .d_sae = 4, .hook_name = "blocks.7.hook_resid_post"};
    CHECK_INT(sae_new(&s, &cfg, &e), TN_OK);
    CHECK_INT(sae_save_dir(&s, DIR "/deep", NULL, &e), TN_OK);
    sae_free(&s);
    bad(SAE "steer -m " MODEL " -s " DIR "/deep -p a", 1,
        "layer 7 is out of range: the model has layers 0 to 2");
}

#define EXPERIMENT                                                                                           \
    "BIN=" BUILD_DIR " PROMPTS=" PROMPTS " HELDOUT=" PROMPTS " PRACTICE=" PROMPTS " QUESTIONS=" PROMPTS      \
    " CASES=" DIR "/cases.jsonl N_NEW=8 TEMP=0 N_ANSWER=4 WIDTH=2x EPOCHS=1 BATCH=8 TOP=2 "                  \
    "sh experiments/transportation/run.sh " MODEL " " DIR "/run"

static void the_experiment_continues_where_it_stopped(void) {
    static const char cases[] =
        "{\"prompt\": \"Is the car bigger?\", \"label\": \"car\", \"other\": \"bus\"}\n";
    tn_err e = {0};
    CHECK_INT(tn_write_file(DIR "/cases.jsonl", cases, strlen(cases), &e), TN_OK);
    good(EXPERIMENT " 1");
    CHECK_HAS(out, "generate -m");
    CHECK_HAS(out, "loss recovered");
    CHECK_HAS(out, "best feature of");
    CHECK_HAS(out, "### SAE only");
    CHECK_HAS(out, "1 cases, generated positions");
    CHECK_HAS(out, "s  report.html");
    good("cat " DIR "/run/answers.md");
    CHECK_HAS(out, "### original");
    CHECK_HAS(out, "### bus features\n\n`all *= 0.5; bus += ");
    good("cd " DIR
         "/run && test -s stories.jsonl -a -s acts.safetensors -a -s sae/train.csv -a -s sae/loss.svg"
         " -a -s sae/l1_mse.svg -a -s features.json -a -s features.svg -a -s active.svg -a -s answers.jsonl"
         " -a -s eval.json -a -s control.jsonl -a -s control.json -a -s heldout.safetensors -a -s "
         "report.html");
    good("rm " DIR "/run/answers.md");
    good(EXPERIMENT " 1");
    CHECK(strstr(out, "generate -m") == NULL && strstr(out, "train -a") == NULL);
    CHECK_HAS(out, "= " DIR "/run/stories.jsonl is there");
    CHECK_HAS(out, "steer -m");
    CHECK(test_shell("sh experiments/transportation/run.sh " MODEL, out, sizeof out, err, sizeof err) == 2);
    CHECK(test_shell("sh experiments/transportation/run.sh " DIR " " DIR "/r2", out, sizeof out, err,
                     sizeof err) == 1);
    CHECK_HAS(err, "config.json: No such file");
}

void test_cmd_sae(void) {
    RUN(prepare);
    RUN(stories_replay_to_the_same_bits);
    RUN(captures_do_not_depend_on_the_batch);
    RUN(capture_options);
    RUN(full_contexts_replay);
    RUN(features_of_a_label);
    RUN(features_held_out);
    RUN(steer_answers);
    RUN(errors_are_one_line);
    RUN(bench_counts_what_an_sae_costs);
    RUN(an_sae_must_fit_the_model);
    RUN(the_experiment_continues_where_it_stopped);
}
