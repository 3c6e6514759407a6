/* Text in, text out: the one place where the model and its tokenizer meet. Commands (of qwen and sae) use
 * it; neither qwen.h nor tokenizer.h knows of the other.
 */
#ifndef QWEN_TEXT_H
#define QWEN_TEXT_H

#include "qwen/generate.h"
#include "tokenizer/tokenizer.h"

typedef struct {
    qwen_model *model;
    tok_model *tok;
    int32_t stops[16]; /* config's and generation_config's eos plus the tokenizer's, and <|im_end|> */
    int n_stops;
} qwen_text;

/* Opens both from one Hugging Face directory. */
int qwen_text_open(qwen_text *t, const char *dir, tn_err *e);
void qwen_text_close(qwen_text *t);

/* ids of a prompt: through the chat template (raw = 0; system as in tok_chat) or as plain text. */
int qwen_text_prompt(const qwen_text *t, const char *prompt, int raw, const char *system, tok_ids *ids,
                     tn_err *e);

/* One line of a prompts or stories file (JSONL). A story is a prompt that has been answered. */
typedef struct {
    char *prompt;    /* required */
    char *label;     /* "" when absent */
    char *text;      /* the generated text, NULL when this is only a prompt */
    int32_t *tokens; /* [n_tokens] generated ids, NULL when absent */
    size_t n_tokens;
    char *extra_raw; /* whole line as read: other keys are kept when a story is written */
} qwen_prompt;

typedef struct {
    qwen_prompt *items; /* [count] */
    size_t count;
} qwen_prompts;

/* Reads a JSONL file: {"prompt": "…", "label": "car", …}. Errors name file and line:
 * "prompts.jsonl: line 3: …". Blank lines are skipped. */
int qwen_prompts_read(qwen_prompts *out, const char *path, tn_err *e);
void qwen_prompts_free(qwen_prompts *p);

#endif
