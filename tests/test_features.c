/* Statistics of features against their definitions, computed naively. */
#include "sae/ranking.h"
#include "tensor/rng.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define D 6
#define F 40
#define DOCS 23
#define LABELS 4

static const char *const names[LABELS] = {"car", "bus", "fire truck", ""};

/* An activation file with documents of 0 to 6 rows, and an SAE with many equal scores: some latents read
 * nothing, some fire on few rows. */
typedef struct {
    sae_model sae;
    sae_acts acts;
    float *z; /* [n, F] */
} fixture;

static void open_fixture(fixture *f) {
    tn_err e = {0};
    tn_rng r = tn_rng_seed(7);
    sae_acts_builder b = {.d = D};
    sae_doc docs[DOCS];
    char empty[1] = "";
    for (int doc = 0; doc < DOCS; doc++) {
        docs[doc] = (sae_doc){(char *)names[doc * doc % LABELS == 1 ? doc % LABELS : (doc + 2) % LABELS],
                              empty, empty};
        for (int t = 0; t < (doc * 5) % 7; t++) {
            float row[D];
            for (int k = 0; k < D; k++)
                row[k] = (float)(int)tn_rng_below(&r, 5) - 2; /* few values: many ties */
            CHECK_INT(sae_acts_append(&b, row, doc * 10 + t, doc, 100 + t), TN_OK);
        }
    }
    const char *path = test_path("features-acts.safetensors");
    if (!CHECK_INT(
            sae_acts_write(&b, path, TN_F32, "tiny", "blocks.1.hook_resid_post", docs, DOCS, NULL, 0, &e),
            TN_OK))
        CHECK_STR(e.msg, "");
    sae_acts_builder_free(&b);
    if (!CHECK_INT(sae_acts_open(&f->acts, path, &e), TN_OK)) CHECK_STR(e.msg, "");

    sae_config cfg = {.d_in = D, .d_sae = F, .apply_b_dec_to_input = 1};
    CHECK_INT(sae_new(&f->sae, &cfg, &e), TN_OK);
    for (int i = 3; i < F; i++) { /* latents 0 … 2 never fire */
        f->sae.w_enc[i * D + i % D] = i % 2 ? 1.0f : -1.0f;
        f->sae.w_enc[i * D + i * 7 % D] += 0.5f;
        f->sae.b_enc[i] = i % 5 == 0 ? -1.5f : 0.0f;
    }
    f->z = malloc(f->acts.n * F * sizeof *f->z);
    float row[D];
    void *scratch = malloc(sae_encode_scratch(&f->sae, 1));
    for (uint32_t i = 0; i < f->acts.n; i++) {
        sae_acts_gather(&f->acts, &i, 1, row);
        sae_encode(&f->sae, tn_exec_make(NULL, 1), row, 1, f->z + i * F, scratch);
    }
    free(scratch);
}

static void close_fixture(fixture *f) {
    sae_acts_close(&f->acts);
    sae_free(&f->sae);
    free(f->z);
}

/* The documents' scores of latent k; returns how many documents have rows. */
static int doc_scores(const fixture *f, int k, double *score, int *has_rows) {
    int count[DOCS] = {0}, n = 0;
    memset(score, 0, DOCS * sizeof *score);
    for (size_t i = 0; i < f->acts.n; i++) {
        score[f->acts.doc[i]] += (double)f->z[i * F + (size_t)k];
        count[f->acts.doc[i]]++;
    }
    for (int doc = 0; doc < DOCS; doc++) {
        has_rows[doc] = count[doc] > 0;
        n += has_rows[doc];
        if (count[doc]) score[doc] = (double)((float)score[doc] / (float)count[doc]);
    }
    return n;
}

static void auroc_counts_pairs(void) {
    fixture f;
    sae_feature_stats st;
    tn_err e = {0};
    open_fixture(&f);
    CHECK_INT(sae_feature_stats_new(&st, &f.sae, &f.acts, tn_exec_make(NULL, 2), &e), TN_OK);
    CHECK_INT(st.n_labels, LABELS);
    int ties = 0;
    for (int k = 0; k < F; k++) {
        double score[DOCS];
        int has_rows[DOCS];
        CHECK(doc_scores(&f, k, score, has_rows) < DOCS); /* some document is empty */
        for (int l = 0; l < LABELS; l++) {
            int label = sae_label_find(&st, names[l]);
            double wins = 0, pairs = 0;
            for (int a = 0; a < DOCS; a++) {
                for (int b = 0; b < DOCS; b++) {
                    if (!has_rows[a] || !has_rows[b] || strcmp(f.acts.docs[a].label, names[l]) != 0) continue;
                    if (strcmp(f.acts.docs[b].label, names[l]) == 0) continue;
                    pairs += 1;
                    wins += score[a] > score[b] ? 1 : score[a] == score[b] ? 0.5 : 0;
                    ties += score[a] == score[b];
                }
            }
            CHECK(pairs > 0);
            CHECK_NEAR(sae_feature_score_of(&st, label, k).auroc, wins / pairs, 1e-6);
        }
    }
    CHECK(ties > 1000);
    sae_feature_stats_free(&st);
    close_fixture(&f);
}

