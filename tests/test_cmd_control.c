/* `sae control` end to end on a tiny model: SAEs made by hand whose features force an answer, the same texts
 * as `sae steer`, and the error lines. */
#include "qwen/qwen.h"
#include "sae/sae.h"
#include "tensor/json.h"
#include "tensor/os.h"
#include "tensor/rng.h"
#include "tests/test.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL "tests/golden/tiny-chat"
#define SAE BUILD_DIR "/sae "
#define DIR TEST_TMP "/cmd-control"
#define D 32
#define F 40

static char out[1 << 16], err[4096];

static int good(const char *command) {
    int code = test_shell(command, out, sizeof out, err, sizeof err);
    if (!CHECK_INT(code, 0)) CHECK_STR(err, command);
    return code == 0;
}

/* Runs `sae control` with `options` after the model; it must fail with one line that says `part`. */
static void bad(const char *options, int exit_code, const char *part) {
    char command[1024];
    snprintf(command, sizeof command, SAE "control -m " MODEL " %s", options);
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), exit_code)) CHECK_STR(command, "");
    CHECK_HAS(err, "sae: error: ");
    CHECK_HAS(err, part);
    const char *newline = strchr(err, '\n');
    if (exit_code == 1) CHECK(newline && newline[1] == '\0'); /* usage errors have a second line */
}

static void write_text(const char *path, const char *text) {
    tn_err e;
    CHECK_INT(tn_write_file(path, text, strlen(text), &e), TN_OK);
}

/* ---- Two SAEs ---- */

/* Row t of the head, made F32. */
static void head_row(const qwen_model *m, size_t t, float *row) {
    tn_mat head = qwen_model_head(m);
    const char *bytes = head.data;
    CHECK_INT(tn_to_f32(row, bytes + t * D * tn_dtype_size(head.dtype), head.dtype, D), TN_OK);
}

static float dot(const float *a, const float *b) {
    float sum = 0;
    for (int i = 0; i < D; i++) sum += a[i] * b[i];
    return sum;
}

/* The residual after the last layer that makes token t the likeliest, when it does: 1. */
static int direction_of(const qwen_model *m, size_t t, float *v) {
    float want[D], row[D];
    head_row(m, t, want);
    for (int i = 0; i < D; i++) v[i] = want[i] / qwen_model_final_norm(m)[i];
    for (size_t k = 0; k < (size_t)qwen_model_config(m)->vocab; k++) {
        head_row(m, k, row);
        if (k != t && dot(row, want) > 0.9f * dot(want, want)) return 0;
    }
    return 1;
}

static char letter[3]; /* what features 0, 1 and 2 of DIR/forced make the model say */

/* Encodes to nothing, and decodes features 0, 1, 2 to a residual that is answered with a letter. */
static void make_forced(void) {
    qwen_model *m;
    tok_model *tok;
    sae_model s;
    tn_err e = {0};
    sae_config cfg = {.d_in = D, .d_sae = F, .hook_name = "blocks.2.hook_resid_post"};
    if (!CHECK_INT(qwen_open_dir(&m, MODEL, &e), TN_OK)) return;
    CHECK_INT(tok_open_dir(&tok, MODEL, &e), TN_OK);
    CHECK_INT(sae_new(&s, &cfg, &e), TN_OK);
    size_t found = 0;
    for (char c = 'a'; c <= 'z' && found < 3; c++) {
        tok_ids ids = TOK_IDS_INIT;
        CHECK_INT(tok_encode(tok, &c, 1, 0, &ids, &e), TN_OK);
        if (ids.len == 1 && direction_of(m, (size_t)ids.data[0], s.w_dec + found * D)) letter[found++] = c;
        tok_ids_free(&ids);
    }
    CHECK_INT(found, 3);
    memset(s.w_dec + 3 * D, 0, (F - 3) * D * sizeof *s.w_dec);
    CHECK_INT(sae_save_dir(&s, DIR "/forced", NULL, &e), TN_OK);
    sae_free(&s);
    tok_close(tok);
    qwen_close(m);
}

/* An SAE of random numbers, in the middle of the model. */
static void make_random(void) {
    sae_model s;
    tn_err e = {0};
    sae_config cfg = {.d_in = D, .d_sae = F, .hook_name = "blocks.1.hook_resid_post"};
    CHECK_INT(sae_new(&s, &cfg, &e), TN_OK);
    tn_rng r = tn_rng_seed(5);
    for (int i = 0; i < D * F; i++) {
        s.w_enc[i] = tn_rng_normal(&r);
        s.w_dec[i] = 0.2f * tn_rng_normal(&r);
    }
    CHECK_INT(sae_save_dir(&s, DIR "/random", NULL, &e), TN_OK);
    sae_free(&s);
}

