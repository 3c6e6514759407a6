/* Looking up in ascending numbers (ordered.h). */
#include "sae/ordered.h"

#include <string.h>

size_t sae_last_at_most(const size_t *first, size_t stride, size_t count, size_t value) {
    size_t low = 0, high = count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2, number;
        memcpy(&number, (const unsigned char *)first + middle * stride, sizeof number);
        if (number <= value)
            low = middle;
        else
            high = middle;
    }
    return low;
}
