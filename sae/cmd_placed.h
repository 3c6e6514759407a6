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

/* Opens the SAE of `dir` and finds the place its hook_name tells in m. After a failure there is nothing to
 * free; after success sae_free(&s->model). */
int placed_sae_open(placed_sae *s, const char *dir, const qwen_model *m, tn_err *e);

#endif
