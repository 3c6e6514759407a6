/* Batched runs: every item's tokens and residuals are those it has alone, whatever the batch, the chunk, the
 * threads and the company; and the ways a run ends. */
#include "qwen/batch.h"
#include "tests/models.h"

static tn_err err;

enum { ITEMS = 11, CONTEXT = 40, LONGEST = 32, SHARED = 20, MAX_NEW = 10, MOST_SEQS = 7 };

/* Residuals at every layer and site of one sequence. */
typedef struct {
    float *x;           /* [layers, QWEN_SITE_COUNT, CONTEXT, d] */
    int calls[CONTEXT]; /* rows seen of each position at the first layer's first site */
} trace;

typedef struct {
    int32_t prompt[LONGEST], answer[MAX_NEW];
    int n_prompt, n_answer, fed;
    qwen_finish finish;
    uint64_t seed;
    trace rows;
} story;

typedef struct {
    qwen_model *model;
    int d, layers;
    qwen_sampling sampling;
    int32_t stops[2];
    story alone[ITEMS];
    trace seqs[MOST_SEQS]; /* what hooks have seen of the item in each sequence */
    /* of the running comparison */
    int shared, replayed;
    int done[ITEMS];
} fixture;

static size_t trace_floats(const fixture *f) {
    return (size_t)f->layers * QWEN_SITE_COUNT * CONTEXT * (size_t)f->d;
}

static float *row_of(const fixture *f, const trace *t, int layer, int site, int pos) {
    return t->x + (((size_t)layer * QWEN_SITE_COUNT + (size_t)site) * CONTEXT + (size_t)pos) * (size_t)f->d;
}

static int watch(void *ctx, const qwen_tap *t) {
    fixture *f = ctx;
    for (int i = 0; i < t->n; i++) {
        trace *to = &f->seqs[t->seq[i]];
        if (t->layer == 0 && t->site == QWEN_RESID_PRE) to->calls[t->pos[i]]++;
        memcpy(row_of(f, to, t->layer, (int)t->site, t->pos[i]), t->x + (size_t)i * (size_t)t->d,
               (size_t)t->d * sizeof *t->x);
    }
    return 0;
}

static qwen_state *open_state(fixture *f, int sequences, int chunk, int threads, int hooked) {
    qwen_opts o = {.exec = tn_exec_make(NULL, threads),
                   .context = CONTEXT,
                   .chunk = chunk,
                   .sequences = sequences,
                   .logit_rows = sequences};
    qwen_state *s;
    qwen_hook hooks[QWEN_SITE_COUNT];
    for (int i = 0; i < QWEN_SITE_COUNT; i++)
        hooks[i] = (qwen_hook){(qwen_site)i, 0, f->layers - 1, watch, f};
    if (!CHECK_INT(qwen_state_new(&s, f->model, &o, &err), TN_OK)) printf("  %s\n", err.msg);
    CHECK_INT(qwen_set_hooks(s, hooks, hooked ? QWEN_SITE_COUNT : 0, &err), TN_OK);
    return s;
}

static int keep(void *ctx, int32_t token) {
    story *a = ctx;
    a->answer[a->n_answer++] = token;
    return 0;
}

/* The definition: one by one, with qwen_generate. */
static void write_alone(fixture *f) {
    int vocab = qwen_model_config(f->model)->vocab;
    size_t bytes = qwen_sampler_bytes(vocab);
    void *block = malloc(bytes);
    qwen_sampler sampler;
    qwen_state *s = open_state(f, 1, CONTEXT, 1, 1);
    const qwen_gen_opts gen = {MAX_NEW, f->stops, 2};
    CHECK_INT(qwen_sampler_init(&sampler, &f->sampling, vocab, block, bytes, &err), TN_OK);
    for (int i = 0; i < ITEMS; i++) {
        story *a = &f->alone[i];
        a->n_answer = 0;
        qwen_rewind(s, 0);
        qwen_sampler_reset(&sampler, a->seed);
        CHECK_INT(qwen_generate(s, &sampler, a->prompt, a->n_prompt, &gen, 1, keep, a, &a->finish, &err),
                  TN_OK);
        a->fed = qwen_position(s) - a->n_prompt;
        memcpy(a->rows.x, f->seqs[0].x, trace_floats(f) * sizeof(float));
        memset(f->seqs[0].calls, 0, sizeof f->seqs[0].calls);
    }
    free(block);
    qwen_state_free(s);
}

static int answers_with(const fixture *f, qwen_finish finish, int full) {
    int n = 0;
    for (int i = 0; i < ITEMS; i++)
        n += f->alone[i].finish == finish && (f->alone[i].n_prompt + f->alone[i].fed == CONTEXT) == full;
    return n;
}

