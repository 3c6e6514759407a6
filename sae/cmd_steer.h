/* `sae steer` from inside: the ways of answering, and how answers are shown. Commands only. */
#ifndef SAE_CMD_STEER_H
#define SAE_CMD_STEER_H

#include "sae/attach.h"
#include "sae/cmd_placed.h"
#include "sae/commands.h"

/* One way of answering: a heading, and the hooks that make it. */
typedef struct {
    char name[64];
    const char *op;    /* the edits as given, NULL when there are none */
    sae_edits edits;   /* empty when op is NULL */
    sae_steer *steers; /* [n_saes], what the hooks point to */
    qwen_hook *hooks;  /* [n_hooks] */
    int n_hooks;
} way;

typedef struct {
    tok_ids tokens;
    tn_buf text;
} answer;

/* One prompt's answers for people, a block per way, in Markdown. */
void print_answers(const qwen_prompt *p, const way *ways, const answer *answers, int n);
/* One JSON object and a newline: {"prompt", "label", "answers": [{"name", "op", "text", "tokens"}]}. */
void add_answers_json(const qwen_prompt *p, const way *ways, const answer *answers, int n, tn_buf *out);

/* Writes PATH with, per way, "NAME.tokens" I32 [T] (prompt, then answer) and "NAME.logits" F32 [T, vocab],
 * computed under its hooks; metadata n_prompt. */
int write_trace(writer *w, const char *path, const tok_ids *prompt, const way *ways, const answer *answers,
                int n, tn_err *e);

#endif
