/* `sae train`: activation files, or texts and a model, in; an SAE directory with its curves out. */
#include "sae/cmd_train.h"
#include "sae/commands.h"
#include "sae/shards.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_EPOCHS INT32_MIN /* --epochs was not given */

static const char SUMMARY[] =
    "sae train -a ACTS.safetensors -o SAEDIR\n"
    "sae train -m DIR --text FILE --layer L -o SAEDIR\n"
    "Trains a sparse autoencoder on captured activations, or on those of a model that reads texts\n"
    "meanwhile (nothing is stored), and writes it in SAELens' format, with train.csv, loss.svg, l1_mse.svg\n"
    "and trainer.safetensors (for --resume) beside it.\n"
    "\n"
    "--arch   relu       squared error and an L1 penalty (--l1)\n"
    "         topk       the --k largest latents of each row\n"
    "         batchtopk  --k latents a row on average; saved as jumprelu with the threshold it learnt\n"
    "         matryoshka batchtopk of which the first --widths latents are SAEs by themselves\n"
    "         jumprelu   a threshold for each latent, learnt with a penalty on how many fire: near\n"
    "                    --target-l0, or --l0-penalty step or tanh with --l0\n"
    "         gated      gates and magnitudes, with an L1 penalty on the gates (--l1)\n"
    "\n"
    "--convention saelens or dictionary_learning trains with all defaults of that library instead of those\n"
    "below, and with its losses where they differ (docs/FORMATS.md).\n"
    "\n"
    "--l1, --k, --target-l0 and --l0 take several values: --k 16,32,64 trains an SAE for each, on the same\n"
    "rows in the same order, into SAEDIR/k-16 and so on, and draws them in SAEDIR/frontier.svg\n"
    "(frontier.csv); with --resume those that are finished are left as they are.";

/* ---- options of an architecture ---- */

/* Takes an option that was given, which must be one of this architecture. */
static int own(const train_args *a, const char *option, int fits, float value, float *dst, tn_err *e) {
    if (value == TRAIN_UNSET) return TN_OK;
    if (!fits) return tn_fail(e, TN_EARG, "%s does not go with --arch %s", option, a->arch);
    if (dst) *dst = value;
    return TN_OK;
}

/* The same for numbers with commas between them. */
static int own_values(train_args *a, const char *option, int fits, train_values *v, float *dst, tn_err *e) {
    const char *at = v->text;
    if (!at) return TN_OK;
    int rc = own(a, option, fits, 0, NULL, e);
    if (rc) return rc;
    for (v->n = 0; v->n < TRAIN_MAX_VALUES; at++) {
        char *end;
        float value = strtof(at, &end);
        if (end == at || !isfinite(value) || (*end != ',' && *end != '\0')) break;
        for (int i = 0; i < v->n; i++)
            if (v->values[i] == value)
                return tn_fail(e, TN_EARG, "%s %s: %g twice", option, v->text, (double)value);
        v->values[v->n++] = value;
        at = end;
        if (*at != '\0') continue;
        v->dst = dst;
        *dst = v->values[0];
        if (v->n == 1) return TN_OK;
        if (a->list) return tn_fail(e, TN_EARG, "%s: only one option can have several values", option);
        a->list = v;
        a->list_name = option + 2; /* without the dashes */
        return TN_OK;
    }
    return tn_fail(e, TN_EARG, "%s %s: expected a number, or up to %d such as 0.5,1,2", option, v->text,
                   TRAIN_MAX_VALUES);
}

