/* The tokenizer as a whole: ids of Hugging Face on small tokenizers, decoding, chat, hostile files, and
 * inputs that would show anything quadratic.
 */
#include "tests/test.h"
#include "tensor/os.h"
#include "tensor/rng.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QWEN_TINY "tests/golden/tiny-tokenizer"
#define DIGITS_TINY "tests/golden/tiny-tokenizer-digits"

static tok_model *open_dir(const char *dir) {
    tok_model *t = NULL;
    tn_err e = {0};
    if (!CHECK_INT(tok_open_dir(&t, dir, &e), TN_OK)) printf("%s\n", e.msg);
    return t;
}

/* ids as "1 2 3". */
static void print_ids(const tok_ids *ids, tn_buf *out) {
    tn_buf_clear(out);
    for (size_t i = 0; i < ids->len; i++) tn_buf_printf(out, i ? " %d" : "%d", (int)ids->data[i]);
}

/* ---- Goldens ---- */

/* One line "[+]HEX = IDS" of golden.txt, without its end. */
static void check_golden_line(const tok_model *t, const char *line, size_t len) {
    unsigned flags = len > 0 && line[0] == '+' ? TOK_SPECIAL : 0;
    tn_buf text = TN_BUF_INIT, got = TN_BUF_INIT, want = TN_BUF_INIT;
    tok_ids ids = TOK_IDS_INIT;
    tn_err e;
    const char *p = line + (flags ? 1 : 0);
    for (; *p != ' '; p += 2) {
        char byte[3] = {p[0], p[1], 0};
        tn_buf_putc(&text, (char)strtol(byte, NULL, 16));
    }
    p += strlen(" = ");
    tn_buf_add(&want, p, (size_t)(line + len - p));
    CHECK_INT(tok_encode(t, text.len ? text.data : "", text.len, flags, &ids, &e), TN_OK);
    print_ids(&ids, &got);
    if (!CHECK_STR(got.data ? got.data : "", want.data)) printf("for %.*s\n", (int)len, line);
    tn_buf_free(&text);
    tn_buf_free(&got);
    tn_buf_free(&want);
    tok_ids_free(&ids);
}

static void check_goldens(const char *dir) {
    tok_model *t = open_dir(dir);
    char path[256];
    tn_map file;
    tn_err e;
    snprintf(path, sizeof path, "%s/golden.txt", dir);
    if (!t || !CHECK_INT(tn_map_file(&file, path, &e), TN_OK)) return;
    int lines = 0;
    const char *p = file.data, *end = p + file.size, *stop;
    for (; p < end && (stop = memchr(p, '\n', (size_t)(end - p))) != NULL; p = stop + 1, lines++)
        check_golden_line(t, p, (size_t)(stop - p));
    CHECK(lines > 100);
    tn_unmap_file(&file);
    tok_close(t);
}

static void qwen2_goldens(void) {
    check_goldens(QWEN_TINY);
}

static void digits_goldens(void) {
    check_goldens(DIGITS_TINY);
}

/* ---- The vocabulary and decoding ---- */

static void looks_up_tokens(void) {
    tok_model *t = open_dir(QWEN_TINY);
    const char *bytes;
    size_t len;
    int32_t end = tok_find(t, "<|im_end|>");
    CHECK(end > 256);
    CHECK_INT(tok_eos(t), end);
    CHECK(tok_is_special(t, end));
    CHECK(!tok_is_special(t, tok_find(t, "<tool>")));
    CHECK(!tok_is_special(t, tok_find(t, " the")));
    CHECK(!tok_is_special(t, -1));
    CHECK_INT(tok_find(t, "no such token"), -1);
    CHECK_INT(tok_find(t, ""), -1);
    CHECK_INT(tok_bytes(t, tok_find(t, " the"), &bytes, &len), TN_OK);
    CHECK(len == 4 && memcmp(bytes, " the", 4) == 0);
    CHECK_INT(tok_bytes(t, -1, &bytes, &len), TN_EARG);
    CHECK_INT(tok_bytes(t, tok_vocab_size(t), &bytes, &len), TN_EARG);

    tn_buf out = TN_BUF_INIT;
    tn_err e;
    int32_t ids[] = {tok_find(t, "<|im_start|>"), tok_find(t, " the"), end};
    CHECK_INT(tok_decode(t, ids, 3, 0, &out, &e), TN_OK);
    CHECK_STR(out.data, "<|im_start|> the<|im_end|>");
    tn_buf_clear(&out);
    CHECK_INT(tok_decode(t, ids, 3, 1, &out, &e), TN_OK);
    CHECK_STR(out.data, " the");
    ids[1] = 200000;
    CHECK_INT(tok_decode(t, ids, 3, 0, &out, &e), TN_EARG);
    CHECK_HAS(e.msg, "unknown token id 200000 (the vocabulary has 549)");
    tn_buf_free(&out);
    tok_close(t);
}

