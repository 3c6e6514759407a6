/* The runs of `sae train`: progress, curves, summary; one SAE, or one for each value of a list. */
#include "sae/cmd_train.h"
#include "sae/commands.h"
#include "sae/fit_charts.h"
#include "sae/frontier.h"
#include "tensor/cli.h"
#include "tensor/os.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "20x" (times the activations' width) or a plain number of latents. */
static int parse_width(const char *text, int d_in, int *out, tn_err *e) {
    char *end;
    double v = strtod(text, &end);
    int times = *end == 'x';
    if (end == text || end[times] != '\0' || !(v > 0))
        return tn_fail(e, TN_EARG, "--width %s: expected a number of latents, or a multiple such as 20x",
                       text);
    v = times ? v * d_in : v;
    if (v < 1 || v > INT32_MAX || (!times && v != floor(v)))
        return tn_fail(e, TN_EARG, "--width %s: %g latents", text, v);
    *out = (int)v;
    return TN_OK;
}

/* ---- progress ---- */

typedef struct {
    const char *label;
    cli_progress bar;
    int started;
    int tenths; /* of the run that have been reported */
} watch;

static int on_step(void *ctx, int step, int total, const sae_metrics *m, const sae_fit_line *line) {
    watch *w = ctx;
    char note[128];
    if (!w->started) { /* the first step of a resumed run is not step 1 */
        w->bar = cli_progress_start(w->label, "steps", total);
        w->started = 1;
    }
    int tenths = (int)(10.0 * step / total);
    if (line && tenths > w->tenths && step < total) { /* early enough to stop a run that goes wrong */
        int val = !isnan(line->val_fve);
        snprintf(note, sizeof note, "step %d: L0 %.1f  FVE %.4f%s  dead %d", step,
                 val ? line->val_l0 : line->train_l0, val ? line->val_fve : m->fve,
                 val ? " (validation)" : "", line->dead);
        cli_progress_say(&w->bar, note);
        w->tenths = tenths;
    }
    snprintf(note, sizeof note, "mse %.4g  l0 %.1f  fve %.3f  dead %d", m->mse, m->l0, m->fve, m->dead);
    cli_progress_update(&w->bar, step, note);
    return 0;
}

/* ---- curves ---- */

static int write_text(const char *dir, const char *name, tn_buf *text, tn_err *e) {
    char path[1024];
    int rc = text->failed ? tn_fail(e, TN_ENOMEM, "%s: no memory", name)
                          : tn_path_join(path, sizeof path, dir, name, e);
    if (!rc) rc = tn_write_file(path, text->data, text->len, e);
    tn_buf_free(text);
    return rc;
}

static int write_charts(const char *dir, const sae_fit_result *r, tn_err *e) {
    tn_buf svg = TN_BUF_INIT;
    sae_chart_loss(r->lines, r->n_lines, &svg);
    int rc = write_text(dir, "loss.svg", &svg, e);
    if (rc) return rc;
    sae_chart_l1_mse(r->lines, r->n_lines, &svg);
    return write_text(dir, "l1_mse.svg", &svg, e);
}

/* ---- one SAE ---- */

static const char *const FILES = "cfg.json sae_weights.safetensors train.csv loss.svg l1_mse.svg "
                                 "trainer.safetensors";

static void print_row(const char *name, const sae_metrics *m, size_t rows, size_t docs) {
    printf("%-12s %8zu %6zu %10.3f %10.3f %8.1f %8.4f\n", name, rows, docs, m->mse, m->l1, m->l0, m->fve);
}

static void print_summary(const train_args *a, const sae_source *source, const sae_fit_result *r,
                          double seconds) {
    int f = a->fit.d_sae, all = r->measured_rows == r->train_rows;
    printf("%s: %d -> %d latents on %s\n\n", a->out, source->d, f,
           source->hook_name[0] ? source->hook_name : "?");
    printf("%-12s %8s %6s %10s %10s %8s %8s\n", "", "rows", "texts", "MSE", "L1", "L0", "FVE");
    print_row("train", &r->train, r->train_rows, r->train_docs);
    if (r->val_rows > 0) print_row("validation", &r->val, r->val_rows, r->val_docs);
    printf("\ndead latents   %d of %d (%.1f%%): silent on every %s row\n", r->train.dead, f,
           100.0 * r->train.dead / f, all ? "training" : "measured");
    if (!all) {
        printf("measured       %zu of the training rows, of documents drawn by the seed\n", r->measured_rows);
        printf("memory         %.0f MB at the most\n", (double)tn_peak_memory() / 1e6);
    }
    printf("scale          %.6g: MSE and L1 are of the scaled activations\n", r->scale);
    int steps = r->total_steps - r->first_step;
    double tokens = r->n_lines > 0 ? r->lines[r->n_lines - 1].tokens / r->total_steps * steps : 0;
    printf("time           %.1f s for %d steps, %.0f tokens/s\n", seconds, steps,
           seconds > 0 ? tokens / seconds : 0);
    printf("files          %s\n", FILES);
}

