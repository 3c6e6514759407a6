/* Captures of texts, in shards: windows, filters, several layers, kills, and training straight from the
 * model. */
#include "sae/acts.h"
#include "sae/outliers.h"
#include "sae/sae.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODEL "tests/golden/tiny-chat"
#define DIR TEST_TMP "/capture"
#define CAPTURE BUILD_DIR "/sae capture -m " MODEL " "
#define TRAIN BUILD_DIR "/sae train "
#define TEXT " --text " DIR "/text.txt --text " DIR "/lines.jsonl --ctx 16"

static char out[1 << 16], err[4096];

static void good(const char *command) {
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 0)) {
        CHECK_STR(command, "");
        CHECK_STR(err, "");
    }
}

static void bad(const char *command, int code, const char *part) {
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), code)) CHECK_STR(command, "");
    CHECK_HAS(err, part);
    const char *newline = strchr(err, '\n');
    if (code == 1) CHECK(newline && newline[1] == '\0'); /* usage errors have a second line */
}

static void prepare(void) {
    good("rm -rf " DIR " && mkdir -p " DIR " && sed 's/^/Notes: /' tests/test.h > " DIR "/text.txt && "
         "for i in 1 2 3 4 5 6 7 8; do printf '{\"text\": \"A story of %s cars.\\\\nAnd a bus.\"}\\n\\n' $i; "
         "done > " DIR "/lines.jsonl");
    good(CAPTURE "--layer 1 -o " DIR "/whole.safetensors --threads 1" TEXT);
}

static int open_acts(sae_acts *a, const char *path) {
    tn_err e = {0};
    if (CHECK_INT(sae_acts_open(a, path, &e), TN_OK)) return 1;
    CHECK_STR(e.msg, "");
    return 0;
}

/* The tokens of all windows are those of the texts, one after the other. */
static void windows_are_packed(void) {
    sae_acts a;
    if (!open_acts(&a, DIR "/whole.safetensors")) return;
    CHECK_STR(a.hook_name, "blocks.1.hook_resid_post");
    CHECK_INT(a.n, 16 * a.n_docs);
    for (size_t r = 0; r < a.n; r++) {
        CHECK_INT(a.pos[r], r % 16);
        CHECK_INT(a.doc[r], r / 16);
    }
    char ids[1 << 15], want[1 << 15];
    size_t len = 0;
    for (size_t r = 0; r < 200; r++) len += (size_t)snprintf(ids + len, sizeof ids - len, "%d ", a.tokens[r]);
    good(BUILD_DIR "/qwen tokenize -m " MODEL " --special < " DIR "/text.txt | tr '\\n' ' '");
    snprintf(want, sizeof want, "%.*s", (int)len, out);
    CHECK_STR(ids, want);
    CHECK_HAS(a.docs[0].text, "Notes: /* The test");
    sae_acts_close(&a);
}

/* Shards hold what one file holds, in order; the files of several layers match; every number of threads and
 * every batch gives the same bytes. */
static void shards_hold_the_same_rows(void) {
    good(CAPTURE "--layer 0 --layer 1 --shard 150 -o " DIR "/s.safetensors --threads 2 --batch 3" TEXT);
    CHECK_HAS(out, "shards");
    sae_acts whole, shards;
    if (!open_acts(&whole, DIR "/whole.safetensors")) return;
    if (open_acts(&shards, DIR "/s-L1.safetensors")) {
        CHECK(shards.files.count > 3);
        CHECK_INT(shards.n, whole.n);
        CHECK_INT(shards.n_docs, whole.n_docs);
        CHECK(memcmp(shards.tokens, whole.tokens, whole.n * sizeof *whole.tokens) == 0);
        CHECK(memcmp(shards.doc, whole.doc, whole.n * sizeof *whole.doc) == 0);
        float *x = malloc(2 * (size_t)whole.d * sizeof *x);
        int same = 1;
        for (uint32_t r = 0; r < whole.n; r++) {
            sae_acts_gather(&whole, &r, 1, x);
            sae_acts_gather(&shards, &r, 1, x + whole.d);
            same &= memcmp(x, x + whole.d, (size_t)whole.d * sizeof *x) == 0;
        }
        CHECK(same);
        CHECK_STR(shards.docs[20].text, whole.docs[20].text);
        for (size_t i = 0; i < shards.files.count; i++) {
            CHECK(shards.files.at[i].n <= 150);
            CHECK_INT(shards.files.at[i].last, i + 1 == shards.files.count);
        }
        free(x);
        sae_acts_close(&shards);
    }
    sae_acts_close(&whole);
    good(TRAIN "-a " DIR "/s-L1.safetensors -o " DIR "/sae-shards --width 40 --epochs 2 --batch 32");
    good(TRAIN "-a " DIR "/whole.safetensors -o " DIR "/sae-whole --width 40 --epochs 2 --batch 32");
    good("cmp " DIR "/sae-shards/sae_weights.safetensors " DIR "/sae-whole/sae_weights.safetensors");
    CHECK(!tn_file_exists(DIR "/s-L1.safetensors"));
}

