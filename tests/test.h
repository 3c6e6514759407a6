/* The test harness: cases are functions, checks count, a failed check fails its case.
 *
 * A file tests/test_NAME.c defines `void test_NAME(void)` which calls RUN for each of its cases; the Makefile
 * gathers them by file name. Tests run from the top of the repository and write only below TEST_TMP.
 */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <stddef.h>

#define TEST_TMP BUILD_DIR "/test-tmp"

/* Runs one case and reports it. */
#define RUN(fn) test_run(#fn, fn)
void test_run(const char *name, void (*fn)(void));

/* Each returns 1 when it holds; on failure it prints file, line and what differed, and the case has failed.
 */
#define CHECK(cond) test_check(!!(cond), __FILE__, __LINE__, #cond)
#define CHECK_INT(got, want) test_int((long long)(got), (long long)(want), __FILE__, __LINE__, #got)
#define CHECK_STR(got, want) test_str((got), (want), __FILE__, __LINE__, #got)
#define CHECK_NEAR(got, want, tol)                                                                           \
    test_near((double)(got), (double)(want), (double)(tol), __FILE__, __LINE__, #got)
/* `text` contains `part`. */
#define CHECK_HAS(text, part) test_has((text), (part), __FILE__, __LINE__, #text)
int test_check(int ok, const char *file, int line, const char *what);
int test_int(long long got, long long want, const char *file, int line, const char *what);
int test_str(const char *got, const char *want, const char *file, int line, const char *what);
int test_near(double got, double want, double tol, const char *file, int line, const char *what);
int test_has(const char *text, const char *part, const char *file, int line, const char *what);

/* ||a - b|| / ||b|| over n floats, in double (||a|| when b is all zero). */
double test_rel_error(const float *a, const float *b, size_t n);

/* Runs a shell command; returns its exit code. stdout and stderr go to the given buffers (NULL = dropped),
 * cut off at cap with a NUL. */
int test_shell(const char *command, char *out, size_t out_cap, char *err, size_t err_cap);

/* TEST_TMP "/name" in a static ring of buffers; the directory exists. */
const char *test_path(const char *name);

#endif
