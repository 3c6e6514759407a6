/* The report: one SAE, what it found and what its features do, on one HTML page.
 *
 * The page needs nothing but itself: no script, no font, no picture from elsewhere. What models and files say
 * is escaped wherever it stands. The same inputs give the same bytes.
 *
 *     sae_report r = {.model_name = …, .sae = &sae, .acts = &acts, .stats = &stats, .ranking = &ranking, …};
 *     sae_report_write(&r, &page);
 *
 * What is NULL or empty leaves its section out.
 */
#ifndef SAE_REPORT_H
#define SAE_REPORT_H

#include "sae/example.h"
#include "sae/fit.h"
#include "sae/ranking.h"
#include "tensor/json.h"

/* A JSON file: what `sae eval --json` or `sae control --json` printed, or an SAE's cfg.json. */
typedef struct {
    const char *name; /* the path's last part; belongs to the caller's path */
    tn_map map;
    tn_json root; /* an object; TN_JSON_NONE when there is no such file */
} sae_report_json;
int sae_report_json_open(sae_report_json *out, const char *path, tn_err *e);
void sae_report_json_close(sae_report_json *j);

/* What `sae steer -o` wrote: objects {"prompt", "answers": [{"name", "op", "text"}]}, one a line. A line that
 * is anything else is TN_EFORMAT: "answers.jsonl: line 3: …". */
typedef struct {
    char title[96];
    tn_map map;
    tn_json *questions; /* [n] */
    size_t n;
} sae_report_answers;
/* `spec` is FILE, whose name then is the title, or TITLE=FILE when there is no file of that whole name. */
int sae_report_answers_open(sae_report_answers *out, const char *spec, tn_err *e);
void sae_report_answers_close(sae_report_answers *a);

/* The part of a path behind its last '/'. */
const char *sae_report_file_name(const char *path);

typedef struct {
    const char *title; /* NULL: one is made from the model's name */
    const char *model_name;
    int layers; /* of the model */
    size_t parameters;
    const sae_model *sae;
    const char *sae_name, *acts_name, *held_name; /* files, as the page calls them; held_name may be NULL */
    const sae_acts *acts;
    const sae_acts *held_acts; /* NULL without held-out texts */
    const sae_feature_stats *stats;
    const sae_ranking *ranking;
    sae_vocabulary vocabulary;
    const sae_fit_line *log; /* [n_log] */
    size_t n_log;
    tn_json settings; /* what the SAE was trained with: cfg.json's metadata.scalpel_training */
    const sae_report_answers *answers; /* [n_answers] */
    int n_answers;
    const sae_report_json *eval, *control; /* may be NULL */
} sae_report;

/* Appends the page to *out; out->failed tells that memory did not suffice. */
void sae_report_write(const sae_report *r, tn_buf *out);

#endif