/* Stories too are written in shards, with labels and prompts. */
static void prompts_in_shards(void) {
    good("for i in 1 2 3 4 5 6 7; do echo '{\"prompt\": \"Tell '$i'\", \"label\": \"car'$i'\"}'; done > " DIR
         "/prompts.jsonl");
    good(CAPTURE "--layer 1 -n 9 --prompts " DIR "/prompts.jsonl -o " DIR "/p.safetensors");
    good(CAPTURE "--layer 1 -n 9 --shard 20 --batch 2 --prompts " DIR "/prompts.jsonl -o " DIR
                 "/q.safetensors");
    sae_acts p, q;
    if (!open_acts(&p, DIR "/p.safetensors")) return;
    if (open_acts(&q, DIR "/q.safetensors")) {
        CHECK_INT(p.n, q.n);
        CHECK(q.files.count > 1);
        CHECK(memcmp(p.doc, q.doc, p.n * sizeof *p.doc) == 0);
        CHECK_STR(q.docs[6].label, "car7");
        CHECK_STR(q.docs[6].prompt, "Tell 7");
        CHECK_STR(q.docs[3].text, p.docs[3].text);
        sae_acts_close(&q);
    }
    sae_acts_close(&p);
}

static void filters_are_recorded(void) {
    sae_acts all, some;
    good(CAPTURE "--layer 1 -o " DIR "/new/place/bos.safetensors --bos '<|endoftext|>'" TEXT);
    good(CAPTURE "--layer 1 --skip-first --max-norm 1.1 -o " DIR
                 "/some.safetensors --bos '<|endoftext|>'" TEXT);
    if (!open_acts(&all, DIR "/new/place/bos.safetensors")) return;
    CHECK_INT(all.files.prepend_bos, 1);
    for (size_t r = 0; r < all.n; r += 16) CHECK_INT(all.tokens[r], all.tokens[0]);
    CHECK(all.tokens[1] != all.tokens[17] || all.tokens[2] != all.tokens[18]);
    if (open_acts(&some, DIR "/some.safetensors")) {
        /* the rows that are left are those not at position 0 and not longer than the limit */
        float *x = malloc(all.n * (size_t)all.d * sizeof *x), *y = malloc((size_t)all.d * sizeof *y);
        size_t n = 0, left = 0;
        uint32_t *ids = malloc(all.n * sizeof *ids);
        for (uint32_t r = 0; r < all.n; r++) {
            if (r % 16 == 0) continue;
            ids[n] = r;
            sae_acts_gather(&all, &r, 1, x + n++ * (size_t)all.d);
        }
        double limit = 0;
        CHECK_INT(sae_norm_limit(x, n, all.d, (double)1.1f, &limit, NULL), TN_OK);
        for (uint32_t i = 0; i < n; i++) {
            if (sae_row_norm(x + i * (size_t)all.d, all.d) > limit) continue;
            uint32_t at = (uint32_t)left++;
            if (left > some.n) break;
            sae_acts_gather(&some, &at, 1, y);
            CHECK(memcmp(y, x + i * (size_t)all.d, (size_t)all.d * sizeof *y) == 0);
            CHECK_INT(some.pos[at], all.pos[ids[i]]);
        }
        CHECK_INT(left, some.n);
        CHECK(left < n);
        tn_buf text = TN_BUF_INIT;
        const tn_safetensors *file = some.files.at[0].file;
        CHECK(tn_st_metadata(file, "skip_first", &text) && strcmp(text.data, "true") == 0);
        tn_buf_clear(&text);
        CHECK(tn_st_metadata(file, "dropped_rows", &text));
        CHECK_INT(strtol(text.data, NULL, 10), n - left);
        tn_buf_clear(&text);
        CHECK(tn_st_metadata(file, "norm_limit", &text));
        CHECK_NEAR(strtod(text.data, NULL), limit, 1e-9);
        tn_buf_free(&text);
        free(x), free(y), free(ids);
        sae_acts_close(&some);
    }
    sae_acts_close(&all);
}

