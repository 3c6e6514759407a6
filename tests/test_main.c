/* Runs every tests/test_*.c (all, or those named as arguments) and ends with "N passed, N failed". */
#include "tests/test.h"
#include "tensor/os.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEST_FILE(name) void test_##name(void);
#include "test_list.inc"
#undef TEST_FILE

static int passed, failed, case_failed;

void test_run(const char *name, void (*fn)(void)) {
    case_failed = 0;
    fn();
    if (case_failed) {
        failed++;
        printf("FAIL %s\n", name);
    } else {
        passed++;
    }
    fflush(stdout);
}

int test_check(int ok, const char *file, int line, const char *what) {
    if (!ok) {
        printf("%s:%d: %s\n", file, line, what);
        case_failed = 1;
    }
    return ok;
}

int test_int(long long got, long long want, const char *file, int line, const char *what) {
    if (got == want) return 1;
    printf("%s:%d: %s is %lld, expected %lld\n", file, line, what, got, want);
    return test_check(0, file, line, "numbers differ");
}

int test_str(const char *got, const char *want, const char *file, int line, const char *what) {
    if (got && strcmp(got, want) == 0) return 1;
    printf("%s:%d: %s is \"%s\", expected \"%s\"\n", file, line, what, got ? got : "(null)", want);
    return test_check(0, file, line, "strings differ");
}

int test_near(double got, double want, double tol, const char *file, int line, const char *what) {
    if (fabs(got - want) <= tol) return 1;
    printf("%s:%d: %s is %.9g, expected %.9g within %g\n", file, line, what, got, want, tol);
    return test_check(0, file, line, "numbers are too far apart");
}

int test_has(const char *text, const char *part, const char *file, int line, const char *what) {
    if (text && strstr(text, part)) return 1;
    printf("%s:%d: %s is \"%s\", which lacks \"%s\"\n", file, line, what, text ? text : "(null)", part);
    return test_check(0, file, line, "text is missing");
}

double test_rel_error(const float *a, const float *b, size_t n) {
    double diff = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        diff += d * d;
        norm += (double)b[i] * (double)b[i];
    }
    return norm > 0 ? sqrt(diff / norm) : sqrt(diff);
}

static void slurp(const char *path, char *dst, size_t cap) {
    if (!dst || cap == 0) return;
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(dst, 1, cap - 1, f) : 0;
    dst[n] = '\0';
    if (f) fclose(f);
}

int test_shell(const char *command, char *out, size_t out_cap, char *err, size_t err_cap) {
    tn_err e;
    tn_make_dirs(TEST_TMP, &e);
    size_t size = strlen(command) + 256;
    char *line = malloc(size);
    if (!line) return -1;
    snprintf(line, size, "( %s\n) > %s/stdout 2> %s/stderr < /dev/null", command, TEST_TMP, TEST_TMP);
    int status = system(line);
    free(line);
    slurp(TEST_TMP "/stdout", out, out_cap);
    slurp(TEST_TMP "/stderr", err, err_cap);
    return status < 0 ? status : (status >> 8) & 0xff;
}

const char *test_path(const char *name) {
    static char ring[8][256];
    static int next;
    tn_err e;
    tn_make_dirs(TEST_TMP, &e);
    char *p = ring[next++ % 8];
    snprintf(p, sizeof ring[0], "%s/%s", TEST_TMP, name);
    return p;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*fn)(void);
    } files[] = {
#define TEST_FILE(name) {#name, test_##name},
#include "test_list.inc"
#undef TEST_FILE
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        int wanted = argc < 2;
        for (int a = 1; a < argc; a++) wanted |= strcmp(argv[a], files[i].name) == 0;
        if (!wanted) continue;
        int before = passed, before_failed = failed;
        files[i].fn();
        printf("%-16s %d passed, %d failed\n", files[i].name, passed - before, failed - before_failed);
        fflush(stdout);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? 1 : 0;
}
