/* TopK, BatchTopK, JumpReLU and Gated training: golden values, finite differences, selection, checkpoints. */
#include "sae/train_internal.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double norm(const float *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)v[i] * (double)v[i];
    return sqrt(sum);
}

static sae_model model_of(const sae_train_opts *o, int d, int f) {
    sae_config cfg = {.d_in = d, .d_sae = f, .apply_b_dec_to_input = 1};
    sae_train_config(o, &cfg);
    sae_model s;
    tn_err e = {0};
    if (!CHECK_INT(sae_new(&s, &cfg, &e), TN_OK)) CHECK_STR(e.msg, "");
    return s;
}

static sae_trainer *trainer(sae_model *s, const sae_train_opts *o, int threads) {
    sae_trainer *t = NULL;
    tn_err e = {0};
    if (!CHECK_INT(sae_trainer_new(&t, s, o, tn_exec_make(NULL, threads), &e), TN_OK)) CHECK_STR(e.msg, "");
    return t;
}

/* ---- the golden case: 5 rows, 4 -> 6, numbers from an integer formula ---- */

enum { GD = 4, GF = 6, GB = 5 };

static double golden(int seed, int i) {
    return (double)((7 * i * i + 37 * i + 53 * seed + 11) % 101 - 50) / 50;
}

static sae_model golden_model(const sae_train_opts *o) {
    sae_model s = model_of(o, GD, GF);
    for (int i = 0; i < GF; i++) {
        for (int k = 0; k < GD; k++) {
            s.w_enc[i * GD + k] = (float)golden(2, k * GF + i);
            s.w_dec[i * GD + k] = (float)(golden(3, i * GD + k) * (0.5 + 0.4 * i));
        }
        if (s.b_enc) s.b_enc[i] = (float)(0.2 * golden(4, i));
        if (o->arch == SAE_TRAIN_JUMPRELU) s.threshold[i] = (float)(0.5 * fabs(golden(9, i)) + 0.05);
        if (s.b_gate) s.b_gate[i] = (float)(0.2 * golden(6, i));
        if (s.b_mag) s.b_mag[i] = (float)(0.2 * golden(7, i));
        if (s.r_mag) s.r_mag[i] = (float)(0.3 * golden(8, i));
    }
    for (int k = 0; k < GD; k++) s.b_dec[k] = (float)(0.3 * golden(5, k));
    return s;
}

static void golden_rows(float *x) {
    for (int i = 0; i < GB * GD; i++) x[i] = (float)(1.5 * golden(1, i));
}

static sae_train_opts golden_opts(sae_train_kind arch) {
    sae_train_opts o = sae_train_defaults();
    o.arch = arch;
    o.batch = GB;
    o.l1 = 0.7f;
    o.lr = 0.01f;
    o.bandwidth = 0.6f;
    o.target_l0 = 2;
    o.dead_window = 100;
    if (arch == SAE_TRAIN_MATRYOSHKA) o.n_widths = 2, o.widths[0] = 2, o.widths[1] = 4;
    return o;
}

static void set_dead(sae_trainer *t, int on) {
    for (int i = 0; i < GF; i++) t->silent[i] = on && (i == 0 || i == 3 || i == 5) ? 1000 : 0;
}

