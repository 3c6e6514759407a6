/* From tokenizer.ggml.* metadata to tokenizer.json and tokenizer_config.json.
 *
 * A GGUF file lists the tokens, their kinds and the merges, and gives the rules that split text before the
 * merges only by a name, `tokenizer.ggml.pre`. The rules behind each name are those of the model the name was
 * made for; its other names are refused rather than guessed. Tokens and merges are spelled in GPT-2's byte
 * alphabet in both formats and are copied as they are.
 */
#include "convert/gguf_tokenizer.h"

#include "tensor/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* tokenizer.ggml.token_type */
enum { TOKEN_CONTROL = 3, TOKEN_USER_DEFINED = 4 };

/* What one name in tokenizer.ggml.pre stands for. */
typedef struct {
    const char *pre;
    const char *normalizer, *pre_tokenizer; /* JSON */
} splitting;

static const splitting splittings[] = {
    /* Qwen2's pattern: contractions, words with one leading non-letter, single digits, punctuation with its
     * newlines, runs of white space that leave the last space to the next word. */
    {"qwen2", "{\"type\": \"NFC\"}",
     "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": {\"Regex\": "
     "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}|"
     " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}, "
     "\"behavior\": \"Isolated\", \"invert\": false}, "
     "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": false, \"use_regex\": "
     "false}]}"},
    /* SmolLM and SmolLM2: every digit alone, then GPT-2's pattern on what lies between. */
    {"smollm", "null",
     "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Digits\", \"individual_digits\": true}, "
     "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}]}"},
};

#define BYTE_LEVEL                                                                                           \
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": false}"

/* Everything of tokenizer.ggml.* that both files are made of. */
typedef struct {
    const gguf_file *file;
    const splitting *split;
    gguf_str *tokens; /* [n_tokens], by id */
    gguf_str *sorted; /* [n_tokens], by text */
    char *key;        /* [longest token + 1] room for one token as a C string */
    gguf_str *merges; /* [n_merges] "left right" */
    size_t n_tokens, n_merges;
    const gguf_kv *kinds; /* [n_tokens] integers; NULL: all tokens are ordinary */
} vocabulary;

static void vocabulary_free(vocabulary *v) {
    free(v->tokens);
    free(v->sorted);
    free(v->key);
    free(v->merges);
}

static int fail_named(const gguf_file *f, const char *key, gguf_str found, const char *known, tn_err *e) {
    return tn_fail(e, TN_EUNSUP, "%s: %s \"%s\" is not supported; %s", gguf_label(f), key,
                   gguf_show(found).text, known);
}

static int read_kind(vocabulary *v, tn_err *e) {
    gguf_str model, pre;
    int rc = gguf_get_string(v->file, "tokenizer.ggml.model", GGUF_REQUIRED, &model, e);
    if (rc != TN_OK) return rc;
    if (!gguf_str_is(model, "gpt2"))
        return fail_named(v->file, "tokenizer.ggml.model", model, "gpt2 (byte-level BPE) is", e);
    rc = gguf_get_string(v->file, "tokenizer.ggml.pre", GGUF_REQUIRED, &pre, e);
    if (rc != TN_OK) return rc;
    for (size_t i = 0; i < sizeof splittings / sizeof splittings[0]; i++)
        if (gguf_str_is(pre, splittings[i].pre)) v->split = &splittings[i];
    return v->split ? TN_OK : fail_named(v->file, "tokenizer.ggml.pre", pre, "qwen2 and smollm are", e);
}

/* Additions around every text would need a post-processor; no model of these families wants one. */
static int refuse_additions(const gguf_file *f, tn_err *e) {
    static const char *const keys[] = {"tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token",
                                       "tokenizer.ggml.add_space_prefix"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        int on = 0;
        int rc = gguf_get_bool(f, keys[i], GGUF_OPTIONAL, &on, e);
        if (rc != TN_OK) return rc;
        if (on) return tn_fail(e, TN_EUNSUP, "%s: %s is on, which is not supported", gguf_label(f), keys[i]);
    }
    return TN_OK;
}

static int read_tokens(vocabulary *v, size_t vocab, tn_err *e) {
    const char *label = gguf_label(v->file);
    int rc = gguf_get_strings(v->file, "tokenizer.ggml.tokens", &v->tokens, &v->n_tokens, e);
    if (rc != TN_OK) return rc;
    if (v->n_tokens > vocab)
        return tn_fail(e, TN_EFORMAT, "%s: %zu tokens, but the embedding has %zu rows", label, v->n_tokens,
                       vocab);
    size_t longest = 0;
    for (size_t id = 0; id < v->n_tokens; id++) {
        if (v->tokens[id].len == 0 || memchr(v->tokens[id].data, 0, v->tokens[id].len))
            return tn_fail(e, TN_EFORMAT, "%s: token %zu is empty or holds a NUL", label, id);
        if (v->tokens[id].len > longest) longest = v->tokens[id].len;
    }
    v->key = malloc(longest + 1);
    v->sorted = calloc(v->n_tokens ? v->n_tokens : 1, sizeof *v->sorted);
    if (!v->key || !v->sorted) return tn_fail(e, TN_ENOMEM, "%s: no memory for the tokens", label);
    if (v->n_tokens) memcpy(v->sorted, v->tokens, v->n_tokens * sizeof *v->sorted);
    const gguf_str *twice = gguf_sort_unique(v->sorted, v->n_tokens);
    if (twice)
        return tn_fail(e, TN_EFORMAT, "%s: token \"%s\" is there twice", label, gguf_show(*twice).text);

    v->kinds = gguf_find(v->file, "tokenizer.ggml.token_type");
    int64_t kind;
    if (v->kinds && (!v->kinds->is_array || v->kinds->count != v->n_tokens ||
                     (v->n_tokens && !gguf_int_at(v->kinds, 0, &kind))))
        return tn_fail(e, TN_EFORMAT, "%s: tokenizer.ggml.token_type is no array of %zu integers", label,
                       v->n_tokens);
    return TN_OK;
}

static int has_token(const vocabulary *v, const char *text, size_t len) {
    gguf_str wanted = {text, len};
    return bsearch(&wanted, v->sorted, v->n_tokens, sizeof wanted, gguf_str_compare) != NULL;
}

/* A merge "left right" joins two tokens to a third. */
static int check_merge(const vocabulary *v, gguf_str merge, tn_buf *joined) {
    const char *space = memchr(merge.data, ' ', merge.len);
    if (!space) return 0;
    size_t left = (size_t)(space - merge.data), right = merge.len - left - 1;
    tn_buf_clear(joined);
    tn_buf_add(joined, merge.data, left);
    tn_buf_add(joined, space + 1, right);
    return !joined->failed && has_token(v, merge.data, left) && has_token(v, space + 1, right) &&
           has_token(v, joined->data, joined->len);
}

static int read_merges(vocabulary *v, tn_err *e) {
    int rc = gguf_get_strings(v->file, "tokenizer.ggml.merges", &v->merges, &v->n_merges, e);
    tn_buf joined = TN_BUF_INIT;
    for (size_t i = 0; rc == TN_OK && i < v->n_merges; i++)
        if (!check_merge(v, v->merges[i], &joined))
            rc = tn_fail(e, TN_EFORMAT, "%s: merge %zu, \"%s\", does not join two tokens to a third",
                         gguf_label(v->file), i, gguf_show(v->merges[i]).text);
    tn_buf_free(&joined);
    return rc;
}

static int vocabulary_read(vocabulary *v, const gguf_file *f, size_t vocab, tn_err *e) {
    *v = (vocabulary){.file = f};
    int rc = read_kind(v, e);
    if (rc == TN_OK) rc = refuse_additions(f, e);
    if (rc == TN_OK) rc = read_tokens(v, vocab, e);
    if (rc == TN_OK) rc = read_merges(v, e);
    return rc;
}

/* ---- Writing ---- */

static void put_bool(tn_json_out *j, const char *key, int v) {
    tn_json_key(j, key);
    tn_json_put_bool(j, v);
}

static void put_raw(tn_json_out *j, const char *key, const char *json) {
    tn_json_key(j, key);
    tn_json_put_raw(j, json, strlen(json));
}

static void put_string(tn_json_out *j, const char *key, gguf_str s) {
    tn_json_key(j, key);
    tn_json_put_string(j, s.data, s.len);
}

/* 1 when token `id` is found in the text before anything is split; *special when it also is a marker that
 * decoding leaves out. */
static int is_added(const vocabulary *v, size_t id, int *special) {
    int64_t kind = 0;
    if (v->kinds) (void)gguf_int_at(v->kinds, id, &kind);
    *special = kind == TOKEN_CONTROL;
    return kind == TOKEN_CONTROL || kind == TOKEN_USER_DEFINED;
}

/* What tokenizer.json and tokenizer_config.json say about an added token. */
static void put_added_token_fields(tn_json_out *j, gguf_str content, int special) {
    put_string(j, "content", content);
    put_bool(j, "single_word", 0);
    put_bool(j, "lstrip", 0);
    put_bool(j, "rstrip", 0);
    put_bool(j, "normalized", 0);
    put_bool(j, "special", special);
}

static void put_added_tokens(const vocabulary *v, tn_json_out *j) {
    tn_json_key(j, "added_tokens");
    tn_json_begin_array(j);
    for (size_t id = 0; id < v->n_tokens; id++) {
        int special;
        if (!is_added(v, id, &special)) continue;
        tn_json_begin_object(j);
        tn_json_key(j, "id");
        tn_json_put_i64(j, (int64_t)id);
        put_added_token_fields(j, v->tokens[id], special);
        tn_json_end_object(j);
    }
    tn_json_end_array(j);
}

static void put_bpe(const vocabulary *v, tn_json_out *j) {
    tn_json_key(j, "model");
    tn_json_begin_object(j);
    tn_json_key(j, "type");
    tn_json_puts(j, "BPE");
    put_raw(j, "dropout", "null");
    put_raw(j, "unk_token", "null");
    put_raw(j, "continuing_subword_prefix", "null");
    put_raw(j, "end_of_word_suffix", "null");
    put_bool(j, "fuse_unk", 0);
    put_bool(j, "byte_fallback", 0);
    put_bool(j, "ignore_merges", 0);
    tn_json_key(j, "vocab");
    tn_json_begin_object(j);
    for (size_t id = 0; id < v->n_tokens; id++) {
        memcpy(v->key, v->tokens[id].data, v->tokens[id].len);
        v->key[v->tokens[id].len] = '\0';
        tn_json_key(j, v->key);
        tn_json_put_i64(j, (int64_t)id);
    }
    tn_json_end_object(j);
    tn_json_key(j, "merges");
    tn_json_begin_array(j);
    for (size_t i = 0; i < v->n_merges; i++) tn_json_put_string(j, v->merges[i].data, v->merges[i].len);
    tn_json_end_array(j);
    tn_json_end_object(j);
}

static void put_tokenizer(const vocabulary *v, tn_buf *out) {
    tn_json_out j = tn_json_writer(out, 1);
    tn_json_begin_object(&j);
    put_raw(&j, "version", "\"1.0\"");
    put_raw(&j, "truncation", "null");
    put_raw(&j, "padding", "null");
    put_added_tokens(v, &j);
    put_raw(&j, "normalizer", v->split->normalizer);
    put_raw(&j, "pre_tokenizer", v->split->pre_tokenizer);
    put_raw(&j, "post_processor", BYTE_LEVEL);
    put_raw(&j, "decoder", BYTE_LEVEL);
    put_bpe(v, &j);
    tn_json_end_object(&j);
    tn_buf_putc(out, '\n');
}

static void put_added_tokens_decoder(const vocabulary *v, tn_json_out *j) {
    tn_json_key(j, "added_tokens_decoder");
    tn_json_begin_object(j);
    for (size_t id = 0; id < v->n_tokens; id++) {
        int special;
        char key[24];
        if (!is_added(v, id, &special)) continue;
        snprintf(key, sizeof key, "%zu", id);
        tn_json_key(j, key);
        tn_json_begin_object(j);
        put_added_token_fields(j, v->tokens[id], special);
        tn_json_end_object(j);
    }
    tn_json_end_object(j);
}

/* "bos_token": the text of the token whose id the metadata gives, or null. */
static int put_role(const vocabulary *v, tn_json_out *j, const char *role, const char *id_key, tn_err *e) {
    uint64_t id = UINT64_MAX;
    int rc = gguf_get_uint(v->file, id_key, GGUF_OPTIONAL, &id, e);
    if (rc != TN_OK) return rc;
    if (id == UINT64_MAX) {
        put_raw(j, role, "null");
        return TN_OK;
    }
    if (id >= v->n_tokens)
        return tn_fail(e, TN_EFORMAT, "%s: %s is %llu, but there are %zu tokens", gguf_label(v->file), id_key,
                       (unsigned long long)id, v->n_tokens);
    put_string(j, role, v->tokens[id]);
    return TN_OK;
}

static int put_config(const vocabulary *v, size_t context, tn_buf *out, tn_err *e) {
    gguf_str template = {NULL, 0};
    tn_json_out j = tn_json_writer(out, 2);
    tn_json_begin_object(&j);
    put_bool(&j, "add_bos_token", 0);
    put_bool(&j, "add_prefix_space", 0);
    put_added_tokens_decoder(v, &j);
    int rc = put_role(v, &j, "bos_token", "tokenizer.ggml.bos_token_id", e);
    if (rc == TN_OK) rc = put_role(v, &j, "eos_token", "tokenizer.ggml.eos_token_id", e);
    if (rc == TN_OK) rc = put_role(v, &j, "pad_token", "tokenizer.ggml.padding_token_id", e);
    if (rc == TN_OK) rc = put_role(v, &j, "unk_token", "tokenizer.ggml.unknown_token_id", e);
    if (rc == TN_OK) rc = gguf_get_string(v->file, "tokenizer.chat_template", GGUF_OPTIONAL, &template, e);
    if (rc != TN_OK) return rc;
    if (template.data) put_string(&j, "chat_template", template);
    put_bool(&j, "clean_up_tokenization_spaces", 0);
    tn_json_key(&j, "model_max_length");
    tn_json_put_i64(&j, (int64_t)context);
    /* The class that takes tokenizer.json as it is, whatever the rules in it. */
    put_raw(&j, "tokenizer_class", "\"PreTrainedTokenizerFast\"");
    tn_json_end_object(&j);
    tn_buf_putc(out, '\n');
    return TN_OK;
}

int gguf_tokenizer(const gguf_file *f, size_t vocab, size_t context, tn_buf *tokenizer, tn_buf *config,
                   tn_err *e) {
    vocabulary v;
    int rc = vocabulary_read(&v, f, vocab, e);
    if (rc == TN_OK) {
        put_tokenizer(&v, tokenizer);
        rc = put_config(&v, context, config, e);
    }
    if (rc == TN_OK && (tokenizer->failed || config->failed))
        rc = tn_fail(e, TN_ENOMEM, "%s: no memory for the tokenizer", gguf_label(f));
    vocabulary_free(&v);
    return rc;
}