/* Killed at some shard, it goes on to the same bytes; also when a layer lacks a shard that another one has.
 */
static void a_killed_capture_goes_on(void) {
#define SHARDED "--layer 0 --layer 1 --shard 60 --skip-first --max-norm 3 --threads 1" TEXT
    good(CAPTURE SHARDED " -o " DIR "/undisturbed.safetensors");
    good(CAPTURE SHARDED " -o " DIR "/killed.safetensors > /dev/null 2>&1 & p=$!; "
                         "while kill -0 $p 2> /dev/null && ! test -e " DIR
                         "/killed-L1-00003.safetensors; do :; done; "
                         "kill -9 $p 2> /dev/null; wait $p 2> /dev/null; true");
    bad(CAPTURE SHARDED " -o " DIR "/killed.safetensors", 1, "--resume goes on with it");
    good("rm " DIR "/killed-L1-00003.safetensors");
    bad(CAPTURE SHARDED " --site mlp_out --resume -o " DIR "/killed.safetensors", 1,
        "another capture (hook_name");
    bad(CAPTURE SHARDED " --bos '<|endoftext|>' --resume -o " DIR "/killed.safetensors", 1,
        "another capture (text_tokens");
    good(CAPTURE SHARDED " --resume -o " DIR "/killed.safetensors");
    good("for f in " DIR "/undisturbed-*; do cmp $f " DIR "/killed${f#" DIR "/undisturbed} || exit 1; done");
    good("rm -f " DIR "/list && ls -l " DIR "/killed-* > " DIR "/list");
    good(CAPTURE SHARDED " --resume -o " DIR "/killed.safetensors && ls -l " DIR "/killed-* | cmp - " DIR
                         "/list");
    good("rm " DIR "/killed-L0-00002.safetensors");
    bad(TRAIN "-o " DIR "/x -a " DIR "/killed-L0.safetensors", 1, "killed-L0-00002.safetensors: is missing");
    good("mkdir -p " DIR "/some && cp " DIR "/killed-L1-0000[124].safetensors " DIR "/some");
    bad(TRAIN "-o " DIR "/x -a " DIR "/some", 1, "is shard 4 of its capture, shard 3 is missing");
}

/* The same SAE from a model that reads the texts as from the capture, in memory and through a small buffer.
 */
static void training_reads_texts_itself(void) {
    static const char *const buffers[] = {"", " --buffer 300"};
    for (int i = 0; i < 2; i++) {
        char line[2048];
        snprintf(line, sizeof line,
                 TRAIN "-a " DIR "/filtered.safetensors -o " DIR
                       "/from-file --epochs 2 --width 40 --batch 32 --threads 1 --log-every 5%s",
                 buffers[i]);
        good(CAPTURE "--layer 1 --skip-first --bos '<|endoftext|>' -o " DIR "/filtered.safetensors" TEXT);
        good(line);
        snprintf(line, sizeof line,
                 TRAIN "-m " MODEL " --layer 1 --skip-first --bos '<|endoftext|>' -o " DIR
                       "/from-text --epochs 2 --width 40 --batch 32 --threads 2 --log-every 5%s" TEXT,
                 buffers[i]);
        good(line);
        CHECK_HAS(out, "32 -> 40 latents on blocks.1.hook_resid_post");
        good("for f in cfg.json sae_weights.safetensors train.csv trainer.safetensors; do cmp " DIR
             "/from-file/$f " DIR "/from-text/$f || exit 1; done");
    }
    good("grep '\"prepend_bos\": true' " DIR "/from-text/cfg.json && grep '\"context_size\": 16' " DIR
         "/from-text/cfg.json");
}

