/* `sae train`: an activation file in, an SAE directory with its curves out. */
#include "sae/commands.h"
#include "sae/fit_charts.h"
#include "tensor/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SUMMARY[] =
    "sae train -a ACTS.safetensors -o SAEDIR\n"
    "Trains a sparse autoencoder (ReLU, squared error + L1) on captured activations and writes it in "
    "SAELens'\n"
    "format, with train.csv, loss.svg, l1_mse.svg and trainer.safetensors (for --resume) beside it.";

/* What the options are parsed into before they are checked. */
typedef struct {
    const char *acts, *out, *arch, *width;
    sae_fit_opts fit;
    int threads, no_scale, no_center, free_decoder, no_b_dec_input;
} args;

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
    cli_progress bar;
    int started;
} watch;

static int on_step(void *ctx, int step, int total, const sae_metrics *m, const sae_fit_line *line) {
    watch *w = ctx;
    char note[96];
    (void)line;
    if (!w->started) { /* the first step of a resumed run is not step 1 */
        w->bar = cli_progress_start("training", "steps", total);
        w->started = 1;
    }
    snprintf(note, sizeof note, "mse %.4g  l0 %.1f  fve %.3f  dead %d", m->mse, m->l0, m->fve, m->dead);
    cli_progress_update(&w->bar, step, note);
    return 0;
}

/* ---- curves ---- */

static int write_chart(const char *dir, const char *name, tn_buf *svg, tn_err *e) {
    char path[1024];
    int rc = svg->failed ? tn_fail(e, TN_ENOMEM, "%s: no memory", name)
                         : tn_path_join(path, sizeof path, dir, name, e);
    if (!rc) rc = tn_write_file(path, svg->data, svg->len, e);
    tn_buf_free(svg);
    return rc;
}

static int write_charts(const char *dir, const sae_fit_result *r, tn_err *e) {
    tn_buf svg = TN_BUF_INIT;
    sae_chart_loss(r->lines, r->n_lines, &svg);
    int rc = write_chart(dir, "loss.svg", &svg, e);
    if (rc) return rc;
    sae_chart_l1_mse(r->lines, r->n_lines, &svg);
    return write_chart(dir, "l1_mse.svg", &svg, e);
}

/* ---- the command ---- */

static void print_row(const char *name, const sae_metrics *m, size_t rows, size_t docs) {
    printf("%-12s %8zu %6zu %10.3f %10.3f %8.1f %8.4f\n", name, rows, docs, m->mse, m->l1, m->l0, m->fve);
}

static void print_summary(const args *a, const sae_acts *acts, const sae_fit_result *r, double seconds) {
    int f = a->fit.d_sae;
    printf("%s: %d -> %d latents on %s\n\n", a->out, acts->d, f, acts->hook_name[0] ? acts->hook_name : "?");
    printf("%-12s %8s %6s %10s %10s %8s %8s\n", "", "rows", "texts", "MSE", "L1", "L0", "FVE");
    print_row("train", &r->train, r->train_rows, r->train_docs);
    if (r->val_rows > 0) print_row("validation", &r->val, r->val_rows, r->val_docs);
    printf("\ndead latents   %d of %d (%.1f%%): silent on every training row\n", r->train.dead, f,
           100.0 * r->train.dead / f);
    printf("scale          %.6g: MSE and L1 are of the scaled activations\n", r->scale);
    int steps = r->total_steps - r->first_step;
    double tokens = r->n_lines > 0 ? r->lines[r->n_lines - 1].tokens / r->total_steps * steps : 0;
    printf("time           %.1f s for %d steps, %.0f tokens/s\n", seconds, steps,
           seconds > 0 ? tokens / seconds : 0);
    printf("files          cfg.json sae_weights.safetensors train.csv loss.svg l1_mse.svg "
           "trainer.safetensors\n");
}

static int train(args *a, tn_err *e) {
    tn_exec ex;
    sae_acts acts;
    sae_fit_result result;
    int rc = cli_exec(&ex, a->threads, e);
    if (!rc && strcmp(a->arch, "relu") != 0 && strcmp(a->arch, "standard") != 0)
        rc = tn_fail(e, TN_EUNSUP, "--arch %s: only relu is supported", a->arch);
    if (!rc) rc = sae_acts_open(&acts, a->acts, e);
    if (rc) return rc;
    watch w = {.started = 0};
    rc = parse_width(a->width, acts.d, &a->fit.d_sae, e);
    if (!rc) {
        double start = tn_now();
        rc = sae_fit(&acts, a->out, &a->fit, ex, on_step, &w, &result, e);
        if (w.started) cli_progress_end(&w.bar);
        if (!rc) {
            rc = write_charts(a->out, &result, e);
            if (!rc) print_summary(a, &acts, &result, tn_now() - start);
            sae_fit_result_free(&result);
        }
    }
    sae_acts_close(&acts);
    return rc;
}

