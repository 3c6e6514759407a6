/* Threads, the second door to the operating system. A port replaces os_threads.c, or does without it:
 * the build without TN_THREADS (`make THREADS=0`) neither compiles it nor calls it.
 */
#ifndef TENSOR_OS_THREADS_H
#define TENSOR_OS_THREADS_H

/* Calls fn(ctx) on the calling thread and, at the same time, on at most `helpers` others; returns when all
 * calls have returned. How many others come is luck: none when they are slower to wake up than the caller
 * is to finish, so fn must take its work from a shared supply until that is empty. What the others wrote is
 * visible to the caller afterwards.
 *
 * Any thread may call this at any time. One call at a time has the helpers; meanwhile calls from other
 * threads, and calls from inside fn, run on their own thread alone. */
void tn_threads_run(int helpers, void (*fn)(void *ctx), void *ctx);

#endif