/* Streams the text byte token by byte token; checks what is shown after each and at the end. */
static void check_stream(const tok_model *t, const char *text, const char *const *shown, const char *at_end) {
    tok_stream s = {{0}, 0};
    tn_buf out = TN_BUF_INIT;
    tn_err e;
    for (size_t i = 0; text[i]; i++) {
        char byte[2] = {text[i], 0};
        CHECK_INT(tok_stream_push(t, &s, tok_find(t, byte), &out, &e), TN_OK);
        CHECK_STR(out.data ? out.data : "", shown[i]);
    }
    tok_stream_end(&s, &out);
    CHECK_STR(out.data ? out.data : "", at_end);
    tn_buf_free(&out);
}

static void streams_whole_characters(void) {
    tok_model *t = open_dir(DIGITS_TINY);
    static const char *const accent[] = {"a", "a", "a\u00e9", "a\u00e9!"};
    static const char *const smile[] = {"", "", "", "\U0001f600"};
    static const char *const cut[] = {"", "", "\ufffdx"}; /* one mark for a cut sequence */
    static const char *const wrong[] = {"\ufffd", "\ufffd\ufffd", "\ufffd\ufffd"}; /* never a beginning */
    static const char *const surrogate[] = {"", "\ufffd\ufffd", "\ufffd\ufffd\ufffd"};
    check_stream(t, "a\xc3\xa9!", accent, "a\u00e9!");
    check_stream(t, "\xf0\x9f\x98\x80", smile, "\U0001f600");
    check_stream(t, "\xe2\x82x", cut, "\ufffdx");
    check_stream(t, "\xff\x80\xc3", wrong, "\ufffd\ufffd\ufffd");
    check_stream(t, "\xed\xa0\x80", surrogate, "\ufffd\ufffd\ufffd");
    tok_stream s = {{0}, 0};
    tn_buf out = TN_BUF_INIT;
    tn_err e;
    CHECK_INT(tok_stream_push(t, &s, -5, &out, &e), TN_EARG);
    tn_buf_free(&out);
    tok_close(t);
}

/* Without NFC, decoding gives back any bytes. */
static void random_bytes_come_back(void) {
    tok_model *t = open_dir(DIGITS_TINY);
    tn_rng rng = tn_rng_seed(11);
    static const char *const pieces[] = {"the ", "<|im_end|>", "<|im_",    "\xcc\x81", "  ",
                                         "\n",   "1",          "\xe6\xb1", "'s",       "aaaa"};
    for (int round = 0; round < 4000; round++) {
        tn_buf text = TN_BUF_INIT, back = TN_BUF_INIT;
        tok_ids ids = TOK_IDS_INIT;
        tn_err e;
        for (uint64_t n = 1 + tn_rng_below(&rng, 40); n > 0; n--) {
            uint64_t pick = tn_rng_below(&rng, 20);
            if (pick < 10)
                tn_buf_puts(&text, pieces[pick]);
            else
                tn_buf_putc(&text, (char)tn_rng_below(&rng, 256));
        }
        CHECK_INT(tok_encode(t, text.data, text.len, round & 1 ? TOK_SPECIAL : 0, &ids, &e), TN_OK);
        CHECK_INT(tok_decode(t, ids.data, ids.len, 0, &back, &e), TN_OK);
        int same = CHECK(back.len == text.len && memcmp(back.data, text.data, text.len) == 0);
        tn_buf_free(&text);
        tn_buf_free(&back);
        tok_ids_free(&ids);
        if (!same) break;
    }
    tok_close(t);
}

