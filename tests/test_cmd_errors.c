/* What goes wrong for users of `qwen` gives exit 1, nothing on stdout and one clear line on stderr. */
#include "tensor/buf.h"
#include "tensor/os.h"
#include "tensor/dtype.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QWEN BUILD_DIR "/qwen "
#define TINY "tests/golden/tiny-chat"

static char out[1 << 12], err[1 << 12];

/* Runs a shell line that must fail with one error line containing `part`. */
static void fails(const char *line, const char *part) {
    int code = test_shell(line, out, sizeof out, err, sizeof err);
    const char *end = strchr(err, '\n');
    int ok = CHECK_INT(code, 1) & CHECK_STR(out, "") & CHECK(strncmp(err, "qwen: error: ", 13) == 0) &
             CHECK(end && end[1] == '\0') & CHECK_HAS(err, part);
    if (!ok) printf("  %s\n", line);
}

/* A copy of the tiny model in which every `from` in the file became `to` (of the same length when the file is
 * model.safetensors, whose header must keep its size). Returns the directory. */
static const char *changed_copy(const char *file, const char *from, const char *to) {
    const char *dir = test_path("changed");
    char line[1024], path[512];
    tn_map map;
    tn_err e;
    snprintf(line, sizeof line, "rm -rf %s && cp -r " TINY " %s", dir, dir);
    CHECK_INT(test_shell(line, NULL, 0, NULL, 0), 0);
    snprintf(path, sizeof path, "%s/%s", dir, file);
    if (!CHECK_INT(tn_map_file(&map, path, &e), TN_OK)) return dir;
    tn_buf b = TN_BUF_INIT;
    const char *p = map.data, *end = p + map.size;
    size_t n = strlen(from);
    int found = 0;
    while (p < end) {
        int here = (size_t)(end - p) >= n && memcmp(p, from, n) == 0;
        found |= here;
        tn_buf_add(&b, here ? to : p, here ? strlen(to) : 1);
        p += here ? n : 1;
    }
    tn_unmap_file(&map);
    CHECK(found);
    CHECK_INT(tn_write_file(path, b.data, b.len, &e), TN_OK);
    tn_buf_free(&b);
    return dir;
}

static void changed_fails(const char *file, const char *from, const char *to, const char *part) {
    char line[600];
    snprintf(line, sizeof line, QWEN "trace -m %s --ids '1 2' -o %s", changed_copy(file, from, to),
             test_path("never"));
    fails(line, part);
    CHECK(!tn_file_exists(test_path("never")));
}

/* A model.safetensors with this header and `data` zero bytes; header_length < 0 tells the truth. */
static void header_fails(const char *header, size_t data, long long header_length, const char *part) {
    const char *dir = changed_copy("config.json", "{", "{");
    char path[512], line[600];
    unsigned char length[8];
    tn_err e;
    tn_buf b = TN_BUF_INIT;
    tn_store_u64(length, header_length < 0 ? strlen(header) : (uint64_t)header_length);
    tn_buf_add(&b, length, 8);
    tn_buf_puts(&b, header);
    for (size_t i = 0; i < data; i++) tn_buf_putc(&b, '\0');
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    CHECK_INT(tn_write_file(path, b.data, b.len, &e), TN_OK);
    tn_buf_free(&b);
    snprintf(line, sizeof line, QWEN "info -m %s", dir);
    fails(line, part);
    CHECK_HAS(err, "model.safetensors");
}

/* ---- Files ---- */

static void missing_files(void) {
    char line[600];
    fails(QWEN "info -m /no/such/place", "/no/such/place");
    fails(QWEN "generate -m " TINY " --jsonl /no/such.jsonl -o x", "/no/such.jsonl");
    fails(QWEN "perplexity -m " TINY " /no/such.txt", "/no/such.txt");
    fails(QWEN "generate -m tests/golden/forward/llama -p hello", "tokenizer");
    const char *dir = changed_copy("config.json", "{", "{");
    snprintf(line, sizeof line, "rm %s/model.safetensors; " QWEN "info -m %s", dir, dir);
    fails(line, "model.safetensors");
    dir = changed_copy("config.json", "{", "{");
    snprintf(line, sizeof line, "rm %s/config.json; " QWEN "info -m %s", dir, dir);
    fails(line, "config.json");
}

