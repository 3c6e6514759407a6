/* Architectures of SAEs at inference: each against its formula in double, its files, and files that lie. */
#include "sae/arch.h"
#include "sae/numbers.h"
#include "sae/round.h"
#include "sae/topk.h"
#include "tensor/rng.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { D = 7, F = 50, N = 9, K = 6 };

static sae_model make(sae_architecture a, int k) {
    sae_config cfg = {.d_in = D, .d_sae = F, .apply_b_dec_to_input = 1, .architecture = a, .k = k};
    strcpy(cfg.hook_name, "blocks.3.hook_resid_post");
    sae_model s;
    tn_err e = {0};
    if (!CHECK_INT(sae_new(&s, &cfg, &e), TN_OK)) CHECK_STR(e.msg, "");
    tn_rng rng = tn_rng_seed(3);
    for (int i = 0; i < D * F; i++) s.w_enc[i] = 0.4f * tn_rng_normal(&rng);
    for (int i = 0; i < D * F; i++) s.w_dec[i] = 0.4f * tn_rng_normal(&rng);
    for (int k2 = 0; k2 < D; k2++) s.b_dec[k2] = 0.2f * tn_rng_normal(&rng);
    sae_vector v[SAE_MAX_VECTORS];
    int n = sae_arch_of(a)->vectors(&s, v);
    for (int j = 0; j < n; j++)
        for (int i = 0; i < F; i++) (*v[j].data)[i] = 0.3f * tn_rng_normal(&rng);
    for (int i = 0; s.threshold && i < F; i++) s.threshold[i] = fabsf(s.threshold[i]);
    return s;
}

static void rows(float *x) {
    tn_rng rng = tn_rng_seed(8);
    for (int i = 0; i < N * D; i++) x[i] = tn_rng_normal(&rng);
}

static void encode(const sae_model *s, const float *x, float *z, int threads) {
    void *scratch = malloc(sae_encode_scratch(s, N));
    sae_encode(s, tn_exec_make(NULL, threads), x, N, z, scratch);
    free(scratch);
}

/* z of one row by the formulas of the arch_*.c, in double. */
static void plain_encode(const sae_model *s, const float *x, double *z) {
    double u[F];
    for (int i = 0; i < F; i++) {
        u[i] = s->b_enc ? (double)s->b_enc[i] : 0;
        for (int k = 0; k < D; k++)
            u[i] += ((double)x[k] - (double)s->b_dec[k]) * (double)s->w_enc[i * D + k];
    }
    for (int i = 0; i < F; i++) {
        int larger = 0;
        for (int j = 0; j < F; j++) larger += u[j] > u[i];
        z[i] = u[i] > 0 ? u[i] : 0;
        if (s->cfg.architecture == SAE_TOPK && larger >= s->cfg.k) z[i] = 0;
        if (s->cfg.architecture == SAE_JUMPRELU && u[i] <= (double)s->threshold[i]) z[i] = 0;
        if (s->cfg.architecture != SAE_GATED) continue;
        double magnitude = u[i] * exp((double)s->r_mag[i]) + (double)s->b_mag[i];
        z[i] = u[i] + (double)s->b_gate[i] > 0 && magnitude > 0 ? magnitude : 0;
    }
}

static void follow_their_formulas(void) {
    for (int a = SAE_STANDARD; a <= SAE_GATED; a++) {
        sae_model s = make((sae_architecture)a, K);
        float x[N * D], z[N * F], more[N * F];
        rows(x);
        encode(&s, x, z, 1);
        int active = 0;
        for (int r = 0; r < N; r++) {
            double want[F];
            int on = 0;
            plain_encode(&s, x + r * D, want);
            for (int i = 0; i < F; i++) {
                CHECK_NEAR(z[r * F + i], want[i], 1e-5);
                CHECK((z[r * F + i] > 0) == (want[i] > 0));
                on += z[r * F + i] > 0;
            }
            if (a == SAE_TOPK) CHECK_INT(on, K);
            active += on;
        }
        CHECK(active > N && active < N * F / 2 + N * 10);
        for (int threads = 2; threads <= 3; threads++) {
            encode(&s, x, more, threads);
            CHECK(memcmp(z, more, sizeof z) == 0);
        }
        sae_free(&s);
    }
}

