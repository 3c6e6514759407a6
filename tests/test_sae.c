/* The SAE model and its SAELens directory. */
#include "sae/sae.h"
#include "sae/round.h"
#include "tensor/rng.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define D 3
#define F 5

static sae_model make(int d, int f, int apply_b_dec) {
    sae_config cfg = {.d_in = d, .d_sae = f, .apply_b_dec_to_input = apply_b_dec, .context_size = 77};
    strcpy(cfg.model_name, "some/model");
    strcpy(cfg.hook_name, "blocks.15.hook_resid_post");
    sae_model s;
    CHECK_INT(sae_new(&s, &cfg, NULL), TN_OK);
    size_t total = 2 * (size_t)d * (size_t)f + (size_t)f + (size_t)d;
    for (size_t i = 0; i < total; i++) s.block[i] = (float)((double)((i * 37 + 11) % 101) / 50 - 1);
    return s;
}

static void refuses_bad_widths(void) {
    sae_model s;
    tn_err e = {0};
    sae_config cfg = {.d_in = 4, .d_sae = 0};
    CHECK_INT(sae_new(&s, &cfg, &e), TN_EARG);
    CHECK_HAS(e.msg, "4 -> 0");
    cfg.d_sae = -3;
    CHECK_INT(sae_new(&s, &cfg, &e), TN_EARG);
    cfg = (sae_config){.d_in = 0, .d_sae = 4};
    CHECK_INT(sae_new(&s, &cfg, &e), TN_EARG);
    CHECK(s.block == NULL);
}

static void layer_of_the_hook(void) {
    sae_model s = {0};
    strcpy(s.cfg.hook_name, "blocks.15.hook_resid_post");
    CHECK_INT(sae_layer(&s), 15);
    strcpy(s.cfg.hook_name, "blocks.x.hook");
    CHECK_INT(sae_layer(&s), -1);
    strcpy(s.cfg.hook_name, "");
    CHECK_INT(sae_layer(&s), -1);
}

/* encode and decode against the two lines of sae.h in double. */
static void encode_decode_follow_the_formula(void) {
    tn_exec ex = tn_exec_make(NULL, 2);
    for (int apply = 0; apply < 2; apply++) {
        sae_model s = make(D, F, apply);
        float x[2 * D] = {0.3f, -1.2f, 0.7f, 2.0f, 0.1f, -0.4f}, z[2 * F], xhat[2 * D];
        void *scratch = malloc(sae_encode_scratch(&s, 2));
        sae_encode(&s, ex, x, 2, z, scratch);
        sae_decode(&s, ex, z, 2, xhat);
        int active = 0;
        for (int r = 0; r < 2; r++) {
            double want_x[D];
            for (int k = 0; k < D; k++) want_x[k] = (double)s.b_dec[k];
            for (int i = 0; i < F; i++) {
                double pre = (double)s.b_enc[i];
                for (int k = 0; k < D; k++)
                    pre += ((double)x[r * D + k] - (apply ? (double)s.b_dec[k] : 0)) *
                           (double)s.w_enc[i * D + k];
                double want = pre > 0 ? pre : 0;
                CHECK_NEAR(z[r * F + i], want, 1e-6);
                active += want > 0;
                for (int k = 0; k < D; k++) want_x[k] += want * (double)s.w_dec[i * D + k];
            }
            for (int k = 0; k < D; k++) CHECK_NEAR(xhat[r * D + k], want_x[k], 1e-5);
        }
        CHECK(active > 0 && active < 2 * F);
        free(scratch);
        sae_free(&s);
    }
}

