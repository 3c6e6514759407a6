/* GGUF import: the goldens of tools/make_gguf_goldens.py bit by bit, and files that lie. */
#include "tests/test.h"

#include "convert/convert.h"
#include "convert/gguf_model.h"
#include "convert/gguf_tokenizer.h"
#include "tensor/rng.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LLAMA "tests/golden/gguf/llama-tiny"
#define QWEN2 "tests/golden/gguf/qwen2-tiny"

/* ---- Goldens ---- */

/* Every tensor of the imported directory has the name, shape and bits of the expected file. */
static void check_import(const char *golden, const char *dir) {
    char path[256];
    tn_err e = {0};
    tn_safetensors *got, *want;
    convert_opts o = {.type.dtype = CONVERT_AS_STORED, .threads = 2};
    snprintf(path, sizeof path, "%s.gguf", golden);
    if (!CHECK_INT(convert_gguf(path, dir, &o, &e), TN_OK)) puts(e.msg);
    snprintf(path, sizeof path, "%s.safetensors", golden);
    if (!CHECK_INT(tn_st_open_file(&want, path, &e), TN_OK)) return;
    if (CHECK_INT(tn_st_open_dir(&got, dir, &e), TN_OK)) {
        CHECK_INT(tn_st_count(got), tn_st_count(want));
        for (size_t i = 0; i < tn_st_count(want); i++) {
            const tn_tensor *w = tn_st_at(want, i), *g;
            if (!CHECK_INT(tn_st_require(got, w->name, w->rank, w->shape, &g, &e), TN_OK)) continue;
            CHECK_INT(g->dtype, TN_F32);
            if (!CHECK(memcmp(g->data, w->data, w->count * sizeof(float)) == 0)) puts(w->name);
        }
        tn_st_close(got);
    }
    tn_st_close(want);
}

static void tensors_of_llama(void) {
    check_import(LLAMA, test_path("gguf-llama"));
}
static void tensors_of_qwen2(void) {
    check_import(QWEN2, test_path("gguf-qwen2"));
}

/* The JSON file dir/name; the caller unmaps. */
static tn_json open_json(tn_map *m, const char *dir, const char *name) {
    char path[512];
    tn_err e = {0};
    tn_json root = {TN_JSON_NONE, NULL, 0};
    *m = (tn_map){NULL, 0};
    CHECK_INT(tn_path_join(path, sizeof path, dir, name, &e), TN_OK);
    if (CHECK_INT(tn_map_file(m, path, &e), TN_OK))
        CHECK_INT(tn_json_parse(&root, m->data, m->size, &e), TN_OK);
    return root;
}

static long long json_int(tn_json obj, const char *key) {
    int64_t v = -1;
    tn_json_i64(tn_json_get(obj, key), &v);
    return v;
}

static double json_num(tn_json obj, const char *key) {
    double v = -1;
    tn_json_f64(tn_json_get(obj, key), &v);
    return v;
}

static int json_true(tn_json obj, const char *key) {
    int v = -1;
    tn_json_bool(tn_json_get(obj, key), &v);
    return v;
}

static void config_of_llama(void) {
    tn_map m;
    tn_json c = open_json(&m, test_path("gguf-llama"), "config.json");
    CHECK(tn_json_is(tn_json_get(c, "model_type"), "llama"));
    CHECK(tn_json_is(tn_json_get(c, "torch_dtype"), "float32"));
    CHECK_INT(json_int(c, "hidden_size"), 256);
    CHECK_INT(json_int(c, "intermediate_size"), 8);
    CHECK_INT(json_int(c, "num_hidden_layers"), 1);
    CHECK_INT(json_int(c, "num_attention_heads"), 4);
    CHECK_INT(json_int(c, "num_key_value_heads"), 2);
    CHECK_INT(json_int(c, "head_dim"), 4);
    CHECK_INT(json_int(c, "vocab_size"), 24);
    CHECK_INT(json_int(c, "max_position_embeddings"), 64);
    CHECK_INT(json_int(c, "eos_token_id"), 2);
    CHECK_NEAR(json_num(c, "rope_theta"), 100000.0, 0);
    CHECK_NEAR(json_num(c, "rms_norm_eps"), 1e-5, 0);
    CHECK_INT(json_true(c, "tie_word_embeddings"), 0);
    CHECK_INT(json_true(c, "attention_bias"), 0);
    tn_unmap_file(&m);
}

