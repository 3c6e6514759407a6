/* qwen bench: how fast prefill and decode are, and how near to what the machine can do.
 *
 * Prefill is -p tokens with the logits of the last; decode is -n single tokens, each with its logits and the
 * choice of the likeliest token, behind --context positions. One run of each is not counted: it warms caches
 * and pages the weights in. Prefill has to calculate, so each timed prefill comes after a measurement of the
 * peak of the cores (of their multiply-adds or, where BF16 weights go through tiles, of these); decode has to
 * read the weights, so each timed decode comes after a measurement of the memory. Both then saw the same
 * machine, whatever else it was doing.
 *
 * With --hooks every token is decoded twice at its position, with and without hooks that copy all five sites
 * of every layer; which comes first alternates.
 */
#include "qwen/cmd_bench.h"
#include "tensor/os.h"
#include "tensor/peaks.h"
#include "tensor/rng.h"

#include <stdlib.h>
#include <string.h>

/* What the memory is measured with: many times any cache. */
enum { READ_BYTES = 512 << 20 };
static const double peak_time = 0.05; /* seconds of one measurement */

static const char summary[] =
    "Measures prefill of -p random tokens and decode of -n tokens: one warm-up, then --repeats runs of\n"
    "each, of which the medians are printed; and, in turns with them, how fast this machine reads memory\n"
    "and multiplies and adds. Needs no tokenizer.";

/* ---- What the work is made of ---- */

/* The seven matrices of a layer. */
static void layer_matrices(const qwen_layer *w, const tn_mat *out[7]) {
    const tn_mat *const all[7] = {&w->q, &w->k, &w->v, &w->o, &w->gate, &w->up, &w->down};
    memcpy(out, all, sizeof all);
}

/* A multiply-add is two operations. The head runs once, for the last token. Attention multiplies each of
 * the `heads` queries with every key up to its own position, and the weights with the values as often. */
static void count_work(bench *b) {
    const qwen_model *m = b->s.text.model;
    const qwen_config *c = qwen_model_config(m);
    const tn_mat head = qwen_model_head(m), *w[7];
    const double n = b->prompt;
    double weights = 0;
    b->decode_bytes = (double)tn_mat_bytes(&head);
    for (int l = 0; l < c->layers; l++) {
        layer_matrices(qwen_model_layer(m, l), w);
        for (int i = 0; i < 7; i++) {
            weights += (double)w[i]->rows * (double)w[i]->cols;
            b->decode_bytes += (double)tn_mat_bytes(w[i]);
        }
    }
    const double attention = (double)c->layers * c->heads * c->head_dim * n * (n + 1) / 2;
    b->prefill_flop = 2 * (n * weights + (double)head.rows * (double)head.cols + 2 * attention);
}

/* What prefill is held against: the tiles, where the layers' weights are multiplied in them, else
 * multiply-adds. */
static double peak_rate(const bench *b) {
    return b->tiles ? tn_tile_rate(b->s.exec, peak_time) / TN_SPLIT_PARTS : tn_fma_rate(b->s.exec, peak_time);
}

static void add(bench_series *s, double value) {
    s->value[s->n++] = value;
}

/* After the model ran, before memory is taken that only measuring needs. */
static void note_memory(bench *b) {
    b->peak_memory = tn_peak_memory();
    b->private_memory = tn_private_memory();
}

/* ---- Prefill ---- */

static int measure_prefill(bench *b, const int32_t *tokens, tn_err *e) {
    for (int run = 0; run <= b->repeats; run++) {
        const double peak = run > 0 ? peak_rate(b) : 0;
        qwen_rewind(b->s.state, 0);
        const double start = tn_now();
        int code = qwen_forward(b->s.state, tokens, b->prompt, 0, NULL, e);
        const double seconds = tn_now() - start;
        if (code) return code;
        if (run > 0) {
            add(&b->peak, peak);
            add(&b->prefill, b->prompt / seconds);
        }
        cli_progress_update(&b->bar, b->bar.done + 1, "prefill");
    }
    note_memory(b);
    return TN_OK;
}

/* ---- Decode ---- */

/* What the hooks copy to: the last position's row of every site. */
typedef struct {
    float *rows; /* [layers, QWEN_SITE_COUNT, d] */
    qwen_hook hooks[QWEN_SITE_COUNT];
} copies;