static void broken_safetensors(void) {
    char line[900];
    const char *dir = changed_copy("config.json", "{", "{");
    snprintf(line, sizeof line,
             "head -c 70000 " TINY "/model.safetensors > %s/model.safetensors; " QWEN "info -m %s", dir, dir);
    fails(line, "past the file's end");
    snprintf(line, sizeof line, ": > %s/model.safetensors; " QWEN "info -m %s", dir, dir);
    fails(line, "model.safetensors");
    header_fails("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                 "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
                 12, -1, "overlap");
    header_fails("{\"a\":{\"dtype\":\"F32\",\"shape\":[200],\"data_offsets\":[0,800]}}", 8, -1,
                 "past the file's end");
    header_fails("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, -1, "\"a\"");
    header_fails("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8,
                 -1, "\"a\"");
    header_fails("{}", 0, 1000000, "header");
    header_fails("{}", 0, 0x7fffffffffffffff, "header");
    header_fails("{\"a\":", 8, -1, "JSON");
}

static void tensors_that_do_not_fit(void) {
    changed_fails("model.safetensors", "\"BF16\"", "\"I16\" ", "I16");
    changed_fails("model.safetensors", "model.norm.weight", "model.nork.weight", "model.norm.weight");
    changed_fails("config.json", "\"intermediate_size\": 64", "\"intermediate_size\": 65",
                  "expected [65, 32]");
    changed_fails("config.json", "\"vocab_size\": 308", "\"vocab_size\": 309", "model.embed_tokens.weight");
}

static void configurations_that_do_not_run(void) {
    changed_fails("config.json", "\"hidden_size\"", "\"hidden_size", "config.json: bad JSON");
    changed_fails("config.json", "\"model_type\": \"qwen2\"", "\"model_type\": \"mamba\"", "mamba");
    changed_fails("config.json", "\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", "gelu");
    changed_fails("config.json", "\"use_sliding_window\": false", "\"use_sliding_window\": true", "sliding");
    changed_fails("config.json", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": -3",
                  "num_hidden_layers");
    char line[600];
    snprintf(line, sizeof line, QWEN "generate -p a -m %s",
             changed_copy("tokenizer.json", "\"model\"", "\"model"));
    fails(line, "tokenizer.json: bad JSON");
}

/* ---- Arguments ---- */

static void numbers_out_of_range(void) {
    char line[3000];
    fails(QWEN "trace -m " TINY " --ids '1 9999' -o x", "token id 9999 is out of range");
    fails(QWEN "trace -m " TINY " --ids '1 -5' -o x", "\"-5\" is no token id");
    fails(QWEN "trace -m " TINY " --ids '' -o x", "the prompt is empty");
    fails(QWEN "trace -m " TINY " --ids 1 --layers 3 -o x",
          "layer 3 is out of range: the model has layers 0 to 2");
    fails(QWEN "generate -m " TINY " -p '' --raw", "the prompt is empty");
    fails(QWEN "generate -m " TINY " -p a --temp -1", "temperature");
    fails(QWEN "generate -m " TINY " -p a --top-p 2", "top-p is 2");
    fails(QWEN "generate -m " TINY " -p 'a longer prompt' --ctx 4", "more than the context of 4");
    fails(QWEN "generate -m " TINY " -p a --ctx 1000", "more than the model's 256 positions");
    fails(QWEN "perplexity -m " TINY " tests/golden/prose.txt --ctx 257",
          "more than the model's 256 positions");
    fails("SCALPEL_ISA=abacus " QWEN "info -m " TINY, "abacus");
    snprintf(line, sizeof line, QWEN "generate -m " TINY " --raw -p '%01000d'", 7); /* a digit is a token */
    fails(line, "the prompt has 1000 tokens, more than the context of 256");
    snprintf(line, sizeof line, QWEN "lens -m " TINY " --raw -p '%01000d'", 7);
    fails(line, "the prompt has 1000 tokens, more than the context of 256");
}