/* One run into `dir`, with its curves. */
static int run_one(const train_args *a, const char *dir, const char *label, const sae_source *source,
                   tn_exec ex, sae_fit_result *result, tn_err *e) {
    watch w = {.label = label};
    int rc = sae_fit(source, dir, &a->fit, ex, on_step, &w, result, e);
    if (w.started) cli_progress_end(&w.bar);
    if (rc) return rc;
    rc = write_charts(dir, result, e);
    if (rc) sae_fit_result_free(result);
    return rc;
}

/* ---- several values ---- */

/* The name of value i of the list, "k-16": with as many digits as tell it from every other float. */
static void value_label(const train_args *a, int i, char *label, size_t cap) {
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(label, cap, "%s-%.*g", a->list_name, digits, (double)a->list->values[i]);
        if (strtof(label + strlen(a->list_name) + 1, NULL) == a->list->values[i]) return;
    }
}

/* Its directory: OUT/k-16. */
static int value_dir(const train_args *a, int i, char *label, size_t cap, char *dir, size_t dir_cap,
                     tn_err *e) {
    value_label(a, i, label, cap);
    return tn_path_join(dir, dir_cap, a->out, label, e);
}

static int train_value(train_args *a, int i, const sae_source *source, tn_exec ex, tn_err *e) {
    char label[64], dir[1024];
    sae_fit_result r;
    int rc = value_dir(a, i, label, sizeof label, dir, sizeof dir, e);
    if (rc) return rc;
    *a->list->dst = a->list->values[i];
    double start = tn_now();
    if ((rc = run_one(a, dir, label, source, ex, &r, e))) return rc;
    const sae_metrics *m = r.val_rows > 0 ? &r.val : &r.train;
    if (r.unchanged)
        printf("%-16s finished before\n", label);
    else
        printf("%-16s L0 %8.1f  FVE %7.4f  dead %6d  %8.1f s\n", label, m->l0, m->fve, r.train.dead,
               tn_now() - start);
    fflush(stdout);
    sae_fit_result_free(&r);
    return TN_OK;
}

/* frontier.csv and frontier.svg over the SAEs of the list. */
static int write_frontier(const train_args *a, tn_err *e) {
    sae_frontier f = {0};
    char label[64], dir[1024];
    int rc = TN_OK;
    for (int i = 0; i < a->list->n && !rc; i++) {
        rc = value_dir(a, i, label, sizeof label, dir, sizeof dir, e);
        if (!rc) rc = sae_frontier_add(&f, dir, e);
    }
    tn_buf text = TN_BUF_INIT;
    if (!rc) {
        sae_frontier_csv(&f, &text);
        rc = write_text(a->out, "frontier.csv", &text, e);
    }
    if (!rc) {
        sae_frontier_chart(&f, &text);
        rc = write_text(a->out, "frontier.svg", &text, e);
    }
    sae_frontier_free(&f);
    return rc;
}

static int train_list(train_args *a, const sae_source *source, tn_exec ex, tn_err *e) {
    char label[64];
    int rc = TN_OK;
    printf("%s: %d -> %d latents on %s, %d values of --%s\n\n", a->out, source->d, a->fit.d_sae,
           source->hook_name[0] ? source->hook_name : "?", a->list->n, a->list_name);
    a->fit.keep_finished = 1;
    for (int i = 0; i < a->list->n && !rc; i++) rc = train_value(a, i, source, ex, e);
    if (!rc) rc = write_frontier(a, e);
    if (rc) return rc;
    value_label(a, 0, label, sizeof label);
    printf("\nfiles          frontier.csv frontier.svg; in %s and so on: %s\n", label, FILES);
    return TN_OK;
}

/* ---- the command's work ---- */

int train_run(train_args *a, const sae_source *source, tn_exec ex, tn_err *e) {
    sae_fit_result result;
    int rc = parse_width(a->width, source->d, &a->fit.d_sae, e);
    if (rc) return rc;
    if (a->list) return train_list(a, source, ex, e);
    double start = tn_now();
    if ((rc = run_one(a, a->out, "training", source, ex, &result, e))) return rc;
    print_summary(a, source, &result, tn_now() - start);
    sae_fit_result_free(&result);
    return TN_OK;
}
