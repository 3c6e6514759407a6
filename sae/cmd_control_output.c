/* sae control: the cases as JSON lines, the outcome as a table or as JSON. */
#include "sae/cmd_control.h"
#include "tensor/json.h"

#include <stdio.h>
#include <string.h>

static const char *const way_names[N_WAYS] = {"original", "SAE only", "scaled", "target", "random", "other"};

/* ---- One case ---- */

static void put_answer(tn_json_out *w, const char *name, const control_answer *a, int original, int target,
                       const sae_label_ids *labels) {
    tn_json_begin_object(w);
    tn_json_member_text(w, "name", name);
    tn_json_key(w, "names");
    if (a->named < 0)
        tn_json_put_null(w);
    else
        tn_json_puts(w, labels->items[a->named].label);
    tn_json_member_bool(w, "moved", original != target && a->named == target);
    if (a->n_features) {
        tn_json_key(w, "features");
        tn_json_begin_array(w);
        for (int i = 0; i < a->n_features; i++) tn_json_put_i64(w, a->features[i]);
        tn_json_end_array(w);
    }
    tn_json_key(w, "text");
    tn_json_put_string(w, a->text.data, a->text.len);
    tn_json_end_object(w);
}

int control_add_case(const control_case *c, const sae_label_ids *labels, const control_answer *answers,
                     tn_buf *out, tn_err *e) {
    tn_json line, expected;
    const char *raw = c->question->extra_raw;
    int code = tn_json_parse(&line, raw, strlen(raw), e);
    if (code) return code;
    expected = tn_json_get(line, "expected");
    tn_json_out w = tn_json_writer(out, 0);
    tn_json_begin_object(&w);
    tn_json_member_text(&w, "prompt", c->question->prompt);
    tn_json_member_text(&w, "label", labels->items[c->target].label);
    tn_json_member_text(&w, "other", labels->items[c->other].label);
    if (expected.kind != TN_JSON_NONE) {
        tn_json_key(&w, "expected");
        tn_json_put_raw(&w, expected.text, expected.len);
    }
    tn_json_key(&w, "answers");
    tn_json_begin_array(&w);
    for (int i = 0; i < N_WAYS; i++)
        put_answer(&w, way_names[i], &answers[i], answers[WAY_ORIGINAL].named, c->target, labels);
    tn_json_end_array(&w);
    tn_json_end_object(&w);
    tn_buf_putc(out, '\n');
    return out->failed ? tn_fail(e, TN_ENOMEM, "out of memory") : TN_OK;
}

/* ---- All cases ---- */

/* "  12.5 %", or a dash when there was no case to count. */
static void print_share(int hits, int n) {
    if (n)
        printf("  %5.1f %%", 100.0 * hits / n);
    else
        printf("  %7s", "-");
}

static void print_interval(int hits, int n) {
    sae_share s = sae_wilson(hits, n);
    printf("  %5.1f - %5.1f", 100.0 * s.low, 100.0 * s.high);
}

void control_print_table(const control_settings *s, const sae_tally *tallies) {
    const sae_tally *o = &tallies[WAY_ORIGINAL];
    printf("%d cases, %s positions, all *= %g; features += %g%s\n", o->cases,
           sae_positions_name(s->positions), (double)s->scale, (double)s->strength,
           s->keep_error ? ", the SAE's error kept" : "");
    printf("original answers that name TARGET already: %d; the other %d can move\n", o->target, o->open);
    printf(
        "moved: answers that name TARGET, of those %d; TARGET, OTHER, third, none: what answers name, of all "
        "%d\n\n",
        o->open, o->cases);
    printf("%-9s  %-11s  %7s  %13s  %7s  %13s  %7s  %7s  %7s\n", "way", "moved", "share", "95 % interval",
           "TARGET", "95 % interval", "OTHER", "third", "none");
    for (int i = 0; i < N_WAYS; i++) {
        const sae_tally *t = &tallies[i];
        char moved[32];
        snprintf(moved, sizeof moved, "%d of %d", t->moved, t->open);
        printf("%-9s  %-11s", way_names[i], moved);
        print_share(t->moved, t->open);
        print_interval(t->moved, t->open);
        print_share(t->target, t->cases);
        print_interval(t->target, t->cases);
        print_share(t->other, t->cases);
        print_share(t->third, t->cases);
        print_share(t->none, t->cases);
        printf("\n");
    }
}

static void put_share(tn_json_out *w, const char *share, const char *low, const char *high, sae_share s) {
    tn_json_member_f64(w, share, s.share);
    tn_json_member_f64(w, low, s.low);
    tn_json_member_f64(w, high, s.high);
}

static void put_settings(tn_json_out *w, const control_settings *s) {
    tn_json_begin_object(w);
    tn_json_member_text(w, "model", s->model);
    tn_json_member_text(w, "sae", s->sae_dir);
    tn_json_member_text(w, "cases", s->cases_path);
    tn_json_member_text(w, "features", s->features_path);
    tn_json_member_f32(w, "scale", s->scale);
    tn_json_member_f32(w, "strength", s->strength);
    tn_json_member_i64(w, "top", s->top);
    tn_json_member_text(w, "positions", sae_positions_name(s->positions));
    tn_json_member_bool(w, "keep_error", s->keep_error);
    tn_json_member_i64(w, "max_new", s->max_new);
    tn_json_member_i64(w, "seed", (int64_t)s->seed);
    tn_json_end_object(w);
}

void control_add_json(const control_settings *s, const sae_tally *tallies, tn_buf *out) {
    tn_json_out w = tn_json_writer(out, 2);
    tn_json_begin_object(&w);
    tn_json_member_i64(&w, "cases", tallies[WAY_ORIGINAL].cases);
    tn_json_member_i64(&w, "already_target", tallies[WAY_ORIGINAL].target);
    tn_json_key(&w, "ways");
    tn_json_begin_array(&w);
    for (int i = 0; i < N_WAYS; i++) {
        const sae_tally *t = &tallies[i];
        tn_json_begin_object(&w);
        tn_json_member_text(&w, "name", way_names[i]);
        tn_json_member_i64(&w, "n", t->open);
        tn_json_member_i64(&w, "moved", t->moved);
        put_share(&w, "share", "low", "high", sae_wilson(t->moved, t->open));
        tn_json_member_i64(&w, "target", t->target);
        tn_json_member_i64(&w, "other", t->other);
        tn_json_member_i64(&w, "third", t->third);
        tn_json_member_i64(&w, "none", t->none);
        put_share(&w, "target_share", "target_low", "target_high", sae_wilson(t->target, t->cases));
        tn_json_end_object(&w);
    }
    tn_json_end_array(&w);
    tn_json_key(&w, "settings");
    put_settings(&w, s);
    tn_json_end_object(&w);
    tn_buf_putc(out, '\n');
}
