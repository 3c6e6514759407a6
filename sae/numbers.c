/* Arrays into and out of safetensors files (numbers.h). */
#include "sae/numbers.h"

#define PIECE 1024 /* values converted at a time, on the stack */

void sae_write_floats(tn_st_writer *w, tn_dtype dtype, const float *v, size_t n) {
    unsigned char bytes[PIECE * 4];
    for (size_t done = 0; done < n;) {
        size_t count = n - done < PIECE ? n - done : PIECE;
        tn_from_f32(bytes, dtype, v + done, count);
        tn_st_write(w, bytes, count * tn_dtype_size(dtype));
        done += count;
    }
}

void sae_write_ints(tn_st_writer *w, const int32_t *v, size_t n) {
    unsigned char bytes[PIECE * 4];
    for (size_t done = 0; done < n;) {
        size_t count = n - done < PIECE ? n - done : PIECE;
        for (size_t i = 0; i < count; i++) tn_store_u32(bytes + 4 * i, (uint32_t)v[done + i]);
        tn_st_write(w, bytes, count * 4);
        done += count;
    }
}

void sae_read_ints(int32_t *dst, const void *src, size_t n) {
    const unsigned char *p = src;
    for (size_t i = 0; i < n; i++) dst[i] = (int32_t)tn_load_u32(p + 4 * i);
}
