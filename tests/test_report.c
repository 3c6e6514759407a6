/* The report's page: well-formed, whatever texts say; without sections that have nothing to say; and the
 * command that writes it.
 */
#include "sae/report.h"
#include "tensor/rng.h"
#include "tests/test.h"
#include "tests/xml.h"

#include <stdlib.h>
#include <string.h>

#define D 32 /* the width of tests/golden/tiny-chat */
#define F 48
#define DOCS 9

#define DIR TEST_TMP "/report"
#define HOOK "blocks.1.hook_resid_post"

static const char hostile[] = "<script>alert('&\"</p><!--";
static const char escaped[] = "&lt;script&gt;alert('&amp;&quot;&lt;/p&gt;&lt;!--";

static char out[1 << 16], err[4096];

static void write_text(const char *path, const char *text) {
    tn_err e = {0};
    if (!CHECK_INT(tn_write_file(path, text, strlen(text), &e), TN_OK)) CHECK_STR(e.msg, "");
}

/* ---- What a report is made of ---- */

typedef struct {
    sae_model sae;
    sae_acts acts, held_acts;
    sae_feature_stats stats, held;
    sae_ranking ranking;
    sae_report_answers answers;
    sae_report_json eval, control, cfg;
    sae_fit_line log[3];
    sae_report r;
} fixture;

static int hostile_bytes(const void *ctx, int32_t id, const char **text, size_t *len) {
    (void)ctx;
    *text = id % 2 ? " <b>&\xff" : "\"\n</td>";
    *len = strlen(*text);
    return id == 4 ? TN_EARG : TN_OK; /* an id without text */
}

/* Three categories, one of hostile name, of which `labels` occur; each leaves its mark in the rows. */
static void write_acts(const char *path, int labels, uint64_t seed) {
    static char *const names[] = {(char *)(size_t)hostile, "bus", ""};
    tn_err e = {0};
    tn_rng rng = tn_rng_seed(seed);
    sae_acts_builder b = {.d = D};
    sae_doc docs[DOCS];
    for (int doc = 0; doc < DOCS; doc++) {
        docs[doc] = (sae_doc){names[doc % labels], (char *)(size_t)hostile, (char *)(size_t)hostile};
        for (int t = 0; t < 5; t++) {
            float row[D];
            for (int k = 0; k < D; k++) row[k] = tn_rng_normal(&rng) + (k % 3 == doc % labels ? 1.0f : 0.0f);
            CHECK_INT(sae_acts_append(&b, row, t, doc, t), TN_OK);
        }
    }
    if (!CHECK_INT(sae_acts_write(&b, path, TN_F32, "tiny", HOOK, docs, DOCS, NULL, 0, &e), TN_OK))
        CHECK_STR(e.msg, "");
    sae_acts_builder_free(&b);
}

static const char answers_text[] =
    "{\"prompt\": \"<script>alert('&\\\"</p><!--\", \"answers\": [{\"name\": \"original\", \"text\": "
    "\"one\"}, "
    "{\"name\": \"SAE only\", \"text\": \"a\\u0000b\"}, "
    "{\"name\": \"<script>\", \"op\": \"1 += 2 & <3\", \"text\": \"</p></div>\"}]}\n"
    "\n"
    "{\"prompt\": \"second?\", \"extra\": 1, \"answers\": [{\"name\": \"<script>\", \"text\": \"two\"}]}";

static void write_inputs(void) {
    tn_err e = {0};
    CHECK_INT(tn_make_dirs(DIR "/sae", &e), TN_OK);
    write_acts(DIR "/acts.safetensors", 3, 1);
    write_acts(DIR "/held.safetensors", 2, 2);
    write_text(DIR "/answers.jsonl", answers_text);
    write_text(DIR "/eval.json",
               "{\"l0\": 12.5, \"fve\": 0.75, \"n_tokens\": 1234, \"n_docs\": 7, \"kl\": null}");
    write_text(DIR "/control.json",
               "{\"seed\": 42, \"note\": \"<script>\", \"settings\": {\"cases\": \"a/b.jsonl\"}, \"ways\": "
               "[{\"name\": \"<script>\", \"n\": 10, \"moved\": 7, "
               "\"share\": 0.7, \"low\": 0.4, \"high\": 0.9, \"target\": 8, \"none\": 2}, {\"name\": "
               "\"random\"}, 3]}");
    sae_model s;
    sae_config cfg = {.d_in = D, .d_sae = F, .hook_name = HOOK};
    CHECK_INT(sae_new(&s, &cfg, &e), TN_OK);
    for (int i = 1; i < F; i++) { /* latent 0 never fires */
        s.w_enc[i * D + i % D] = 1.0f;
        s.w_dec[i * D + i % D] = 1.0f;
    }
    CHECK_INT(sae_save_dir(&s, DIR "/sae", "{\"lr\": 0.001, \"l1_steps\": 4000, \"<script>\": \"&\"}", &e),
              TN_OK);
    sae_free(&s);
}

