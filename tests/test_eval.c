/* Measuring an SAE: the sums by hand, and its effect in a model against plain runs. */
#include "qwen/score.h"
#include "sae/effect.h"
#include "tests/models.h"

#include <math.h>

/* ---- Reconstruction ---- */

static sae_eval accumulator(int d, int f) {
    sae_eval a;
    CHECK_INT(sae_eval_new(&a, d, f, NULL), TN_OK);
    return a;
}

static void two_rows_by_hand(void) {
    static const float x[] = {3, 4, 1, 0}, xhat[] = {3, 0, 1, 1}, z[] = {1, 0, 2, 0, 0, -0.5f};
    sae_eval a = accumulator(2, 3);
    sae_eval_add(&a, x, xhat, z, 2);
    CHECK(isnan(sae_eval_finish(&a).explained_variance_legacy)); /* before the second round */
    for (int i = 0; i < 2; i++) sae_eval_add_again(&a, x + 2 * i, sae_eval_error(x + 2 * i, xhat + 2 * i, 2));
    sae_eval_result r = sae_eval_finish(&a);
    CHECK_INT(r.n, 2);
    CHECK_NEAR(r.l0, 1.5, 1e-12);
    CHECK_NEAR(r.l1, 1.75, 1e-12);
    CHECK_NEAR(r.mse, (16 + 1) / 2.0, 1e-12);
    CHECK_NEAR(r.mse_per_element, 17 / 4.0, 1e-12);
    CHECK_NEAR(r.fve, 1 - 8.5 / 5, 1e-12); /* the mean row is (2, 2): variance (1 + 4 + 1 + 4) / 2 */
    CHECK_NEAR(r.explained_variance_legacy, (1 - 16 / 5.0 + 1 - 1 / 5.0) / 2, 1e-12);
    CHECK_NEAR(r.l2_norm_in, (5 + 1) / 2.0, 1e-12);
    CHECK_NEAR(r.l2_norm_out, (3 + sqrt(2)) / 2, 1e-12);
    CHECK_NEAR(r.cosine, (9 / 15.0 + 1 / sqrt(2)) / 2, 1e-12);
    CHECK_NEAR(r.l2_ratio, (3 / 5.0 + sqrt(2)) / 2, 1e-12);
    CHECK_NEAR(r.relative_reconstruction_bias, (9 + 2) / (9 + 1.0), 1e-12);
    CHECK_INT(r.alive, 2);
    CHECK_INT(r.dead, 1);
    float mean[2];
    sae_eval_mean(&a, mean);
    CHECK(mean[0] == 2 && mean[1] == 2);
    sae_eval_free(&a);
}

static void rows_of_zeros_and_rows_all_equal(void) {
    static const float x[] = {0, 0, 3, 4}, xhat[] = {6, 8, 0, 0}, z[] = {0, 0};
    sae_eval a = accumulator(2, 1);
    CHECK(isnan(sae_eval_finish(&a).mse)); /* no rows yet */
    sae_eval_add(&a, x, xhat, z, 2);
    sae_eval_result r = sae_eval_finish(&a);
    CHECK_NEAR(r.cosine, 0, 0);
    CHECK_NEAR(r.l2_ratio, 10 / 2.0, 1e-12);
    sae_eval_free(&a);

    static const float same[] = {5, 7, 5, 7};
    a = accumulator(2, 1);
    sae_eval_add(&a, same, same, z, 2);
    CHECK_NEAR(sae_eval_finish(&a).fve, 1, 0);
    sae_eval_add(&a, same, xhat, z, 1);
    CHECK_NEAR(sae_eval_finish(&a).fve, 0, 0);
    sae_eval_free(&a);
}

enum { ROWS = 300, D = 7 };

/* Predicting the mean explains nothing; a variance taken about zero instead of about the mean would say 1. */
static void the_mean_explains_nothing(void) {
    static const float offsets[] = {0, 1e3f, -1e6f};
    static const float z[ROWS];
    static float x[ROWS * D], xhat[ROWS * D];
    for (int o = 0; o < 3; o++) {
        tn_rng r = tn_rng_seed(5);
        for (int i = 0; i < ROWS * D; i++) x[i] = offsets[o] + 10 * tn_rng_normal(&r);
        sae_eval a = accumulator(D, 1), b = accumulator(D, 1);
        float mean[D];
        sae_eval_add(&a, x, x, z, ROWS);
        CHECK_NEAR(sae_eval_finish(&a).fve, 1, 0);
        sae_eval_mean(&a, mean);
        for (int i = 0; i < ROWS * D; i++) xhat[i] = mean[i % D];
        sae_eval_add(&b, x, xhat, z, ROWS);
        CHECK_NEAR(sae_eval_finish(&b).fve, 0, 1e-5); /* at -1e6 the mean itself is rounded to 1/16 */
        sae_eval_free(&a);
        sae_eval_free(&b);
    }
}

