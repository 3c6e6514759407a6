/* The loops that keep the arithmetic, or the memory, busy and do nothing else (peaks.h). */
#include "tensor/peaks.h"
#include "tensor/os.h"
#include "tensor/par.h"

#ifdef TN_THREADS
#include <stdatomic.h>
typedef _Atomic uint64_t shared_sum;
#else
typedef uint64_t shared_sum;
#endif

/* ---- Arithmetic ---- */

/* Rounds of independent operations of one of the two kinds; the other is NULL. */
typedef struct {
    void (*fma_rounds)(float *sink, size_t rounds);
    void (*tile_rounds)(size_t rounds);
    size_t rounds;
} round_job;

static void some_pieces(void *ctx, size_t begin, size_t end) {
    const round_job *job = ctx;
    float sink[TN_FMA_LANES];
    for (size_t i = begin; i < end; i++)
        if (job->fma_rounds)
            job->fma_rounds(sink, job->rounds);
        else
            job->tile_rounds(job->rounds);
}

/* Seconds that `pieces` pieces of work take together. */
static double seconds_of(tn_exec ex, round_job *job, size_t pieces) {
    double start = tn_now();
    tn_parallel_for(pieces, 1, ex.threads, some_pieces, job);
    return tn_now() - start;
}

/* Billions of operations a second, of which a round has so many. */
static double rate_of(tn_exec ex, round_job job, double operations, double seconds) {
    enum { PIECES = 64 }; /* for each thread, so that the threads end together */
    const size_t pieces = PIECES * (size_t)ex.threads;
    /* Doubled until it takes long enough for the clock; then once more, as long as was asked for. */
    double trial = seconds_of(ex, &job, pieces);
    for (; trial < 1e-3; trial = seconds_of(ex, &job, pieces)) job.rounds *= 2;
    if (seconds > trial) job.rounds = (size_t)((double)job.rounds * seconds / trial);
    return operations * (double)job.rounds * (double)pieces / seconds_of(ex, &job, pieces) / 1e9;
}

double tn_fma_rate(tn_exec ex, double seconds) {
    const round_job job = {.fma_rounds = ex.k->fma_rounds, .rounds = 1000};
    return job.fma_rounds ? rate_of(ex, job, 2.0 * TN_FMA_LANES, seconds) : 0;
}

double tn_tile_rate(tn_exec ex, double seconds) {
    const round_job job = {.tile_rounds = ex.k->tile_rounds, .rounds = 100};
    return job.tile_rounds ? rate_of(ex, job, TN_TILE_FLOP, seconds) : 0;
}

/* ---- Memory ---- */

typedef struct {
    const uint64_t *words;
    shared_sum sum;
} read_job;

/* Units begin … end-1. Memory moves whole cache lines, so one word of each brings all of it; and eight
 * streams with little to do between the loads keep as many of them under way as the processor can follow. */
static void read_units(void *ctx, size_t begin, size_t end) {
    enum { STREAMS = 8, STRIDE = TN_READ_UNIT / STREAMS };
    read_job *job = ctx;
    uint64_t sum = 0;
    for (size_t unit = begin; unit < end; unit++) {
        const uint64_t *from = job->words + unit * TN_READ_UNIT;
        for (size_t i = 0; i < STRIDE; i += TN_READ_LINE)
            for (size_t s = 0; s < STREAMS; s++) sum += from[s * STRIDE + i];
    }
    job->sum += sum;
}

double tn_read_rate(tn_exec ex, const uint64_t *words, size_t n, uint64_t *sum) {
    const size_t units = n / TN_READ_UNIT;
    read_job job = {words, 0};
    double start = tn_now();
    tn_parallel_for(units, 1, ex.threads, read_units, &job);
    double seconds = tn_now() - start;
    *sum = job.sum;
    return units ? (double)units * TN_READ_UNIT * sizeof *words / seconds / 1e9 : 0;
}
