/* What `sae eval` prints: a table, or one JSON object. */
#include "sae/cmd_eval.h"
#include "tensor/json.h"
#include "tensor/os.h"

#include <math.h>
#include <stdio.h>

/* ---- Numbers ---- */

static const sae_parts *parts_of(const eval_job *j) {
    return j->acts_path ? &j->parts : &j->effect.rows;
}

/* The numbers of a part; without a model only those of its rows. */
static sae_effect_result numbers_of(const eval_job *j, int part) {
    if (!j->acts_path) return sae_effect_finish(&j->effect, part);
    return (sae_effect_result){.rows = sae_eval_finish(&j->parts.part[part])};
}

static size_t document_count(const eval_job *j) {
    if (!j->acts_path) return j->effect.docs;
    return (size_t)j->limit < j->acts.n_docs ? (size_t)j->limit : j->acts.n_docs;
}

static int has_rows(const eval_job *j, int part) {
    return parts_of(j)->part[part].n > 0;
}

/* ---- Table ---- */

static void print_cell(double v, int width, int digits) {
    if (isfinite(v))
        printf(" %*.*f", width, digits, v);
    else
        printf(" %*s", width, "-");
}

static void print_rows(const sae_eval_result *r) {
    printf("reconstruction      L0 %.2f   L1 %.4g   dead %d   alive %d\n", r->l0, r->l1, r->dead, r->alive);
    printf("                    MSE %.6g   per element %.6g   FVE %.4f   row by row %.4f\n", r->mse,
           r->mse_per_element, r->fve, r->explained_variance_legacy);
    printf("                    cosine %.4f   |x| %.4g   |x'| %.4g   |x'|/|x| %.4f   relative reconstruction "
           "bias",
           r->cosine, r->l2_norm_in, r->l2_norm_out, r->l2_ratio);
    print_cell(r->relative_reconstruction_bias, 0, 4);
    printf("\n");
}

static void print_effect(const sae_effect_result *r) {
    printf("\nin the model        %12s  %14s  %16s\n", "CE (nats)", "loss recovered", "KL from original");
    printf("  original          %12.4f\n", r->ce_original);
    printf("  SAE               %12.4f  %14s  %16.4f   CE %+.4f\n", r->ce_sae, "", r->kl, r->ce_difference);
    printf("  zero ablation     %12.4f ", r->ce_zero);
    print_cell(r->loss_recovered, 14, 4);
    printf("  %16.4f\n", r->kl_zero);
    printf("  mean ablation     %12.4f ", r->ce_mean);
    print_cell(r->loss_recovered_mean, 14, 4);
    printf("\n");
}

/* How many latents fire how often: a bar for each half power of ten, from the rarest to the most common. */
static void print_density(const sae_eval_result *r) {
    enum { WIDTH = 40 };
    int first = 0, last = SAE_DENSITY_BINS - 1, most = r->dead;
    while (first < last && !r->density[first]) first++;
    while (last > first && !r->density[last]) last--;
    for (int i = first; i <= last; i++)
        if (r->density[i] > most) most = r->density[i];
    printf("\ndensity             latents by the share of rows they fire on\n");
    for (int i = first - 1; i <= last; i++) {
        int count = i < first ? r->dead : r->density[i];
        int bar = most ? (int)(((double)count * WIDTH + most - 1) / most) : 0;
        if (i < first)
            printf("  never           ");
        else
            printf("  from %-10.2g ", sae_density_edge(i));
        printf("%7d  %.*s\n", count, bar, "########################################");
    }
}

