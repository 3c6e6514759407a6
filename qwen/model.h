/* The inside of a model, for the files of this folder. */
#ifndef QWEN_MODEL_H
#define QWEN_MODEL_H

#include "qwen/qwen.h"
#include "tensor/arena.h"

struct qwen_model {
    qwen_config config;
    char name[128];
    const tn_safetensors *weights; /* every tn_mat below points into it */
    tn_safetensors *owned_weights; /* the same when the model opened it itself, else NULL */
    tn_mat embedding;              /* [vocab, d] */
    tn_mat head;                   /* [vocab, d]; the embedding when tied */
    const float *final_norm;       /* [d] */
    qwen_layer *layer;             /* [layers] */
    void *block;                   /* the allocation that holds layer and the F32 copies */
};

/* Takes m->layer and the F32 copies of norms and biases from `a` and points everything into m->weights.
 * On a measuring arena it checks names, types and shapes, and copies nothing. */
int qwen_bind_weights(qwen_model *m, tn_arena *a, tn_err *e);

#endif
