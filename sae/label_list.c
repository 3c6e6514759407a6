/* Labels of documents (label_list.h). They are few: a list that is searched from its start will do. */
#include "sae/label_list.h"

#include <stdlib.h>
#include <string.h>

int sae_label_list_add(sae_label_list *l, const char *name) {
    for (int i = 0; i < l->n; i++)
        if (strcmp(l->name[i], name) == 0) return i;
    if (l->n == l->capacity) {
        int capacity = l->capacity ? 2 * l->capacity : 16;
        char **grown = capacity < 1 << 24 ? realloc(l->name, (size_t)capacity * sizeof *grown) : NULL;
        if (!grown) return -1;
        l->name = grown;
        l->capacity = capacity;
    }
    size_t size = strlen(name) + 1;
    char *copy = malloc(size);
    if (!copy) return -1;
    memcpy(copy, name, size);
    l->name[l->n] = copy;
    return l->n++;
}

void sae_label_list_free(sae_label_list *l) {
    for (int i = 0; i < l->n; i++) free(l->name[i]);
    free(l->name);
    *l = (sae_label_list){0};
}
