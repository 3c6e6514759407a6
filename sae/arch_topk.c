/* TopK: the k largest pre-activations of a row stay, and of these the positive ones (Gao et al. 2024,
 * arXiv:2406.04093). Of equal ones the latents of lower index stay.
 */
#include "sae/arch.h"
#include "sae/topk.h"

#include <math.h>

enum { DEFAULT_K = 100 /* SAELens', for files that name none */ };

static int vectors(sae_model *s, sae_vector out[SAE_MAX_VECTORS]) {
    out[0] = (sae_vector){"b_enc", &s->b_enc, 1};
    return 1;
}

static int read_settings(sae_config *cfg, tn_json root, tn_err *e) {
    tn_json k = tn_json_get(root, "k"), rescale = tn_json_get(root, "rescale_acts_by_decoder_norm");
    int64_t v = DEFAULT_K;
    if (k.kind != TN_JSON_NONE && !tn_json_i64(k, &v))
        return tn_fail(e, TN_EFORMAT, "\"k\" is no whole number");
    if (v < 1 || v > cfg->d_sae)
        return tn_fail(e, TN_EFORMAT, "\"k\" is %lld, expected 1 to d_sae, which is %d", (long long)v,
                       cfg->d_sae);
    cfg->k = (int)v;
    if (rescale.kind != TN_JSON_NONE && !tn_json_bool(rescale, &cfg->rescale_acts_by_decoder_norm))
        return tn_fail(e, TN_EFORMAT, "\"rescale_acts_by_decoder_norm\" is neither true nor false");
    return TN_OK;
}

static void write_settings(const sae_config *cfg, tn_json_out *w) {
    tn_json_member_i64(w, "k", cfg->k);
    tn_json_member_bool(w, "rescale_acts_by_decoder_norm", cfg->rescale_acts_by_decoder_norm);
}

static int check(const sae_config *cfg, tn_err *e) {
    if (cfg->k >= 1 && cfg->k <= cfg->d_sae) return TN_OK;
    return tn_fail(e, TN_EARG, "k is %d, it must be between 1 and the %d latents", cfg->k, cfg->d_sae);
}

static size_t scratch_bytes(const sae_config *cfg) {
    return (size_t)cfg->k * sizeof(sae_pick);
}

/* Only positive values can stay, so only they compete; with fewer than k of them all stay. */
static void activate(const sae_model *s, float *z, void *scratch) {
    sae_pick *heap = scratch; /* [k] */
    uint32_t n = 0, k = (uint32_t)s->cfg.k, f = (uint32_t)s->cfg.d_sae;
    for (uint32_t i = 0; i < f; i++)
        if (z[i] > 0.0f) sae_topk_offer(heap, &n, k, z[i], i);
    sae_pick worst = n == k ? heap[0] : (sae_pick){0.0f, 0};
    for (uint32_t i = 0; i < f; i++)
        if (!isnan(z[i]) && (z[i] <= 0.0f || !sae_topk_kept(worst, z[i], i))) z[i] = 0.0f;
}

const sae_arch sae_arch_topk = {.name = "topk",
                                .vectors = vectors,

                                .read = read_settings,
                                .write = write_settings,
                                .check = check,
                                .activate = activate,
                                .scratch = scratch_bytes};