/* Losses and gradient norms computed with SAELens 6.54.12 in float64. */
static void golden_losses_and_gradients(void) {
    static const struct {
        sae_train_kind arch;
        float k;
        int dead;
        sae_l0_penalty l0;
        float pre_act; /* with ste_to_input */
        double loss, w_enc, w_dec, vectors[3], b_dec;
    } cases[] = {
        {SAE_TRAIN_TOPK, 2, 0, 0, 0, 4.1608133654, 4.46044798, 2.81779156, {2.56731335}, 3.83732627},
        {SAE_TRAIN_TOPK, 2, 1, 0, 0, 13.9462307152, 11.52146505, 5.90639599, {6.59012338}, 6.18078652},
        {SAE_TRAIN_BATCHTOPK,
         2.4f,
         1,
         0,
         0,
         14.0635120146,
         11.36035203,
         5.82391018,
         {5.47711653, 0},
         5.58989543},
        {SAE_TRAIN_MATRYOSHKA,
         2.4f,
         1,
         0,
         0,
         23.5074178281,
         15.47941000,
         10.76095878,
         {7.98529832, 0},
         7.07380284},
        {SAE_TRAIN_JUMPRELU,
         1,
         0,
         SAE_L0_STEP,
         0,
         5.4564843455,
         4.04358826,
         2.75984221,
         {2.31259612, .75428511},
         3.76453033},
        {SAE_TRAIN_JUMPRELU,
         1,
         0,
         SAE_L0_QUADRATIC,
         0,
         5.1764843455,
         4.04358826,
         2.75984221,
         {2.31259612, 2.26391104},
         3.76453033},
        {SAE_TRAIN_JUMPRELU,
         1,
         0,
         SAE_L0_TANH,
         0,
         5.4491899169,
         4.04332555,
         2.76973256,
         {2.36759215, .35638457},
         3.84290850},
        {SAE_TRAIN_JUMPRELU,
         1,
         1,
         SAE_L0_TANH,
         0.3f,
         6.3581513167,
         4.50793838,
         2.92102601,
         {1.80362998, .78932016},
         3.02096810},
        {SAE_TRAIN_GATED,
         1,
         0,
         0,
         0,
         9.2099341298,
         7.05017963,
         5.18917809,
         {3.25886007, 1.51290853, 1.98236581},
         5.86159007},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        sae_train_opts o = golden_opts(cases[c].arch);
        o.k = cases[c].k;
        o.l0_penalty = cases[c].l0;
        o.pre_act = cases[c].pre_act;
        o.ste_to_input = cases[c].pre_act > 0;
        sae_model s = golden_model(&o);
        sae_trainer *t = trainer(&s, &o, 2);
        float x[GB * GD];
        sae_metrics m;
        golden_rows(x);
        set_dead(t, cases[c].dead);
        sae_train_forward(t, x, GB, 0.7, &m);
        sae_train_gradient(t, 0.7);
        CHECK_NEAR(m.loss, cases[c].loss, 1e-5);
        CHECK_NEAR(norm(t->g.w_enc, GD * GF), cases[c].w_enc, 1e-5);
        CHECK_NEAR(norm(t->g.w_dec, GD * GF), cases[c].w_dec, 1e-5);
        CHECK_NEAR(norm(t->g.b_dec, GD), cases[c].b_dec, 1e-5);
        for (int v = 0; v < t->n_vectors; v++)
            CHECK_NEAR(norm(t->g.vector[v], GF), cases[c].vectors[v], 1e-5);
        sae_trainer_free(t);
        sae_free(&s);
    }
}

static void golden_five_steps_of_batchtopk(void) {
    static const double want[5] = {14.063512015, 12.764039615, 11.623710339, 10.600216162, 9.683279260};
    sae_train_opts o = golden_opts(SAE_TRAIN_BATCHTOPK);
    o.k = 2.4f;
    o.unit_norm_decoder = 0;
    sae_model s = golden_model(&o);
    sae_trainer *t = trainer(&s, &o, 2);
    float x[GB * GD];
    golden_rows(x);
    for (int i = 0; i < 5; i++) {
        sae_metrics m;
        set_dead(t, 1);
        CHECK_INT(sae_train_step(t, x, GB, &m, NULL), TN_OK);
        CHECK_NEAR(m.loss, want[i], 3e-5);
        if (i == 0) CHECK_NEAR(t->threshold, 0.0010886561, 1e-9);
    }
    CHECK_NEAR(norm(s.w_dec, GD * GF), 4.843751135, 1e-5);
    CHECK_NEAR(t->threshold, .004585545131, 1e-8);
    sae_train_finish(t);
    for (int i = 0; i < GF; i++) {
        CHECK_NEAR(norm(s.w_dec + i * GD, GD), 1, 1e-6);
        CHECK_NEAR(s.threshold[i], .004585545131 / (1 - pow(.99, 5)), 1e-6);
    }
    sae_trainer_free(t);
    sae_free(&s);
}

/* ---- dictionary_learning's convention ---- */

/* Losses and gradient norms computed with dictionary_learning 0.1.0 in float64, the decoder's before they are
 * projected. Its JumpReLU counts latents by the value behind the jump, which moves the thresholds of silent
 * ones as well; that is not followed, so that norm is not compared. */
