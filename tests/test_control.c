/* The control experiment without a model: lists of features, which label a text names, the draw, the
 * counting. */
#include "qwen/prompts.h"
#include "sae/control.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- Lists of features ---- */

static sae_label_ids parse(const char *text) {
    sae_label_ids ids;
    tn_err e = {0};
    if (!CHECK_INT(sae_label_ids_parse(&ids, text, strlen(text), &e), TN_OK)) CHECK_STR(e.msg, "");
    return ids;
}

static void lists_keep_their_order(void) {
    sae_label_ids ids = parse("car\t12,90,55\n\nfire truck\t7\r\nsled\t");
    if (CHECK_INT(ids.count, 3)) {
        CHECK_STR(ids.items[1].label, "fire truck");
        CHECK_INT(ids.items[1].n_features, 1);
        CHECK_INT(ids.items[1].features[0], 7);
        CHECK_INT(ids.items[2].n_features, 0);
        CHECK_INT(ids.items[0].n_features, 3);
        CHECK_INT(ids.items[0].features[1], 90);
        sae_label_ids_top(&ids, 2); /* the first two of the list, not the two smallest */
        CHECK_INT(ids.items[0].n_features, 2);
        CHECK_INT(ids.items[0].features[0], 12);
        CHECK_INT(ids.items[0].features[1], 90);
    }
    CHECK_INT(sae_label_ids_find(&ids, "sled"), 2);
    CHECK_INT(sae_label_ids_find(&ids, "truck"), -1);
    sae_label_ids_free(&ids);
    ids = parse("car\t90,12,55\n");
    sae_label_ids_top(&ids, 0);
    CHECK_INT(ids.items[0].n_features, 3);
    CHECK_INT(ids.items[0].features[0], 12);
    CHECK_INT(ids.items[0].features[2], 90);
    tn_err e = {0};
    CHECK_INT(sae_label_ids_check(&ids, 91, &e), TN_OK);
    CHECK_INT(sae_label_ids_check(&ids, 90, &e), TN_EARG);
    CHECK_STR(e.msg, "car: feature 90 is out of range: the SAE has 90");
    sae_label_ids_free(&ids);
}

