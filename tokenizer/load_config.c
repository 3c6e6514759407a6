/* Added tokens with their flags, and what tokenizer_config.json says beyond tokenizer.json: more added
 * tokens, the end token, the chat template.
 */
#include "tokenizer/model.h"

#include "tokenizer/nfc.h"

#include <stdlib.h>
#include <string.h>

/* Flags that make a token swallow the white space beside it or stand only between words. */
static int check_flags(int64_t id, tn_json token, tn_err *e) {
    static const char *const flags[] = {"lstrip", "rstrip", "single_word"};
    for (int i = 0; i < 3; i++) {
        int on = 0;
        if (tn_json_bool(tn_json_get(token, flags[i]), &on) && on)
            return tn_fail(e, TN_EUNSUP, "added token %lld: \"%s\" is not supported", (long long)id,
                           flags[i]);
    }
    return TN_OK;
}

/* Puts the token in the vocabulary and in the set that is searched for at its stage. */
static int put_token(tok_model *t, int64_t id, const tn_buf *text, int special, int normalized, tn_err *e) {
    int status = tok_vocab_add_token(&t->vocab, id, text->data, text->len, special, e);
    if (status != TN_OK) return status;
    if (!normalized) return tok_added_put(&t->raw, text->data, text->len, (int32_t)id, special, e);
    tn_buf nfc = TN_BUF_INIT;
    if (!t->nfc)
        tn_buf_add(&nfc, text->data, text->len);
    else if (tok_nfc(text->data, text->len, &nfc) != TN_OK)
        nfc.failed = 1;
    status = nfc.failed ? tn_fail(e, TN_ENOMEM, "no memory for added tokens")
                        : tok_added_put(&t->normalized, nfc.data, nfc.len, (int32_t)id, special, e);
    tn_buf_free(&nfc);
    return status;
}

int tok_load_added(tok_model *t, int64_t id, tn_json token, tn_err *e) {
    int status = check_flags(id, token, e), special = 0;
    if (status != TN_OK) return status;
    tn_json_bool(tn_json_get(token, "special"), &special);
    int normalized = !special;
    tn_json_bool(tn_json_get(token, "normalized"), &normalized);

    tn_buf text = TN_BUF_INIT;
    if (!tn_json_string(tn_json_get(token, "content"), &text) || text.len == 0)
        status = tn_fail(e, TN_EFORMAT, "added token %lld has no content", (long long)id);
    else
        status = put_token(t, id, &text, special, normalized, e);
    tn_buf_free(&text);
    return status;
}

/* "added_tokens_decoder": {"151643": {"content": …}, …}. Tokens tokenizer.json has already told us of stay
 * as they are. */
static int load_decoder_tokens(tok_model *t, tn_json decoder, tn_err *e) {
    tn_json key, token;
    for (tn_json_iter it = tn_json_each(decoder); tn_json_next(&it, &key, &token);) {
        char digits[16], *end;
        if (!tn_json_copy(key, digits, sizeof digits)) digits[0] = '\0';
        long id = strtol(digits, &end, 10);
        if (end == digits || *end || id < 0)
            return tn_fail(e, TN_EFORMAT, "a key of added_tokens_decoder is no token id");
        if (id < t->vocab.n && t->vocab.entry[id].kind >= TOK_ADDED) continue;
        int status = tok_load_added(t, id, token, e);
        if (status != TN_OK) return status;
    }
    tok_added_seal(&t->raw);
    tok_added_seal(&t->normalized);
    return TN_OK;
}

/* "eos_token": "<|im_end|>" or {"content": "<|im_end|>", …}. */
static void load_eos(tok_model *t, tn_json v) {
    tn_buf text = TN_BUF_INIT;
    if (tn_json_string(v.kind == TN_JSON_OBJECT ? tn_json_get(v, "content") : v, &text) && text.len > 0)
        t->eos = tok_find(t, text.data);
    tn_buf_free(&text);
}

/* "chat_template": its source, or a list of {"name": …, "template": …} of which "default" counts. */
static int load_chat_template(tok_model *t, tn_json v, tn_err *e) {
    tn_json key, entry;
    for (tn_json_iter it = tn_json_each(v); v.kind == TN_JSON_ARRAY && tn_json_next(&it, &key, &entry);) {
        if (!tn_json_is(tn_json_get(entry, "name"), "default")) continue;
        v = tn_json_get(entry, "template");
        break;
    }
    tn_buf source = TN_BUF_INIT;
    int status = TN_OK;
    if (tn_json_string(v, &source))
        status = source.failed ? tn_fail(e, TN_ENOMEM, "no memory for the chat template")
                               : tok_load_template(t, source.len ? source.data : "", source.len, e);
    tn_buf_free(&source);
    return status;
}

int tok_load_config(tok_model *t, const char *text, size_t len, tn_err *e) {
    tn_json root;
    int status = tn_json_parse(&root, text, len, e);
    if (status == TN_OK) status = load_decoder_tokens(t, tn_json_get(root, "added_tokens_decoder"), e);
    if (status != TN_OK) return status;
    load_eos(t, tn_json_get(root, "eos_token"));
    return load_chat_template(t, tn_json_get(root, "chat_template"), e);
}