static void config_of_qwen2(void) {
    tn_map m;
    tn_json c = open_json(&m, test_path("gguf-qwen2"), "config.json");
    CHECK(tn_json_is(tn_json_get(c, "model_type"), "qwen2"));
    CHECK_INT(tn_json_get(c, "head_dim").kind, TN_JSON_NONE);
    CHECK_INT(json_int(c, "vocab_size"), 26);
    CHECK_INT(json_true(c, "tie_word_embeddings"), 1);
    CHECK_INT(json_true(c, "use_sliding_window"), 0);
    tn_unmap_file(&m);
    c = open_json(&m, test_path("gguf-qwen2"), "generation_config.json");
    CHECK_INT(json_int(c, "eos_token_id"), 2);
    tn_unmap_file(&m);
}

/* Ids of `text` as numbers with blanks between. */
static const char *ids_of(const char *dir, const char *text) {
    static char line[256];
    tn_err e = {0};
    tok_model *t;
    tok_ids ids = TOK_IDS_INIT;
    line[0] = '\0';
    if (!CHECK_INT(tok_open_dir(&t, dir, &e), TN_OK)) return line;
    CHECK_INT(tok_encode(t, text, strlen(text), TOK_SPECIAL, &ids, &e), TN_OK);
    for (size_t i = 0, at = 0; i < ids.len && at < sizeof line - 12; i++)
        at += (size_t)snprintf(line + at, sizeof line - at, i ? " %d" : "%d", (int)ids.data[i]);
    tok_ids_free(&ids);
    tok_close(t);
    return line;
}

static void tokenizers(void) {
    /* 23 the, 16 blank, 20 he, 18 19 digits, 3 the user-defined token */
    CHECK_STR(ids_of(test_path("gguf-llama"), "the he12<tool><|im_end|>"), "23 16 20 18 19 3 2");
    CHECK_STR(ids_of(test_path("gguf-qwen2"), "the he12<tool><|im_end|>"), "23 16 20 18 19 3 2");
    tn_map m;
    tn_json c = open_json(&m, test_path("gguf-qwen2"), "tokenizer_config.json");
    CHECK(tn_json_is(tn_json_get(c, "eos_token"), "<|im_end|>"));
    CHECK(tn_json_is(tn_json_get(c, "unk_token"), "<|endoftext|>"));
    CHECK_INT(json_int(c, "model_max_length"), 128);
    CHECK_INT(tn_json_get(c, "chat_template").kind, TN_JSON_STRING);
    tn_json tool = tn_json_get(tn_json_get(c, "added_tokens_decoder"), "3");
    CHECK(tn_json_is(tn_json_get(tool, "content"), "<tool>"));
    CHECK_INT(json_true(tool, "special"), 0);
    tn_unmap_file(&m);
}

/* ---- Files made here ---- */

static void put_u32(tn_buf *b, uint32_t v) {
    unsigned char raw[4];
    tn_store_u32(raw, v);
    tn_buf_add(b, raw, sizeof raw);
}

static void put_u64(tn_buf *b, uint64_t v) {
    unsigned char raw[8];
    tn_store_u64(raw, v);
    tn_buf_add(b, raw, sizeof raw);
}

static void put_str(tn_buf *b, const char *s) {
    put_u64(b, strlen(s));
    tn_buf_puts(b, s);
}