static void print_part(const eval_job *j, const char *name, int part) {
    sae_effect_result r = numbers_of(j, part);
    printf("  %-16.40s %8zu", name, r.rows.n);
    print_cell(r.rows.l0, 8, 2);
    print_cell(r.rows.mse, 11, 4);
    print_cell(r.rows.fve, 8, 4);
    print_cell(r.rows.cosine, 7, 4);
    print_cell(r.rows.l2_ratio, 7, 4);
    printf(" %7d", r.rows.alive);
    if (!j->acts_path) {
        print_cell(r.ce_original, 8, 4);
        print_cell(r.ce_sae, 8, 4);
        print_cell(r.loss_recovered, 9, 4);
        print_cell(r.kl, 8, 4);
    }
    printf("\n");
}

static void print_parts_heading(const eval_job *j, const char *by) {
    printf("\n%-18s %8s %8s %11s %8s %7s %7s %7s", by, "rows", "L0", "MSE", "FVE", "cosine", "|x'|/|x|",
           "alive");
    if (!j->acts_path) printf(" %8s %8s %9s %8s", "CE", "CE SAE", "recovered", "KL");
    printf("\n");
}

static void print_parts(const eval_job *j) {
    const sae_parts *p = parts_of(j);
    if (j->by_label) print_parts_heading(j, "by label");
    for (int i = 0; i < p->n_labels; i++)
        print_part(j, j->labels.name[i][0] ? j->labels.name[i] : "(none)", p->first_label + i);
    if (j->by_position) print_parts_heading(j, "by position");
    for (int i = 0; i < p->n_ranges; i++) {
        int first, last;
        char name[32];
        sae_range_bounds(i, &first, &last);
        snprintf(name, sizeof name, first == last ? "%d" : "%d to %d", first, last);
        if (has_rows(j, p->first_range + i)) print_part(j, name, p->first_range + i);
    }
}

static void print_table(const eval_job *j) {
    const sae_config *c = &j->sae.model.cfg;
    sae_effect_result r = numbers_of(j, SAE_ALL_ROWS);
    printf("%s: %d latents at %s, width %d\n", j->sae_dir, c->d_sae, c->hook_name, c->d_in);
    printf("%zu documents, %zu rows", document_count(j), r.rows.n);
    if (j->acts_path)
        printf(" of %s%s\n\n", j->acts_path, j->skip_first ? ", without the first positions" : "");
    else
        printf(" (%s positions%s), %zu of them predict a token\n\n", sae_positions_name(j->positions),
               j->skip_first ? " but the first" : "", r.targets);
    print_rows(&r.rows);
    if (!j->acts_path) print_effect(&r);
    print_density(&r.rows);
    print_parts(j);
    printf("\ndefinitions: SAELens 6.54 run_evals, pooled over all rows (--help)\n");
}

/* ---- JSON ---- */

static void put_rows(tn_json_out *w, const sae_eval_result *r) {
    tn_json_member_i64(w, "n_tokens", (int64_t)r->n);
    tn_json_member_f64(w, "l0", r->l0);
    tn_json_member_f64(w, "l1", r->l1);
    tn_json_member_f64(w, "mse", r->mse);
    tn_json_member_f64(w, "mse_per_element", r->mse_per_element);
    tn_json_member_f64(w, "fve", r->fve);
    tn_json_member_f64(w, "explained_variance_legacy", r->explained_variance_legacy);
    tn_json_member_f64(w, "cosine", r->cosine);
    tn_json_member_f64(w, "l2_norm_in", r->l2_norm_in);
    tn_json_member_f64(w, "l2_norm_out", r->l2_norm_out);
    tn_json_member_f64(w, "l2_ratio", r->l2_ratio);
    tn_json_member_f64(w, "relative_reconstruction_bias", r->relative_reconstruction_bias);
    tn_json_member_i64(w, "dead", r->dead);
    tn_json_member_i64(w, "alive", r->alive);
}