static void prepare(void) {
    good("rm -rf " DIR " && mkdir -p " DIR);
    make_forced();
    make_random();
    write_text(
        DIR "/cases.jsonl",
        "{\"prompt\": \"Which is bigger?\", \"label\": \"car\", \"other\": \"fire truck\", \"expected\": "
        "[1]}\n\n"
        "{\"prompt\": \"And \\\"faster\\\"?\", \"label\": \"fire truck\", \"other\": \"bus\"}\n");
    write_text(DIR "/features.ids", "car\t1,2,9\nbus\t30,4\nfire truck\t20,3,11,5\n");
}

/* ---- Good runs ---- */

/* ways[index].key of the JSON in `out`. */
static int way_count(int index, const char *key) {
    tn_json root, name, way;
    tn_err e = {0};
    int64_t value = -1;
    if (!CHECK_INT(tn_json_parse(&root, out, strlen(out), &e), TN_OK)) return -1;
    tn_json_iter ways = tn_json_each(tn_json_get(root, "ways"));
    for (int i = 0; tn_json_next(&ways, &name, &way); i++)
        if (i == index) CHECK(tn_json_i64(tn_json_get(way, key), &value));
    return (int)value;
}

static void check_way(int index, int moved, int target, int other, int third, int none) {
    CHECK_INT(way_count(index, "moved"), moved);
    CHECK_INT(way_count(index, "target"), target);
    CHECK_INT(way_count(index, "other"), other);
    CHECK_INT(way_count(index, "third"), third);
    CHECK_INT(way_count(index, "none"), none);
}

/* With every position replaced the one token of the answer is what the features say. The labels are letters:
 * x says x, y says y, z's feature says nothing at all, and w's says y. */
static void forced_answers_are_counted(void) {
    char x = letter[0], y = letter[1], z = letter[2], text[512];
    snprintf(text, sizeof text, "%c\t0\n%c\t1,7\n%c\t8\nw w\t1\n", x, y, z);
    write_text(DIR "/forced.ids", text);
    snprintf(text, sizeof text,
             "{\"prompt\": \"One?\", \"label\": \"%c\", \"other\": \"%c\"}\n"    /* moves; other: OTHER */
             "{\"prompt\": \"Two?\", \"label\": \"%c\", \"other\": \"w w\"}\n"   /* moves; other: TARGET */
             "{\"prompt\": \"Three?\", \"label\": \"%c\", \"other\": \"%c\"}\n", /* none; other: OTHER */
             x, y, y, z, x);
    write_text(DIR "/forced.jsonl", text);
#define FORCED                                                                                               \
    SAE "control -m " MODEL " -s " DIR "/forced --cases " DIR "/forced.jsonl --features " DIR                \
        "/forced.ids --positions all --scale 0 --strength 10 -n 1 "
    if (!good(FORCED "--json")) return;
    CHECK_HAS(out, "\"cases\": 3");
    CHECK_HAS(out, "\"already_target\": 0");
    check_way(3, 2, 2, 0, 0, 1);
    check_way(5, 1, 1, 2, 0, 0);
    CHECK_INT(way_count(4, "target") + way_count(4, "other"), 0); /* features nobody lists say nothing */
    good(FORCED);
    CHECK_HAS(out, "3 cases, all positions, all *= 0; features += 10\n");
    CHECK_HAS(out, "name TARGET already: 0; the other 3 can move\n");
    CHECK_HAS(out,
              "\ntarget     2 of 3        66.7 %   20.8 -  93.9   66.7 %   20.8 -  93.9    0.0 %    0.0 %"
              "   33.3 %\n");
    /* Now the first of y's features is one that says nothing, so the second counts only without --top 1. */
    snprintf(text, sizeof text, "%c\t0\n%c\t7,1\n%c\t8\nw w\t1\n", x, y, z);
    write_text(DIR "/forced.ids", text);
    good(FORCED "--json");
    CHECK_INT(way_count(3, "moved"), 2);
    good(FORCED "--json --top 1");
    CHECK_INT(way_count(3, "moved"), 1);
}

