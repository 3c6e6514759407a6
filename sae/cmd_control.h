/* `sae control` from inside: the ways of answering a case, and how the outcome is shown. Commands only. */
#ifndef SAE_CMD_CONTROL_H
#define SAE_CMD_CONTROL_H

#include "sae/attach.h"
#include "sae/commands.h"
#include "sae/control.h"

enum { WAY_ORIGINAL, WAY_SAE_ONLY, WAY_SCALED, WAY_TARGET, WAY_RANDOM, WAY_OTHER, N_WAYS };

typedef struct {
    const char *model, *sae_dir, *cases_path, *features_path, *out, *summary;
    float scale, strength;
    int top, keep_error, max_new, json, threads;
    sae_positions positions;
    uint64_t seed;
} control_settings;

typedef struct {
    const qwen_prompt *question; /* its label is TARGET */
    int target, other;           /* numbers of labels */
} control_case;

/* One way's answer to the current case. */
typedef struct {
    tok_ids tokens;
    tn_buf text;
    int named;         /* number of the label it names, -1: none */
    int32_t *features; /* [n_features] that were turned up, not owned */
    int n_features;
} control_answer;

/* One JSON object and a newline: {"prompt", "label", "other", "expected" when the case has it, "answers":
 * [{"name", "names", "moved", "features" where some were turned up, "text"}]}. */
int control_add_case(const control_case *c, const sae_label_ids *labels, const control_answer *answers,
                     tn_buf *out, tn_err *e);

/* The outcome for people, and as one JSON object. */
void control_print_table(const control_settings *s, const sae_tally *tallies /* [N_WAYS] */);
void control_add_json(const control_settings *s, const sae_tally *tallies /* [N_WAYS] */, tn_buf *out);

#endif
