/* What a model loses when an SAE stands in for its residual stream.
 *
 * Each document runs through the model four times: as it is, with the SAE's reconstruction at the SAE's hook
 * (every latent as it is, the error term left out), with zeros there, and with the mean of all rows measured
 * there. Only rows first … end-1 of a document are replaced; the tokens before them are computed once and
 * kept in the KV cache. In nats:
 *
 *     ce               mean -log p(target), of each of the four runs, over the targets predicted FROM a
 *                      replaced row: row p predicts token p + 1, a document's last row none
 *     ce_difference    ce_sae - ce_original
 *     loss_recovered   (ce_zero - ce_sae) / (ce_zero - ce_original); 1: nothing lost, 0: no better than zeros
 *     loss_recovered_mean   the same against the mean instead of zeros
 *     kl, kl_zero      mean KL(p_original || p_sae) over the whole vocabulary, over all replaced rows; the
 *                      same with zeros
 *     kl_score         (kl_zero - kl) / kl_zero
 *
 * The definitions are those of SAELens 6.54 run_evals with one choice made explicit: zeros stand at the same
 * rows as the SAE, where SAELens with its special-token mask on zeroes all of them. All of it is known for
 * parts of the rows too (eval_parts.h); the mean that replaces a row is always that of all rows.
 *
 * The mean is known only after all documents have been seen, hence two rounds:
 *
 *     sae_effect m;
 *     sae_effect_new(&m, state, sae, &place, &e);
 *     for (each document) sae_effect_add(&m, &doc, &e);         // original, SAE, zeros
 *     for (each document) sae_effect_add_mean(&m, &doc, &e);    // mean; the same documents in the same order
 *     sae_effect_result r = sae_effect_finish(&m, SAE_ALL_ROWS);
 *
 * Sums run in double over documents, and rows within them, in order: the numbers are the same bits for any
 * number of threads. Beside sae/attach this is the only library file of sae/ that sees qwen.
 */
#ifndef SAE_EFFECT_H
#define SAE_EFFECT_H

#include "sae/attach.h"
#include "sae/eval_parts.h"

/* A document and the rows of it that are replaced: first … end-1. end may be at most n. */
typedef struct {
    const int32_t *tokens; /* [n] */
    int n;
    int first, end;
    int label; /* of a part, from 0; -1: none */
} sae_effect_doc;

typedef enum { SAE_RUN_ORIGINAL, SAE_RUN_SAE, SAE_RUN_ZERO, SAE_RUN_MEAN, SAE_RUNS } sae_effect_run;

/* Sums over the rows of a part. */
typedef struct {
    size_t targets;
    double nll[SAE_RUNS]; /* over the targets */
    double kl[SAE_RUNS];  /* over the rows, of SAE_RUN_SAE and SAE_RUN_ZERO */
} sae_effect_sums;

/* What is measured: where the SAE is put, and the parts. */
typedef struct {
    int layer;
    qwen_site site;
    int max_rows;    /* to replace in one document */
    int by_position; /* 1: each range of positions is a part */
    int n_labels;    /* each label is a part */
} sae_effect_opts;

typedef struct {
    qwen_state *state;
    const sae_model *sae;
    sae_effect_opts o;
    sae_parts rows;        /* of the rows replaced */
    sae_effect_sums *sums; /* [rows.n] */
    sae_steer steer;
    sae_replace zeros, means;
    int label;       /* of the document at hand */
    float *x;        /* [chunk, D] the rows before the SAE replaces them */
    float *mean;     /* [D] */
    float *original; /* [max_rows, vocab] logits of the document's original run */
    double *row_nll; /* [chunk] */
    double *row_kl;  /* [chunk] */
    void *block;     /* the allocation behind the five, and behind steer's */
    size_t docs;     /* with rows to replace */
} sae_effect;

typedef struct {
    sae_eval_result rows;
    size_t docs; /* of all parts together */
    size_t targets;
    double ce_original, ce_sae, ce_zero, ce_mean; /* without targets NaN, as what follows from them */
    double ce_difference, loss_recovered, loss_recovered_mean;
    double kl, kl_zero, kl_score; /* without rows NaN */
} sae_effect_result;

/* `state` does well to hold QWEN_SCORE_ROWS rows of logits. Takes over its hooks and its timeline; it and sae
 * must outlive *out. TN_ESHAPE when the SAE's width is not the model's. A layer the model has not is refused
 * by the first document that is added. */
int sae_effect_new(sae_effect *out, qwen_state *state, const sae_model *sae, const sae_effect_opts *o,
                   tn_err *e);
void sae_effect_free(sae_effect *m);
/* Runs one document as it is, with the SAE and with zeros. One without rows to replace changes nothing.
 * TN_ENUM when an activation or what the model makes of the reconstruction is not finite. */
int sae_effect_add(sae_effect *m, const sae_effect_doc *doc, tn_err *e);
/* After all documents were added: runs one of them again, with the mean. */
int sae_effect_add_mean(sae_effect *m, const sae_effect_doc *doc, tn_err *e);
/* The numbers of a part; SAE_ALL_ROWS is all of them. */
sae_effect_result sae_effect_finish(const sae_effect *m, int part);

/* KL(p || q) of two distributions given as logits [vocab], in nats, summed in double in the vocabulary's
 * order. */
double sae_effect_kl(const float *p, const float *q, int vocab);

#endif