/* pre = 0.6 for every latent; strictly above the threshold means above. */
static void jumprelu_is_strict(void) {
    sae_config cfg = {.d_in = 2, .d_sae = 4, .architecture = SAE_JUMPRELU};
    sae_model s;
    CHECK_INT(sae_new(&s, &cfg, NULL), TN_OK);
    static const float thresholds[4] = {1, 0.5f, 0.25f, 0.75f};
    for (int i = 0; i < 8; i++) s.w_enc[i] = s.w_dec[i] = 1;
    memcpy(s.threshold, thresholds, sizeof thresholds);
    float x[2] = {0.375f, 0.375f}, z[4], xhat[2];
    void *scratch = malloc(sae_encode_scratch(&s, 1));
    sae_encode(&s, tn_exec_make(NULL, 1), x, 1, z, scratch);
    sae_decode(&s, tn_exec_make(NULL, 1), z, 1, xhat);
    static const float want[4] = {0, 0.75f, 0.75f, 0};
    for (int i = 0; i < 4; i++) CHECK_NEAR(z[i], want[i], 0);
    CHECK_NEAR(xhat[0], 1.5, 0);
    s.threshold[3] = -5; /* acts as zero: a negative pre-activation stays off */
    x[0] = x[1] = -1;
    sae_encode(&s, tn_exec_make(NULL, 1), x, 1, z, scratch);
    for (int i = 0; i < 4; i++) CHECK_NEAR(z[i], 0, 0);
    free(scratch);
    sae_free(&s);
}

/* ---- TopK's selection ---- */

/* The heap against counting, with many equal values. */
static void picks_the_largest(void) {
    enum { n = 400 };
    tn_rng rng = tn_rng_seed(11);
    for (uint32_t k = 1; k <= n; k += k < 8 ? 1 : 49) {
        float v[n];
        sae_pick heap[n];
        uint32_t held = 0;
        for (int i = 0; i < n; i++) v[i] = (float)tn_rng_below(&rng, 40);
        for (uint32_t i = 0; i < n; i++) sae_topk_offer(heap, &held, k, v[i], i);
        CHECK_INT(held, k);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t better = 0;
            for (uint32_t j = 0; j < n; j++) better += v[j] > v[i] || (v[j] == v[i] && j < i);
            int in_heap = 0;
            for (uint32_t j = 0; j < k; j++) in_heap |= heap[j].index == i && heap[j].value == v[i];
            CHECK_INT(in_heap, better < k);
            CHECK_INT(sae_topk_kept(heap[0], v[i], i), better < k);
        }
    }
}

/* Quickselect against counting: values of any kind, a few different ones, ascending, descending, all equal.
 */
static void finds_the_kth(void) {
    enum { MOST = 130 };
    tn_rng rng = tn_rng_seed(12);
    for (int kind = 0; kind < 5; kind++)
        for (size_t n = 1; n <= MOST; n += n < 9 ? 1 : 11)
            for (size_t k = 1; k <= n; k += k < 9 ? 1 : 7) {
                float v[MOST];
                for (size_t i = 0; i < n; i++)
                    v[i] = kind == 0   ? tn_rng_normal(&rng)
                           : kind == 1 ? (float)tn_rng_below(&rng, 5)
                           : kind == 2 ? (float)i
                           : kind == 3 ? -(float)i
                                       : 7;
                float kth = sae_topk_kth(v, n, k);
                size_t larger = 0, first = 0, equal = 0;
                for (size_t i = 0; i < n; i++) {
                    larger += v[i] > kth;
                    equal += v[i] == kth;
                    first += i < k && v[i] >= kth;
                }
                CHECK(larger < k && k <= larger + equal);
                CHECK_INT(first, k);
            }
}

static void topk_ties_few_and_nan(void) {
    sae_config cfg = {.d_in = 1, .d_sae = 6, .architecture = SAE_TOPK, .k = 3};
    sae_model s;
    CHECK_INT(sae_new(&s, &cfg, NULL), TN_OK);
    float x[1] = {1}, z[6];
    void *scratch = malloc(sae_encode_scratch(&s, 1));
    static const struct {
        float w[6], want[6];
    } cases[] = {
        {{1, 2, 2, 2, 3, 2}, {0, 2, 2, 0, 3, 0}},     /* of equal ones the lowest indices */
        {{-1, 2, -3, 0, 1, -2}, {0, 2, 0, 0, 1, 0}},  /* fewer positive ones than k */
        {{-1, -2, -3, -4, 0, -2}, {0, 0, 0, 0, 0, 0}} /* none */
    };
    for (int c = 0; c < 3; c++) {
        memcpy(s.w_enc, cases[c].w, sizeof cases[c].w);
        sae_encode(&s, tn_exec_make(NULL, 1), x, 1, z, scratch);
        for (int i = 0; i < 6; i++) CHECK_NEAR(z[i], cases[c].want[i], 0);
    }
    s.w_enc[2] = NAN;
    sae_encode(&s, tn_exec_make(NULL, 1), x, 1, z, scratch);
    CHECK(isnan(z[2]));
    free(scratch);
    sae_free(&s);
}

