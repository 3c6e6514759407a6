/* BatchTopK (Bussmann et al. 2024, arXiv:2412.06410): of all positive pre-activations of a batch, weighed by
 * w_i = |W_dec[i]|, the floor(k n) largest stay, so that rows share k n latents as they need them. Gradients
 * and AuxK are TopK's.
 *
 * A single row has no batch to compete in, so the finished SAE is a JumpReLU one: its threshold is the moving
 * average of the least value kept, from 0 as in SAELens,
 *
 *     threshold <- (1 - threshold_lr) threshold + threshold_lr * least
 *
 * divided by 1 - (1 - threshold_lr)^steps, which takes the start at 0 out (SAELens does not; in a run of a
 * thousand steps it makes no difference).
 *
 * The least value is found without sorting: positive floats order as their bits do, and three passes over the
 * lists count how many have each value of the first 11, the next 10 and the last 10 bits. Counts are whole
 * numbers, so it does not matter which thread counted what. Of equal values those of earlier rows stay, and
 * of a row those of lower latents.
 */
#include "sae/train_internal.h"

#include "tensor/par.h"

#include <math.h>
#include <string.h>

enum { DIGITS = SAE_DIGITS, LOW_BITS = 10 };

typedef struct {
    sae_trainer *t;
    uint32_t prefix; /* bits of the least value that are known, the others 0 */
    int shift;       /* below them */
    int low;         /* bits counted in this pass: those from `low` to `shift` */
    float least;     /* value kept last */
} search;

/* Order of a value among the others; a NaN comes first, and so stays. */
static uint32_t key(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x7fffffff;
}

static void count_digits(void *ctx, size_t worker, size_t begin, size_t end) {
    const search *s = ctx;
    sae_trainer *t = s->t;
    size_t *digits = t->digits + worker * DIGITS;
    for (size_t b = begin; b < end; b++) {
        const sae_entry *list = t->lists.of_row + b * t->lists.room;
        for (uint32_t a = 0; a < t->lists.n_of_row[b]; a++) {
            uint32_t bits = key(list[a].z * t->weight[list[a].at]);
            if (s->shift == 31 || bits >> s->shift == s->prefix >> s->shift)
                digits[(bits >> s->low) & (((uint32_t)1 << (s->shift - s->low)) - 1)]++;
        }
    }
}

/* Of the first n rows the value with `rank` - 1 larger or equal ones before it; *equal: how many equal to it
 * stay. */
static float find_rank(search *s, size_t n, size_t rank, size_t *equal) {
    sae_trainer *t = s->t;
    size_t threads = (size_t)t->ex.threads;
    s->prefix = 0;
    for (s->shift = 31; s->shift > 0; s->shift = s->low) {
        s->low = s->shift == 31 ? 20 : s->shift - LOW_BITS;
        memset(t->digits, 0, threads * DIGITS * sizeof *t->digits);
        tn_parallel_for_workers(n, SAE_ROWS, t->ex.threads, count_digits, s);
        for (uint32_t digit = DIGITS; digit-- > 0;) {
            size_t with = 0;
            for (size_t w = 0; w < threads; w++) with += t->digits[w * DIGITS + digit];
            if (with < rank) {
                rank -= with;
                continue;
            }
            s->prefix |= digit << s->low;
            break;
        }
    }
    *equal = rank;
    float value;
    memcpy(&value, &s->prefix, sizeof value);
    return value;
}

float sae_batchtopk_rank(sae_trainer *t, size_t n, size_t rank) {
    search s = {.t = t};
    size_t equal;
    return find_rank(&s, n, rank, &equal);
}

/* Takes values below the least off the lists; equal ones wait for drop_equal. */
static void filter(void *ctx, size_t begin, size_t end) {
    const search *s = ctx;
    sae_trainer *t = s->t;
    for (size_t b = begin; b < end; b++) {
        sae_entry *list = t->lists.of_row + b * t->lists.room;
        uint32_t count = 0;
        for (uint32_t a = 0; a < t->lists.n_of_row[b]; a++)
            if (!(list[a].z * t->weight[list[a].at] < s->least)) list[count++] = list[a];
        t->lists.n_of_row[b] = count;
    }
}