/* Answers of `sae steer` to the first case, in `out`. */
static int steer(const char *options) {
    char command[1024];
    snprintf(command, sizeof command,
             SAE
             "steer -m " MODEL " -s " DIR
             "/random -p 'Which is bigger?' --op 'scaled: all *= 0.5' --op 'target: all *= 0.5; 1,2,9 += 4' "
             "--op 'other: all *= 0.5; 3,5,11,20 += 4' -n 12 --json %s",
             options);
    return good(command);
}

/* The text of answers[].name == name of the JSON line; "" when there is none. */
static void answer_text(const char *line, const char *name, char *text, size_t cap) {
    tn_json root, key, answer;
    tn_err e = {0};
    const char *end = strchr(line, '\n');
    text[0] = '\0';
    if (!CHECK(end != NULL) || !CHECK_INT(tn_json_parse(&root, line, (size_t)(end - line), &e), TN_OK))
        return;
    for (tn_json_iter it = tn_json_each(tn_json_get(root, "answers")); tn_json_next(&it, &key, &answer);)
        if (tn_json_is(tn_json_get(answer, "name"), name))
            snprintf(text, cap, "%.*s", (int)tn_json_get(answer, "text").len,
                     tn_json_get(answer, "text").text);
}

#define CONTROL                                                                                              \
    SAE "control -m " MODEL " -s " DIR "/random --cases " DIR "/cases.jsonl --features " DIR                 \
        "/features.ids -n 12 --strength 4 "

/* Each set of positions, with and without the SAE's error: the prompt shared by the ways changes nothing. */
static void answers_are_those_of_steer(void) {
    static const char *const settings[] = {"--positions generated", "--positions all", "--positions prompt",
                                           "--positions generated --keep-error",
                                           "--positions all --keep-error"};
    static const char *const names[] = {"original", "SAE only", "scaled", "target", "other"};
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        char command[1024], lines[16384], want[1024], got[1024];
        snprintf(command, sizeof command, CONTROL "%s -o " DIR "/out.jsonl && cat " DIR "/out.jsonl >&2",
                 settings[i]);
        CHECK_INT(test_shell(command, out, sizeof out, lines, sizeof lines), 0);
        if (!steer(settings[i])) continue;
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
            answer_text(lines, names[k], got, sizeof got);
            answer_text(out, names[k], want, sizeof want);
            CHECK_STR(got, want);
            CHECK(strlen(got) > 2);
        }
        answer_text(lines, "original", want, sizeof want);
        answer_text(lines, "target", got, sizeof got);
        CHECK(strcmp(got, want) != 0);
    }
}

static void the_seed_decides_the_draw(void) {
    good(CONTROL "-o " DIR "/a.jsonl --threads 1");
    good(CONTROL "-o " DIR "/b.jsonl --threads 3");
    good("cmp " DIR "/a.jsonl " DIR "/b.jsonl");
    good(CONTROL "-o " DIR "/c.jsonl --seed 43");
    CHECK(test_shell("cmp " DIR "/a.jsonl " DIR "/c.jsonl", NULL, 0, NULL, 0) != 0);
    good("cat " DIR "/a.jsonl");
    CHECK_HAS(out, "\"expected\": [1]");
    CHECK_HAS(out, "\"prompt\": \"And \\\"faster\\\"?\"");
    CHECK_HAS(out, "\"features\": [1, 2, 9]");
    good("grep -o 'random[^]]*' " DIR "/a.jsonl > " DIR "/drawn && sort -u " DIR "/drawn");
    char *second = strchr(out, '\n'); /* each case has a draw of its own */
    CHECK(second && strchr(second + 1, '\n'));
    int commas[2] = {0, 0}, line = 0; /* as many as TARGET has: 3 and 4 */
    good("sed 's/.*\\[//' " DIR "/drawn");
    for (const char *p = out; *p && line < 2; p++) {
        commas[line] += *p == ',';
        line += *p == '\n';
    }
    CHECK_INT(commas[0], 2);
    CHECK_INT(commas[1], 3);
    /* None is listed for a label, not even behind --top. */
    good(CONTROL "--top 1 -o " DIR "/d.jsonl");
    good("grep -o 'random[^]]*' " DIR "/d.jsonl | sed 's/.*\\[//'");
    CHECK_INT(strchr(out, ',') != NULL, 0);
    for (const char *p = out; *p; p = strchr(p, '\n') + 1) {
        int f = atoi(p);
        CHECK(f != 1 && f != 2 && f != 9 && f != 30 && f != 4 && f != 20 && f != 3 && f != 11 && f != 5);
    }
}

/* ---- Errors ---- */

