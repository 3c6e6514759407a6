/* Directories of dictionary_learning: files the library wrote, hostile ones, and the way there and back. */
#include "sae/arch.h"
#include "sae/arrays.h"
#include "sae/dictionary_dir.h"
#include "sae/pickle.h"
#include "sae/zip_store.h"
#include "tensor/rng.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN "tests/golden/dictionary/"

static const char *const classes[] = {"AutoEncoder",        "AutoEncoderNew", "GatedAutoEncoder",
                                      "AutoEncoderTopK",    "BatchTopKSAE",   "MatryoshkaBatchTopKSAE",
                                      "JumpReluAutoEncoder"};
enum { N_CLASSES = 7, D = 5, F = 12, N = 8 };

static char out[4096], err[4096];

static void encode(const sae_model *s, const float *x, int n, float *z, float *xhat) {
    void *scratch = malloc(sae_encode_scratch(s, n));
    sae_encode(s, tn_exec_make(NULL, 1), x, n, z, scratch);
    sae_decode(s, tn_exec_make(NULL, 1), z, n, xhat);
    free(scratch);
}

/* The same latents fire, with the same values. */
static void same_latents(const float *got, const float *want, size_t n) {
    for (size_t i = 0; i < n; i++) {
        CHECK((got[i] != 0) == (want[i] != 0));
        CHECK_NEAR(got[i], want[i], 1e-5);
    }
}

/* ---- what the library wrote ---- */

static void classes_give_the_librarys_latents(void) {
    static const struct {
        sae_architecture architecture;
        const char *trained_as;
        int apply;
    } want[N_CLASSES] = {{SAE_STANDARD, "standard", 1},  {SAE_STANDARD, "standard", 0},
                         {SAE_GATED, "gated", 1},        {SAE_TOPK, "topk", 1},
                         {SAE_JUMPRELU, "batchtopk", 1}, {SAE_JUMPRELU, "matryoshka_batchtopk", 1},
                         {SAE_JUMPRELU, "jumprelu", 0}};
    for (int c = 0; c < N_CLASSES; c++) {
        char path[256];
        sae_model s;
        sae_arrays *golden;
        tn_err e = {0};
        float x[N * D], f[N * F], xhat[N * D], z[N * F], mine[N * D];
        snprintf(path, sizeof path, GOLDEN "%s", classes[c]);
        if (!CHECK_INT(sae_open_dir(&s, path, &e), TN_OK)) {
            CHECK_STR(e.msg, "");
            continue;
        }
        CHECK_INT(s.cfg.architecture, want[c].architecture);
        CHECK_STR(s.cfg.trained_as, want[c].trained_as);
        CHECK_INT(s.cfg.apply_b_dec_to_input, want[c].apply);
        CHECK_STR(s.cfg.hook_name, "blocks.4.hook_resid_post");
        CHECK_STR(s.cfg.model_name, "Qwen/Qwen2.5-0.5B");
        CHECK_INT(s.cfg.context_size, 128);
        CHECK_INT(s.cfg.k, want[c].architecture == SAE_TOPK ? 3 : 0);
        snprintf(path, sizeof path, GOLDEN "%s/golden.safetensors", classes[c]);
        if (CHECK_INT(sae_arrays_open_safetensors(&golden, path, &e), TN_OK)) {
            CHECK_INT(sae_array_read(sae_arrays_find(golden, "x"), x, 0, &e), TN_OK);
            CHECK_INT(sae_array_read(sae_arrays_find(golden, "f"), f, 0, &e), TN_OK);
            CHECK_INT(sae_array_read(sae_arrays_find(golden, "xhat"), xhat, 0, &e), TN_OK);
            encode(&s, x, N, z, mine);
            same_latents(z, f, N * F);
            for (int i = 0; i < N * D; i++) CHECK_NEAR(mine[i], xhat[i], 1e-5);
            sae_arrays_close(golden);
        }
        sae_free(&s);
    }
}

/* ---- archives and pickles made here ---- */

/* An archive of stored members, in the order they were added; wide: with zip64's fields for all sizes. */
typedef struct {
    unsigned char bytes[8192], list[2048];
    size_t len, list_len;
    int members, wide;
} archive;

