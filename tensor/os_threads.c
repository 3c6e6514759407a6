/* A pool of threads, as POSIX offers them.
 *
 * The helpers are a resource of the process, like its heap: `pool` is the one object of the library that is
 * neither a constant nor the caller's. Helpers are started when they are first needed and live until the
 * process ends.
 *
 * A job is open while it has seats. A helper that takes a seat works on it and counts itself done:
 *
 *     caller                                 helper
 *     done = 0, seats = helpers              wait until seats >= 1
 *     work                                   take a seat, or back to waiting when others were faster
 *     taken = helpers - seats, seats = 0     work
 *     wait until done >= taken               done = done + 1
 *
 * The caller waits for those who took a seat and for nobody else. A helper that is asleep, or that gets no
 * core because other programs are busy, costs nothing: the caller does its share.
 *
 * Who waits looks for some microseconds whether it can go on, because the next product of a forward pass
 * usually begins sooner than a sleeping thread wakes up, and then sleeps: an idle program uses no processor
 * time, and a busy machine loses little.
 */
#define _POSIX_C_SOURCE 200809L
#include "tensor/os_threads.h"
#include "tensor/os.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum { MAX_HELPERS = 255, CACHE_LINE = 64 };

/* How long to look before sleeping, in seconds: about what waking a sleeping thread takes. */
static const double patience = 50e-6;

/* A number to wait for. Who is about to sleep says so and then looks once more; who raises the number does
 * so and then looks for sleepers. So one of the two always sees the other. */
typedef struct {
    _Alignas(CACHE_LINE) atomic_int value;
    atomic_int sleepers;
    pthread_cond_t raised;
} counter;

static struct {
    atomic_flag taken; /* by the one caller that has the helpers; the next four are its own meanwhile */
    int started;       /* helpers that exist */
    int most;          /* helpers worth asking for: fewer than MAX_HELPERS once the system refused one */
    void (*fn)(void *ctx);
    void *ctx;
    counter seats;        /* helpers still wanted */
    counter done;         /* helpers that have finished their part */
    pthread_mutex_t lock; /* held between the last look and the sleep */
} pool = {.taken = ATOMIC_FLAG_INIT,
          .most = MAX_HELPERS,
          .seats = {.raised = PTHREAD_COND_INITIALIZER},
          .done = {.raised = PTHREAD_COND_INITIALIZER},
          .lock = PTHREAD_MUTEX_INITIALIZER};

/* Tells the processor that this is a waiting loop: it saves power and leaves the core to its other half. */
static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Waits until c's value is at least `least`. */
static void await(counter *c, int least) {
    enum { LOOKS = 32 }; /* between two readings of the clock */
    const double start = tn_now();
    do {
        for (int i = 0; i < LOOKS; i++) {
            if (atomic_load(&c->value) >= least) return;
            relax();
        }
    } while (tn_now() - start < patience);

    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add(&c->sleepers, 1);
    while (atomic_load(&c->value) < least) pthread_cond_wait(&c->raised, &pool.lock);
    atomic_fetch_sub(&c->sleepers, 1);
    pthread_mutex_unlock(&pool.lock);
}

/* c's value has been raised. */
static void wake_sleepers(counter *c) {
    if (atomic_load(&c->sleepers) == 0) return;
    pthread_mutex_lock(&pool.lock); /* once this succeeds they do sleep, and will hear */
    pthread_mutex_unlock(&pool.lock);
    pthread_cond_broadcast(&c->raised);
}

static int take_seat(void) {
    int seats = atomic_load(&pool.seats.value);
    while (seats > 0)
        if (atomic_compare_exchange_weak(&pool.seats.value, &seats, seats - 1)) return 1;
    return 0;
}

static void *help(void *unused) {
    for (;;) {
        await(&pool.seats, 1);
        if (!take_seat()) continue;
        pool.fn(pool.ctx);
        atomic_fetch_add(&pool.done.value, 1);
        wake_sleepers(&pool.done);
    }
    return unused;
}

/* A process begins as a copy of the thread that forked it: the helpers are not in it, nor what they held. */
static void forget_helpers(void) {
    pool.started = 0;
    pthread_mutex_init(&pool.lock, NULL);
    counter *const counters[] = {&pool.seats, &pool.done};
    for (int i = 0; i < 2; i++) {
        atomic_store(&counters[i]->value, 0);
        atomic_store(&counters[i]->sleepers, 0);
        pthread_cond_init(&counters[i]->raised, NULL);
    }
    atomic_flag_clear(&pool.taken);
}

/* Starts helpers until there are `wanted`, or as many as the system gives; returns how many to ask. */
static int start_helpers(int wanted) {
    if (wanted > pool.most) wanted = pool.most;
    if (pool.started >= wanted) return wanted;

    if (pool.started == 0) pthread_atfork(NULL, NULL, forget_helpers);
    sigset_t all, before; /* signals are for the program's own threads */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    while (pool.started < wanted && pthread_create(&thread, NULL, help, NULL) == 0) {
        pthread_detach(thread);
        pool.started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pool.started < wanted) pool.most = pool.started;
    return pool.started;
}

void tn_threads_run(int helpers, void (*fn)(void *ctx), void *ctx) {
    if (helpers < 1 || atomic_flag_test_and_set(&pool.taken)) {
        fn(ctx);
        return;
    }
    helpers = start_helpers(helpers);
    pool.fn = fn;
    pool.ctx = ctx;
    atomic_store(&pool.done.value, 0);
    atomic_store(&pool.seats.value, helpers);
    wake_sleepers(&pool.seats);

    fn(ctx);

    int taken = helpers - atomic_exchange(&pool.seats.value, 0);
    await(&pool.done, taken);
    atomic_flag_clear(&pool.taken);
}