static void golden_dictionary_learning(void) {
    static const struct {
        sae_train_kind arch;
        double loss, w_enc, w_dec, vectors[3], b_dec;
    } cases[] = {
        {SAE_TRAIN_RELU, 6.1912461165, 4.473385122, 3.873830582, {2.504976413}, 3.073586320},
        {SAE_TRAIN_GATED,
         10.8915978415,
         8.476813172,
         3.834748828,
         {2.515374885, 2.200805646, 3.250189455},
         4.593038983},
        {SAE_TRAIN_JUMPRELU, 4.7187569640, 4.235427528, 3.673286061, {2.180117047, -1}, 1.392001696},
        {SAE_TRAIN_TOPK, 5.1603390040, 4.453388394, 4.021879294, {2.542673460}, 3.188560697},
        {SAE_TRAIN_BATCHTOPK, 4.8772903235, 4.211618630, 3.910712160, {2.345500589, 0}, 2.811593346},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        sae_train_opts o = golden_opts(cases[c].arch);
        o.convention = SAE_DICTIONARY_LEARNING;
        o.l0_penalty = SAE_L0_MEAN;
        o.k = 2;
        o.aux = 1 / 32.0f;
        o.dead_window = 10000000;
        sae_model s = golden_model(&o);
        s.cfg.apply_b_dec_to_input = o.arch != SAE_TRAIN_JUMPRELU;
        for (int i = 0; i < GF; i++) {
            float length = (float)norm(s.w_dec + i * GD, GD);
            for (int k = 0; k < GD; k++) s.w_dec[i * GD + k] /= length;
        }
        sae_trainer *t = trainer(&s, &o, 2);
        float x[GB * GD];
        sae_metrics m;
        golden_rows(x);
        t->silent[0] = t->silent[3] = t->silent[5] = 10000000;
        sae_train_forward(t, x, GB, 0.7, &m);
        sae_train_gradient(t, 0.7);
        int l1 = o.arch == SAE_TRAIN_RELU || o.arch == SAE_TRAIN_GATED;
        for (int j = 0; j < GD * GF && l1; j++) /* without the part that |W_dec[i]| = 1 in the penalty has */
            t->g.w_dec[j] -= (float)(0.7 / GB * t->z_sum[j / GD]) * s.w_dec[j];
        CHECK_INT(t->n_dead, o.arch == SAE_TRAIN_TOPK ? 1 : 0);
        CHECK_NEAR(m.loss, cases[c].loss, 1e-5);
        CHECK_NEAR(norm(t->g.w_enc, GD * GF), cases[c].w_enc, 1e-5);
        CHECK_NEAR(norm(t->g.w_dec, GD * GF), cases[c].w_dec, 1e-5);
        CHECK_NEAR(norm(t->g.b_dec, GD), cases[c].b_dec, 1e-5);
        for (int v = 0; v < t->n_vectors; v++)
            if (cases[c].vectors[v] >= 0) CHECK_NEAR(norm(t->g.vector[v], GF), cases[c].vectors[v], 1e-5);
        sae_trainer_free(t);
        sae_free(&s);
    }
}

/* What follows from the name of a library. */
static void conventions_set_the_options(void) {
    sae_train_opts o = sae_train_defaults();
    o.arch = SAE_TRAIN_JUMPRELU;
    sae_train_follow(&o, SAE_DICTIONARY_LEARNING);
    CHECK_NEAR(o.lr, 7e-5, 1e-9);
    CHECK_NEAR(o.beta1, 0, 0);
    CHECK_INT(o.l0_penalty, SAE_L0_MEAN);
    CHECK_INT(o.unit_norm_decoder, 1);
    o.lr = 1;
    o.lr_warmup_steps = 4;
    CHECK_NEAR(sae_lr_at(&o, 0), 0, 0);
    CHECK_NEAR(sae_lr_at(&o, 3), 0.75, 1e-12);
    o.arch = SAE_TRAIN_BATCHTOPK;
    sae_train_follow(&o, SAE_DICTIONARY_LEARNING);
    CHECK_NEAR(o.lr, -1, 0);
    CHECK_NEAR(sae_train_lr_of_width(65536), 1e-4, 1e-9);
    CHECK_NEAR(o.aux, 0.03125, 0);
    sae_train_follow(&o, SAE_SAELENS);
    CHECK_NEAR(o.lr, 3e-4, 1e-9);
    CHECK_INT(o.unit_norm_decoder, 0);
    o.lr_warmup_steps = 4;
    CHECK_NEAR(sae_lr_at(&o, 0), 0.75e-4, 1e-9);
}

/* From the first step after threshold_start on, whose least value it begins with. */
static void threshold_begins_late(void) {
    sae_train_opts o = golden_opts(SAE_TRAIN_BATCHTOPK);
    o.convention = SAE_DICTIONARY_LEARNING;
    o.threshold_start = 1;
    o.k = 2;
    o.threshold_lr = 0.25f;
    sae_model s = golden_model(&o);
    sae_trainer *t = trainer(&s, &o, 1);
    float x[GB * GD];
    sae_metrics m;
    golden_rows(x);
    double want = 0;
    for (int i = 0; i < 4; i++) {
        CHECK_INT(sae_train_step(t, x, GB, &m, NULL), TN_OK);
        if (i > 1) want = i == 2 ? (double)t->least : 0.75 * want + 0.25 * (double)t->least;
        CHECK_NEAR(t->threshold, want, 1e-9);
    }
    CHECK(want > 0);
    sae_train_finish(t);
    CHECK_NEAR(s.threshold[2], want, 1e-7);
    sae_trainer_free(t);
    sae_free(&s);
}

/* ---- gradients against central differences of losses written plainly in double ---- */

enum { D = 7, F = 130, N = 70 }; /* past one group of latents and of rows */

