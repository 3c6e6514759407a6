/* Examples of features in their texts (example.h). */
#include "sae/example.h"

/* Are rows a and a+1 neighbours in one text? */
static int follows(const sae_acts *acts, size_t a) {
    return acts->doc[a] == acts->doc[a + 1] && acts->pos[a] + 1 == acts->pos[a + 1];
}

sae_context sae_example_context(const sae_acts *acts, sae_example x, int before, int after) {
    sae_context c = {x.row, x.row, (size_t)x.row + 1};
    while (c.first > 0 && c.row - c.first < (size_t)before && follows(acts, c.first - 1)) c.first--;
    while (c.last < acts->n && c.last - c.row <= (size_t)after && follows(acts, c.last - 1)) c.last++;
    return c;
}

void sae_rows_text(const sae_acts *acts, const sae_vocabulary *v, size_t first, size_t last, tn_buf *out) {
    for (size_t row = first; row < last; row++) {
        const char *text;
        size_t len;
        if (v->bytes(v->ctx, acts->tokens[row], &text, &len)) continue;
        for (size_t i = 0; i < len; i++) tn_buf_putc(out, (unsigned char)text[i] < ' ' ? ' ' : text[i]);
    }
}
