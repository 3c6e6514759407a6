/* Stored weights of a slab in registers, the same with VNNI and without (kernels_x86_vnni.h,
 * kernels_x86_madd.h). */
#ifndef TENSOR_KERNELS_X86_SLAB_H
#define TENSOR_KERNELS_X86_SLAB_H

/* Register r of step `step` of some blocks, whose slabs begin at w and block_bytes further on. */
TN_INLINE ints load_step(const unsigned char *w, size_t block_bytes, size_t step, size_t r) {
    return load_bytes(w + r / PARTS * block_bytes + step * 64 + r % PARTS * (64 / PARTS));
}

/* All registers of a step of 4 bits: low [regs] its columns 0-3, high [regs] columns 4-7. */
TN_INLINE void load_nibbles(ints *low, ints *high, size_t regs, const unsigned char *w, size_t block_bytes,
                            size_t step) {
    const ints nibble = all_ints(0x0F0F0F0F);
    TN_UNROLL for (size_t r = 0; r < regs; r++) {
        const ints raw = load_step(w, block_bytes, step, r);
        low[r] = and_ints(raw, nibble);
        high[r] = and_ints(shift_right_4(raw), nibble);
    }
}

#endif
