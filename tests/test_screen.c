/* Screening: the bound holds, and training with it gives the bits of training without it. */
#include "sae/round.h"
#include "sae/train_internal.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* D ends within a group of columns and within a register, F within a block of rows. */
enum { D = 150, F = 530, N = 80 };

/* Rows that are hard to round or to tell apart. */
typedef enum {
    RANDOM,
    OUTLIER,
    EQUAL_LATENTS,
    NEAR_TIES,
    ZEROS,
    DENORMAL,
    SMALL,
    LARGE,
    HUGE_NUMBERS,
    NEGATIVE,
    KINDS
} kind;

static void fill(kind which, float *x, float *w) {
    tn_rng rng = tn_rng_seed(11 + (uint64_t)which);
    for (int i = 0; i < N * D; i++) x[i] = tn_rng_normal(&rng);
    for (int i = 0; i < F * D; i++) w[i] = tn_rng_normal(&rng) / 12;
    float scale = which == DENORMAL       ? 1e-41f
                  : which == SMALL        ? 1e-20f
                  : which == LARGE        ? 1e12f
                  : which == HUGE_NUMBERS ? 1e19f
                  : which == NEGATIVE     ? -30.0f
                                          : 1.0f;
    for (int i = 0; i < N * D; i++) x[i] *= scale;
    for (int b = 0; b < N && which == OUTLIER; b++) x[b * D + 77] = b % 2 ? 3e4f : -3e4f;
    for (int i = 0; i < F * D && which == EQUAL_LATENTS; i++) w[i] = w[i % D];
    /* copies of ten latents, a digit in the last place apart */
    for (int i = 10; i < F && which == NEAR_TIES; i++)
        for (int k = 0; k < D; k++) w[i * D + k] = nextafterf(w[i % 10 * D + k], i % 3 ? 9 : -9);
    for (int i = 0; i < F && which == ZEROS; i += 2) memset(w + i * D, 0, D * sizeof *w);
    for (int b = 0; b < N && which == ZEROS; b += 3) memset(x + b * D, 0, D * sizeof *x);
}

/* |p - y| <= a |w| + b |w - w~|, in one tier and form. */
static void check_bound(const tn_kernels *k, sae_screen_form form) {
    enum { LDY = (F + TN_Q_ROWS - 1) / TN_Q_ROWS * TN_Q_ROWS };
    float *x = malloc((N + F) * D * sizeof *x), *w = x + N * D, *y = malloc(2 * N * LDY * sizeof *y),
          *p = y + N * LDY;
    size_t size = 1 << 20;
    void *memory = malloc(size);
    for (kind which = RANDOM; which < LARGE; which++) {
        sae_screen s;
        sae_screen_rows rows;
        sae_screen_room room;
        tn_arena a = tn_arena_on(memory, size);
        sae_screen_take(&s, &a, k, form, F, D);
        sae_screen_take_rows(&rows, &a, form, N, D);
        sae_screen_take_room(&room, &a, D);
        CHECK(!a.failed);
        fill(which, x, w);
        for (size_t i = 0; i < F; i++) sae_screen_copy(&s, i, w + i * D, &room);
        for (size_t b = 0; b < N; b++) sae_screen_row(&s, &rows, b, x + b * D);
        sae_screen_product(&s, y, LDY, &rows, N, 0, F);
        k->matmul_f32(p, LDY, x, D, w, D, N, F, D, NULL);
        double worst = 0, widest = 0;
        for (size_t b = 0; b < N; b++)
            for (size_t i = 0; i < F; i++) {
                double bound = (double)rows.a[b] * (double)s.norm[i] + (double)rows.b[b] * (double)s.loss[i];
                double off = fabs((double)p[b * LDY + i] - (double)y[b * LDY + i]);
                worst = fmax(worst, off / bound);
                widest = fmax(widest, bound / ((double)rows.b[b] * (double)s.norm[i]));
            }
        CHECK(worst <= 1);
        if (which != RANDOM) continue;
        CHECK(worst > 0.05);                                 /* it is no wild guess … */
        CHECK(widest < (form == SAE_IN_BF16 ? 0.01 : 0.05)); /* … and tells latents apart */
        /* a row has the same bits among few and among many */
        for (size_t n = 1; n < N; n = 2 * n + 1) {
            sae_screen_rows last = sae_screen_rows_from(&rows, N - n);
            sae_screen_product(&s, p, LDY, &last, n, TN_Q_ROWS, F - TN_Q_ROWS);
            for (size_t b = 0; b < n; b++)
                CHECK(memcmp(p + b * LDY, y + (N - n + b) * LDY + TN_Q_ROWS, (F - TN_Q_ROWS) * sizeof *p) ==
                      0);
        }
    }
    free(memory);
    free(y);
    free(x);
}