static void means_and_rates_are_over_tokens(void) {
    fixture f;
    sae_feature_stats st;
    tn_err e = {0};
    open_fixture(&f);
    CHECK_INT(sae_feature_stats_new(&st, &f.sae, &f.acts, tn_exec_make(NULL, 1), &e), TN_OK);
    for (int l = 0; l < LABELS; l++) {
        for (int k = 0; k < F; k++) {
            double sum[2] = {0, 0}, fires[2] = {0, 0}, n[2] = {0, 0}, largest = 0;
            for (size_t i = 0; i < f.acts.n; i++) {
                int in = strcmp(f.acts.docs[f.acts.doc[i]].label, names[l]) == 0;
                double z = (double)f.z[i * F + (size_t)k];
                sum[in] += z;
                fires[in] += z > 0;
                n[in] += 1;
                if (in && z > largest) largest = z;
            }
            sae_feature_score s = sae_feature_score_of(&st, sae_label_find(&st, names[l]), k);
            CHECK_INT(s.feature, k);
            CHECK_NEAR(s.mean_in, sum[1] / n[1], 1e-6);
            CHECK_NEAR(s.mean_out, sum[0] / n[0], 1e-6);
            CHECK_NEAR(s.rate_in, fires[1] / n[1], 1e-6);
            CHECK_NEAR(s.rate_out, fires[0] / n[0], 1e-6);
            CHECK_NEAR(s.max_in, largest, 0);
            CHECK_NEAR(s.diff, sum[1] / n[1] - sum[0] / n[0], 1e-6);
        }
    }
    sae_feature_stats_free(&st);
    close_fixture(&f);
}

static void examples_are_the_strongest_of_different_documents(void) {
    fixture f;
    sae_feature_stats st;
    tn_err e = {0};
    open_fixture(&f);
    CHECK_INT(sae_feature_stats_new(&st, &f.sae, &f.acts, tn_exec_make(NULL, 3), &e), TN_OK);
    for (int k = 0; k < F; k++) {
        float best[DOCS] = {0};
        for (size_t i = 0; i < f.acts.n; i++)
            if (f.z[i * F + (size_t)k] > best[f.acts.doc[i]]) best[f.acts.doc[i]] = f.z[i * F + (size_t)k];
        const sae_example *x = st.examples + k * SAE_TOP_ROWS;
        for (int i = 0; i < SAE_TOP_ROWS; i++) {
            int largest = 0; /* documents are taken one after another, the strongest first */
            for (int doc = 1; doc < DOCS; doc++)
                if (best[doc] > best[largest]) largest = doc;
            CHECK_NEAR(x[i].z, best[largest], 0);
            if (!(x[i].z > 0)) break;
            CHECK_INT(f.acts.doc[x[i].row], x[i].doc);
            CHECK_NEAR(f.z[x[i].row * F + (size_t)k], x[i].z, 0);
            CHECK(best[x[i].doc] == x[i].z); /* not taken before */
            best[x[i].doc] = 0;
        }
    }
    sae_feature_stats_free(&st);
    close_fixture(&f);
}

static void ranking(void) {
    fixture f;
    sae_feature_stats st;
    sae_feature_score top[F];
    tn_err e = {0};
    int n;
    open_fixture(&f);
    CHECK_INT(sae_feature_stats_new(&st, &f.sae, &f.acts, tn_exec_make(NULL, 1), &e), TN_OK);
    int label = sae_label_find(&st, "fire truck");
    for (int order = SAE_BY_DIFF; order <= SAE_BY_AUROC; order++) {
        CHECK_INT(sae_features_top(&st, label, (sae_feature_order)order, F, top, &n, &e), TN_OK);
        CHECK(n > 5 && n <= F - 3);
        for (int i = 0; i < n; i++) CHECK(top[i].rate_in > 0);
        for (int i = 1; i < n; i++)
            CHECK(order == SAE_BY_DIFF ? top[i - 1].diff >= top[i].diff : top[i - 1].auroc >= top[i].auroc);
    }
    CHECK_INT(sae_features_top(&st, label, SAE_BY_DIFF, 3, top, &n, &e), TN_OK);
    CHECK_INT(n, 3);
    CHECK_INT(sae_features_top(&st, LABELS, SAE_BY_DIFF, 3, top, &n, &e), TN_EARG);
    CHECK_INT(sae_label_find(&st, "spaceship"), -1);
    CHECK(sae_label_active(&st, label, 0.0) >= sae_label_active(&st, label, 0.5));
    CHECK(sae_label_active(&st, label, 0.0) <= F - 3);
    sae_feature_stats_free(&st);

    sae_model wide;
    sae_config cfg = {.d_in = D + 1, .d_sae = 2};
    CHECK_INT(sae_new(&wide, &cfg, &e), TN_OK);
    CHECK_INT(sae_feature_stats_new(&st, &wide, &f.acts, tn_exec_make(NULL, 1), &e), TN_ESHAPE);
    CHECK_STR(e.msg, "SAE of width 7 does not fit activations of width 6");
    sae_free(&wide);
    close_fixture(&f);
}