static void put_header(tn_buf *b, uint32_t version, uint64_t tensors, uint64_t kvs) {
    tn_buf_puts(b, "GGUF");
    put_u32(b, version);
    put_u64(b, tensors);
    put_u64(b, kvs);
}

static void put_kv_u32(tn_buf *b, const char *key, uint32_t v) {
    put_str(b, key);
    put_u32(b, GGUF_UINT32);
    put_u32(b, v);
}

static void put_tensor(tn_buf *b, const char *name, uint64_t cols, uint64_t rows, uint32_t type,
                       uint64_t offset) {
    put_str(b, name);
    put_u32(b, 2);
    put_u64(b, cols);
    put_u64(b, rows);
    put_u32(b, type);
    put_u64(b, offset);
}

static void put_zeros(tn_buf *b, size_t n) {
    while (n--) tn_buf_putc(b, '\0');
}

static void pad(tn_buf *b, size_t alignment) {
    while (b->len % alignment) tn_buf_putc(b, '\0');
}

/* Opens the bytes in a block of exactly their size, so that a sanitizer sees any step beyond it, and frees
 * `b`. Returns what gguf_open_mem did; the message is in *e. */
static int try_open(tn_buf *b, tn_err *e) {
    *e = (tn_err){0};
    gguf_file *f = NULL;
    unsigned char *exact = malloc(b->len ? b->len : 1);
    if (!exact) return TN_ENOMEM;
    if (b->len) memcpy(exact, b->data, b->len);
    int rc = gguf_open_mem(&f, exact, b->len, "x.gguf", e);
    gguf_close(f);
    free(exact);
    tn_buf_free(b);
    return rc;
}

#define REFUSED(buf, wanted, part)                                                                           \
    do {                                                                                                     \
        tn_err e_;                                                                                           \
        CHECK_INT(try_open(&(buf), &e_), (wanted));                                                          \
        CHECK_HAS(e_.msg, "x.gguf: ");                                                                       \
        CHECK_HAS(e_.msg, (part));                                                                           \
    } while (0)

