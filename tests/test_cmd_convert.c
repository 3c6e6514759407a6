/* The `convert` command as a user meets it: exit codes, one-line errors, what lies in the directory after. */
#include "tests/test.h"

#include "convert/convert.h"
#include "qwen/qwen.h"
#include "tensor/safetensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/gguf/"

static char out_text[4096], err_text[4096];

/* Runs BUILD_DIR/convert with these arguments; returns the exit code. */
static int convert(const char *fmt, ...) TN_PRINTF(1, 2);
static int convert(const char *fmt, ...) {
    char args[2048], line[2304];
    va_list list;
    va_start(list, fmt);
    vsnprintf(args, sizeof args, fmt, list);
    va_end(list);
    snprintf(line, sizeof line, "%s/convert %s", BUILD_DIR, args);
    return test_shell(line, out_text, sizeof out_text, err_text, sizeof err_text);
}

/* A directory below the test directory that is not there yet. */
static const char *fresh(const char *name) {
    char line[512];
    const char *path = test_path(name);
    snprintf(line, sizeof line, "rm -rf %s", path);
    CHECK_INT(test_shell(line, NULL, 0, NULL, 0), 0);
    return path;
}

static const char *inside(const char *dir, const char *name) {
    static char ring[4][512];
    static int next;
    char *p = ring[next++ % 4];
    snprintf(p, sizeof ring[0], "%s/%s", dir, name);
    return p;
}

static int has(const char *dir, const char *name) {
    return tn_file_exists(inside(dir, name));
}

/* The last run failed with `code` and said one line, which contains `part`. */
static void check_error(int got, int code, const char *part) {
    CHECK_INT(got, code);
    CHECK_STR(out_text, "");
    CHECK_HAS(err_text, "convert: error: ");
    CHECK_HAS(err_text, part);
    const char *newline = strchr(err_text, '\n');
    if (code == 1) CHECK(newline && newline[1] == '\0');
}

/* 1 when both files hold the same bytes. */
static int same_bytes(const char *a, const char *b) {
    char line[1200];
    snprintf(line, sizeof line, "cmp %s %s", a, b);
    return test_shell(line, NULL, 0, NULL, 0) == 0;
}

/* ---- gguf ---- */

static void gguf_writes_a_model(void) {
    const char *dir = fresh("c-llama");
    CHECK_INT(convert("gguf " GOLDEN "llama-tiny.gguf -o %s", dir), 0);
    CHECK_STR(out_text, "");
    CHECK_STR(err_text, "");
    tn_err e = {0};
    qwen_model *m;
    if (!CHECK_INT(qwen_open_dir(&m, dir, &e), TN_OK)) {
        puts(e.msg);
        return;
    }
    const qwen_config *c = qwen_model_config(m);
    CHECK_INT(c->head_dim, 4);
    CHECK_INT(c->tied, 0);
    CHECK_INT(c->n_eos, 1);
    CHECK_INT(c->eos[0], 2);
    qwen_close(m);
    CHECK_INT(convert("gguf " GOLDEN "qwen2-tiny.gguf -o %s", fresh("c-qwen2")), 0);
    if (CHECK_INT(qwen_open_dir(&m, test_path("c-qwen2"), &e), TN_OK)) {
        CHECK_INT(qwen_model_config(m)->qkv_bias, 1);
        CHECK_INT(qwen_model_config(m)->tied, 1);
        qwen_close(m);
    }
}

static void gguf_into_other_types(void) {
    /* Straight to bf16 is the same as by way of f32. */
    const char *f32 = fresh("c-f32"), *direct = fresh("c-bf16"), *by_way = fresh("c-bf16-2");
    CHECK_INT(convert("gguf " GOLDEN "qwen2-tiny.gguf -t f32 --threads 1 -o %s", f32), 0);
    CHECK_INT(convert("gguf " GOLDEN "qwen2-tiny.gguf -t bf16 --threads 3 -o %s", direct), 0);
    CHECK_INT(convert("quantize -m %s -t bf16 -o %s", f32, by_way), 0);
    tn_safetensors *a, *b;
    tn_err e;
    if (!CHECK_INT(tn_st_open_dir(&a, direct, &e), TN_OK)) return;
    if (CHECK_INT(tn_st_open_dir(&b, by_way, &e), TN_OK)) {
        CHECK_INT(tn_st_count(a), tn_st_count(b));
        for (size_t i = 0; i < tn_st_count(a); i++) {
            const tn_tensor *x = tn_st_at(a, i), *y = tn_st_find(b, x->name);
            CHECK_INT(x->dtype, TN_BF16);
            CHECK(y && y->dtype == TN_BF16 && memcmp(x->data, y->data, 2 * x->count) == 0);
        }
        tn_st_close(b);
    }
    tn_st_close(a);
}

