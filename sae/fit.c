/* The training run of fit.h: prepare -> steps -> log -> checkpoint -> fold the scale in -> save. */
#include "sae/fit.h"

#include "sae/fit_end.h"
#include "sae/fit_log.h"
#include "sae/fit_rows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_VAL_ROWS 1024 /* validation rows of a logged line */
#define DIVERGED 100.0    /* times the starting loss or the data's variance: no run comes back from there */

/* Everything a run holds. */
typedef struct {
    const sae_source *source;
    sae_fit_opts o; /* with the automatic values filled in */
    sae_fit_rows rows;
    sae_fit_log log;
    sae_model model;
    sae_trainer *trainer;
    float *x; /* [batch, D] */
    int steps_per_epoch, total_steps;
    double mse_limit;
    char csv_path[1024], state_path[1024];
} run;

sae_fit_opts sae_fit_defaults(void) {
    sae_fit_opts o = {.train = sae_train_defaults(),
                      .apply_b_dec_to_input = 1,
                      .epochs = 20,
                      .validation = 0.1f,
                      .scale_inputs = 1,
                      .center_b_dec = 1,
                      .start_bias = NAN};
    o.train.threshold_speed = -1;
    o.train.l1_warmup_steps = o.train.lr_warmup_steps = o.train.lr_decay_steps = o.train.dead_window = -1;
    return o;
}

void sae_fit_result_free(sae_fit_result *r) {
    free(r->lines);
    memset(r, 0, sizeof *r);
}

/* ---- preparation ---- */

static int check_options(const sae_fit_opts *o, tn_err *e) {
    if (o->epochs < 1 || o->epochs > 1000000) return tn_fail(e, TN_EARG, "%d epochs", o->epochs);
    if (!(o->validation >= 0 && o->validation <= 0.9f))
        return tn_fail(e, TN_EARG, "a validation share of %g, expected 0 to 0.9", (double)o->validation);
    if (!isnan(o->start_bias) && !(o->start_bias >= 0 && o->start_bias <= 10))
        return tn_fail(e, TN_EARG, "a start bias of %g, expected 0 to 10", (double)o->start_bias);
    if (o->log_every < 0 || o->checkpoint_every < 0) return tn_fail(e, TN_EARG, "a negative number of steps");
    return TN_OK;
}

static int at_most(int limit, int steps) {
    return steps < limit ? steps : limit;
}

/* Its defaults, which are of long runs, no longer than a share of this one. */
static void plan_dictionary_learning(sae_train_opts *t, int d_sae) {
    if (t->l1_warmup_steps < 0) t->l1_warmup_steps = at_most(2000, t->total_steps / 10);
    if (t->lr_warmup_steps < 0) t->lr_warmup_steps = at_most(1000, t->total_steps / 20);
    if (t->threshold_start < 0) t->threshold_start = at_most(1000, t->total_steps / 2);
    if (t->lr < 0) t->lr = sae_train_lr_of_width(d_sae);
}

/* Standard deviation of W_enc[i] · (x - mean) for a random direction, at the start. */
static float pre_activation_spread(const run *r) {
    return r->o.train.init_norm * (float)(r->rows.scale * sqrt(r->rows.variance / r->source->d));
}

/* Adam moves a parameter by about the learning rate a step, whatever its gradient. So that thresholds arrive
 * where the target of L0 wants them, a short run lets them cross REACH spreads of the pre-activations. */
static float threshold_speed(const run *r) {
    const float REACH = 24;
    float needed = REACH * pre_activation_spread(r) / (r->o.train.lr * (float)r->total_steps);
    return needed > 1 ? needed : 1;
}

/* Steps of the run and the values that follow from them. */
static int plan(run *r, tn_err *e) {
    sae_fit_opts *o = &r->o;
    sae_train_opts *t = &o->train;
    uint32_t n_train = r->rows.split.n_train;
    if (t->batch > 0 && (uint32_t)t->batch > n_train) t->batch = (int)n_train;
    if (t->batch < 1) return tn_fail(e, TN_EARG, "batch is %d", t->batch);
    r->steps_per_epoch = (int)(n_train / (uint32_t)t->batch);
    if (r->steps_per_epoch > INT32_MAX / o->epochs)
        return tn_fail(e, TN_EARG, "%d epochs of %d steps are too many", o->epochs, r->steps_per_epoch);
    sae_train_fill_widths(t, o->d_sae);
    t->total_steps = r->total_steps = r->steps_per_epoch * o->epochs;
    if (t->convention == SAE_DICTIONARY_LEARNING) plan_dictionary_learning(t, o->d_sae);
    if (t->threshold_speed < 0) t->threshold_speed = threshold_speed(r);
    if (t->l1_warmup_steps < 0) t->l1_warmup_steps = r->total_steps / 20;
    if (t->lr_warmup_steps < 0) t->lr_warmup_steps = r->total_steps / 20;
    if (t->lr_decay_steps < 0) t->lr_decay_steps = r->total_steps / 5;
    if (t->dead_window < 0) t->dead_window = r->steps_per_epoch;
    /* TopK and BatchTopK decide themselves how many latents fire. */
    if (isnan(o->start_bias)) o->start_bias = sae_train_ranks(t) ? 0 : 2;
    if (o->log_every == 0) o->log_every = r->total_steps / 50 + (r->total_steps % 50 != 0);
    /* Checkpoints fall on logged steps, where no running mean is open. */
    int rest = o->checkpoint_every % o->log_every;
    if (rest && o->checkpoint_every <= INT32_MAX - o->log_every) o->checkpoint_every += o->log_every - rest;
    return TN_OK;
}