static void all_value_types(void) {
    tn_buf b = TN_BUF_INIT;
    put_header(&b, 3, 0, 14);
    static const struct {
        const char *key;
        gguf_value_type type;
        int size;
        unsigned char low; /* the first byte; the others are 0xff for negative numbers */
    } ints[] = {{"u8", GGUF_UINT8, 1, 200},   {"i8", GGUF_INT8, 1, 0xff},   {"u16", GGUF_UINT16, 2, 200},
                {"i16", GGUF_INT16, 2, 0xfe}, {"u32", GGUF_UINT32, 4, 200}, {"i32", GGUF_INT32, 4, 0xfd},
                {"u64", GGUF_UINT64, 8, 200}, {"i64", GGUF_INT64, 8, 0xfc}};
    for (size_t i = 0; i < 8; i++) {
        put_str(&b, ints[i].key);
        put_u32(&b, ints[i].type);
        tn_buf_putc(&b, (char)ints[i].low);
        for (int k = 1; k < ints[i].size; k++) tn_buf_putc(&b, i % 2 ? (char)0xff : 0);
    }
    put_str(&b, "f32");
    put_u32(&b, GGUF_FLOAT32);
    put_u32(&b, 0x3fc00000);
    put_str(&b, "f64");
    put_u32(&b, GGUF_FLOAT64);
    put_u64(&b, 0x3ff8000000000000);
    put_str(&b, "bool");
    put_u32(&b, GGUF_BOOL);
    tn_buf_putc(&b, 1);
    put_str(&b, "text");
    put_u32(&b, GGUF_STRING);
    put_str(&b, "grün");
    put_str(&b, "texts");
    put_u32(&b, GGUF_ARRAY);
    put_u32(&b, GGUF_STRING);
    put_u64(&b, 2);
    put_str(&b, "a");
    put_str(&b, "");
    put_str(&b, "numbers");
    put_u32(&b, GGUF_ARRAY);
    put_u32(&b, GGUF_INT16);
    put_u64(&b, 2);
    put_u32(&b, 0xfffe0007);

    tn_err e = {0};
    gguf_file *f;
    if (!CHECK_INT(gguf_open_mem(&f, b.data, b.len, "x", &e), TN_OK)) puts(e.msg);
    static const int64_t want[] = {200, -1, 200, -2, 200, -3, 200, -4};
    int64_t i64 = 0;
    for (size_t i = 0; i < 8; i++) {
        CHECK(gguf_int_at(gguf_find(f, ints[i].key), 0, &i64));
        CHECK_INT(i64, want[i]);
    }
    uint64_t u = 7;
    double x = 0;
    int flag = 0;
    gguf_str s, *list;
    size_t n;
    CHECK_INT(gguf_get_uint(f, "u16", GGUF_REQUIRED, &u, &e), TN_OK);
    CHECK_INT(u, 200);
    CHECK_INT(gguf_get_uint(f, "absent", GGUF_OPTIONAL, &u, &e), TN_OK);
    CHECK_INT(u, 200);
    CHECK_INT(gguf_get_uint(f, "absent", GGUF_REQUIRED, &u, &e), TN_EFORMAT);
    CHECK_HAS(e.msg, "\"absent\" is missing");
    CHECK_INT(gguf_get_uint(f, "i8", GGUF_REQUIRED, &u, &e), TN_EFORMAT);
    CHECK_INT(gguf_get_uint(f, "f32", GGUF_REQUIRED, &u, &e), TN_EFORMAT);
    CHECK_INT(gguf_get_uint(f, "numbers", GGUF_REQUIRED, &u, &e), TN_EFORMAT);
    CHECK_INT(gguf_get_float(f, "f32", GGUF_REQUIRED, &x, &e), TN_OK);
    CHECK_NEAR(x, 1.5, 0);
    CHECK_INT(gguf_get_float(f, "f64", GGUF_REQUIRED, &x, &e), TN_OK);
    CHECK_NEAR(x, 1.5, 0);
    CHECK_INT(gguf_get_float(f, "text", GGUF_REQUIRED, &x, &e), TN_EFORMAT);
    CHECK_INT(gguf_get_bool(f, "bool", GGUF_REQUIRED, &flag, &e), TN_OK);
    CHECK_INT(flag, 1);
    CHECK_INT(gguf_get_bool(f, "u8", GGUF_REQUIRED, &flag, &e), TN_EFORMAT);
    CHECK_INT(gguf_get_string(f, "text", GGUF_REQUIRED, &s, &e), TN_OK);
    CHECK(gguf_str_is(s, "grün"));
    CHECK_INT(gguf_get_string(f, "texts", GGUF_REQUIRED, &s, &e), TN_EFORMAT);
    CHECK_INT(gguf_get_strings(f, "texts", &list, &n, &e), TN_OK);
    CHECK_INT(n, 2);
    CHECK(gguf_str_is(list[0], "a") && gguf_str_is(list[1], ""));
    free(list);
    CHECK_INT(gguf_get_strings(f, "numbers", &list, &n, &e), TN_EFORMAT);
    CHECK(gguf_int_at(gguf_find(f, "numbers"), 1, &i64));
    CHECK_INT(i64, -2);
    gguf_close(f);
    tn_buf_free(&b);
}

static void bad_headers(void) {
    tn_buf b = TN_BUF_INIT;
    REFUSED(b, TN_EFORMAT, "no GGUF file");
    tn_buf_puts(&b, "GGML");
    put_zeros(&b, 40);
    REFUSED(b, TN_EFORMAT, "no GGUF file");
    put_header(&b, 1, 0, 0);
    REFUSED(b, TN_EUNSUP, "version 1");
    put_header(&b, 4, 0, 0);
    REFUSED(b, TN_EUNSUP, "version 4");
    put_header(&b, 0x03000000, 0, 0);
    REFUSED(b, TN_EUNSUP, "big-endian");
    put_header(&b, 3, UINT64_MAX, 0);
    REFUSED(b, TN_EFORMAT, "too large for the number of tensors");
    put_header(&b, 3, 0, UINT64_MAX / 13 + 2); /* times 13 wraps around to a small number */
    REFUSED(b, TN_EFORMAT, "too large for the number of metadata entries");
    put_header(&b, 3, 4, 0); /* four tensors are at least 128 bytes */
    put_zeros(&b, 100);
    REFUSED(b, TN_EFORMAT, "4 is too large for the number of tensors");
}