static void gguf_refusals_leave_no_trace(void) {
    const char *dir = fresh("c-none"), *cut = test_path("c-cut.gguf");
    check_error(convert("gguf no-such-file.gguf -o %s", dir), 1, "no-such-file.gguf: No such file");
    check_error(convert("gguf " GOLDEN "llama-tiny.gguf -t q8 -o %s", dir), 1, "unknown type \"q8\"");
    check_error(convert("gguf " GOLDEN "llama-tiny.safetensors -o %s", dir), 1, "no GGUF file");
    char line[1024];
    snprintf(line, sizeof line, "head -c 20000 " GOLDEN "llama-tiny.gguf > %s", cut);
    CHECK_INT(test_shell(line, NULL, 0, NULL, 0), 0);
    check_error(convert("gguf %s -o %s", cut, dir), 1, "does not fit: the file ends at byte 20000");
    snprintf(line, sizeof line, "sed s/qwen2/qwen9/ " GOLDEN "qwen2-tiny.gguf > %s", cut);
    CHECK_INT(test_shell(line, NULL, 0, NULL, 0), 0);
    check_error(convert("gguf %s -o %s", cut, dir), 1, "architecture \"qwen9\" is not supported");
    CHECK(!tn_file_exists(dir));
}

static void wrong_usage(void) {
    check_error(convert("gguf -o x"), 2, "the GGUF file is missing");
    check_error(convert("gguf " GOLDEN "llama-tiny.gguf"), 2, "-o");
    check_error(convert("quantize -m x -o y"), 2, "-t");
    check_error(convert("polish"), 2, "polish");
    CHECK_INT(convert("--help"), 0);
    CHECK_HAS(out_text, "quantize");
    CHECK_INT(convert("gguf --help"), 0);
    CHECK_HAS(out_text, "bf16");
    CHECK_HAS(out_text, "--threads");
    CHECK_HAS(out_text, "--seed");
}

/* ---- quantize ---- */

static int open_tensors(tn_safetensors **st, const char *dir) {
    tn_err e = {0};
    if (CHECK_INT(tn_st_open_dir(st, dir, &e), TN_OK)) return 1;
    puts(e.msg);
    return 0;
}

/* Every value of `got` is the value of `want` rounded to t. */
static void check_rounded(const char *got_dir, const char *want_dir, tn_dtype t) {
    tn_safetensors *got, *want;
    if (!open_tensors(&got, got_dir)) return;
    if (open_tensors(&want, want_dir)) {
        CHECK_INT(tn_st_count(got), tn_st_count(want));
        for (size_t i = 0; i < tn_st_count(want); i++) {
            const tn_tensor *w = tn_st_at(want, i), *g = tn_st_find(got, w->name);
            if (!CHECK(g && g->rank == w->rank && g->count == w->count)) continue;
            float *x = malloc(w->count * sizeof *x), *y = malloc(w->count * sizeof *y);
            CHECK_INT(tn_to_f32(x, w->data, w->dtype, w->count), TN_OK);
            CHECK_INT(tn_to_f32(y, g->data, g->dtype, g->count), TN_OK);
            size_t wrong = 0;
            for (size_t k = 0; k < w->count; k++)
                wrong += y[k] != (t == TN_BF16 ? tn_bf16_to_f32(tn_f32_to_bf16(x[k]))
                                               : tn_f16_to_f32(tn_f32_to_f16(x[k])));
            CHECK_INT(wrong, 0);
            free(x);
            free(y);
        }
        tn_st_close(want);
    }
    tn_st_close(got);
}