static void put_effect(tn_json_out *w, const sae_effect_result *r) {
    tn_json_member_i64(w, "n_targets", (int64_t)r->targets);
    tn_json_member_f64(w, "ce_original", r->ce_original);
    tn_json_member_f64(w, "ce_sae", r->ce_sae);
    tn_json_member_f64(w, "ce_zero", r->ce_zero);
    tn_json_member_f64(w, "ce_mean", r->ce_mean);
    tn_json_member_f64(w, "ce_difference", r->ce_difference);
    tn_json_member_f64(w, "loss_recovered", r->loss_recovered);
    tn_json_member_f64(w, "loss_recovered_mean", r->loss_recovered_mean);
    tn_json_member_f64(w, "kl", r->kl);
    tn_json_member_f64(w, "kl_zero", r->kl_zero);
    tn_json_member_f64(w, "kl_score", r->kl_score);
}

static void put_numbers(const eval_job *j, tn_json_out *w, int part) {
    sae_effect_result r = numbers_of(j, part);
    put_rows(w, &r.rows);
    if (!j->acts_path) put_effect(w, &r);
}

static void put_density(const eval_job *j, tn_json_out *w) {
    sae_effect_result r = numbers_of(j, SAE_ALL_ROWS);
    tn_json_key(w, "density"); /* of the living latents */
    tn_json_begin_object(w);
    tn_json_key(w, "log10_from");
    tn_json_begin_array(w);
    for (int i = 0; i < SAE_DENSITY_BINS; i++) tn_json_put_f64(w, 0.5 * (i - SAE_DENSITY_BINS));
    tn_json_end_array(w);
    tn_json_key(w, "latents");
    tn_json_begin_array(w);
    for (int i = 0; i < SAE_DENSITY_BINS; i++) tn_json_put_i64(w, r.rows.density[i]);
    tn_json_end_array(w);
    tn_json_end_object(w);
}

static void put_labels(const eval_job *j, tn_json_out *w) {
    tn_json_key(w, "by_label");
    tn_json_begin_array(w);
    for (int i = 0; i < j->labels.n; i++) {
        tn_json_begin_object(w);
        tn_json_member_text(w, "label", j->labels.name[i]);
        put_numbers(j, w, parts_of(j)->first_label + i);
        tn_json_end_object(w);
    }
    tn_json_end_array(w);
}

static void put_ranges(const eval_job *j, tn_json_out *w) {
    const sae_parts *p = parts_of(j);
    tn_json_key(w, "by_position");
    tn_json_begin_array(w);
    for (int i = 0; i < p->n_ranges; i++) {
        if (!has_rows(j, p->first_range + i)) continue;
        int first, last;
        sae_range_bounds(i, &first, &last);
        tn_json_begin_object(w);
        tn_json_member_i64(w, "first", first);
        tn_json_member_i64(w, "last", last);
        put_numbers(j, w, p->first_range + i);
        tn_json_end_object(w);
    }
    tn_json_end_array(w);
}

static void put_json(const eval_job *j, tn_buf *out) {
    tn_json_out w = tn_json_writer(out, 2);
    tn_json_begin_object(&w);
    tn_json_member_text(&w, "hook_name", j->sae.model.cfg.hook_name);
    if (!j->acts_path) tn_json_member_text(&w, "positions", sae_positions_name(j->positions));
    tn_json_member_bool(&w, "skip_first", j->skip_first);
    tn_json_member_i64(&w, "n_docs", (int64_t)document_count(j));
    put_numbers(j, &w, SAE_ALL_ROWS);
    put_density(j, &w);
    if (j->by_label) put_labels(j, &w);
    if (j->by_position) put_ranges(j, &w);
    tn_json_end_object(&w);
    tn_buf_putc(out, '\n');
}

int eval_show(const eval_job *j, tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    put_json(j, &text);
    int code = text.failed ? tn_fail(e, TN_ENOMEM, "out of memory") : TN_OK;
    if (!code && j->json)
        printf("%s", text.data);
    else if (!code)
        print_table(j);
    if (!code && j->out) code = tn_write_file(j->out, text.data, text.len, e);
    tn_buf_free(&text);
    return code;
}
