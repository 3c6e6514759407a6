/* Lists of active latents (active.h). */
#include "sae/active.h"

#include <stdlib.h>
#include <string.h>

int sae_active_new(sae_active *out, const sae_model *s, int n, tn_err *e) {
    size_t cells = 0, bytes = 0, rows = (size_t)n;
    *out = (sae_active){.room = (size_t)s->cfg.d_sae};
    if (!tn_mul_size(rows, out->room, &cells) && !tn_mul_size(cells, sizeof *out->of_row, &bytes))
        out->of_row = malloc(bytes);
    out->n_of_row = calloc(rows, sizeof *out->n_of_row);
    if (out->of_row && out->n_of_row) return TN_OK;
    sae_active_free(out);
    return tn_fail(e, TN_ENOMEM, "no memory for the active latents of %d rows", n);
}

void sae_active_free(sae_active *a) {
    free(a->of_row);
    free(a->n_of_row);
    *a = (sae_active){0};
}

const sae_entry *sae_entry_from(const sae_entry *list, uint32_t count, size_t at) {
    while (count > 0) {
        uint32_t half = count / 2;
        if (list[half].at < at) {
            list += half + 1;
            count -= half + 1;
        } else {
            count = half;
        }
    }
    return list;
}

enum { RUN = 16 /* latents that are skipped at once where all are silent */ };

static int all_silent(const float *z) { /* [RUN] */
    uint64_t two[RUN / 2], any = 0;
    memcpy(two, z, sizeof two);
    for (int j = 0; j < RUN / 2; j++) any |= two[j];
    return any == 0;
}

size_t sae_list_some(const float *z, size_t f, size_t *at, sae_entry *list, size_t most) {
    size_t i = *at, count = 0;
    while (i < f && count < most) {
        if (i % RUN == 0 && i + RUN <= f && all_silent(z + i)) {
            i += RUN;
            continue;
        }
        if (z[i] != 0.0f) list[count++] = (sae_entry){(uint32_t)i, z[i]};
        i++;
    }
    *at = i;
    return count;
}