/* What stays fixed while a parameter moves: the error that AuxK reconstructs. */
typedef struct {
    const sae_trainer *t;
    const double *p;        /* parameters in the order of sae_model.block */
    const float *x;         /* [N, D] */
    const double *residual; /* [N, D] x - x̂ */
    double lambda;
} plain;

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The rank-th largest (from 1) of v [n] that are above `floor`; `floor` when there are fewer. */
static double rank_of(const double *v, int n, int rank, double floor) {
    double *sorted = malloc((size_t)n * sizeof *sorted);
    memcpy(sorted, v, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_size);
    double out = sorted[rank - 1] > floor ? sorted[rank - 1] : floor;
    free(sorted);
    return out;
}

/* Loss of the trainer's architecture; fills xhat [N, D] when it is not NULL. */
static double plain_loss(const plain *q, double *xhat_out) {
    const sae_train_opts *o = &q->t->opts;
    const double *w_enc = q->p, *w_dec = w_enc + D * F, *vec = w_dec + D * F,
                 *b_dec = vec + q->t->n_vectors * F;
    double *u = malloc(2 * N * F * sizeof *u), *ranked = u + N * F, length[F], loss = 0;
    for (int i = 0; i < F; i++) {
        length[i] = 0;
        for (int k = 0; k < D; k++) length[i] += w_dec[i * D + k] * w_dec[i * D + k];
        length[i] = sqrt(length[i]);
    }
    for (int b = 0; b < N; b++)
        for (int i = 0; i < F; i++) {
            double *pre = &u[b * F + i];
            *pre = o->arch == SAE_TRAIN_GATED ? 0 : vec[i];
            for (int k = 0; k < D; k++) *pre += ((double)q->x[b * D + k] - b_dec[k]) * w_enc[i * D + k];
            ranked[b * F + i] = *pre * length[i];
        }
    double batch_floor = q->t->arch->batch_wide ? rank_of(ranked, N * F, (int)(o->k * N), 1e-300) : 0;
    for (int b = 0; b < N; b++) {
        double xhat[D], via[D], row_l0 = 0, aux_se = 0, dead[F];
        double row_floor =
            o->arch == SAE_TRAIN_TOPK ? rank_of(ranked + b * F, F, (int)o->k, 1e-300) : batch_floor;
        memcpy(xhat, b_dec, sizeof xhat);
        memcpy(via, b_dec, sizeof via);
        for (int i = 0; i < F; i++) {
            for (int l = 0; l < o->n_widths; l++) /* nested SAEs end before this latent */
                for (int k = 0; k < D && i == o->widths[l]; k++)
                    loss += pow(xhat[k] - (double)q->x[b * D + k], 2) / N;
            double pre = u[b * F + i], z = 0;
            if (o->arch == SAE_TRAIN_GATED) {
                double pi = pre + vec[i], mag = pre * exp(vec[2 * F + i]) + vec[F + i];
                if (pi > 0) {
                    z = mag > 0 ? mag : 0;
                    loss += q->lambda * pi * length[i] / N;
                    for (int k = 0; k < D; k++) via[k] += pi * w_dec[i * D + k];
                }
            } else if (o->arch == SAE_TRAIN_JUMPRELU) {
                z = pre > vec[F + i] ? pre : 0;
                loss += o->l0_penalty == SAE_L0_TANH
                            ? q->lambda * tanh((double)o->tanh_scale * z * length[i]) / N
                            : 0;
                row_l0 += z > 0;
                if (q->t->silent[i] >= o->dead_window && pre < vec[F + i])
                    loss += (double)o->pre_act * (vec[F + i] - pre) * length[i] / N;
            } else if (ranked[b * F + i] >= row_floor) {
                z = pre;
            }
            for (int k = 0; k < D; k++) xhat[k] += z * w_dec[i * D + k];
        }
        if (o->arch == SAE_TRAIN_JUMPRELU && o->l0_penalty == SAE_L0_STEP) loss += q->lambda * row_l0 / N;
        if (o->arch == SAE_TRAIN_JUMPRELU && o->l0_penalty == SAE_L0_QUADRATIC)
            loss += q->lambda * 2 / (double)o->target_l0 * pow(row_l0 - (double)o->target_l0, 2) / N;
        for (int k = 0; k < D; k++) {
            double e = xhat[k] - (double)q->x[b * D + k], a = via[k] - (double)q->x[b * D + k];
            loss += (e * e + (o->arch == SAE_TRAIN_GATED ? a * a : 0)) / N;
            if (xhat_out) xhat_out[b * D + k] = xhat[k];
        }
        int n_dead = 0, half = D / 2;
        for (int i = 0; i < F; i++)
            if (q->t->silent[i] >= o->dead_window) dead[n_dead++] = ranked[b * F + i];
        if (!q->t->arch->auxk || n_dead == 0) continue;
        double least = rank_of(dead, n_dead, half < n_dead ? half : n_dead, -1e300), sum[D] = {0};
        for (int i = 0; i < F; i++)
            if (q->t->silent[i] >= o->dead_window && ranked[b * F + i] >= least)
                for (int k = 0; k < D; k++) sum[k] += u[b * F + i] * w_dec[i * D + k];
        for (int k = 0; k < D && q->residual; k++) aux_se += pow(sum[k] - q->residual[b * D + k], 2);
        loss += (double)o->aux * fmin((double)n_dead / half, 1) * aux_se / N;
    }
    free(u);
    return loss;
}

