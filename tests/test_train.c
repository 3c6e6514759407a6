/* The trainer against published golden values, finite differences and its own promises. */
#include "sae/train_internal.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

/* ---- the golden case: 5 rows, 4 -> 6, numbers from an integer formula ---- */

enum { GD = 4, GF = 6, GB = 5 };

static double golden(int seed, int i) {
    return (double)((7 * i * i + 37 * i + 53 * seed + 11) % 101 - 50) / 50;
}

static sae_model golden_model(void) {
    sae_config cfg = {.d_in = GD, .d_sae = GF, .apply_b_dec_to_input = 1};
    sae_model s;
    CHECK_INT(sae_new(&s, &cfg, NULL), TN_OK);
    for (int i = 0; i < GF; i++) {
        for (int k = 0; k < GD; k++) {
            s.w_enc[i * GD + k] = (float)golden(2, k * GF + i);
            s.w_dec[i * GD + k] = (float)(golden(3, i * GD + k) * (0.5 + 0.4 * i));
        }
        s.b_enc[i] = (float)(0.2 * golden(4, i));
    }
    for (int k = 0; k < GD; k++) s.b_dec[k] = (float)(0.3 * golden(5, k));
    return s;
}

static void golden_rows(float *x) {
    for (int i = 0; i < GB * GD; i++) x[i] = (float)(1.5 * golden(1, i));
}

static sae_train_opts golden_opts(void) {
    sae_train_opts o = sae_train_defaults();
    o.batch = GB;
    o.l1 = 0.7f;
    o.lr = 0.01f;
    o.clip = 1;
    o.unit_norm_decoder = 0;
    o.l1_warmup_steps = o.lr_warmup_steps = o.lr_decay_steps = o.total_steps = 0;
    return o;
}

static sae_trainer *trainer(sae_model *s, const sae_train_opts *o, const char *isa, int threads) {
    sae_trainer *t = NULL;
    tn_err e = {0};
    if (!CHECK_INT(sae_trainer_new(&t, s, o, tn_exec_make(isa, threads), &e), TN_OK)) CHECK_STR(e.msg, "");
    return t;
}

static double norm(const float *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)v[i] * (double)v[i];
    return sqrt(sum);
}

/* Values computed with SAELens 6.54.12 in float64. */
static void golden_loss_and_gradients(void) {
    for (int i = 0; tn_kernels_at(i); i++) {
        sae_model s = golden_model();
        sae_train_opts o = golden_opts();
        sae_trainer *t = trainer(&s, &o, tn_kernels_at(i)->name, 1);
        float x[GB * GD];
        golden_rows(x);
        sae_metrics m;
        CHECK_NEAR(norm(s.w_enc, GD * GF), 2.6667583318, 1e-6);
        CHECK_NEAR(norm(s.w_dec, GD * GF), 4.8600106996, 1e-6);
        sae_train_forward(t, x, GB, 0.7, &m);
        CHECK_NEAR(m.mse, 4.07615283, 2e-6);
        CHECK_NEAR(0.7 * m.l1, 1.72667840, 2e-6);
        CHECK_NEAR(m.loss, 5.8028312351, 3e-6);
        double all = sae_train_gradient(t, 0.7);
        double enc = norm(t->g.w_enc, GD * GF), dec = norm(t->g.w_dec, GD * GF);
        double b_enc = norm(t->g.vector[0], GF), b_dec = norm(t->g.b_dec, GD);
        CHECK_NEAR(enc, 4.53399053, 3e-6);
        CHECK_NEAR(dec, 3.10745820, 3e-6);
        CHECK_NEAR(b_enc, 3.15100792, 3e-6);
        CHECK_NEAR(b_dec, 4.33431185, 3e-6);
        CHECK_NEAR(all, sqrt(enc * enc + dec * dec + b_enc * b_enc + b_dec * b_dec), 1e-6);
        sae_trainer_free(t);
        sae_free(&s);
    }
}

static void golden_five_steps(void) {
    static const double want[5] = {5.802831235, 5.411131620, 5.060305531, 4.747789430, 4.469961112};
    sae_model s = golden_model();
    sae_train_opts o = golden_opts();
    sae_trainer *t = trainer(&s, &o, NULL, 2);
    float x[GB * GD];
    golden_rows(x);
    for (int i = 0; i < 5; i++) {
        sae_metrics m;
        CHECK_INT(sae_train_step(t, x, GB, &m, NULL), TN_OK);
        CHECK_NEAR(m.loss, want[i], 1e-5);
    }
    CHECK_NEAR(norm(s.w_dec, GD * GF), 4.791073919, 1e-5);
    CHECK_INT(sae_trainer_steps(t), 5);
    sae_trainer_free(t);
    sae_free(&s);
}

