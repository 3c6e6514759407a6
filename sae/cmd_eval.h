/* What the files of `sae eval` share: cmd_eval.c (options and steps), cmd_eval_docs.c (documents for a
 * model), cmd_eval_output.c (table and JSON).
 */
#ifndef SAE_CMD_EVAL_H
#define SAE_CMD_EVAL_H

#include "sae/cmd_placed.h"
#include "sae/commands.h"
#include "sae/effect.h"
#include "sae/eval_acts.h"
#include "sae/label_list.h"

/* A document, as a piece of the list of all tokens. */
typedef struct {
    size_t at, n;
    size_t n_prompt; /* its first tokens, which the model did not write */
    size_t number;   /* line or window, for messages */
    int label;       /* index into the job's labels; -1: none */
} eval_document;

typedef struct {
    const char *model, *sae_dir, *acts_path, *prompts_path, *text_path, *positions_name, *system, *out,
        *encoder;
    cli_strings by;
    int ctx, skip_first, raw, json, limit, threads;
    /* from here on: checked and opened */
    int by_label, by_position;
    sae_positions positions; /* of documents */
    const char *source;      /* the path among the three that was given */
    sae_label_list labels;   /* of the documents; empty without --by label */
    placed_sae sae;          /* with --acts only its model */
    /* with a model */
    writer w;
    tok_ids tokens;      /* of all documents, one after the other */
    eval_document *docs; /* [n_docs] */
    size_t n_docs;
    sae_effect effect;
    /* with --acts */
    sae_acts acts;
    sae_parts parts;
} eval_job;

/* Reads the stories or the text into tokens and docs. */
int eval_read_documents(eval_job *j, tn_err *e);
/* The rows of a document that are replaced: those at the positions asked for that the model ever computes. */
sae_effect_doc eval_rows_of(const eval_job *j, const eval_document *d);
/* TN_EARG when labels were asked for and the source has none. */
int eval_check_labels(const eval_job *j, tn_err *e);

/* Prints the numbers, writes --output. */
int eval_show(const eval_job *j, tn_err *e);

#endif