static sae_train_opts wide_opts(sae_train_kind arch) {
    sae_train_opts o = golden_opts(arch);
    o.batch = N + 3;
    o.k = arch == SAE_TRAIN_BATCHTOPK || arch == SAE_TRAIN_MATRYOSHKA ? 7.3f : 7;
    o.init_norm = 0.8f;
    o.widths[0] = 16, o.widths[1] = 66;
    o.init_threshold = 0.2f;
    o.bandwidth = 0.3f;
    return o;
}

static sae_model wide_model(const sae_train_opts *o, float *x) {
    sae_model s = model_of(o, D, F);
    tn_rng rng = tn_rng_seed(5);
    sae_init_params(&s, o);
    for (int i = 0; i < D * F; i++) s.w_dec[i] *= 0.5f + tn_rng_uniform(&rng);
    for (int i = 0; s.b_enc && i < F; i++) s.b_enc[i] = 0.2f * tn_rng_normal(&rng);
    for (int i = 0; s.b_gate && i < F; i++) {
        s.b_gate[i] = 0.2f * tn_rng_normal(&rng) - 0.3f;
        s.b_mag[i] = 0.2f * tn_rng_normal(&rng) - 0.3f;
        s.r_mag[i] = 0.2f * tn_rng_normal(&rng);
    }
    for (int k = 0; k < D; k++) s.b_dec[k] = 0.3f * tn_rng_normal(&rng);
    for (int i = 0; i < N * D; i++) x[i] = tn_rng_normal(&rng);
    return s;
}

/* dtheta of train_jumprelu.c in double: no difference quotient sees it. */
static void plain_thresholds(const plain *q, const double *xhat, double *want) {
    const sae_train_opts *o = &q->t->opts;
    const double *w_enc = q->p, *w_dec = w_enc + D * F, *b_enc = w_dec + D * F, *theta = b_enc + F,
                 *b_dec = theta + F;
    double eps = (double)o->bandwidth, target = (double)o->target_l0;
    double pre[F];
    memset(want, 0, F * sizeof *want);
    for (int b = 0; b < N; b++) {
        double l0 = 0;
        for (int i = 0; i < F; i++) {
            pre[i] = b_enc[i];
            for (int k = 0; k < D; k++) pre[i] += ((double)q->x[b * D + k] - b_dec[k]) * w_enc[i * D + k];
            l0 += pre[i] > theta[i];
        }
        for (int i = 0; i < F; i++) {
            double df = 0, length = 0, ds = q->lambda / N, z = pre[i] > theta[i] ? pre[i] : 0;
            for (int k = 0; k < D; k++) {
                df += 2.0 / N * (xhat[b * D + k] - (double)q->x[b * D + k]) * w_dec[i * D + k];
                length += w_dec[i * D + k] * w_dec[i * D + k];
            }
            if (q->t->silent[i] >= o->dead_window && pre[i] < theta[i])
                want[i] += (double)o->pre_act * sqrt(length) / N;
            if (fabs(pre[i] - theta[i]) >= eps / 2) continue;
            if (o->l0_penalty == SAE_L0_QUADRATIC) ds *= 4 / target * (l0 - target);
            if (o->l0_penalty == SAE_L0_TANH) {
                double c = (double)o->tanh_scale * sqrt(length), th = tanh(c * z);
                df += q->lambda / N * c * (1 - th * th);
                ds = 0;
            }
            want[i] -= (theta[i] * df + ds) / eps;
        }
    }
}