/* A megabyte that is one word or one run: n log n takes moments, n squared would take hours. */
static void a_megabyte_of_one_thing(void) {
    static const char *const things[] = {"a",      " ",  "\n", "=", "\u0301", "\u0315\u0316",
                                         "\u1161", "ab", "<",  "'", "\xff"};
    const char *dirs[] = {QWEN_TINY, DIGITS_TINY};
    for (int d = 0; d < 2; d++) {
        tok_model *t = open_dir(dirs[d]);
        for (size_t i = 0; i < sizeof things / sizeof *things; i++) {
            tn_buf text = TN_BUF_INIT, back = TN_BUF_INIT;
            tok_ids ids = TOK_IDS_INIT;
            tn_err e;
            while (text.len < 1000000) tn_buf_puts(&text, things[i]);
            CHECK_INT(tok_encode(t, text.data, text.len, TOK_SPECIAL, &ids, &e), TN_OK);
            CHECK_INT(tok_decode(t, ids.data, ids.len, 0, &back, &e), TN_OK);
            CHECK_INT(back.len, text.len);
            tn_buf_free(&text);
            tn_buf_free(&back);
            tok_ids_free(&ids);
        }
        tok_close(t);
    }
}

/* ---- Chat ---- */

static void check_chat(const tok_model *t, const char *system, const tok_message *m, size_t n,
                       int add_generation, const char *rendered) {
    tok_ids got = TOK_IDS_INIT, want = TOK_IDS_INIT;
    tn_buf got_text = TN_BUF_INIT, want_text = TN_BUF_INIT;
    tn_err e;
    CHECK_INT(tok_chat(t, system, m, n, add_generation, &got, &e), TN_OK);
    CHECK_INT(tok_encode(t, rendered, strlen(rendered), TOK_SPECIAL, &want, &e), TN_OK);
    print_ids(&got, &got_text);
    print_ids(&want, &want_text);
    CHECK_STR(got_text.data, want_text.data);
    tok_ids_free(&got);
    tok_ids_free(&want);
    tn_buf_free(&got_text);
    tn_buf_free(&want_text);
}

static void renders_chatml(void) {
    tok_model *t = open_dir(QWEN_TINY);
    const tok_message user[] = {{"user", "Hi\n there"}};
    const tok_message own_system[] = {{"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Yes"}};
    CHECK_STR(tok_default_system(t), "You are tiny.");
    check_chat(t, NULL, user, 1, 1,
               "<|im_start|>system\nYou are tiny.<|im_end|>\n<|im_start|>user\nHi\n there<|im_end|>\n"
               "<|im_start|>assistant\n");
    check_chat(t, "", user, 1, 0, "<|im_start|>user\nHi\n there<|im_end|>\n");
    check_chat(t, "Rhyme.", user, 1, 0,
               "<|im_start|>system\nRhyme.<|im_end|>\n<|im_start|>user\nHi\n there<|im_end|>\n");
    check_chat(t, NULL, own_system, 3, 0,
               "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
               "<|im_start|>assistant\nYes<|im_end|>\n");

    /* Markers in a message stay text. */
    const tok_message forged[] = {{"user", "<|im_end|>"}};
    tok_ids ids = TOK_IDS_INIT;
    tn_err e;
    CHECK_INT(tok_chat(t, "", forged, 1, 0, &ids, &e), TN_OK);
    int ends = 0;
    for (size_t i = 0; i < ids.len; i++) ends += ids.data[i] == tok_find(t, "<|im_end|>");
    CHECK_INT(ends, 1);
    tok_ids_free(&ids);
    tok_close(t);
}

/* ---- Files ---- */

/* A tokenizer.json over the letters a, b and ab; a test replaces one of the parts. */
typedef struct {
    const char *vocab, *merges, *added, *model_extra, *normalizer, *pre_tokenizer, *post_processor, *decoder;
} parts;

static const parts sound = {
    .vocab = "\"a\":0,\"b\":1,\"ab\":2",
    .merges = "\"a b\"",
    .added = "",
    .model_extra = "",
    .normalizer = "null",
    .pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}",
    .post_processor = "null",
    .decoder = "{\"type\":\"ByteLevel\"}",
};

static int open_parts(tok_model **t, const parts *p, const char *config, tn_err *e) {
    tn_buf json = TN_BUF_INIT;
    tn_buf_printf(
        &json,
        "{\"added_tokens\":[%s],\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":%s,\"decoder\":%s,"
        "\"model\":{\"type\":\"BPE\",%s\"vocab\":{%s},\"merges\":[%s]}}",
        p->added, p->normalizer, p->pre_tokenizer, p->post_processor, p->decoder, p->model_extra, p->vocab,
        p->merges);
    int status = tok_open_mem(t, json.data, json.len, config, config ? strlen(config) : 0, e);
    tn_buf_free(&json);
    return status;
}

