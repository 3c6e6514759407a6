/* Conversations as ChatML. */
#include "tokenizer/model.h"

#include <string.h>

const char *tok_default_system(const tok_model *t) {
    return t->system ? t->system : "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
}

/* <|im_start|>ROLE\nCONTENT<|im_end|>\n; without the end when content is NULL. */
static int add_turn(const tok_model *t, const char *role, const char *content, tok_ids *ids, tn_err *e) {
    int32_t begin = tok_find(t, "<|im_start|>"), finish = tok_find(t, "<|im_end|>");
    if (begin < 0 || finish < 0)
        return tn_fail(e, TN_EUNSUP,
                       "the vocabulary has no <|im_start|> and <|im_end|>: this is no chat model");
    tn_buf text = TN_BUF_INIT;
    tn_buf_puts(&text, role);
    tn_buf_putc(&text, '\n');
    if (content) tn_buf_puts(&text, content);
    int status = text.failed ? TN_ENOMEM : tok_ids_push(ids, begin);
    if (status == TN_OK) status = tok_encode(t, text.data, text.len, 0, ids, e);
    if (status == TN_OK && content) status = tok_ids_push(ids, finish);
    if (status == TN_OK && content) status = tok_encode(t, "\n", 1, 0, ids, e);
    tn_buf_free(&text);
    return status == TN_ENOMEM ? tn_fail(e, status, "no memory for the conversation") : status;
}

int tok_chat(const tok_model *t, const char *system, const tok_message *messages, size_t n,
             int add_generation, tok_ids *ids, tn_err *e) {
    int status = TN_OK;
    if (!system) system = tok_default_system(t);
    if (*system && (n == 0 || strcmp(messages[0].role, "system") != 0))
        status = add_turn(t, "system", system, ids, e);
    for (size_t i = 0; i < n && status == TN_OK; i++)
        status = add_turn(t, messages[i].role, messages[i].content, ids, e);
    if (status == TN_OK && add_generation) status = add_turn(t, "assistant", NULL, ids, e);
    return status;
}
