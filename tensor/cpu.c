/* Detection of instruction sets, and the choice of a table of kernels.
 *
 * An instruction set may be used when three parties agree: the compiler made the table (the tier's
 * function returns one), the processor has the instructions, and the operating system saves their registers
 * when it switches tasks. On x86 cpuid and xgetbv tell; bits as in the Intel 64 and IA-32 Software
 * Developer's Manual, volume 2A (CPUID) and volume 1, chapter 13 (XCR0). On ARM only the operating system may
 * ask, so os.h does; every 64-bit ARM processor with floating point has NEON.
 */
#include "tensor/cpu.h"
#include "tensor/kernels_tier.h"
#include "tensor/os.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>

/* XCR0: which register sets the operating system saves; only valid when cpuid reports OSXSAVE. */
static unsigned saved_registers(void) {
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
}

tn_cpu tn_cpu_detect(void) {
    tn_cpu cpu = {0};
    const unsigned fma = 1u << 12, osxsave = 1u << 27, f16c = 1u << 29; /* leaf 1, ecx */
    const unsigned avx2 = 1u << 5, f = 1u << 16, dq = 1u << 17, bw = 1u << 30,
                   vl = 1u << 31;                        /* leaf 7, ebx */
    const unsigned vnni = 1u << 11;                      /* leaf 7, ecx */
    const unsigned amx = 1u << 22 | 1u << 24 | 1u << 25; /* leaf 7, edx: BF16, tiles, INT8 */
    const unsigned avxvnni = 1u << 4;                    /* leaf 7, subleaf 1, eax */
    const unsigned ymm = 0x06, zmm = 0xE6; /* XCR0: SSE + AVX; and mask registers, zmm0-15, zmm16-31 */
    const unsigned tiles = 0x60000;        /* their shapes and their contents */

    unsigned a, b, c, d;
    const unsigned need1 = fma | osxsave | f16c;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & need1) != need1) return cpu;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return cpu;
    const unsigned saved = saved_registers();

    cpu.avx2 = (b & avx2) && (saved & ymm) == ymm;
    const unsigned need7 = f | dq | bw | vl;
    cpu.avx512 = cpu.avx2 && (b & need7) == need7 && (saved & zmm) == zmm;
    cpu.avx512vnni = cpu.avx512 && (c & vnni);
    cpu.amx = cpu.avx512vnni && (d & amx) == amx && (saved & tiles) == tiles && tn_allow_tiles();

    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return cpu;
    cpu.avxvnni = cpu.avx2 && (a & avxvnni);
    return cpu;
}
#elif defined(__aarch64__) && defined(__ARM_NEON)

tn_cpu tn_cpu_detect(void) {
    unsigned features = tn_arm_features();
#ifdef __ARM_FEATURE_DOTPROD /* the compiler was told that every processor of this build has it */
    features |= TN_ARM_DOTPROD;
#endif
#ifdef __ARM_FEATURE_MATMUL_INT8
    features |= TN_ARM_I8MM;
#endif
    tn_cpu cpu = {.neon = 1};
    cpu.dotprod = (features & TN_ARM_DOTPROD) != 0;
    cpu.i8mm = cpu.dotprod && (features & TN_ARM_I8MM);
    return cpu;
}

#else
tn_cpu tn_cpu_detect(void) {
    const tn_cpu none = {0};
    return none;
}
#endif

const tn_kernels *tn_kernels_at(int i) {
    const tn_cpu cpu = tn_cpu_detect();
    const tn_kernels *const tiers[] = {
        cpu.amx ? tn_tier_amx() : NULL,
        cpu.avx512vnni ? tn_tier_avx512vnni() : NULL,
        cpu.avx512 ? tn_tier_avx512() : NULL,
        cpu.avxvnni ? tn_tier_avxvnni() : NULL,
        cpu.avx2 ? tn_tier_avx2() : NULL,
        cpu.i8mm ? tn_tier_neoni8mm() : NULL,
        cpu.dotprod ? tn_tier_neondot() : NULL,
        cpu.neon ? tn_tier_neon() : NULL,
        tn_tier_scalar(),
    };
    if (i < 0) return NULL;
    for (size_t t = 0; t < sizeof tiers / sizeof *tiers; t++)
        if (tiers[t] != NULL && i-- == 0) return tiers[t];
    return NULL;
}

const tn_kernels *tn_kernels_select(const char *name) {
    if (name == NULL || name[0] == '\0') return tn_kernels_at(0);
    for (int i = 0;; i++) {
        const tn_kernels *k = tn_kernels_at(i);
        if (k == NULL || strcmp(k->name, name) == 0) return k;
    }
}

tn_exec tn_exec_make(const char *isa, int threads) {
    tn_exec ex;
    ex.k = tn_kernels_select(isa);
    ex.threads = threads > 0 ? threads : tn_core_count();
    ex.room = NULL;
    return ex;
}
