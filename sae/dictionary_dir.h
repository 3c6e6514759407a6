/* The directory of a dictionary_learning run: config.json and ae.pt, read as the library's load_dictionary
 * does; written with ae.safetensors in place of ae.pt, which its classes take with load_state_dict. */
#ifndef SAE_DICTIONARY_DIR_H
#define SAE_DICTIONARY_DIR_H

#include "sae/sae.h"

/* Is `dir` such a directory, and none of SAELens? */
int sae_dictionary_is(const char *dir);

/* Called by sae_open_dir. All of the library's classes: AutoEncoder, AutoEncoderNew, GatedAutoEncoder,
 * AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE, JumpReluAutoEncoder; from ae.pt, or from
 * ae.safetensors where that is missing. */
int sae_dictionary_open(sae_model *out, const char *dir, tn_err *e);

/* Writes config.json and ae.safetensors, creating dir. Every SAE has a class there; where its class wants
 * b_dec subtracted from the input and the SAE does not, or the other way round, W_enc · b_dec goes into the
 * encoder's biases, which changes no latent. note (JSON text of an object, or NULL) is put under
 * scalpel_training (note.h). */
int sae_dictionary_save(const sae_model *s, const char *dir, const char *note, tn_err *e);

#endif
