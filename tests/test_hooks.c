/* Hooks: their names, what they see, what their edits change, and how they stop a forward pass. */
#include "tests/models.h"

static tn_err err;

static void hook_names(void) {
    char name[48];
    int layer;
    qwen_site site;
    qwen_hook_name(name, sizeof name, 15, QWEN_RESID_POST);
    CHECK_STR(name, "blocks.15.hook_resid_post");
    CHECK(qwen_hook_parse(name, &layer, &site) && layer == 15 && site == QWEN_RESID_POST);
    CHECK(qwen_hook_parse("blocks.0.hook_attn_out", &layer, &site) && layer == 0 && site == QWEN_ATTN_OUT);
    static const char *const wrong[] = {"",
                                        "blocks",
                                        "blocks.",
                                        "blocks..hook_resid_post",
                                        "blocks.-1.hook_resid_post",
                                        "blocks.01.hook_resid_post",
                                        "blocks.1.hook_resid",
                                        "blocks.1.hook_resid_post2",
                                        "blocks.1.resid_post",
                                        "blocks.99999999999.hook_resid_post",
                                        "Blocks.1.hook_resid_post"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (!CHECK(!qwen_hook_parse(wrong[i], &layer, &site))) printf("  %s\n", wrong[i]);
    CHECK(qwen_site_from_name("mlp_out", &site) && site == QWEN_MLP_OUT);
    CHECK(!qwen_site_from_name("mlp", &site));
    CHECK_STR(qwen_site_name(QWEN_RESID_MID), "resid_mid");
}

/* Logits [20, vocab] of 20 tokens with one hook (site, layer, p); NULL p = no hook. */
static void hooked_run(const qwen_model *m, probe *p, qwen_site site, int layer, float *logits) {
    int32_t tokens[20];
    const float *got;
    qwen_hook h = {site, layer, layer, probe_hook, p};
    qwen_state *s = new_state(m, tn_kernels_select(NULL), 1, 20, 20);
    make_tokens(tokens, 20, qwen_model_config(m)->vocab);
    CHECK_INT(qwen_set_hooks(s, &h, p ? 1 : 0, &err), TN_OK);
    if (CHECK_INT(qwen_forward(s, tokens, 20, QWEN_ALL_LOGITS, &got, &err), TN_OK))
        memcpy(logits, got, 20 * (size_t)qwen_model_config(m)->vocab * sizeof *got);
    qwen_state_free(s);
}

static void hooks_change_what_follows(void) {
    qwen_model *m = open_golden("gqa1-tied");
    size_t vocab = (size_t)qwen_model_config(m)->vocab;
    float *plain = malloc(20 * vocab * sizeof *plain), *other = malloc(20 * vocab * sizeof *other);
    hooked_run(m, NULL, QWEN_RESID_PRE, 0, plain);
    for (int layer = 0; layer < 2; layer++)
        for (int site = 0; site < QWEN_SITE_COUNT; site++) {
            probe identity = {.row_pos = -1}, edit = {.row_pos = 12, .add = 0.5f};
            hooked_run(m, &identity, (qwen_site)site, layer, other);
            CHECK_INT(identity.calls, 1);
            CHECK(!memcmp(plain, other, 20 * vocab * sizeof *plain));
            hooked_run(m, &edit, (qwen_site)site, layer, other);
            /* Positions before the edit cannot know of it; the edited one does. */
            CHECK(!memcmp(plain, other, 12 * vocab * sizeof *plain));
            CHECK(memcmp(plain + 12 * vocab, other + 12 * vocab, vocab * sizeof *plain) != 0);
            /* Later ones see it through attention, unless it comes after the last attention. */
            int later = memcmp(plain + 13 * vocab, other + 13 * vocab, vocab * sizeof *plain) != 0;
            CHECK_INT(later, layer == 0 || site == QWEN_RESID_PRE);
        }
    free(plain);
    free(other);
    qwen_close(m);
}

typedef struct {
    int order[8], n;
} call_log;
typedef struct {
    call_log *log;
    int id;
} logger;

static int log_call(void *ctx, const qwen_tap *t) {
    const logger *l = ctx;
    if (t->layer == 1) l->log->order[l->log->n++] = l->id;
    return 0;
}

static void hooks_run_in_order_and_see_positions(void) {
    qwen_model *m = open_golden("gqa1-tied");
    qwen_state *s = new_state(m, tn_kernels_select(NULL), 1, 40, 8);
    const int32_t tokens[5] = {3, 1, 4, 1, 5};
    call_log log = {.n = 0};
    logger a = {&log, 1}, b = {&log, 2}, c = {&log, 3};
    const qwen_hook three[] = {{QWEN_RESID_POST, 0, 1, log_call, &a},
                               {QWEN_RESID_PRE, 1, 1, log_call, &b},
                               {QWEN_RESID_POST, 1, 1, log_call, &c}};
    CHECK_INT(qwen_set_hooks(s, three, 3, &err), TN_OK);
    CHECK_INT(qwen_forward(s, tokens, 5, 0, NULL, &err), TN_OK);
    CHECK_INT(log.n, 3);
    CHECK(log.order[0] == 2 && log.order[1] == 1 && log.order[2] == 3);

    probe p = {.row_pos = -1};
    const qwen_hook one = {QWEN_MLP_OUT, 1, 1, probe_hook, &p};
    CHECK_INT(qwen_set_hooks(s, &one, 1, &err), TN_OK);
    qwen_forward(s, tokens + 2, 1, 0, NULL, &err);
    CHECK_INT(log.n, 3); /* the earlier hooks are gone */
    CHECK_INT(p.generated, 0);
    CHECK_INT(p.last_pos0, 5);
    CHECK_INT(p.first_token, 4);
    qwen_set_prompt_length(s, 6);
    qwen_forward(s, tokens, 1, 0, NULL, &err);
    CHECK_INT(p.generated, 1);
    CHECK_INT(p.last_pos0, 6);
    qwen_state_free(s);
    qwen_close(m);
}

static void aborting_leaves_the_timeline(void) {
    int32_t tokens[30];
    qwen_model *m = open_golden("llama");
    size_t vocab = (size_t)qwen_model_config(m)->vocab;
    const tn_kernels *k = tn_kernels_select(NULL);
    make_tokens(tokens, 30, qwen_model_config(m)->vocab);
    recording whole = run(m, k, 1, 30, tokens, 30);
    qwen_state *s = new_state(m, k, 1, 40, 8);
    const float *logits;
    probe p = {.row_pos = -1, .abort_at_pos = 25, .code = 5};
    const qwen_hook h = {QWEN_RESID_MID, 1, 1, probe_hook, &p};
    CHECK_INT(qwen_forward(s, tokens, 10, 0, NULL, &err), TN_OK);
    CHECK_INT(qwen_set_hooks(s, &h, 1, &err), TN_OK);
    CHECK_INT(qwen_forward(s, tokens + 10, 20, 0, &logits, &err), TN_ESTOP); /* in the second chunk */
    CHECK_STR(err.msg, "the hook at blocks.1.hook_resid_mid stopped the forward pass");
    CHECK(logits == NULL);
    CHECK_INT(p.rows_seen, 16);
    CHECK_INT(qwen_position(s), 10);
    p.code = TN_ENUM; /* a hook's own code comes through */
    CHECK_INT(qwen_forward(s, tokens + 10, 20, 0, &logits, &err), TN_ENUM);
    CHECK_INT(qwen_position(s), 10);
    CHECK_INT(qwen_set_hooks(s, NULL, 0, &err), TN_OK);
    CHECK_INT(qwen_forward(s, tokens + 10, 20, 0, &logits, &err), TN_OK);
    CHECK(!memcmp(logits, whole.logits + 29 * vocab, vocab * sizeof *logits));
    qwen_state_free(s);
    free_recording(&whole);
    qwen_close(m);
}

static void refuses_wrong_hooks(void) {
    qwen_model *m = open_golden("gqa2-odd-vocab");
    qwen_state *s = new_state(m, tn_kernels_select(NULL), 1, 8, 4);
    probe p = {.calls = 0};
    static const struct {
        int site, first, last;
        const char *says;
    } wrong[] = {{QWEN_RESID_POST, 2, 2, "layer 2 is out of range: the model has layers 0 to 1"},
                 {QWEN_RESID_POST, 0, 9, "layer 9 is out of range"},
                 {QWEN_RESID_POST, -1, 1, "layer -1 is out of range"},
                 {QWEN_RESID_POST, 1, 0, "first layer 1 is after its last layer 0"},
                 {QWEN_SITE_COUNT, 0, 0, "hook site 5 is unknown"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        qwen_hook h = {(qwen_site)wrong[i].site, wrong[i].first, wrong[i].last, probe_hook, &p};
        CHECK_INT(qwen_set_hooks(s, &h, 1, &err), TN_EARG);
        CHECK_HAS(err.msg, wrong[i].says);
    }
    qwen_hook none = {QWEN_RESID_POST, 0, 0, NULL, NULL};
    CHECK_INT(qwen_set_hooks(s, &none, 1, &err), TN_EARG);
    CHECK_INT(qwen_set_hooks(s, &none, QWEN_MAX_HOOKS + 1, &err), TN_EARG);
    qwen_state_free(s);
    qwen_close(m);
}

void test_hooks(void) {
    RUN(hook_names);
    RUN(hooks_change_what_follows);
    RUN(hooks_run_in_order_and_see_positions);
    RUN(aborting_leaves_the_timeline);
    RUN(refuses_wrong_hooks);
}
