/* The qwen command, run as a user runs it, on the tiny model of tests/golden/tiny-chat. */
#include "tensor/os.h"
#include "tests/models.h"
#include "tokenizer/tokenizer.h"

#include <stdarg.h>

#define QWEN BUILD_DIR "/qwen "
#define TINY "tests/golden/tiny-chat"

static char out[1 << 16], err[1 << 12];

/* Runs `qwen …`; the exit code. stdout and stderr stay in out and err. */
static int qwen(const char *fmt, ...) TN_PRINTF(1, 2);
static int qwen(const char *fmt, ...) {
    char line[1024] = QWEN;
    va_list args;
    va_start(args, fmt);
    vsnprintf(line + strlen(line), sizeof line - strlen(line), fmt, args);
    va_end(args);
    return test_shell(line, out, sizeof out, err, sizeof err);
}

/* The command did its work without a word on stderr. */
static int went_well(int code) {
    return CHECK_INT(code, 0) & CHECK_STR(err, "");
}

static int same_file(const char *a, const char *b) {
    char line[600];
    snprintf(line, sizeof line, "cmp '%s' '%s'", a, b);
    return test_shell(line, NULL, 0, NULL, 0) == 0;
}

static void write_text(const char *path, const char *text) {
    tn_err e;
    CHECK_INT(tn_write_file(path, text, strlen(text), &e), TN_OK);
}

/* ---- Help and usage ---- */

static void every_command_explains_itself(void) {
    static const char *const names[] = {"info",  "tokenize", "generate",   "chat",
                                        "trace", "lens",     "perplexity", "bench"};
    CHECK_INT(qwen("--help"), 0);
    char list[sizeof out];
    memcpy(list, out, sizeof out);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        CHECK_HAS(list, names[i]);
        went_well(qwen("%s --help", names[i]));
        CHECK_HAS(out, "usage: qwen ");
        CHECK_HAS(out, "--threads");
        CHECK_HAS(out, "--seed");
        CHECK_INT(qwen("%s", names[i]), 2); /* -m is missing */
        CHECK_HAS(err, "qwen: error: missing");
    }
}

static void wrong_usage_is_exit_2(void) {
    static const char *const cases[] = {"nonsense",
                                        "generate -m " TINY,
                                        "generate -m " TINY " -p a --jsonl b -o c",
                                        "generate -m " TINY " --jsonl b",
                                        "generate -m " TINY " -p a -n 0",
                                        "generate -m " TINY " -p a --ctx -1",
                                        "trace -m " TINY " -o x",
                                        "trace -m " TINY " -p a --ids 1 -o x",
                                        "lens -m " TINY " -p a --top 0",
                                        "perplexity -m " TINY,
                                        "perplexity -m " TINY " f --ctx 1",
                                        "bench -m " TINY " -n -1",
                                        "bench -m " TINY " -n 0 -p 0",
                                        "bench -m " TINY " -n 0 --hooks",
                                        "bench -m " TINY " --repeats 0",
                                        "info -m " TINY " --threads many",
                                        "info -m " TINY " extra"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (!CHECK_INT(qwen("%s", cases[i]), 2)) printf("  %s\n", cases[i]);
        CHECK_HAS(err, "qwen: error: ");
        CHECK_STR(out, "");
    }
}

/* ---- info, tokenize, lens, perplexity, bench ---- */

static void info_tells_the_shape(void) {
    went_well(qwen("info -m " TINY " --threads 2"));
    CHECK_HAS(out, "tiny-chat");
    CHECK_HAS(out, "vocabulary      308\n");
    CHECK_HAS(out, "parameters      47776");
    CHECK_HAS(out, "BF16 100.0 %");
    CHECK_HAS(out, "threads         2");
}

static void tokenize_goes_both_ways(void) {
    const char *text = "A bus, <|im_end|> and  1 train\\n\\tend";
    char shell[1024];
    snprintf(shell, sizeof shell,
             "printf '%s' | " QWEN "tokenize -m " TINY " --special | " QWEN "tokenize -m " TINY " --decode",
             text);
    CHECK_INT(test_shell(shell, out, sizeof out, err, sizeof err), 0);
    CHECK_STR(out, "A bus, <|im_end|> and  1 train\n\tend");
    CHECK_INT(
        test_shell("printf '<|im_end|>' | " QWEN "tokenize -m " TINY " --special", out, sizeof out, NULL, 0),
        0);
    CHECK_STR(out, "302\n");
    CHECK_INT(test_shell("printf '<|im_end|>' | " QWEN "tokenize -m " TINY, out, sizeof out, NULL, 0), 0);
    CHECK(strchr(out, ' ') != NULL); /* ordinary characters */
    CHECK_INT(
        test_shell("printf '1 x' | " QWEN "tokenize --decode -m " TINY, out, sizeof out, err, sizeof err), 1);
    CHECK_STR(err, "qwen: error: \"x\" is no token id\n");
    CHECK_INT(test_shell("echo 9999 | " QWEN "tokenize --decode -m " TINY, out, sizeof out, err, sizeof err),
              1);
    CHECK_HAS(err, "unknown token id 9999");
}