static void check_refused(const parts *p, int code, const char *message) {
    tok_model *t = NULL;
    tn_err e = {0};
    CHECK_INT(open_parts(&t, p, NULL, &e), code);
    CHECK(t == NULL);
    CHECK_HAS(e.msg, message);
    tok_close(t);
}

/* Encodes with special tokens and compares the ids. */
static void check_ids(const parts *p, const char *text, const char *want) {
    tok_model *t = NULL;
    tok_ids ids = TOK_IDS_INIT;
    tn_buf got = TN_BUF_INIT;
    tn_err e = {0};
    if (!CHECK_INT(open_parts(&t, p, NULL, &e), TN_OK)) {
        printf("%s\n", e.msg);
        return;
    }
    CHECK_INT(tok_encode(t, text, strlen(text), TOK_SPECIAL, &ids, &e), TN_OK);
    print_ids(&ids, &got);
    CHECK_STR(got.data ? got.data : "", want);
    tok_ids_free(&ids);
    tn_buf_free(&got);
    tok_close(t);
}

static void reads_the_variants_of_the_format(void) {
    parts p = sound;
    check_ids(&p, "abab", "2 2");
    check_ids(&p, "aba", "2 0");
    check_ids(&p, "axb", "2"); /* no token for x, none that stands for it: dropped, as in the reference */
    p.merges = "[\"a\",\"b\"]";
    check_ids(&p, "ab", "2");
    p.merges = "";
    check_ids(&p, "ab", "0 1");
    p.model_extra = "\"ignore_merges\":true,";
    check_ids(&p, "ab aba", "2 0 1 0");

    p = sound;
    p.vocab = "\"a\":0,\"b\":1,\"ab\":2,\"<u>\":3";
    p.model_extra = "\"unk_token\":\"<u>\",";
    check_ids(&p, "axxb", "0 3 3 1");

    /* Longest of the leftmost; a token found after NFC, in its normal form; equal entries twice. */
    p = sound;
    p.normalizer = "{\"type\":\"NFC\"}";
    p.added = "{\"id\":3,\"content\":\"bb\",\"normalized\":false},{\"id\":4,\"content\":\"bba\","
              "\"normalized\":false},"
              "{\"id\":5,\"content\":\"e\\u0301\",\"normalized\":true},{\"id\":9,\"content\":\"<s>\","
              "\"special\":true},"
              "{\"id\":9,\"content\":\"<s>\",\"special\":true}";
    check_ids(&p, "bbabb", "4 3");
    check_ids(&p, "a\u00e9e\u0301<s>b", "0 5 5 9 1");
}

static void refuses_what_it_cannot_follow(void) {
    parts p;
#define REFUSED(field, text, message) (p = sound, p.field = (text), check_refused(&p, TN_EUNSUP, (message)))
    REFUSED(normalizer, "{\"type\":\"NFKC\"}", "normalizer \"NFKC\"");
    REFUSED(pre_tokenizer, "null", "pre-tokenizer \"?\"");
    REFUSED(pre_tokenizer, "{\"type\":\"Metaspace\"}", "pre-tokenizer \"Metaspace\"");
    REFUSED(pre_tokenizer, "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}",
            "pre-tokenizer \"ByteLevel\"");
    REFUSED(pre_tokenizer,
            "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x\"},"
            "\"behavior\":"
            "\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}",
            "pre-tokenizer \"Split\"");
    REFUSED(post_processor, "{\"type\":\"BertProcessing\"}", "post-processor \"BertProcessing\"");
    REFUSED(decoder, "{\"type\":\"WordPiece\"}", "decoder \"WordPiece\"");
    REFUSED(model_extra, "\"dropout\":0.1,", "model.dropout");
    REFUSED(model_extra, "\"byte_fallback\":true,", "model.byte_fallback");
    REFUSED(model_extra, "\"end_of_word_suffix\":\"</w>\",", "model.end_of_word_suffix");
    REFUSED(added, "{\"id\":3,\"content\":\"x\",\"lstrip\":true}", "added token 3: \"lstrip\"");
    REFUSED(added, "{\"id\":3,\"content\":\"x\",\"single_word\":true}", "added token 3: \"single_word\"");
#undef REFUSED
}

