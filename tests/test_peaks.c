/* The measurements of the machine: every tier gives a rate, reading reads everything once. */
#include "tensor/peaks.h"
#include "tensor/os.h"
#include "tests/test.h"

#include <stdlib.h>

static void multiply_adds_have_a_rate(void) {
    const tn_kernels *k;
    for (int i = 0; (k = tn_kernels_at(i)) != NULL; i++)
        for (int threads = 1; threads <= 2; threads++) {
            const tn_exec ex = {.k = k, .threads = threads};
            CHECK(k->fma_rounds == NULL ? tn_fma_rate(ex, 0.002) == 0 : tn_fma_rate(ex, 0.002) > 0);
            CHECK((k->tile_rounds == NULL) == (k->matmul_split == NULL));
            CHECK(k->tile_rounds == NULL ? tn_tile_rate(ex, 0.002) == 0 : tn_tile_rate(ex, 0.002) > 0);
        }
}

/* A tier's loop works on all its lanes, as often as it is told. */
static void multiply_adds_are_done(void) {
    const tn_kernels *k;
    for (int i = 0; (k = tn_kernels_at(i)) != NULL; i++) {
        float none[TN_FMA_LANES], some[TN_FMA_LANES], more[TN_FMA_LANES];
        if (!k->fma_rounds) continue;
        k->fma_rounds(none, 0);
        k->fma_rounds(some, 10);
        k->fma_rounds(more, 20);
        for (int j = 0; j < TN_FMA_LANES; j++) CHECK(none[j] != some[j] && some[j] != more[j]);
    }
}

static void reading_reads_every_line(void) {
    const size_t n = 5 * (size_t)TN_READ_UNIT;
    uint64_t *words = malloc(n * sizeof *words), want = 0, sum = 1;
    if (!CHECK(words != NULL)) return;
    for (size_t i = 0; i < n; i++) words[i] = i * i + 1;
    for (size_t i = 0; i < n; i += TN_READ_LINE) want += words[i];
    for (int threads = 1; threads <= 3; threads++) {
        CHECK(tn_read_rate(tn_exec_make(NULL, threads), words, n, &sum) > 0);
        CHECK(sum == want);
    }
    CHECK(tn_read_rate(tn_exec_make(NULL, 2), words, TN_READ_UNIT - 1, &sum) == 0);
    CHECK(sum == 0);
    free(words);
}

static void a_matrix_tells_its_bytes(void) {
    tn_mat w = {.dtype = TN_BF16, .rows = 17, .cols = 33};
    CHECK_INT(tn_mat_bytes(&w), 17 * 33 * 2);
    w = (tn_mat){.dtype = TN_U8, .rows = 17, .cols = 33, .bits = 8, .group = 32};
    CHECK_INT(tn_mat_bytes(&w), 32 * (64 + 2 * 2)); /* whole blocks of 16 rows, 2 groups of 32 columns */
    w.bits = 4;
    CHECK_INT(tn_mat_bytes(&w), 32 * (32 + 2 + 2 * 2)); /* 2 steps */
}

/* Memory that is touched counts as ours, where the system tells. */
static void private_memory_grows(void) {
    const size_t before = tn_private_memory(), size = (size_t)32 << 20;
    unsigned char *block = malloc(size);
    if (!CHECK(block != NULL)) return;
    for (size_t i = 0; i < size; i += 512) ((volatile unsigned char *)block)[i] = 1;
    if (before > 0) CHECK(tn_private_memory() >= before + size / 2);
    CHECK(tn_private_memory() <= tn_peak_memory());
    free(block);
}

void test_peaks(void) {
    RUN(multiply_adds_have_a_rate);
    RUN(multiply_adds_are_done);
    RUN(reading_reads_every_line);
    RUN(a_matrix_tells_its_bytes);
    RUN(private_memory_grows);
}