static void tokenize_measures_itself(void) {
    CHECK_INT(test_shell("printf '<|im_end|>' | " QWEN "tokenize --bench --special -m " TINY, out, sizeof out,
                         err, sizeof err),
              0);
    CHECK_HAS(out, "{\"load_s\":");
    CHECK_HAS(out, "\"encode_s\":");
    CHECK_HAS(out, "\"mb_s\":");
    CHECK_HAS(out, "\"bytes\": 10, \"tokens\": 1}");
}

static void lens_ends_with_the_models_answer(void) {
    went_well(qwen("lens -m " TINY " -p 'a car' --raw --top 1"));
    CHECK_HAS(out, "position ");
    /* A header, a heading and one line for each of three layers; the last layer's first token is the answer.
     */
    int lines = 0;
    const char *last = out;
    for (const char *p = out; *p; p++)
        if (*p == '\n') {
            lines++;
            if (p[1]) last = p + 1;
        }
    CHECK_INT(lines, 5);
    double answer = -1, first = -2;
    CHECK_INT(sscanf(last, "%*d %lf", &answer), 1);
    const char *cell = strrchr(last, ' ');
    CHECK(cell && sscanf(cell, "%lf", &first) == 1 && answer == first);
    CHECK_INT(qwen("lens -m " TINY " -p a --position 999"), 1);
    CHECK_HAS(err, "--position 999 is out of range");
}

static void perplexity_is_the_mean_of_its_windows(void) {
    const char *path = test_path("short.txt");
    write_text(path, "The train left the station at nine.");
    went_well(qwen("perplexity -m " TINY " %s --json --ctx 8", path));
    double ppl = 0, tokens = 0, predicted = 0, nll = 0;
    const char *p = strstr(out, "\"perplexity\": "), *t = strstr(out, "\"tokens\": ");
    const char *n = strstr(out, "\"predicted_tokens\": "), *m = strstr(out, "\"mean_nll\": ");
    if (!CHECK(p && t && n && m)) return;
    sscanf(p, "%*s %lf", &ppl);
    sscanf(t, "%*s %lf", &tokens);
    sscanf(n, "%*s %lf", &predicted);
    sscanf(m, "%*s %lf", &nll);
    size_t count = (size_t)tokens;
    CHECK(count > 8);
    CHECK_INT(predicted,
              count - count / 8 - (count % 8 > 0)); /* the first token of a window is not predicted */
    CHECK(ppl > 1 && nll > 0);
    char again[sizeof out];
    memcpy(again, out, sizeof out);
    went_well(qwen("perplexity -m " TINY " %s --json --ctx 8 --threads 1", path));
    CHECK_STR(out, again);
    write_text(path, "");
    CHECK_INT(qwen("perplexity -m " TINY " %s", path), 1);
    CHECK_HAS(err, "fewer than two tokens");
}

/* `member` of the JSON object in out. */
static double number_of(const char *member) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\": ", member);
    const char *at = strstr(out, key);
    return at ? strtod(at + strlen(key), NULL) : -1;
}

static void bench_compares_with_the_machine(void) {
    static const char *const positive[] = {
        "prefill_tok_s",  "decode_tok_s",  "read_gb_s",    "decode_gb_s", "decode_share",     "fma_gflops",
        "prefill_gflops", "prefill_share", "load_seconds", "state_bytes", "peak_memory_bytes"};
    went_well(qwen("bench -m " TINY " -p 9 -n 3 --repeats 2 --json"));
    for (size_t i = 0; i < sizeof positive / sizeof positive[0]; i++)
        if (!CHECK(number_of(positive[i]) > 0)) printf("  %s\n", positive[i]);
    /* All weights but the norms, biases and the embedding, which is not the head: 95,552 bytes less 832 and
     * 308 rows of 32 BF16. */
    const int bytes = 95552 - 832 - 308 * 32 * 2;
    CHECK_INT(number_of("decode_weight_bytes"), bytes);
    CHECK_NEAR(number_of("decode_gb_s"), number_of("decode_tok_s") * bytes / 1e9, 1e-9);
    CHECK_INT(number_of("decode_context"), 9);
    CHECK_INT(number_of("hooks_cost"), -1);
    CHECK(number_of("tokenizer_seconds") > 0);
    CHECK_INT(qwen("bench -m " TINY " -p 250 -n 7"), 1);
    CHECK_HAS(err, "250 + 7 tokens do not fit");
}