static void mistakes_in_a_prompts_file(void) {
    const char *in = test_path("bad.jsonl");
    char line[600];
    tn_err e;
    const char *text = "{\"prompt\": \"fine\"}\n{\"prompt\": 5}\n";
    CHECK_INT(tn_write_file(in, text, strlen(text), &e), TN_OK);
    snprintf(line, sizeof line, QWEN "generate -m " TINY " --jsonl %s -o %s", in, test_path("bad-out"));
    fails(line, "bad.jsonl: line 2: \"prompt\" is no string");
    text = "{\"prompt\": \"a\"}\n\n{\"prompt\": \"a much longer prompt, more tokens\"}\n";
    CHECK_INT(tn_write_file(in, text, strlen(text), &e), TN_OK);
    snprintf(line, sizeof line, QWEN "generate --raw --ctx 8 -m " TINY " --jsonl %s -o %s", in,
             test_path("bad-out"));
    fails(line, "bad.jsonl: line 3: the prompt has");
    CHECK(!tn_file_exists(test_path("bad-out.part")));
}

/* ---- A full disk ---- */

/* Files may grow to 1536 bytes (3072 in some shells): the write beyond fails as on a full disk. */
#define SMALL_DISK "trap '' XFSZ; ulimit -f 3; "

static void full_disks(void) {
    char line[900];
    const char *to = test_path("full.safetensors");
    tn_remove_file(to);
    snprintf(line, sizeof line, SMALL_DISK QWEN "trace -m " TINY " --ids '1 2 3' -o %s", to);
    fails(line, "full.safetensors");
    CHECK(!tn_file_exists(to));
    snprintf(line, sizeof line, "ls %s.tmp-*", to);
    CHECK(test_shell(line, NULL, 0, NULL, 0) != 0); /* nothing is left lying about */

    const char *in = test_path("full-in.jsonl");
    tn_err e;
    const char *text = "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n{\"prompt\": \"c\"}\n";
    CHECK_INT(tn_write_file(in, text, strlen(text), &e), TN_OK);
    to = test_path("full.jsonl");
    tn_remove_file(to);
    tn_remove_file(test_path("full.jsonl.part"));
    snprintf(line, sizeof line, SMALL_DISK QWEN "generate -m " TINY " -n 100 --jsonl %s -o %s", in, to);
    fails(line, "full.jsonl");
    CHECK(!tn_file_exists(to));
    /* With room again the same command completes what was begun. */
    snprintf(line, sizeof line, QWEN "generate -m " TINY " -n 100 --jsonl %s -o %s && wc -l < %s", in, to,
             to);
    CHECK_INT(test_shell(line, out, sizeof out, err, sizeof err), 0);
    CHECK_INT(atoi(out), 3);

    if (!tn_file_exists("/dev/full")) return;
    fails(QWEN "generate -m " TINY " -p a > /dev/full", "standard output");
    fails(QWEN "lens -m " TINY " -p a > /dev/full", "standard output");
    fails(QWEN "info -m " TINY " > /dev/full", "standard output");
    fails("echo a | " QWEN "tokenize -m " TINY " > /dev/full", "standard output");
    fails("echo a | " QWEN "chat -m " TINY " > /dev/full", "standard output");
    fails(QWEN "bench -m " TINY " -p 2 -n 1 --json > /dev/full", "standard output");
    fails(QWEN "generate --help > /dev/full", "standard output");
}

void test_cmd_errors(void) {
    RUN(missing_files);
    RUN(broken_safetensors);
    RUN(tensors_that_do_not_fit);
    RUN(configurations_that_do_not_run);
    RUN(numbers_out_of_range);
    RUN(mistakes_in_a_prompts_file);
    RUN(full_disks);
}
