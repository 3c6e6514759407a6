/* Several values in one training, what resuming leaves alone, and the table and picture of trained SAEs. */
#include "sae/acts.h"
#include "sae/frontier.h"
#include "tensor/os.h"
#include "tensor/rng.h"
#include "tests/test.h"
#include "tests/xml.h"

#include <stdio.h>
#include <string.h>

#define DIR TEST_TMP "/frontier"
#define SAE BUILD_DIR "/sae "
#define SMALL " -a " DIR "/acts.safetensors --width 4x --epochs 4 --batch 32 --threads 1 "

enum { D = 16, ROWS = 300, DOCS = 20 };

static char out[1 << 16], err[4096];

static void good(const char *command) {
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 0)) CHECK_STR(err, command);
}

static void bad(const char *command, const char *part) {
    if (!CHECK_INT(test_shell(command, out, sizeof out, err, sizeof err), 1)) CHECK_STR(command, "");
    CHECK_HAS(err, part);
}

static void prepare(void) {
    static float row[D];
    static sae_doc docs[DOCS];
    sae_acts_builder b = {.d = D};
    tn_rng rng = tn_rng_seed(3);
    good("rm -rf " DIR " && mkdir -p " DIR);
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < D; k++) row[k] = 0.1f * tn_rng_normal(&rng);
        for (int j = 0; j < 3; j++) row[tn_rng_below(&rng, D)] += 2.0f + tn_rng_uniform(&rng);
        CHECK_INT(sae_acts_append(&b, row, 0, i * DOCS / ROWS, i), TN_OK);
    }
    CHECK_INT(sae_acts_write(&b, DIR "/acts.safetensors", TN_F32, "m", "blocks.1.hook_resid_post", docs, DOCS,
                             NULL, 0, NULL),
              TN_OK);
    sae_acts_builder_free(&b);
}

/* Every SAE of a list is the one that its value alone gives. */
static void a_list_trains_each_value(void) {
    good(SAE "train -o " DIR "/topk --arch topk --k 2,8,4" SMALL);
    CHECK_HAS(out, "3 values of --k");
    good(SAE "train -o " DIR "/one --arch topk --k 4" SMALL);
    good("for f in cfg.json sae_weights.safetensors train.csv loss.svg trainer.safetensors; do "
         "cmp " DIR "/one/$f " DIR "/topk/k-4/$f || exit 1; done");
    good("cut -d, -f1-3 " DIR "/topk/frontier.csv");
    CHECK_STR(out, "arch,latents,l0\ntopk,64,2\ntopk,64,4\ntopk,64,8\n");
    good("test -s " DIR "/topk/frontier.svg && test ! -e " DIR "/topk/cfg.json");
    good(SAE "train -o " DIR "/relu --l1 0.5,0.05" SMALL "&& ls " DIR "/relu");
    CHECK_HAS(out, "l1-0.05");
    good(SAE "train -o " DIR "/jump --arch jumprelu --target-l0 4,8" SMALL "&& ls " DIR "/jump");
    CHECK_HAS(out, "target-l0-8");
}

/* A finished value keeps its files; one that was broken off ends with the bytes it would have had. */
static void resuming_skips_what_is_finished(void) {
    good("cp -R " DIR "/topk " DIR "/part && rm " DIR "/part/k-8/cfg.json " DIR
         "/part/frontier.* && rm -r " DIR "/part/k-4 && touch -d 2001-01-01 " DIR "/part/k-2/cfg.json");
    good(SAE "train -o " DIR "/part --arch topk --k 2,8,4 --resume" SMALL);
    CHECK_HAS(out, "k-2              finished before");
    CHECK(!strstr(out, "k-8              finished"));
    good("for f in k-8/cfg.json k-8/sae_weights.safetensors k-4/cfg.json k-2/cfg.json frontier.svg; do "
         "cmp " DIR "/topk/$f " DIR "/part/$f || exit 1; done; find " DIR "/part/k-2/cfg.json -mtime +1000");
    CHECK_HAS(out, "k-2/cfg.json");
    bad(SAE "train -o " DIR "/part --arch topk --k 2,8 --lr 0.01 --resume" SMALL, "lr");
    /* Without --resume everything is done anew. */
    good(SAE "train -o " DIR "/part --arch topk --k 2,8 --lr 0.01" SMALL);
    CHECK(!strstr(out, "finished before"));
}