static void check_gradient(sae_train_opts o, int n_dead) {
    float x[N * D];
    sae_model s = wide_model(&o, x);
    sae_trainer *t = trainer(&s, &o, 2);
    for (int i = 0; i < F; i++) t->silent[i] = i % 17 == 3 && i / 17 < n_dead ? 1000 : 0;
    sae_metrics m;
    sae_train_forward(t, x, N, 0.3, &m);
    sae_train_gradient(t, 0.3);

    size_t total = 2 * D * F + (size_t)t->n_vectors * F + D;
    double *p = malloc(2 * total * sizeof *p), *want = p + total, xhat[N * D], residual[N * D], worst = 0,
           size = 0;
    for (size_t i = 0; i < total; i++) p[i] = (double)s.block[i];
    plain q = {t, p, x, NULL, 0.3};
    plain_loss(&q, xhat);
    for (int i = 0; i < N * D; i++) residual[i] = (double)x[i] - xhat[i];
    q.residual = residual;
    CHECK_NEAR(m.loss, plain_loss(&q, NULL), 2e-5 * m.loss);
    CHECK((m.aux > 0) == (n_dead > 0 || o.arch >= SAE_TRAIN_GATED));
    for (size_t i = 0; i < total; i++) {
        double keep = p[i], h = 1e-7;
        p[i] = keep + h;
        double up = plain_loss(&q, NULL);
        p[i] = keep - h;
        want[i] = (up - plain_loss(&q, NULL)) / (2 * h);
        p[i] = keep;
    }
    if (o.arch == SAE_TRAIN_JUMPRELU) plain_thresholds(&q, xhat, want + 2 * D * F + F);
    for (size_t i = 0; i < total; i++) {
        size_t latent = i % (D * F) / D, vector = (i - 2 * D * F) / F;
        float got = i < 2 * D * F   ? (i < D * F ? t->g.w_enc : t->g.w_dec)[i % (D * F)]
                    : i < total - D ? t->g.vector[vector][(i - 2 * D * F) % F]
                                    : t->g.b_dec[i - (total - D)];
        if (i < 2 * D * F && !sae_train_touched(t, latent)) got = 0;
        worst = fmax(worst, fabs(want[i] - (double)got));
        size = fmax(size, fabs(want[i]));
    }
    CHECK(size > 0.01);
    CHECK_NEAR(worst, 0, 2e-5);
    free(p);
    sae_trainer_free(t);
    sae_free(&s);
}

static void finite_differences(void) {
    check_gradient(wide_opts(SAE_TRAIN_TOPK), 0);
    check_gradient(wide_opts(SAE_TRAIN_TOPK), 2);
    check_gradient(wide_opts(SAE_TRAIN_TOPK), 6);
    check_gradient(wide_opts(SAE_TRAIN_BATCHTOPK), 5);
    check_gradient(wide_opts(SAE_TRAIN_GATED), 0);
    check_gradient(wide_opts(SAE_TRAIN_MATRYOSHKA), 0);
    check_gradient(wide_opts(SAE_TRAIN_MATRYOSHKA), 5);
    for (int l0 = SAE_L0_STEP; l0 <= SAE_L0_TANH; l0++) {
        sae_train_opts o = wide_opts(SAE_TRAIN_JUMPRELU);
        o.l0_penalty = (sae_l0_penalty)l0;
        check_gradient(o, 0);
        o.pre_act = 0.2f;
        check_gradient(o, 5);
    }
}

/* With ste_to_input what a threshold loses through the window, its pre-activations gain: on top of the
 * gradient without it, that of b_enc is minus that of the threshold. */
static void straight_through_to_the_input(void) {
    float x[N * D], plain_b[F];
    for (int ste = 0; ste < 2; ste++) {
        sae_train_opts o = wide_opts(SAE_TRAIN_JUMPRELU);
        o.ste_to_input = ste;
        sae_model s = wide_model(&o, x);
        sae_trainer *t = trainer(&s, &o, 1);
        sae_metrics m;
        sae_train_forward(t, x, N, 0.3, &m);
        sae_train_gradient(t, 0.3);
        if (!ste) memcpy(plain_b, t->g.vector[0], sizeof plain_b);
        for (int i = 0; i < F && ste; i++)
            CHECK_NEAR(t->g.vector[0][i] - plain_b[i], -(double)t->g.vector[1][i], 1e-5);
        sae_trainer_free(t);
        sae_free(&s);
    }
}

/* ---- selection ---- */