static void bench_leaves_out_what_is_not_asked_for(void) {
    went_well(qwen("bench -m " TINY " -p 0 -n 2 --context 20 --repeats 1 --hooks --json"));
    CHECK_INT(number_of("decode_context"), 20);
    CHECK_INT(number_of("prefill_tok_s"), -1);
    CHECK(number_of("hooks_cost") > 0);
    CHECK(number_of("hooked_tok_s") > 0);
    went_well(qwen("bench -m " GOLDEN "llama -p 5 -n 0 --repeats 1 --json")); /* no tokenizer there */
    CHECK(number_of("prefill_tok_s") > 0);
    CHECK_INT(number_of("decode_tok_s"), -1);
    CHECK_INT(number_of("tokenizer_seconds"), -1);
    went_well(qwen("bench -m " TINY " -p 3 -n 1 --context 0 --repeats 1 --hooks"));
    CHECK_HAS(out, "tokens/s  (1 tokens behind 0; ");
    CHECK_HAS(out, "of the ");
    CHECK_HAS(out, "times as long");
    CHECK_HAS(out, "for the tokenizer");
}

/* ---- generate ---- */

static void seeds_decide_and_threads_do_not(void) {
    char first[4096] = "";
    went_well(qwen("generate -m " TINY " -p 'a bus' -n 40 --temp 1 --seed 7 --threads 1"));
    memcpy(first, out, sizeof first - 1);
    CHECK(strlen(first) > 10);
    went_well(qwen("generate -m " TINY " -p 'a bus' -n 40 --temp 1 --seed 7 --threads 2"));
    CHECK_STR(out, first);
    went_well(qwen("generate -m " TINY " -p 'a bus' -n 40 --temp 1 --seed 8"));
    CHECK(strcmp(out, first) != 0);
    went_well(qwen("generate -m " TINY " -p 'a bus' -n 40 --temp 1 --seed 7 --system 'Be brief.'"));
    CHECK(strcmp(out, first) != 0);
}

static const char *const jobs = "{\"prompt\": \"A bus\", \"label\": \"bus\", \"id\": [1]}\n"
                                "{\"prompt\": \"Two\\nlines\", \"label\": \"tram\"}\n\n"
                                "{\"prompt\": \"A bus\", \"label\": \"car\"}\n"
                                "{\"prompt\": \"x\"}\n";

#define JOBS TEST_TMP "/jobs.jsonl"
#define STORIES TEST_TMP "/stories.jsonl"
#define BLOCKED TEST_TMP "/blocked.jsonl" /* a directory: the run fails at its last step, OUT.part stays */

static void block_output(void) {
    tn_err e;
    CHECK_INT(tn_make_dirs(BLOCKED, &e), TN_OK);
    tn_remove_file(BLOCKED ".part");
}

/* Every way to cut OUT.part short: the first `bytes` of it survive. */
static void resumed_runs_write_the_same_bytes(void) {
    const char *again = TEST_TMP "/again.jsonl", *options = "-n 24 --temp 1 --seed 3";
    tn_map map;
    tn_err e;
    block_output();
    write_text(JOBS, jobs);
    tn_remove_file(STORIES);
    if (!went_well(
            qwen("generate -m " TINY " --jsonl " JOBS " -o " STORIES " %s --threads 1 --batch 1", options)))
        return;
    CHECK(!tn_file_exists(STORIES ".part"));
    CHECK_INT(qwen("generate -m " TINY " --jsonl " JOBS " -o " BLOCKED " %s", options), 1);
    CHECK_HAS(err, "blocked.jsonl");
    if (!CHECK_INT(tn_map_file(&map, BLOCKED ".part", &e), TN_OK)) return;
    for (size_t bytes = 0; bytes <= map.size; bytes += map.size / 11 + 1) {
        CHECK_INT(tn_write_file(TEST_TMP "/again.jsonl.part", map.data, bytes, &e), TN_OK);
        tn_remove_file(again);
        went_well(qwen("generate -m " TINY " --jsonl " JOBS " -o %s %s --threads 2 --batch %zu", again,
                       options, 1 + bytes % 3));
        CHECK(same_file(STORIES, again));
    }
    tn_unmap_file(&map);
}

