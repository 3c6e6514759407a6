/* Hooks on the residual stream: their names, their registration, their dispatch.
 *
 * Which (layer, site) has a listener is worked out at registration, so an empty site costs the forward pass
 * one byte test.
 */
#include "qwen/state.h"

#include <stdio.h>
#include <string.h>

static const char *const site_names[QWEN_SITE_COUNT] = {"resid_pre", "attn_out", "resid_mid", "mlp_out",
                                                        "resid_post"};

const char *qwen_site_name(qwen_site site) {
    return (unsigned)site < QWEN_SITE_COUNT ? site_names[site] : "unknown";
}

int qwen_site_from_name(const char *name, qwen_site *out) {
    for (int i = 0; i < QWEN_SITE_COUNT; i++) {
        if (strcmp(name, site_names[i])) continue;
        *out = (qwen_site)i;
        return 1;
    }
    return 0;
}

void qwen_hook_name(char *dst, size_t cap, int layer, qwen_site site) {
    snprintf(dst, cap, "blocks.%d.hook_%s", layer, qwen_site_name(site));
}

int qwen_hook_parse(const char *name, int *layer, qwen_site *site) {
    static const char before[] = "blocks.", after[] = ".hook_";
    if (strncmp(name, before, sizeof before - 1)) return 0;
    const char *digits = name + sizeof before - 1, *p = digits;
    int l = 0;
    while (*p >= '0' && *p <= '9' && p - digits < 6) l = l * 10 + (*p++ - '0');
    /* One spelling for each layer: no empty number, no leading zeros. */
    if (p == digits || (*digits == '0' && p - digits > 1)) return 0;
    if (strncmp(p, after, sizeof after - 1) || !qwen_site_from_name(p + sizeof after - 1, site)) return 0;
    *layer = l;
    return 1;
}

static int check_hook(const qwen_hook *h, int layers, tn_err *e) {
    int bad = h->layer_first < 0 || h->layer_first >= layers ? h->layer_first : h->layer_last;
    if ((unsigned)h->site >= QWEN_SITE_COUNT)
        return tn_fail(e, TN_EARG, "hook site %d is unknown", (int)h->site);
    if (!h->fn) return tn_fail(e, TN_EARG, "a hook has no function");
    if (bad < 0 || bad >= layers)
        return tn_fail(e, TN_EARG, "layer %d is out of range: the model has layers 0 to %d", bad, layers - 1);
    if (h->layer_first > h->layer_last)
        return tn_fail(e, TN_EARG, "a hook's first layer %d is after its last layer %d", h->layer_first,
                       h->layer_last);
    return TN_OK;
}

int qwen_set_hooks(qwen_state *s, const qwen_hook *hooks, int n, tn_err *e) {
    int layers = s->model->config.layers;
    if (n < 0 || n > QWEN_MAX_HOOKS)
        return tn_fail(e, TN_EARG, "%d hooks were given, expected 0 to %d", n, QWEN_MAX_HOOKS);
    for (int i = 0; i < n; i++) {
        int rc = check_hook(&hooks[i], layers, e);
        if (rc) return rc;
    }
    memset(s->hooked, 0, (size_t)layers * QWEN_SITE_COUNT);
    for (int i = 0; i < n; i++) {
        s->hooks[i] = hooks[i];
        for (int l = hooks[i].layer_first; l <= hooks[i].layer_last; l++)
            s->hooked[l * QWEN_SITE_COUNT + (int)hooks[i].site] = 1;
    }
    s->n_hooks = n;
    return TN_OK;
}

int qwen_run_hooks(const qwen_state *s, const qwen_rows *r, int layer, qwen_site site, float *x, tn_err *e) {
    if (!s->hooked[layer * QWEN_SITE_COUNT + (int)site]) return TN_OK;
    const qwen_tap tap = {.site = site,
                          .layer = layer,
                          .n = r->n,
                          .d = s->model->config.hidden,
                          .tokens = r->tokens,
                          .pos = r->pos,
                          .seq = r->seq,
                          .generated = r->generated,
                          .x = x,
                          .exec = s->opts.exec};
    for (int i = 0; i < s->n_hooks; i++) {
        const qwen_hook *h = &s->hooks[i];
        if (h->site != site || layer < h->layer_first || layer > h->layer_last) continue;
        int rc = h->fn(h->ctx, &tap);
        if (!rc) continue;
        char name[48];
        qwen_hook_name(name, sizeof name, layer, site);
        if (rc == TN_ENUM)
            return tn_fail(e, rc, "the hook at %s makes rows that are not finite, or too large", name);
        return tn_fail(e, rc < 0 ? rc : TN_ESTOP, "the hook at %s stopped the forward pass", name);
    }
    return TN_OK;
}
