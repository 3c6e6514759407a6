/* The loop over cores of par.h. */
#include "tensor/par.h"

void tn_parallel_for(size_t n, size_t grain, int threads, tn_range_fn fn, void *ctx) {
    if (n == 0) return;
    if (grain == 0) grain = 1;
    size_t grains = (n + grain - 1) / grain;
    size_t parts = threads < 1 ? 1 : (size_t)threads;
    if (parts > grains) parts = grains;
#ifdef _OPENMP
    if (parts > 1) {
        /* Equal shares of whole grains; thread t takes the t-th, so its data stays in its cache. */
#pragma omp parallel for num_threads((int)parts) schedule(static, 1)
        for (size_t t = 0; t < parts; t++) {
            size_t begin = grains * t / parts * grain;
            size_t end = grains * (t + 1) / parts * grain;
            fn(ctx, begin, end < n ? end : n);
        }
        return;
    }
#endif
    fn(ctx, 0, n);
}