static void put(unsigned char *to, size_t *len, const void *bytes, size_t n) {
    memcpy(to + *len, bytes, n);
    *len += n;
}

static void put_number(unsigned char *to, size_t *len, uint64_t v, int bytes) {
    for (int i = 0; i < bytes; i++) to[(*len)++] = (unsigned char)(i < 8 ? v >> 8 * i : 0);
}

static void add_member(archive *a, const char *name, const void *bytes, size_t n, int method) {
    size_t local = a->len, name_len = strlen(name), at = 0;
    unsigned char head[46] = {0};
    put_number(head, &at, 0x04034b50, 4);
    memset(head + at, 0, sizeof head - at);
    at = 18;
    put_number(head, &at, n, 4);
    put_number(head, &at, n, 4);
    put_number(head, &at, name_len, 2);
    put(a->bytes, &a->len, head, 30);
    put(a->bytes, &a->len, name, name_len);
    put(a->bytes, &a->len, bytes, n);

    memset(head, 0, sizeof head);
    at = 0;
    put_number(head, &at, 0x02014b50, 4);
    at = 10;
    put_number(head, &at, (uint64_t)method, 2);
    at = 20;
    put_number(head, &at, a->wide ? 0xffffffff : n, 4);
    put_number(head, &at, a->wide ? 0xffffffff : n, 4);
    put_number(head, &at, name_len, 2);
    put_number(head, &at, a->wide ? 28 : 0, 2);
    at = 42;
    put_number(head, &at, a->wide ? 0xffffffff : local, 4);
    put(a->list, &a->list_len, head, 46);
    put(a->list, &a->list_len, name, name_len);
    if (a->wide) {
        put_number(a->list, &a->list_len, 1, 2);
        put_number(a->list, &a->list_len, 24, 2);
        put_number(a->list, &a->list_len, n, 8);
        put_number(a->list, &a->list_len, n, 8);
        put_number(a->list, &a->list_len, local, 8);
    }
    a->members++;
}

static void end_archive(archive *a) {
    size_t list = a->len, end64;
    put(a->bytes, &a->len, a->list, a->list_len);
    end64 = a->len;
    if (a->wide) {
        put_number(a->bytes, &a->len, 0x06064b50, 4);
        put_number(a->bytes, &a->len, 44, 8);
        put_number(a->bytes, &a->len, 0, 28);
        put_number(a->bytes, &a->len, a->list_len, 8);
        put_number(a->bytes, &a->len, list, 8);
        put_number(a->bytes, &a->len, 0x07064b50, 4);
        put_number(a->bytes, &a->len, 0, 4);
        put_number(a->bytes, &a->len, end64, 8);
        put_number(a->bytes, &a->len, 1, 4);
    }
    put_number(a->bytes, &a->len, 0x06054b50, 4);
    put_number(a->bytes, &a->len, 0, 8);
    put_number(a->bytes, &a->len, a->wide ? 0xffffffff : a->list_len, 4);
    put_number(a->bytes, &a->len, a->wide ? 0xffffffff : list, 4);
    put_number(a->bytes, &a->len, 0, 2);
}

/* A pickle under way. */
typedef struct {
    unsigned char bytes[65536];
    size_t len;
} pickle;

static void op(pickle *p, const char *bytes) {
    put(p->bytes, &p->len, bytes, strlen(bytes));
}

static void text(pickle *p, const char *s) {
    op(p, "X");
    put_number(p->bytes, &p->len, strlen(s), 4);
    op(p, s);
}

static void number(pickle *p, uint32_t v) {
    op(p, "J");
    put_number(p->bytes, &p->len, v, 4);
}

/* The tensor "w" [2, 3] with these strides and offset, of a storage "0". */
static void put_w(pickle *p, uint32_t offset, uint32_t down, uint32_t right) {
    text(p, "w");
    op(p, "ctorch._utils\n_rebuild_tensor_v2\n((");
    text(p, "storage");
    op(p, "ctorch\nFloatStorage\n");
    text(p, "0");
    text(p, "cpu");
    number(p, 6);
    op(p, "tQ");
    number(p, offset);
    number(p, 2);
    number(p, 3);
    op(p, "\x86");
    number(p, down);
    number(p, right);
    op(p, "\x86\x89"
          "ccollections\nOrderedDict\n)RtR");
}