/* Prompts that begin alike: number 1 is the beginning of number 0, number 2 is number 0 again, number 3 has
 * nothing in common, the last one nearly fills the context. */
static void open_fixture(fixture *f, qwen_model *model) {
    const qwen_config *c = qwen_model_config(model);
    tn_rng r = tn_rng_seed(11);
    memset(f, 0, sizeof *f);
    f->model = model;
    f->d = c->hidden;
    f->layers = c->layers;
    f->sampling = (qwen_sampling){.temperature = 1.5f, .top_k = 0, .top_p = 0.95f, .repeat_penalty = 1.1f};
    for (int i = 0; i < MOST_SEQS; i++) f->seqs[i].x = malloc(trace_floats(f) * sizeof(float));
    for (int i = 0; i < ITEMS; i++) {
        story *a = &f->alone[i];
        a->rows.x = malloc(trace_floats(f) * sizeof(float));
        a->seed = qwen_item_seed(5, (uint64_t)i);
        a->n_prompt = i == ITEMS - 1 ? LONGEST : i == 1 ? 9 : SHARED + 1 + (i * 5) % 7;
        for (int p = 0; p < LONGEST; p++) a->prompt[p] = (int32_t)tn_rng_below(&r, (uint64_t)c->vocab);
        if (i && i != 3) memcpy(a->prompt, f->alone[0].prompt, SHARED * sizeof(int32_t));
        if (i == 2) f->alone[2] = (story){.rows = a->rows, .seed = a->seed};
        if (i == 2) memcpy(a->prompt, f->alone[0].prompt, sizeof a->prompt);
        if (i == 2) a->n_prompt = f->alone[0].n_prompt;
    }
    f->stops[0] = f->stops[1] = -1;
    write_alone(f);
    f->stops[0] = f->alone[4].answer[3]; /* now some end early */
    f->stops[1] = f->alone[7].answer[0];
    write_alone(f);
    CHECK(answers_with(f, QWEN_FINISH_STOP, 0) >= 2);
    CHECK(answers_with(f, QWEN_FINISH_LENGTH, 0) >= 2);
    CHECK(answers_with(f, QWEN_FINISH_LENGTH, 1) >= 1);
}

static void close_fixture(fixture *f) {
    for (int i = 0; i < MOST_SEQS; i++) free(f->seqs[i].x);
    for (int i = 0; i < ITEMS; i++) free(f->alone[i].rows.x);
    qwen_close(f->model);
}

/* Every row that hooks saw is the one seen alone; each was seen once, but for prompts that may be shared. */
static int same_rows(const fixture *f, const story *a, trace *got) {
    int same = 1;
    for (int p = 0; p < a->n_prompt + a->fed; p++) {
        int free_to_miss = f->shared && p < a->n_prompt - 1;
        if (got->calls[p] > 1 || (got->calls[p] == 0 && !free_to_miss)) same = 0;
        for (int l = 0; l < f->layers && got->calls[p]; l++)
            for (int site = 0; site < QWEN_SITE_COUNT; site++)
                same &= !memcmp(row_of(f, got, l, site, p), row_of(f, &a->rows, l, site, p),
                                (size_t)f->d * sizeof(float));
    }
    for (int p = a->n_prompt + a->fed; p < CONTEXT; p++) same &= got->calls[p] == 0;
    return same;
}

static int compare(void *ctx, const qwen_done *d, tn_err *e) {
    (void)e;
    fixture *f = ctx;
    const story *a = &f->alone[d->index];
    f->done[d->index]++;
    int replayed = f->replayed && d->index % 2;
    if (CHECK_INT(d->n, replayed ? 0 : a->n_answer) && !replayed) {
        CHECK(!memcmp(d->tokens, a->answer, (size_t)d->n * sizeof *d->tokens));
        CHECK_INT(d->finish, a->finish);
    }
    CHECK(same_rows(f, a, &f->seqs[d->seq]));
    memset(f->seqs[d->seq].calls, 0, sizeof f->seqs[d->seq].calls);
    return TN_OK;
}

static void make_items(const fixture *f, qwen_item *items) {
    for (int i = 0; i < ITEMS; i++) {
        const story *a = &f->alone[i];
        items[i] = (qwen_item){a->prompt, a->n_prompt, a->answer, a->fed, f->replayed && i % 2, a->seed};
    }
}