static void stories_keep_keys_and_say_how_they_ended(void) {
    write_text(JOBS, jobs);
    if (!went_well(qwen("generate -m " TINY " --jsonl " JOBS " -o " STORIES " -n 150 --temp 1.2"))) return;
    CHECK_INT(test_shell("cat " STORIES, out, sizeof out, NULL, 0), 0);
    CHECK_HAS(out, "\"label\": \"bus\", \"id\": [1]");
    CHECK_HAS(out, "\"finish\": \"stop\"");
    CHECK_HAS(out, "\"finish\": \"length\"");
    const char *unstopped = TEST_TMP "/unstopped.jsonl";
    tn_remove_file(unstopped);
    went_well(qwen("generate -m " TINY " --jsonl " JOBS " -o %s -n 150 --temp 1.2 --ignore-eos", unstopped));
    CHECK_INT(test_shell("grep -c '\"length\"' " TEST_TMP "/unstopped.jsonl; wc -l < " STORIES, out,
                         sizeof out, NULL, 0),
              0);
    CHECK(strchr(out, '\n') && atoi(out) > 0 && atoi(out) == atoi(strchr(out, '\n')));
    CHECK_INT(test_shell("cat " STORIES, out, sizeof out, NULL, 0), 0);
    CHECK_HAS(out, "\"tokens\": [");
    CHECK_HAS(out, "\"seed\": ");
}

static void foreign_parts_are_not_continued(void) {
    block_output();
    write_text(JOBS, jobs);
    CHECK_INT(qwen("generate -m " TINY " --jsonl " JOBS " -o " BLOCKED " -n 4"), 1);
    CHECK_INT(qwen("generate -m " TINY " --jsonl " JOBS " -o " BLOCKED " -n 5"), 1);
    CHECK_HAS(err, "blocked.jsonl.part was begun with other settings");
    write_text(JOBS, "{\"prompt\": \"another\"}\n");
    CHECK_INT(qwen("generate -m " TINY " --jsonl " JOBS " -o " BLOCKED " -n 4"), 1);
    CHECK_HAS(err, "story 1 answers another prompt");
}

/* ---- chat ---- */

static void chat_remembers_and_forgets(void) {
    char shell[1024], fresh[2048];
    const char *talk = QWEN "chat -m " TINY " -n 12 --temp 0";
    snprintf(shell, sizeof shell, "printf 'hello\\n/reset\\nhello\\nagain\\n/quit\\nnot read\\n' | %s", talk);
    if (!CHECK_INT(test_shell(shell, out, sizeof out, err, sizeof err), 0)) return;
    CHECK_HAS(err, "a new conversation");
    /* After /reset the same message gets the same answer, though the cache was used before. */
    snprintf(shell, sizeof shell, "printf 'hello\\n' | %s", talk);
    CHECK_INT(test_shell(shell, fresh, sizeof fresh, NULL, 0), 0);
    size_t n = strlen(fresh);
    CHECK(n > 2 && strncmp(out, fresh, n) == 0 && strncmp(out + n, fresh, n) == 0);
    CHECK(strlen(out) > 2 * n);
    snprintf(shell, sizeof shell, "printf '/system Other words.\\nhello\\n' | %s", talk);
    CHECK_INT(test_shell(shell, out, sizeof out, NULL, 0), 0);
    CHECK(strcmp(out, fresh) != 0);
    snprintf(shell, sizeof shell, "printf 'hello\\nhello\\nhello\\n' | %s --ctx 64", talk);
    CHECK_INT(test_shell(shell, out, sizeof out, err, sizeof err), 0);
    CHECK_HAS(err, "the context is full");
}

/* ---- trace ---- */

