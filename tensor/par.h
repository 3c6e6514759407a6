/* One loop over cores: on the helpers of os_threads.h, or serial when built without threads.
 *
 * Work is split over independent outputs only and every reduction keeps a fixed order, so results do
 * not depend on the number of threads.
 */
#ifndef TENSOR_PAR_H
#define TENSOR_PAR_H

#include "tensor/base.h"

/* Does items begin … end-1 of the loop. Ranges of different calls do not overlap. */
typedef void (*tn_range_fn)(void *ctx, size_t begin, size_t end);

/* Calls fn on ranges that together cover 0 … n-1, on at most `threads` threads, each range a multiple of
 * `grain` items long except the last. Returns when all are done. Each thread takes one range after the
 * other as it gets done with them: there are more ranges than threads, so what they have in common is best
 * prepared before the loop. A loop inside fn, or on a second thread while another runs, is serial. */
void tn_parallel_for(size_t n, size_t grain, int threads, tn_range_fn fn, void *ctx);

/* The same when a thread needs room of its own: `worker` < threads is another one on each thread that is
 * inside fn at the same time. */
typedef void (*tn_worker_fn)(void *ctx, size_t worker, size_t begin, size_t end);
void tn_parallel_for_workers(size_t n, size_t grain, int threads, tn_worker_fn fn, void *ctx);

#endif
