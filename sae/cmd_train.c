/* `sae train`: an activation file in, an SAE directory with its curves out. */
#include "sae/commands.h"
#include "sae/fit_charts.h"
#include "sae/shards.h"
#include "tensor/cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char SUMMARY[] =
    "sae train -a ACTS.safetensors -o SAEDIR\n"
    "Trains a sparse autoencoder on captured activations and writes it in SAELens' format, with train.csv,\n"
    "loss.svg, l1_mse.svg and trainer.safetensors (for --resume) beside it.\n"
    "\n"
    "--arch   relu       squared error and an L1 penalty (--l1)\n"
    "         topk       the --k largest latents of each row\n"
    "         batchtopk  --k latents a row on average; saved as jumprelu with the threshold it learnt\n"
    "         matryoshka batchtopk of which the first --widths latents are SAEs by themselves\n"
    "         jumprelu   a threshold for each latent, learnt with a penalty on how many fire: near "
    "--target-l0,\n"
    "                    or --l0-penalty step or tanh with --l0\n"
    "         gated      gates and magnitudes, with an L1 penalty on the gates (--l1)";

/* A number that was not given. */
#define UNSET -1e30f

/* What the options are parsed into before they are checked. */
typedef struct {
    const char *out, *arch, *width, *widths, *l0_penalty;
    cli_strings acts;
    sae_fit_opts fit;
    float l1, l0, k, aux, target_l0, bandwidth, threshold; /* UNSET, or of the architecture */
    int ste_to_input;
    int threads, buffer, no_scale, no_center, free_decoder, no_b_dec_input;
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

/* ---- options of an architecture ---- */

/* Takes an option that was given, which must be one of this architecture. */
static int own(const args *a, const char *option, int fits, float value, float *dst, tn_err *e) {
    if (value == UNSET) return TN_OK;
    if (!fits) return tn_fail(e, TN_EARG, "%s does not go with --arch %s", option, a->arch);
    if (dst) *dst = value;
    return TN_OK;
}

static int parse_l0_penalty(const char *name, sae_l0_penalty *out, tn_err *e) {
    static const char *const names[] = {"step", "quadratic", "tanh"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (sae_l0_penalty)i;
        return TN_OK;
    }
    return tn_fail(e, TN_EARG, "--l0-penalty is step, quadratic or tanh, not \"%s\"", name);
}

/* "64,256,1024" */
static int parse_widths(const char *text, sae_train_opts *t, tn_err *e) {
    const char *at = text;
    for (t->n_widths = 0; t->n_widths < SAE_MAX_WIDTHS; at++) {
        char *end;
        long v = strtol(at, &end, 10);
        if (end == at || v < 1 || v > INT32_MAX || (*end != ',' && *end != '\0')) break;
        t->widths[t->n_widths++] = (int)v;
        at = end;
        if (*at == '\0') return TN_OK;
    }
    return tn_fail(e, TN_EARG, "--widths %s: expected at most %d numbers of latents such as 64,256", text,
                   SAE_MAX_WIDTHS);
}

static int parse_architecture(args *a, tn_err *e) {
    sae_train_opts *t = &a->fit.train;
    if (!sae_train_kind_find(a->arch, &t->arch))
        return tn_fail(e, TN_EARG,
                       "--arch is relu, topk, batchtopk, matryoshka, jumprelu or gated, not \"%s\"", a->arch);
    int jump = t->arch == SAE_TRAIN_JUMPRELU, l1 = t->arch == SAE_TRAIN_RELU || t->arch == SAE_TRAIN_GATED;
    int ranked = !jump && !l1, rc;
    t->l0_penalty = SAE_L0_QUADRATIC;
    if ((rc = own(a, "--l1", l1, a->l1, &t->l1, e))) return rc;
    if ((rc = own(a, "--l1-warmup", l1 || jump, t->l1_warmup_steps < 0 ? UNSET : 0, NULL, e))) return rc;
    if ((rc = own(a, "--l0", jump, a->l0, &t->l1, e))) return rc;
    if ((rc = own(a, "--l0-penalty", jump, a->l0_penalty ? 0 : UNSET, NULL, e))) return rc;
    if (a->l0_penalty && (rc = parse_l0_penalty(a->l0_penalty, &t->l0_penalty, e))) return rc;
    if ((rc = own(a, "--target-l0", jump, a->target_l0, &t->target_l0, e))) return rc;
    if (a->target_l0 != UNSET && t->l0_penalty != SAE_L0_QUADRATIC)
        return tn_fail(e, TN_EARG, "--target-l0 goes with --l0-penalty quadratic, not %s", a->l0_penalty);
    if ((rc = own(a, "--bandwidth", jump, a->bandwidth, &t->bandwidth, e))) return rc;
    if ((rc = own(a, "--threshold", jump, a->threshold, &t->init_threshold, e))) return rc;
    if ((rc = own(a, "--ste-to-input", jump, a->ste_to_input ? 0 : UNSET, NULL, e))) return rc;
    t->ste_to_input = a->ste_to_input;
    if ((rc = own(a, "--widths", t->arch == SAE_TRAIN_MATRYOSHKA, a->widths ? 0 : UNSET, NULL, e))) return rc;
    if (a->widths && (rc = parse_widths(a->widths, t, e))) return rc;
    if ((rc = own(a, "--k", ranked, a->k, &t->k, e))) return rc;
    return own(a, "--aux", ranked, a->aux, &t->aux, e);
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

static void print_summary(const args *a, const sae_source *source, const sae_fit_result *r, double seconds) {
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
    printf("files          cfg.json sae_weights.safetensors train.csv loss.svg l1_mse.svg "
           "trainer.safetensors\n");
}

/* The run itself and its curves. */
static int train_on(args *a, const sae_source *source, tn_exec ex, tn_err *e) {
    sae_fit_result result;
    watch w = {.started = 0};
    int rc = parse_width(a->width, source->d, &a->fit.d_sae, e);
    if (rc) return rc;
    double start = tn_now();
    rc = sae_fit(source, a->out, &a->fit, ex, on_step, &w, &result, e);
    if (w.started) cli_progress_end(&w.bar);
    if (rc) return rc;
    rc = write_charts(a->out, &result, e);
    if (!rc) print_summary(a, source, &result, tn_now() - start);
    sae_fit_result_free(&result);
    return rc;
}

static int train(args *a, tn_err *e) {
    tn_exec ex;
    sae_shards shards;
    int rc = cli_exec(&ex, a->threads, e);
    if (!rc) rc = parse_architecture(a, e);
    if (!rc) rc = sae_shards_open(&shards, a->acts.items, a->acts.count, e);
    if (rc) return rc;
    const sae_source source = sae_shards_source(&shards);
    rc = train_on(a, &source, ex, e);
    sae_shards_close(&shards);
    return rc;
}

int cmd_train(int argc, char **argv) {
    args a = {.arch = "relu",
              .width = "20x",
              .fit = sae_fit_defaults(),
              .l1 = UNSET,
              .l0 = UNSET,
              .k = UNSET,
              .aux = UNSET,
              .target_l0 = UNSET,
              .bandwidth = UNSET,
              .threshold = UNSET};
    sae_train_opts *t = &a.fit.train;
    const cli_option options[] = {
        {"-a", "--acts", CLI_STRINGS, &a.acts, "FILE",
         "activations of sae capture: a file, a sharded capture, a directory; may be repeated", 1},
        {"-o", "--out", CLI_STRING, &a.out, "DIR", "SAE directory to write", 1},
        {"--arch", NULL, CLI_STRING, &a.arch, "NAME", "architecture (relu)", 0},
        {"--width", NULL, CLI_STRING, &a.width, "N|Nx",
         "latents, or a multiple of the activations' width (20x)", 0},
        {"--l1", NULL, CLI_FLOAT, &a.l1, "X", "relu, gated: coefficient of the L1 penalty (1)", 0},
        {"--k", NULL, CLI_FLOAT, &a.k, "N", "topk, batchtopk, matryoshka: latents a row (32)", 0},
        {"--widths", NULL, CLI_STRING, &a.widths, "N,N…",
         "matryoshka: latents of the nested SAEs (1/16, 1/8, 1/4, 1/2 of all)", 0},
        {"--aux", NULL, CLI_FLOAT, &a.aux, "X",
         "topk, batchtopk, matryoshka: coefficient of AuxK, by which dead latents learn the error (1)", 0},
        {"--target-l0", NULL, CLI_FLOAT, &a.target_l0, "X", "jumprelu: how many shall fire (32)", 0},
        {"--l0", NULL, CLI_FLOAT, &a.l0, "X", "jumprelu: coefficient of the L0 penalty (1)", 0},
        {"--l0-penalty", NULL, CLI_STRING, &a.l0_penalty, "NAME",
         "jumprelu: quadratic, step or tanh (quadratic)", 0},
        {"--threshold", NULL, CLI_FLOAT, &a.threshold, "X", "jumprelu: thresholds at the start (0.01)", 0},
        {"--bandwidth", NULL, CLI_FLOAT, &a.bandwidth, "X",
         "jumprelu: width of the window that moves a threshold (0.05)", 0},
        {"--ste-to-input", NULL, CLI_FLAG, &a.ste_to_input, NULL,
         "jumprelu: the window moves the encoder too (Anthropic)", 0},
        {"--l1-warmup", NULL, CLI_INT, &t->l1_warmup_steps, "N",
         "steps until the penalty has its coefficient (5% of the run)", 0},
        {"--lr", NULL, CLI_FLOAT, &t->lr, "X", "learning rate of Adam (0.001)", 0},
        {"--lr-warmup", NULL, CLI_INT, &t->lr_warmup_steps, "N", "steps until it is reached (5% of the run)",
         0},
        {"--lr-decay", NULL, CLI_INT, &t->lr_decay_steps, "N",
         "last steps, over which it goes to 0 (20% of the run)", 0},
        {"--clip", NULL, CLI_FLOAT, &t->clip, "X", "clip the gradient to this length, 0 = never (1)", 0},
        {"--batch", NULL, CLI_INT, &t->batch, "N", "rows per step (1024)", 0},
        {"--epochs", NULL, CLI_INT, &a.fit.epochs, "N", "passes over the training rows (20)", 0},
        {"--buffer", NULL, CLI_INT, &a.buffer, "ROWS",
         "most rows in memory; more than that pass through a shuffle buffer (1 GiB of them)", 0},
        {"--free-decoder", NULL, CLI_FLAG, &a.free_decoder, NULL,
         "decoder rows of any length, which penalties and ranks are weighted by (SAELens); else 1", 0},
        {"--no-scale", NULL, CLI_FLAG, &a.no_scale, NULL, "train on the activations as they are", 0},
        {"--no-center", NULL, CLI_FLAG, &a.no_center, NULL, "start with b_dec = 0 instead of the mean", 0},
        {"--start-bias", NULL, CLI_FLOAT, &a.fit.start_bias, "X",
         "biases start X deviations below zero (2: about 2% of the latents fire; with --k: 0)", 0},
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
    if (a.buffer < 0) return cli_usage_error("sae", "train", "--buffer must be at least 1 row");
    a.fit.buffer = (uint32_t)a.buffer;
    tn_err e = {0};
    return train(&a, &e) ? cli_error("sae", &e) : 0;
}
