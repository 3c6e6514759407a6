/* An SAE beside activations (cmd_inputs.h). */
#include "sae/cmd_inputs.h"

#include <stdio.h>
#include <string.h>

static int token_bytes(const void *tok, int32_t id, const char **text, size_t *len) {
    return tok_bytes(tok, id, text, len);
}

sae_vocabulary tokenizer_vocabulary(const tok_model *tok) {
    return (sae_vocabulary){tok, token_bytes};
}

void note_other_hook(const sae_model *sae, const sae_acts *acts) {
    if (strcmp(sae->cfg.hook_name, acts->hook_name) != 0)
        fprintf(stderr, "note: the SAE was trained on %s, the activations are of %s\n", sae->cfg.hook_name,
                acts->hook_name);
}