static void start(pickle *p) {
    p->len = 0;
    op(p, "\x80\x02}(");
}

/* The archive of this pickle and a storage of six floats. */
static void pack(archive *a, const pickle *p, int method) {
    static const float values[6] = {1, 2, 3, 4, 5, 6};
    unsigned char bytes[24];
    for (int i = 0; i < 6; i++) tn_from_f32(bytes + 4 * i, TN_F32, &values[i], 1);
    int wide = a->wide;
    memset(a, 0, sizeof *a);
    a->wide = wide;
    add_member(a, "ae/data.pkl", p->bytes, p->len, 0);
    add_member(a, "ae/byteorder", "little", 6, 0);
    add_member(a, "ae/data/0", bytes, sizeof bytes, method);
    end_archive(a);
}

static void views_have_strides_and_offsets(void) {
    static const struct {
        uint32_t offset, down, right;
        float want[6]; /* 0: refused */
    } cases[] = {
        {0, 3, 1, {1, 2, 3, 4, 5, 6}},
        {0, 1, 2, {1, 3, 5, 2, 4, 6}},
        {1, 3, 1, {0}},
        {0, 4, 1, {0}},
        {0, 0, 1, {1, 2, 3, 1, 2, 3}},
        {6, 0, 0, {0}},
        {0, 0x7fffffff, 0x7fffffff, {0}},
    };
    archive *a = calloc(1, sizeof *a);
    pickle *p = calloc(1, sizeof *p);
    for (size_t c = 0; c < 2 * sizeof cases / sizeof *cases; c++) {
        size_t i = c / 2;
        a->wide = c % 2;
        start(p);
        put_w(p, cases[i].offset, cases[i].down, cases[i].right);
        op(p, "u.");
        pack(a, p, 0);
        sae_arrays *file;
        tn_err e = {0};
        float w[6], turned[6];
        int rc = sae_arrays_open_torch_mem(&file, a->bytes, a->len, &e);
        if (cases[i].want[0] == 0) {
            CHECK_INT(rc, TN_EFORMAT);
            CHECK_HAS(e.msg, "reaches past");
            continue;
        }
        if (!CHECK_INT(rc, TN_OK)) {
            CHECK_STR(e.msg, "");
            continue;
        }
        CHECK_INT(sae_array_read(sae_arrays_find(file, "w"), w, 0, &e), TN_OK);
        CHECK_INT(sae_array_read(sae_arrays_find(file, "w"), turned, 1, &e), TN_OK);
        for (int k = 0; k < 6; k++) {
            CHECK_NEAR(w[k], cases[i].want[k], 0);
            CHECK_NEAR(turned[k % 3 * 2 + k / 3], cases[i].want[k], 0);
        }
        CHECK(!sae_arrays_find(file, "v"));
        sae_arrays_close(file);
    }
    free(a);
    free(p);
}

/* What a pickle may not do, each with the reason it is refused for. */
static void refuses_pickle(const pickle *p, const char *says) {
    sae_pickled *t = malloc(SAE_PICKLE_TENSORS * sizeof *t);
    size_t n;
    tn_err e = {0};
    CHECK(sae_pickle_tensors(p->bytes, p->len, t, &n, &e) != TN_OK);
    CHECK_HAS(e.msg, says);
    free(t);
}

