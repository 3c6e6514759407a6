/* The metrics of a set of rows (fit_run.h). */
#include "sae/fit_run.h"

#include <stdlib.h>
#include <string.h>

int sae_fit_measure(sae_fit_run *r, const sae_fit_set *set, uint32_t n, unsigned char *fired,
                    sae_metrics *out, tn_err *e) {
    size_t d = (size_t)r->source->d;
    uint32_t batch = (uint32_t)r->o.train.batch;
    double squares = 0, mean_sq = 0, rows = 0;
    double *sum = calloc(d, sizeof *sum); /* [D] */
    memset(out, 0, sizeof *out);
    int rc = sum ? TN_OK : tn_fail(e, TN_ENOMEM, "no memory for a row of %zu", d);
    for (uint32_t b = 0; b < n; b++) rows += set->keep[b];
    for (uint32_t b0 = 0; b0 < n && !rc; b0 += batch) {
        uint32_t count = sae_fit_rows_scaled(&r->rows, set, b0, n - b0 < batch ? n - b0 : batch, r->x);
        sae_metrics m;
        if (count == 0) continue;
        rc = sae_train_eval(r->trainer, r->x, (int)count, &m, e);
        if (rc) break;
        double share = (double)count / rows;
        out->mse += share * m.mse;
        out->l1 += share * m.l1;
        out->l0 += share * m.l0;
        out->loss += share * m.loss;
        out->dead = m.dead;
        for (size_t j = 0; j < count * d; j++) {
            sum[j % d] += (double)r->x[j];
            squares += (double)r->x[j] * (double)r->x[j];
        }
        for (int i = 0; fired && i < r->model.cfg.d_sae; i++)
            fired[i] |= sae_trainer_fired(r->trainer)[i] > 0;
    }
    for (size_t k = 0; k < d && !rc; k++) mean_sq += sum[k] / rows * (sum[k] / rows);
    double variance = squares / rows - mean_sq;
    out->fve = variance > 0 ? 1 - out->mse / variance : 0;
    free(sum);
    return rc;
}
