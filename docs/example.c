/* Which token comes next, and which when the residual stream behind layer 3 is turned down? */
#include "qwen/text.h"
#include <stdio.h>

static int turn_down(void *factor, const qwen_tap *tap) { /* rows x [n, d]: to look at, or to change */
    for (int i = 0; i < tap->n * tap->d; i++) tap->x[i] *= *(float *)factor;
    return 0;
}

int main(void) {
    tn_err e;
    qwen_text t = {0};
    qwen_state *s = NULL;
    tok_ids ids = TOK_IDS_INIT;
    tn_buf out = TN_BUF_INIT;
    float factor = 0.1f;
    const qwen_hook hook = {QWEN_RESID_POST, 3, 3, turn_down, &factor};
    int code = qwen_text_open(&t, "models/vehicles-4m", &e);
    qwen_opts opts = code ? (qwen_opts){0} : qwen_opts_default(t.model);
    if (!code) code = qwen_state_new(&s, t.model, &opts, &e);
    if (!code) code = qwen_text_prompt(&t, "The sailboat left the", 1, NULL, &ids, &e);
    for (int hooks = 0; hooks < 2 && !code; hooks++) {
        const float *logits; /* [vocab] of the last position */
        int32_t best = 0;
        qwen_rewind(s, 0);
        code = qwen_set_hooks(s, &hook, hooks, &e);
        if (!code) code = qwen_forward(s, ids.data, (int)ids.len, 0, &logits, &e);
        for (int32_t i = 1; !code && i < qwen_model_config(t.model)->vocab; i++)
            if (logits[i] > logits[best]) best = i;
        if (!code) code = qwen_text_decode(&t, &best, 1, &out, &e);
    }
    printf("%s\n", code ? e.msg : out.data);
    tn_buf_free(&out);
    tok_ids_free(&ids);
    qwen_state_free(s);
    qwen_text_close(&t);
    return code != 0;
}
