/* Unicode normalisation form C (UAX #15) of text that may hold bytes outside UTF-8. */
#ifndef TOKENIZER_NFC_H
#define TOKENIZER_NFC_H

#include "tensor/buf.h"

/* The first character of [text, end) that NFC may change or join with what precedes it; `end` when there is
 * none, and the text is in NFC. */
const char *tok_nfc_find_slow(const char *text, const char *end);

/* Appends the NFC of text [len] to *out. Bytes outside UTF-8 stay as they are and stop reordering and
 * composition, as an unassigned character would. O(n). Returns TN_OK or TN_ENOMEM. */
int tok_nfc(const char *text, size_t len, tn_buf *out);

#endif
