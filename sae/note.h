/* The note of how an SAE was trained (settings and figures): an object that `sae train` leaves in the SAE's
 * directory, under metadata.scalpel_training of cfg.json. dictionary_learning's config.json holds it under
 * scalpel_training. */
#ifndef SAE_NOTE_H
#define SAE_NOTE_H

#include "tensor/buf.h"
#include "tensor/err.h"

/* Appends the JSON text of the note; nothing when the SAE was trained by others. */
int sae_note_read(tn_buf *out, const char *dir, tn_err *e);

#endif