static int copy_row(void *ctx, const qwen_tap *tap) {
    const copies *c = ctx;
    const size_t d = (size_t)tap->d, slot = (size_t)tap->layer * QWEN_SITE_COUNT + (size_t)tap->site;
    memcpy(c->rows + slot * d, tap->x + (size_t)(tap->n - 1) * d, d * sizeof *tap->x);
    return 0;
}

static int open_copies(copies *k, const qwen_config *c, tn_err *e) {
    k->rows = calloc((size_t)c->layers * QWEN_SITE_COUNT, (size_t)c->hidden * sizeof *k->rows);
    for (int site = 0; site < QWEN_SITE_COUNT; site++)
        k->hooks[site] = (qwen_hook){(qwen_site)site, 0, c->layers - 1, copy_row, k};
    return k->rows ? TN_OK : tn_fail(e, TN_ENOMEM, "out of memory");
}

/* Decodes *token at the timeline's end, with the hooks or without; *token becomes the likeliest next, and
 * *seconds grows by the time it took. */
static int step(bench *b, copies *k, int hooked, int32_t *token, double *seconds, tn_err *e) {
    const float *logits;
    int code = b->hooks ? qwen_set_hooks(b->s.state, k->hooks, hooked ? QWEN_SITE_COUNT : 0, e) : TN_OK;
    const double start = tn_now();
    if (!code) code = qwen_forward(b->s.state, token, 1, 0, &logits, e);
    if (!code) *token = qwen_likeliest(logits, qwen_model_config(b->s.text.model)->vocab);
    *seconds += tn_now() - start;
    return code;
}

/* One run of -n tokens; seconds[hooked]. */
static int decode_run(bench *b, copies *k, int32_t token, double seconds[2], tn_err *e) {
    qwen_rewind(b->s.state, b->context);
    for (int i = 0; i < b->decode; i++) {
        int32_t next = token;
        int hooked = b->hooks && i % 2;
        int code = step(b, k, hooked, &next, &seconds[hooked], e);
        if (!code && b->hooks) {
            next = token;
            hooked = !hooked;
            qwen_rewind(b->s.state, b->context + i);
            code = step(b, k, hooked, &next, &seconds[hooked], e);
        }
        if (code) return code;
        token = next;
    }
    return TN_OK;
}

/* --repeats measurements of the memory, each followed by a run. */
static int repeat_decode(bench *b, copies *k, int32_t token, tn_err *e) {
    uint64_t *words = malloc(READ_BYTES), sum;
    if (!words) return tn_fail(e, TN_ENOMEM, "no memory to measure the speed of memory with");
    memset(words, 1, READ_BYTES); /* untouched memory is one page of zeros, again and again */
    int code = TN_OK;
    for (int run = 0; run < b->repeats && !code; run++) {
        double seconds[2] = {0, 0};
        add(&b->read, tn_read_rate(b->s.exec, words, READ_BYTES / sizeof *words, &sum));
        code = decode_run(b, k, token, seconds, e);
        add(&b->plain, b->decode / seconds[0]);
        if (b->hooks) {
            add(&b->hooked, b->decode / seconds[1]);
            add(&b->cost, seconds[1] / seconds[0]);
        }
        cli_progress_update(&b->bar, b->bar.done + 1, "decode");
    }
    free(words);
    return code;
}

static int measure_decode(bench *b, const int32_t *tokens, tn_err *e) {
    copies k = {0};
    double uncounted[2] = {0, 0};
    int code = b->hooks ? open_copies(&k, qwen_model_config(b->s.text.model), e) : TN_OK;
    const int filled = qwen_position(b->s.state);
    if (!code && filled < b->context)
        code = qwen_forward(b->s.state, tokens + filled, b->context - filled, QWEN_NO_LOGITS, NULL, e);
    if (!code) code = decode_run(b, &k, tokens[b->context], uncounted, e);
    note_memory(b);
    cli_progress_update(&b->bar, b->bar.done + 1, "decode");
    if (!code) code = repeat_decode(b, &k, tokens[b->context], e);
    free(k.rows);
    return code;
}

/* ---- The whole ---- */