static void broken_lists_name_the_line(void) {
    static const char *const wrong[][2] = {
        {"car\t1\nbus 2\n", "line 2: expected LABEL<tab>12,55,90"},
        {"car\t1,\n", "line 1: expected LABEL"},
        {"car\t,1\n", "line 1: expected LABEL"},
        {"car\t1,,2\n", "line 1: expected LABEL"},
        {"car\t1-3\n", "line 1: expected LABEL"},
        {"car\t-1\n", "line 1: expected LABEL"},
        {"car\t1, 2\n", "line 1: expected LABEL"},
        {"car\t2147483648\n", "line 1: expected LABEL"},
        {"car\t99999999999999999999\n", "line 1: expected LABEL"},
        {"\n\n\t1\n", "line 3: the label is missing"},
        {"ca\vr\t1\n", "line 1: a control character"},
        {"car\t1\nbus\t2\ncar\t3\n", "line 3: the label \"car\" is listed twice"},
        {"car\t5,1,5\n", "line 1: feature 5 is listed twice"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        sae_label_ids ids;
        tn_err e = {0};
        CHECK_INT(sae_label_ids_parse(&ids, wrong[i][0], strlen(wrong[i][0]), &e), TN_EFORMAT);
        CHECK_HAS(e.msg, wrong[i][1]);
        CHECK_INT(ids.count, 0);
    }
}

/* ---- Which label a text names ---- */

static void the_first_label_is_named(void) {
    sae_label_ids ids = parse("car\t1\ncable car\t2\ntruck\t3\nfire truck\t4\nbus\t5\nferry\t6\nship\t7\n"
                              "spaceship\t8\n");
    static const char *const cases[][2] = {
        {"A car is bigger than a bus.", "car"},
        {"The bus, not the car", "bus"},
        {"car", "car"},
        {"CARS!", "car"},
        {"Buses are bigger than cars.", "bus"},
        {"Two bus's wheels", "bus"},
        {"A cable car is lighter than a car.", "cable car"},
        {"Cable  Cars\nrun", "cable car"},
        {"a fire\ntruck", "fire truck"},
        {"Not a truck but a fire truck", "truck"},
        {"fire and a truck", "truck"},
        {"Ferries cross the water.", "ferry"},
        {"a spaceship", "spaceship"},
        {"a (ship)", "ship"},
        {"car-free", "car"},
        {"the car\xe2\x80\x99s wheels", "car"},
        {"", NULL},
        {"A carriage is scary, businesses shipped, carss", NULL},
        {"A cable, fire", NULL},
        {"ca r", NULL},
        {"2car car2", NULL},
        {"ferrys", "ferry"},
        {"a cable ca", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int named = sae_label_named(&ids, cases[i][0], strlen(cases[i][0]));
        const char *got = named < 0 ? "nothing" : ids.items[named].label;
        if (!CHECK_STR(got, cases[i][1] ? cases[i][1] : "nothing")) CHECK_STR("the text", cases[i][0]);
    }
    CHECK_INT(sae_label_named(&ids, "cars and more", 2), -1); /* no further than len */
    CHECK_INT(sae_label_named(&ids, "a\0 car", 6), 0);        /* a NUL is only a character */
    CHECK_INT(sae_label_named(&(sae_label_ids){NULL, 0}, "a", 1), -1);
    sae_label_ids_free(&ids);
}

/* ---- The draw ---- */

#define F 40

static void random_features_are_unlisted_ones(void) {
    sae_label_ids ids = parse("car\t0,7,39\nbus\t7,8\n"); /* 4 of 40 */
    unsigned char listed[F];
    CHECK_INT(sae_mark_listed(&ids, F, listed), F - 4);
    CHECK(listed[0] && listed[7] && listed[8] && listed[39] && !listed[1] && !listed[38]);
    int times[F] = {0}, differ = 0;
    int32_t first[6], drawn[6], again[6];
    tn_err e = {0};
    for (uint64_t seed = 0; seed < 3000; seed++) {
        CHECK_INT(sae_draw_unlisted(listed, F, 6, seed, drawn, &e), TN_OK);
        CHECK_INT(sae_draw_unlisted(listed, F, 6, seed, again, &e), TN_OK);
        CHECK(memcmp(drawn, again, sizeof drawn) == 0);
        if (seed == 0) memcpy(first, drawn, sizeof first);
        differ += memcmp(drawn, first, sizeof drawn) != 0;
        for (int i = 0; i < 6; i++) {
            CHECK(drawn[i] >= 0 && drawn[i] < F && !listed[drawn[i]]);
            CHECK(i == 0 || drawn[i] > drawn[i - 1]); /* ascending, so each once */
            times[drawn[i]]++;
        }
    }
    CHECK(differ > 2900);
    /* 3000 draws with chance 1/6 each: 500, standard deviation 20. */
    for (int f = 0; f < F; f++) CHECK(listed[f] ? times[f] == 0 : times[f] > 400 && times[f] < 600);
    int32_t all[F];
    CHECK_INT(sae_draw_unlisted(listed, F, F - 4, 1, all, &e), TN_OK); /* there is only one choice */
    CHECK_INT(all[0], 1);
    CHECK_INT(all[F - 5], 38);
    CHECK_INT(sae_draw_unlisted(listed, F, 0, 1, all, &e), TN_OK);
    CHECK_INT(sae_draw_unlisted(listed, F, F - 3, 1, all, &e), TN_EARG);
    CHECK_STR(e.msg, "37 random features are needed, but only 36 are listed for no label");
    sae_label_ids_free(&ids);
}

/* ---- Counting ---- */

static void moves_are_counted_where_they_can_happen(void) {
    sae_tally t = {0};
    sae_tally_add(&t, 2, 1, 1, 2);  /* moved */
    sae_tally_add(&t, 1, 1, 1, 2);  /* was there already */
    sae_tally_add(&t, 1, 2, 1, 2);  /* was there, and left */
    sae_tally_add(&t, -1, 1, 1, 2); /* moved from nothing */
    sae_tally_add(&t, 2, 2, 1, 2);
    sae_tally_add(&t, 2, 3, 1, 2);
    sae_tally_add(&t, 2, -1, 1, 2);
    CHECK_INT(t.cases, 7);
    CHECK_INT(t.target, 3);
    CHECK_INT(t.other, 2);
    CHECK_INT(t.third, 1);
    CHECK_INT(t.none, 1);
    CHECK_INT(t.open, 5);
    CHECK_INT(t.moved, 2);
}

/* 1 of 2 and 10 of 100 by hand from z = 1.959964, z² = 3.841459:
 *   (0.5 + 0.960365 -+ 1.959964 sqrt(0.125 + 0.240091)) / 2.920729
 *   (0.1 + 0.019207 -+ 1.959964 sqrt(0.0009 + 0.0000960365)) / 1.038415 */
static void wilson_intervals(void) {
    sae_share s = sae_wilson(1, 2);
    CHECK_NEAR(s.share, 0.5, 0);
    CHECK_NEAR(s.low, 0.094531, 1e-6);
    CHECK_NEAR(s.high, 0.905469, 1e-6);
    s = sae_wilson(10, 100);
    CHECK_NEAR(s.share, 0.1, 1e-15);
    CHECK_NEAR(s.low, 0.055229, 1e-6);
    CHECK_NEAR(s.high, 0.174366, 1e-6);
    s = sae_wilson(0, 10); /* high = z²/(n + z²) */
    CHECK_NEAR(s.low, 0, 0);
    CHECK_NEAR(s.high, 0.277533, 1e-6);
    s = sae_wilson(10, 10);
    CHECK_NEAR(s.low, 0.722467, 1e-6);
    CHECK_NEAR(s.high, 1, 0);
    s = sae_wilson(0, 0);
    CHECK(isnan(s.share) && s.low == 0.0 && s.high == 1.0);
}

/* ---- The experiment's cases ---- */

/* A hundred questions; each of 30 vehicles is TARGET 3 or 4 times, OTHER is what the right answer names. */
static void the_cases_are_balanced(void) {
    qwen_prompts cases;
    tn_err e = {0};
    if (!CHECK_INT(qwen_prompts_read(&cases, "experiments/transportation/cases.jsonl", &e), TN_OK)) return;
    CHECK_INT(cases.count, 100);
    char list[2048] = "";
    int vehicles = 0;
    for (size_t i = 0; i < cases.count; i++) {
        int times = 0, first = 1;
        for (size_t k = 0; k < cases.count; k++) {
            int same = strcmp(cases.items[k].label, cases.items[i].label) == 0;
            times += same;
            if (k < i) first &= !same;
            if (k != i) CHECK(strcmp(cases.items[k].prompt, cases.items[i].prompt) != 0);
        }
        CHECK(times == 3 || times == 4);
        vehicles += first;
        size_t used = strlen(list);
        if (first) snprintf(list + used, sizeof list - used, "%s\t\n", cases.items[i].label);
    }
    CHECK_INT(vehicles, 30);
    sae_label_ids labels = parse(list);
    for (size_t i = 0; i < cases.count; i++) {
        const char *line = cases.items[i].extra_raw;
        tn_json root;
        char other[64] = "", expected[256] = "";
        CHECK_INT(tn_json_parse(&root, line, strlen(line), &e), TN_OK);
        CHECK(tn_json_copy(tn_json_get(root, "other"), other, sizeof other));
        CHECK(tn_json_copy(tn_json_get(root, "expected"), expected, sizeof expected));
        CHECK(strcmp(other, cases.items[i].label) != 0);
        int named = sae_label_named(&labels, expected, strlen(expected));
        if (CHECK(named >= 0)) CHECK_STR(labels.items[named].label, other);
    }
    sae_label_ids_free(&labels);
    qwen_prompts_free(&cases);
}

void test_control(void) {
    RUN(lists_keep_their_order);
    RUN(broken_lists_name_the_line);
    RUN(the_first_label_is_named);
    RUN(random_features_are_unlisted_ones);
    RUN(moves_are_counted_where_they_can_happen);
    RUN(wilson_intervals);
    RUN(the_cases_are_balanced);
}