/* Documents of other texts: "fire truck" is missing among them, "" has no rows. */
static void open_held_out(sae_acts *out, const char *hook) {
    static const char *const labels[] = {"bus", "car", "", "bus", "car", "car"};
    tn_err e = {0};
    tn_rng r = tn_rng_seed(8);
    sae_acts_builder b = {.d = D};
    sae_doc docs[6];
    char empty[1] = "";
    for (int doc = 0; doc < 6; doc++) {
        docs[doc] = (sae_doc){(char *)labels[doc], empty, empty};
        for (int t = 0; t < 3 && labels[doc][0]; t++) {
            float row[D];
            for (int k = 0; k < D; k++) row[k] = (float)(int)tn_rng_below(&r, 5) - 2;
            CHECK_INT(sae_acts_append(&b, row, t, doc, t), TN_OK);
        }
    }
    const char *path = test_path("features-held.safetensors");
    CHECK_INT(sae_acts_write(&b, path, TN_F32, "tiny", hook, docs, 6, NULL, 0, &e), TN_OK);
    sae_acts_builder_free(&b);
    CHECK_INT(sae_acts_open(out, path, &e), TN_OK);
}

static void held_out_documents_have_no_say(void) {
    fixture f;
    sae_feature_stats st, held;
    sae_acts acts;
    sae_ranking plain, r;
    tn_err e = {0};
    tn_exec ex = tn_exec_make(NULL, 1);
    open_fixture(&f);
    open_held_out(&acts, "blocks.1.hook_resid_post");
    CHECK_INT(sae_feature_stats_new(&st, &f.sae, &f.acts, ex, &e), TN_OK);
    CHECK_INT(sae_held_out_stats(&held, &f.sae, &acts, &f.acts, ex, &e), TN_OK);
    CHECK_INT(sae_ranking_new(&plain, &st, NULL, -1, SAE_BY_AUROC, 5, &e), TN_OK);
    CHECK_INT(sae_ranking_new(&r, &st, &held, -1, SAE_BY_AUROC, 5, &e), TN_OK);
    CHECK_INT(r.n, LABELS);
    int above = 0, chosen, held_out, comparable, above_held = 0;
    for (int i = 0; i < r.n * 5; i++) {
        const char *label = st.labels[r.labels[i / 5]];
        CHECK_INT(r.scores[i].feature, plain.scores[i].feature);
        CHECK(isnan(plain.held_out[i]));
        int there = strcmp(label, "car") == 0 || strcmp(label, "bus") == 0;
        CHECK_INT(!isnan(r.held_out[i]), there);
        if (there) /* labels lie in another order there */
            CHECK_NEAR(r.held_out[i],
                       sae_feature_score_of(&held, sae_label_find(&held, label), r.scores[i].feature).auroc,
                       0);
        above += i % 5 == 0 && r.scores[i].auroc >= SAE_GOOD_AUROC;
        above_held += i % 5 == 0 && r.held_out[i] >= SAE_GOOD_AUROC;
    }
    sae_ranking_reach(&r, &chosen, &held_out, &comparable);
    CHECK_INT(chosen, above);
    CHECK_INT(held_out, above_held);
    CHECK_INT(comparable, 2);           /* car and bus */
    r.scores[0].auroc = SAE_GOOD_AUROC; /* reaching it is enough, by the best feature only */
    r.held_out[5] = 1.0f;
    r.held_out[6] = 1.0f;
    int before = chosen - (plain.scores[0].auroc >= SAE_GOOD_AUROC);
    sae_ranking_reach(&r, &chosen, &held_out, &comparable);
    CHECK_INT(chosen, before + 1);
    CHECK(held_out >= 1 && held_out <= above_held + 1);
    sae_ranking_free(&plain);
    sae_ranking_free(&r);
    sae_feature_stats_free(&held);
    sae_acts_close(&acts);

    open_held_out(&acts, "blocks.2.hook_resid_post");
    CHECK_INT(sae_held_out_stats(&held, &f.sae, &acts, &f.acts, ex, &e), TN_ESHAPE);
    CHECK_STR(e.msg, "activations of blocks.2.hook_resid_post, but the features are ranked on those of "
                     "blocks.1.hook_resid_post");
    sae_acts_close(&acts);
    sae_feature_stats_free(&st);
    close_fixture(&f);
}

void test_features(void) {
    RUN(auroc_counts_pairs);
    RUN(means_and_rates_are_over_tokens);
    RUN(examples_are_the_strongest_of_different_documents);
    RUN(ranking);
    RUN(held_out_documents_have_no_say);
}
