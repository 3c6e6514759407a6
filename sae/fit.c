/* The training run of fit.h from end to end: prepare -> steps -> measure -> fold the scale in -> save. */
#include "sae/fit_end.h"
#include "sae/fit_run.h"

#include <stdlib.h>
#include <string.h>

void sae_fit_result_free(sae_fit_result *r) {
    free(r->lines);
    memset(r, 0, sizeof *r);
}

static int finish(sae_fit_run *r, const char *dir, sae_fit_result *out, tn_err *e) {
    int f = r->model.cfg.d_sae, rc;
    unsigned char *fired = calloc((size_t)f, 1);
    if (!fired) return tn_fail(e, TN_ENOMEM, "no memory for %d latents", f);
    sae_fit_set val = sae_fit_rows_validation(&r->rows), train;
    rc = sae_fit_rows_measured(&r->rows, &train, e);
    if (!rc) rc = sae_fit_measure(r, &train, train.n, fired, &out->train, e);
    out->train.dead = 0;
    for (int i = 0; i < f; i++) out->train.dead += !fired[i];
    free(fired);
    if (!rc && val.n > 0) rc = sae_fit_measure(r, &val, val.n, NULL, &out->val, e);
    out->measured_rows = train.n;
    out->val.dead = out->train.dead;
    if (rc) return rc;

    sae_train_finish(r->trainer);
    sae_fit_fold_scale(&r->model, &r->o.train, (float)r->rows.scale);
    tn_buf text = TN_BUF_INIT;
    sae_fit_describe(&r->o, &r->rows, out, &text);
    rc = text.failed ? tn_fail(e, TN_ENOMEM, "%s: no memory for cfg.json", dir)
                     : sae_save_dir(&r->model, dir, text.data, e);
    tn_buf_free(&text);
    return rc;
}

static int prepare(sae_fit_run *r, const char *dir, tn_exec ex, tn_err *e) {
    int rc = sae_fit_check(&r->o, e);
    if (!rc) rc = sae_fit_rows_new(&r->rows, r->source, &r->o, e);
    if (!rc) rc = sae_fit_plan(r, e);
    if (!rc) rc = sae_train_check(&r->o.train, e);
    if (!rc) rc = sae_fit_new_model(r, e);
    if (!rc) rc = sae_trainer_new(&r->trainer, &r->model, &r->o.train, ex, e);
    if (!rc) rc = sae_fit_log_start(&r->log, e);
    if (rc) return rc;
    r->x = tn_alloc_large((size_t)r->o.train.batch * (size_t)r->source->d * sizeof *r->x);
    if (!r->x) return tn_fail(e, TN_ENOMEM, "no memory for a batch of %d rows", r->o.train.batch);
    if ((rc = tn_make_dirs(dir, e))) return rc;
    if ((rc = tn_path_join(r->csv_path, sizeof r->csv_path, dir, "train.csv", e))) return rc;
    if ((rc = tn_path_join(r->state_path, sizeof r->state_path, dir, "trainer.safetensors", e))) return rc;
    if (!r->o.resume || !tn_file_exists(r->state_path)) return TN_OK;
    if ((rc = sae_fit_load(r, e))) return rc;
    return tn_write_file(r->csv_path, r->log.csv.data, r->log.csv.len, e);
}

/* With keep_finished: 1 when this very run has ended well already. */
static int is_finished(const sae_fit_run *r, const char *dir) {
    char cfg[1024];
    if (!r->o.keep_finished || tn_path_join(cfg, sizeof cfg, dir, "cfg.json", NULL)) return 0;
    int steps = sae_trainer_steps(r->trainer);
    if (steps == 0 && tn_file_exists(cfg)) tn_remove_file(cfg);
    return steps == r->total_steps && tn_file_exists(cfg);
}

int sae_fit(const sae_source *source, const char *dir, const sae_fit_opts *o, tn_exec ex,
            sae_fit_progress progress, void *ctx, sae_fit_result *out, tn_err *e) {
    memset(out, 0, sizeof *out);
    sae_fit_run r = {.source = source, .o = *o};
    int rc = prepare(&r, dir, ex, e);
    int first_step = rc ? 0 : sae_trainer_steps(r.trainer);
    out->unchanged = !rc && is_finished(&r, dir);
    if (!rc && !out->unchanged) rc = sae_fit_steps(&r, progress, ctx, e);
    if (!rc && !out->unchanged) rc = finish(&r, dir, out, e);
    if (!rc && !out->unchanged) {
        out->train_rows = r.rows.split.n_train;
        out->val_rows = r.rows.split.n_val;
        out->train_docs = r.rows.split.train_docs;
        out->val_docs = r.rows.split.val_docs;
        out->steps_per_epoch = r.steps_per_epoch;
        out->total_steps = r.total_steps;
        out->first_step = first_step;
        out->scale = r.rows.scale;
    }
    if (!rc) {
        out->lines = r.log.lines; /* handed over */
        out->n_lines = r.log.n;
        r.log.lines = NULL;
    }
    sae_fit_log_free(&r.log);
    sae_fit_rows_free(&r.rows);
    sae_trainer_free(r.trainer);
    sae_free(&r.model);
    free(r.x);
    return rc;
}