static void quantize_round_trips(void) {
    const char *f32 = fresh("q-f32"), *bf16 = fresh("q-bf16"), *back = fresh("q-back"),
               *again = fresh("q-again"), *f16 = fresh("q-f16");
    CHECK_INT(convert("gguf " GOLDEN "llama-tiny.gguf -o %s", f32), 0);
    CHECK_INT(convert("quantize -m %s -t bf16 -o %s", f32, bf16), 0);
    CHECK_INT(convert("quantize -m %s -t f32 -o %s", bf16, back), 0);
    CHECK_INT(convert("quantize -m %s -t bf16 -o %s", back, again), 0);
    CHECK_INT(convert("quantize -m %s -t f16 -o %s", f32, f16), 0);
    check_rounded(bf16, f32, TN_BF16);
    check_rounded(back, f32, TN_BF16);
    check_rounded(f16, f32, TN_F16);
    CHECK(same_bytes(inside(bf16, "model.safetensors"), inside(again, "model.safetensors")));
    CHECK(same_bytes(inside(bf16, "tokenizer.json"), inside(f32, "tokenizer.json")));
    CHECK(same_bytes(inside(bf16, "tokenizer_config.json"), inside(f32, "tokenizer_config.json")));
    CHECK(same_bytes(inside(bf16, "generation_config.json"), inside(f32, "generation_config.json")));
    CHECK(!same_bytes(inside(bf16, "config.json"), inside(f32, "config.json")));
    CHECK(same_bytes(inside(back, "config.json"), inside(again, "config.json")) == 0);
    tn_map m;
    tn_err e;
    tn_json c;
    if (CHECK_INT(tn_map_file(&m, inside(bf16, "config.json"), &e), TN_OK)) {
        CHECK_INT(tn_json_parse(&c, m.data, m.size, &e), TN_OK);
        CHECK(tn_json_is(tn_json_get(c, "torch_dtype"), "bfloat16"));
        CHECK(tn_json_is(tn_json_get(c, "model_type"), "llama"));
        CHECK_INT(tn_json_count(tn_json_get(c, "architectures")), 1);
        tn_unmap_file(&m);
    }
}

static void write_text(const char *dir, const char *name, const char *text) {
    tn_err e = {0};
    CHECK_INT(tn_make_dirs(dir, &e), TN_OK);
    if (!CHECK_INT(tn_write_file(inside(dir, name), text, strlen(text), &e), TN_OK)) puts(e.msg);
}

/* dir/file with one F32 tensor [n] whose values are first, first + 1, … */
static void write_shard(const char *dir, const char *file, const char *tensor, size_t n, float first) {
    tn_err e = {0};
    tn_st_writer *w;
    tn_tensor_spec spec = {tensor, TN_F32, 1, {n}};
    CHECK_INT(tn_make_dirs(dir, &e), TN_OK);
    if (!CHECK_INT(tn_st_create(&w, inside(dir, file), &spec, 1, NULL, 0, &e), TN_OK)) return;
    for (size_t i = 0; i < n; i++) {
        float x = first + (float)i;
        unsigned char raw[4];
        tn_from_f32(raw, TN_F32, &x, 1);
        tn_st_write(w, raw, sizeof raw);
    }
    CHECK_INT(tn_st_finish(w, &e), TN_OK);
}

/* Links in the output directory are replaced by files; what they led to, here the very input, is left alone.
 */
static void quantize_over_links(void) {
    const char *from = fresh("q-linked"), *to = fresh("q-links"), *want = fresh("q-linked-want");
    char line[1024];
    CHECK_INT(convert("gguf " GOLDEN "llama-tiny.gguf -o %s", from), 0);
    CHECK_INT(convert("quantize -m %s -t f16 -o %s", from, want), 0);
    snprintf(
        line, sizeof line,
        "cp %s/model.safetensors %s.copy && mkdir -p %s && for f in %s/*; do ln -s \"$PWD/$f\" %s/; done",
        from, from, to, from, to);
    CHECK_INT(test_shell(line, NULL, 0, NULL, 0), 0);
    CHECK_INT(convert("quantize -m %s -t f16 -o %s", from, to), 0);
    snprintf(line, sizeof line,
             "cmp %s/model.safetensors %s.copy && cmp %s/model.safetensors %s/model.safetensors && "
             "test ! -h %s/tokenizer.json -a -s %s/tokenizer.json",
             from, from, to, want, to, from);
    CHECK_INT(test_shell(line, NULL, 0, NULL, 0), 0);
}

