/* The tokenizer inside a GGUF file, as the two files Hugging Face expects of one. */
#ifndef CONVERT_GGUF_TOKENIZER_H
#define CONVERT_GGUF_TOKENIZER_H

#include "convert/gguf.h"
#include "tensor/buf.h"

/* Appends the texts of tokenizer.json and tokenizer_config.json. `vocab` is the number of rows of the
 * embedding, `context` the model's longest text in tokens. TN_EUNSUP names a kind of tokenizer or
 * pre-tokenizer that is not supported. */
int gguf_tokenizer(const gguf_file *f, size_t vocab, size_t context, tn_buf *tokenizer, tn_buf *config,
                   tn_err *e);

#endif
