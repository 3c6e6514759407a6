/* Text in, text out: the one place where the model and its tokenizer meet. Commands (of qwen and sae) use
 * it; neither qwen.h nor tokenizer.h knows of the other.
 */
#ifndef QWEN_TEXT_H
#define QWEN_TEXT_H

#include "qwen/generate.h"
#include "qwen/prompts.h"
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

/* Appends the ids of a prompt: through the chat template (raw = 0; system as in tok_chat, and what the prompt
 * says can forge no turn), or as it stands, special tokens written in it included (raw = 1). TN_EARG when
 * that is no token at all. */
int qwen_text_prompt(const qwen_text *t, const char *prompt, int raw, const char *system, tok_ids *ids,
                     tn_err *e);

/* Appends the text of generated ids [n], special tokens left out. Ids that have a row in the model but no
 * token (Qwen2.5's embedding is padded) have no text, as in HF transformers. */
int qwen_text_decode(const qwen_text *t, const int32_t *ids, size_t n, tn_buf *out, tn_err *e);
/* The same for one token of a growing text: appends the characters that are complete now. */
int qwen_text_push(const qwen_text *t, tok_stream *stream, int32_t id, tn_buf *out, tn_err *e);

#endif