int cmd_train(int argc, char **argv) {
    args a = {.arch = "relu", .width = "20x", .fit = sae_fit_defaults()};
    sae_train_opts *t = &a.fit.train;
    const cli_option options[] = {
        {"-a", "--acts", CLI_STRING, &a.acts, "FILE", "activation file of sae capture", 1},
        {"-o", "--out", CLI_STRING, &a.out, "DIR", "SAE directory to write", 1},
        {"--arch", NULL, CLI_STRING, &a.arch, "NAME", "architecture: relu", 0},
        {"--width", NULL, CLI_STRING, &a.width, "N|Nx",
         "latents, or a multiple of the activations' width (20x)", 0},
        {"--l1", NULL, CLI_FLOAT, &t->l1, "X", "coefficient of the L1 penalty (1)", 0},
        {"--l1-warmup", NULL, CLI_INT, &t->l1_warmup_steps, "N", "steps until it is reached (5% of the run)",
         0},
        {"--lr", NULL, CLI_FLOAT, &t->lr, "X", "learning rate of Adam (0.001)", 0},
        {"--lr-warmup", NULL, CLI_INT, &t->lr_warmup_steps, "N", "steps until it is reached (5% of the run)",
         0},
        {"--lr-decay", NULL, CLI_INT, &t->lr_decay_steps, "N",
         "last steps, over which it goes to 0 (20% of the run)", 0},
        {"--clip", NULL, CLI_FLOAT, &t->clip, "X", "clip the gradient to this length, 0 = never (1)", 0},
        {"--batch", NULL, CLI_INT, &t->batch, "N", "rows per step (1024)", 0},
        {"--epochs", NULL, CLI_INT, &a.fit.epochs, "N", "passes over the training rows (20)", 0},
        {"--free-decoder", NULL, CLI_FLAG, &a.free_decoder, NULL,
         "decoder rows of any length, L1 weighted by it (SAELens); else they have length 1", 0},
        {"--no-scale", NULL, CLI_FLAG, &a.no_scale, NULL, "train on the activations as they are", 0},
        {"--no-center", NULL, CLI_FLAG, &a.no_center, NULL, "start with b_dec = 0 instead of the mean", 0},
        {"--start-bias", NULL, CLI_FLOAT, &a.fit.start_bias, "X",
         "b_enc starts X deviations below zero (2: about 2% of the latents fire)", 0},
        {"--no-b-dec-to-input", NULL, CLI_FLAG, &a.no_b_dec_input, NULL, "the encoder sees x, not x - b_dec",
         0},
        {"--val", NULL, CLI_FLOAT, &a.fit.validation, "X",
         "share of the rows held back for validation, as whole texts (0.1)", 0},
        {"--val-rows", NULL, CLI_FLAG, &a.fit.split_rows, NULL,
         "hold back single rows instead of whole texts", 0},
        {"--log-every", NULL, CLI_INT, &a.fit.log_every, "N", "steps per line of train.csv (50 lines a run)",
         0},
        {"--checkpoint-every", NULL, CLI_INT, &a.fit.checkpoint_every, "N",
         "steps between checkpoints (at the end only)", 0},
        {"--resume", NULL, CLI_FLAG, &a.fit.resume, NULL,
         "continue from the checkpoint in DIR (see --checkpoint-every)", 0},
        {"--seed", NULL, CLI_U64, &t->seed, "N", "of the start, the split and the shuffling (42)", 0},
        {"--threads", NULL, CLI_INT, &a.threads, "N", "0 = one per core", 0},
        {0}};
    int n_positional = 0,
        code = cli_parse("sae", "train", SUMMARY, options, argc, argv, NULL, 0, &n_positional);
    if (code >= 0) return code;
    t->unit_norm_decoder = !a.free_decoder;
    a.fit.scale_inputs = !a.no_scale;
    a.fit.center_b_dec = !a.no_center;
    a.fit.apply_b_dec_to_input = !a.no_b_dec_input;
    tn_err e = {0};
    return train(&a, &e) ? cli_error("sae", &e) : 0;
}
