/* JSONL of prompts and stories; negative log-likelihoods of a window. */
#include "qwen/prompts.h"
#include "qwen/score.h"
#include "tests/models.h"

#include <math.h>

static int parse(qwen_prompts *p, const char *text, tn_err *e) {
    return qwen_prompts_parse(p, text, strlen(text), e);
}

static void reads_prompts_and_stories(void) {
    qwen_prompts p;
    tn_err e;
    const char *text = "{\"prompt\": \"A \\u00e9\\n\", \"label\": \"car\", \"id\": 7}\r\n"
                       "\n  \t\n"
                       "{\"prompt\": \"\", \"text\": \"done\\u0000.\", \"tokens\": [3, 0, 12]}";
    if (!CHECK_INT(parse(&p, text, &e), TN_OK)) return;
    CHECK_INT(p.count, 2);
    CHECK_STR(p.items[0].prompt, "A é\n");
    CHECK_STR(p.items[0].label, "car");
    CHECK(!p.items[0].text && !p.items[0].tokens);
    CHECK_INT(p.items[0].line, 1);
    CHECK_STR(p.items[1].prompt, "");
    CHECK_STR(p.items[1].label, "");
    CHECK_INT(p.items[1].text_len, 6);
    CHECK(!memcmp(p.items[1].text, "done\0.", 7));
    CHECK_INT(p.items[1].n_tokens, 3);
    CHECK_INT(p.items[1].tokens[2], 12);
    CHECK_INT(p.items[1].line, 4);
    qwen_prompts_free(&p);
    CHECK_INT(parse(&p, "", &e), TN_OK);
    CHECK_INT(p.count, 0);
}

static void names_the_line_of_a_mistake(void) {
    static const char *const cases[][2] = {
        {"{\"prompt\": \"a\"}\n\n{\"prompt\": }\n", "line 3: bad JSON"},
        {"[1]\n", "line 1: expected an object"},
        {"{\"label\": \"car\"}\n", "line 1: there is no \"prompt\""},
        {"{\"prompt\": 3}\n", "line 1: \"prompt\" is no string"},
        {"{\"prompt\": \"a\\u0000b\"}\n", "line 1: \"prompt\" contains a NUL"},
        {"{\"prompt\": \"a\", \"label\": []}\n", "line 1: \"label\" is no string"},
        {"{\"prompt\": \"a\", \"tokens\": 5}\n", "line 1: \"tokens\" is no array"},
        {"{\"prompt\": \"a\", \"tokens\": [1, -1]}\n", "line 1: \"tokens\" contains"},
        {"{\"prompt\": \"a\", \"tokens\": [1, 2147483648]}\n", "line 1: \"tokens\" contains"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        qwen_prompts p;
        tn_err e = {0};
        CHECK_INT(parse(&p, cases[i][0], &e), TN_EFORMAT);
        CHECK_HAS(e.msg, cases[i][1]);
        CHECK(p.count == 0 && !p.items);
    }
    qwen_prompts p;
    tn_err e = {0};
    CHECK_INT(qwen_prompts_read(&p, test_path("no-such.jsonl"), &e), TN_EIO);
    CHECK_HAS(e.msg, "no-such.jsonl");
}

static void a_story_keeps_the_other_keys(void) {
    qwen_prompts p;
    tn_err e;
    tn_buf out = TN_BUF_INIT;
    const int32_t tokens[] = {5, 6};
    const qwen_answer a = {"a \"b\"\n", 6, tokens, 2, "stop", ((uint64_t)1 << 53) - 1};
    const char *text = "{\"z\": [1, {\"y\": null}], \"prompt\": \"p\", \"seed\": 1, \"text\": \"old\"}\n";
    if (!CHECK_INT(parse(&p, text, &e), TN_OK)) return;
    CHECK_INT(qwen_story_put(&out, &p.items[0], &a, &e), TN_OK);
    qwen_prompts_free(&p);
    CHECK_INT(out.data[out.len - 1], '\n');
    CHECK(memchr(out.data, '\n', out.len) == out.data + out.len - 1);
    CHECK_HAS(out.data, "[1, {\"y\": null}]");
    CHECK(!strstr(out.data, "old"));
    CHECK_HAS(out.data, "9007199254740991");
    CHECK_INT(qwen_prompts_parse(&p, out.data, out.len, &e), TN_OK);
    CHECK_STR(p.items[0].text, "a \"b\"\n");
    CHECK_INT(p.items[0].n_tokens, 2);
    qwen_prompts_free(&p);
    tn_buf_free(&out);
}

static void a_window_scores_as_its_logits_say(void) {
    enum { N = 40 };
    qwen_model *m = open_golden("gqa2-odd-vocab");
    int vocab = qwen_model_config(m)->vocab;
    int32_t tokens[N];
    double nll[N - 1];
    tn_err e;
    make_tokens(tokens, N, vocab);
    recording r = run(m, tn_kernels_select("scalar"), 1, N, tokens, N);
    qwen_state *s = new_state(m, tn_kernels_select("scalar"), 2, N, 7);
    CHECK_INT(qwen_score_window(s, tokens, N, nll, &e), TN_OK);
    for (int i = 0; i + 1 < N; i++) {
        double sum = 0;
        for (int v = 0; v < vocab; v++) sum += exp((double)r.logits[i * vocab + v]);
        CHECK_NEAR(nll[i], log(sum) - (double)r.logits[i * vocab + tokens[i + 1]], 1e-9);
    }
    tokens[N - 1] = vocab; /* never fed, and refused all the same */
    CHECK_INT(qwen_score_window(s, tokens, N, nll, &e), TN_EARG);
    float large[] = {1000, 999, -1000};
    CHECK_NEAR(qwen_nll(large, 3, 1), 1 + log1p(exp(-1)), 1e-12);
    qwen_state_free(s);
    free_recording(&r);
    qwen_close(m);
}

void test_prompts(void) {
    RUN(reads_prompts_and_stories);
    RUN(names_the_line_of_a_mistake);
    RUN(a_story_keeps_the_other_keys);
    RUN(a_window_scores_as_its_logits_say);
}