static void bad_metadata(void) {
    tn_buf b = TN_BUF_INIT;
    put_header(&b, 3, 0, 1);
    put_u64(&b, UINT64_MAX - 3); /* a key's length */
    put_zeros(&b, 40);
    REFUSED(b, TN_EFORMAT, "too large for a metadata key");

    put_header(&b, 3, 0, 1);
    put_str(&b, "k\xff");
    put_zeros(&b, 40);
    REFUSED(b, TN_EFORMAT, "not UTF-8");

    put_header(&b, 3, 0, 1);
    put_str(&b, "");
    put_zeros(&b, 40);
    REFUSED(b, TN_EFORMAT, "empty");

    put_header(&b, 3, 0, 1);
    put_str(&b, "k");
    put_u32(&b, 13);
    put_zeros(&b, 40);
    REFUSED(b, TN_EFORMAT, "\"k\" has the unknown value type 13");

    put_header(&b, 3, 0, 1);
    put_str(&b, "k");
    put_u32(&b, GGUF_ARRAY);
    put_u32(&b, GGUF_ARRAY);
    put_zeros(&b, 40);
    REFUSED(b, TN_EUNSUP, "array of arrays");

    put_header(&b, 3, 0, 1);
    put_str(&b, "k");
    put_u32(&b, GGUF_ARRAY);
    put_u32(&b, GGUF_UINT64);
    put_u64(&b, (uint64_t)1 << 61); /* times 8 wraps around to 0 */
    put_zeros(&b, 40);
    REFUSED(b, TN_EFORMAT, "too large for a metadata array");

    put_header(&b, 3, 0, 2);
    put_kv_u32(&b, "twice", 1);
    put_kv_u32(&b, "twice", 2);
    REFUSED(b, TN_EFORMAT, "\"twice\" is there twice");

    put_header(&b, 3, 0, 1);
    put_kv_u32(&b, "general.alignment", 48);
    put_zeros(&b, 40);
    REFUSED(b, TN_EFORMAT, "general.alignment is 48");
}

/* A sound file with tensors "a" and "b", F32 [2, 4], the second at `offset`, in `size` bytes of data. */
static void put_two(tn_buf *b, const char *second, uint64_t offset, size_t size) {
    put_header(b, 3, 2, 1);
    put_kv_u32(b, "general.alignment", 32);
    put_tensor(b, "a", 4, 2, GGUF_F32, 0);
    put_tensor(b, second, 4, 2, GGUF_F32, offset);
    pad(b, 32);
    put_zeros(b, size);
}

