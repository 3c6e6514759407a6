/* Prompts and stories as JSONL: one object a line, {"prompt": "…", "label": "car", …}. A story is a prompt
 * that has been answered: it carries "text" and "tokens" as well.
 */
#ifndef QWEN_PROMPTS_H
#define QWEN_PROMPTS_H

#include "qwen/sample.h"
#include "tensor/json.h"

typedef struct {
    char *prompt;    /* required */
    char *label;     /* "" when absent */
    char *text;      /* the generated text, NULL when this is only a prompt; a model may write a NUL: */
    size_t text_len; /* bytes of it */
    int32_t *tokens; /* [n_tokens] generated ids, NULL when absent */
    size_t n_tokens;
    char *extra_raw; /* whole line as read: other keys are kept when a story is written */
    size_t line;     /* where it stands in its file, from 1 */
} qwen_prompt;

typedef struct {
    qwen_prompt *items; /* [count] */
    size_t count;
} qwen_prompts;

/* Reads a JSONL file. Blank lines are skipped, unknown keys are fine. Errors name file and line:
 * "prompts.jsonl: line 3: …". */
int qwen_prompts_read(qwen_prompts *out, const char *path, tn_err *e);
/* The same from memory; messages begin with "line 3: …". */
int qwen_prompts_parse(qwen_prompts *out, const char *text, size_t len, tn_err *e);
void qwen_prompts_free(qwen_prompts *p);

/* What became of a prompt. */
typedef struct {
    const char *text; /* [text_len] */
    size_t text_len;
    const int32_t *tokens; /* [n_tokens] */
    size_t n_tokens;
    const char *finish; /* "stop" or "length" */
    uint64_t seed;      /* below 2^53, so that every JSON reader keeps it */
} qwen_answer;

/* Appends one line: all keys of the prompt's line in their order, then "text", "tokens", "finish" and "seed"
 * (which replace those of the line), then a newline. */
int qwen_story_put(tn_buf *out, const qwen_prompt *p, const qwen_answer *a, tn_err *e);

/* Puts the sampling's members ("temperature" … "seed") into the object being written: how texts came about.
 */
void qwen_sampling_put(tn_json_out *w, const qwen_sampling *p);

#endif
