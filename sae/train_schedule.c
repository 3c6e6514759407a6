/* What changes from step to step, t = 0, 1, …:
 *
 *     lr(t) = lr · min((t+1) / warmup, 1) · min((total - t) / decay, 1)
 *     l1(t) = l1 · min(t / warmup, 1)
 *
 * each with a warmup of its own; dictionary_learning has t instead of t+1. Where dead latents begin anew
 * every R steps, t in the warm-up of lr is t mod R.
 */
#include "sae/train.h"

static int decays(const sae_train_opts *o, int step) {
    return o->total_steps > 0 && o->lr_decay_steps > 0 && step >= o->total_steps - o->lr_decay_steps;
}

int sae_train_resamples(const sae_train_opts *o, int step) {
    return o->resample > 0 && step > 0 && step % o->resample == 0 && !decays(o, step);
}

double sae_lr_at(const sae_train_opts *o, int step) {
    double lr = (double)o->lr;
    int first = o->convention == SAE_SAELENS;                                   /* its first step moves */
    int warm = o->resample > 0 && !decays(o, step) ? step % o->resample : step; /* steps since it began */
    if (warm < o->lr_warmup_steps) lr *= (double)(warm + first) / o->lr_warmup_steps;
    if (decays(o, step)) {
        int left = o->total_steps - step;
        lr *= left > 0 ? (double)left / o->lr_decay_steps : 0;
    }
    return lr;
}

double sae_l1_at(const sae_train_opts *o, int step) {
    if (step >= o->l1_warmup_steps) return (double)o->l1;
    return (double)o->l1 * step / o->l1_warmup_steps;
}