static void bad_tensors(void) {
    tn_err e;
    tn_buf b = TN_BUF_INIT;
    put_two(&b, "b", 32, 64);
    CHECK_INT(try_open(&b, &e), TN_OK);
    put_two(&b, "b", 32, 63);
    REFUSED(b, TN_EFORMAT, "tensor \"b\" of 32 bytes at offset 32 does not fit");
    put_two(&b, "b", UINT64_MAX - 31, 64);
    REFUSED(b, TN_EFORMAT, "does not fit");
    put_two(&b, "b", 33, 128);
    REFUSED(b, TN_EFORMAT, "no multiple of the alignment");
    put_two(&b, "b", 0, 64);
    REFUSED(b, TN_EFORMAT, "\"a\" and \"b\" overlap");
    put_two(&b, "a", 32, 64);
    REFUSED(b, TN_EFORMAT, "two tensors are called \"a\"");

    static const struct {
        uint64_t cols, rows;
        uint32_t type;
        int rc;
        const char *part;
    } bad[] = {
        {4, 0, GGUF_F32, TN_EFORMAT, "impossible dimension of 0"},
        {(uint64_t)1 << 33, (uint64_t)1 << 33, GGUF_F32, TN_EFORMAT, "impossible dimension"},
        {(uint64_t)1 << 32, (uint64_t)1 << 31, GGUF_F32, TN_EFORMAT, "too large"}, /* fits as elements only */
        {48, 2, GGUF_Q4_0, TN_EFORMAT, "no multiple of Q4_0's 32"},
        {256, 2, 16, TN_EUNSUP, "type 16 (IQ2_XXS), which is not supported"},
        {256, 2, 4, TN_EUNSUP, "type 4 (unknown)"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put_header(&b, 3, 1, 0);
        put_tensor(&b, "t", bad[i].cols, bad[i].rows, bad[i].type, 0);
        put_zeros(&b, 64);
        REFUSED(b, bad[i].rc, bad[i].part);
    }
    for (uint32_t rank = 0; rank < 10; rank += 5) {
        put_header(&b, 3, 1, 0);
        put_str(&b, "t");
        put_u32(&b, rank);
        put_zeros(&b, 128);
        REFUSED(b, TN_EFORMAT, "expected 1 to 4");
    }
}

/* ---- Whole models, damaged ---- */

typedef struct {
    unsigned char *bytes; /* [size], owned */
    size_t size;
} image;

static image load(const char *golden) {
    char path[256];
    tn_err e = {0};
    tn_map m;
    snprintf(path, sizeof path, "%s.gguf", golden);
    if (!CHECK_INT(tn_map_file(&m, path, &e), TN_OK)) return (image){NULL, 0};
    image out = {malloc(m.size), m.size};
    if (CHECK(out.bytes != NULL)) memcpy(out.bytes, m.data, m.size);
    tn_unmap_file(&m);
    return out;
}

/* Everything an import does but writing: 0 or the error's code. */
static int digest(const void *bytes, size_t size, tn_err *e) {
    gguf_file *f = NULL;
    gguf_model m = {0};
    tn_buf tokenizer = TN_BUF_INIT, config = TN_BUF_INIT;
    *e = (tn_err){0};
    int rc = gguf_open_mem(&f, bytes, size, "x.gguf", e);
    if (rc == TN_OK) rc = gguf_model_read(&m, f, e);
    if (rc == TN_OK) rc = gguf_tokenizer(f, m.vocab, m.context, &tokenizer, &config, e);
    for (size_t i = 0; rc == TN_OK && i < m.n_weights; i++) {
        float *row = malloc(m.weights[i].cols * sizeof *row);
        if (!row) break;
        gguf_weight_row(&m.weights[i], m.weights[i].rows - 1, row);
        free(row);
    }
    if (rc == TN_OK) gguf_model_config(&m, TN_F32, &config);
    if (rc != TN_OK && !CHECK(e->msg[0] != '\0' && !strchr(e->msg, '\n'))) puts(e->msg);
    gguf_model_free(&m);
    gguf_close(f);
    tn_buf_free(&tokenizer);
    tn_buf_free(&config);
    return rc;
}

/* Cut off anywhere, the file is refused: its last tensor ends with it. */
static void truncated(void) {
    image im = load(QWEN2);
    tn_err e;
    if (!im.bytes) return;
    CHECK_INT(digest(im.bytes, im.size, &e), TN_OK);
    size_t accepted = 0;
    for (size_t n = 0; n < im.size; n++) {
        unsigned char *exact = malloc(n ? n : 1);
        if (!CHECK(exact != NULL)) break;
        memcpy(exact, im.bytes, n);
        accepted += digest(exact, n, &e) == TN_OK;
        free(exact);
    }
    CHECK(accepted < 32); /* only the padding behind the last tensor may go */
    free(im.bytes);
}

static void flipped_bytes(void) {
    const char *const goldens[] = {LLAMA, QWEN2};
    tn_rng rng = tn_rng_seed(20240607);
    for (int g = 0; g < 2; g++) {
        image im = load(goldens[g]);
        tn_err e;
        if (!im.bytes) return;
        size_t refused = 0, head = 3000; /* metadata and tensor infos; the rest is any bits */
        for (int round = 0; round < 6000; round++) {
            size_t at[3];
            unsigned char old[3];
            int n = 1 + (int)tn_rng_below(&rng, 3);
            for (int i = 0; i < n; i++) {
                at[i] = (size_t)tn_rng_below(&rng, head);
                old[i] = im.bytes[at[i]];
                uint64_t bits =
                    tn_rng_below(&rng, 2) ? tn_rng_below(&rng, 256) : old[i] ^ 1u << tn_rng_below(&rng, 8);
                im.bytes[at[i]] = (unsigned char)bits;
            }
            refused += digest(im.bytes, im.size, &e) != TN_OK;
            while (n-- > 0) im.bytes[at[n]] = old[n];
        }
        CHECK(refused > 3000 && refused < 6000);
        CHECK_INT(digest(im.bytes, im.size, &e), TN_OK); /* put back as it was */
        free(im.bytes);
    }
}

/* Replaces the first `from` by `to` of the same length; the import must then fail so. */
static void check_patched(const char *golden, const char *from, const char *to, int rc, const char *part) {
    image im = load(golden);
    if (!im.bytes) return;
    size_t n = strlen(from), at = 0;
    while (at + n <= im.size && memcmp(im.bytes + at, from, n) != 0) at++;
    if (CHECK(at + n <= im.size && strlen(to) == n)) {
        tn_err e;
        memcpy(im.bytes + at, to, n);
        CHECK_INT(digest(im.bytes, im.size, &e), rc);
        CHECK_HAS(e.msg, part);
    }
    free(im.bytes);
}

static void unsupported_models(void) {
    check_patched(QWEN2, "qwen2", "qwen3", TN_EUNSUP,
                  "architecture \"qwen3\" is not supported; llama and qwen2 are");
    check_patched(LLAMA, "llama", "gemma", TN_EUNSUP, "architecture \"gemma\" is not supported");
    check_patched(LLAMA, "gpt2", "bert", TN_EUNSUP, "tokenizer.ggml.model \"bert\" is not supported");
    check_patched(LLAMA, "smollm", "gpt-4o", TN_EUNSUP, "tokenizer.ggml.pre \"gpt-4o\" is not supported");
    check_patched(LLAMA, "llama.block_count", "llama.block_xount", TN_EFORMAT,
                  "\"llama.block_count\" is missing");
    check_patched(LLAMA, "blk.0.attn_q.weight", "blk.0.attn_z.weight", TN_EFORMAT,
                  "\"blk.0.attn_q.weight\" is missing");
    check_patched(LLAMA, "output.weight", "xutput.weight", TN_EUNSUP, "\"xutput.weight\" is not known");
    check_patched(QWEN2, "blk.1.attn_k.bias", "blk.1.attn_x.bias", TN_EFORMAT,
                  "\"blk.1.attn_k.bias\" is missing");
    check_patched(LLAMA, "th e", "th l", TN_EFORMAT, "does not join two tokens to a third");
}

void test_gguf(void) {
    RUN(tensors_of_llama);
    RUN(tensors_of_qwen2);
    RUN(config_of_llama);
    RUN(config_of_qwen2);
    RUN(tokenizers);
    RUN(all_value_types);
    RUN(bad_headers);
    RUN(bad_metadata);
    RUN(bad_tensors);
    RUN(truncated);
    RUN(flipped_bytes);
    RUN(unsupported_models);
}
