/* Dead latents that begin anew: who, as which rows, how long; schedules; the same bits for any threads. */
#include "sae/train_internal.h"
#include "tests/test.h"

#include <math.h>
#include <string.h>

enum { D = 12, F = 40, B = 30, EVERY = 4 };

static sae_train_opts options(void) {
    sae_train_opts o = sae_train_defaults();
    o.batch = B;
    o.lr = 1e-3f;
    o.resample = EVERY;
    o.unit_norm_decoder = 1;
    o.init_norm = 0.5f;
    o.l1 = 0.1f;
    return o;
}

/* Latents i % 4 == 1 can not fire. */
static int silenced(size_t i) {
    return i % 4 == 1;
}

static sae_model model_of(const sae_train_opts *o) {
    sae_config cfg = {.d_in = D, .d_sae = F, .apply_b_dec_to_input = 1};
    sae_train_config(o, &cfg);
    sae_model s;
    CHECK_INT(sae_new(&s, &cfg, NULL), TN_OK);
    sae_init_params(&s, o);
    for (size_t i = 0; i < F; i++)
        if (silenced(i)) s.b_enc[i] = -100;
    for (int k = 0; k < D; k++) s.b_dec[k] = 0.3f * (float)(k % 3);
    return s;
}

static sae_trainer *trainer(sae_model *s, const sae_train_opts *o, int threads) {
    sae_trainer *t = NULL;
    tn_err e = {0};
    if (!CHECK_INT(sae_trainer_new(&t, s, o, tn_exec_make(NULL, threads), &e), TN_OK)) CHECK_STR(e.msg, "");
    return t;
}

static void rows(float *x) {
    tn_rng rng = tn_rng_seed(3);
    for (int i = 0; i < B * D; i++) x[i] = tn_rng_normal(&rng);
}

static double length(const float *v) {
    double sum = 0;
    for (int k = 0; k < D; k++) sum += (double)v[k] * (double)v[k];
    return sqrt(sum);
}

/* The row of the batch that has the direction of v, when all have b_dec taken off; -1: none. */
static int row_along(const float *v, const float *x, const float *b_dec) {
    for (int b = 0; b < B; b++) {
        float centred[D];
        double dot = 0;
        for (int k = 0; k < D; k++) {
            centred[k] = x[b * D + k] - b_dec[k];
            dot += (double)centred[k] * (double)v[k];
        }
        if (fabs(dot / length(centred) / length(v) - 1) < 1e-6) return b;
    }
    return -1;
}

/* Steps 0 … EVERY; what a dead latent is then, and that the others went on as without. */
static void dead_latents_become_rows(void) {
    sae_train_opts o = options(), without = o;
    without.resample = 0;
    sae_model s = model_of(&o), plain = model_of(&without);
    sae_trainer *t = trainer(&s, &o, 2), *p = trainer(&plain, &without, 2);
    float x[B * D];
    sae_metrics m;
    rows(x);
    for (int i = 0; i <= EVERY; i++) {
        CHECK_INT(memcmp(s.block, plain.block, 2 * F * D * sizeof(float)), 0);
        CHECK_INT(sae_train_step(t, x, B, &m, NULL), TN_OK);
        CHECK_INT(sae_train_step(p, x, B, &m, NULL), TN_OK);
    }
    double alive = 0;
    int taken[B] = {0}, renewed = 0, living = 0;
    for (size_t i = 0; i < F; i++)
        if (p->silent[i] <= EVERY / 2) alive += length(s.w_enc + i * D), living++;
    alive /= living;
    for (size_t i = 0; i < F; i++) {
        const float *enc = s.w_enc + i * D, *dec = s.w_dec + i * D;
        if (p->silent[i] <= EVERY / 2) {
            CHECK(!silenced(i));
            CHECK(memcmp(enc, plain.w_enc + i * D, D * sizeof(float)) == 0);
            CHECK(memcmp(dec, plain.w_dec + i * D, D * sizeof(float)) == 0);
            continue;
        }
        int b = row_along(dec, x, s.b_dec);
        if (!CHECK(b >= 0)) continue;
        CHECK_INT(taken[b]++, 0);
        CHECK_INT(row_along(enc, x, s.b_dec), b);
        CHECK_NEAR(length(dec), 1, 1e-6);
        CHECK_NEAR(length(enc), 0.2 * alive, 1e-5);
        CHECK_NEAR(s.b_enc[i], 0, 0);
        CHECK_INT(t->silent[i], 0);
        for (size_t k = i * D; k < (i + 1) * D; k++)
            CHECK(t->m.w_enc[k] == 0 && t->v.w_enc[k] == 0 && t->m.w_dec[k] == 0 && t->v.w_dec[k] == 0);
        CHECK(t->m.vector[0][i] == 0 && t->v.vector[0][i] == 0);
        renewed++;
    }
    CHECK(renewed >= F / 4);
    CHECK_INT(sae_train_eval(t, x, B, &m, NULL), TN_OK); /* they fire, so the encoder's copy is theirs */
    int fire = 0;
    for (size_t i = 0; i < F; i++) fire += silenced(i) && sae_trainer_fired(t)[i] > 0;
    CHECK_INT(fire, F / 4);
    sae_trainer_free(t), sae_trainer_free(p);
    sae_free(&s), sae_free(&plain);
}

