/* What is left to do after the last step (fit_end.h). */
#include "sae/fit_end.h"

#include "sae/arch.h"

/* Training saw s·x; afterwards the SAE takes x itself. With rows of length 1 these must stay, so the latents
 * shrink instead:  x̂ = (z/s) W_dec + b_dec/s  with  z/s = act(W_enc (x - b_dec/s) + b_enc/s), where
 * thresholds shrink like biases. */
void sae_fit_fold_scale(sae_model *m, const sae_train_opts *t, float s) {
    size_t d = (size_t)m->cfg.d_in, f = (size_t)m->cfg.d_sae;
    if (s == 1.0f) return;
    if (t->unit_norm_decoder || sae_train_ranks(t)) {
        sae_vector vectors[SAE_MAX_VECTORS];
        int n = sae_arch_of(m->cfg.architecture)->vectors(m, vectors);
        for (int v = 0; v < n; v++)
            for (size_t i = 0; i < f && vectors[v].in_units; i++) (*vectors[v].data)[i] /= s;
    } else {
        for (size_t j = 0; j < f * d; j++) m->w_enc[j] *= s;
        for (size_t j = 0; j < f * d; j++) m->w_dec[j] /= s;
    }
    for (size_t k = 0; k < d; k++) m->b_dec[k] /= s;
}

/* The options that are the architecture's. */
static void describe_architecture(const sae_train_opts *t, tn_json_out *w) {
    static const char *const l0[] = {"step", "quadratic", "tanh", "mean"};
    if (sae_train_ranks(t)) {
        tn_json_member_f64(w, "k", (double)t->k);
        tn_json_member_f64(w, "aux_loss_coefficient", (double)t->aux);
        if (t->n_widths == 0) return;
        tn_json_key(w, "matryoshka_widths");
        tn_json_begin_array(w);
        for (int l = 0; l < t->n_widths; l++) tn_json_put_i64(w, t->widths[l]);
        tn_json_end_array(w);
        return;
    }
    tn_json_member_f64(w, t->arch == SAE_TRAIN_JUMPRELU ? "l0_coefficient" : "l1_coefficient", (double)t->l1);
    tn_json_member_f64(w, t->arch == SAE_TRAIN_JUMPRELU ? "l0_warmup_steps" : "l1_warmup_steps",
                       t->l1_warmup_steps);
    if (t->arch != SAE_TRAIN_JUMPRELU) return;
    tn_json_member_text(w, "l0_penalty", l0[t->l0_penalty]);
    if (t->l0_penalty == SAE_L0_QUADRATIC || t->l0_penalty == SAE_L0_MEAN)
        tn_json_member_f64(w, "target_l0", (double)t->target_l0);
    if (t->l0_penalty == SAE_L0_TANH) tn_json_member_f64(w, "tanh_scale", (double)t->tanh_scale);
    tn_json_member_f64(w, "bandwidth", (double)t->bandwidth);
    tn_json_member_f64(w, "init_threshold", (double)t->init_threshold);
    tn_json_member_f64(w, "threshold_speed", (double)t->threshold_speed);
    tn_json_member_bool(w, "ste_to_input", t->ste_to_input);
    tn_json_member_f64(w, "pre_act_loss_coefficient", (double)t->pre_act);
}

void sae_fit_describe(const sae_fit_opts *o, const sae_fit_rows *rows, const sae_fit_result *res,
                      tn_buf *out) {
    const sae_train_opts *t = &o->train;
    tn_json_out w = tn_json_writer(out, 0);
    tn_json_begin_object(&w);
    tn_json_member_text(&w, "convention", t->convention == SAE_SAELENS ? "saelens" : "dictionary_learning");
    tn_json_member_f64(&w, "activation_scale", rows->scale);
    tn_json_member_f64(&w, "training_rows", rows->split.n_train);
    tn_json_member_f64(&w, "validation_rows", rows->split.n_val);
    tn_json_member_f64(&w, "epochs", o->epochs);
    tn_json_member_f64(&w, "steps", t->total_steps);
    tn_json_member_f64(&w, "batch", t->batch);
    tn_json_member_f64(&w, "lr", (double)t->lr);
    tn_json_member_f64(&w, "lr_warmup_steps", t->lr_warmup_steps);
    tn_json_member_f64(&w, "lr_decay_steps", t->lr_decay_steps);
    if (t->resample > 0) tn_json_member_f64(&w, "resample_steps", t->resample);
    describe_architecture(t, &w);
    tn_json_member_f64(&w, "clip", (double)t->clip);
    tn_json_member_f64(&w, "unit_norm_decoder", t->unit_norm_decoder);
    tn_json_member_f64(&w, "seed", (double)t->seed);
    tn_json_member_f64(&w, "train_fve", res->train.fve);
    tn_json_member_f64(&w, "train_l0", res->train.l0);
    if (rows->split.n_val > 0) {
        tn_json_member_f64(&w, "validation_fve", res->val.fve);
        tn_json_member_f64(&w, "validation_l0", res->val.l0);
    }
    tn_json_member_f64(&w, "dead_latents", res->train.dead);
    tn_json_end_object(&w);
}