/* ---- gradients against central differences of a loss written plainly in double ---- */

/* The parameters in the order of sae_model.block: W_enc, W_dec, b_enc, b_dec. */
static double plain_loss(const double *p, int d, int f, const float *x, int n, double l1, int apply,
                         int unit) {
    const double *w_enc = p, *w_dec = p + d * f, *b_enc = w_dec + d * f, *b_dec = b_enc + f;
    double loss = 0;
    for (int b = 0; b < n; b++) {
        double xhat[16];
        for (int k = 0; k < d; k++) xhat[k] = b_dec[k];
        for (int i = 0; i < f; i++) {
            double pre = b_enc[i], length = 0;
            for (int k = 0; k < d; k++) {
                pre += ((double)x[b * d + k] - (apply ? b_dec[k] : 0)) * w_enc[i * d + k];
                length += w_dec[i * d + k] * w_dec[i * d + k];
            }
            double z = pre > 0 ? pre : 0;
            for (int k = 0; k < d; k++) xhat[k] += z * w_dec[i * d + k];
            loss += l1 * z * (unit ? 1 : sqrt(length)) / n;
        }
        for (int k = 0; k < d; k++)
            loss += (xhat[k] - (double)x[b * d + k]) * (xhat[k] - (double)x[b * d + k]) / n;
    }
    return loss;
}

/* Takes the part of each row of g [f, d] along the row of w out, as training does for unit-norm decoders. */
static void project(double *g, const float *w, int d, int f) {
    for (int i = 0; i < f; i++) {
        double along = 0, length = 0;
        for (int k = 0; k < d; k++) {
            along += g[i * d + k] * (double)w[i * d + k];
            length += (double)w[i * d + k] * (double)w[i * d + k];
        }
        for (int k = 0; k < d; k++) g[i * d + k] -= along / length * (double)w[i * d + k];
    }
}

static void check_gradient(int apply, int unit) {
    enum { d = 7, f = 130, n = 70, total = 2 * d * f + f + d }; /* past one group of latents and of rows */
    sae_config cfg = {.d_in = d, .d_sae = f, .apply_b_dec_to_input = apply};
    sae_model s;
    CHECK_INT(sae_new(&s, &cfg, NULL), TN_OK);
    sae_train_opts o = golden_opts();
    o.batch = n + 3;
    o.unit_norm_decoder = unit;
    sae_init_params(&s, &o);
    tn_rng rng = tn_rng_seed(5);
    for (int i = 0; i < f; i++) s.b_enc[i] = 0.2f * tn_rng_normal(&rng) - 0.2f;
    for (int k = 0; k < d; k++) s.b_dec[k] = 0.3f * tn_rng_normal(&rng);
    float x[n * d];
    for (int i = 0; i < n * d; i++) x[i] = tn_rng_normal(&rng);

    sae_trainer *t = trainer(&s, &o, NULL, 2);
    sae_metrics m;
    sae_train_forward(t, x, n, 0.3, &m);
    sae_train_gradient(t, 0.3);

    double *p = malloc(2 * total * sizeof *p), *want = p + total;
    float got[total];
    for (int i = 0; i < total; i++) p[i] = (double)s.block[i];
    CHECK_NEAR(m.loss, plain_loss(p, d, f, x, n, 0.3, apply, unit), 1e-5 * m.loss);
    for (int i = 0; i < total; i++) {
        double keep = p[i], h = 1e-7;
        p[i] = keep + h;
        double up = plain_loss(p, d, f, x, n, 0.3, apply, unit);
        p[i] = keep - h;
        want[i] = (up - plain_loss(p, d, f, x, n, 0.3, apply, unit)) / (2 * h);
        p[i] = keep;
    }
    if (unit) project(want + d * f, s.w_dec, d, f);
    /* Latents that never fire leave their rows of g unwritten. */
    for (int i = 0; i < f; i++)
        for (int k = 0; k < d; k++) {
            got[i * d + k] = sae_train_touched(t, (size_t)i) ? t->g.w_enc[i * d + k] : 0;
            got[d * f + i * d + k] = sae_train_touched(t, (size_t)i) ? t->g.w_dec[i * d + k] : 0;
        }
    memcpy(got + 2 * d * f, t->g.vector[0], f * sizeof *got);
    memcpy(got + 2 * d * f + f, t->g.b_dec, d * sizeof *got);
    double worst = 0;
    for (int i = 0; i < total; i++) worst = fmax(worst, fabs(want[i] - (double)got[i]));
    CHECK_NEAR(worst, 0, 1e-5);
    free(p);
    sae_trainer_free(t);
    sae_free(&s);
}

