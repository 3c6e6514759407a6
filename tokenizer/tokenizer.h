/* Text to token ids and back: byte-level BPE as Hugging Face `tokenizers` does it for Qwen2 and SmolLM2.
 *
 *     tok_model *t;
 *     tn_err e;
 *     if (tok_open_dir(&t, "model-dir", &e)) return fail(e.msg);
 *     tok_ids ids = TOK_IDS_INIT;
 *     tok_encode(t, "Hello", 5, TOK_SPECIAL, &ids, &e);
 *
 * A tok_model is immutable after opening and may be shared between threads. Stages of encoding: split at
 * added tokens, NFC (when the tokenizer has it), pre-tokenizer pattern, bytes to BPE symbols, merges.
 *
 * Invalid UTF-8: every byte that is not part of a well-formed sequence (Unicode 15, table 3-7) stands
 * for itself: it counts as a character that is neither letter, digit nor space, is left alone by NFC, and
 * becomes its byte token, so decode(encode(s)) gives the byte back.
 */
#ifndef TOKENIZER_TOKENIZER_H
#define TOKENIZER_TOKENIZER_H

#include "tensor/buf.h"

typedef struct tok_model tok_model;

/* A growable list of ids; owned by the caller. */
typedef struct {
    int32_t *data;
    size_t len, cap;
} tok_ids;
#define TOK_IDS_INIT                                                                                         \
    { NULL, 0, 0 }
void tok_ids_free(tok_ids *ids);
int tok_ids_push(tok_ids *ids, int32_t id); /* TN_OK or TN_ENOMEM */

/* Reads DIR/tokenizer.json, or DIR/vocab.json + DIR/merges.txt (then with Qwen2's pattern and NFC), and,
 * when there, DIR/tokenizer_config.json (added tokens, chat template's default system message, eos) and
 * DIR/chat_template.jinja (which then has the say). Pre-tokenizers we run: Qwen2's, GPT-2's, and GPT-2's
 * behind a split at digits (SmolLM2); files that ask for anything else are refused by name. */
int tok_open_dir(tok_model **out, const char *dir, tn_err *e);
/* The same from memory: the text of tokenizer.json [len]; `config` (tokenizer_config.json) may be NULL.
 * Nothing is kept of the caller's bytes. */
int tok_open_mem(tok_model **out, const char *json, size_t len, const char *config, size_t config_len,
                 tn_err *e);
void tok_close(tok_model *t); /* NULL is fine */

int32_t tok_vocab_size(const tok_model *t); /* largest id + 1 */
/* The id of a token given by its text (added token or plain text of one token); -1 when there is none. */
int32_t tok_find(const tok_model *t, const char *token);
int32_t tok_eos(const tok_model *t);                /* tokenizer_config's eos_token, or -1 */
int tok_is_special(const tok_model *t, int32_t id); /* 1 for added tokens marked special */

enum { TOK_SPECIAL = 1 }; /* recognise special tokens written in the text, as HF does by default */

/* Appends the ids of text [len] (may hold NULs) to *ids. Without TOK_SPECIAL, "<|im_end|>" in the text is
 * ordinary characters: what a user's own words need (HF's encode_special_tokens). Added tokens that are not
 * marked special, such as "<tool_call>", are always recognised. A byte the vocabulary has no token for
 * becomes its unk_token; without one it is left out (SmolLM2 lacks 21 bytes that no usual text holds).
 * On failure *ids is as before. O(n log n) on any input. */
int tok_encode(const tok_model *t, const char *text, size_t len, unsigned flags, tok_ids *ids, tn_err *e);

/* The bytes of one token, NUL-free or not, without terminator; may end inside a UTF-8 character. Returns
 * TN_EARG for an id outside the vocabulary. Valid as long as t. */
int tok_bytes(const tok_model *t, int32_t id, const char **bytes, size_t *len);

/* Appends the text of ids [n]. skip_special leaves special tokens out. TN_EARG for an unknown id
 * ("unknown token id 200000 (the vocabulary has 151665)"). The result is raw bytes and may hold broken
 * UTF-8 where a character was split. */
int tok_decode(const tok_model *t, const int32_t *ids, size_t n, int skip_special, tn_buf *out, tn_err *e);

/* Text of a growing sequence: feeds one token's bytes and appends to `out` all characters that are now
 * complete; incomplete UTF-8 waits in the stream, and what can no longer become a character is written as
 * U+FFFD (one for each maximal part of a sequence). tok_stream_end flushes what is left as U+FFFD. A stream
 * begins zeroed. */
typedef struct {
    char pending[4];
    int n_pending;
} tok_stream;
int tok_stream_push(const tok_model *t, tok_stream *s, int32_t id, tn_buf *out, tn_err *e);
void tok_stream_end(tok_stream *s, tn_buf *out);

/* Chat: ChatML, as Qwen2.5's and SmolLM2's templates write it for plain messages:
 * <|im_start|>ROLE\nCONTENT<|im_end|>\n … <|im_start|>assistant\n
 * When the first message is no system message, the template's default one is put first: the one found in
 * tokenizer_config.json's chat_template, else Qwen2.5's. */
typedef struct {
    const char *role;    /* "system", "user", "assistant" */
    const char *content; /* NUL-terminated UTF-8 */
} tok_message;

/* Appends the ids of the conversation. Only the template's own markers become special tokens; contents are
 * encoded as plain text, so a message cannot forge a turn. system, used when the first message is no system
 * message: NULL = the template's default one, "" = none at all, else this text. add_generation: end with
 * "<|im_start|>assistant\n". TN_EUNSUP when the vocabulary has no <|im_start|> and <|im_end|>. */
int tok_chat(const tok_model *t, const char *system, const tok_message *messages, size_t n,
             int add_generation, tok_ids *ids, tn_err *e);
/* The template's default system message ("" when it has none). */
const char *tok_default_system(const tok_model *t);

#endif