static void points_are_read_and_sorted(void) {
    sae_frontier f = {0};
    tn_err e = {0};
    CHECK_INT(sae_frontier_add(&f, DIR "/topk", &e), TN_OK);
    CHECK_INT(sae_frontier_add(&f, DIR "/relu", &e), TN_OK);
    CHECK_INT(f.n, 5);
    if (f.n != 5) return;
    CHECK_STR(f.points[0].arch, "standard");
    CHECK(f.points[0].l0 < f.points[1].l0 && f.points[0].fve < f.points[1].fve);
    CHECK_STR(f.points[2].arch, "topk");
    CHECK_NEAR(f.points[2].l0, 2, 0.01);
    CHECK(f.points[2].fve < f.points[4].fve && f.points[4].fve < 1);
    tn_buf svg = TN_BUF_INIT;
    sae_frontier_chart(&f, &svg);
    CHECK(!xml_mistake(svg.data));
    CHECK_HAS(svg.data, ">standard<");
    CHECK_HAS(svg.data, ">topk<");
    tn_buf_free(&svg);
    sae_frontier_free(&f);
    sae_frontier_chart(&f, &svg); /* nothing to draw is a picture too */
    CHECK(svg.len > 0);
    tn_buf_free(&svg);
}

static void the_command_draws_several_runs(void) {
    good(SAE "frontier -s " DIR "/topk -s " DIR "/relu/l1-0.5 -s " DIR "/one -o " DIR "/all.svg --csv " DIR
             "/all.csv");
    CHECK_HAS(out, "topk");
    CHECK_HAS(out, "relu/l1-0.5");
    good("wc -l < " DIR "/all.csv && test -s " DIR "/all.svg");
    CHECK_HAS(out, "6");
    good(SAE "train -o " DIR "/wide --arch topk --k 4 --width 8x --epochs 1 --batch 32 -a " DIR
             "/acts.safetensors && " SAE "frontier -s " DIR "/topk -s " DIR "/wide -o " DIR
             "/w.svg && cat " DIR "/w.svg");
    CHECK_HAS(out, "topk, 128 latents");
}

/* A directory's name may hold what CSV is made of; values that differ in the seventh digit have their own. */
static void names_stay_apart(void) {
    good("cp -R " DIR "/one '" DIR "/k=4, \"wide\"' && " SAE "frontier -s '" DIR "/k=4, \"wide\"' --csv " DIR
         "/odd.csv && cat " DIR "/odd.csv");
    CHECK_HAS(out, ",\"" DIR "/k=4, \"\"wide\"\"\"\n");
    good(SAE "train -o " DIR "/near --l1 0.5,0.5000001" SMALL "&& ls " DIR "/near");
    CHECK_HAS(out, "in l1-0.5 and so on");
    CHECK_HAS(out, "\nl1-0.5\nl1-0.5000001\n");
}

static void errors(void) {
    bad(SAE "train -o " DIR "/x --k 2,4" SMALL, "--k does not go with --arch relu");
    bad(SAE "train -o " DIR "/x --l1 1,,2" SMALL, "--l1 1,,2: expected a number, or up to 16");
    bad(SAE "train -o " DIR "/x --l1 1,2," SMALL, "--l1 1,2,: expected");
    bad(SAE "train -o " DIR "/x --l1 many" SMALL, "--l1 many: expected");
    bad(SAE "train -o " DIR "/x --l1 1,2,1.0" SMALL, "1 twice");
    bad(SAE "train -o " DIR "/x --arch jumprelu --l0 1,2 --target-l0 4,8" SMALL, "only one option");
    bad(SAE "train -o " DIR "/x --arch topk --k 4,99" SMALL, "99");
    bad(SAE "frontier -s " DIR "/none", "none");
    good("mkdir -p " DIR "/empty " DIR "/theirs && "
         "sed 's/_l0/_other/g' " DIR "/one/cfg.json > " DIR "/theirs/cfg.json");
    bad(SAE "frontier -s " DIR "/empty", "no SAE there");
    bad(SAE "frontier -s " DIR "/theirs", "theirs/cfg.json: ");
}

void test_frontier(void) {
    RUN(prepare);
    RUN(a_list_trains_each_value);
    RUN(resuming_skips_what_is_finished);
    RUN(points_are_read_and_sorted);
    RUN(the_command_draws_several_runs);
    RUN(names_stay_apart);
    RUN(errors);
}