static void hostile_pickles_are_refused(void) {
    pickle *p = calloc(1, sizeof *p);
    start(p);
    op(p, "cos\nsystem\n");
    refuses_pickle(p, "the pickle names os.system");
    start(p);
    op(p, "ctorch._utils_rebuild_tensor_v2\n\n");
    refuses_pickle(p, "the pickle names torch._utils_rebuild_tensor_v2.");
    start(p);
    op(p, "cos");
    refuses_pickle(p, "a name is cut off");
    start(p);
    op(p, "]"); /* a list */
    refuses_pickle(p, "opcode 0x5d");
    start(p);
    op(p, "ios\nsystem\n"); /* INST, which calls */
    refuses_pickle(p, "opcode 0x69");
    start(p);
    op(p, "ccollections\nOrderedDict\n\x81"); /* NEWOBJ */
    refuses_pickle(p, "opcode 0x81");
    p->len = 0;
    op(p, "\x80\x04}.");
    refuses_pickle(p, "another protocol");
    start(p);
    put_w(p, 0, 3, 1);
    op(p, "u");
    refuses_pickle(p, "cut off");
    start(p);
    text(p, "step");
    number(p, 7);
    op(p, "u.");
    refuses_pickle(p, "holds more than tensors: a checkpoint of a run?");
    p->len = 0;
    op(p, "\x80\x02R");
    refuses_pickle(p, "a value is missing");
    start(p);
    op(p, "tt");
    refuses_pickle(p, "a mark is missing");
    start(p);
    op(p, "h\x05");
    refuses_pickle(p, "the memo has no such entry");
    start(p);
    op(p, ")r\xff\xff\xff\xff");
    refuses_pickle(p, "the memo is too long");
    start(p);
    op(p, "X\xff\xff\xff\xff");
    refuses_pickle(p, "a text is cut off");
    start(p);
    op(p, "((((((((u.");
    refuses_pickle(p, "a broken dict");
    start(p);
    number(p, 0x80000000); /* a negative shape */
    op(p, ")R");
    refuses_pickle(p, "no function");
    free(p);
}

/* Tuples of tuples, each twice the last: what would take 2^60 bytes to unfold. */
static void bombs_stay_small(void) {
    pickle *p = calloc(1, sizeof *p);
    start(p);
    op(p, ")q\x01");
    for (int i = 0; i < 60; i++) op(p, "h\x01h\x01\x86q\x01");
    op(p, "0.");
    refuses_pickle(p, "opcode 0x30");
    start(p);
    op(p, ")q\x01");
    for (int i = 0; i < 9000; i++) op(p, "h\x01h\x01\x86q\x01");
    refuses_pickle(p, "too");
    start(p);
    for (int i = 0; i < 5000; i++) op(p, "(");
    refuses_pickle(p, "too much is nested");
    start(p);
    for (int i = 0; i < SAE_PICKLE_TENSORS + 1; i++) put_w(p, 0, 3, 1);
    refuses_pickle(p, "there are too many tensors");
    free(p);
}

static void hostile_archives_are_refused(void) {
    archive *a = calloc(1, sizeof *a);
    pickle *p = calloc(1, sizeof *p);
    sae_arrays *file;
    tn_err e = {0};
    start(p);
    put_w(p, 0, 3, 1);
    op(p, "u.");
    pack(a, p, 8);
    CHECK_INT(sae_arrays_open_torch_mem(&file, a->bytes, a->len, &e), TN_EUNSUP);
    CHECK_HAS(e.msg, "\"ae/data/0\" is compressed");
    CHECK_INT(sae_arrays_open_torch_mem(&file, a->bytes, 0, &e), TN_EFORMAT);
    CHECK_HAS(e.msg, "no end record");
    for (int wide = 0; wide < 2; wide++) {
        a->wide = wide;
        pack(a, p, 0);
        for (size_t n = 0; n < a->len; n++) { /* in a block of that length, so that a step past it is seen */
            unsigned char *cut = malloc(n ? n : 1);
            memcpy(cut, a->bytes, n);
            CHECK(sae_arrays_open_torch_mem(&file, cut, n, &e) != TN_OK);
            free(cut);
        }
    }
    free(a);
    free(p);
}

/* Every byte of a file changed in several ways: an error or other numbers, never a step outside. */
static void damaged_files_do_no_harm(void) {
    static const unsigned char flips[] = {0xff, 0x80, 0x01, 0x28};
    tn_map map;
    if (!CHECK_INT(tn_map_file(&map, GOLDEN "AutoEncoderTopK/ae.pt", NULL), TN_OK)) return;
    unsigned char *copy = malloc(map.size);
    int opened = 0, refused = 0;
    for (size_t at = 0; at < map.size; at++)
        for (size_t i = 0; i < sizeof flips; i++) {
            memcpy(copy, map.data, map.size);
            copy[at] ^= flips[i];
            sae_arrays *file;
            tn_err e = {0};
            if (sae_arrays_open_torch_mem(&file, copy, map.size, &e)) {
                CHECK(e.msg[0] && !strchr(e.msg, '\n'));
                refused++;
                continue;
            }
            opened++;
            for (size_t k = 0; k < sae_arrays_count(file); k++) {
                const sae_array *a = sae_arrays_at(file, k);
                float *v = malloc((a->count + 1) * sizeof *v);
                sae_array_read(a, v, 1, &e);
                free(v);
            }
            sae_arrays_close(file);
        }
    CHECK(opened > 100 && refused > 100);
    free(copy);
    tn_unmap_file(&map);
}