/* W_enc = [I, -I], W_dec = [I; -I]: relu(x) - relu(-x) = x. */
static void identity_sae(void) {
    tn_exec ex = tn_exec_make(NULL, 1);
    sae_config cfg = {.d_in = D, .d_sae = 2 * D};
    sae_model s;
    CHECK_INT(sae_new(&s, &cfg, NULL), TN_OK);
    for (int k = 0; k < D; k++) {
        s.w_enc[k * D + k] = s.w_dec[k * D + k] = 1;
        s.w_enc[(D + k) * D + k] = s.w_dec[(D + k) * D + k] = -1;
    }
    float x[D] = {0.25f, -3.5f, 1e-3f}, z[2 * D], xhat[D];
    void *scratch = malloc(sae_encode_scratch(&s, 1));
    sae_encode(&s, ex, x, 1, z, scratch);
    sae_decode(&s, ex, z, 1, xhat);
    for (int k = 0; k < D; k++) CHECK_NEAR(xhat[k], x[k], 0);
    free(scratch);
    sae_free(&s);
}

/* A BF16 encoder gives what an F32 one gives whose weights were rounded to BF16; the decoder stays. */
static void rounded_encoder(void) {
    tn_exec ex = tn_exec_make(NULL, 1);
    sae_model s = make(D, F, 1), want = make(D, F, 1);
    tn_err e = {0};
    float x[D] = {0.3f, -1.2f, 0.7f}, z[F], want_z[F];
    for (int i = 0; i < F * D; i++) want.w_enc[i] = tn_bf16_to_f32(tn_f32_to_bf16(want.w_enc[i]));
    CHECK_INT(sae_round_encoder(&s, "bf16", 1, &e), TN_OK);
    void *scratch = malloc(sae_encode_scratch(&s, 1));
    sae_encode(&s, ex, x, 1, z, scratch);
    sae_encode(&want, ex, x, 1, want_z, scratch);
    CHECK(memcmp(z, want_z, sizeof z) == 0);
    CHECK_INT(sae_round_encoder(&s, "q5", 1, &e), TN_EARG);
    free(scratch);
    sae_free(&s);
    sae_free(&want);
}

/* In 8 bits the latents stay close to the exact ones, and are the same bits however many threads rounded. */
static void encoder_in_8_bits(void) {
    enum { WIDTH = 70, LATENTS = 301 };
    static float x[WIDTH], want[LATENTS], z[2][LATENTS];
    tn_rng r = tn_rng_seed(3);
    sae_model s[2];
    tn_err e = {0};
    for (int k = 0; k < WIDTH; k++) x[k] = tn_rng_normal(&r);
    for (int t = 0; t < 2; t++) {
        s[t] = make(WIDTH, LATENTS, 0);
        tn_rng weights = tn_rng_seed(4);
        for (int i = 0; i < WIDTH * LATENTS; i++) s[t].w_enc[i] = 0.1f * tn_rng_normal(&weights);
        void *scratch = malloc(sae_encode_scratch(&s[t], 1));
        sae_encode(&s[t], tn_exec_make(NULL, 1), x, 1, want, scratch);
        CHECK_INT(sae_round_encoder(&s[t], "q8", 1 + 2 * t, &e), TN_OK);
        sae_encode(&s[t], tn_exec_make(NULL, 1), x, 1, z[t], scratch);
        free(scratch);
        sae_free(&s[t]);
    }
    double error = 0, size = 0;
    for (int i = 0; i < LATENTS; i++) {
        error += pow((double)z[0][i] - (double)want[i], 2);
        size += pow((double)want[i], 2);
    }
    CHECK(size > 1 && error < 1e-4 * size && error > 0);
    CHECK(memcmp(z[0], z[1], sizeof want) == 0);
}

static void encode_keeps_nan(void) {
    tn_exec ex = tn_exec_make(NULL, 1);
    sae_model s = make(D, F, 0);
    float x[D] = {NAN, 0, 0}, z[F];
    void *scratch = malloc(sae_encode_scratch(&s, 1));
    sae_encode(&s, ex, x, 1, z, scratch);
    CHECK(isnan(z[0]));
    free(scratch);
    sae_free(&s);
}