static int new_model(run *r, tn_err *e) {
    const sae_source *a = r->source;
    sae_config cfg = {.d_in = a->d,
                      .d_sae = r->o.d_sae,
                      .apply_b_dec_to_input = r->o.apply_b_dec_to_input,
                      .context_size = a->context,
                      .prepend_bos = a->prepend_bos};
    sae_train_config(&r->o.train, &cfg);
    snprintf(cfg.model_name, sizeof cfg.model_name, "%s", a->model_name);
    snprintf(cfg.hook_name, sizeof cfg.hook_name, "%s", a->hook_name);
    int rc = sae_new(&r->model, &cfg, e);
    if (rc) return rc;
    sae_init_params(&r->model, &r->o.train);
    float spread = pre_activation_spread(r);
    float *const biases[] = {r->model.b_enc, r->model.b_gate, r->model.b_mag};
    for (int v = 0; v < 3; v++)
        for (int i = 0; biases[v] && i < cfg.d_sae; i++) biases[v][i] = -r->o.start_bias * spread;
    if (r->o.center_b_dec)
        for (int k = 0; k < a->d; k++) r->model.b_dec[k] = (float)(r->rows.mean[k] * r->rows.scale);
    return TN_OK;
}

/* ---- checkpoints ---- */

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

static void marks(const run *r, mark m[N_MARKS]) {
    put_mark(&m[5], "epochs", r->o.epochs);
    put_mark(&m[0], "mean_norm", r->rows.mean_norm);
    put_mark(&m[1], "training_rows", r->rows.split.n_train);
    put_mark(&m[6], "buffer_rows", r->rows.buffer.cap);
    put_mark(&m[2], "scale", r->rows.scale);
    put_mark(&m[3], "log_every", r->o.log_every);
    put_mark(&m[4], "apply_b_dec_to_input", r->o.apply_b_dec_to_input);
}