/* Everything opened, with all that is optional. */
static void open_fixture(fixture *f) {
    tn_err e = {0};
    tn_exec ex = tn_exec_make(NULL, 1);
    *f = (fixture){0};
    write_inputs();
    CHECK_INT(sae_open_dir(&f->sae, DIR "/sae", &e), TN_OK);
    CHECK_INT(sae_acts_open(&f->acts, DIR "/acts.safetensors", &e), TN_OK);
    CHECK_INT(sae_acts_open(&f->held_acts, DIR "/held.safetensors", &e), TN_OK);
    CHECK_INT(sae_feature_stats_new(&f->stats, &f->sae, &f->acts, ex, &e), TN_OK);
    CHECK_INT(sae_held_out_stats(&f->held, &f->sae, &f->held_acts, &f->acts, ex, &e), TN_OK);
    CHECK_INT(sae_ranking_new(&f->ranking, &f->stats, &f->held, -1, SAE_BY_AUROC, 2, &e), TN_OK);
    CHECK_INT(sae_report_answers_open(&f->answers, DIR "/answers.jsonl", &e), TN_OK);
    CHECK_INT(f->answers.n, 2);
    CHECK_INT(sae_report_json_open(&f->eval, DIR "/eval.json", &e), TN_OK);
    CHECK_INT(sae_report_json_open(&f->control, DIR "/control.json", &e), TN_OK);
    CHECK_INT(sae_report_json_open(&f->cfg, DIR "/sae/cfg.json", &e), TN_OK);
    for (int i = 0; i < 3; i++)
        f->log[i] =
            (sae_fit_line){.step = i + 1, .train_mse = 9.0 - i, .train_l1 = 3, .val_mse = 8, .val_l1 = 3};
    f->r = (sae_report){
        .model_name = hostile,
        .layers = 3,
        .parameters = 1234567,
        .sae = &f->sae,
        .sae_name = hostile,
        .acts_name = "acts.safetensors",
        .held_name = "held.safetensors",
        .acts = &f->acts,
        .held_acts = &f->held_acts,
        .stats = &f->stats,
        .ranking = &f->ranking,
        .vocabulary = {"", hostile_bytes},
        .log = f->log,
        .n_log = 3,
        .settings = tn_json_get(tn_json_get(f->cfg.root, "metadata"), "scalpel_training"),
        .answers = &f->answers,
        .n_answers = 1,
        .eval = &f->eval,
        .control = &f->control,
    };
}

static void close_fixture(fixture *f) {
    sae_report_answers_close(&f->answers);
    sae_report_json_close(&f->eval);
    sae_report_json_close(&f->control);
    sae_report_json_close(&f->cfg);
    sae_ranking_free(&f->ranking);
    sae_feature_stats_free(&f->stats);
    sae_feature_stats_free(&f->held);
    sae_acts_close(&f->acts);
    sae_acts_close(&f->held_acts);
    sae_free(&f->sae);
}

/* ---- The page ---- */

static int count(const char *text, const char *part) {
    int n = 0;
    for (const char *s = text; (s = strstr(s, part)) != NULL; s += strlen(part)) n++;
    return n;
}

/* Well-formed, of itself only, and every id once. */
static void check_page(const char *page) {
    static const char doctype[] = "<!DOCTYPE html>\n";
    if (!CHECK(strncmp(page, doctype, sizeof doctype - 1) == 0)) return;
    const char *mistake = xml_mistake(page + sizeof doctype - 1);
    CHECK_STR(mistake ? mistake : "", "");
    CHECK_INT(count(page, "<script"), 0);
    CHECK_INT(count(page, " src=") + count(page, "url(") + count(page, "@import") + count(page, "<link"), 0);
    CHECK_INT(count(page, "http"), count(page, "xmlns=\"http://www.w3.org/") + count(page, "http-equiv"));
    for (const char *s = page; (s = strstr(s, " id=\"")) != NULL; s++) {
        char id[64];
        size_t len = strcspn(s + 5, "\"");
        if (!CHECK(len + 7 < sizeof id)) continue;
        memcpy(id, s, len + 6);
        id[len + 6] = '\0';
        CHECK_INT(count(page, id), 1);
    }
}

