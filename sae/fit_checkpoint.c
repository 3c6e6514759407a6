/* Checkpoints of a training run (fit_run.h): the trainer's state, with marks that tell runs apart and the
 * log. */
#include "sae/fit_run.h"

#include <stdio.h>
#include <string.h>

/* What must be equal for a checkpoint to belong to this run, beyond the trainer's own options. The mean norm
 * of the training rows stands for the data and the split. */
typedef struct {
    const char *name;
    char text[32];
} mark;
#define N_MARKS 7

static void put_mark(mark *m, const char *name, double value) {
    m->name = name;
    snprintf(m->text, sizeof m->text, "%.17g", value);
}

static void marks(const sae_fit_run *r, mark m[N_MARKS]) {
    put_mark(&m[5], "epochs", r->o.epochs);
    put_mark(&m[0], "mean_norm", r->rows.mean_norm);
    put_mark(&m[1], "training_rows", r->rows.split.n_train);
    put_mark(&m[6], "buffer_rows", r->rows.buffer.cap);
    put_mark(&m[2], "scale", r->rows.scale);
    put_mark(&m[3], "log_every", r->o.log_every);
    put_mark(&m[4], "apply_b_dec_to_input", r->o.apply_b_dec_to_input);
}

int sae_fit_save(const sae_fit_run *r, tn_err *e) {
    mark m[N_MARKS];
    tn_pair extra[N_MARKS + 1];
    marks(r, m);
    for (int i = 0; i < N_MARKS; i++) extra[i] = (tn_pair){m[i].name, m[i].text};
    extra[N_MARKS] = (tn_pair){"log", r->log.csv.data};
    return sae_trainer_save(r->trainer, r->state_path, extra, N_MARKS + 1, e);
}

static int check_mark(const tn_safetensors *file, const char *path, const mark *m, tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    int rc = TN_OK;
    if (!tn_st_metadata(file, m->name, &text) || !text.data)
        rc = tn_fail(e, TN_EFORMAT, "%s: metadata \"%s\" is missing", path, m->name);
    else if (strcmp(text.data, m->text) != 0)
        rc = tn_fail(e, TN_EARG, "%s: belongs to a run with other data or options (%s %.40s, not %s)", path,
                     m->name, text.data, m->text);
    tn_buf_free(&text);
    return rc;
}

int sae_fit_load(sae_fit_run *r, tn_err *e) {
    tn_safetensors *file;
    mark m[N_MARKS];
    int rc = tn_st_open_file(&file, r->state_path, e);
    if (rc) return rc;
    marks(r, m);
    for (int i = 0; i < N_MARKS && !rc; i++) rc = check_mark(file, r->state_path, &m[i], e);
    tn_buf csv = TN_BUF_INIT;
    if (!rc && !(tn_st_metadata(file, "log", &csv) && csv.data))
        rc = tn_fail(e, TN_EFORMAT, "%s: metadata \"log\" is missing", r->state_path);
    tn_st_close(file);
    if (!rc && (rc = sae_fit_log_restore(&r->log, csv.data, e))) tn_fail_in(e, rc, r->state_path);
    tn_buf_free(&csv);
    if (!rc) rc = sae_trainer_load(r->trainer, r->state_path, e);
    return rc;
}
