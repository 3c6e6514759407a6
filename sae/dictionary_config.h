/* config.json of a dictionary_learning directory. Internal to dictionary_dir.c. */
#ifndef SAE_DICTIONARY_CONFIG_H
#define SAE_DICTIONARY_CONFIG_H

#include "sae/sae.h"
#include "tensor/json.h"

/* A class of the library. */
typedef struct {
    const char *name, *trainer; /* dict_class, and the trainer_class that makes it */
    sae_architecture architecture;
    const char *trained_as; /* SAELens' name of the training */
    int apply_b_dec_to_input;
    int linear;        /* 1: encoder.weight [F, D], decoder.weight [D, F]; 0: W_enc [D, F], W_dec [F, D] */
    int top_k;         /* has k and a threshold for all latents … */
    int one_threshold; /* … which is the one to use */
    const char *b_dec; /* its tensor */
} sae_dictionary_class;

int sae_dictionary_config_open(sae_config *cfg, const sae_dictionary_class **c, const char *path, tn_err *e);
/* The class that an SAE is written as. */
const sae_dictionary_class *sae_dictionary_class_for(const sae_config *cfg);
/* The text of config.json; note (JSON text of an object, or NULL) goes under scalpel_training. */
void sae_dictionary_config_write(const sae_model *s, const sae_dictionary_class *c, const char *note,
                                 tn_buf *out);

#endif