/* Outliers leave gaps in the batches, at the same places in every run. */
static void training_without_outliers_resumes(void) {
#define FROM_TEXT                                                                                            \
    TRAIN "-m " MODEL                                                                                        \
          " --layer 1 --max-norm 1.1 --buffer 300 --epochs 4 --width 40 --batch 32 --log-every 3 "           \
          "--checkpoint-every 3" TEXT
    good(FROM_TEXT " -o " DIR "/calm --threads 1");
    good("mkdir -p " DIR "/hurt; " FROM_TEXT " -o " DIR "/hurt --threads 1 > /dev/null 2>&1 & p=$!; "
         "while kill -0 $p 2> /dev/null && ! test -e " DIR "/hurt/trainer.safetensors; do :; done; "
         "kill -9 $p 2> /dev/null; wait $p 2> /dev/null; true");
    good(FROM_TEXT " -o " DIR "/hurt --resume --threads 2");
    good("for f in cfg.json sae_weights.safetensors train.csv trainer.safetensors; do cmp " DIR
         "/calm/$f " DIR "/hurt/$f || exit 1; done");
}

static void errors_are_one_line(void) {
#define TRY CAPTURE "--layer 1 -o " DIR "/never.safetensors "
    good("echo '{\"text\": 3}' > " DIR "/bad1.jsonl; printf '\\n{\"tex\": \"a\"}\\n' > " DIR
         "/bad2.jsonl; echo '{\"text\": ' > " DIR "/bad3.jsonl; echo hi > " DIR "/short.txt; : > " DIR
         "/empty.txt");
    bad(TRY "--text " DIR "/bad1.jsonl", 1, "bad1.jsonl: line 1: \"text\" is no string");
    bad(TRY "--text " DIR "/bad2.jsonl", 1, "bad2.jsonl: line 2: expected an object with a \"text\"");
    bad(TRY "--text " DIR "/bad3.jsonl", 1, "bad3.jsonl: line 1: ");
    bad(TRY "--text " DIR "/short.txt", 1, "tokens are less than a window of 128");
    bad(TRY "--text " DIR "/empty.txt", 1, "0 tokens are less than a window of 128");
    bad(TRY "--text " DIR "/none.txt", 1, "none.txt: No such file");
    bad(TRY "--ctx 100000 --text " DIR "/text.txt", 1, "tokens are less than a window of 100000");
    bad(TRY "--bos nonsense" TEXT, 1, "--bos: \"nonsense\" is no token");
    bad(TRY "--max-norm 0.5" TEXT, 2, "it must be at least 1");
    bad(TRY "--positions prompt" TEXT, 2, "--positions can only be all");
    bad(TRY "--ctx 8 --prompts " DIR "/prompts.jsonl", 2, "--ctx goes with --text");
    bad(TRY, 2, "give either --prompts FILE.jsonl or --text FILE");
    bad(TRAIN "-o " DIR "/x", 2, "give either -a FILE or --text FILE");
    bad(TRAIN "-o " DIR "/x -a " DIR "/whole.safetensors --layer 1", 2, "go with --text");
    bad(TRAIN "-o " DIR "/x --text " DIR "/text.txt", 1, "--text needs -m DIR and --layer L");
    bad(TRAIN "-o " DIR "/x -m " MODEL " --layer 99" TEXT, 1, "layer 99 is out of range");
    CHECK(!tn_file_exists(DIR "/never.safetensors"));
}

void test_capture(void) {
    RUN(prepare);
    RUN(windows_are_packed);
    RUN(shards_hold_the_same_rows);
    RUN(prompts_in_shards);
    RUN(filters_are_recorded);
    RUN(a_killed_capture_goes_on);
    RUN(training_reads_texts_itself);
    RUN(training_without_outliers_resumes);
    RUN(errors_are_one_line);
}
