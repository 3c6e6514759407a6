/* Looking up in ascending numbers. */
#ifndef SAE_ORDERED_H
#define SAE_ORDERED_H

#include <stddef.h>

/* The index of the last of `count` >= 1 ascending numbers that is at most `value`; 0 when none is. They are
 * members of the elements of an array: `first` is that of the first element, the others lie `stride` bytes
 * apart. */
size_t sae_last_at_most(const size_t *first, size_t stride, size_t count, size_t value);

#endif
