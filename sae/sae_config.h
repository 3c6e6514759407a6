/* cfg.json of a SAELens directory. Internal to sae_io.c. */
#ifndef SAE_SAE_CONFIG_H
#define SAE_SAE_CONFIG_H

#include "sae/sae.h"
#include "tensor/json.h"

/* From the parsed text, and from a file; errors name what is wrong. */
int sae_config_parse(sae_config *cfg, tn_json root, tn_err *e);
int sae_config_open(sae_config *cfg, const char *path, tn_err *e);
/* The text of the file; extra (JSON text of an object, or NULL) goes under metadata.scalpel_training. */
void sae_config_write(const sae_config *cfg, const char *extra, tn_buf *out);

#endif
