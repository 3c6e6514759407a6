/* Naming, drawing and counting of the control experiment (control.h). */
#include "sae/control.h"

#include "tensor/rng.h"

#include <math.h>
#include <string.h>

/* ---- Which label a text names ---- */

/* Text between two pointers. */
typedef struct {
    const char *p, *end;
} span;

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int in_word(char c) {
    c = lower(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static int is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The text behind `label` [n], or NULL when s does not begin with it. */
static const char *skip_label(span s, const char *label, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (s.p == s.end) return NULL;
        if (is_blank(label[i])) {
            if (!is_blank(*s.p)) return NULL;
            while (s.p < s.end && is_blank(*s.p)) s.p++;
        } else if (lower(*s.p++) != lower(label[i])) {
            return NULL;
        }
    }
    return s.p;
}

/* s begins with `label` [n], `ending`, and the end of a word? */
static int has_form(span s, const char *label, size_t n, const char *ending) {
    s.p = skip_label(s, label, n);
    if (s.p) s.p = skip_label(s, ending, strlen(ending));
    return s.p && (s.p == s.end || !in_word(*s.p));
}

static int names(span s, const char *label) {
    size_t n = strlen(label);
    return has_form(s, label, n, "") || has_form(s, label, n, "s") || has_form(s, label, n, "es") ||
           (lower(label[n - 1]) == 'y' && has_form(s, label, n - 1, "ies"));
}

int sae_label_named(const sae_label_ids *ids, const char *text, size_t len) {
    const char *end = text + len;
    for (const char *p = text; p < end; p++) {
        if (p > text && in_word(p[-1]) && in_word(*p)) continue; /* inside a word */
        int best = -1;
        size_t longest = 0;
        for (int i = 0; i < ids->count; i++) {
            size_t n = strlen(ids->items[i].label);
            if (n <= longest || !names((span){p, end}, ids->items[i].label)) continue;
            best = i;
            longest = n;
        }
        if (best >= 0) return best;
    }
    return -1;
}

/* ---- Random features ---- */

int sae_mark_listed(const sae_label_ids *ids, int d_sae, unsigned char *listed) {
    int left = d_sae;
    memset(listed, 0, (size_t)d_sae);
    for (int i = 0; i < ids->count; i++) {
        for (int k = 0; k < ids->items[i].n_features; k++) {
            unsigned char *mark = &listed[ids->items[i].features[k]];
            left -= !*mark;
            *mark = 1;
        }
    }
    return left;
}

/* Selection sampling (Knuth, TAOCP 2, 3.4.2, algorithm S): each candidate is taken with the chance that what
 * is still needed has among what is still to come. */
int sae_draw_unlisted(const unsigned char *listed, int d_sae, int n, uint64_t seed, int32_t *out, tn_err *e) {
    int left = 0, taken = 0;
    for (int f = 0; f < d_sae; f++) left += !listed[f];
    if (n > left)
        return tn_fail(e, TN_EARG, "%d random features are needed, but only %d are listed for no label", n,
                       left);
    tn_rng r = tn_rng_seed(seed);
    for (int f = 0; f < d_sae && taken < n; f++) {
        if (listed[f]) continue;
        if (tn_rng_below(&r, (uint64_t)left) < (uint64_t)(n - taken)) out[taken++] = (int32_t)f;
        left--;
    }
    return TN_OK;
}

/* ---- Counting ---- */

void sae_tally_add(sae_tally *t, int original, int named, int target, int other) {
    t->cases++;
    if (named == target)
        t->target++;
    else if (named == other)
        t->other++;
    else if (named >= 0)
        t->third++;
    else
        t->none++;
    if (original == target) return;
    t->open++;
    t->moved += named == target;
}

/*  low, high = (p + z²/2n ± z sqrt(p(1 - p)/n + z²/4n²)) / (1 + z²/n)    with p = hits/n */
sae_share sae_wilson(int hits, int n) {
    const double z = 1.959963984540054; /* the normal distribution's 97.5 % point */
    if (n < 1) return (sae_share){(double)NAN, 0.0, 1.0};
    double p = (double)hits / n, zz = z * z / n;
    double middle = p + zz / 2.0, half = z * sqrt(p * (1.0 - p) / n + zz / (4.0 * n));
    double low = (middle - half) / (1.0 + zz), high = (middle + half) / (1.0 + zz);
    /* At 0 and n the bounds are 0 and 1 exactly; rounding may miss them. */
    return (sae_share){p, hits == 0 ? 0.0 : low, hits == n ? 1.0 : high};
}
