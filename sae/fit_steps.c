/* The steps of a training run (fit_run.h): rows -> step -> log -> checkpoint. */
#include "sae/fit_run.h"

#include <math.h>

#define LOG_VAL_ROWS 1024 /* validation rows of a logged line */
#define DIVERGED 100.0    /* times the starting loss or the data's variance: no run comes back from there */

/* Sums over the steps since the last logged line. */
typedef struct {
    double mse, l1, l0;
    int steps;
} tally;

/* The line for the step just taken, added to the log and written to train.csv. */
static int log_line(sae_fit_run *r, const tally *t, int dead, tn_err *e) {
    int step = sae_trainer_steps(r->trainer);
    sae_fit_line line = {.step = step,
                         .epoch = (step - 1) / r->steps_per_epoch + 1,
                         .tokens = (double)step * r->o.train.batch,
                         .train_mse = t->mse / t->steps,
                         .train_l1 = t->l1 / t->steps,
                         .train_l0 = t->l0 / t->steps,
                         .val_mse = NAN,
                         .val_l1 = NAN,
                         .val_l0 = NAN,
                         .val_fve = NAN,
                         .dead = dead,
                         .l1_coefficient = sae_l1_at(&r->o.train, step - 1),
                         .lr = sae_lr_at(&r->o.train, step - 1)};
    sae_fit_set val = sae_fit_rows_validation(&r->rows);
    int rc = TN_OK;
    if (val.n > 0) {
        sae_metrics m;
        if ((rc = sae_fit_measure(r, &val, val.n < LOG_VAL_ROWS ? val.n : LOG_VAL_ROWS, NULL, &m, e)))
            return rc;
        line.val_mse = m.mse;
        line.val_l1 = m.l1;
        line.val_l0 = m.l0;
        line.val_fve = m.fve;
    }
    rc = sae_fit_log_add(&r->log, &line, e);
    if (!rc) rc = tn_write_file(r->csv_path, r->log.csv.data, r->log.csv.len, e);
    return rc;
}

static int check_divergence(sae_fit_run *r, const sae_metrics *m, tn_err *e) {
    int step = sae_trainer_steps(r->trainer);
    if (r->mse_limit == 0) {
        double variance = r->rows.variance * r->rows.scale * r->rows.scale;
        r->mse_limit = DIVERGED * (m->mse > variance ? m->mse : variance);
    }
    if (m->mse <= r->mse_limit) return TN_OK;
    return tn_fail(e, TN_ENUM,
                   "training diverges: the error is %.3g at step %d and rising, try a lower learning rate",
                   m->mse, step);
}

int sae_fit_steps(sae_fit_run *r, sae_fit_progress progress, void *ctx, tn_err *e) {
    int batch = r->o.train.batch, rc;
    tally sums = {0};
    int epoch = -1;
    while (sae_trainer_steps(r->trainer) < r->total_steps) {
        int at = sae_trainer_steps(r->trainer), in_epoch = at % r->steps_per_epoch;
        if (at / r->steps_per_epoch != epoch) {
            epoch = at / r->steps_per_epoch;
            rc = sae_fit_rows_seek(&r->rows, epoch, (uint32_t)in_epoch * (uint32_t)batch, e);
            if (rc) return rc;
        }
        sae_metrics m;
        uint32_t kept;
        if ((rc = sae_fit_rows_next(&r->rows, (uint32_t)batch, r->x, &kept, e))) return rc;
        if (kept == 0) return tn_fail(e, TN_EARG, "all %d rows of a batch were left out as outliers", batch);
        if ((rc = sae_train_step(r->trainer, r->x, (int)kept, &m, e))) return rc;
        if ((rc = check_divergence(r, &m, e))) return rc;
        sums.mse += m.mse;
        sums.l1 += m.l1;
        sums.l0 += m.l0;
        sums.steps++;

        int step = at + 1, logged = step % r->o.log_every == 0 || step == r->total_steps;
        if (logged) {
            if ((rc = log_line(r, &sums, m.dead, e))) return rc;
            sums = (tally){0};
        }
        int every = r->o.checkpoint_every;
        if (step == r->total_steps || (every > 0 && step % every == 0))
            if ((rc = sae_fit_save(r, e))) return rc;
        if (progress && progress(ctx, step, r->total_steps, &m, logged ? &r->log.lines[r->log.n - 1] : NULL))
            return tn_fail(e, TN_ESTOP, "stopped after step %d of %d", step, r->total_steps);
    }
    return TN_OK;
}