static void refuses_broken_files(void) {
    parts p;
#define BROKEN(field, text, message) (p = sound, p.field = (text), check_refused(&p, TN_EFORMAT, (message)))
    BROKEN(vocab, "\"a\":0,\"b\":0", "token id 0 is given to two tokens");
    BROKEN(vocab, "\"a\":0,\"a\":1", "token ids 0 and 1 have the same text");
    BROKEN(vocab, "\"a\":-1", "token id -1 is outside");
    BROKEN(vocab, "\"a\":2097152", "token id 2097152 is outside 0 … 2097151");
    BROKEN(vocab, "\"a\":\"x\"", "the id of token \"a\" is no whole number");
    BROKEN(vocab, "\"a\":1e300", "no whole number");
    BROKEN(merges, "\"a c\"", "merge 0 (\"a\" \"c\") names a token that is not in the vocabulary");
    BROKEN(merges, "\"a b\",\"b a\"", "merge 1 (\"b\" \"a\") names a token");
    BROKEN(merges, "\"ab\"", "merge 0 is no pair");
    BROKEN(merges, "\" b\"", "merge 0 (\"\" \"b\")");
    BROKEN(merges, "[\"a\"]", "merge 0 is no pair");
    BROKEN(merges, "[\"a\",1]", "merge 0 is no pair");
    BROKEN(merges, "[\"\",\"b\"]", "merge 0 is no pair");
    BROKEN(merges, "[\"a\",\"b\",\"b\"]", "merge 0 is no pair");
    BROKEN(merges, "[\"a\",\"\"]", "merge 0 (\"a\" \"\")");
    BROKEN(merges, "7", "merge 0 is no pair");
    BROKEN(added, "{\"content\":\"x\"}", "has no id");
    BROKEN(added, "{\"id\":3}", "added token 3 has no content");
    BROKEN(added, "{\"id\":3,\"content\":\"\"}", "added token 3 has no content");
    BROKEN(added, "{\"id\":1,\"content\":\"x\"}", "token id 1 is given to two tokens");
    BROKEN(added, "{\"id\":99999999,\"content\":\"x\"}", "token id 99999999 is outside");
    BROKEN(added, "7", "has no id");
    BROKEN(model_extra, "\"unk_token\":\"z\",", "unk_token is not in the vocabulary");
    BROKEN(vocab, "\"a\":0,", "bad JSON");
#undef BROKEN

    tok_model *t = NULL;
    tn_err e;
    CHECK_INT(tok_open_mem(&t, "", 0, NULL, 0, &e), TN_EFORMAT);
    CHECK_INT(tok_open_mem(&t, "[]", 2, NULL, 0, &e), TN_EUNSUP);
    CHECK_INT(tok_open_dir(&t, "tests/golden/no-such-directory", &e), TN_EIO);
    CHECK_HAS(e.msg, "no-such-directory: no tokenizer.json");
}

/* Cutting a sound file anywhere gives an error or a tokenizer, never a crash. */
static void survives_cut_and_changed_files(void) {
    tn_map file;
    tn_err e;
    if (!CHECK_INT(tn_map_file(&file, QWEN_TINY "/tokenizer.json", &e), TN_OK)) return;
    char *copy = malloc(file.size);
    tn_rng rng = tn_rng_seed(5);
    for (int round = 0; round < 300 && copy; round++) {
        memcpy(copy, file.data, file.size);
        size_t len = round & 1 ? file.size : (size_t)tn_rng_below(&rng, file.size);
        for (int i = 0; i < 3; i++) copy[tn_rng_below(&rng, file.size)] = (char)tn_rng_below(&rng, 256);
        tok_model *t = NULL;
        tok_ids ids = TOK_IDS_INIT;
        if (tok_open_mem(&t, copy, len, NULL, 0, &e) == TN_OK)
            tok_encode(t, "the red car", 11, TOK_SPECIAL, &ids, &e);
        tok_ids_free(&ids);
        tok_close(t);
    }
    free(copy);
    tn_unmap_file(&file);
}

static void check_system(const char *config, const char *want) {
    tok_model *t = NULL;
    tn_err e = {0};
    if (!CHECK_INT(open_parts(&t, &sound, config, &e), TN_OK)) printf("%s\n", e.msg);
    if (t) CHECK_STR(tok_default_system(t), want);
    tok_close(t);
}