static void refuses_bad_settings(void) {
    sae_model s;
    tn_err e = {0};
    sae_config cfg = {.d_in = 2, .d_sae = 4, .architecture = SAE_TOPK};
    CHECK_INT(sae_new(&s, &cfg, &e), TN_EARG);
    CHECK_HAS(e.msg, "k is 0, it must be between 1 and the 4 latents");
    cfg.k = 5;
    CHECK_INT(sae_new(&s, &cfg, &e), TN_EARG);
    cfg.architecture = (sae_architecture)17;
    CHECK_INT(sae_new(&s, &cfg, &e), TN_EARG);
    CHECK_HAS(e.msg, "no architecture 17");
}

/* ---- folding and rounding ---- */

static void folding_keeps_what_it_computes(void) {
    for (int a = SAE_STANDARD; a <= SAE_GATED; a++) {
        if (a == SAE_TOPK) continue; /* folding changes which latents TopK takes: see the next test */
        sae_model s = make((sae_architecture)a, K);
        float x[N * D], z[N * F], xhat[N * D], z2[N * F], xhat2[N * D], norm[F];
        rows(x);
        encode(&s, x, z, 1);
        sae_decode(&s, tn_exec_make(NULL, 1), z, N, xhat);
        for (int i = 0; i < F; i++) {
            double sq = 0;
            for (int k = 0; k < D; k++) sq += (double)s.w_dec[i * D + k] * (double)s.w_dec[i * D + k];
            norm[i] = (float)sqrt(sq);
        }
        sae_fold_decoder_norm(&s);
        encode(&s, x, z2, 1);
        sae_decode(&s, tn_exec_make(NULL, 1), z2, N, xhat2);
        for (int i = 0; i < N * F; i++) CHECK_NEAR(z2[i], z[i] * norm[i % F], 1e-5);
        for (int i = 0; i < N * D; i++) CHECK_NEAR(xhat2[i], xhat[i], 1e-5);
        sae_free(&s);
    }
}

/* The encoder in BF16 selects and computes as an F32 one with those weights. */
static void rounded_encoders(void) {
    for (int a = SAE_STANDARD; a <= SAE_GATED; a++) {
        sae_model s = make((sae_architecture)a, K), want = make((sae_architecture)a, K);
        float x[N * D], z[N * F], want_z[N * F];
        rows(x);
        for (int i = 0; i < F * D; i++) want.w_enc[i] = tn_bf16_to_f32(tn_f32_to_bf16(want.w_enc[i]));
        CHECK_INT(sae_round_encoder(&s, "bf16", 1, NULL), TN_OK);
        encode(&s, x, z, 1);
        encode(&want, x, want_z, 1);
        CHECK(memcmp(z, want_z, sizeof z) == 0);
        sae_free(&s);
        sae_free(&want);
    }
}

/* ---- files ---- */

static void save_and_open(void) {
    for (int a = SAE_STANDARD; a <= SAE_GATED; a++) {
        sae_model s = make((sae_architecture)a, K), back;
        sae_vector v[SAE_MAX_VECTORS];
        tn_err e = {0};
        const char *dir = test_path("arch-dir");
        if (a == SAE_JUMPRELU) strcpy(s.cfg.trained_as, "batchtopk");
        CHECK_INT(sae_save_dir(&s, dir, NULL, &e), TN_OK);
        if (!CHECK_INT(sae_open_dir(&back, dir, &e), TN_OK)) CHECK_STR(e.msg, "");
        CHECK_INT(back.cfg.architecture, a);
        CHECK_INT(back.cfg.k, a == SAE_TOPK ? K : 0);
        CHECK_STR(back.cfg.trained_as,
                  a == SAE_JUMPRELU ? "batchtopk" : sae_architecture_name(s.cfg.architecture));
        int n = sae_arch_of(s.cfg.architecture)->vectors(&s, v);
        CHECK(memcmp(s.block, back.block, (size_t)(2 * D * F + n * F + D) * sizeof(float)) == 0);
        sae_free(&s);
        sae_free(&back);
    }
}