/* Latent i fires on i of 1000 rows. */
static void densities(void) {
    enum { N = 1000, F = 1001 };
    static const float x[1] = {1};
    static float z[F];
    sae_eval a = accumulator(1, F);
    for (int row = 0; row < N; row++) {
        for (int i = 0; i < F; i++) z[i] = row < i;
        sae_eval_add(&a, x, x, z, 1);
    }
    sae_eval_result r = sae_eval_finish(&a);
    CHECK_INT(r.dead, 1);
    static const int want[SAE_DENSITY_BINS] = {0, 0, 0, 0, 0, 0, 3, 6, 22, 68, 217, 684};
    for (int i = 0; i < SAE_DENSITY_BINS; i++) CHECK_INT(r.density[i], want[i]);
    for (int i = 0; i <= SAE_DENSITY_BINS; i++) CHECK_NEAR(log10(sae_density_edge(i)), 0.5 * i - 6, 1e-12);
    sae_eval_free(&a);
}

/* Every part is what an evaluation of its rows alone would be. */
static void parts_are_evaluations_of_their_own(void) {
    enum { LABELS = 2 };
    static float x[ROWS * D], z[ROWS * 3], xhat[ROWS * D];
    static int pos[ROWS], label[ROWS];
    tn_rng r = tn_rng_seed(8);
    for (int i = 0; i < ROWS * D; i++) x[i] = tn_rng_normal(&r), xhat[i] = x[i] + 0.1f * tn_rng_normal(&r);
    for (int i = 0; i < ROWS * 3; i++) z[i] = tn_rng_normal(&r);
    for (int i = 0; i < ROWS; i++) pos[i] = i % 50, label[i] = (int)tn_rng_below(&r, LABELS + 1) - 1;
    sae_parts p;
    CHECK_INT(sae_parts_new(&p, D, 3, 1, LABELS, NULL), TN_OK);
    CHECK_INT(sae_parts_reserve(&p, ROWS / 2, NULL), TN_OK);
    for (int i = 0; i < ROWS; i++) {
        if (i == ROWS / 2) CHECK_INT(sae_parts_reserve(&p, ROWS - ROWS / 2, NULL), TN_OK);
        sae_parts_add(&p, x + i * D, xhat + i * D, z + i * 3, pos[i], label[i]);
    }
    for (int i = 0; i < ROWS; i++) sae_parts_add_again(&p, x + i * D, pos[i], label[i]);
    size_t in_ranges = 0;
    for (int part = 0; part < p.n; part++) {
        sae_eval alone = accumulator(D, 3);
        int first = 0, last = INT32_MAX, of_label = part >= p.first_label ? part - p.first_label : -1;
        if (part > 0 && of_label < 0) sae_range_bounds(part - p.first_range, &first, &last);
        for (int round = 0; round < 2; round++) {
            for (int i = 0; i < ROWS; i++) {
                if (pos[i] < first || pos[i] > last || (of_label >= 0 && label[i] != of_label)) continue;
                if (round == 0)
                    sae_eval_add(&alone, x + i * D, xhat + i * D, z + i * 3, 1);
                else
                    sae_eval_add_again(&alone, x + i * D, sae_eval_error(x + i * D, xhat + i * D, D));
            }
        }
        sae_eval_result got = sae_eval_finish(&p.part[part]), want = sae_eval_finish(&alone);
        CHECK_INT(got.n, want.n);
        if (got.n) CHECK(memcmp(&got, &want, sizeof got) == 0);
        if (part > 0 && of_label < 0) in_ranges += got.n;
        sae_eval_free(&alone);
    }
    CHECK_INT(in_ranges, ROWS);
    CHECK_INT(p.part[p.first_range].n, ROWS / 50); /* position 0 */
    CHECK_INT(p.part[p.first_range + 6].n, (50 - 32) * ROWS / 50);
    sae_parts_free(&p);
    int first, last;
    sae_range_bounds(SAE_RANGES - 1, &first, &last);
    CHECK_INT(last, INT32_MAX);
}