static void run_batch(fixture *f, int sequences, int chunk, int threads) {
    qwen_item items[ITEMS];
    const qwen_batch_opts o = {
        .gen = {MAX_NEW, f->stops, 2}, .feed_last = 1, .sampling = f->sampling, .share_prefixes = f->shared};
    make_items(f, items);
    memset(f->done, 0, sizeof f->done);
    qwen_state *s = open_state(f, sequences, chunk, threads, 1);
    int good = CHECK_INT(qwen_batch_run(s, items, ITEMS, &o, compare, f, &err), TN_OK);
    for (int i = 0; i < ITEMS; i++) good &= CHECK_INT(f->done[i], 1);
    if (!good) printf("  %d sequences, chunks of %d, %d threads: %s\n", sequences, chunk, threads, err.msg);
    qwen_state_free(s);
}

static void company_changes_nothing(void) {
    static const int batches[] = {1, 2, 3, MOST_SEQS}, chunks[] = {1, 5, 64};
    static fixture f;
    open_fixture(&f, open_golden("gqa2-odd-vocab"));
    for (int b = 0; b < 4; b++)
        for (int c = 0; c < 3; c++)
            for (int threads = 1; threads <= 3; threads++)
                for (f.shared = 0; f.shared < 2; f.shared++)
                    for (f.replayed = 0; f.replayed < 2; f.replayed++)
                        run_batch(&f, batches[b], chunks[c], threads);
    close_fixture(&f);
}

static void the_embedded_model_keeps_every_bit(void) {
    static fixture f;
    qwen_model *m;
    if (!CHECK_INT(qwen_open_dir(&m, "models/vehicles-4m", &err), TN_OK)) return;
    open_fixture(&f, m);
    run_batch(&f, 3, 5, 2);
    f.shared = 1;
    run_batch(&f, MOST_SEQS, 64, 2);
    close_fixture(&f);
}

/* ---- The order of the work ---- */

typedef struct {
    int passes, rows, widest;
    size_t order[ITEMS];
    int seqs[ITEMS], n;
    int fail_at; /* return a code when so many items are finished */
} tally;

static int count_rows(void *ctx, const qwen_tap *t) {
    tally *c = ctx;
    c->passes++;
    c->rows += t->n;
    if (t->n > c->widest) c->widest = t->n;
    return 0;
}

static int note_done(void *ctx, const qwen_done *d, tn_err *e) {
    tally *c = ctx;
    c->order[c->n] = d->index;
    c->seqs[c->n++] = d->seq;
    return c->n == c->fail_at ? tn_fail(e, TN_EIO, "the disk is full") : TN_OK;
}

static tally tallied(fixture *f, const qwen_item *items, int count, int sequences, int share, int fail_at) {
    tally c = {.fail_at = fail_at};
    const qwen_hook hook = {QWEN_RESID_PRE, 0, 0, count_rows, &c};
    const qwen_batch_opts o = {.gen = {4, NULL, 0}, .sampling = f->sampling, .share_prefixes = share};
    qwen_state *s = open_state(f, sequences, 64, 1, 0);
    CHECK_INT(qwen_set_hooks(s, &hook, 1, &err), TN_OK);
    CHECK_INT(qwen_batch_run(s, items, (size_t)count, &o, note_done, &c, &err), fail_at ? TN_EIO : TN_OK);
    qwen_state_free(s);
    return c;
}

static void slots_are_refilled_at_once(void) {
    static fixture f;
    qwen_item items[ITEMS];
    open_fixture(&f, open_golden("gqa2-odd-vocab"));
    make_items(&f, items);

    /* Prompts of one token and answers of four (the fourth is not fed) take four passes each: five of them in
     * two slots take three times four, none with more than two rows. */
    for (int i = 0; i < 5; i++) items[i].n_prompt = 1;
    tally c = tallied(&f, items, 5, 2, 0, 0);
    CHECK_INT(c.passes, 12);
    CHECK_INT(c.rows, 20);
    CHECK_INT(c.widest, 2);
    for (int i = 0; i < 5; i++) CHECK(c.order[i] == (size_t)i && c.seqs[i] == i % 2);

    /* One that is finished sooner is replaced while the other goes on. */
    items[0] = (qwen_item){.prompt = f.alone[0].prompt, .n_prompt = 1, .replay = 1};
    c = tallied(&f, items, 3, 2, 0, 0);
    CHECK_INT(c.passes, 5);
    CHECK(c.order[0] == 0 && c.order[1] == 1 && c.order[2] == 2 && c.seqs[2] == 0);

    /* A callback's error ends the run. */
    c = tallied(&f, items, 3, 2, 0, 2);
    CHECK_INT(c.n, 2);
    CHECK_STR(err.msg, "the disk is full");
    c = tallied(&f, items, 0, 2, 0, 0);
    CHECK_INT(c.passes, 0);
    close_fixture(&f);
}

