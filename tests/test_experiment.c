/* The experiment's data: 30 categories of 10 sentences and 5 held-out ones, and prompts of exactly the
 * documented format. */
#include "qwen/prompts.h"
#include "tensor/json.h"
#include "tensor/os.h"
#include "tests/test.h"

#include <ctype.h>
#include <string.h>

#define FOLDER "experiments/transportation/"
#define CATEGORIES 30
#define PER_CATEGORY 10
#define PER_CATEGORY_HELD_OUT 5
#define LINES (CATEGORIES * PER_CATEGORY)
#define LINES_HELD_OUT (CATEGORIES * PER_CATEGORY_HELD_OUT)

/* The held-out lines follow the others, so that one loop compares all. */
static char sentences[LINES + LINES_HELD_OUT][256], labels[LINES + LINES_HELD_OUT][32];

static int lower_equal(const char *a, const char *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (tolower((unsigned char)a[i]) != tolower((unsigned char)b[i])) return 0;
    return 1;
}

/* `text` has `word` as a word of its own, in any case; a plural counts. */
static int mentions(const char *text, const char *word) {
    size_t n = strlen(word);
    for (const char *at = text; strlen(at) >= n; at++) {
        if (!lower_equal(at, word, n) || (at > text && isalpha((unsigned char)at[-1]))) continue;
        if (!isalpha((unsigned char)at[n + (at[n] == 's')])) return 1;
    }
    return 0;
}

/* Reads `want` lines to sentences[from], labels[from], …, where `per_category` of one label follow each
 * other. */
static void read_sentences(const char *path, int from, int want, int per_category) {
    tn_map map;
    tn_err e = {0};
    if (!CHECK_INT(tn_map_file(&map, path, &e), TN_OK)) return;
    const char *p = map.data, *end = p + map.size;
    int n = 0;
    while (p < end && n < want) {
        char *sentence = sentences[from + n], *label = labels[from + n];
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        tn_json line;
        if (!CHECK(stop != NULL) || !CHECK_INT(tn_json_parse(&line, p, (size_t)(stop - p), &e), TN_OK)) break;
        CHECK_INT(tn_json_count(line), 2);
        CHECK(tn_json_copy(tn_json_get(line, "label"), label, sizeof labels[0]));
        CHECK(tn_json_copy(tn_json_get(line, "sentence"), sentence, sizeof sentences[0]));
        if (!CHECK(mentions(sentence, label))) CHECK_STR(sentence, label);
        CHECK(isupper((unsigned char)sentence[0]));
        CHECK(sentence[0] != '\0' && strchr(".!?", sentence[strlen(sentence) - 1]) != NULL);
        CHECK_INT(n % per_category != 0, n > 0 && strcmp(label, labels[from + n - 1]) == 0);
        for (int k = 0; k < from + n; k++) CHECK(strcmp(sentence, sentences[k]) != 0);
        p = stop + 1;
        n++;
    }
    CHECK(p == end);
    CHECK_INT(n, want);
    tn_unmap_file(&map);
}

static void sentences_are_thirty_times_ten(void) {
    read_sentences(FOLDER "sentences.jsonl", 0, LINES, PER_CATEGORY);
    for (int i = 0; i < CATEGORIES; i++)
        for (int k = 0; k < i; k++) CHECK(strcmp(labels[i * PER_CATEGORY], labels[k * PER_CATEGORY]) != 0);
}

static void held_out_sentences_are_thirty_times_five(void) {
    read_sentences(FOLDER "sentences_heldout.jsonl", LINES, LINES_HELD_OUT, PER_CATEGORY_HELD_OUT);
    for (int i = 0; i < LINES_HELD_OUT; i++) {
        const char *sentence = sentences[LINES + i], *label = labels[LINES + i];
        CHECK_STR(label, labels[i / PER_CATEGORY_HELD_OUT * PER_CATEGORY]);
        int words = 1;
        for (const char *c = sentence; *c; c++) {
            CHECK(*c >= ' ' && *c <= '~' && *c != '"');
            words += *c == ' ';
        }
        CHECK(words >= 8 && words <= 18);
        /* No other category: but a cable car is called a car, too. */
        for (int k = 0; k < LINES; k += PER_CATEGORY)
            if (!mentions(label, labels[k]) && !CHECK(!mentions(sentence, labels[k])))
                CHECK_STR(sentence, labels[k]);
    }
}

static void prompts_are_of_sentences(const char *path, size_t from, size_t want) {
    qwen_prompts prompts;
    tn_err e = {0};
    if (!CHECK_INT(qwen_prompts_read(&prompts, path, &e), TN_OK)) return;
    if (CHECK_INT(prompts.count, want)) {
        for (size_t i = 0; i < want; i++) {
            tn_buf prompt = TN_BUF_INIT;
            tn_buf_printf(&prompt,
                          "Give me a short story that begins with: %s \n\n"
                          "Try to include more transportation-related words in the story.\n\n"
                          "The story should contain at most 50 words",
                          sentences[from + i]);
            CHECK_STR(prompts.items[i].prompt, prompt.data);
            CHECK_STR(prompts.items[i].label, labels[from + i]);
            CHECK(prompts.items[i].text == NULL && prompts.items[i].tokens == NULL);
            tn_buf_free(&prompt);
        }
    }
    qwen_prompts_free(&prompts);
}

static void prompts_have_the_exact_format(void) {
    prompts_are_of_sentences(FOLDER "prompts.jsonl", 0, LINES);
    prompts_are_of_sentences(FOLDER "prompts_heldout.jsonl", LINES, LINES_HELD_OUT);
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
    RUN(held_out_sentences_are_thirty_times_five);
    RUN(prompts_have_the_exact_format);
    RUN(there_is_a_dozen_questions);
}
