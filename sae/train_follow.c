/* The defaults of both libraries (train.h: sae_train_follow). */
#include "sae/train.h"

#include <math.h>

/* Hyper-parameters of the trainings in SAELens 6.54, which expect rows of mean length sqrt(D). */
static void follow_saelens(sae_train_opts *o) {
    o->lr = 3e-4f;
    o->beta1 = 0.9f;
    o->clip = 1;
    o->unit_norm_decoder = 0;
    o->init_norm = 0.1f;
    o->l1 = 1;
    o->l1_warmup_steps = o->lr_warmup_steps = o->lr_decay_steps = -1;
    o->dead_window = 1000;
    o->aux = 1;
    o->threshold_lr = 0.01f;
    o->l0_penalty = SAE_L0_STEP;
    o->bandwidth = 0.05f;
    o->init_threshold = 0.01f;
}

/* … and in dictionary_learning 0.1.0, which expect rows of mean square length 1. */
static void follow_dictionary_learning(sae_train_opts *o) {
    int l1 = o->arch == SAE_TRAIN_RELU || o->arch == SAE_TRAIN_GATED, jump = o->arch == SAE_TRAIN_JUMPRELU;
    o->lr = jump ? 7e-5f : o->arch == SAE_TRAIN_GATED ? 5e-5f : l1 ? 1e-3f : -1;
    o->beta1 = jump || o->arch == SAE_TRAIN_GATED ? 0.0f : 0.9f;
    o->clip = l1 ? 0.0f : 1.0f;
    o->unit_norm_decoder = 1;
    o->init_norm = o->arch == SAE_TRAIN_RELU ? 0.1f : 1.0f;
    o->l1 = l1 ? 0.1f : 1.0f;
    o->l1_warmup_steps = o->lr_warmup_steps = o->lr_decay_steps = o->threshold_start = -1;
    o->dead_window = 10000000;
    o->aux = 1 / 32.0f;
    o->threshold_lr = 0.001f;
    o->l0_penalty = SAE_L0_MEAN;
    o->target_l0 = 20;
    o->bandwidth = 0.001f;
    o->init_threshold = 0.001f;
}

float sae_train_lr_of_width(int d_sae) {
    return (float)(2e-4 / sqrt(d_sae / 16384.0));
}

void sae_train_follow(sae_train_opts *o, sae_convention convention) {
    o->convention = convention;
    o->beta2 = 0.999f;
    o->adam_eps = 1e-8f;
    o->tanh_scale = 4;
    o->threshold_speed = 1;
    if (convention == SAE_SAELENS)
        follow_saelens(o);
    else
        follow_dictionary_learning(o);
}