static void bound_holds(void) {
    for (int tier = 0; tn_kernels_at(tier); tier++) {
        const tn_kernels *k = tn_kernels_at(tier);
        CHECK((k->round_pairs == NULL) == (k->matmul_pairs == NULL));
        check_bound(k, SAE_IN_8_BITS);
        if (sae_screen_form_for(k) == SAE_IN_BF16) check_bound(k, SAE_IN_BF16);
    }
}

typedef struct {
    sae_model model;
    sae_trainer *trainer;
} pair;

/* The trainer points into *p. */
static void start(pair *p, sae_train_kind arch, sae_screen_use screen, const char *isa, int threads,
                  const float *w) {
    sae_train_opts o = sae_train_defaults();
    o.arch = arch;
    o.batch = N;
    o.k = 9;
    o.lr = 0.01f;
    o.l1 = 0.01f;
    o.bandwidth = 0.2f;
    o.init_threshold = 0.3f;
    o.dead_window = 2;
    o.screen = screen;
    sae_config cfg = {.d_in = D, .d_sae = F, .apply_b_dec_to_input = 1};
    sae_train_config(&o, &cfg);
    tn_err e = {0};
    CHECK_INT(sae_new(&p->model, &cfg, &e), TN_OK);
    sae_init_params(&p->model, &o);
    memcpy(p->model.w_enc, w, F * D * sizeof *w);
    memcpy(p->model.w_dec, w, F * D * sizeof *w);
    for (int i = 0; i < F; i++) {
        p->model.w_dec[i * D] += 0.1f; /* none is all zeros */
        if (p->model.b_enc) p->model.b_enc[i] = -0.02f * (float)(i % 100);
        if (p->model.b_gate) p->model.b_gate[i] = -0.02f * (float)(i % 100);
    }
    CHECK_INT(sae_trainer_new(&p->trainer, &p->model, &o, tn_exec_make(isa, threads), &e), TN_OK);
}

static void stop(pair *p) {
    sae_trainer_free(p->trainer);
    sae_free(&p->model);
}

static int same_lists(const sae_trainer *a, const sae_trainer *b) {
    for (size_t r = 0; r < N; r++) {
        size_t n = a->lists.n_of_row[r];
        if (n != b->lists.n_of_row[r]) return 0;
        if (memcmp(a->lists.of_row + r * a->lists.room, b->lists.of_row + r * b->lists.room,
                   n * sizeof(sae_entry)))
            return 0;
    }
    return 1;
}

/* One forward pass of every architecture on every kind of data, in every tier. */
static void same_active_set(void) {
    float *x = malloc((N + F) * D * sizeof *x), *w = x + N * D;
    for (int tier = 0; tn_kernels_at(tier); tier++)
        for (int arch = SAE_TRAIN_RELU; arch <= SAE_TRAIN_MATRYOSHKA; arch++)
            for (kind which = RANDOM; which < KINDS; which++) {
                const char *isa = tn_kernels_at(tier)->name;
                sae_metrics m[2];
                fill(which, x, w);
                pair dense, screened;
                start(&dense, (sae_train_kind)arch, SAE_SCREEN_OFF, isa, 1, w);
                start(&screened, (sae_train_kind)arch, SAE_SCREEN_ON, isa, 2, w);
                sae_train_forward(dense.trainer, x, N, 0.01, &m[0]);
                sae_train_forward(screened.trainer, x, N, 0.01, &m[1]);
                CHECK(same_lists(dense.trainer, screened.trainer));
                CHECK(memcmp(&m[0].loss, &m[1].loss, sizeof m[0].loss) == 0);
                if (arch == SAE_TRAIN_TOPK && which == RANDOM) {
                    CHECK_NEAR(m[1].l0, 9, 1e-9);
                    CHECK_INT(screened.trainer->room[0].given_up + screened.trainer->room[1].given_up, 0);
                }
                stop(&dense);
                stop(&screened);
            }
    free(x);
}