/* ---- directories that disagree with themselves ---- */

/* AutoEncoderTopK's golden with another config.json. */
static void refuses_config(const char *config, const char *says) {
    char command[1024];
    sae_model s;
    tn_err e = {0};
    const char *dir = test_path("dictionary-bad");
    snprintf(command, sizeof command, "rm -rf %s && mkdir -p %s && cp " GOLDEN "AutoEncoderTopK/ae.pt %s",
             dir, dir, dir);
    CHECK_INT(test_shell(command, NULL, 0, NULL, 0), 0);
    snprintf(command, sizeof command, "%s/config.json", dir);
    CHECK_INT(tn_write_file(command, config, strlen(config), &e), TN_OK);
    CHECK(sae_open_dir(&s, dir, &e) != TN_OK);
    CHECK_HAS(e.msg, says);
    CHECK(!s.block);
}

static void mismatches_are_named(void) {
    refuses_config("{}", "has no \"dict_class\"");
    refuses_config("{\"trainer\": {\"dict_class\": \"Transcoder\"}}", "is \"Transcoder\", which is none");
    refuses_config("{\"trainer\": {\"dict_class\": \"AutoEncoderTopK\"}}", "\"activation_dim\" is missing");
#define TOPK(d, f, k)                                                                                        \
    "{\"trainer\": {\"dict_class\": \"AutoEncoderTopK\", \"activation_dim\": " d ", \"dict_size\": " f       \
    ", \"k\": " k "}}"
    refuses_config(TOPK("5", "12", "4"), "tensor \"k\" is 3, but config.json says 4");
    refuses_config(TOPK("5", "12", "99"), "k is 99, it must be between 1 and the 12 latents");
    refuses_config(TOPK("12", "5", "3"), "\"encoder.weight\" has not the shape");
    refuses_config(TOPK("100000000", "100000000", "3"), "\"encoder.weight\" has not the shape");
    refuses_config(
        "{\"trainer\": {\"dict_class\": \"JumpReluAutoEncoder\", \"activation_dim\": 5, \"dict_size\": 12}}",
        "tensor \"W_enc\" is missing");
    refuses_config(
        "{\"trainer\": {\"dict_class\": \"AutoEncoder\", \"activation_dim\": 5, \"dict_size\": 12}}",
        "tensor \"bias\" is missing");
}

/* ---- there and back ---- */

static sae_model make(sae_architecture a, int apply) {
    sae_config cfg = {
        .d_in = D, .d_sae = F, .apply_b_dec_to_input = apply, .architecture = a, .k = a == SAE_TOPK ? 3 : 0};
    strcpy(cfg.hook_name, "blocks.7.hook_mlp_out");
    strcpy(cfg.model_name, "some/model");
    cfg.context_size = 64;
    sae_model s;
    tn_rng rng = tn_rng_seed(4);
    CHECK_INT(sae_new(&s, &cfg, NULL), TN_OK);
    sae_vector v[SAE_MAX_VECTORS];
    int n = sae_arch_of(a)->vectors(&s, v);
    for (int i = 0; i < D * F; i++) s.w_enc[i] = 0.5f * tn_rng_normal(&rng);
    for (int i = 0; i < D * F; i++) s.w_dec[i] = 0.5f * tn_rng_normal(&rng);
    for (int i = 0; i < D; i++) s.b_dec[i] = 0.3f * tn_rng_normal(&rng);
    for (int j = 0; j < n; j++)
        for (int i = 0; i < F; i++) (*v[j].data)[i] = 0.2f * tn_rng_normal(&rng);
    for (int i = 0; s.threshold && i < F; i++) s.threshold[i] = 0.1f + fabsf(s.threshold[i]);
    if (a == SAE_STANDARD && apply) sae_fold_decoder_norm(&s); /* which the library does on loading */
    return s;
}