static void finite_differences(void) {
    for (int apply = 0; apply < 2; apply++)
        for (int unit = 0; unit < 2; unit++) check_gradient(apply, unit);
}

/* ---- schedules and the start ---- */

static void schedules(void) {
    sae_train_opts o = golden_opts();
    o.lr = 1;
    o.l1 = 2;
    o.lr_warmup_steps = 4;
    o.lr_decay_steps = 5;
    o.total_steps = 20;
    o.l1_warmup_steps = 10;
    static const double lr[20] = {.25, .5, .75, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, .8, .6, .4, .2};
    for (int t = 0; t < 20; t++) {
        CHECK_NEAR(sae_lr_at(&o, t), lr[t], 1e-9);
        CHECK_NEAR(sae_l1_at(&o, t), t < 10 ? 2 * t / 10.0 : 2, 1e-9);
    }
    CHECK_NEAR(sae_lr_at(&o, 25), 0, 0); /* past the end */
    o.lr_warmup_steps = o.lr_decay_steps = o.l1_warmup_steps = 0;
    CHECK_NEAR(sae_lr_at(&o, 0), 1, 0);
    CHECK_NEAR(sae_lr_at(&o, 19), 1, 0);
    CHECK_NEAR(sae_l1_at(&o, 0), 2, 0);
}

static void random_start(void) {
    enum { d = 11, f = 40 };
    sae_config cfg = {.d_in = d, .d_sae = f};
    sae_model a, b;
    sae_train_opts o = golden_opts();
    CHECK_INT(sae_new(&a, &cfg, NULL), TN_OK);
    CHECK_INT(sae_new(&b, &cfg, NULL), TN_OK);
    o.init_norm = 0.1f;
    sae_init_params(&a, &o);
    sae_init_params(&b, &o);
    CHECK(memcmp(a.block, b.block, (2 * d * f + d + f) * sizeof(float)) == 0);
    CHECK(memcmp(a.w_enc, a.w_dec, d * f * sizeof(float)) == 0);
    for (int i = 0; i < f; i++) CHECK_NEAR(norm(a.w_dec + i * d, d), 0.1, 1e-6);
    CHECK_NEAR(norm(a.b_enc, f), 0, 0);
    CHECK_NEAR(norm(a.b_dec, d), 0, 0);
    o.seed++;
    sae_init_params(&b, &o);
    CHECK(memcmp(a.w_dec, b.w_dec, d * f * sizeof(float)) != 0);
    o.unit_norm_decoder = 1;
    sae_init_params(&b, &o);
    for (int i = 0; i < f; i++) {
        CHECK_NEAR(norm(b.w_dec + i * d, d), 1, 1e-6);
        CHECK_NEAR(norm(b.w_enc + i * d, d), 0.1, 1e-6);
    }
    sae_free(&a);
    sae_free(&b);
}

/* ---- whole steps ---- */

enum { D = 20, F = 200, B = 150 };

/* Rows made of few directions, as an SAE expects. */
static void sparse_rows(float *x, int n, uint64_t seed) {
    tn_rng rng = tn_rng_seed(seed), dictionary;
    for (int b = 0; b < n; b++) {
        memset(x + b * D, 0, D * sizeof *x);
        for (int a = 0; a < 3; a++) {
            dictionary = tn_rng_seed(1000 + tn_rng_below(&rng, 40));
            float size = 1 + tn_rng_uniform(&rng);
            for (int k = 0; k < D; k++) x[b * D + k] += size * tn_rng_normal(&dictionary);
        }
    }
}

static sae_train_opts step_opts(void) {
    sae_train_opts o = golden_opts();
    o.batch = B;
    o.l1 = 0.5f;
    o.l1_warmup_steps = 10;
    o.unit_norm_decoder = 1;
    return o;
}