static void batches_do_not_matter(void) {
    static float x[ROWS * D], xhat[ROWS * D], z[ROWS * 3];
    tn_rng r = tn_rng_seed(6);
    for (int i = 0; i < ROWS * D; i++) x[i] = tn_rng_normal(&r), xhat[i] = x[i] + 0.1f * tn_rng_normal(&r);
    for (int i = 0; i < ROWS * 3; i++) z[i] = tn_rng_normal(&r);
    sae_eval a = accumulator(D, 3), b = accumulator(D, 3);
    sae_eval_add(&a, x, xhat, z, ROWS);
    for (int i = 0, n = 1; i < ROWS; i += n, n = n % 13 + 1) {
        if (n > ROWS - i) n = ROWS - i;
        sae_eval_add(&b, x + i * D, xhat + i * D, z + i * 3, n);
    }
    sae_eval_result one = sae_eval_finish(&a), many = sae_eval_finish(&b);
    CHECK(memcmp(&one, &many, sizeof one) == 0);
    CHECK_INT(many.n, ROWS);
    sae_eval_free(&a);
    sae_eval_free(&b);
}

static void kl_by_hand(void) {
    float even[] = {7, 7}, skewed[] = {-2, -2 + logf(3)};
    CHECK_NEAR(sae_effect_kl(even, skewed, 2), 0.5 * log(2) + 0.5 * log(2 / 3.0), 1e-7);
    CHECK_NEAR(sae_effect_kl(skewed, even, 2), 0.25 * log(0.5) + 0.75 * log(1.5), 1e-7);
    CHECK_NEAR(sae_effect_kl(skewed, skewed, 2), 0, 0);
}

/* ---- In a model ---- */

#define MODEL "gqa2-odd-vocab"
enum { N_DOCS = 3, N_TOKENS = 40, LAYER = 1 };

/* Documents of different shape: rows 9 to 39, all rows, rows 5 to 19. */
typedef struct {
    qwen_model *model;
    int32_t tokens[N_DOCS][N_TOKENS];
    sae_effect_doc docs[N_DOCS];
} fixture;

static void open_fixture(fixture *f) {
    static const int first[] = {9, 0, 5}, end[] = {N_TOKENS, N_TOKENS, 20};
    f->model = open_golden(MODEL);
    make_tokens(f->tokens[0], N_DOCS * N_TOKENS, qwen_model_config(f->model)->vocab);
    for (int i = 0; i < N_DOCS; i++)
        f->docs[i] = (sae_effect_doc){f->tokens[i], N_TOKENS, first[i], end[i], i % 2};
}

/* W_enc = [I, -I], W_dec = [I; -I]: the two halves of z are the positive and the negative parts of x. */
static sae_model identity(int d) {
    sae_model s;
    sae_config cfg = {.d_in = d, .d_sae = 2 * d};
    CHECK_INT(sae_new(&s, &cfg, NULL), TN_OK);
    for (int i = 0; i < d; i++) {
        s.w_enc[i * d + i] = s.w_dec[i * d + i] = 1;
        s.w_enc[(d + i) * d + i] = s.w_dec[(d + i) * d + i] = -1;
    }
    return s;
}

static sae_model random_sae(int d) {
    sae_model s;
    sae_config cfg = {.d_in = d, .d_sae = 3 * d, .apply_b_dec_to_input = 1};
    tn_rng r = tn_rng_seed(11);
    CHECK_INT(sae_new(&s, &cfg, NULL), TN_OK);
    for (int i = 0; i < 3 * d * d; i++) s.w_enc[i] = 0.2f * tn_rng_normal(&r);
    for (int i = 0; i < 3 * d * d; i++) s.w_dec[i] = 0.2f * tn_rng_normal(&r);
    for (int i = 0; i < d; i++) s.b_dec[i] = 0.1f * tn_rng_normal(&r);
    return s;
}

/* Both rounds over the documents. mean [d] may be NULL. */
static sae_effect_result measure(const fixture *f, const sae_model *s, int threads, int chunk, float *mean) {
    qwen_state *state = new_state(f->model, tn_kernels_select(NULL), threads, N_TOKENS, chunk);
    sae_effect m;
    tn_err e = {0};
    CHECK_INT(sae_effect_new(&m, state, s, &(sae_effect_opts){LAYER, QWEN_RESID_POST, N_TOKENS, 1, 2}, &e),
              TN_OK);
    for (int i = 0; i < N_DOCS; i++) CHECK_INT(sae_effect_add(&m, &f->docs[i], &e), TN_OK);
    for (int i = 0; i < N_DOCS; i++) CHECK_INT(sae_effect_add_mean(&m, &f->docs[i], &e), TN_OK);
    CHECK_STR(e.msg, "");
    sae_effect_result r = sae_effect_finish(&m, SAE_ALL_ROWS);
    if (mean) sae_eval_mean(&m.rows.part[SAE_ALL_ROWS], mean);
    sae_effect_free(&m);
    qwen_state_free(state);
    return r;
}