/* The file of `qwen trace --sites all` on one model holds what the library computes, bit for bit. */
static void check_trace(const char *options, int n, const int32_t *tokens, const qwen_model *m) {
    const char *path = test_path("trace.safetensors");
    tn_safetensors *f;
    tn_err e;
    const qwen_config *c = qwen_model_config(m);
    if (!went_well(qwen("trace -m " TINY " --sites all -o %s %s", path, options))) return;
    if (!CHECK_INT(tn_st_open_file(&f, path, &e), TN_OK)) return;
    recording r = run(m, tn_kernels_select(NULL), 2, n, tokens, n);
    const tn_tensor *t = tn_st_find(f, "tokens");
    CHECK(t && t->dtype == TN_I32 && t->count == (size_t)n && memcmp(t->data, tokens, (size_t)n * 4) == 0);
    t = tn_st_find(f, "logits");
    CHECK(t && t->rank == 2 && t->shape[1] == (size_t)c->vocab);
    CHECK(t && t->count == logit_count(&r) && memcmp(t->data, r.logits, t->count * 4) == 0);
    CHECK_INT(tn_st_count(f), 2 + c->layers * QWEN_SITE_COUNT);
    for (int l = 0; l < c->layers; l++)
        for (int s = 0; s < QWEN_SITE_COUNT; s++) {
            char name[48];
            qwen_hook_name(name, sizeof name, l, (qwen_site)s);
            t = tn_st_find(f, name);
            CHECK(t && t->count == (size_t)(n * c->hidden) &&
                  memcmp(t->data, site_of(&r, l, (qwen_site)s), t->count * 4) == 0);
        }
    free_recording(&r);
    tn_st_close(f);
}

static void trace_writes_what_the_library_computes(void) {
    enum { N = 150 }; /* more than a chunk */
    int32_t tokens[N];
    char ids[N * 5] = "--ids '";
    qwen_model *m;
    tok_model *tok;
    tn_err e;
    if (!CHECK_INT(qwen_open_dir(&m, TINY, &e), TN_OK) || !CHECK_INT(tok_open_dir(&tok, TINY, &e), TN_OK))
        return;
    make_tokens(tokens, N, qwen_model_config(m)->vocab);
    for (int i = 0; i < N; i++)
        snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%ld ", (long)tokens[i]);
    snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "'");
    check_trace(ids, N, tokens, m);
    tok_ids prompt = TOK_IDS_INIT;
    const tok_message message = {"user", "a car"};
    CHECK_INT(tok_chat(tok, NULL, &message, 1, 1, &prompt, &e), TN_OK);
    check_trace("-p 'a car'", (int)prompt.len, prompt.data, m);
    tok_ids_free(&prompt);
    tok_close(tok);
    qwen_close(m);
}

static void trace_takes_lists_of_layers(void) {
    const char *path = test_path("some.safetensors");
    tn_safetensors *f;
    tn_err e;
    /* A model without tokenizer. */
    if (!went_well(qwen("trace -m " GOLDEN "llama --ids '1 2' --layers 1,0-1 --sites mlp_out -o %s", path)))
        return;
    if (!CHECK_INT(tn_st_open_file(&f, path, &e), TN_OK)) return;
    CHECK_INT(tn_st_count(f), 4);
    CHECK(tn_st_find(f, "blocks.0.hook_mlp_out") && tn_st_find(f, "blocks.1.hook_mlp_out"));
    tn_st_close(f);
    static const char *const bad[] = {"", "1-", "2-1", "a", "0,,1", "0-1-2", "-1", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_INT(qwen("trace -m " TINY " --ids 1 --layers '%s' -o %s", bad[i], path), 1);
        CHECK_HAS(err, "--layers is a list");
    }
    CHECK_INT(qwen("trace -m " TINY " --ids 1 --sites resid_post,nowhere -o %s", path), 1);
    CHECK_HAS(err, "there is no site \"nowhere\"");
}

void test_cmd_qwen(void) {
    RUN(every_command_explains_itself);
    RUN(wrong_usage_is_exit_2);
    RUN(info_tells_the_shape);
    RUN(tokenize_goes_both_ways);
    RUN(tokenize_measures_itself);
    RUN(lens_ends_with_the_models_answer);
    RUN(perplexity_is_the_mean_of_its_windows);
    RUN(bench_compares_with_the_machine);
    RUN(bench_leaves_out_what_is_not_asked_for);
    RUN(seeds_decide_and_threads_do_not);
    RUN(resumed_runs_write_the_same_bytes);
    RUN(stories_keep_keys_and_say_how_they_ended);
    RUN(foreign_parts_are_not_continued);
    RUN(chat_remembers_and_forgets);
    RUN(trace_writes_what_the_library_computes);
    RUN(trace_takes_lists_of_layers);
}
