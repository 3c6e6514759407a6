/* Members of a zip archive that are stored as they are (PKWARE's APPNOTE 6.3, zip64 included): the container
 * torch.save writes. Works on the archive's bytes in memory and copies nothing; every offset and length is
 * checked. Compressed and encrypted members are refused.
 */
#ifndef SAE_ZIP_STORE_H
#define SAE_ZIP_STORE_H

#include "tensor/err.h"

#include <stddef.h>

typedef struct {
    const unsigned char *data; /* [size] the archive, which must outlive all that is taken from it */
    size_t size;
    size_t directory, end; /* the list of members lies between these offsets */
} sae_zip;

typedef struct {
    const char *name; /* [name_len] not terminated */
    size_t name_len;
    const unsigned char *data; /* [size] */
    size_t size;
} sae_zip_member;

/* Finds the list of members. */
int sae_zip_open(sae_zip *out, const void *data, size_t size, tn_err *e);

/* The first member whose name ends in `tail`, or is `folder` [folder_len] followed by `tail`. */
int sae_zip_find_tail(const sae_zip *z, const char *tail, sae_zip_member *out, tn_err *e);
int sae_zip_find(const sae_zip *z, const char *folder, size_t folder_len, const char *tail,
                 sae_zip_member *out, tn_err *e);

#endif