static void same_bits_for_any_threads(void) {
    enum { d = 37, f = 150, n = 9 };
    sae_model s = make(d, f, 1);
    float *x = malloc(n * d * sizeof *x);
    void *scratch = malloc(sae_encode_scratch(&s, n));
    float *z = malloc(n * f * sizeof *z), *z2 = malloc(n * f * sizeof *z);
    float *xhat = malloc(n * d * sizeof *x), *xhat2 = malloc(n * d * sizeof *x);
    for (int i = 0; i < n * d; i++) x[i] = sinf((float)i);
    sae_encode(&s, tn_exec_make(NULL, 1), x, n, z, scratch);
    sae_decode(&s, tn_exec_make(NULL, 1), z, n, xhat);
    for (int threads = 2; threads <= 4; threads++) {
        sae_encode(&s, tn_exec_make(NULL, threads), x, n, z2, scratch);
        sae_decode(&s, tn_exec_make(NULL, threads), z, n, xhat2);
        CHECK(memcmp(z, z2, n * f * sizeof *z) == 0);
        CHECK(memcmp(xhat, xhat2, n * d * sizeof *x) == 0);
    }
    for (int r = 0; r < n; r++) { /* a row alone gives the same bits */
        sae_encode(&s, tn_exec_make(NULL, 1), x + r * d, 1, z2, scratch);
        CHECK(memcmp(z + r * f, z2, f * sizeof *z) == 0);
    }
    free(x), free(scratch), free(z), free(z2), free(xhat), free(xhat2);
    sae_free(&s);
}

/* ---- the directory ---- */

static void save_and_open(void) {
    sae_model s = make(D, F, 0), back;
    tn_err e = {0};
    const char *dir = test_path("sae-dir");
    if (!CHECK_INT(sae_save_dir(&s, dir, "{\"seed\": 7}", &e), TN_OK)) CHECK_STR(e.msg, "");
    if (!CHECK_INT(sae_open_dir(&back, dir, &e), TN_OK)) {
        CHECK_STR(e.msg, "");
        return;
    }
    CHECK_INT(back.cfg.d_in, D);
    CHECK_INT(back.cfg.d_sae, F);
    CHECK_INT(back.cfg.apply_b_dec_to_input, 0);
    CHECK_INT(back.cfg.context_size, 77);
    CHECK_INT(back.cfg.architecture, SAE_STANDARD);
    CHECK_STR(back.cfg.model_name, "some/model");
    CHECK_STR(back.cfg.hook_name, "blocks.15.hook_resid_post");
    CHECK(memcmp(s.block, back.block, (2 * D * F + D + F) * sizeof(float)) == 0);
    sae_free(&back);
    sae_free(&s);
}

static void write_config(const char *dir, const char *json) {
    char path[512];
    tn_make_dirs(dir, NULL);
    tn_path_join(path, sizeof path, dir, "cfg.json", NULL);
    tn_write_file(path, json, strlen(json), NULL);
}

#define CFG(rest) "{\"d_in\":2,\"d_sae\":3,\"dtype\":\"float32\"" rest "}"
#define STANDARD ",\"architecture\":\"standard\""

/* Weights as SAELens lays them out, in any order and type; one may be turned, left out or added. */
typedef struct {
    int turned, missing, extra;
    tn_dtype dtype;
} variant;