#define WITH "-s " DIR "/random --cases " DIR "/cases.jsonl --features " DIR "/features.ids "
#define CASES "-s " DIR "/random --features " DIR "/features.ids --cases " DIR "/wrong.jsonl "
#define IDS "-s " DIR "/random --cases " DIR "/cases.jsonl --features " DIR "/wrong.ids "

static void wrong_case(const char *line, const char *part) {
    char text[512];
    snprintf(text, sizeof text, "{\"prompt\": \"a\", \"label\": \"car\", \"other\": \"bus\"}\n%s\n", line);
    write_text(DIR "/wrong.jsonl", text);
    bad(CASES, 1, part);
}

static void wrong_ids(const char *text, const char *part) {
    write_text(DIR "/wrong.ids", text);
    bad(IDS, 1, part);
}

static void errors_are_one_line(void) {
    wrong_case("{\"prompt\": \"a\", \"label\": \"van\", \"other\": \"bus\"}",
               "wrong.jsonl: line 2: there is no label \"van\" in " DIR "/features.ids");
    wrong_case("{\"prompt\": \"a\", \"label\": \"car\", \"other\": \"sled\"}",
               "wrong.jsonl: line 2: there is no label \"sled\" in ");
    wrong_case("{\"prompt\": \"a\", \"label\": \"car\"}", "wrong.jsonl: line 2: there is no \"other\"");
    wrong_case("{\"prompt\": \"a\", \"other\": \"car\"}", "wrong.jsonl: line 2: there is no \"label\"");
    wrong_case("{\"prompt\": \"a\", \"label\": \"car\", \"other\": 5}", "line 2: there is no \"other\"");
    wrong_case("{\"prompt\": \"a\", \"label\": \"car\", \"other\": \"car\"}",
               "line 2: \"label\" and \"other\" are both");
    wrong_case("{\"label\": \"car\"}", "wrong.jsonl: line 2: there is no \"prompt\"");
    wrong_case("nonsense", "wrong.jsonl: line 2: bad JSON");
    write_text(DIR "/wrong.jsonl", "\n");
    bad(CASES, 1, "wrong.jsonl: there is no case");

    wrong_ids("car\t1\nbus 2\n", "wrong.ids: line 2: expected LABEL<tab>12,55,90");
    wrong_ids("car\t1\nbus\t2,2\n", "wrong.ids: line 2: feature 2 is listed twice");
    wrong_ids("\n", "wrong.ids: there is no label");
    wrong_ids("car\t1\nbus\t2\nfire truck\t40\n",
              "wrong.ids: fire truck: feature 40 is out of range: the SAE has 40");
    wrong_ids("car\t1\nbus\t2\nfire truck\t\n", "line 1: the label \"fire truck\" has no features in ");
    wrong_ids("car\t0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20\nbus\t2\nfire truck\t3\n",
              "21 random features are needed, but only 19 are listed for no label");

    bad("-s " DIR "/none --cases " DIR "/cases.jsonl --features " DIR "/features.ids", 1, "none/cfg.json");
    bad(WITH "-o /dev/full", 1, "No space left on device");
    bad(WITH "-n 0", 2, "-n must be at least 1");
    bad(WITH "--top -1", 2, "--top must not be negative");
    bad(WITH "--positions some", 2, "--positions is generated, all or prompt");
    bad("-s a --cases b", 2, "--features");
}

/* An SAE of another width, and one of a layer the model has not. */
static void an_sae_must_fit_the_model(void) {
    static const sae_config wrong[] = {{.d_in = 48, .d_sae = F, .hook_name = "blocks.1.hook_resid_post"},
                                       {.d_in = D, .d_sae = F, .hook_name = "blocks.7.hook_resid_post"}};
    static const char *const says[] = {"wrong: SAE of width 48 does not fit the model's 32",
                                       "wrong: layer 7 is out of range: the model has layers 0 to 2"};
    for (int i = 0; i < 2; i++) {
        tn_err e = {0};
        sae_model s;
        CHECK_INT(sae_new(&s, &wrong[i], &e), TN_OK);
        CHECK_INT(sae_save_dir(&s, DIR "/wrong", NULL, &e), TN_OK);
        sae_free(&s);
        bad("-s " DIR "/wrong --cases " DIR "/cases.jsonl --features " DIR "/features.ids", 1, says[i]);
    }
}

void test_cmd_control(void) {
    RUN(prepare);
    RUN(forced_answers_are_counted);
    RUN(answers_are_those_of_steer);
    RUN(the_seed_decides_the_draw);
    RUN(errors_are_one_line);
    RUN(an_sae_must_fit_the_model);
}