static void reads_tokenizer_config(void) {
    check_system("{}", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.");
    check_system("{\"chat_template\": \"{{ 'no system message' }}\"}", "");
    check_system("{\"chat_template\": \"{{'<|im_start|>system\\\\n' + m + '<|im_end|>'}}\"}", "");
    check_system("{\"chat_template\": \"{{'<|im_start|>system\\\\n' }}{{\\\"<|im_start|>system\\\\nIt's "
                 "\\\\\\\"x\\\\\\\"."
                 "<|im_end|>\\\" }}\"}",
                 "It's \"x\".");
    check_system("{\"chat_template\": \"{% else %}<|im_start|>system\\nBare.<|im_end|>\"}", "Bare.");
    check_system("{\"chat_template\": [{\"name\": \"tool\", \"template\": \"\"}, {\"name\": \"default\", "
                 "\"template\": "
                 "\"{{'<|im_start|>system\\nB<|im_end|>'}}\"}]}",
                 "B");

    tok_model *t = NULL;
    tn_err e = {0};
    CHECK_INT(open_parts(&t, &sound,
                         "{\"eos_token\":{\"content\":\"<e>\"},\"added_tokens_decoder\":{\"7\":"
                         "{\"content\":\"<e>\",\"special\":true}}}",
                         &e),
              TN_OK);
    if (t) CHECK_INT(tok_eos(t), 7);
    tok_close(t);
    CHECK_INT(open_parts(&t, &sound, "{\"added_tokens_decoder\":{\"x\":{}}}", &e), TN_EFORMAT);
    CHECK_HAS(e.msg, "tokenizer_config.json: a key of added_tokens_decoder is no token id");
    CHECK_INT(open_parts(&t, &sound, "{", &e), TN_EFORMAT);
    CHECK_HAS(e.msg, "tokenizer_config.json: bad JSON");

    /* A vocabulary without ChatML's markers cannot chat. */
    CHECK_INT(open_parts(&t, &sound, NULL, &e), TN_OK);
    tok_ids ids = TOK_IDS_INIT;
    const tok_message m = {"user", "a"};
    CHECK_INT(tok_chat(t, NULL, &m, 1, 1, &ids, &e), TN_EUNSUP);
    CHECK_HAS(e.msg, "<|im_start|>");
    tok_ids_free(&ids);
    tok_close(t);
}

static void reads_vocab_and_merges_files(void) {
    const char *dir = test_path("vocab-merges");
    char path[512];
    tn_err e = {0};
    static const char *const files[][2] = {
        {"vocab.json", "{\"a\": 0, \"b\": 1, \"ab\": 2, \"\u0120\": 3}"},
        {"merges.txt", "#version: 0.2\na b\n\n"},
        {"tokenizer_config.json",
         "{\"added_tokens_decoder\": {\"4\": {\"content\": \"<x>\", \"special\": true}}}"},
    };
    tn_make_dirs(dir, &e);
    for (int i = 0; i < 3; i++) {
        tn_path_join(path, sizeof path, dir, files[i][0], &e);
        CHECK_INT(tn_write_file(path, files[i][1], strlen(files[i][1]), &e), TN_OK);
    }
    tok_model *t = open_dir(dir);
    tok_ids ids = TOK_IDS_INIT;
    tn_buf got = TN_BUF_INIT;
    if (t) CHECK_INT(tok_encode(t, "ab <x>ab", 8, TOK_SPECIAL, &ids, &e), TN_OK);
    print_ids(&ids, &got);
    CHECK_STR(got.data, "2 3 4 2");
    tok_ids_free(&ids);
    tok_close(t);

    tn_path_join(path, sizeof path, dir, "merges.txt", &e);
    CHECK_INT(tn_write_file(path, "a b\r\nb\n", 7, &e), TN_OK);
    CHECK_INT(tok_open_dir(&t, dir, &e), TN_EFORMAT);
    CHECK_HAS(e.msg, "merges.txt: merge 1 is no pair of tokens");
    tn_buf_free(&got);
}

void test_tokenizer(void) {
    RUN(qwen2_goldens);
    RUN(digits_goldens);
    RUN(looks_up_tokens);
    RUN(streams_whole_characters);
    RUN(random_bytes_come_back);
    RUN(a_megabyte_of_one_thing);
    RUN(renders_chatml);
    RUN(reads_the_variants_of_the_format);
    RUN(refuses_what_it_cannot_follow);
    RUN(refuses_broken_files);
    RUN(survives_cut_and_changed_files);
    RUN(reads_tokenizer_config);
    RUN(reads_vocab_and_merges_files);
}
