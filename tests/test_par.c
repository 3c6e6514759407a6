/* The parallel loop: every item once whatever the sizes, from several threads, inside itself, after a fork;
 * helpers do help, and sleep when there is nothing to do. */
#define _POSIX_C_SOURCE 200809L
#include "tensor/par.h"
#include "tensor/os.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef TN_THREADS
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#endif

enum { MOST = 1000 };

typedef struct {
    size_t n, grain;
    unsigned char hits[MOST];
    unsigned char ragged[MOST]; /* ranges that begin here although it is no multiple of grain, or end so */
} marks;

static void mark(void *ctx, size_t begin, size_t end) {
    marks *m = ctx;
    m->ragged[begin] = begin % m->grain != 0 || (end % m->grain != 0 && end != m->n);
    for (size_t i = begin; i < end; i++) m->hits[i]++;
}

/* 1 when a loop over m's n items does each once, in ranges of whole grains. */
static int covers(marks *m, int threads) {
    memset(m->hits, 0, sizeof m->hits);
    memset(m->ragged, 0, sizeof m->ragged);
    tn_parallel_for(m->n, m->grain, threads, mark, m);
    for (size_t i = 0; i < MOST; i++)
        if (m->hits[i] != (i < m->n) || m->ragged[i]) return 0;
    return 1;
}

static void every_item_once(void) {
    static const size_t sizes[] = {0, 1, 2, 3, 7, 23, 24, 25, 48, 127, 641, MOST};
    static const size_t grains[] = {1, 2, 3, 16, 24, 1000};
    static const int threads[] = {0, 1, 2, 3, 8, 64}; /* more than this machine has cores, too */
    marks m;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t g = 0; g < sizeof grains / sizeof *grains; g++)
            for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
                m.n = sizes[s];
                m.grain = grains[g];
                if (!CHECK(covers(&m, threads[t])))
                    printf("%zu items, grain %zu, %d threads\n", m.n, m.grain, threads[t]);
            }
}

static void grain_of_zero_and_huge_counts(void) {
    marks m = {.n = 5, .grain = 1};
    tn_parallel_for(5, 0, 2, mark, &m);
    for (int i = 0; i < 5; i++) CHECK_INT(m.hits[i], 1);
    m.n = 10;
    m.grain = SIZE_MAX; /* one range, and no sum of the two may wrap */
    CHECK(covers(&m, 4));
}

static void ten_thousand_small_loops(void) {
    marks m;
    int wrong = 0;
    for (int i = 0; i < 10000; i++) {
        m.n = (size_t)i % 13;
        m.grain = 1;
        wrong += !covers(&m, 2 + i % 3);
    }
    CHECK_INT(wrong, 0);
}

typedef struct {
    marks inner[8];
    int ok[8];
} nest;

static void inner_loops(void *ctx, size_t begin, size_t end) {
    nest *n = ctx;
    for (size_t i = begin; i < end; i++) n->ok[i] = covers(&n->inner[i], 3);
}

static void loops_inside_loops(void) {
    nest *n = calloc(1, sizeof *n);
    if (!CHECK(n != NULL)) return;
    for (size_t i = 0; i < 8; i++) n->inner[i] = (marks){.n = 100 + i, .grain = 7};
    tn_parallel_for(8, 1, 4, inner_loops, n);
    for (int i = 0; i < 8; i++) CHECK(n->ok[i]);
    free(n);
}

#ifdef TN_THREADS

static void *many_loops(void *ctx) {
    int *wrong = ctx;
    marks m = {.grain = 3};
    for (int i = 0; i < 2000; i++) {
        m.n = (size_t)i % 100;
        *wrong += !covers(&m, 2);
    }
    return NULL;
}

static void two_threads_at_once(void) {
    int wrong[2] = {0, 0};
    pthread_t other;
    if (!CHECK_INT(pthread_create(&other, NULL, many_loops, &wrong[1]), 0)) return;
    many_loops(&wrong[0]);
    pthread_join(other, NULL);
    CHECK_INT(wrong[0], 0);
    CHECK_INT(wrong[1], 0);
}

/* Item by item, each waits for the other to have begun: only two threads can do both. */
static void meet(void *ctx, size_t begin, size_t end) {
    atomic_int *arrived = ctx;
    atomic_fetch_add(arrived, (int)(end - begin));
    double start = tn_now();
    while (atomic_load(arrived) < 2 && tn_now() - start < 5) {
    }
    if (atomic_load(arrived) < 2) atomic_store(arrived, -100);
}

static void helpers_help(void) {
    for (int i = 0; i < 3; i++) {
        atomic_int arrived = 0;
        tn_parallel_for(2, 1, 2, meet, &arrived);
        CHECK_INT(arrived, 2);
    }
}

static void a_forked_process_has_its_own(void) {
    if (getenv("RUNNER")) return; /* an emulator's own threads do not survive a fork */
    atomic_int arrived = 0;
    tn_parallel_for(2, 1, 2, meet, &arrived);
    pid_t child = fork();
    if (child == 0) {
        arrived = 0;
        tn_parallel_for(2, 1, 2, meet, &arrived);
        _exit(arrived == 2 ? 0 : 1);
    }
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK_INT(status, 0);
}

/* The processor time that passes while nobody calls. */
static void idle_helpers_sleep(void) {
    marks m = {.n = MOST, .grain = 1};
    CHECK(covers(&m, 8));
    const struct timespec moment = {0, 100 * 1000 * 1000};
    nanosleep(&moment, NULL); /* until the last has given up looking */
    clock_t before = clock();
    nanosleep(&moment, NULL);
    CHECK((double)(clock() - before) / CLOCKS_PER_SEC < 0.02);
}

#endif

void test_par(void) {
    RUN(every_item_once);
    RUN(grain_of_zero_and_huge_counts);
    RUN(ten_thousand_small_loops);
    RUN(loops_inside_loops);
#ifdef TN_THREADS
    RUN(two_threads_at_once);
    RUN(helpers_help);
    RUN(a_forked_process_has_its_own);
    RUN(idle_helpers_sleep);
#endif
}