/* Encoder = identity over 4 inputs, so that pre = x. */
static void selects_over_the_batch(void) {
    static const struct {
        float k, x[8], want[8];
    } cases[] = {
        {2, {1, -2, 3, -4, -5, 6, -7, 8}, {1, 0, 3, 0, 0, 6, 0, 8}},
        {1.5f, {1, -2, 3, -4, -5, 6, -7, 8}, {0, 0, 3, 0, 0, 6, 0, 8}},
        {2, {1, 2, 3, 4, -5, -6, .5f, -8}, {1, 2, 3, 4, 0, 0, 0, 0}},
        {1, {2, 2, 2, 2, 2, 2, 2, 2}, {2, 2, 0, 0, 0, 0, 0, 0}}, /* equal: the first row, latents in order */
        {4, {1, -2, 3, -4, -5, 6, -7, 8}, {1, 0, 3, 0, 0, 6, 0, 8}},
        {1, {-1, -2, -3, -4, -5, -6, -7, -8}, {0, 0, 0, 0, 0, 0, 0, 0}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        sae_train_opts o = golden_opts(SAE_TRAIN_BATCHTOPK);
        o.k = cases[c].k;
        sae_model s = model_of(&o, 4, 4);
        for (int i = 0; i < 4; i++) s.w_enc[i * 4 + i] = s.w_dec[i * 4 + i] = 1;
        sae_trainer *t = trainer(&s, &o, 2);
        sae_metrics m;
        sae_train_forward(t, cases[c].x, 2, 0, &m);
        float got[8] = {0};
        for (size_t i = 0; i < 4; i++)
            for (size_t a = t->lists.first[i]; a < t->lists.first[i + 1]; a++)
                got[t->lists.of_latent[a].at * 4 + i] = t->lists.of_latent[a].z;
        for (int i = 0; i < 8; i++) CHECK_NEAR(got[i], cases[c].want[i], 0);
        sae_trainer_free(t);
        sae_free(&s);
    }
}

/* What training calls x̂ is what the finished SAE gives. */
static void finished_sae_agrees(void) {
    for (int a = SAE_TRAIN_TOPK; a <= SAE_TRAIN_MATRYOSHKA; a++)
        for (int unit = 0; unit < 2; unit++) {
            sae_train_opts o = wide_opts((sae_train_kind)a);
            o.unit_norm_decoder = unit;
            float x[N * D], z[N * F], xhat[N * D];
            sae_model s = wide_model(&o, x);
            sae_trainer *t = trainer(&s, &o, 2);
            sae_metrics m;
            for (int i = 0; i < 5; i++) CHECK_INT(sae_train_step(t, x, N, &m, NULL), TN_OK);
            CHECK_INT(sae_train_eval(t, x, N, &m, NULL), TN_OK);
            sae_train_finish(t);
            void *scratch = malloc(sae_encode_scratch(&s, N));
            sae_encode(&s, tn_exec_make(NULL, 1), x, N, z, scratch);
            sae_decode(&s, tn_exec_make(NULL, 1), z, N, xhat);
            double se = 0, l0 = 0;
            for (int i = 0; i < N * D; i++) se += pow((double)xhat[i] - (double)x[i], 2);
            for (int i = 0; i < N * F; i++) l0 += z[i] > 0;
            CHECK_NEAR(se / N, m.mse, 1e-4 * m.mse);
            CHECK_NEAR(l0 / N, m.l0, 1e-9);
            if (a == SAE_TRAIN_TOPK) CHECK(m.l0 <= (double)o.k);
            free(scratch);
            sae_trainer_free(t);
            sae_free(&s);
        }
}

/* ---- promises ---- */

static void same_model(const sae_model *a, const sae_model *b, const sae_trainer *t) {
    size_t total = 2 * D * F + (size_t)t->n_vectors * F + D;
    CHECK(memcmp(a->block, b->block, total * sizeof(float)) == 0);
}

static sae_train_opts run_opts(int a) {
    sae_train_opts o = wide_opts((sae_train_kind)a);
    o.dead_window = 2; /* so that AuxK has something to do */
    o.l0_penalty = SAE_L0_QUADRATIC;
    o.k = 3;
    return o;
}

static void any_threads_and_resume_give_the_same_bits(void) {
    const char *path = test_path("arch-trainer.safetensors");
    for (int a = SAE_TRAIN_TOPK; a <= SAE_TRAIN_MATRYOSHKA; a++) {
        sae_train_opts o = run_opts(a);
        o.resample = 5;
        o.pre_act = 0.1f;
        float x[N * D];
        sae_model one = wide_model(&o, x), many = wide_model(&o, x), late = wide_model(&o, x);
        for (int i = 0; i < 3 && a == SAE_TRAIN_JUMPRELU;
             i++) /* dead, so that some are lifted and begin anew */
            one.b_enc[7 * i] = many.b_enc[7 * i] = late.b_enc[7 * i] = -50;
        sae_trainer *t1 = trainer(&one, &o, 1), *t3 = trainer(&many, &o, 3), *tl = trainer(&late, &o, 2);
        sae_metrics m1, m3, ml;
        tn_err e = {0};
        double aux = 0;
        for (int i = 0; i < 14; i++) {
            CHECK_INT(sae_train_step(t1, x, i % 2 ? N : N - 30, &m1, NULL), TN_OK);
            sae_train_step(t3, x, i % 2 ? N : N - 30, &m3, NULL);
            aux += m1.aux;
            if (i == 7) CHECK_INT(sae_trainer_save(t3, path, NULL, 0, &e), TN_OK);
        }
        if (!CHECK_INT(sae_trainer_load(tl, path, &e), TN_OK)) CHECK_STR(e.msg, "");
        for (int i = 8; i < 14; i++) sae_train_step(tl, x, i % 2 ? N : N - 30, &ml, NULL);
        same_model(&one, &many, t1);
        same_model(&one, &late, t1);
        CHECK_NEAR(m1.loss, m3.loss, 0);
        CHECK_NEAR(m1.loss, ml.loss, 0);
        CHECK_NEAR(t1->threshold, tl->threshold, 0);
        CHECK((t1->threshold > 0) == t1->arch->batch_wide);
        CHECK(aux > 0);
        sae_trainer_free(t1), sae_trainer_free(t3), sae_trainer_free(tl);
        sae_free(&one), sae_free(&many), sae_free(&late);
    }
}

static void loss_falls_and_thresholds_stay_positive(void) {
    for (int a = SAE_TRAIN_TOPK; a <= SAE_TRAIN_MATRYOSHKA; a++) {
        sae_train_opts o = run_opts(a);
        o.unit_norm_decoder = 1;
        o.dead_window = 50;
        float x[N * D];
        sae_model s = wide_model(&o, x);
        sae_trainer *t = trainer(&s, &o, 2);
        sae_metrics first, last;
        sae_train_step(t, x, N, &first, NULL);
        for (int i = 0; i < 150; i++) CHECK_INT(sae_train_step(t, x, N, &last, NULL), TN_OK);
        CHECK(last.loss < 0.7 * first.loss);
        if (a == SAE_TRAIN_JUMPRELU)
            for (int i = 0; i < F; i++) CHECK(s.threshold[i] >= 0);
        sae_trainer_free(t);
        sae_free(&s);
    }
}

static void refuses_nan(void) {
    for (int a = SAE_TRAIN_TOPK; a <= SAE_TRAIN_MATRYOSHKA; a++) {
        sae_train_opts o = run_opts(a);
        float x[N * D];
        sae_model s = wide_model(&o, x), copy = wide_model(&o, x);
        sae_trainer *t = trainer(&s, &o, 2);
        sae_metrics m;
        x[9 * D + 2] = NAN;
        CHECK_INT(sae_train_step(t, x, N, &m, NULL), TN_ENUM);
        x[9 * D + 2] = 0;
        same_model(&s, &copy, t);
        s.w_enc[5] = NAN; /* must not pass for a silent latent */
        CHECK_INT(sae_train_step(t, x, N, &m, NULL), TN_ENUM);
        CHECK_NEAR(t->threshold, 0, 0);
        sae_trainer_free(t);
        sae_free(&s);
        sae_free(&copy);
    }
}

static void refuses_bad_options(void) {
    static const struct {
        sae_train_kind arch;
        float k, target, bandwidth;
        const char *says;
    } cases[] = {
        {SAE_TRAIN_TOPK, 0, 1, 1, "k is 0"},
        {SAE_TRAIN_TOPK, 1.5f, 1, 1, "only batchtopk and matryoshka can take a fraction"},
        {SAE_TRAIN_TOPK, F + 1, 1, 1, "there are only 130 latents"},
        {SAE_TRAIN_BATCHTOPK, NAN, 1, 1, "k is nan"},
        {SAE_TRAIN_JUMPRELU, 1, 0, 1, "target_l0 is 0"},
        {SAE_TRAIN_JUMPRELU, 1, 1, 0, "bandwidth is 0"},
        {(sae_train_kind)9, 1, 1, 1, "no architecture 9"},
    };
    sae_train_opts good = wide_opts(SAE_TRAIN_TOPK);
    float x[N * D];
    sae_model s = wide_model(&good, x);
    sae_trainer *t;
    tn_err e = {0};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        sae_train_opts o = good;
        o.arch = cases[c].arch;
        o.k = cases[c].k;
        o.target_l0 = cases[c].target;
        o.bandwidth = cases[c].bandwidth;
        CHECK_INT(sae_trainer_new(&t, &s, &o, tn_exec_make(NULL, 1), &e), TN_EARG);
        CHECK_HAS(e.msg, cases[c].says);
    }
    good.arch = SAE_TRAIN_GATED;
    CHECK_INT(sae_trainer_new(&t, &s, &good, tn_exec_make(NULL, 1), &e), TN_EARG);
    CHECK_HAS(e.msg, "training gated needs a gated SAE, not a topk one");
    sae_free(&s);
}

void test_train_arch(void) {
    RUN(golden_losses_and_gradients);
    RUN(golden_five_steps_of_batchtopk);
    RUN(golden_dictionary_learning);
    RUN(conventions_set_the_options);
    RUN(threshold_begins_late);
    RUN(finite_differences);
    RUN(straight_through_to_the_input);
    RUN(selects_over_the_batch);
    RUN(finished_sae_agrees);
    RUN(any_threads_and_resume_give_the_same_bits);
    RUN(loss_falls_and_thresholds_stay_positive);
    RUN(refuses_nan);
    RUN(refuses_bad_options);
}
