/* sae bench-train: how fast an SAE is trained, and encodes and decodes.
 *
 * The SAE is at its random start, so that a few steps are enough: what a step costs depends on its sizes, on
 * how many latents fire and on the rows. --start-bias sets how many fire where nothing else does.
 */
#include "sae/active.h"
#include "sae/acts.h"
#include "sae/commands.h"
#include "sae/round.h"
#include "sae/train.h"
#include "tensor/json.h"
#include "tensor/os.h"
#include "tensor/spread.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STEPS = 1000 };

typedef struct {
    const char *acts, *arch, *encoder, *screen;
    int width, steps, batch, threads;
    float k, l1, lr, start_bias;
    uint64_t seed;
    /* from here on: opened */
    tn_exec exec;
    sae_acts rows;
    sae_model model;
    float *x; /* [batch, D] */
    double rates[MAX_STEPS], l0;
} job;

/* Rows of step `step`, scaled to a mean length of sqrt(D). */
static void gather(job *j, int step) {
    size_t d = (size_t)j->rows.d, n = (size_t)j->batch;
    for (size_t b = 0; b < n; b++) {
        uint32_t row = (uint32_t)(((size_t)step * n + b) % j->rows.n);
        sae_acts_gather(&j->rows, &row, 1, j->x + b * d);
    }
    double squares = 0;
    for (size_t i = 0; i < n * d; i++) squares += (double)j->x[i] * (double)j->x[i];
    float scale = squares > 0 ? (float)sqrt((double)(n * d) / squares) : 1;
    for (size_t i = 0; i < n * d; i++) j->x[i] *= scale;
}

static int open_all(job *j, sae_train_opts *o, tn_err *e) {
    int code = cli_exec(&j->exec, j->threads, e);
    if (!code) code = sae_acts_open(&j->rows, j->acts, e);
    if (code) return code;
    if (j->rows.n == 0) return tn_fail(e, TN_EARG, "%s: 0 rows of activations", j->acts);
    if (!sae_train_kind_find(j->arch, &o->arch))
        return tn_fail(e, TN_EARG, "there is no architecture \"%s\"", j->arch);
    o->batch = j->batch;
    o->k = j->k;
    o->l1 = j->l1;
    o->lr = j->lr;
    o->unit_norm_decoder = 1;
    if (!sae_screen_use_find(j->screen, &o->screen))
        return tn_fail(e, TN_EARG, "--screen is auto, on or off, not \"%s\"", j->screen);
    o->seed = j->seed;
    sae_config cfg = {.d_in = j->rows.d, .d_sae = j->width * j->rows.d, .apply_b_dec_to_input = 1};
    sae_train_config(o, &cfg);
    code = sae_new(&j->model, &cfg, e);
    if (code) return code;
    sae_init_params(&j->model, o);
    float *const biases[] = {j->model.b_enc, j->model.b_gate, j->model.b_mag};
    for (int v = 0; v < 3; v++) /* rows are sqrt(D) long: a product's deviation is init_norm */
        for (int i = 0; biases[v] && i < cfg.d_sae; i++) biases[v][i] = -j->start_bias * o->init_norm;
    j->x = tn_alloc_large((size_t)j->batch * (size_t)j->rows.d * sizeof *j->x);
    return j->x ? TN_OK : tn_fail(e, TN_ENOMEM, "no memory for %d rows", j->batch);
}

static int train(job *j, const sae_train_opts *o, tn_err *e) {
    sae_trainer *t;
    int code = sae_trainer_new(&t, &j->model, o, j->exec, e);
    for (int i = 0; i <= j->steps && !code; i++) {
        sae_metrics m;
        gather(j, i);
        double start = tn_now();
        code = sae_train_step(t, j->x, j->batch, &m, e);
        if (i > 0) j->rates[i - 1] = j->batch / (tn_now() - start); /* the first step warms up */
        j->l0 = m.l0;
    }
    sae_trainer_free(t);
    return code;
}

/* The batch encoded and decoded. */
static int encode(job *j, tn_err *e) {
    size_t n = (size_t)j->batch, fired = 0;
    sae_active active = {0};
    int code = sae_round_encoder(&j->model, j->encoder, j->exec.threads, e);
    if (code) return code;
    size_t bytes = sae_encode_active_scratch(&j->model, j->batch);
    void *scratch = bytes ? malloc(bytes) : NULL;
    float *xhat = malloc(n * (size_t)j->rows.d * sizeof *xhat);
    code = sae_active_new(&active, &j->model, j->batch, e);
    if (!code && (!scratch || !xhat)) code = tn_fail(e, TN_ENOMEM, "no memory for %d rows", j->batch);
    for (int i = 0; i <= j->steps && !code; i++) {
        gather(j, i);
        double start = tn_now();
        sae_encode_active(&j->model, j->exec, j->x, j->batch, &active, scratch);
        sae_decode_active(&j->model, j->exec, &active, j->batch, xhat);
        if (i > 0) j->rates[i - 1] = j->batch / (tn_now() - start);
    }
    for (size_t r = 0; r < n && !code; r++) fired += active.n_of_row[r];
    j->l0 = (double)fired / (double)n;
    free(xhat);
    sae_active_free(&active);
    free(scratch);
    return code;
}

