/* What a model loses when an SAE stands in for its residual stream.
 *
 * Each document runs through the model four times: as it is, with the SAE's reconstruction at the SAE's hook
 * (every latent as it is, the error term left out), with zeros there, and with the mean of all rows measured
 * there. Only rows first … end-1 of a document are replaced; the tokens before them are computed once and
 * kept in the KV cache. With the mean over the targets predicted FROM a replaced row (row p predicts token p
 * + 1; the row of a document's last token predicts nothing and counts for the reconstruction only), in nats:
 *
 *     ce               mean -log p(target), of each of the four runs
 *     ce_difference    ce_sae - ce_original
 *     loss_recovered   (ce_zero - ce_sae) / (ce_zero - ce_original); 1: nothing lost, 0: no better than zeros
 *     loss_recovered_mean   the same against the mean instead of zeros
 *     kl               mean KL(p_original || p_sae) over the whole vocabulary
 *
 * The definitions are those of SAELens 6.54 run_evals with one choice made explicit: zeros stand at the same
 * rows as the SAE, where SAELens with its special-token mask on zeroes all of them.
 *
 * The mean is known only after all documents have been seen, hence two rounds:
 *
 *     sae_effect m;
 *     sae_effect_new(&m, state, sae, layer, site, longest, &e);
 *     for (each document) sae_effect_add(&m, &doc, &e);         // original, SAE, zeros
 *     for (each document) sae_effect_add_mean(&m, &doc, &e);    // mean
 *     sae_effect_result r = sae_effect_finish(&m);
 *
 * Sums run in double over documents, and rows within them, in order: the numbers are the same bits for any
 * number of threads. Beside sae/attach this is the only library file of sae/ that sees qwen.
 */
#ifndef SAE_EFFECT_H
#define SAE_EFFECT_H

#include "sae/attach.h"
#include "sae/eval.h"

/* A document and the rows of it that are replaced: first … end-1. end may be at most n. */
typedef struct {
    const int32_t *tokens; /* [n] */
    int n;
    int first, end;
} sae_effect_doc;

typedef enum { SAE_RUN_ORIGINAL, SAE_RUN_SAE, SAE_RUN_ZERO, SAE_RUN_MEAN, SAE_RUNS } sae_effect_run;

typedef struct {
    qwen_state *state;
    const sae_model *sae;
    int layer;
    qwen_site site;
    sae_eval rows; /* of the rows replaced */
    sae_steer steer;
    sae_replace zeros, means;
    int max_targets; /* of one document */
    float *x;        /* [chunk, D] the rows before the SAE replaces them */
    float *mean;     /* [D] */
    float *original; /* [max_targets, vocab] logits of the document's original run */
    double *row_nll; /* [chunk] */
    double *row_kl;  /* [chunk] */
    void *block;     /* the allocation behind the five, and behind steer's */
    size_t docs;     /* with rows to replace */
    size_t targets;
    double nll[SAE_RUNS]; /* sums over the targets */
    double kl;
} sae_effect;

typedef struct {
    sae_eval_result rows;
    size_t docs, targets; /* without targets, all below is NaN */
    double ce_original, ce_sae, ce_zero, ce_mean;
    double ce_difference, loss_recovered, loss_recovered_mean, kl;
} sae_effect_result;

/* `state` does well to hold QWEN_SCORE_ROWS rows of logits. The SAE at `site` of `layer`, in documents with
 * at most max_targets replaced rows. Takes over the hooks and the timeline of `state`; it and sae must
 * outlive *out. TN_ESHAPE when the SAE's width is not the model's. A layer the model has not is refused by
 * the first document that is added. */
int sae_effect_new(sae_effect *out, qwen_state *state, const sae_model *sae, int layer, qwen_site site,
                   int max_targets, tn_err *e);
void sae_effect_free(sae_effect *m);
/* Runs one document as it is, with the SAE and with zeros. One without rows to replace changes nothing.
 * TN_ENUM when an activation is not finite. */
int sae_effect_add(sae_effect *m, const sae_effect_doc *doc, tn_err *e);
/* After all documents were added: runs one of them again, with the mean. */
int sae_effect_add_mean(sae_effect *m, const sae_effect_doc *doc, tn_err *e);
sae_effect_result sae_effect_finish(const sae_effect *m);

/* KL(p || q) of two distributions given as logits [vocab], in nats, summed in double in the vocabulary's
 * order. */
double sae_effect_kl(const float *p, const float *q, int vocab);

#endif
