/* Reads tokenizer.json, the file of Hugging Face `tokenizers`: byte-level BPE with the normalisers and
 * pre-tokenizers we have. Whatever would change ids in a way we do not follow is refused by its name.
 */
#include "tokenizer/model.h"

#include <string.h>

static int is_absent(tn_json v) {
    return v.kind == TN_JSON_NONE || v.kind == TN_JSON_NULL;
}

static int has_type(tn_json v, const char *type) {
    return tn_json_is(tn_json_get(v, "type"), type);
}

/* Boolean member of obj, or `otherwise` when it is not there. */
static int get_flag(tn_json obj, const char *name, int otherwise) {
    tn_json_bool(tn_json_get(obj, name), &otherwise);
    return otherwise;
}

/* "… of type X is not supported". */
static int refuse(const char *part, tn_json v, tn_err *e) {
    char type[64];
    if (!tn_json_copy(tn_json_get(v, "type"), type, sizeof type)) strcpy(type, "?");
    return tn_fail(e, TN_EUNSUP, "%s \"%s\" is not supported as it stands here", part, type);
}

static int load_normalizer(tok_model *t, tn_json v, tn_err *e) {
    t->nfc = has_type(v, "NFC");
    return is_absent(v) || t->nfc ? TN_OK : refuse("normalizer", v, e);
}

/* A ByteLevel step that maps bytes and, when use_regex, splits by GPT-2's pattern. */
static int is_byte_level(tn_json v, int use_regex) {
    return has_type(v, "ByteLevel") && !get_flag(v, "add_prefix_space", 1) &&
           get_flag(v, "use_regex", 1) == use_regex;
}

static int is_qwen2_split(tn_json v) {
    return has_type(v, "Split") &&
           tn_json_is(tn_json_get(tn_json_get(v, "pattern"), "Regex"), TOK_QWEN2_PATTERN) &&
           tn_json_is(tn_json_get(v, "behavior"), "Isolated") && !get_flag(v, "invert", 0);
}

static int load_pre_tokenizer(tok_model *t, tn_json v, tn_err *e) {
    tn_json steps = tn_json_get(v, "pretokenizers"), first = {0}, second = {0}, key;
    if (has_type(v, "Sequence") && tn_json_count(steps) == 2) {
        tn_json_iter it = tn_json_each(steps);
        tn_json_next(&it, &key, &first);
        tn_json_next(&it, &key, &second);
    }
    if (is_byte_level(v, 1))
        t->split = TOK_SPLIT_GPT2;
    else if (is_qwen2_split(first) && is_byte_level(second, 0))
        t->split = TOK_SPLIT_QWEN2;
    else if (has_type(first, "Digits") && get_flag(first, "individual_digits", 0) && is_byte_level(second, 1))
        t->split = TOK_SPLIT_DIGITS_GPT2;
    else if (first.kind == TN_JSON_OBJECT && is_byte_level(second, 0))
        return refuse("pre-tokenizer", first, e);
    else
        return refuse("pre-tokenizer", v, e);
    return TN_OK;
}

/* Post-processors may put tokens around the text; those here do not. */
static int check_post_processor(tn_json v, tn_err *e) {
    if (is_absent(v) || has_type(v, "ByteLevel")) return TN_OK;
    if (has_type(v, "TemplateProcessing") && tn_json_count(tn_json_get(v, "special_tokens")) == 0)
        return TN_OK;
    return refuse("post-processor", v, e);
}

/* The symbol joined into the model when nothing stands for a byte. */
static int load_unk(tok_model *t, tn_json v, tn_err *e) {
    tn_buf text = TN_BUF_INIT, bytes = TN_BUF_INIT;
    t->unk = -1;
    if (tn_json_string(v, &text) && tok_unspell(text.data, text.len, &bytes) && bytes.len > 0)
        t->unk = tok_vocab_find(&t->vocab, bytes.data, bytes.len);
    tn_buf_free(&text);
    tn_buf_free(&bytes);
    if (t->unk >= 0 || is_absent(v)) return TN_OK;
    return tn_fail(e, TN_EFORMAT, "unk_token is not in the vocabulary");
}

/* One entry of "merges": "left right" or ["left", "right"]. */
static int load_merge(tok_model *t, uint32_t rank, tn_json v, tn_buf scratch[3], tn_err *e) {
    const char *left, *right = NULL;
    size_t left_len = 0, right_len = 0;
    if (v.kind == TN_JSON_ARRAY) {
        tn_json a = {0}, b = {0};
        tn_json_iter it = tn_json_each(v);
        int two =
            tn_json_next(&it, NULL, &a) && tn_json_next(&it, NULL, &b) && !tn_json_next(&it, NULL, NULL);
        left = two ? tn_json_text(a, &left_len, &scratch[0]) : NULL;
        right = left_len > 0 ? tn_json_text(b, &right_len, &scratch[1]) : NULL;
    } else {
        size_t len = 0;
        left = tn_json_text(v, &len, &scratch[0]);
        const char *space = left ? memchr(left, ' ', len) : NULL;
        if (space) {
            left_len = (size_t)(space - left);
            right = space + 1;
            right_len = len - left_len - 1;
        }
    }
    if (scratch[0].failed || scratch[1].failed) return tn_fail(e, TN_ENOMEM, "no memory for the merges");
    if (!right) return tn_fail(e, TN_EFORMAT, "merge %u is no pair of tokens", (unsigned)rank);
    return tok_load_merge(t, rank, left, left_len, right, right_len, &scratch[2], e);
}

