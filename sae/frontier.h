/* The frontier of sparsity and fidelity: trained SAEs as points, L0 against the explained share of the
 * variance.
 *
 * A point is read from the note that training leaves in an SAE's cfg.json (metadata.scalpel_training), so any
 * directories of `sae train` can be put into one picture, whenever they were trained.
 */
#ifndef SAE_FRONTIER_H
#define SAE_FRONTIER_H

#include "tensor/buf.h"
#include "tensor/err.h"

typedef struct {
    char arch[24]; /* as trained: "standard", "topk", "batchtopk" … */
    int latents;
    double l0, fve; /* of the validation rows, or of the training rows where there were none */
    int dead;       /* latents that fire on no training row */
    char dir[1024];
} sae_frontier_point;

typedef struct {
    sae_frontier_point *points; /* [n] by architecture, number of latents, L0 */
    size_t n, cap;
} sae_frontier;

void sae_frontier_free(sae_frontier *f);
/* Adds the SAE in dir, or those in the directories within it when it is none itself. TN_EFORMAT for an SAE
 * without figures of a training. */
int sae_frontier_add(sae_frontier *f, const char *dir, tn_err *e);
/* Appends the points as CSV (RFC 4180): lines arch,latents,l0,fve,dead,dir under a header. */
void sae_frontier_csv(const sae_frontier *f, tn_buf *out);
/* Appends a line for each architecture (and number of latents, when there are several). A picture that memory
 * does not suffice for sets svg->failed. */
void sae_frontier_chart(const sae_frontier *f, tn_buf *svg);

#endif