/* A saved TopK SAE whose file is then said to rank by pre-activation times |W_dec[i]|. */
static void rescaled_topk(void) {
    sae_model s = make(SAE_TOPK, K), back;
    tn_err e = {0};
    float x[N * D], z[N * F];
    rows(x);
    s.cfg.rescale_acts_by_decoder_norm = 1;
    CHECK_INT(sae_save_dir(&s, test_path("arch-rescale"), NULL, &e), TN_OK);
    CHECK_INT(sae_open_dir(&back, test_path("arch-rescale"), &e), TN_OK);
    CHECK_INT(back.cfg.rescale_acts_by_decoder_norm, 1);
    for (int i = 0; i < F; i++) { /* what SAELens does in every forward pass, done once */
        double sq = 0;
        for (int k = 0; k < D; k++) sq += (double)s.w_dec[i * D + k] * (double)s.w_dec[i * D + k];
        for (int k = 0; k < D; k++) s.w_enc[i * D + k] *= (float)sqrt(sq);
        s.b_enc[i] *= (float)sqrt(sq);
    }
    encode(&back, x, z, 1);
    for (int r = 0; r < N; r++) {
        double want[F];
        plain_encode(&s, x + r * D, want);
        for (int i = 0; i < F; i++) CHECK_NEAR(z[r * F + i], want[i], 1e-5);
    }
    sae_free(&s);
    sae_free(&back);
}

/* Opens weights of 2 -> 3 (with `extra` [3] beside W_enc, W_dec, b_dec, when not NULL) under this cfg.json.
 */
static int open_with(const char *json, int b_enc, const char *extra, float value, sae_model *s, tn_err *e) {
    const char *dir = test_path("arch-hostile");
    static const float zeros[6] = {0};
    float v[3] = {value, value, value};
    char path[512];
    tn_tensor_spec specs[5] = {
        {"W_dec", TN_F32, 2, {3, 2}}, {"W_enc", TN_F32, 2, {2, 3}}, {"b_dec", TN_F32, 1, {2}}};
    int n = 3;
    if (b_enc) specs[n++] = (tn_tensor_spec){"b_enc", TN_F32, 1, {3}};
    if (extra) specs[n++] = (tn_tensor_spec){extra, TN_F32, 1, {3}};
    tn_st_writer *w;
    CHECK_INT(tn_make_dirs(dir, NULL), TN_OK);
    tn_path_join(path, sizeof path, dir, "cfg.json", NULL);
    CHECK_INT(tn_write_file(path, json, strlen(json), NULL), TN_OK);
    tn_path_join(path, sizeof path, dir, "sae_weights.safetensors", NULL);
    CHECK_INT(tn_st_create(&w, path, specs, (size_t)n, NULL, 0, NULL), TN_OK);
    for (int i = 0; i < n; i++)
        sae_write_floats(w, TN_F32, extra && i == n - 1 ? v : zeros, i < 2 ? 6 : i == 2 ? 2 : 3);
    CHECK_INT(tn_st_finish(w, NULL), TN_OK);
    *e = (tn_err){0};
    return sae_open_dir(s, dir, e);
}

#define CFG(rest) "{\"d_in\":2,\"d_sae\":3,\"dtype\":\"float32\"," rest "}"

