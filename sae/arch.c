/* The table of architectures (arch.h). */
#include "sae/arch.h"

#include <string.h>

static const sae_arch *const table[] = {
    [SAE_STANDARD] = &sae_arch_standard,
    [SAE_TOPK] = &sae_arch_topk,
    [SAE_JUMPRELU] = &sae_arch_jumprelu,
    [SAE_GATED] = &sae_arch_gated,
};
enum { COUNT = sizeof table / sizeof *table };

const sae_arch *sae_arch_of(sae_architecture a) {
    return (int)a >= 0 && (int)a < COUNT ? table[a] : NULL;
}

int sae_arch_find(const char *name, sae_architecture *out) {
    for (int i = 0; i < COUNT; i++) {
        if (strcmp(name, table[i]->name) != 0) continue;
        *out = (sae_architecture)i;
        return 1;
    }
    return 0;
}

const char *sae_architecture_name(sae_architecture a) {
    return sae_arch_of(a)->name;
}