/* Of the values equal to the least only the first `stay` remain. Serial: values rarely are equal. */
static void drop_equal(const search *s, size_t stay) {
    sae_trainer *t = s->t;
    for (size_t b = 0; b < (size_t)t->n; b++) {
        sae_entry *list = t->lists.of_row + b * t->lists.room;
        uint32_t count = 0;
        for (uint32_t a = 0; a < t->lists.n_of_row[b]; a++) {
            if (list[a].z * t->weight[list[a].at] == s->least) {
                if (stay == 0) continue;
                stay--;
            }
            list[count++] = list[a];
        }
        t->lists.n_of_row[b] = count;
    }
}

/* What the encoder lists: values that reach the floor, which while evaluating is the threshold. */
int sae_batchtopk_list(const sae_trainer *t, size_t i, float p, sae_entry *e) {
    if (!sae_train_list_positive(t, i, p, e)) return 0;
    float ranked = e->z * t->weight[i];
    return t->evaluating ? !(ranked <= t->floor) : !(ranked < t->floor);
}

double sae_batchtopk_threshold(const sae_trainer *t) {
    if (t->opts.convention == SAE_DICTIONARY_LEARNING) return t->threshold;
    double left = pow(1 - (double)t->opts.threshold_lr, t->steps);
    return t->steps > 0 ? t->threshold / (1 - left) : 0;
}

static size_t listed(const sae_trainer *t) {
    size_t sum = 0;
    for (size_t b = 0; b < (size_t)t->n; b++) sum += t->lists.n_of_row[b];
    return sum;
}

void sae_batchtopk_select(sae_trainer *t) {
    size_t found = listed(t), stay = (size_t)((double)t->opts.k * t->n), equal;
    search s = {.t = t};
    if (t->evaluating) return;
    if (stay > found) stay = found;
    t->least = 0;
    if (stay == 0) return; /* nothing fires */
    t->least = s.least = find_rank(&s, (size_t)t->n, stay, &equal);
    if (stay == found) return;
    tn_parallel_for((size_t)t->n, SAE_ROWS, t->ex.threads, filter, &s);
    if (listed(t) > stay) drop_equal(&s, equal);
}

void sae_batchtopk_after_step(sae_trainer *t) {
    double share = (double)t->opts.threshold_lr;
    if (t->opts.convention == SAE_DICTIONARY_LEARNING) {
        if (t->steps <= t->opts.threshold_start) return;
        if (t->threshold == 0) share = 1;
    }
    if (t->least > 0) t->threshold = (1 - share) * t->threshold + share * (double)t->least;
}

void sae_batchtopk_finish(sae_trainer *t) {
    sae_train_unit_rows(t);
    for (int i = 0; i < t->model->cfg.d_sae; i++) t->model->threshold[i] = (float)sae_batchtopk_threshold(t);
}

static void gradient(const sae_trainer *t, size_t i, sae_latent_grad *g) {
    (void)i;
    sae_train_linear_gradient(t, t->err, 0, g);
}

const sae_train_arch sae_train_batchtopk = {.name = "batchtopk",
                                            .trained_as = "batchtopk",
                                            .model = SAE_JUMPRELU,
                                            .bar = sae_train_bar_of_zero,
                                            .list = sae_batchtopk_list,
                                            .select = sae_batchtopk_select,
                                            .auxiliary = sae_auxk_loss,
                                            .penalty = sae_train_no_penalty,
                                            .gradient = gradient,
                                            .after_step = sae_batchtopk_after_step,
                                            .finish = sae_batchtopk_finish,
                                            .auxk = 1,
                                            .batch_wide = 1};
