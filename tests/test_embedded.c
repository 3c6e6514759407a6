/* The model that lies in the repository: it answers as transformers does with the same files, and its stories
 * keep to their vehicle. tests/golden/embedded.jsonl is made by tools/make_embedded_golden.py. */
#include "qwen/text.h"
#include "tensor/os.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL "models/vehicles-4m"
#define GOLDEN "tests/golden/embedded.jsonl"
#define LONGEST 80
#define CONTEXT 256

static tn_err err;

typedef struct {
    qwen_text text;
    qwen_state *state;
    qwen_sampler sampler;
    void *sampler_block;
} speaker;

static int start(speaker *s, const char *isa) {
    if (!CHECK_INT(qwen_text_open(&s->text, MODEL, &err), TN_OK)) return 0;
    int vocab = qwen_model_config(s->text.model)->vocab;
    qwen_opts o = qwen_opts_default(s->text.model);
    o.exec.k = tn_kernels_select(isa);
    o.context = CONTEXT;
    qwen_sampling greedy = qwen_sampling_default();
    s->sampler_block = malloc(qwen_sampler_bytes(vocab));
    return CHECK_INT(qwen_state_new(&s->state, s->text.model, &o, &err), TN_OK) &&
           CHECK_INT(qwen_sampler_init(&s->sampler, &greedy, vocab, s->sampler_block,
                                       qwen_sampler_bytes(vocab), &err),
                     TN_OK);
}

static void stop(speaker *s) {
    qwen_state_free(s->state);
    free(s->sampler_block);
    qwen_text_close(&s->text);
}

static int keep(void *ids, int32_t token) {
    return tok_ids_push(ids, token);
}

static void answer(speaker *s, const tok_ids *prompt, tok_ids *out) {
    const qwen_gen_opts o = {LONGEST, s->text.stops, s->text.n_stops};
    out->len = 0;
    qwen_rewind(s->state, 0);
    CHECK_INT(
        qwen_generate(s->state, &s->sampler, prompt->data, (int)prompt->len, &o, 0, keep, out, NULL, &err),
        TN_OK);
}

/* Are ids just the numbers of the JSON array? */
static int same_ids(const tok_ids *ids, tn_json array) {
    if (tn_json_count(array) != ids->len) return 0;
    tn_json_iter it = tn_json_each(array);
    tn_json item;
    for (size_t i = 0; tn_json_next(&it, NULL, &item); i++) {
        int64_t id;
        if (!tn_json_i64(item, &id) || id != ids->data[i]) return 0;
    }
    return 1;
}

static void answers_are_those_of_transformers(const char *isa, int every) {
    speaker s = {0};
    tn_map map;
    tok_ids prompt = TOK_IDS_INIT, said = TOK_IDS_INIT;
    if (!start(&s, isa) || !CHECK_INT(tn_map_file(&map, GOLDEN, &err), TN_OK)) return;
    const char *p = map.data, *end = p + map.size;
    int n = 0;
    for (; p < end; n++) {
        const char *line = p, *newline = memchr(p, '\n', (size_t)(end - p));
        if (!CHECK(newline != NULL)) break;
        p = newline + 1;
        if (n % every) continue;
        tn_json golden;
        char text[1024];
        if (!CHECK_INT(tn_json_parse(&golden, line, (size_t)(newline - line), &err), TN_OK)) break;
        CHECK(tn_json_copy(tn_json_get(golden, "prompt"), text, sizeof text));
        prompt.len = 0;
        CHECK_INT(qwen_text_prompt(&s.text, text, 0, NULL, &prompt, &err), TN_OK);
        if (!CHECK(same_ids(&prompt, tn_json_get(golden, "ids")))) CHECK_STR(text, "its golden ids");
        answer(&s, &prompt, &said);
        if (!CHECK(same_ids(&said, tn_json_get(golden, "tokens")))) CHECK_STR(text, "its golden answer");
    }
    CHECK_INT(n, 44);
    tn_unmap_file(&map);
    tok_ids_free(&prompt);
    tok_ids_free(&said);
    stop(&s);
}

static void best_kernels_answer_as_transformers(void) {
    answers_are_those_of_transformers(NULL, 1);
}

static void scalar_kernels_answer_as_transformers(void) {
    answers_are_those_of_transformers("scalar", 4);
}

static int mentions(const char *text, const char *word) {
    for (; *text; text++) {
        size_t i = 0;
        while (word[i] && (text[i] | 32) == (word[i] | 32)) i++;
        if (!word[i]) return 1;
    }
    return 0;
}

/* What the experiment needs of it: after the opening sentence a story still speaks of its vehicle. */
static void stories_keep_to_their_vehicle(void) {
    speaker s = {0};
    qwen_prompts prompts;
    tok_ids ids = TOK_IDS_INIT, said = TOK_IDS_INIT;
    tn_buf text = TN_BUF_INIT;
    if (!start(&s, NULL) ||
        !CHECK_INT(qwen_prompts_read(&prompts, "experiments/transportation/prompts_heldout.jsonl", &err),
                   TN_OK))
        return;
    int told = 0, kept = 0;
    for (size_t i = 0; i < prompts.count; i += 5, told++) {
        ids.len = 0;
        tn_buf_clear(&text);
        CHECK_INT(qwen_text_prompt(&s.text, prompts.items[i].prompt, 0, NULL, &ids, &err), TN_OK);
        answer(&s, &ids, &said);
        CHECK_INT(qwen_text_decode(&s.text, said.data, said.len, &text, &err), TN_OK);
        const char *rest = strchr(text.data, '.');
        kept += rest != NULL && mentions(rest, prompts.items[i].label);
    }
    CHECK_INT(told, 30);
    CHECK(kept >= 28);
    qwen_prompts_free(&prompts);
    tok_ids_free(&ids);
    tok_ids_free(&said);
    tn_buf_free(&text);
    stop(&s);
}

static void the_directory_is_small(void) {
    static const char *const files[] = {"config.json",    "generation_config.json", "model.safetensors",
                                        "tokenizer.json", "tokenizer_config.json",  "README.md"};
    long long total = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[128];
        tn_map map;
        snprintf(path, sizeof path, MODEL "/%s", files[i]);
        if (!CHECK_INT(tn_map_file(&map, path, &err), TN_OK)) continue;
        total += (long long)map.size;
        tn_unmap_file(&map);
    }
    CHECK(total < 10 * 1000 * 1000);
}

static void the_example_of_the_readme_runs(void) {
    tn_map readme, example;
    char out[256], errors[256];
    if (!CHECK_INT(tn_map_file(&readme, "README.md", &err), TN_OK) ||
        !CHECK_INT(tn_map_file(&example, "docs/example.c", &err), TN_OK))
        return;
    int found = 0;
    const char *text = readme.data;
    for (size_t i = 0; i + example.size <= readme.size && !found; i++)
        found = memcmp(text + i, example.data, example.size) == 0;
    CHECK(found);
    tn_unmap_file(&readme);
    tn_unmap_file(&example);
    CHECK_INT(test_shell(BUILD_DIR "/example", out, sizeof out, errors, sizeof errors), 0);
    CHECK_STR(out, " wind van\n");
}

void test_embedded(void) {
    RUN(the_directory_is_small);
    RUN(best_kernels_answer_as_transformers);
    RUN(scalar_kernels_answer_as_transformers);
    RUN(stories_keep_to_their_vehicle);
    RUN(the_example_of_the_readme_runs);
}