/* Steps with both, AuxK and evaluations included, end in the same bytes. */
static void same_training(void) {
    float *x = malloc((N + F) * D * sizeof *x), *w = x + N * D;
    fill(RANDOM, x, w);
    for (int arch = SAE_TRAIN_RELU; arch <= SAE_TRAIN_MATRYOSHKA; arch++) {
        pair dense, screened;
        start(&dense, (sae_train_kind)arch, SAE_SCREEN_OFF, NULL, 2, w);
        start(&screened, (sae_train_kind)arch, SAE_SCREEN_ON, NULL, 1, w);
        for (int step = 0; step < 5; step++) {
            sae_metrics m[2];
            CHECK_INT(sae_train_step(dense.trainer, x, N, &m[0], NULL), TN_OK);
            CHECK_INT(sae_train_step(screened.trainer, x, N, &m[1], NULL), TN_OK);
            CHECK(m[0].loss == m[1].loss);
            CHECK_INT(sae_train_eval(dense.trainer, x, N / 2, &m[0], NULL), TN_OK);
            CHECK_INT(sae_train_eval(screened.trainer, x, N / 2, &m[1], NULL), TN_OK);
            CHECK(m[0].loss == m[1].loss);
        }
        CHECK(memcmp(dense.model.w_enc, screened.model.w_enc, F * D * sizeof(float)) == 0);
        CHECK(memcmp(dense.model.w_dec, screened.model.w_dec, F * D * sizeof(float)) == 0);
        stop(&dense);
        stop(&screened);
    }
    free(x);
}

/* A weight that is no number is found, screened or not. */
static void no_number_is_missed(void) {
    float *x = malloc((N + F) * D * sizeof *x), *w = x + N * D;
    fill(RANDOM, x, w);
    w[200 * D + 3] = NAN;
    for (int arch = SAE_TRAIN_RELU; arch <= SAE_TRAIN_MATRYOSHKA; arch++) {
        pair p;
        start(&p, (sae_train_kind)arch, SAE_SCREEN_ON, NULL, 2, w);
        sae_metrics m;
        CHECK_INT(sae_train_eval(p.trainer, x, N, &m, NULL), TN_ENUM);
        stop(&p);
    }
    free(x);
}

/* sae_encode_active lists z [N, F], and sae_decode_active has the bits of sae_decode. */
static void check_lists(const sae_model *s, const float *x, const float *z) {
    tn_err e = {0};
    sae_active a;
    const tn_exec ex = tn_exec_make(NULL, 2);
    float *rows = calloc(N * F + 2 * N * D, sizeof *rows), *from_z = rows + N * F,
          *from_lists = from_z + N * D;
    void *scratch = malloc(sae_encode_active_scratch(s, N));
    CHECK_INT(sae_active_new(&a, s, N, &e), TN_OK);
    sae_encode_active(s, ex, x, N, &a, scratch);
    for (size_t r = 0; r < N; r++)
        for (uint32_t j = 0; j < a.n_of_row[r]; j++) {
            const sae_entry *entry = a.of_row + r * a.room + j;
            CHECK(j == 0 || entry[-1].at < entry->at);
            rows[r * F + entry->at] = entry->z;
        }
    CHECK(memcmp(rows, z, N * F * sizeof *z) == 0);
    sae_decode(s, ex, z, N, from_z);
    sae_decode_active(s, ex, &a, N, from_lists);
    CHECK(memcmp(from_z, from_lists, N * D * sizeof *from_z) == 0);
    sae_active_free(&a);
    free(scratch);
    free(rows);
}

/* sae_encode gives the same z, in blocks of rows and one by one. */
static void same_encoding(void) {
    float *x = malloc((N + F) * D * sizeof *x), *w = x + N * D, *z = malloc(2 * N * F * sizeof *z),
          *one = z + N * F;
    static const sae_train_kind archs[] = {SAE_TRAIN_RELU, SAE_TRAIN_TOPK, SAE_TRAIN_JUMPRELU,
                                           SAE_TRAIN_GATED};
    for (size_t arch = 0; arch < sizeof archs / sizeof *archs; arch++)
        for (kind which = RANDOM; which < KINDS; which++) {
            tn_err e;
            pair p;
            fill(which, x, w);
            start(&p, archs[arch], SAE_SCREEN_OFF, NULL, 1, w);
            void *scratch = malloc(sae_encode_scratch(&p.model, N));
            sae_encode(&p.model, tn_exec_make(NULL, 1), x, N, z, scratch);
            free(scratch);
            check_lists(&p.model, x, z);
            CHECK_INT(sae_round_encoder(&p.model, "screen", 2, &e), TN_OK);
            scratch = malloc(sae_encode_scratch(&p.model, N));
            for (int rows = 1; rows <= N; rows += N - 1) {
                for (int b = 0; b < N; b += rows)
                    sae_encode(&p.model, tn_exec_make(NULL, 2), x + b * D, rows, one + b * F, scratch);
                CHECK(memcmp(z, one, N * F * sizeof *z) == 0);
            }
            free(scratch);
            check_lists(&p.model, x, z);
            stop(&p);
        }
    free(z);
    free(x);
}

void test_screen(void) {
    RUN(bound_holds);
    RUN(same_active_set);
    RUN(same_training);
    RUN(no_number_is_missed);
    RUN(same_encoding);
}