static int open_all(bench *b, tn_err *e) {
    double start = tn_now();
    int code = cmd_open(&b->s, &b->common, 0, e);
    b->load = tn_now() - start;
    if (code) return code;
    int limit = qwen_max_context(b->s.text.model);
    if (b->context < 0) b->context = b->prompt;
    if (b->context > limit - b->decode)
        return tn_fail(e, TN_ECTX, "%d + %d tokens do not fit in the model's %d positions", b->context,
                       b->decode, limit);
    if (b->prompt > limit)
        return tn_fail(e, TN_ECTX, "%d tokens do not fit in the model's %d positions", b->prompt, limit);
    const int positions = b->context + b->decode > b->prompt ? b->context + b->decode : b->prompt;
    start = tn_now();
    code = cmd_open_state(&b->s, positions > 0 ? positions : 1, e);
    b->state = tn_now() - start;
    if (!code) b->state_bytes = qwen_state_bytes(b->s.text.model, qwen_state_opts(b->s.state));
    return code;
}

/* How long the tokenizer takes to open, when there is one; last, for its memory is not the model's. */
static int time_tokenizer(bench *b, tn_err *e) {
    char path[4096];
    int code = tn_path_join(path, sizeof path, b->common.dir, "tokenizer.json", e);
    if (code || !tn_file_exists(path)) return code;
    tok_model *tok;
    const double start = tn_now();
    code = tok_open_dir(&tok, b->common.dir, e);
    b->tokenizer = tn_now() - start;
    if (!code) tok_close(tok);
    return code;
}

static int run_bench(bench *b, tn_err *e) {
    int code = open_all(b, e);
    if (code) return code;
    count_work(b);
    b->tiles = tn_is_split(b->s.exec.k, &qwen_model_layer(b->s.text.model, 0)->gate);

    const int most = b->prompt > b->context ? b->prompt : b->context;
    int32_t *tokens = malloc(((size_t)most + 1) * sizeof *tokens); /* one more to begin decoding with */
    if (!tokens) return tn_fail(e, TN_ENOMEM, "out of memory");
    tn_rng rng = tn_rng_seed(b->common.seed);
    const uint64_t vocab = (uint64_t)qwen_model_config(b->s.text.model)->vocab;
    for (int i = 0; i <= most; i++) tokens[i] = (int32_t)tn_rng_below(&rng, vocab);

    b->bar = cli_progress_start("bench", "runs", ((b->prompt > 0) + (b->decode > 0)) * (b->repeats + 1));
    if (b->prompt > 0) code = measure_prefill(b, tokens, e);
    if (!code && b->decode > 0) code = measure_decode(b, tokens, e);
    cli_progress_end(&b->bar);
    free(tokens);
    if (!code) code = time_tokenizer(b, e);
    return code ? code : bench_report(b, e);
}

int cmd_bench(int argc, char **argv) {
    bench b = {.common = CMD_COMMON_INIT, .prompt = 512, .decode = 64, .context = -1, .repeats = 3};
    const cli_option rows[] = {
        {"-p", NULL, CLI_INT, &b.prompt, "N", "tokens of a prefill; 0 = no prefill (512)", 0},
        {"-n", NULL, CLI_INT, &b.decode, "N", "tokens decoded one by one; 0 = no decode (64)", 0},
        {"--context", NULL, CLI_INT, &b.context, "N", "positions filled before decode (those of the prefill)",
         0},
        {"--hooks", NULL, CLI_FLAG, &b.hooks, NULL,
         "decode also with hooks that copy every site, and compare", 0},
        {"--repeats", NULL, CLI_INT, &b.repeats, "N", "timed runs (3)", 0},
        {"--json", NULL, CLI_FLAG, &b.json, NULL, "print one JSON object", 0},
        {0},
    };
    cmd_options table = {0};
    cmd_add_options(&table, rows);
    int leave = cmd_parse("bench", summary, &table, &b.common, argc, argv, NULL, NULL);
    if (leave >= 0) return leave;
    if (b.prompt < 0 || b.decode < 0 || b.context < -1)
        return cli_usage_error("qwen", "bench", "-p, -n and --context must be at least 0");
    if (b.prompt + b.decode == 0)
        return cli_usage_error("qwen", "bench", "-p 0 and -n 0 leave nothing to measure");
    if (b.hooks && b.decode == 0)
        return cli_usage_error("qwen", "bench", "--hooks needs -n, the steps to compare");
    if (b.repeats < 1 || b.repeats > BENCH_MAX_REPEATS)
        return cli_usage_error("qwen", "bench", "--repeats must be 1 to %d", BENCH_MAX_REPEATS);

    tn_err e;
    int code = run_bench(&b, &e);
    cmd_close(&b.s);
    return cmd_finish(code, &e);
}