static int report(job *j, tn_err *e) {
    const tn_spread rate = tn_spread_of(j->rates, j->steps);
    tn_buf text = TN_BUF_INIT;
    tn_json_out w = tn_json_writer(&text, 0);
    tn_json_begin_object(&w);
    tn_json_member_f64(&w, "tok_s", rate.median);
    tn_json_member_f64(&w, "least", rate.least);
    tn_json_member_f64(&w, "most", rate.most);
    tn_json_member_f64(&w, "l0", j->l0);
    tn_json_member_i64(&w, "d_in", j->rows.d);
    tn_json_member_i64(&w, "d_sae", j->model.cfg.d_sae);
    tn_json_member_i64(&w, "batch", j->batch);
    tn_json_member_i64(&w, "steps", j->steps);
    tn_json_member_text(&w, "kernels", j->exec.k->name);
    tn_json_member_i64(&w, "threads", j->exec.threads);
    tn_json_end_object(&w);
    tn_buf_putc(&text, '\n');
    if (text.failed) return tn_fail(e, TN_ENOMEM, "out of memory");
    fwrite(text.data, 1, text.len, stdout);
    tn_buf_free(&text);
    return TN_OK;
}

static const char summary[] =
    "sae bench-train -a ACTS [--encoder TYPE]\n"
    "Times a few training steps at the random start (the first is not counted), or with --encoder encoding\n"
    "and decoding of whole batches, and prints the median as JSON.";

int cmd_bench_train(int argc, char **argv) {
    job j = {.arch = "topk", .screen = "auto", .width = 20, .steps = 5, .batch = 4096, .k = 32, .l1 = 1};
    j.lr = 1e-5f;
    j.start_bias = -1;
    j.seed = 42;
    const cli_option options[] = {
        {"-a", "--acts", CLI_STRING, &j.acts, "FILE", "activation file", 1},
        {"--arch", NULL, CLI_STRING, &j.arch, "NAME", "architecture, as for sae train (topk)", 0},
        {"--width", NULL, CLI_INT, &j.width, "N", "times the activations' width (20)", 0},
        {"--k", NULL, CLI_FLOAT, &j.k, "N", "latents a row (32)", 0},
        {"--l1", NULL, CLI_FLOAT, &j.l1, "X", "coefficient of the penalty (1)", 0},
        {"--lr", NULL, CLI_FLOAT, &j.lr, "X", "learning rate (1e-5: the SAE hardly moves)", 0},
        {"--start-bias", NULL, CLI_FLOAT, &j.start_bias, "X",
         "biases X deviations below zero (topk, batchtopk, matryoshka: 0; others: 2.6)", 0},
        {"--screen", NULL, CLI_STRING, &j.screen, "MODE", "auto, on or off, as for sae train (auto)", 0},
        {"--encoder", NULL, CLI_STRING, &j.encoder, "TYPE", "encode and decode: f32, screen, bf16 or q8", 0},
        {"--batch", NULL, CLI_INT, &j.batch, "N", "rows a step (4096)", 0},
        {"--steps", NULL, CLI_INT, &j.steps, "N", "timed steps (5)", 0},
        {"--seed", NULL, CLI_U64, &j.seed, "N", "of the start (42)", 0},
        {"--threads", NULL, CLI_INT, &j.threads, "N", "threads (0: one per core)", 0},
        {0},
    };
    int leave = cli_parse("sae", "bench-train", summary, options, argc, argv, NULL, 0, NULL);
    if (leave >= 0) return leave;
    if (j.steps < 1 || j.steps > MAX_STEPS || j.batch < 1 || j.width < 1 || j.width > 1024)
        return cli_usage_error("sae", "bench-train",
                               "--steps is 1 to %d, --width 1 to 1024, --batch at least 1", MAX_STEPS);
    tn_err e;
    sae_train_opts o = sae_train_defaults();
    if (j.start_bias < 0)
        j.start_bias = sae_train_kind_find(j.arch, &o.arch) && sae_train_ranks(&o) ? 0 : 2.6f;
    int code = open_all(&j, &o, &e);
    if (!code) code = j.encoder ? encode(&j, &e) : train(&j, &o, &e);
    if (!code) code = report(&j, &e);
    free(j.x);
    sae_free(&j.model);
    sae_acts_close(&j.rows);
    return code ? cli_error("sae", &e) : 0;
}
