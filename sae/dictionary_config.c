/* config.json of dictionary_config.h: an object "trainer", which names the class, its widths and what it was
 * trained on, and an object "buffer" about the activations. */
#include "sae/dictionary_config.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static const sae_dictionary_class classes[] = {
    {"AutoEncoder", "StandardTrainer", SAE_STANDARD, "standard", 1, 1, 0, 0, "bias"},
    {"AutoEncoderNew", "StandardTrainerAprilUpdate", SAE_STANDARD, "standard", 0, 1, 0, 0, "decoder.bias"},
    {"GatedAutoEncoder", "GatedSAETrainer", SAE_GATED, "gated", 1, 1, 0, 0, "decoder_bias"},
    {"AutoEncoderTopK", "TopKTrainer", SAE_TOPK, "topk", 1, 1, 1, 0, "b_dec"},
    {"JumpReluAutoEncoder", "JumpReluTrainer", SAE_JUMPRELU, "jumprelu", 0, 0, 0, 0, "b_dec"},
    {"BatchTopKSAE", "BatchTopKTrainer", SAE_JUMPRELU, "batchtopk", 1, 1, 1, 1, "b_dec"},
    {"MatryoshkaBatchTopKSAE", "MatryoshkaBatchTopKTrainer", SAE_JUMPRELU, "matryoshka_batchtopk", 1, 0, 1, 1,
     "b_dec"},
};
enum { N_CLASSES = sizeof classes / sizeof *classes };

/* What submodule_name begins with, and the site it means here. */
static const char *const sites[][2] = {{"resid_post", "hook_resid_post"},  {"mlp_out", "hook_mlp_out"},
                                       {"attention_out", "hook_attn_out"}, {"attn_out", "hook_attn_out"},
                                       {"resid_pre", "hook_resid_pre"},    {"resid_mid", "hook_resid_mid"}};
enum { N_SITES = sizeof sites / sizeof *sites };

/* ---- reading ---- */

static int read_count(tn_json obj, const char *key, int *out, tn_err *e) {
    int64_t v;
    if (!tn_json_i64(tn_json_get(obj, key), &v) || v < 1 || v > INT_MAX)
        return tn_fail(e, TN_EFORMAT, "\"%s\" is missing or no whole number from 1 on", key);
    *out = (int)v;
    return TN_OK;
}

/* The hook name of a layer's site: blocks.L.hook_resid_post unless submodule_name names another. */
static void read_hook(sae_config *cfg, tn_json trainer) {
    char site[64] = "";
    int64_t layer;
    const char *hook = sites[0][1];
    if (!tn_json_i64(tn_json_get(trainer, "layer"), &layer) || layer < 0 || layer > 100000) return;
    if (tn_json_copy(tn_json_get(trainer, "submodule_name"), site, sizeof site))
        for (int i = 0; i < N_SITES; i++)
            if (strncmp(site, sites[i][0], strlen(sites[i][0])) == 0) hook = sites[i][1];
    snprintf(cfg->hook_name, sizeof cfg->hook_name, "blocks.%d.%s", (int)layer, hook);
}