static int load_merges(tok_model *t, tn_json list, tn_err *e) {
    if (list.kind != TN_JSON_ARRAY) return tn_fail(e, TN_EFORMAT, "model.merges is missing or no list");
    int status = TN_OK;
    tn_buf scratch[3] = {TN_BUF_INIT, TN_BUF_INIT, TN_BUF_INIT};
    tn_json v;
    uint32_t rank = 0;
    for (tn_json_iter it = tn_json_each(list); status == TN_OK && tn_json_next(&it, NULL, &v);)
        status = load_merge(t, rank++, v, scratch, e);
    for (int i = 0; i < 3; i++) tn_buf_free(&scratch[i]);
    return status == TN_OK ? tok_merges_seal(&t->merges, e) : status;
}

/* The members of tokenizer.json that matter. */
enum {
    NORMALIZER,
    PRE,
    POST,
    DECODER,
    ADDED,
    MODEL,
    TYPE,
    VOCAB,
    MERGES,
    UNK,
    IGNORE,
    OTHERS,
    COUNT = OTHERS + 5
};
static const tn_json_path members[COUNT] = {
    [NORMALIZER] = {NULL, "normalizer"},
    [PRE] = {NULL, "pre_tokenizer"},
    [POST] = {NULL, "post_processor"},
    [DECODER] = {NULL, "decoder"},
    [ADDED] = {NULL, "added_tokens"},
    [MODEL] = {NULL, "model"},
    [TYPE] = {"model", "type"},
    [VOCAB] = {"model", "vocab"},
    [MERGES] = {"model", "merges"},
    [UNK] = {"model", "unk_token"},
    [IGNORE] = {"model", "ignore_merges"},
    [OTHERS] = {"model", "dropout"}, /* from here on, what must be off */
    {"model", "fuse_unk"},
    {"model", "byte_fallback"},
    {"model", "continuing_subword_prefix"},
    {"model", "end_of_word_suffix"},
};

static int load_bpe(tok_model *t, const tn_json m[COUNT], tn_err *e) {
    if (m[MODEL].kind != TN_JSON_OBJECT) return tn_fail(e, TN_EFORMAT, "\"model\" is missing or no object");
    if (m[TYPE].kind != TN_JSON_NONE && !tn_json_is(m[TYPE], "BPE")) return refuse("model", m[MODEL], e);
    for (int i = OTHERS; i < COUNT; i++) { /* null, false, 0 and "" are all ways to say off */
        int on = 0;
        double number = 0;
        int off = is_absent(m[i]) || (tn_json_bool(m[i], &on) && !on) ||
                  (tn_json_f64(m[i], &number) && number == 0) || tn_json_is(m[i], "");
        if (!off) return tn_fail(e, TN_EUNSUP, "model.%s is not supported", members[i].name);
    }
    tn_json_bool(m[IGNORE], &t->ignore_merges);

    int status = tok_load_entries(t, m[VOCAB], e);
    if (status == TN_OK) status = load_merges(t, m[MERGES], e);
    return status == TN_OK ? load_unk(t, m[UNK], e) : status;
}

static int load_added(tok_model *t, tn_json list, tn_err *e) {
    tn_json key, token;
    for (tn_json_iter it = tn_json_each(list); tn_json_next(&it, &key, &token);) {
        int64_t id = -1;
        if (!tn_json_i64(tn_json_get(token, "id"), &id))
            return tn_fail(e, TN_EFORMAT, "an entry of added_tokens has no id");
        int status = tok_load_added(t, id, token, e);
        if (status != TN_OK) return status;
    }
    tok_added_seal(&t->raw);
    tok_added_seal(&t->normalized);
    return TN_OK;
}

int tok_load_json(tok_model *t, const char *text, size_t len, tn_err *e) {
    tn_json m[COUNT];
    int status = tn_json_parse_members(m, members, COUNT, text, len, e);
    if (status != TN_OK) return status;
    if ((status = load_normalizer(t, m[NORMALIZER], e)) != TN_OK) return status;
    if ((status = load_pre_tokenizer(t, m[PRE], e)) != TN_OK) return status;
    if ((status = check_post_processor(m[POST], e)) != TN_OK) return status;
    if (!is_absent(m[DECODER]) && !has_type(m[DECODER], "ByteLevel")) return refuse("decoder", m[DECODER], e);
    if ((status = load_bpe(t, m, e)) != TN_OK) return status;
    return load_added(t, m[ADDED], e);
}
