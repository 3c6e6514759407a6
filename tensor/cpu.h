/* What the processor can do and the operating system lets it do. */
#ifndef TENSOR_CPU_H
#define TENSOR_CPU_H

typedef struct {
    int avx2;       /* AVX2, FMA and F16C, with the 256-bit registers saved on a task switch */
    int avx512;     /* avx2, AVX-512 F, BW, DQ and VL, with the 512-bit and mask registers saved */
    int avx512vnni; /* avx512 and AVX-512 VNNI */
} tn_cpu;

tn_cpu tn_cpu_detect(void);

#endif