static sae_model fresh(const sae_train_opts *o) {
    sae_config cfg = {.d_in = D, .d_sae = F, .apply_b_dec_to_input = 1};
    sae_model s;
    CHECK_INT(sae_new(&s, &cfg, NULL), TN_OK);
    sae_init_params(&s, o);
    return s;
}

static void same_model(const sae_model *a, const sae_model *b) {
    CHECK(memcmp(a->block, b->block, (2 * D * F + D + F) * sizeof(float)) == 0);
}

static void same_metrics(const sae_metrics *a, const sae_metrics *b) {
    CHECK_NEAR(a->mse, b->mse, 0);
    CHECK_NEAR(a->l1, b->l1, 0);
    CHECK_NEAR(a->l0, b->l0, 0);
    CHECK_NEAR(a->loss, b->loss, 0);
    CHECK_NEAR(a->fve, b->fve, 0);
    CHECK_INT(a->dead, b->dead);
}

static void same_bits_for_any_threads(void) {
    sae_train_opts o = step_opts();
    float x[B * D];
    sparse_rows(x, B, 1);
    sae_model one = fresh(&o);
    sae_trainer *t1 = trainer(&one, &o, NULL, 1);
    sae_metrics m1, m;
    for (int i = 0; i < 20; i++) sae_train_step(t1, x, i % 2 ? B : B - 70, &m1, NULL);
    for (int threads = 2; threads <= 5; threads++) {
        sae_model s = fresh(&o);
        sae_trainer *t = trainer(&s, &o, NULL, threads);
        for (int i = 0; i < 20; i++) sae_train_step(t, x, i % 2 ? B : B - 70, &m, NULL);
        same_model(&s, &one);
        same_metrics(&m, &m1);
        sae_trainer_free(t);
        sae_free(&s);
    }
    sae_trainer_free(t1);
    sae_free(&one);
}

static void decoder_stays_unit_norm_and_loss_falls(void) {
    sae_train_opts o = step_opts();
    o.l1_warmup_steps = 0;
    sae_model s = fresh(&o);
    sae_trainer *t = trainer(&s, &o, NULL, 2);
    float x[B * D];
    sparse_rows(x, B, 2);
    sae_metrics first, last;
    sae_train_step(t, x, B, &first, NULL);
    for (int i = 0; i < 99; i++) sae_train_step(t, x, B, &last, NULL);
    CHECK(last.loss < 0.3 * first.loss);
    CHECK(last.fve > 0.8);
    for (int i = 0; i < F; i++) CHECK_NEAR(norm(s.w_dec + i * D, D), 1, 1e-6);
    sae_trainer_free(t);
    sae_free(&s);
}

/* Adam goes on for latents that are silent now: a plain dense Adam in double agrees. */
static void silent_latents_keep_their_momentum(void) {
    sae_train_opts o = golden_opts();
    o.clip = 0;
    sae_model s = golden_model();
    sae_trainer *t = trainer(&s, &o, NULL, 1);
    float x[GB * GD], before[GD];
    golden_rows(x);
    sae_metrics m;
    sae_train_step(t, x, GB, &m, NULL);
    int i = 0;
    while (i < GF && !sae_train_touched(t, (size_t)i)) i++;
    if (!CHECK(i < GF)) return;
    s.b_enc[i] = -100; /* silence it */
    memcpy(before, s.w_enc + i * GD, sizeof before);
    float m0 = t->m.w_enc[i * GD], v0 = t->v.w_enc[i * GD];
    sae_train_step(t, x, GB, &m, NULL);
    CHECK(!sae_train_touched(t, (size_t)i));
    double mm = 0.9 * (double)m0, vv = 0.999 * (double)v0;
    double want = (double)before[0] - 0.01 * (mm / (1 - 0.9 * 0.9)) / (sqrt(vv / (1 - 0.999 * 0.999)) + 1e-8);
    CHECK_NEAR(s.w_enc[i * GD], want, 1e-6);
    CHECK(s.w_enc[i * GD] != before[0]);
    sae_trainer_free(t);
    sae_free(&s);
}

