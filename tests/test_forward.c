/* The forward pass: HF's residuals and logits at every layer and site, the same bits however positions are
 * chunked and threads are used, and every refusal. */
#include "tests/models.h"

#include <limits.h>

static tn_err err;

/* ---- Against the oracle ---- */

static void compare(const tn_safetensors *golden, const char *name, const float *got, size_t n,
                    const char *where) {
    const tn_tensor *t = tn_st_find(golden, name);
    float *want = malloc(n * sizeof *want);
    if (CHECK(t && t->count == n && !tn_to_f32(want, t->data, t->dtype, n)) &&
        !CHECK(test_rel_error(got, want, n) <= 1e-5))
        printf("  %s: %s differs by %.2e\n", where, name, test_rel_error(got, want, n));
    free(want);
}

static void compare_golden(const char *name, const tn_kernels *k) {
    char path[160], where[96];
    int32_t tokens[128];
    tn_safetensors *golden = NULL;
    qwen_model *m = open_golden(name);
    snprintf(path, sizeof path, GOLDEN "%s/golden.safetensors", name);
    snprintf(where, sizeof where, "%s, %s kernels", name, k->name);
    CHECK_INT(tn_st_open_file(&golden, path, &err), TN_OK);
    const tn_tensor *t = golden ? tn_st_find(golden, "tokens") : NULL;
    if (m && CHECK(t && t->dtype == TN_I32 && t->count <= 128)) {
        int n = (int)t->count;
        for (int i = 0; i < n; i++) tokens[i] = (int32_t)tn_load_u32((const char *)t->data + 4 * i);
        recording r = run(m, k, 1, n, tokens, n);
        for (int l = 0; l < r.layers; l++)
            for (int site = 0; site < QWEN_SITE_COUNT; site++) {
                char hook[48];
                qwen_hook_name(hook, sizeof hook, l, (qwen_site)site);
                compare(golden, hook, site_of(&r, l, (qwen_site)site), (size_t)n * (size_t)r.d, where);
            }
        compare(golden, "logits", r.logits, logit_count(&r), where);
        free_recording(&r);
    }
    tn_st_close(golden);
    qwen_close(m);
}

static void goldens_match_at_every_site(void) {
    static const char *const names[] = {"gqa1-tied", "gqa2-odd-vocab", "gqa7-bf16", "wide-heads-f16",
                                        "sharded",   "llama",          "yarn",      "yarn-nested"};
    const tn_kernels *k;
    for (int tier = 0; (k = tn_kernels_at(tier)); tier++)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) compare_golden(names[i], k);
}

/* ---- Against itself ---- */

static void chunks_and_threads_give_the_same_bits(void) {
    static const char *const names[] = {"gqa7-bf16", "wide-heads-f16", "llama"};
    static const int chunks[] = {1, 7, 64, LONG}, threads[] = {1, 2, 4};
    const tn_kernels *k;
    int32_t tokens[LONG];
    for (int tier = 0; (k = tn_kernels_at(tier)); tier++)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            qwen_model *m = open_golden(names[i]);
            if (!m) continue;
            make_tokens(tokens, LONG, qwen_model_config(m)->vocab);
            recording first = run(m, k, 1, LONG, tokens, LONG);
            for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++)
                for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
                    recording r = run(m, k, threads[t], chunks[c], tokens, LONG);
                    if (!CHECK(same_bits(&r, &first)))
                        printf("  %s, %s kernels, chunks of %d, %d threads\n", names[i], k->name, chunks[c],
                               threads[t]);
                    free_recording(&r);
                }
            free_recording(&first);
            qwen_close(m);
        }
}

