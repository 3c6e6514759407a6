/* The default system message, which models keep inside their chat template.
 *
 * A template is a Jinja program. It is not run: the ones we follow write ChatML, and differ in the message
 * they begin with when the conversation has no system message of its own.
 */
#include "tokenizer/model.h"

#include <stdlib.h>
#include <string.h>

#define SYSTEM_TURN "<|im_start|>system"
#define END_OF_TURN "<|im_end|>"
#define MAX_SYSTEM 8192 /* bytes of a template read for its default message: bounds the search */

/* 1 when the text at p begins with `what`. */
static int begins(const char *p, const char *end, const char *what) {
    size_t n = strlen(what);
    return (size_t)(end - p) >= n && memcmp(p, what, n) == 0;
}

/* Appends the literal text at p up to <|im_end|>, undoing Jinja's escapes. `quote` is the quotation mark
 * that ends the literal, or 0 in text outside of {{ }}, which a brace ends. Returns 1 when <|im_end|> came
 * first: then all of the message was in the literal. */
static int read_literal(const char *p, const char *end, char quote, tn_buf *out) {
    while (p < end) {
        if (begins(p, end, END_OF_TURN)) return 1;
        if (quote ? *p == quote : *p == '{') return 0;
        if (quote && *p == '\\' && end - p > 1) {
            p++;
            tn_buf_putc(out, *p == 'n' ? '\n' : *p == 't' ? '\t' : *p);
        } else {
            tn_buf_putc(out, *p);
        }
        p++;
    }
    return 0;
}

/* The template's default message is the first literal of the form <|im_start|>system\nTEXT<|im_end|>; turns
 * put together from the caller's messages end the literal before <|im_end|>. */
int tok_load_template(tok_model *t, const char *text, size_t len, tn_err *e) {
    const char *end = text + len;
    tn_buf found = TN_BUF_INIT;
    int complete = 0;
    for (const char *p = text; p < end && !complete; p++) {
        if (!begins(p, end, SYSTEM_TURN)) continue;
        char quote = p > text && (p[-1] == '\'' || p[-1] == '"') ? p[-1] : 0;
        const char *literal = p + strlen(SYSTEM_TURN);
        const char *limit = end - literal > MAX_SYSTEM ? literal + MAX_SYSTEM : end;
        tn_buf_clear(&found);
        complete = read_literal(literal, limit, quote, &found) && found.len > 0 && found.data[0] == '\n';
    }
    int failed = found.failed;
    const char *message = complete ? found.data + 1 : "";
    char *copy = failed ? NULL : malloc(strlen(message) + 1);
    if (copy) strcpy(copy, message);
    tn_buf_free(&found);
    if (!copy) return tn_fail(e, TN_ENOMEM, "no memory for the chat template");
    free(t->system);
    t->system = copy;
    return TN_OK;
}
