/* qwen bench, inside: what was measured (cmd_bench.c) and how it is told (cmd_bench_report.c). */
#ifndef QWEN_CMD_BENCH_H
#define QWEN_CMD_BENCH_H

#include "qwen/commands.h"

enum { BENCH_MAX_REPEATS = 100 };

/* One figure, measured several times. */
typedef struct {
    double value[BENCH_MAX_REPEATS];
    int n;
} bench_series;

typedef struct {
    cmd_common common;
    int prompt;  /* -p: tokens of one prefill, 0 = none */
    int decode;  /* -n: tokens of one decode, 0 = none */
    int context; /* positions filled before decode; -1 = the prompt */
    int repeats, hooks, json;
    cmd_session s;
    cli_progress bar;

    /* seconds */
    double load;           /* opening the model */
    double state;          /* making the timeline */
    double tokenizer;      /* opening the tokenizer; 0 when the directory has none */
    size_t state_bytes;    /* of the timeline */
    size_t peak_memory;    /* resident after the first run, the mapped weights included */
    size_t private_memory; /* the part of it that is no mapped file; 0 = unknown */

    double prefill_flop; /* floating-point operations of one prefill */
    double decode_bytes; /* bytes of weights that one decode step reads */

    /* the speeds, and beside each the machine's own peak, measured in turns with it */
    bench_series prefill, peak; /* tokens/s; GFLOP/s */
    int tiles;                  /* 1: the peak is that of BF16 tiles, in operations of F32 */
    bench_series plain, read;   /* tokens/s; GB/s */
    bench_series hooked, cost;  /* --hooks: tokens/s; time of a step with hooks / without */
} bench;

/* Prints all of it. */
int bench_report(bench *b, tn_err *e);

#endif