/* Rows that are reconstructed well are not drawn: those that equal b_dec, with which nothing fires. */
static void good_rows_are_not_drawn(void) {
    enum { GOOD = 10 };
    sae_train_opts o = options();
    o.lr = 1e-9f; /* nothing moves but what begins anew */
    sae_model s = model_of(&o);
    for (size_t i = 0; i < F; i++)
        if (!silenced(i)) s.b_enc[i] = -1e-3f;
    sae_trainer *t = trainer(&s, &o, 1);
    float x[B * D];
    sae_metrics m;
    rows(x);
    for (int b = 0; b < GOOD; b++) memcpy(x + b * D, s.b_dec, sizeof(float[D]));
    for (int i = 0; i <= EVERY; i++) CHECK_INT(sae_train_step(t, x, B, &m, NULL), TN_OK);
    int renewed = 0;
    for (size_t i = 0; i < F; i++) {
        if (!silenced(i) || s.b_enc[i] < -1) continue;
        CHECK(row_along(s.w_dec + i * D, x, s.b_dec) >= GOOD);
        renewed++;
    }
    CHECK_INT(renewed, F / 4);
    sae_trainer_free(t);
    sae_free(&s);
}

/* dictionary_learning's encoder rows keep the length of the row, and have b_dec in them. */
static void as_dictionary_learning(void) {
    sae_train_opts o = options();
    o.convention = SAE_DICTIONARY_LEARNING;
    o.dead_window = 1000;
    sae_model s = model_of(&o);
    sae_trainer *t = trainer(&s, &o, 2);
    static const float nothing[D];
    float x[B * D];
    sae_metrics m;
    rows(x);
    for (int i = 0; i <= EVERY; i++) CHECK_INT(sae_train_step(t, x, B, &m, NULL), TN_OK);
    double alive = 0;
    for (size_t i = 0; i < F; i++)
        if (!silenced(i)) alive += length(s.w_enc + i * D) / (F - F / 4);
    for (size_t i = 1; i < F; i += 4) {
        int b = row_along(s.w_dec + i * D, x, nothing);
        if (CHECK(b >= 0)) CHECK_NEAR(length(s.w_enc + i * D), 0.2 * alive * length(x + b * D), 1e-4);
    }
    sae_trainer_free(t);
    sae_free(&s);
}

static void schedules(void) {
    sae_train_opts o = options();
    o.lr = 1;
    o.lr_warmup_steps = 2;
    o.total_steps = 15;
    o.lr_decay_steps = 5;
    static const double lr[] = {.5, 1, 1, 1, .5, 1, 1, 1, .5, 1, 1, .8, .6, .4, .2};
    for (int i = 0; i < 15; i++) {
        CHECK_NEAR(sae_lr_at(&o, i), lr[i], 1e-12);
        CHECK_INT(sae_train_resamples(&o, i), i == 4 || i == 8);
    }
    o.resample = 0;
    CHECK_NEAR(sae_lr_at(&o, 4), 1, 0);
    CHECK_INT(sae_train_resamples(&o, 4), 0);
}

void test_train_resample(void) {
    RUN(dead_latents_become_rows);
    RUN(good_rows_are_not_drawn);
    RUN(as_dictionary_learning);
    RUN(schedules);
}
