/* The experiment's data: 30 categories of 10 sentences, and prompts of exactly the documented format. */
#include "qwen/prompts.h"
#include "tensor/json.h"
#include "tensor/os.h"
#include "tests/test.h"

#include <ctype.h>
#include <string.h>

#define FOLDER "experiments/transportation/"
#define CATEGORIES 30
#define PER_CATEGORY 10
#define LINES (CATEGORIES * PER_CATEGORY)

static char sentences[LINES][256], labels[LINES][32];

static int lower_equal(const char *a, const char *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (tolower((unsigned char)a[i]) != tolower((unsigned char)b[i])) return 0;
    return 1;
}

static int mentions(const char *text, const char *word) {
    size_t n = strlen(word);
    for (; strlen(text) >= n; text++)
        if (lower_equal(text, word, n)) return 1;
    return 0;
}

static void sentences_are_thirty_times_ten(void) {
    tn_map map;
    tn_err e = {0};
    if (!CHECK_INT(tn_map_file(&map, FOLDER "sentences.jsonl", &e), TN_OK)) return;
    const char *p = map.data, *end = p + map.size;
    int n = 0;
    while (p < end && n < LINES) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        tn_json line;
        if (!CHECK(stop != NULL) || !CHECK_INT(tn_json_parse(&line, p, (size_t)(stop - p), &e), TN_OK)) break;
        CHECK_INT(tn_json_count(line), 2);
        CHECK(tn_json_copy(tn_json_get(line, "label"), labels[n], sizeof labels[n]));
        CHECK(tn_json_copy(tn_json_get(line, "sentence"), sentences[n], sizeof sentences[n]));
        if (!CHECK(mentions(sentences[n], labels[n]))) CHECK_STR(sentences[n], labels[n]);
        CHECK(isupper((unsigned char)sentences[n][0]));
        CHECK(strchr(".!?", sentences[n][strlen(sentences[n]) - 1]) != NULL);
        p = stop + 1;
        n++;
    }
    CHECK(p == end);
    CHECK_INT(n, LINES);
    int categories = 0;
    for (int i = 0; i < n; i++) {
        int same_label = 0, first = 1;
        for (int k = 0; k < n; k++) {
            same_label += strcmp(labels[i], labels[k]) == 0;
            first &= !(k < i && strcmp(labels[i], labels[k]) == 0);
            if (k != i) CHECK(strcmp(sentences[i], sentences[k]) != 0);
        }
        CHECK_INT(same_label, PER_CATEGORY);
        categories += first;
    }
    CHECK_INT(categories, CATEGORIES);
    tn_unmap_file(&map);
}

static void prompts_have_the_exact_format(void) {
    qwen_prompts prompts;
    tn_err e = {0};
    if (!CHECK_INT(qwen_prompts_read(&prompts, FOLDER "prompts.jsonl", &e), TN_OK)) return;
    if (CHECK_INT(prompts.count, LINES)) {
        for (size_t i = 0; i < LINES; i++) {
            tn_buf want = TN_BUF_INIT;
            tn_buf_printf(&want,
                          "Give me a short story that begins with: %s \n\n"
                          "Try to include more transportation-related words in the story.\n\n"
                          "The story should contain at most 50 words",
                          sentences[i]);
            CHECK_STR(prompts.items[i].prompt, want.data);
            CHECK_STR(prompts.items[i].label, labels[i]);
            CHECK(prompts.items[i].text == NULL && prompts.items[i].tokens == NULL);
            tn_buf_free(&want);
        }
    }
    qwen_prompts_free(&prompts);
}

static void there_is_a_dozen_questions(void) {
    qwen_prompts questions;
    tn_err e = {0};
    if (!CHECK_INT(qwen_prompts_read(&questions, FOLDER "questions.jsonl", &e), TN_OK)) return;
    CHECK(questions.count >= 13);
    CHECK_STR(questions.items[0].prompt, "Generally, which is bigger, a car or a bus?");
    qwen_prompts_free(&questions);
}

void test_experiment(void) {
    RUN(sentences_are_thirty_times_ten);
    RUN(prompts_have_the_exact_format);
    RUN(there_is_a_dozen_questions);
}
