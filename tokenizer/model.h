/* The tokenizer's parts, shared by the files of this folder that load and use them. */
#ifndef TOKENIZER_MODEL_H
#define TOKENIZER_MODEL_H

#include "tensor/byte_marks.h"
#include "tensor/json.h"
#include "tokenizer/added.h"
#include "tokenizer/bpe.h"
#include "tokenizer/pretok.h"
#include "tokenizer/tokenizer.h"

struct tok_model {
    tok_vocab vocab;
    tok_merges merges;
    tok_added_set raw;        /* added tokens found in the text as it is */
    tok_added_set normalized; /* those found after NFC, their texts in NFC ("normalized": true) */
    tok_split split;
    tn_byte_marks_fn *marks; /* what the processor can do */
    int nfc;                 /* text between added tokens goes through NFC */
    int ignore_merges;       /* a word that is a token becomes it whatever the merges say */
    int32_t unk;  /* stands for a byte the vocabulary has no token for; -1: such bytes are dropped */
    int32_t eos;  /* -1: not known */
    char *system; /* the chat template's default system message, NUL-terminated, owned */
};

/* tokenizer.c: room for `more` ids behind the list; TN_OK or TN_ENOMEM. */
int tok_ids_reserve(tok_ids *ids, size_t more);

/* load_json.c: fills an empty model from the text of tokenizer.json. */
int tok_load_json(tok_model *t, const char *text, size_t len, tn_err *e);
/* load_vocab.c: fills an empty model from the texts of vocab.json and merges.txt, as a Qwen2 tokenizer. */
int tok_load_vocab(tok_model *t, const char *vocab, size_t vocab_len, const char *merges, size_t merges_len,
                   tn_err *e);
/* load_vocab.c: the parts both kinds of files share. */
int tok_load_entries(tok_model *t, tn_json vocab, tn_err *e);
/* Adds merge number `rank` of two spelled tokens; `scratch` is reused from call to call. */
int tok_load_merge(tok_model *t, uint32_t rank, const char *left, size_t left_len, const char *right,
                   size_t right_len, tn_buf *scratch, tn_err *e);

/* load_config.c: more added tokens, end token and default system message of tokenizer_config.json. */
int tok_load_config(tok_model *t, const char *text, size_t len, tn_err *e);
/* Adds one added token from its JSON object {"content": …, flags}; refuses flags we do not have. */
int tok_load_added(tok_model *t, int64_t id, tn_json token, tn_err *e);
/* load_template.c: takes the default system message out of a chat template (Jinja source). */
int tok_load_template(tok_model *t, const char *text, size_t len, tn_err *e);
#endif
