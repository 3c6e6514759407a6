/* What the processor can do and the operating system lets it do. */
#ifndef TENSOR_CPU_H
#define TENSOR_CPU_H

typedef struct {
    int avx2;       /* AVX2, FMA and F16C, with the 256-bit registers saved on a task switch */
    int avxvnni;    /* avx2 and AVX-VNNI */
    int avx512;     /* avx2, AVX-512 F, BW, DQ and VL, with the 512-bit and mask registers saved */
    int avx512vnni; /* avx512 and AVX-512 VNNI */
    int amx;        /* avx512vnni and AMX with BF16 and INT8, whose tiles the system lets this process use */

    int neon;    /* 64-bit ARM with its vector registers */
    int dotprod; /* neon and SDOT (optional from Armv8.2, FEAT_DotProd) */
    int i8mm;    /* dotprod, USDOT and USMMLA (FEAT_I8MM) */
} tn_cpu;

tn_cpu tn_cpu_detect(void);

#endif