/* A call longer than the chunk is cut up inside; only the last position has logits. */
static void long_calls_are_cut_into_chunks(void) {
    int32_t tokens[LONG];
    qwen_model *m = open_golden("gqa2-odd-vocab");
    const tn_kernels *k = tn_kernels_select(NULL);
    make_tokens(tokens, LONG, qwen_model_config(m)->vocab);
    recording whole = run(m, k, 1, LONG, tokens, LONG);
    size_t vocab = (size_t)whole.vocab;
    qwen_state *s = new_state(m, k, 2, LONG, 9);
    const float *logits;
    CHECK_INT(qwen_forward(s, tokens, LONG, 0, &logits, &err), TN_OK);
    CHECK(!memcmp(logits, whole.logits + (LONG - 1) * vocab, vocab * sizeof *logits));
    CHECK_INT(qwen_position(s), LONG);

    qwen_rewind(s, 0);
    CHECK_INT(qwen_forward(s, tokens, 30, QWEN_NO_LOGITS, &logits, &err), TN_OK);
    CHECK(logits == NULL);
    CHECK_INT(qwen_forward(s, tokens + 30, 1, 0, NULL, &err), TN_OK);
    CHECK_INT(qwen_forward(s, tokens + 31, 9, QWEN_ALL_LOGITS, &logits, &err), TN_OK);
    CHECK(!memcmp(logits, whole.logits + 31 * vocab, 9 * vocab * sizeof *logits));

    qwen_rewind(s, 20); /* what lies beyond is overwritten, not remembered */
    CHECK_INT(qwen_position(s), 20);
    qwen_rewind(s, 25);
    CHECK_INT(qwen_position(s), 20);
    CHECK_INT(qwen_forward(s, tokens + 20, 5, 0, &logits, &err), TN_OK);
    CHECK(!memcmp(logits, whole.logits + 24 * vocab, vocab * sizeof *logits));
    qwen_state_free(s);
    free_recording(&whole);
    qwen_close(m);
}

/* ---- Refusals ---- */

static void refuses_wrong_calls(void) {
    qwen_model *m = open_golden("gqa2-odd-vocab");
    qwen_state *s = new_state(m, tn_kernels_select(NULL), 1, 8, 4);
    const int32_t good[9] = {0, 100, 1, 2, 3, 4, 5, 6, 7}, high[2] = {5, 101}, low[2] = {-1, 5};
    const float *logits = (const float *)&err;
    CHECK_INT(qwen_forward(s, good, 9, 0, &logits, &err), TN_ECTX);
    CHECK_STR(err.msg, "9 tokens at position 0 do not fit in the context of 8");
    CHECK(logits == NULL);
    CHECK_INT(qwen_forward(s, good, INT_MAX, 0, NULL, &err), TN_ECTX);
    CHECK_INT(qwen_forward(s, good, 0, 0, NULL, &err), TN_EARG);
    CHECK_INT(qwen_forward(s, high, 2, 0, NULL, &err), TN_EARG);
    CHECK_STR(err.msg, "token id 101 is out of range: the vocabulary has ids 0 to 100");
    CHECK_INT(qwen_forward(s, low, 2, 0, NULL, &err), TN_EARG);
    CHECK_STR(err.msg, "token id -1 is out of range: the vocabulary has ids 0 to 100");
    CHECK_INT(qwen_forward(s, good, 1, QWEN_ALL_LOGITS | QWEN_NO_LOGITS, NULL, &err), TN_EARG);
    CHECK_INT(qwen_forward(s, good, 1, 64, NULL, &err), TN_EARG);
    CHECK_INT(qwen_position(s), 0);
    CHECK_INT(qwen_forward(s, good, 8, 0, NULL, &err), TN_OK);
    CHECK_INT(qwen_forward(s, good, 1, 0, NULL, &err), TN_ECTX);
    CHECK_STR(err.msg, "1 tokens at position 8 do not fit in the context of 8");
    qwen_state_free(s);
    qwen_close(m);
}