static int parse_l0_penalty(const char *name, sae_l0_penalty *out, tn_err *e) {
    static const char *const names[] = {"step", "quadratic", "tanh", "mean"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (sae_l0_penalty)i;
        return TN_OK;
    }
    return tn_fail(e, TN_EARG, "--l0-penalty is step, quadratic, tanh or mean, not \"%s\"", name);
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

static int parse_architecture(train_args *a, tn_err *e) {
    sae_train_opts *t = &a->fit.train;
    if (!sae_train_kind_find(a->arch, &t->arch))
        return tn_fail(e, TN_EARG,
                       "--arch is relu, topk, batchtopk, matryoshka, jumprelu or gated, not \"%s\"", a->arch);
    int jump = t->arch == SAE_TRAIN_JUMPRELU, l1 = t->arch == SAE_TRAIN_RELU || t->arch == SAE_TRAIN_GATED;
    int ranked = !jump && !l1, rc;
    if (!a->convention) t->l0_penalty = SAE_L0_QUADRATIC;
    if ((rc = own_values(a, "--l1", l1, &a->l1, &t->l1, e))) return rc;
    if ((rc = own(a, "--l1-warmup", l1 || jump, t->l1_warmup_steps < 0 ? TRAIN_UNSET : 0, NULL, e)))
        return rc;
    if ((rc = own_values(a, "--l0", jump, &a->l0, &t->l1, e))) return rc;
    if ((rc = own(a, "--l0-penalty", jump, a->l0_penalty ? 0 : TRAIN_UNSET, NULL, e))) return rc;
    if (a->l0_penalty && (rc = parse_l0_penalty(a->l0_penalty, &t->l0_penalty, e))) return rc;
    if ((rc = own_values(a, "--target-l0", jump, &a->target_l0, &t->target_l0, e))) return rc;
    if (a->target_l0.text && t->l0_penalty != SAE_L0_QUADRATIC && t->l0_penalty != SAE_L0_MEAN)
        return tn_fail(e, TN_EARG, "--target-l0 goes with --l0-penalty quadratic or mean, not %s",
                       a->l0_penalty ? a->l0_penalty : "step");
    if ((rc = own(a, "--bandwidth", jump, a->bandwidth, &t->bandwidth, e))) return rc;
    if ((rc = own(a, "--threshold", jump, a->threshold, &t->init_threshold, e))) return rc;
    if ((rc = own(a, "--threshold-speed", jump, a->threshold_speed, &t->threshold_speed, e))) return rc;
    if ((rc = own(a, "--ste-to-input", jump, a->ste_to_input ? 0 : TRAIN_UNSET, NULL, e))) return rc;
    t->ste_to_input = a->ste_to_input;
    if ((rc = own(a, "--pre-act", jump, a->pre_act, &t->pre_act, e))) return rc;
    if ((rc = own(a, "--widths", t->arch == SAE_TRAIN_MATRYOSHKA, a->widths ? 0 : TRAIN_UNSET, NULL, e)))
        return rc;
    if (a->widths && (rc = parse_widths(a->widths, t, e))) return rc;
    if ((rc = own_values(a, "--k", ranked, &a->k, &t->k, e))) return rc;
    return own(a, "--aux", ranked, a->aux, &t->aux, e);
}

/* ---- the command ---- */

static int train_on_files(train_args *a, tn_exec ex, tn_err *e) {
    sae_shards shards;
    int rc = sae_shards_open(&shards, a->acts.items, a->acts.count, e);
    if (rc) return rc;
    const sae_source source = sae_shards_source(&shards);
    rc = train_run(a, &source, ex, e);
    sae_shards_close(&shards);
    return rc;
}

static int train_on_texts(train_args *a, tn_exec ex, tn_err *e) {
    text_source texts;
    sae_source source;
    int rc = text_source_open(&texts, &a->text, a->threads, &source, e);
    if (rc) return rc;
    rc = train_run(a, &source, ex, e);
    text_source_close(&texts);
    return rc;
}

/* Rows come from files or from a model, whose options do not go with files. */
static int check_source(train_args *a, tn_err *e) {
    const text_source_opts *t = &a->text;
    int texts = t->texts.paths.count > 0;
    if (texts == (a->acts.count > 0)) return tn_fail(e, TN_EARG, "give either -a FILE or --text FILE");
    if (!texts && (t->model || t->layer >= 0 || t->site || t->texts.skip_first || t->texts.max_norm != 0))
        return tn_fail(e, TN_EARG, "-m, --layer, --site, --skip-first and --max-norm go with --text");
    if (a->fit.epochs == NO_EPOCHS) a->fit.epochs = texts ? 1 : sae_fit_defaults().epochs;
    if (a->buffer < 0) return tn_fail(e, TN_EARG, "--buffer must be at least 1 row");
    a->fit.buffer = (uint32_t)a->buffer;
    return texts_check(&t->texts, e);
}

static int train(train_args *a, tn_err *e) {
    tn_exec ex;
    int rc = cli_exec(&ex, a->threads, e);
    if (!rc) rc = parse_architecture(a, e);
    if (!rc && !sae_screen_use_find(a->screen, &a->fit.train.screen))
        rc = tn_fail(e, TN_EARG, "--screen is auto, on or off, not \"%s\"", a->screen);
    if (rc) return rc;
    return a->acts.count ? train_on_files(a, ex, e) : train_on_texts(a, ex, e);
}

static train_args defaults(void) {
    train_args a = {.arch = "relu",
                    .width = "20x",
                    .screen = "auto",
                    .text = {.layer = -1},
                    .fit = sae_fit_defaults(),
                    .aux = TRAIN_UNSET,
                    .bandwidth = TRAIN_UNSET,
                    .threshold = TRAIN_UNSET,
                    .threshold_speed = TRAIN_UNSET,
                    .pre_act = TRAIN_UNSET};
    a.fit.epochs = NO_EPOCHS;
    return a;
}

/* The defaults of the library that --convention names, for the architecture that --arch names; options that
 * were given then go on top of them. */
static int follow_convention(train_args *a, tn_err *e) {
    train_args fresh = defaults();
    sae_train_opts *t = &fresh.fit.train;
    int theirs = strcmp(a->convention, "dictionary_learning") == 0;
    if (!theirs && strcmp(a->convention, "saelens") != 0)
        return tn_fail(e, TN_EARG, "--convention is saelens or dictionary_learning, not \"%s\"",
                       a->convention);
    if (sae_train_kind_find(a->arch, &t->arch))
        sae_train_follow(t, theirs ? SAE_DICTIONARY_LEARNING : SAE_SAELENS);
    fresh.fit.start_bias = 0;
    fresh.no_center = !(theirs && sae_train_ranks(t));
    fresh.no_b_dec_input = theirs && t->arch == SAE_TRAIN_JUMPRELU;
    fresh.free_decoder = !theirs;
    *a = fresh;
    return TN_OK;
}

int cmd_train(int argc, char **argv) {
    train_args a = defaults();
    sae_train_opts *t = &a.fit.train;
    const cli_option options[] = {
        {"-a", "--acts", CLI_STRINGS, &a.acts, "FILE",
         "activations of sae capture: a file, a sharded capture, a directory; may be repeated", 0},
        TEXT_SOURCE_OPTIONS(a.text),
        TEXTS_OPTIONS(a.text.texts),
        {"-o", "--out", CLI_STRING, &a.out, "DIR", "SAE directory to write", 1},
        {"--arch", NULL, CLI_STRING, &a.arch, "NAME", "architecture (relu)", 0},
        {"--convention", NULL, CLI_STRING, &a.convention, "NAME",
         "saelens or dictionary_learning: train as that library does (own defaults)", 0},
        {"--width", NULL, CLI_STRING, &a.width, "N|Nx",
         "latents, or a multiple of the activations' width (20x)", 0},
        {"--l1", NULL, CLI_STRING, &a.l1.text, "X[,X...]", "relu, gated: coefficient of the L1 penalty (1)",
         0},
        {"--k", NULL, CLI_STRING, &a.k.text, "N[,N...]", "topk, batchtopk, matryoshka: latents a row (32)",
         0},
        {"--widths", NULL, CLI_STRING, &a.widths, "N,N...",
         "matryoshka: latents of the nested SAEs (1/16, 1/8, 1/4, 1/2 of all)", 0},
        {"--aux", NULL, CLI_FLOAT, &a.aux, "X",
         "topk, batchtopk, matryoshka: AuxK's coefficient, by which dead latents learn the error (1)", 0},
        {"--target-l0", NULL, CLI_STRING, &a.target_l0.text, "X[,X...]", "jumprelu: how many shall fire (32)",
         0},
        {"--l0", NULL, CLI_STRING, &a.l0.text, "X[,X...]", "jumprelu: coefficient of the L0 penalty (1)", 0},
        {"--l0-penalty", NULL, CLI_STRING, &a.l0_penalty, "NAME",
         "jumprelu: quadratic, mean, step or tanh (quadratic)", 0},
        {"--threshold", NULL, CLI_FLOAT, &a.threshold, "X", "jumprelu: thresholds at the start (0.01)", 0},
        {"--threshold-speed", NULL, CLI_FLOAT, &a.threshold_speed, "X",
         "jumprelu: learning rate of thresholds, in learning rates of the run (so many that they arrive)", 0},
        {"--bandwidth", NULL, CLI_FLOAT, &a.bandwidth, "X",
         "jumprelu: width of the window that moves a threshold (0.05)", 0},
        {"--ste-to-input", NULL, CLI_FLAG, &a.ste_to_input, NULL,
         "jumprelu: the window moves the encoder too (Anthropic)", 0},
        {"--pre-act", NULL, CLI_FLOAT, &a.pre_act, "X",
         "jumprelu: coefficient of the loss that lifts dead latents to their thresholds (0; Anthropic 3e-6)",
         0},
        {"--resample", NULL, CLI_INT, &t->resample, "STEPS",
         "dead latents begin anew every so many steps, as rows that are reconstructed badly (0: never)", 0},
        {"--l1-warmup", NULL, CLI_INT, &t->l1_warmup_steps, "N",
         "steps until the penalty has its coefficient (5% of the run)", 0},
        {"--lr", NULL, CLI_FLOAT, &t->lr, "X", "learning rate of Adam (0.001)", 0},
        {"--lr-warmup", NULL, CLI_INT, &t->lr_warmup_steps, "N", "steps until it is reached (5% of the run)",
         0},
        {"--lr-decay", NULL, CLI_INT, &t->lr_decay_steps, "N",
         "last steps, over which it goes to 0 (20% of the run)", 0},
        {"--clip", NULL, CLI_FLOAT, &t->clip, "X", "clip the gradient to this length, 0 = never (1)", 0},
        {"--batch", NULL, CLI_INT, &t->batch, "N", "rows per step (1024)", 0},
        {"--epochs", NULL, CLI_INT, &a.fit.epochs, "N", "passes over the training rows (20; with --text 1)",
         0},
        {"--buffer", NULL, CLI_INT, &a.buffer, "ROWS",
         "most rows in memory; more than that pass through a shuffle buffer (1 GiB of them)", 0},
        {"--free-decoder", NULL, CLI_FLAG, &a.free_decoder, NULL,
         "decoder rows of any length, which weighs penalties and ranks (SAELens); else length 1", 0},
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
        {"--screen", NULL, CLI_STRING, &a.screen, "MODE",
         "find active latents with a small copy, which changes no bit: auto (if faster), on or off", 0},
        {"--threads", NULL, CLI_INT, &a.threads, "N", "0 = one per core", 0},
        {0}};
    int n_positional = 0,
        code = cli_parse("sae", "train", SUMMARY, options, argc, argv, NULL, 0, &n_positional);
    if (code >= 0) return code;
    tn_err e = {0};
    if (a.convention) {
        if (follow_convention(&a, &e)) return cli_error("sae", &e);
        cli_parse("sae", "train", SUMMARY, options, argc, argv, NULL, 0, &n_positional);
    }
    t->unit_norm_decoder = !a.free_decoder;
    a.fit.scale_inputs = !a.no_scale;
    a.fit.center_b_dec = !a.no_center;
    a.fit.apply_b_dec_to_input = !a.no_b_dec_input;
    if (check_source(&a, &e)) return cli_usage_error("sae", "train", "%s", e.msg);
    return train(&a, &e) ? cli_error("sae", &e) : 0;
}