static void hostile_files(void) {
    static const struct {
        const char *json;
        int b_enc;
        const char *extra;
        float value;
        int code;
        const char *says;
    } cases[] = {
        {CFG("\"architecture\":\"topk\",\"k\":4"), 1, NULL, 0, TN_EFORMAT,
         "\"k\" is 4, expected 1 to d_sae, which is 3"},
        {CFG("\"architecture\":\"topk\",\"k\":0"), 1, NULL, 0, TN_EFORMAT, "\"k\" is 0"},
        {CFG("\"architecture\":\"topk\",\"k\":-9223372036854775808"), 1, NULL, 0, TN_EFORMAT, "\"k\" is -9"},
        {CFG("\"architecture\":\"topk\",\"k\":1.5"), 1, NULL, 0, TN_EFORMAT, "no whole number"},
        {CFG("\"architecture\":\"topk\""), 1, NULL, 0, TN_EFORMAT, "\"k\" is 100"}, /* SAELens' default */
        {CFG("\"architecture\":\"topk\",\"k\":2,\"rescale_acts_by_decoder_norm\":2"), 1, NULL, 0, TN_EFORMAT,
         "neither true nor false"},
        {CFG("\"architecture\":\"topk\",\"k\":2"), 1, "threshold", 0, TN_EFORMAT,
         "unexpected tensor \"threshold\" in a topk SAE"},
        {CFG("\"architecture\":\"topk\",\"k\":2"), 1, NULL, 0, TN_OK, ""},
        {CFG("\"architecture\":\"jumprelu\""), 1, NULL, 0, TN_EFORMAT, "\"threshold\" is missing"},
        {CFG("\"architecture\":\"jumprelu\""), 1, "threshold", NAN, TN_ENUM,
         "\"threshold\" has a number that is not finite"},
        {CFG("\"architecture\":\"jumprelu\""), 1, "threshold", INFINITY, TN_ENUM, "not finite"},
        {CFG("\"architecture\":\"jumprelu\""), 1, "threshold", -1, TN_OK, ""},
        {CFG("\"architecture\":\"gated\""), 1, NULL, 0, TN_EFORMAT, "\"b_gate\" is missing"},
        {CFG("\"architecture\":\"gated\""), 0, "b_gate", 0, TN_EFORMAT, "\"b_mag\" is missing"},
        {CFG("\"architecture\":\"toolongforanyarchitecturethatexists\""), 1, NULL, 0, TN_EFORMAT,
         "longer than"},
        /* before version 6 */
        {CFG("\"hook_point\":\"blocks.4.hook_resid_pre\""), 1, NULL, 0, TN_OK, ""},
        {CFG("\"hook_name\":\"blocks.4.hook_resid_pre\",\"normalize_activations\":false"), 1, NULL, 0, TN_OK,
         ""},
        {CFG("\"hook_name\":\"blocks.4.hook_resid_pre\",\"activation_fn_str\":\"topk\",\"activation_fn_"
             "kwargs\":{\"k\":2}"),
         1, NULL, 0, TN_OK, ""},
        {CFG("\"hook_name\":\"blocks.4.hook_resid_pre\",\"activation_fn_str\":\"topk\""), 1, NULL, 0,
         TN_EFORMAT, "has no \"k\""},
        {CFG("\"hook_name\":\"blocks.4.hook_resid_pre\",\"activation_fn\":\"tanh-relu\""), 1, NULL, 0,
         TN_EUNSUP, "tanh-relu"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sae_model s;
        tn_err e;
        int code = open_with(cases[i].json, cases[i].b_enc, cases[i].extra, cases[i].value, &s, &e);
        CHECK_INT(code, cases[i].code);
        CHECK_HAS(e.msg, cases[i].says);
        if (code == TN_OK) sae_free(&s);
    }
}

static void flat_files(void) {
    sae_model s;
    tn_err e;
    CHECK_INT(open_with(CFG("\"hook_point\":\"blocks.4.hook_resid_pre\",\"activation_fn\":\"topk\","
                            "\"activation_fn_kwargs\":{\"k\":2},\"model_name\":\"m\",\"context_size\":64"),
                        1, NULL, 0, &s, &e),
              TN_OK);
    CHECK_INT(s.cfg.architecture, SAE_TOPK);
    CHECK_INT(s.cfg.k, 2);
    CHECK_STR(s.cfg.hook_name, "blocks.4.hook_resid_pre");
    CHECK_STR(s.cfg.model_name, "m");
    CHECK_INT(s.cfg.context_size, 64);
    sae_free(&s);
}

void test_arch(void) {
    RUN(follow_their_formulas);
    RUN(jumprelu_is_strict);
    RUN(picks_the_largest);
    RUN(finds_the_kth);
    RUN(topk_ties_few_and_nan);
    RUN(refuses_bad_settings);
    RUN(folding_keeps_what_it_computes);
    RUN(rounded_encoders);
    RUN(save_and_open);
    RUN(rescaled_topk);
    RUN(hostile_files);
    RUN(flat_files);
}