static int save_checkpoint(const run *r, tn_err *e) {
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

static int load_checkpoint(run *r, tn_err *e) {
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

/* ---- evaluation ---- */

/* The metrics of the first n rows of a set, together. fired [F] (may be NULL) is set to 1 for latents that
 * fire. */
static int evaluate(run *r, const sae_fit_set *set, uint32_t n, unsigned char *fired, sae_metrics *out,
                    tn_err *e) {
    size_t d = (size_t)r->source->d;
    uint32_t batch = (uint32_t)r->o.train.batch;
    double squares = 0, mean_sq = 0, rows = 0;
    double *sum = calloc(d, sizeof *sum); /* [D] */
    memset(out, 0, sizeof *out);
    int rc = sum ? TN_OK : tn_fail(e, TN_ENOMEM, "no memory for a row of %zu", d);
    for (uint32_t b = 0; b < n; b++) rows += set->keep[b];
    for (uint32_t b0 = 0; b0 < n && !rc; b0 += batch) {
        uint32_t count = sae_fit_rows_scaled(&r->rows, set, b0, n - b0 < batch ? n - b0 : batch, r->x);
        sae_metrics m;
        if (count == 0) continue;
        rc = sae_train_eval(r->trainer, r->x, (int)count, &m, e);
        if (rc) break;
        double share = (double)count / rows;
        out->mse += share * m.mse;
        out->l1 += share * m.l1;
        out->l0 += share * m.l0;
        out->loss += share * m.loss;
        out->dead = m.dead;
        for (size_t j = 0; j < count * d; j++) {
            sum[j % d] += (double)r->x[j];
            squares += (double)r->x[j] * (double)r->x[j];
        }
        for (int i = 0; fired && i < r->model.cfg.d_sae; i++)
            fired[i] |= sae_trainer_fired(r->trainer)[i] > 0;
    }
    for (size_t k = 0; k < d && !rc; k++) mean_sq += sum[k] / rows * (sum[k] / rows);
    double variance = squares / rows - mean_sq;
    out->fve = variance > 0 ? 1 - out->mse / variance : 0;
    free(sum);
    return rc;
}

/* ---- steps ---- */

/* Sums over the steps since the last logged line. */
typedef struct {
    double mse, l1, l0;
    int steps;
} tally;

/* The line for the step just taken, added to the log and written to train.csv. */
static int log_line(run *r, const tally *t, int dead, tn_err *e) {
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
        if ((rc = evaluate(r, &val, val.n < LOG_VAL_ROWS ? val.n : LOG_VAL_ROWS, NULL, &m, e))) return rc;
        line.val_mse = m.mse;
        line.val_l1 = m.l1;
        line.val_l0 = m.l0;
        line.val_fve = m.fve;
    }
    rc = sae_fit_log_add(&r->log, &line, e);
    if (!rc) rc = tn_write_file(r->csv_path, r->log.csv.data, r->log.csv.len, e);
    return rc;
}

static int check_divergence(run *r, const sae_metrics *m, tn_err *e) {
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

static int take_steps(run *r, sae_fit_progress progress, void *ctx, tn_err *e) {
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
            if ((rc = save_checkpoint(r, e))) return rc;
        if (progress && progress(ctx, step, r->total_steps, &m, logged ? &r->log.lines[r->log.n - 1] : NULL))
            return tn_fail(e, TN_ESTOP, "stopped after step %d of %d", step, r->total_steps);
    }
    return TN_OK;
}

/* ---- the end ---- */

static int finish(run *r, const char *dir, sae_fit_result *out, tn_err *e) {
    int f = r->model.cfg.d_sae, rc;
    unsigned char *fired = calloc((size_t)f, 1);
    if (!fired) return tn_fail(e, TN_ENOMEM, "no memory for %d latents", f);
    sae_fit_set val = sae_fit_rows_validation(&r->rows), train;
    rc = sae_fit_rows_measured(&r->rows, &train, e);
    if (!rc) rc = evaluate(r, &train, train.n, fired, &out->train, e);
    out->train.dead = 0;
    for (int i = 0; i < f; i++) out->train.dead += !fired[i];
    free(fired);
    if (!rc && val.n > 0) rc = evaluate(r, &val, val.n, NULL, &out->val, e);
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

static int prepare(run *r, const char *dir, tn_exec ex, tn_err *e) {
    int rc = check_options(&r->o, e);
    if (!rc) rc = sae_fit_rows_new(&r->rows, r->source, &r->o, e);
    if (!rc) rc = plan(r, e);
    if (!rc) rc = sae_train_check(&r->o.train, e);
    if (!rc) rc = new_model(r, e);
    if (!rc) rc = sae_trainer_new(&r->trainer, &r->model, &r->o.train, ex, e);
    if (!rc) rc = sae_fit_log_start(&r->log, e);
    if (rc) return rc;
    r->x = malloc((size_t)r->o.train.batch * (size_t)r->source->d * sizeof *r->x);
    if (!r->x) return tn_fail(e, TN_ENOMEM, "no memory for a batch of %d rows", r->o.train.batch);
    if ((rc = tn_make_dirs(dir, e))) return rc;
    if ((rc = tn_path_join(r->csv_path, sizeof r->csv_path, dir, "train.csv", e))) return rc;
    if ((rc = tn_path_join(r->state_path, sizeof r->state_path, dir, "trainer.safetensors", e))) return rc;
    if (!r->o.resume || !tn_file_exists(r->state_path)) return TN_OK;
    if ((rc = load_checkpoint(r, e))) return rc;
    return tn_write_file(r->csv_path, r->log.csv.data, r->log.csv.len, e);
}

/* With keep_finished: 1 when this very run has ended well already. */
static int is_finished(const run *r, const char *dir) {
    char cfg[1024];
    if (!r->o.keep_finished || tn_path_join(cfg, sizeof cfg, dir, "cfg.json", NULL)) return 0;
    int steps = sae_trainer_steps(r->trainer);
    if (steps == 0 && tn_file_exists(cfg)) tn_remove_file(cfg);
    return steps == r->total_steps && tn_file_exists(cfg);
}

int sae_fit(const sae_source *source, const char *dir, const sae_fit_opts *o, tn_exec ex,
            sae_fit_progress progress, void *ctx, sae_fit_result *out, tn_err *e) {
    memset(out, 0, sizeof *out);
    run r = {.source = source, .o = *o};
    int rc = prepare(&r, dir, ex, e);
    int first_step = rc ? 0 : sae_trainer_steps(r.trainer);
    out->unchanged = !rc && is_finished(&r, dir);
    if (!rc && !out->unchanged) rc = take_steps(&r, progress, ctx, e);
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
