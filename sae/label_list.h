/* The labels of documents, each once, in the order they first appear. */
#ifndef SAE_LABEL_LIST_H
#define SAE_LABEL_LIST_H

#include "tensor/err.h"

typedef struct {
    char **name; /* [n], owned */
    int n, capacity;
} sae_label_list;

/* Index of `name`, which joins the list when it is new; -1 without memory. */
int sae_label_list_add(sae_label_list *l, const char *name);
void sae_label_list_free(sae_label_list *l);

#endif
