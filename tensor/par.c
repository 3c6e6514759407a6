/* The loop over cores of par.h. */
#include "tensor/par.h"

#ifdef TN_THREADS
#include "tensor/os_threads.h"

#include <stdatomic.h>

typedef struct {
    tn_worker_fn fn;
    void *ctx;
    size_t n, grain;
    size_t grains;         /* n / grain, rounded up */
    size_t share;          /* a range is the share-th part of what is left */
    atomic_size_t next;    /* the first grain that nobody has taken */
    atomic_size_t workers; /* threads that have come */
} loop;

/* Takes ranges until none is left. They begin long, which keeps neighbours together on one core, and get
 * shorter as the end comes near, so that the cores finish together even if one is slower (guided
 * self-scheduling: Polychronopoulos & Kuck, IEEE Trans. Computers C-36(12), 1987). */
static void take_ranges(void *ctx) {
    loop *l = ctx;
    size_t worker = atomic_fetch_add(&l->workers, 1);
    size_t begin = atomic_load(&l->next);
    while (begin < l->grains) {
        size_t length = (l->grains - begin) / l->share;
        size_t end = begin + (length > 0 ? length : 1);
        if (!atomic_compare_exchange_weak(&l->next, &begin, end)) continue; /* begin is what next is now */
        l->fn(l->ctx, worker, begin * l->grain, end == l->grains ? l->n : end * l->grain);
        begin = atomic_load(&l->next);
    }
}
#endif

void tn_parallel_for_workers(size_t n, size_t grain, int threads, tn_worker_fn fn, void *ctx) {
    if (n == 0) return;
    if (grain == 0) grain = 1;
#ifdef TN_THREADS
    size_t grains = n / grain + (n % grain != 0);
    if (threads > 1 && grains > 1) {
        if ((size_t)threads > grains) threads = (int)grains;
        loop l = {fn, ctx, n, grain, grains, 2 * (size_t)threads, 0, 0};
        tn_threads_run(threads - 1, take_ranges, &l);
        return;
    }
#else
    (void)threads;
#endif
    fn(ctx, 0, 0, n);
}

typedef struct {
    tn_range_fn fn;
    void *ctx;
} plain;

static void without_worker(void *ctx, size_t worker, size_t begin, size_t end) {
    const plain *p = ctx;
    (void)worker;
    p->fn(p->ctx, begin, end);
}

void tn_parallel_for(size_t n, size_t grain, int threads, tn_range_fn fn, void *ctx) {
    plain p = {fn, ctx};
    tn_parallel_for_workers(n, grain, threads, without_worker, &p);
}