static void write_weights(const char *dir, variant v) {
    static const float w_enc[6] = {1, 2, 3, 4, 5, 6}, w_dec[6] = {-1, -2, -3, -4, -5, -6},
                       b[3] = {0.5f, -0.25f, 8};
    tn_tensor_spec specs[5];
    const float *data[5];
    int n = 0;
    if (!v.missing) specs[n] = (tn_tensor_spec){"b_enc", v.dtype, 1, {3}}, data[n++] = b;
    specs[n] = (tn_tensor_spec){"W_enc", v.dtype, 2, {v.turned ? 3 : 2, v.turned ? 2 : 3}}, data[n++] = w_enc;
    specs[n] = (tn_tensor_spec){"b_dec", v.dtype, 1, {2}}, data[n++] = b;
    specs[n] = (tn_tensor_spec){"W_dec", v.dtype, 2, {3, 2}}, data[n++] = w_dec;
    if (v.extra) specs[n] = (tn_tensor_spec){"threshold", v.dtype, 1, {3}}, data[n++] = b;
    char path[512];
    unsigned char bytes[64] = {0};
    tn_st_writer *w;
    tn_path_join(path, sizeof path, dir, "sae_weights.safetensors", NULL);
    CHECK_INT(tn_st_create(&w, path, specs, (size_t)n, NULL, 0, NULL), TN_OK);
    for (int i = 0; i < n; i++) {
        size_t count = specs[i].shape[0] * (specs[i].rank == 2 ? specs[i].shape[1] : 1);
        tn_from_f32(bytes, v.dtype, data[i], count); /* an integer type keeps zeros */
        tn_st_write(w, bytes, count * tn_dtype_size(v.dtype));
    }
    CHECK_INT(tn_st_finish(w, NULL), TN_OK);
}

static int open_variant(const char *json, variant v, tn_err *e) {
    const char *dir = test_path("sae-variant");
    write_config(dir, json);
    write_weights(dir, v);
    sae_model s;
    int rc = sae_open_dir(&s, dir, e);
    if (rc == TN_OK) {
        CHECK_NEAR(s.w_enc[0 * 2 + 1], 4, 0); /* latent 0, input 1 = W_enc[1, 0] */
        CHECK_NEAR(s.w_enc[2 * 2 + 0], 3, 0);
        CHECK_NEAR(s.w_dec[1 * 2 + 0], -3, 0);
        CHECK_NEAR(s.b_enc[2], 8, 0);
        CHECK_INT(s.cfg.apply_b_dec_to_input, 1);
        sae_free(&s);
    } else {
        CHECK(s.block == NULL);
    }
    return rc;
}

static void reads_other_dtypes(void) {
    tn_err e = {0};
    CHECK_INT(open_variant(CFG(STANDARD), (variant){.dtype = TN_F32}, &e), TN_OK);
    CHECK_INT(open_variant(CFG(STANDARD), (variant){.dtype = TN_F16}, &e), TN_OK);
    CHECK_INT(open_variant(CFG(STANDARD), (variant){.dtype = TN_BF16}, &e), TN_OK);
}

static void strict_weights(void) {
    tn_err e = {0};
    CHECK_INT(open_variant(CFG(STANDARD), (variant){.dtype = TN_F32, .missing = 1}, &e), TN_EFORMAT);
    CHECK_HAS(e.msg, "b_enc");
    CHECK_INT(open_variant(CFG(STANDARD), (variant){.dtype = TN_F32, .extra = 1}, &e), TN_EFORMAT);
    CHECK_HAS(e.msg, "threshold");
    CHECK_INT(open_variant(CFG(STANDARD), (variant){.dtype = TN_F32, .turned = 1}, &e), TN_ESHAPE);
    CHECK_HAS(e.msg, "W_enc");
    CHECK_INT(open_variant(CFG(STANDARD), (variant){.dtype = TN_I32}, &e), TN_ESHAPE);
    CHECK_HAS(e.msg, "I32");
}