static void hostile_text_stays_text(void) {
    fixture f;
    open_fixture(&f);
    tn_buf page = TN_BUF_INIT;
    sae_report_write(&f.r, &page);
    CHECK(!page.failed);
    check_page(page.data);
    CHECK(count(page.data, escaped) > DOCS); /* as title, model, label, text and question */
    CHECK_HAS(page.data, "<code>1 += 2 &amp; &lt;3</code>");
    CHECK_HAS(page.data, "<p dir=\"auto\">&lt;/p&gt;&lt;/div&gt;</p>");
    CHECK_HAS(page.data, "a\xef\xbf\xbd"
                         "b"); /* the NUL did not cut the answer */
    CHECK_HAS(page.data, "&lt;b&gt;&amp;\xef\xbf\xbd</mark>");
    CHECK_HAS(page.data, "<dt>&lt;script&gt;</dt><dd>&amp;</dd>");
    tn_buf_free(&page);
    close_fixture(&f);
}

static void all_inputs_are_shown(void) {
    fixture f;
    open_fixture(&f);
    f.r.title = "The <title>";
    f.r.model_name = "tiny";
    tn_buf page = TN_BUF_INIT, again = TN_BUF_INIT;
    sae_report_write(&f.r, &page);
    sae_report_write(&f.r, &again);
    CHECK_STR(page.data, again.data);
    check_page(page.data);
    CHECK_HAS(page.data, "<h1>The &lt;title&gt;</h1>");
    CHECK_HAS(page.data, "<title>The &lt;title&gt;</title>");
    CHECK_HAS(page.data, "the output of layer 1");
    CHECK_HAS(page.data, "<dd>1,234,567</dd>");
    CHECK_HAS(page.data,
              "second?</th><td dir=\"auto\">–</td><td dir=\"auto\">–</td><td dir=\"auto\">two</td>");
    CHECK_HAS(page.data, "Measured on 1,234 tokens of 7 texts");
    CHECK_HAS(page.data, "explained variance</th><td class=\"n\">0.75</td>");
    CHECK(strstr(page.data, "KL divergence") == NULL); /* null */
    CHECK_HAS(page.data, "70 %</td><td class=\"n\">40 % to 90 %</td>");
    CHECK_HAS(page.data, "<dt>cases</dt><dd>b.jsonl</dd>");
    CHECK_HAS(page.data, "random<div class=\"note\">as many other features");
    CHECK_HAS(page.data, "<dt>lr</dt><dd>0.001</dd>");
    CHECK_HAS(page.data, "<dt>l1 steps</dt><dd>4000</dd>");
    CHECK_HAS(page.data, "held out</th>");
    CHECK_HAS(page.data, "On the held-out texts");
    CHECK_HAS(page.data, "(no label)");
    CHECK_INT(count(page.data, "<svg "), 5);     /* two curves, controls, heat map, active features */
    CHECK_INT(count(page.data, "<details>"), 3); /* labels */
    CHECK_INT(count(page.data, "<details class=\"print\">"), 1); /* the table of questions */
    char best[64];
    snprintf(best, sizeof best, "<tr><td class=\"n\">%d</td><td class=\"n\">%.3f</td>",
             (int)f.ranking.scores[0].feature, (double)f.ranking.scores[0].auroc);
    CHECK_HAS(page.data, best);
    tn_buf_free(&page);
    tn_buf_free(&again);
    close_fixture(&f);
}

static void what_is_missing_leaves_no_hole(void) {
    static const char *const ids[] = {"surgery", "controls", "training"};
    fixture f;
    open_fixture(&f);
    f.r.held_acts = NULL;
    f.r.n_answers = 0;
    f.r.eval = f.r.control = NULL;
    f.r.n_log = 0;
    f.r.settings = (tn_json){TN_JSON_NONE, NULL, 0};
    f.r.vocabulary.ctx = NULL;
    tn_buf page = TN_BUF_INIT;
    sae_report_write(&f.r, &page);
    check_page(page.data);
    for (int i = 0; i < 3; i++) CHECK(strstr(page.data, ids[i]) == NULL);
    CHECK(strstr(page.data, "held") == NULL && strstr(page.data, "<mark") == NULL);
    CHECK_INT(count(page.data, "<svg "), 2);
    CHECK_INT(count(page.data, "<section "), 4);
    CHECK_INT(count(page.data, "<li><a href=\"#"), 4);

    f.r.eval = &f.eval; /* numbers alone make the section */
    tn_buf_clear(&page);
    sae_report_write(&f.r, &page);
    check_page(page.data);
    CHECK_HAS(page.data, "<section id=\"training\">");
    tn_buf_free(&page);
    close_fixture(&f);
}

