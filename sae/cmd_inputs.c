/* An SAE beside activations (cmd_inputs.h). */
#include "sae/cmd_inputs.h"

#include <string.h>

static int token_bytes(const void *tok, int32_t id, const char **text, size_t *len) {
    return tok_bytes(tok, id, text, len);
}

sae_vocabulary tokenizer_vocabulary(const tok_model *tok) {
    return (sae_vocabulary){tok, token_bytes};
}

int check_same_hook(const sae_model *sae, const sae_acts *acts, const char *acts_path, tn_err *e) {
    const char *trained = sae->cfg.hook_name, *given = acts->hook_name;
    if (!trained[0] || !given[0] || strcmp(trained, given) == 0) return TN_OK;
    return tn_fail(e, TN_EARG, "%s: activations of %s, the SAE was trained on %s", acts_path, given, trained);
}
