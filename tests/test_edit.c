/* The language of edits: what every statement does, and what is refused. */
#include "sae/edit.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

#define F 8

static const int32_t car_features[] = {1, 5};
static const int32_t fire_features[] = {7};
static const sae_feature_set sets[] = {{"car", car_features, 2}, {"fire truck", fire_features, 1}};

/* Applies `text` for `layer` to 0, 1, … 7 and compares. */
static void check_edit(const char *text, int layer, const float *want) {
    sae_edits edits;
    tn_err e = {0};
    float z[F];
    for (int i = 0; i < F; i++) z[i] = (float)i;
    if (!CHECK_INT(sae_edits_parse(&edits, text, sets, 2, &e), TN_OK)) CHECK_STR(e.msg, text);
    CHECK_INT(sae_edits_check(&edits, layer, F, &e), TN_OK);
    sae_edits_apply(&edits, layer, z, F);
    for (int i = 0; i < F; i++)
        if (!CHECK_NEAR(z[i], want[i], 0)) CHECK_STR("the edit above", text);
    sae_edits_free(&edits);
}

static void each_operation(void) {
    check_edit("all *= 0.5", 0, (float[F]){0, 0.5f, 1, 1.5f, 2, 2.5f, 3, 3.5f});
    check_edit("scale *=0.5", 0, (float[F]){0, 0.5f, 1, 1.5f, 2, 2.5f, 3, 3.5f});
    check_edit("3 += 1.0", 0, (float[F]){0, 1, 2, 4, 4, 5, 6, 7});
    check_edit("3 -= 10", 0, (float[F]){0, 1, 2, -7, 4, 5, 6, 7});
    check_edit("3 += -10", 0, (float[F]){0, 1, 2, -7, 4, 5, 6, 7});
    check_edit("2,4-6 = 3", 0, (float[F]){0, 1, 3, 3, 3, 3, 3, 7});
    check_edit("all clamp 2 5.5", 0, (float[F]){2, 2, 2, 3, 4, 5, 5.5f, 5.5f});
    check_edit("6 clamp -1 -0.5", 0, (float[F]){0, 1, 2, 3, 4, 5, -0.5f, 7});
    check_edit("4 ablate", 0, (float[F]){0, 1, 2, 3, 0, 5, 6, 7});
    check_edit("0=9", 0, (float[F]){9, 1, 2, 3, 4, 5, 6, 7});
}

static void statements_run_from_left_to_right(void) {
    check_edit("all *= 0.5; 2 += 1; 2 *= 10;", 0, (float[F]){0, 0.5f, 20, 1.5f, 2, 2.5f, 3, 3.5f});
    check_edit(" 2 += 1 ;; all *= 0.5 ", 0, (float[F]){0, 0.5f, 1.5f, 1.5f, 2, 2.5f, 3, 3.5f});
}

static void names_stand_for_their_features(void) {
    check_edit("car += 10", 0, (float[F]){0, 11, 2, 3, 4, 15, 6, 7});
    check_edit("fire truck ablate", 0, (float[F]){0, 1, 2, 3, 4, 5, 6, 0});
    check_edit("car, fire truck, 0 = 1", 0, (float[F]){1, 1, 2, 3, 4, 1, 6, 1});
}

static void a_target_is_a_set(void) {
    check_edit("5,car,4-6,5 += 1", 0, (float[F]){0, 2, 2, 3, 5, 6, 7, 7});
}

static void a_layer_limits_a_statement(void) {
    check_edit("all@15 = 1; 2@3 += 5", 15, (float[F]){1, 1, 1, 1, 1, 1, 1, 1});
    check_edit("all@15 = 1; 2@3 += 5", 3, (float[F]){0, 1, 7, 3, 4, 5, 6, 7});
    check_edit("car @ 15 = 0", 4, (float[F]){0, 1, 2, 3, 4, 5, 6, 7});
}

static void mistakes_name_the_statement(void) {
    static const char *const wrong[][2] = {
        {"", "no statement"},
        {" ; ", "no statement"},
        {"12 ** 3", "\"12 ** 3\": expected one of"},
        {"all *= 1; 5 =", "\"5 =\": a number is missing"},
        {"5 = x", "number"},
        {"5 = nan", "not finite"},
        {"5 += 1e999", "not finite"},
        {"5 = 1 2", "'2' is left over"},
        {"5 clamp 1", "number"},
        {"5 clamp 3 1", "low is above"},
        {"5 ablate 1", "left over"},
        {"= 3", "a feature is missing"},
        {"1,,2 = 3", "a feature is missing"},
        {"9-3 = 1", "neither a feature nor a range"},
        {"3x = 1", "neither a feature nor a range"},
        {"99999999999 = 1", "neither a feature nor a range"},
        {"0-2000000000 = 1", "more than"},
        {"bus += 1", "no set of features called bus"},
        {"5@ = 1", "'@' must be followed by a layer"},
        {"5@x = 1", "'@' must be followed by a layer"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        sae_edits edits;
        tn_err e = {0};
        CHECK_INT(sae_edits_parse(&edits, wrong[i][0], sets, 2, &e), TN_EARG);
        CHECK_HAS(e.msg, wrong[i][1]);
        CHECK_INT(edits.count, 0);
    }
    char endless[4096];
    memset(endless, '7', sizeof endless);
    endless[sizeof endless - 1] = '\0';
    sae_edits edits;
    tn_err e = {0};
    CHECK_INT(sae_edits_parse(&edits, endless, NULL, 0, &e), TN_EARG);
    CHECK_HAS(e.msg, "7...\": expected");
}

static void a_feature_must_exist(void) {
    sae_edits edits;
    tn_err e = {0};
    CHECK_INT(sae_edits_parse(&edits, "7 = 1; 3,8@2 = 1", NULL, 0, &e), TN_OK);
    CHECK_INT(sae_edits_check(&edits, 1, F, &e), TN_OK); /* the second statement is for layer 2 */
    CHECK_INT(sae_edits_check(&edits, 2, F, &e), TN_EARG);
    CHECK_STR(e.msg, "feature 8 is out of range: the SAE of layer 2 has 8");
    sae_edits_free(&edits);
}

static void lists_of_features(void) {
    int32_t *f;
    int n;
    tn_err e = {0};
    CHECK_INT(sae_features_parse(&f, &n, " 90-92, 12,55,91 ", &e), TN_OK);
    if (CHECK_INT(n, 5)) {
        CHECK_INT(f[0], 12);
        CHECK_INT(f[2], 90);
        CHECK_INT(f[4], 92);
    }
    free(f);
    CHECK_INT(sae_features_parse(&f, &n, "", &e), TN_EARG);
    CHECK_INT(sae_features_parse(&f, &n, "car", &e), TN_EARG);
    CHECK(f == NULL && n == 0);
}

void test_edit(void) {
    RUN(each_operation);
    RUN(statements_run_from_left_to_right);
    RUN(names_stand_for_their_features);
    RUN(a_target_is_a_set);
    RUN(a_layer_limits_a_statement);
    RUN(mistakes_name_the_statement);
    RUN(a_feature_must_exist);
    RUN(lists_of_features);
}