static void dead_latents_are_counted(void) {
    sae_train_opts o = golden_opts();
    o.dead_window = 3;
    sae_model s = golden_model();
    s.b_enc[1] = s.b_enc[4] = -1000;
    sae_trainer *t = trainer(&s, &o, NULL, 1);
    float x[GB * GD];
    golden_rows(x);
    sae_metrics m;
    for (int i = 1; i <= 4; i++) {
        CHECK_INT(sae_train_step(t, x, GB, &m, NULL), TN_OK);
        CHECK_INT(m.dead, i >= 3 ? 2 : 0);
    }
    s.b_enc[4] = 5;
    sae_train_step(t, x, GB, &m, NULL);
    CHECK_INT(m.dead, 1);
    CHECK_INT(t->silent[4], 0);
    sae_trainer_free(t);
    sae_free(&s);
}

static void evaluation_changes_nothing(void) {
    sae_train_opts o = step_opts();
    sae_model a = fresh(&o), b = fresh(&o);
    sae_trainer *ta = trainer(&a, &o, NULL, 1), *tb = trainer(&b, &o, NULL, 1);
    float x[B * D];
    sparse_rows(x, B, 3);
    sae_metrics m, seen;
    for (int i = 0; i < 5; i++) {
        sae_train_eval(ta, x, B, &seen, NULL);
        sae_train_step(ta, x, B, &m, NULL);
        CHECK_NEAR(seen.loss, m.loss, 0);
        sae_train_step(tb, x, B, &m, NULL);
    }
    same_model(&a, &b);
    sae_trainer_free(ta);
    sae_trainer_free(tb);
    sae_free(&a);
    sae_free(&b);
}

static void refuses_nan_and_infinite_loss(void) {
    sae_train_opts o = step_opts();
    sae_model s = fresh(&o), copy = fresh(&o);
    sae_trainer *t = trainer(&s, &o, NULL, 2);
    float x[B * D];
    const float bad[3] = {NAN, INFINITY, 3e38f};
    for (int i = 0; i < 3; i++) {
        tn_err e = {0};
        sae_metrics m;
        sparse_rows(x, B, 4);
        x[7 * D + 3] = bad[i];
        CHECK_INT(sae_train_step(t, x, B, &m, &e), TN_ENUM);
        CHECK_HAS(e.msg, "step 0");
        same_model(&s, &copy);
        CHECK_INT(sae_trainer_steps(t), 0);
        CHECK_INT(t->silent[0], 0);
    }
    /* A NaN among the weights must not pass for a silent latent. */
    sae_metrics m;
    sparse_rows(x, B, 4);
    s.w_enc[5] = NAN;
    CHECK_INT(sae_train_step(t, x, B, &m, NULL), TN_ENUM);
    CHECK_INT(sae_train_eval(t, x, B, &m, NULL), TN_ENUM);
    sae_trainer_free(t);
    sae_free(&s);
    sae_free(&copy);
}

static void refuses_bad_options(void) {
    sae_train_opts o = step_opts();
    sae_model s = fresh(&o);
    static const char *const named[] = {"batch", "lr",   "beta1",          "beta2",
                                        "l1",    "clip", "lr_decay_steps", "dead_window"};
    for (int i = 0; i < 8; i++) {
        o = step_opts();
        if (i == 0) o.batch = 0;
        if (i == 1) o.lr = -1;
        if (i == 2) o.beta1 = 1;
        if (i == 3) o.beta2 = NAN;
        if (i == 4) o.l1 = -0.1f;
        if (i == 5) o.clip = INFINITY;
        if (i == 6) o.total_steps = 10, o.lr_decay_steps = 11;
        if (i == 7) o.dead_window = 0;
        sae_trainer *t;
        tn_err e = {0};
        CHECK_INT(sae_trainer_new(&t, &s, &o, tn_exec_make(NULL, 1), &e), TN_EARG);
        CHECK_HAS(e.msg, named[i]);
        CHECK(t == NULL);
    }
    o = step_opts();
    sae_trainer *t = trainer(&s, &o, NULL, 1);
    float x[B * D] = {0};
    sae_metrics m;
    CHECK_INT(sae_train_step(t, x, B + 1, &m, NULL), TN_EARG);
    CHECK_INT(sae_train_step(t, x, 0, &m, NULL), TN_EARG);
    sae_trainer_free(t);
    sae_free(&s);
}

/* ---- checkpoints ---- */

