/* What the files of sae capture say of how their rows came about, as metadata. Commands only. */
#ifndef SAE_CMD_CAPTURE_NOTE_H
#define SAE_CMD_CAPTURE_NOTE_H

#include "sae/cmd_capture_docs.h"

typedef struct {
    tn_pair pairs[16];
    size_t n;
    /* texts behind the pairs */
    tn_buf sampling, paths;
    char tokens[24], ctx[24], max_norm[32];
} capture_note;

/* *out refers to d and is to be freed whatever is returned. */
int capture_note_make(capture_note *out, const capture_docs *d, const qwen_sampling *sampling, tn_err *e);
void capture_note_free(capture_note *n);

#endif
