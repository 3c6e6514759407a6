/* The documents of sae capture: prompts with their answers, or windows of texts. Commands only.
 *
 * They go through the model in stretches: all prompts at once, but of windows a few hundred thousand tokens,
 * as texts may be longer than memory.
 */
#ifndef SAE_CMD_CAPTURE_DOCS_H
#define SAE_CMD_CAPTURE_DOCS_H

#include "qwen/batch.h"
#include "sae/acts.h"
#include "sae/attach.h"
#include "sae/cmd_texts.h"
#include "sae/commands.h"

typedef struct {
    /* set by the caller: */
    const char *prompts_path, *system; /* prompts_path NULL: texts */
    int raw, max_new;
    sae_positions positions;
    texts_opts text_opts;
    uint64_t seed;
    /* own: */
    size_t count;         /* documents */
    text_windows texts;   /* the documents are its windows, */
    qwen_prompts prompts; /* or else prompts */
    tok_ids *prompt_ids;  /* [prompts.count] */
    tok_ids *answer_ids;  /* [prompts.count] known beforehand */
    size_t room;          /* most documents of a stretch */
    size_t first, n;      /* the stretch: n documents from number `first` on */
    qwen_item *items;     /* [room] */
    int32_t *tokens;      /* [room, ctx] of windows */
} capture_docs;

/* Reads prompts or surveys texts; *longest is how many tokens a document may have. To be closed whatever is
 * returned. */
int capture_docs_open(capture_docs *d, const writer *w, size_t *longest, tn_err *e);
/* Makes the stretch that begins with document `first` (< count) ready for w, whose timeline has started; the
 * latest one is ready already.
 * TN_ECTX or TN_EARG, with the place, for a document that cannot be run. */
int capture_docs_stretch(capture_docs *d, const writer *w, size_t first, tn_err *e);
/* *out = label, prompt and text of a document that is finished; the text is the caller's to free. */
int capture_docs_take(const capture_docs *d, const writer *w, size_t index, const qwen_done *done,
                      sae_doc *out, tn_err *e);
/* Puts the document's place before the error; returns code. */
int capture_docs_fail(const capture_docs *d, size_t index, int code, tn_err *e);
void capture_docs_close(capture_docs *d);

#endif