static void quantize_joins_shards(void) {
    const char *in = fresh("q-shards"), *out = fresh("q-joined");
    write_shard(in, "model-00001-of-00002.safetensors", "one", 3, 1);
    write_shard(in, "model-00002-of-00002.safetensors", "two", 5, -7);
    write_text(
        in, "model.safetensors.index.json",
        "{\"metadata\": {\"total_size\": 32}, \"weight_map\": {"
        "\"one\": \"model-00001-of-00002.safetensors\", \"two\": \"model-00002-of-00002.safetensors\"}}");
    write_text(in, "config.json", "{\"dtype\": \"float32\", \"x\": [1, {\"y\": null}]}");
    write_text(out, "model.safetensors.index.json", "{}"); /* of an earlier model: must not survive */
    write_text(out, "tokenizer.json", "{}");               /* the same: the new model has none */
    CHECK_INT(convert("quantize -m %s -t bf16 -o %s", in, out), 0);
    CHECK(has(out, "model.safetensors") && !has(out, "model.safetensors.index.json") &&
          !has(out, "tokenizer.json"));
    check_rounded(out, in, TN_BF16);
    char config[256] = "";
    char line[600];
    snprintf(line, sizeof line, "cat %s", inside(out, "config.json"));
    test_shell(line, config, sizeof config, NULL, 0);
    CHECK_HAS(config, "\"dtype\": \"bfloat16\"");
    CHECK_HAS(config, "[1, {\"y\": null}]");
    CHECK(!strstr(config, "torch_dtype"));
}

static void quantize_refusals(void) {
    const char *in = fresh("q-large"), *out = fresh("q-refused");
    write_shard(in, "model.safetensors", "big", 9, 65512);
    write_text(in, "config.json", "{}");
    CHECK_INT(convert("quantize -m %s -t f16 -o %s", in, out), 1);
    check_error(1, 1, "tensor \"big\" holds 65520, which is beyond the range of F16");
    CHECK(!has(out, "config.json") && !has(out, "model.safetensors"));
    write_shard(in, "model.safetensors", "big", 8, 65512); /* up to 65519, which rounds to 65504 */
    CHECK_INT(convert("quantize -m %s -t f16 -o %s", in, out), 0);

    check_error(convert("quantize -m %s -t q5 -o %s", in, out), 1, "unknown type \"q5\"");
    check_error(convert("quantize -m %s -t q4 --group 48 -o %s", in, out), 1, "a group of 48 columns");
    check_error(convert("quantize -m %s -t f16 --group 32 -o %s", in, out), 2, "groups are for q8 and q4");
    check_error(convert("quantize -m no-such-dir -t f16 -o %s", fresh("q-none")), 1, "no-such-dir");
    CHECK(!tn_file_exists(test_path("q-none")));
    write_text(in, "config.json", "[1]");
    check_error(convert("quantize -m %s -t f16 -o %s", in, out), 1, "config.json: expected an object");
    write_text(in, "config.json", "{\"a\": }");
    check_error(convert("quantize -m %s -t f16 -o %s", in, out), 1, "config.json: bad JSON");
    write_text(in, "config.json", "{}");
    check_error(convert("quantize -m %s -t f16 -o %s/../q-large/", in, in), 1, "the same directory");
    CHECK(has(in, "config.json") && has(in, "model.safetensors"));
}

/* A quantised model runs, says what it is, and is not quantised again. */
static void quantize_to_integers(void) {
    const char *f32 = fresh("q-float"), *q8 = fresh("q-q8"), *q4 = fresh("q-q4"), *three = fresh("q-q4-3");
    char line[1024], info[4096];
    CHECK_INT(convert("gguf " GOLDEN "qwen2-tiny.gguf -o %s", f32), 0);
    CHECK_INT(convert("quantize -m %s -t q8 -o %s", f32, q8), 0);
    CHECK_INT(convert("quantize -m %s -t q4 --group 64 --threads 1 -o %s", f32, q4), 0);
    CHECK_INT(convert("quantize -m %s -t q4 --group 64 --threads 3 -o %s", f32, three), 0);
    CHECK(same_bytes(inside(q4, "model.safetensors"), inside(three, "model.safetensors")));
    snprintf(line, sizeof line, "%s/qwen info -m %s", BUILD_DIR, q8);
    CHECK_INT(test_shell(line, info, sizeof info, NULL, 0), 0);
    CHECK_HAS(info, "F32 ");
    CHECK_HAS(info, " % in groups of 32, Q8 ");
    CHECK_HAS(info, " % in groups of 64\n");
    snprintf(line, sizeof line, "%s/qwen info -m %s", BUILD_DIR, q4);
    CHECK_INT(test_shell(line, info, sizeof info, NULL, 0), 0);
    CHECK_HAS(info, ", Q8 ");
    CHECK_HAS(info, " % in groups of 32, Q4 ");
    CHECK_HAS(info, " % in groups of 64\n");
    check_error(convert("quantize -m %s -t f32 -o %s", q8, fresh("q-twice")), 1, "is quantised already");
}

