/* Unicode normalisation form C (UAX #15) of text that may hold bytes outside UTF-8. */
#ifndef TOKENIZER_NFC_H
#define TOKENIZER_NFC_H

#include "tensor/buf.h"

/* 1 when a quick look shows that the text [len] is in NFC already; 0 when it may not be. */
int tok_nfc_is_clean(const char *text, size_t len);

/* Appends the NFC of text [len] to *out. Bytes outside UTF-8 stay as they are and stop reordering and
 * composition, as an unassigned character would. O(n). Returns TN_OK or TN_ENOMEM. */
int tok_nfc(const char *text, size_t len, tn_buf *out);

#endif