static void shared_beginnings_are_computed_once(void) {
    static fixture f;
    qwen_item all[ITEMS], items[6];
    open_fixture(&f, open_golden("gqa2-odd-vocab"));
    make_items(&f, all);
    static const int which[] = {0, 0, 4,
                                4, 5, 6}; /* a prompt that comes again has but its last token to do */
    int apart = 0, together = 0;
    for (int i = 0; i < 6; i++) {
        items[i] = all[which[i]];
        int again = i == 1 || i == 3;
        apart += items[i].n_prompt + 3;
        together += items[i].n_prompt + 3 - (again ? items[i].n_prompt - 1 : i ? SHARED : 0);
    }
    CHECK_INT(tallied(&f, items, 6, 3, 0, 0).rows, apart);
    CHECK_INT(tallied(&f, items, 6, 3, 1, 0).rows, together);
    CHECK_INT(tallied(&f, items, 6, 1, 1, 0).rows, together);
    close_fixture(&f);
}

/* ---- How a run fails ---- */

static void failures_leave_a_usable_state(void) {
    static fixture f;
    qwen_item items[ITEMS];
    open_fixture(&f, open_golden("gqa2-odd-vocab"));
    make_items(&f, items);
    qwen_state *s = open_state(&f, 3, 8, 1, 0);
    const qwen_batch_opts o = {
        .gen = {MAX_NEW, f.stops, 2}, .feed_last = 1, .sampling = f.sampling, .share_prefixes = 1};
    probe p = {.row_pos = -1, .abort_at_pos = 23, .code = 1};
    const qwen_hook stop = {QWEN_RESID_MID, 1, 1, probe_hook, &p};
    CHECK_INT(qwen_set_hooks(s, &stop, 1, &err), TN_OK);
    CHECK_INT(qwen_batch_run(s, items, ITEMS, &o, NULL, NULL, &err), TN_ESTOP);
    CHECK_STR(err.msg, "the hook at blocks.1.hook_resid_mid stopped the forward pass");

    qwen_hook hooks[QWEN_SITE_COUNT];
    for (int i = 0; i < QWEN_SITE_COUNT; i++)
        hooks[i] = (qwen_hook){(qwen_site)i, 0, f.layers - 1, watch, &f};
    CHECK_INT(qwen_set_hooks(s, hooks, QWEN_SITE_COUNT, &err), TN_OK);
    f.shared = 1;
    CHECK_INT(qwen_batch_run(s, items, ITEMS, &o, compare, &f, &err), TN_OK);

    items[2].n_prompt = CONTEXT + 1;
    CHECK_INT(qwen_batch_run(s, items, ITEMS, &o, NULL, NULL, &err), TN_ECTX);
    CHECK_STR(err.msg, "prompt 3: 41 tokens of prompt and 0 of answer do not fit in the context of 40");
    items[2].n_prompt = LONGEST;
    items[2].replay = 1;
    items[2].n_answer = CONTEXT - LONGEST + 1;
    CHECK_INT(qwen_batch_run(s, items, ITEMS, &o, NULL, NULL, &err), TN_ECTX);
    items[2].n_prompt = 0;
    CHECK_INT(qwen_batch_run(s, items, ITEMS, &o, NULL, NULL, &err), TN_EARG);
    CHECK_STR(err.msg, "prompt 3: the prompt is empty");
    items[2] = items[1];
    f.alone[1].prompt[0] = 101;
    CHECK_INT(qwen_batch_run(s, items, ITEMS, &o, NULL, NULL, &err), TN_EARG);
    CHECK_STR(err.msg, "prompt 2: token id 101 is out of range: the vocabulary has ids 0 to 100");
    qwen_state_free(s);

    qwen_opts narrow = {.exec = tn_exec_make(NULL, 1), .context = 8, .chunk = 4, .sequences = 3};
    CHECK_INT(qwen_state_new(&s, f.model, &narrow, &err), TN_OK);
    CHECK_INT(qwen_batch_run(s, items, 1, &o, NULL, NULL, &err), TN_EARG);
    CHECK_STR(err.msg, "a batch of 3 sequences needs as many rows of logits, the state has 1");
    qwen_state_free(s);
    CHECK_INT(qwen_batch_sequences(f.model, 100, 5), 5);
    CHECK_INT(qwen_batch_sequences(f.model, 100, 500), 32);
    CHECK_INT(qwen_batch_sequences(f.model, 2000000000, 500), 1);
    close_fixture(&f);
}

void test_batch_run(void) {
    RUN(company_changes_nothing);
    RUN(the_embedded_model_keeps_every_bit);
    RUN(slots_are_refilled_at_once);
    RUN(shared_beginnings_are_computed_once);
    RUN(failures_leave_a_usable_state);
}