static void answers_are_checked(void) {
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"{\"prompt\": \"a\", \"answers\": [{\"name\": \"x\", \"text\": \"y\"}]}\n{\"prompt\"\n",
         "line 2: bad JSON"},
        {"\n[1]\n", "line 2: not a JSON object"},
        {"{\"prompt\": 1}", "line 1: \"prompt\" is missing or no string"},
        {"{\"prompt\": \"a\", \"answers\": []}", "line 1: \"answers\" is missing or no list"},
        {"{\"prompt\": \"a\", \"answers\": [{\"name\": \"x\"}]}", "line 1: an answer's \"name\" or \"text\""},
        {"", "no answers"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sae_report_answers a;
        tn_err e = {0};
        write_text(DIR "/bad.jsonl", cases[i].text);
        CHECK_INT(sae_report_answers_open(&a, DIR "/bad.jsonl", &e), TN_EFORMAT);
        CHECK_HAS(e.msg, DIR "/bad.jsonl: ");
        CHECK_HAS(e.msg, cases[i].says);
        CHECK(a.questions == NULL);
    }
}

/* ---- The command ---- */

#define REPORT BUILD_DIR "/sae report -m tests/golden/tiny-chat -s " DIR "/sae -a " DIR "/acts.safetensors "

static void bad(const char *options, const char *part) {
    char command[512];
    snprintf(command, sizeof command, REPORT "-o " DIR "/no.html %s", options);
    CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 1);
    CHECK_HAS(err, "sae: error: ");
    CHECK_HAS(err, part);
    const char *newline = strchr(err, '\n');
    CHECK(newline && newline[1] == '\0');
    CHECK(!tn_file_exists(DIR "/no.html"));
}

static void the_command_writes_a_page(void) {
    write_inputs();
    int code =
        test_shell(REPORT "-o " DIR "/a.html --held-out " DIR "/held.safetensors --answers " DIR
                          "/answers.jsonl --answers 'With <care>=" DIR "/answers.jsonl' --eval " DIR
                          "/eval.json --control " DIR "/control.json --title 'A & B' --top 4 --threads 1",
                   out, sizeof out, err, sizeof err);
    if (!CHECK_INT(code, 0)) CHECK_STR(err, "");
    tn_map map;
    tn_err e = {0};
    tn_buf page = TN_BUF_INIT;
    if (CHECK_INT(tn_map_file(&map, DIR "/a.html", &e), TN_OK)) {
        tn_buf_add(&page, map.data, map.size);
        check_page(page.data);
        CHECK_HAS(page.data, "<h1>A &amp; B</h1>");
        CHECK_HAS(page.data, "<h3>answers.jsonl</h3>");
        CHECK_HAS(page.data, "<h3>With &lt;care&gt;</h3>");
        CHECK_INT(count(page.data, "<svg "), 3); /* the SAE has no train.csv */
        tn_unmap_file(&map);
    }
    tn_buf_free(&page);
    CHECK_INT(test_shell(REPORT "-o " DIR "/b.html --threads 2", out, sizeof out, err, sizeof err), 0);

    write_text(DIR "/bad.jsonl", "{\"prompt\": \"a\"}\n");
    write_text(DIR "/bad.json", "[]");
    bad("--answers " DIR "/bad.jsonl", DIR "/bad.jsonl: line 1: \"answers\" is missing");
    bad("--eval " DIR "/bad.json", DIR "/bad.json: not a JSON object");
    bad("--control " DIR "/none.json", DIR "/none.json: No such file");
    bad("--held-out " DIR "/none.safetensors", DIR "/none.safetensors: No such file");
    write_text(DIR "/sae/train.csv", "step,loss\n1,2\n");
    bad("", DIR "/sae/train.csv: the log has another header");
    CHECK_INT(tn_remove_file(DIR "/sae/train.csv"), 0);
    CHECK_INT(test_shell(REPORT "-o /dev/full", out, sizeof out, err, sizeof err), 1);
    CHECK_HAS(err, "No space left");
}

void test_report(void) {
    RUN(hostile_text_stays_text);
    RUN(all_inputs_are_shown);
    RUN(what_is_missing_leaves_no_hole);
    RUN(answers_are_checked);
    RUN(the_command_writes_a_page);
}