/* Weights larger than asked for become shards, whose tensors are those of the one file. */
static void quantize_to_shards(void) {
    const char *f32 = fresh("q-whole"), *one = fresh("q-one"), *many = fresh("q-many");
    tn_safetensors *a, *b;
    CHECK_INT(convert("gguf " GOLDEN "qwen2-tiny.gguf -o %s", f32), 0);
    CHECK_INT(convert("quantize -m %s -t q8 -o %s", f32, one), 0);
    convert_opts o = {.type = {.bits = 8, .head_bits = 8, .group = 64, .head_group = 32},
                      .threads = 1,
                      .shard_bytes = 3000};
    tn_err e = {0};
    if (!CHECK_INT(convert_weights(f32, many, &o, &e), TN_OK)) puts(e.msg);
    CHECK(!has(many, "model.safetensors") && has(many, "model.safetensors.index.json"));
    if (!open_tensors(&a, one)) return;
    if (open_tensors(&b, many)) {
        CHECK_INT(tn_st_count(a), tn_st_count(b));
        for (size_t i = 0; i < tn_st_count(a); i++) {
            const tn_tensor *x = tn_st_at(a, i), *y = tn_st_find(b, x->name);
            CHECK(y && y->dtype == x->dtype && y->count == x->count &&
                  !memcmp(x->data, y->data, x->count * tn_dtype_size(x->dtype)));
        }
        tn_st_close(b);
    }
    tn_st_close(a);
    qwen_model *m;
    if (CHECK_INT(qwen_open_dir(&m, many, &e), TN_OK))
        qwen_close(m);
    else
        puts(e.msg);
}

/* ---- Interruption ---- */

static void an_unfinished_directory_has_no_config(void) {
    const char *dir = fresh("a-dir");
    char line[1024];
    /* A complete model lies there already. */
    CHECK_INT(convert("gguf " GOLDEN "qwen2-tiny.gguf -o %s", dir), 0);
    CHECK(has(dir, "config.json"));
    /* The limit on file sizes kills the next import in the middle of the weights (blocks of 512 bytes). */
    snprintf(line, sizeof line, "ulimit -f 64; %s/convert gguf " GOLDEN "llama-tiny.gguf -o %s; exit $?",
             BUILD_DIR, dir);
    CHECK(test_shell(line, NULL, 0, NULL, 0) != 0);
    CHECK(!has(dir, "config.json"));
    /* With the signal ignored the same limit is a failing write, as on a full disk. */
    snprintf(line, sizeof line, "trap '' XFSZ; ulimit -f 64; %s/convert gguf " GOLDEN "llama-tiny.gguf -o %s",
             BUILD_DIR, dir);
    check_error(test_shell(line, out_text, sizeof out_text, err_text, sizeof err_text), 1,
                "model.safetensors: ");
    CHECK(!has(dir, "config.json"));
    /* The next run completes it. */
    CHECK_INT(convert("gguf " GOLDEN "llama-tiny.gguf -o %s", dir), 0);
    CHECK(has(dir, "config.json"));
    /* A file in the directory's place. */
    check_error(convert("gguf " GOLDEN "llama-tiny.gguf -o %s", inside(dir, "config.json")), 1,
                "config.json");
}

void test_cmd_convert(void) {
    RUN(gguf_writes_a_model);
    RUN(gguf_into_other_types);
    RUN(gguf_refusals_leave_no_trace);
    RUN(wrong_usage);
    RUN(quantize_round_trips);
    RUN(quantize_over_links);
    RUN(quantize_joins_shards);
    RUN(quantize_refusals);
    RUN(quantize_to_integers);
    RUN(quantize_to_shards);
    RUN(an_unfinished_directory_has_no_config);
}