static void an_identity_loses_nothing(void) {
    fixture f;
    open_fixture(&f);
    sae_model s = identity(qwen_model_config(f.model)->hidden);
    sae_effect_result r = measure(&f, &s, 2, 7, NULL);
    CHECK_INT(r.docs, 3);
    CHECK_INT(r.rows.n, 31 + 40 + 15);
    CHECK_INT(r.targets, 30 + 39 + 15); /* the last token of a document predicts nothing */
    CHECK_NEAR(r.rows.mse, 0, 0);
    CHECK_NEAR(r.rows.fve, 1, 0);
    CHECK_NEAR(r.rows.cosine, 1, 1e-12);
    CHECK_NEAR(r.rows.l2_ratio, 1, 1e-12);
    CHECK_NEAR(r.rows.l0, qwen_model_config(f.model)->hidden, 0);
    CHECK_NEAR(r.ce_difference, 0, 0);
    CHECK_NEAR(r.loss_recovered, 1, 0);
    CHECK_NEAR(r.loss_recovered_mean, 1, 0);
    CHECK_NEAR(r.kl, 0, 0);
    CHECK(r.ce_zero != r.ce_original && r.ce_mean != r.ce_zero && r.ce_mean != r.ce_original);
    sae_free(&s);
    qwen_close(f.model);
}

/* The definition: every document from its first token in one go, hooks choosing the rows by position. */
static double plain_ce(const fixture *f, qwen_hook_fn fn, void *ctx) {
    int vocab = qwen_model_config(f->model)->vocab, targets = 0;
    double nll = 0;
    qwen_state *state = new_state(f->model, tn_kernels_select(NULL), 1, N_TOKENS, N_TOKENS);
    qwen_hook hook = {QWEN_RESID_POST, LAYER, LAYER, fn, ctx};
    CHECK_INT(qwen_set_hooks(state, &hook, fn != NULL, NULL), TN_OK);
    for (int i = 0; i < N_DOCS; i++) {
        const sae_effect_doc *d = &f->docs[i];
        const float *logits;
        qwen_rewind(state, 0);
        qwen_set_prompt_length(state, d->first);
        /* rows from `end` on do not change what the rows before them predict */
        if (!CHECK_INT(qwen_forward(state, d->tokens, d->end, QWEN_ALL_LOGITS, &logits, NULL), TN_OK)) break;
        for (int p = d->first; p < d->end && p + 1 < d->n; p++, targets++)
            nll += qwen_nll(logits + p * vocab, vocab, d->tokens[p + 1]);
    }
    qwen_state_free(state);
    return nll / targets;
}

static void the_effect_is_that_of_plain_runs(void) {
    fixture f;
    open_fixture(&f);
    int d = qwen_model_config(f.model)->hidden;
    sae_model s = random_sae(d);
    float *mean = malloc((size_t)d * sizeof *mean);
    sae_effect_result r = measure(&f, &s, 1, 64, mean);
    size_t cap = sae_steer_bytes(&s, 0, N_TOKENS);
    void *mem = malloc(cap);
    sae_steer steer;
    sae_replace zeros = {NULL, SAE_POS_GENERATED}, means = {mean, SAE_POS_GENERATED};
    CHECK_INT(sae_steer_init(&steer, &s, NULL, LAYER, SAE_POS_GENERATED, 0, N_TOKENS, d, mem, cap, NULL),
              TN_OK);
    CHECK_NEAR(r.ce_original, plain_ce(&f, NULL, NULL), 0);
    CHECK_NEAR(r.ce_sae, plain_ce(&f, sae_steer_hook, &steer), 0);
    CHECK_NEAR(r.ce_zero, plain_ce(&f, sae_replace_hook, &zeros), 0);
    CHECK_NEAR(r.ce_mean, plain_ce(&f, sae_replace_hook, &means), 0);
    CHECK_NEAR(r.ce_difference, r.ce_sae - r.ce_original, 0);
    CHECK_NEAR(r.loss_recovered, (r.ce_zero - r.ce_sae) / (r.ce_zero - r.ce_original), 0);
    CHECK_NEAR(r.loss_recovered_mean, (r.ce_mean - r.ce_sae) / (r.ce_mean - r.ce_original), 0);
    CHECK(r.kl > 0 && r.rows.l0 > 0 && r.rows.mse > 0 && r.rows.fve < 1);
    free(mem);
    free(mean);
    sae_free(&s);
    qwen_close(f.model);
}

