/* An SAE and the place in the model it goes to. Commands only. */
#ifndef SAE_CMD_PLACED_H
#define SAE_CMD_PLACED_H

#include "qwen/qwen.h"
#include "sae/sae.h"

typedef struct {
    sae_model model;
    int layer;
    qwen_site site;
} placed_sae;

/* Row of an option table: the type in which the forward pass reads the encoder. */
#define ENCODER_OPTION(type)                                                                                 \
    {                                                                                                        \
        "--encoder", NULL, CLI_STRING, &(type), "TYPE",                                                      \
            "SAE's encoder in f32 (default), screen (as f32, found with a small copy), bf16 or q8", 0        \
    }

/* Opens the SAE of `dir`, its encoder as `encoder` ("f32", "screen", "bf16", "q8"; NULL: "f32"), and finds
 * the place its hook_name tells in m. After a failure there is nothing to free; after success
 * sae_free(&s->model). */
int placed_sae_open(placed_sae *s, const char *dir, const char *encoder, tn_exec ex, const qwen_model *m,
                    tn_err *e);

#endif