static void strict_config(void) {
    static const struct {
        const char *json;
        int code;
        const char *says;
    } cases[] = {
        {CFG(""), TN_EFORMAT, "architecture"},
        {CFG(",\"architecture\":\"temporal\""), TN_EUNSUP, "architecture \"temporal\" is not supported"},
        {CFG(",\"architecture\":\"batchtopk\""), TN_EUNSUP, "save it with save_inference_model"},
        {CFG(STANDARD ",\"normalize_activations\":\"layer_norm\""), TN_EUNSUP, "layer_norm"},
        {CFG(STANDARD ",\"reshape_activations\":\"hook_z\""), TN_EUNSUP, "hook_z"},
        {CFG(STANDARD ",\"apply_b_dec_to_input\":3"), TN_EFORMAT, "apply_b_dec_to_input"},
        {"{\"architecture\":\"standard\",\"d_in\":2}", TN_EFORMAT, "d_sae"},
        {"{\"architecture\":\"standard\",\"d_in\":2,\"d_sae\":0}", TN_EFORMAT, "d_sae"},
        {"{\"architecture\":\"standard\",\"d_in\":2,\"d_sae\":99999999999}", TN_EFORMAT, "d_sae"},
        {"{\"architecture\":\"standard\",\"d_in\":2,\"d_sae\":2000000000}", TN_ESHAPE, "W_enc"},
        {"[]", TN_EFORMAT, "object"},
        {"{\"architecture\":", TN_EFORMAT, "cfg.json"},
        {CFG(STANDARD ",\"apply_b_dec_to_input\":true,\"normalize_activations\":\"none\",\"other\":[1]"),
         TN_OK, ""},
        {CFG(STANDARD ",\"normalize_activations\":\"expected_average_only_in\""), TN_OK, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tn_err e = {0};
        CHECK_INT(open_variant(cases[i].json, (variant){.dtype = TN_F32}, &e), cases[i].code);
        CHECK_HAS(e.msg, cases[i].says);
    }
}

static void missing_directory(void) {
    sae_model s;
    tn_err e = {0};
    CHECK_INT(sae_open_dir(&s, test_path("no-such-sae"), &e), TN_EIO);
    CHECK_HAS(e.msg, "no-such-sae/cfg.json");
}

static void weights_must_be_finite(void) {
    tn_err e = {0};
    sae_model s, back;
    sae_config cfg = {.d_in = 3, .d_sae = 2, .hook_name = "blocks.0.hook_resid_post"};
    CHECK_INT(sae_new(&s, &cfg, &e), TN_OK);
    const char *dir = TEST_TMP "/infinite", *weights = TEST_TMP "/infinite/sae_weights.safetensors";
    test_shell("rm -rf " TEST_TMP "/infinite", NULL, 0, NULL, 0);
    s.b_dec[1] = INFINITY;
    CHECK_INT(sae_save_dir(&s, dir, NULL, &e), TN_ENUM);
    CHECK_HAS(e.msg, "b_dec is not finite, nothing is written");
    CHECK(!tn_file_exists(dir));
    s.b_dec[1] = 4321.0f; /* a sound file, then spoilt: the bytes of 4321 become an infinity's */
    CHECK_INT(sae_save_dir(&s, dir, NULL, &e), TN_OK);
    sae_free(&s);
    tn_map map;
    CHECK_INT(tn_map_file(&map, weights, &e), TN_OK);
    unsigned char *bytes = malloc(map.size), sound[4], infinite[4];
    tn_store_u32(sound, 0x45870800u), tn_store_u32(infinite, 0x7f800000u);
    memcpy(bytes, map.data, map.size);
    size_t at = 0, size = map.size;
    while (at + 4 < size && memcmp(bytes + at, sound, 4) != 0) at++;
    memcpy(bytes + at, infinite, 4);
    tn_unmap_file(&map);
    CHECK_INT(tn_write_file(weights, bytes, size, &e), TN_OK);
    free(bytes);
    CHECK_INT(sae_open_dir(&back, dir, &e), TN_ENUM);
    CHECK_HAS(e.msg, "tensor \"b_dec\" has a number that is not finite");
}

void test_sae(void) {
    RUN(refuses_bad_widths);
    RUN(layer_of_the_hook);
    RUN(encode_decode_follow_the_formula);
    RUN(identity_sae);
    RUN(encode_keeps_nan);
    RUN(rounded_encoder);
    RUN(encoder_in_8_bits);
    RUN(weights_must_be_finite);
    RUN(same_bits_for_any_threads);
    RUN(save_and_open);
    RUN(reads_other_dtypes);
    RUN(strict_weights);
    RUN(strict_config);
    RUN(missing_directory);
}