static int parse(sae_config *cfg, const sae_dictionary_class **c, tn_json root, tn_err *e) {
    tn_json trainer = tn_json_get(root, "trainer"), name = tn_json_get(trainer, "dict_class");
    memset(cfg, 0, sizeof *cfg);
    *c = NULL;
    if (name.kind != TN_JSON_STRING) return tn_fail(e, TN_EFORMAT, "\"trainer\" has no \"dict_class\"");
    for (int i = 0; i < N_CLASSES; i++)
        if (tn_json_is(name, classes[i].name)) *c = &classes[i];
    if (!*c)
        return tn_fail(e, TN_EUNSUP, "\"dict_class\" is %.*s, which is none of the known ones",
                       (int)(name.len < 80 ? name.len : 80), name.text);
    cfg->architecture = (*c)->architecture;
    cfg->apply_b_dec_to_input = (*c)->apply_b_dec_to_input;
    memcpy(cfg->trained_as, (*c)->trained_as, strlen((*c)->trained_as) + 1);
    int rc = read_count(trainer, "activation_dim", &cfg->d_in, e);
    if (!rc) rc = read_count(trainer, "dict_size", &cfg->d_sae, e);
    if (!rc && cfg->architecture == SAE_TOPK) rc = read_count(trainer, "k", &cfg->k, e);
    if (rc) return rc;
    tn_json lm = tn_json_get(trainer, "lm_name");
    if (lm.kind == TN_JSON_STRING && !tn_json_copy(lm, cfg->model_name, sizeof cfg->model_name))
        return tn_fail(e, TN_EFORMAT, "\"lm_name\" is longer than %zu bytes", sizeof cfg->model_name - 1);
    read_hook(cfg, trainer);
    int64_t context;
    if (tn_json_i64(tn_json_get(tn_json_get(root, "buffer"), "ctx_len"), &context) && context > 0 &&
        context <= INT_MAX)
        cfg->context_size = (int)context;
    return TN_OK;
}

int sae_dictionary_config_open(sae_config *cfg, const sae_dictionary_class **c, const char *path, tn_err *e) {
    tn_map map;
    int rc = tn_map_file(&map, path, e);
    if (rc) return rc;
    tn_json root;
    rc = tn_json_parse(&root, map.data, map.size, e);
    if (!rc) rc = parse(cfg, c, root, e);
    tn_unmap_file(&map);
    return rc ? tn_fail_in(e, rc, path) : TN_OK;
}

/* ---- writing ---- */

const sae_dictionary_class *sae_dictionary_class_for(const sae_config *cfg) {
    if (cfg->architecture == SAE_STANDARD) return &classes[cfg->apply_b_dec_to_input ? 0 : 1];
    for (int i = 2; i < N_CLASSES; i++)
        if (classes[i].architecture == cfg->architecture) return &classes[i];
    return NULL;
}

static void put_layer(const sae_model *s, tn_json_out *w) {
    char name[64];
    int layer = sae_layer(s);
    const char *hook = strrchr(s->cfg.hook_name, '.');
    if (layer < 0) return;
    tn_json_member_i64(w, "layer", layer);
    for (int i = 0; i < N_SITES && hook; i++) {
        if (strcmp(hook + 1, sites[i][1]) != 0) continue;
        snprintf(name, sizeof name, "%s_layer_%d", sites[i][0], layer);
        tn_json_member_text(w, "submodule_name", name);
        return;
    }
}

void sae_dictionary_config_write(const sae_model *s, const sae_dictionary_class *c, const char *note,
                                 tn_buf *out) {
    tn_json_out w = tn_json_writer(out, 4);
    tn_json_begin_object(&w);
    tn_json_key(&w, "trainer");
    tn_json_begin_object(&w);
    tn_json_member_text(&w, "trainer_class", c->trainer);
    tn_json_member_text(&w, "dict_class", c->name);
    tn_json_member_i64(&w, "activation_dim", s->cfg.d_in);
    tn_json_member_i64(&w, "dict_size", s->cfg.d_sae);
    if (c->top_k) tn_json_member_i64(&w, "k", s->cfg.k);
    tn_json_member_text(&w, "device", "cpu");
    put_layer(s, &w);
    tn_json_member_text(&w, "lm_name", s->cfg.model_name);
    tn_json_member_text(&w, "wandb_name", c->name);
    tn_json_end_object(&w);
    tn_json_key(&w, "buffer");
    tn_json_begin_object(&w);
    tn_json_member_i64(&w, "d_submodule", s->cfg.d_in);
    tn_json_member_text(&w, "io", "out");
    tn_json_member_i64(&w, "ctx_len", s->cfg.context_size);
    tn_json_end_object(&w);
    if (note) {
        tn_json_key(&w, "scalpel_training");
        tn_json_put_raw(&w, note, strlen(note));
    }
    tn_json_end_object(&w);
    tn_buf_putc(out, '\n');
}