/* What sae train noted goes to the other layout and back, and an SAE of others gets no note. */
static void the_note_goes_along(void) {
    sae_model s = make(SAE_TOPK, 1);
    CHECK_INT(sae_save_dir(&s, TEST_TMP "/noted", "{\"seed\": 42, \"text\": \"a \\\"b\\\"\"}", NULL), TN_OK);
    CHECK_INT(sae_save_dir(&s, TEST_TMP "/unnoted", NULL, NULL), TN_OK);
    sae_free(&s);
    CHECK_INT(test_shell(
                  "cd " TEST_TMP " && for n in noted unnoted; do "
                  "$OLDPWD/" BUILD_DIR "/sae convert -s $n -o $n-dl --format dictionary_learning && "
                  "$OLDPWD/" BUILD_DIR "/sae convert -s $n-dl -o $n-back && "
                  "$OLDPWD/" BUILD_DIR "/sae convert -s $n -o $n-same && "
                  "cmp $n/cfg.json $n-same/cfg.json || exit 1; done; "
                  "grep '\"scalpel_training\": {\"seed\": 42, \"text\": \"a .\"b.\"\"}' noted-dl/config.json "
                  "noted-back/cfg.json && ! grep scalpel_training unnoted*/*.json",
                  NULL, 0, err, sizeof err),
              0);
    CHECK_STR(err, "");
}

static void every_architecture_there_and_back(void) {
    for (int a = SAE_STANDARD; a <= SAE_GATED; a++)
        for (int apply = 0; apply < 2; apply++) {
            sae_model s = make((sae_architecture)a, apply), back;
            tn_err e = {0};
            float x[N * D], z[N * F], z2[N * F], xhat[N * D];
            tn_rng rng = tn_rng_seed(9);
            const char *dir = test_path("dictionary"), *lens = test_path("lens");
            char command[1024];
            for (int i = 0; i < N * D; i++) x[i] = 2 * tn_rng_normal(&rng);
            CHECK_INT(test_shell("rm -rf " TEST_TMP "/dictionary " TEST_TMP "/lens", NULL, 0, NULL, 0), 0);
            CHECK_INT(sae_dictionary_save(&s, dir, NULL, &e), TN_OK);
            snprintf(command, sizeof command, BUILD_DIR "/sae convert -s %s -o %s --format saelens", dir,
                     lens);
            if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 0)) CHECK_STR(err, "");
            CHECK_HAS(out, "5 -> 12 latents on blocks.7.hook_mlp_out");
            if (!CHECK_INT(sae_open_dir(&back, lens, &e), TN_OK)) CHECK_STR(e.msg, "");
            CHECK_INT(back.cfg.architecture, a);
            CHECK_INT(back.cfg.k, a == SAE_TOPK ? 3 : 0);
            CHECK_STR(back.cfg.model_name, "some/model");
            CHECK_INT(back.cfg.context_size, 64);
            encode(&s, x, N, z, xhat);
            encode(&back, x, N, z2, xhat);
            same_latents(z2, z, N * F);
            sae_free(&s);
            sae_free(&back);
        }
}

static void the_command_says_what_is_wrong(void) {
    CHECK_INT(test_shell(BUILD_DIR "/sae convert -s " GOLDEN "BatchTopKSAE -o " TEST_TMP "/x --format onnx",
                         NULL, 0, err, sizeof err),
              1);
    CHECK_HAS(err, "--format is saelens or dictionary_learning");
    CHECK_INT(test_shell(BUILD_DIR "/sae convert -s " GOLDEN " -o " TEST_TMP "/x", NULL, 0, err, sizeof err),
              1);
    CHECK_HAS(err, "cfg.json: No such file");
}

void test_dictionary(void) {
    RUN(classes_give_the_librarys_latents);
    RUN(views_have_strides_and_offsets);
    RUN(hostile_pickles_are_refused);
    RUN(bombs_stay_small);
    RUN(hostile_archives_are_refused);
    RUN(damaged_files_do_no_harm);
    RUN(mismatches_are_named);
    RUN(every_architecture_there_and_back);
    RUN(the_note_goes_along);
    RUN(the_command_says_what_is_wrong);
}