static void resumes_bit_for_bit(void) {
    sae_train_opts o = step_opts();
    o.dead_window = 5;
    sae_model a = fresh(&o), b = fresh(&o);
    sae_trainer *ta = trainer(&a, &o, NULL, 1), *tb = trainer(&b, &o, NULL, 2);
    const char *path = test_path("trainer.safetensors");
    tn_err e = {0};
    float x[B * D];
    sae_metrics ma, mb;
    for (int i = 0; i < 12; i++) {
        sparse_rows(x, B, (uint64_t)i);
        sae_train_step(ta, x, B, &ma, NULL);
        if (i == 6 && !CHECK_INT(sae_trainer_save(ta, path, NULL, 0, &e), TN_OK)) CHECK_STR(e.msg, "");
    }
    if (!CHECK_INT(sae_trainer_load(tb, path, &e), TN_OK)) CHECK_STR(e.msg, "");
    CHECK_INT(sae_trainer_steps(tb), 7);
    for (int i = 7; i < 12; i++) {
        sparse_rows(x, B, (uint64_t)i);
        sae_train_step(tb, x, B, &mb, NULL);
    }
    same_model(&a, &b);
    same_metrics(&ma, &mb);
    CHECK(memcmp(ta->v.w_dec, tb->v.w_dec, D * F * sizeof(float)) == 0);
    sae_trainer_free(ta);
    sae_trainer_free(tb);
    sae_free(&a);
    sae_free(&b);
}

/* The checkpoint before stays when a parameter or a moment is no number any more. */
static void saves_no_nan(void) {
    sae_train_opts o = step_opts();
    sae_model a = fresh(&o);
    sae_trainer *t = trainer(&a, &o, NULL, 1);
    const char *path = test_path("sound.safetensors");
    tn_err e = {0};
    CHECK_INT(sae_trainer_save(t, path, NULL, 0, &e), TN_OK);
    float *const places[] = {&a.w_enc[3], &a.b_dec[D - 1], &t->m.w_dec[D], &t->v.vector[0][F - 1]};
    static const char *const names[] = {"W_enc", "b_dec", "m.W_dec", "v.b_enc"};
    for (int i = 0; i < 4; i++) {
        char part[64];
        float before = *places[i];
        *places[i] = i % 2 ? INFINITY : NAN;
        CHECK_INT(sae_trainer_save(t, path, NULL, 0, &e), TN_ENUM);
        snprintf(part, sizeof part, "%s is not finite, nothing is written", names[i]);
        CHECK_HAS(e.msg, part);
        *places[i] = before;
    }
    CHECK_INT(sae_trainer_load(t, path, &e), TN_OK);
    sae_trainer_free(t);
    sae_free(&a);
}

static void refuses_foreign_checkpoints(void) {
    sae_train_opts o = step_opts();
    sae_model a = fresh(&o), copy = fresh(&o);
    sae_trainer *t = trainer(&a, &o, NULL, 1);
    const char *path = test_path("other.safetensors");
    tn_err e = {0};
    CHECK_INT(sae_trainer_save(t, path, NULL, 0, &e), TN_OK);
    sae_trainer_free(t);

    o.lr = 0.02f;
    t = trainer(&a, &o, NULL, 1);
    CHECK_INT(sae_trainer_load(t, path, &e), TN_EARG);
    CHECK_HAS(e.msg, "other options (lr 0.00999999978, not 0.0199999996)");
    sae_trainer_free(t);

    o = step_opts();
    sae_config cfg = {.d_in = D, .d_sae = F + 1};
    sae_model wide;
    CHECK_INT(sae_new(&wide, &cfg, NULL), TN_OK);
    t = trainer(&wide, &o, NULL, 1);
    CHECK_INT(sae_trainer_load(t, path, &e), TN_ESHAPE);
    CHECK_HAS(e.msg, "W_enc");
    CHECK_INT(sae_trainer_load(t, test_path("none.safetensors"), &e), TN_EIO);
    sae_trainer_free(t);
    same_model(&a, &copy);
    sae_free(&a);
    sae_free(&copy);
    sae_free(&wide);
}

void test_train(void) {
    RUN(golden_loss_and_gradients);
    RUN(golden_five_steps);
    RUN(finite_differences);
    RUN(schedules);
    RUN(random_start);
    RUN(same_bits_for_any_threads);
    RUN(decoder_stays_unit_norm_and_loss_falls);
    RUN(silent_latents_keep_their_momentum);
    RUN(dead_latents_are_counted);
    RUN(evaluation_changes_nothing);
    RUN(refuses_nan_and_infinite_loss);
    RUN(refuses_bad_options);
    RUN(resumes_bit_for_bit);
    RUN(saves_no_nan);
    RUN(refuses_foreign_checkpoints);
}