static void state_fits_its_block_exactly(void) {
    qwen_model *m = open_golden("gqa7-bf16");
    const int32_t tokens[40] = {1, 2, 3};
    qwen_opts o = {
        .exec = {.k = tn_kernels_select(NULL), .threads = 2}, .context = 40, .chunk = 64, .logit_rows = 40};
    qwen_state *s;
    size_t need = qwen_state_bytes(m, &o);
    CHECK(need > 0);
    for (size_t shift = 0; shift < 3; shift++) { /* the block may start at any address */
        char *block = malloc(need + shift);
        CHECK_INT(qwen_state_init(&s, m, &o, block + shift, need - 1, &err), TN_ENOMEM);
        CHECK_HAS(err.msg, "the state needs ");
        CHECK(s == NULL);
        CHECK_INT(qwen_state_init(&s, m, &o, block + shift, need, &err), TN_OK);
        CHECK_INT(qwen_state_opts(s)->chunk, 40);
        CHECK_INT(qwen_forward(s, tokens, 40, QWEN_ALL_LOGITS, NULL, &err), TN_OK);
        free(block);
    }
    static const struct {
        int threads, context, chunk;
        const char *says;
    } wrong[] = {{0, 40, 8, "threads is 0, expected 1 to 1024"},
                 {1, 0, 8, "the context is 0"},
                 {1, 129, 8, "a context of 129 is more than the model's 128 positions"},
                 {1, 40, 0, "the chunk is 0"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        qwen_opts bad = {{o.exec.k, wrong[i].threads, NULL}, wrong[i].context, wrong[i].chunk, 1, 1};
        CHECK_INT(qwen_state_bytes(m, &bad), 0);
        CHECK_INT(qwen_state_new(&s, m, &bad, &err), TN_EARG);
        CHECK_HAS(err.msg, wrong[i].says);
    }
    o.exec.k = NULL;
    CHECK_INT(qwen_state_new(&s, m, &o, &err), TN_EARG);
    qwen_close(m);
}

/* Nothing the forward pass is made of refers to an allocator, a file or a clock. */
static void forward_allocates_nothing(void) {
    char out[8192];
    CHECK_INT(test_shell("for o in forward attention rope hooks matmul linear par dtype kernels_scalar; do "
                         "ar p " BUILD_DIR "/libscalpel.a $o.o > " TEST_TMP "/part.o && "
                         "nm -u " TEST_TMP "/part.o || exit 2; done",
                         out, sizeof out, NULL, 0),
              0);
    CHECK_HAS(out, "qwen_attention"); /* nm did print something */
    static const char *const banned[] = {" U malloc", " U calloc", " U realloc", " U free",
                                         " U fopen",  " U open",   " U mmap",    " U clock"};
    for (size_t i = 0; i < sizeof banned / sizeof *banned; i++)
        if (!CHECK(!strstr(out, banned[i]))) printf("  %s\n", banned[i]);
}

static void weights_must_fit_the_config(void) {
    static const struct {
        const char *name, *config, *says;
        int code;
    } cases[] = {
        {"gqa1-tied", "\"tie_word_embeddings\": false",
         "tensor \"lm_head.weight\" is missing, and config.json does not say", TN_EFORMAT},
        {"gqa1-tied", "\"vocab_size\": 97",
         "tensor \"model.embed_tokens.weight\" has shape [96, 32], expected [97, 32]", TN_ESHAPE},
        {"gqa1-tied", "\"num_key_value_heads\": 2",
         "tensor \"model.layers.0.self_attn.k_proj.weight\" has shape", TN_ESHAPE},
        {"gqa1-tied", "\"num_hidden_layers\": 3", "\"model.layers.2.input_layernorm.weight\"", TN_EFORMAT},
        {"llama", "\"model_type\": \"qwen2\"", "\"model.layers.0.self_attn.q_proj.bias\"", TN_EFORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char dir[128], path[160], config[4096];
        tn_map map;
        tn_safetensors *weights;
        qwen_model *m;
        snprintf(dir, sizeof dir, GOLDEN "%s", cases[i].name);
        snprintf(path, sizeof path, "%s/config.json", dir);
        CHECK_INT(tn_map_file(&map, path, &err), TN_OK);
        size_t end = map.size;
        while (end > 0 && ((const char *)map.data)[end - 1] != '}') end--;
        snprintf(config, sizeof config, "%.*s, %s}", (int)(end - 1), (const char *)map.data, cases[i].config);
        tn_unmap_file(&map);
        CHECK_INT(tn_st_open_dir(&weights, dir, &err), TN_OK);
        CHECK_INT(qwen_open_mem(&m, config, strlen(config), NULL, 0, weights, "test", &err), cases[i].code);
        CHECK_HAS(err.msg, cases[i].says);
        CHECK(m == NULL);
        tn_st_close(weights);
    }
    qwen_model *m;
    CHECK_INT(qwen_open_dir(&m, "tests/golden/forward/absent", &err), TN_EIO);
    CHECK_STR(err.msg, "tests/golden/forward/absent/config.json: No such file or directory");
    m = open_golden("sharded");
    CHECK_STR(qwen_model_name(m), "sharded");
    CHECK_INT(qwen_model_head(m).rows, 64);
    qwen_close(m);
}

void test_forward(void) {
    RUN(goldens_match_at_every_site);
    RUN(chunks_and_threads_give_the_same_bits);
    RUN(long_calls_are_cut_into_chunks);
    RUN(refuses_wrong_calls);
    RUN(state_fits_its_block_exactly);
    RUN(forward_allocates_nothing);
    RUN(weights_must_fit_the_config);
}