static void threads_and_chunks_do_not_matter(void) {
    fixture f;
    open_fixture(&f);
    sae_model s = random_sae(qwen_model_config(f.model)->hidden);
    sae_effect_result want = measure(&f, &s, 1, 64, NULL);
    static const int threads[] = {2, 3, 1, 2}, chunks[] = {64, 5, 1, N_TOKENS - 1};
    for (int i = 0; i < 4; i++) {
        sae_effect_result got = measure(&f, &s, threads[i], chunks[i], NULL);
        CHECK(memcmp(&got, &want, sizeof got) == 0);
    }
    sae_free(&s);
    qwen_close(f.model);
}

static void what_cannot_be_measured(void) {
    fixture f;
    open_fixture(&f);
    int d = qwen_model_config(f.model)->hidden, vocab = qwen_model_config(f.model)->vocab;
    qwen_state *state = new_state(f.model, tn_kernels_select(NULL), 1, N_TOKENS, 8);
    sae_model s = random_sae(d), narrow = random_sae(d - 1);
    sae_effect m;
    tn_err e = {0};
    CHECK_INT(sae_effect_new(&m, state, &narrow, &(sae_effect_opts){LAYER, QWEN_RESID_POST, 1, 0, 0}, &e),
              TN_ESHAPE);
    CHECK_HAS(e.msg, "does not fit the model's");

    CHECK_INT(sae_effect_new(&m, state, &s, &(sae_effect_opts){LAYER, QWEN_RESID_POST, 20, 0, 0}, &e), TN_OK);
    sae_effect_doc none = {f.tokens[0], 7, 7, 7, -1}, last = {f.tokens[0], 7, 6, 7, -1};
    CHECK_INT(sae_effect_add(&m, &none, &e), TN_OK);
    CHECK_INT(sae_effect_finish(&m, SAE_ALL_ROWS).docs, 0);
    CHECK_INT(sae_effect_add(&m, &last, &e), TN_OK); /* one row, which predicts nothing */
    CHECK_INT(sae_effect_add_mean(&m, &last, &e), TN_OK);
    sae_effect_result r = sae_effect_finish(&m, SAE_ALL_ROWS);
    CHECK_INT(r.docs, 1);
    CHECK_INT(r.rows.n, 1);
    CHECK(isnan(r.ce_original) && !isnan(r.kl) && isnan(r.loss_recovered) && !isnan(r.rows.mse));

    CHECK_INT(sae_effect_add(&m, &f.docs[0], &e), TN_EARG); /* 31 rows */
    CHECK_INT(sae_effect_add(&m, &(sae_effect_doc){f.tokens[0], 7, 6, 8, -1}, &e), TN_EARG);
    f.tokens[2][15] = vocab; /* only a target, never fed */
    CHECK_INT(sae_effect_add(&m, &(sae_effect_doc){f.tokens[2], 16, 5, 15, -1}, &e), TN_EARG);
    CHECK_HAS(e.msg, "is out of range");
    s.b_dec[1] = NAN;
    CHECK_INT(sae_effect_add(&m, &last, &e), TN_ENUM);
    sae_effect_free(&m);

    CHECK_INT(sae_effect_new(&m, state, &s, &(sae_effect_opts){99, QWEN_RESID_POST, 20, 0, 0}, &e), TN_OK);
    CHECK_INT(sae_effect_add(&m, &last, &e), TN_EARG);
    CHECK_HAS(e.msg, "layer 99 is out of range");
    sae_effect_free(&m);
    sae_free(&s);
    sae_free(&narrow);
    qwen_state_free(state);
    qwen_close(f.model);
}

void test_eval(void) {
    RUN(two_rows_by_hand);
    RUN(rows_of_zeros_and_rows_all_equal);
    RUN(the_mean_explains_nothing);
    RUN(densities);
    RUN(parts_are_evaluations_of_their_own);
    RUN(batches_do_not_matter);
    RUN(kl_by_hand);
    RUN(an_identity_loses_nothing);
    RUN(the_effect_is_that_of_plain_runs);
    RUN(threads_and_chunks_do_not_matter);
    RUN(what_cannot_be_measured);
}
