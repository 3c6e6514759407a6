/* Opening an SAE for a model (cmd_placed.h). */
#include "sae/cmd_placed.h"

#include "sae/round.h"

int placed_sae_open(placed_sae *s, const char *dir, const char *encoder, tn_exec ex, const qwen_model *m,
                    tn_err *e) {
    int layers = qwen_model_config(m)->layers;
    int code = sae_open_dir(&s->model, dir, e);
    if (code) return code;
    if (!qwen_hook_parse(s->model.cfg.hook_name, &s->layer, &s->site))
        code = tn_fail(e, TN_EFORMAT, "%s: hook_name \"%s\" names no place in the model", dir,
                       s->model.cfg.hook_name);
    else if (s->layer >= layers)
        code = tn_fail(e, TN_EARG, "%s: layer %d is out of range: the model has layers 0 to %d", dir,
                       s->layer, layers - 1);
    else if (encoder && (code = sae_round_encoder(&s->model, encoder, ex.threads, e)) != TN_OK)
        tn_fail_in(e, code, dir);
    if (code) sae_free(&s->model);
    return code;
}
