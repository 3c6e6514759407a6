/* Files through os.h: mapping, atomic output, the messages of what the system refuses. */
#include "tensor/os.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The file's text in a static buffer, "" when it is missing. */
static const char *text_of(const char *path) {
    static char text[256];
    tn_map m;
    text[0] = '\0';
    if (tn_map_file(&m, path, NULL) != TN_OK) return text;
    size_t n = m.size < sizeof text - 1 ? m.size : sizeof text - 1;
    if (n) memcpy(text, m.data, n);
    text[n] = '\0';
    tn_unmap_file(&m);
    return text;
}

static void write_and_map(void) {
    tn_err e;
    const char *path = test_path("os-plain");
    CHECK_INT(tn_write_file(path, "hello", 5, &e), TN_OK);
    CHECK(tn_file_exists(path));
    CHECK_STR(text_of(path), "hello");
    CHECK_INT(tn_write_file(path, "", 0, &e), TN_OK);
    tn_map m;
    CHECK_INT(tn_map_file(&m, path, &e), TN_OK);
    CHECK(m.data == NULL && m.size == 0);
    tn_unmap_file(&m);
    CHECK_INT(tn_remove_file(path), 0);
    CHECK_INT(tn_remove_file(path), -1);
    CHECK(!tn_file_exists(path));
}

/* Pieces around the size of the buffer, against the same bytes made at once. */
static void pieces(void) {
    enum { TOTAL = 300000 };
    const char *path = test_path("os-pieces");
    unsigned char *want = malloc(TOTAL);
    if (!CHECK(want != NULL)) return;
    for (size_t i = 0; i < TOTAL; i++) want[i] = (unsigned char)(i * 31 + i / 251);
    static const size_t sizes[] = {1, 65535, 1, 65536, 0, 65537, 7, 100000};
    tn_out *o;
    tn_err e;
    if (CHECK_INT(tn_out_open(&o, path, &e), TN_OK)) {
        size_t at = 0;
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            CHECK_INT(tn_out_write(o, want + at, sizes[i]), TN_OK);
            at += sizes[i];
        }
        CHECK_INT(tn_out_write(o, want + at, TOTAL - at), TN_OK);
        CHECK_INT(tn_out_commit(o, &e), TN_OK);
    }
    tn_map m;
    CHECK_INT(tn_map_file(&m, path, &e), TN_OK);
    CHECK_INT(m.size, TOTAL);
    CHECK(m.size == TOTAL && memcmp(m.data, want, TOTAL) == 0);
    tn_unmap_file(&m);
    free(want);
}

/* Until commit the old file stands; afterwards nothing but the file is left. */
static void atomic(void) {
    tn_err e;
    tn_out *o;
    char out[64];
    CHECK_INT(test_shell("rm -rf " TEST_TMP "/os-atomic", NULL, 0, NULL, 0), 0);
    CHECK_INT(tn_make_dirs(TEST_TMP "/os-atomic", &e), TN_OK);
    const char *path = test_path("os-atomic/file");
    CHECK_INT(tn_write_file(path, "old", 3, &e), TN_OK);
    CHECK_INT(tn_out_open(&o, path, &e), TN_OK);
    tn_out_write(o, "new", 3);
    CHECK_STR(text_of(path), "old");
    test_shell("ls " TEST_TMP "/os-atomic | sed 's/[0-9][0-9]*/PID/' | xargs", out, sizeof out, NULL, 0);
    CHECK_STR(out, "file file.tmp-PID\n");
    tn_out_discard(o);
    CHECK_STR(text_of(path), "old");
    CHECK_INT(tn_out_open(&o, path, &e), TN_OK);
    tn_out_write(o, "newer", 5);
    CHECK_INT(tn_out_commit(o, &e), TN_OK);
    CHECK_STR(text_of(path), "newer");
    test_shell("ls " TEST_TMP "/os-atomic", out, sizeof out, NULL, 0);
    CHECK_STR(out, "file\n");
    tn_out_discard(NULL);
}

/* A killed writer's temporary file goes with the next writer; those of live ones and other files stay. */
static void leftovers(void) {
    tn_err e;
    char out[256];
    test_shell("rm -rf " TEST_TMP "/os-left && mkdir -p " TEST_TMP "/os-left && cd " TEST_TMP "/os-left && "
               "true & p=$!; wait $p; cd " TEST_TMP "/os-left && : > file.tmp-$p && : > file.tmp-1 && "
               ": > file.tmp-$p.old && : > file2.tmp-$p && : > file.tmp-",
               NULL, 0, NULL, 0);
    CHECK_INT(tn_write_file(TEST_TMP "/os-left/file", "x", 1, &e), TN_OK);
    test_shell("ls " TEST_TMP "/os-left | sed 's/-[0-9][0-9][0-9]*/-PID/' | LC_ALL=C sort | xargs", out,
               sizeof out, NULL, 0);
    CHECK_STR(out, "file file.tmp- file.tmp-1 file.tmp-PID.old file2.tmp-PID\n");
}

static void refusals(void) {
    tn_err e;
    tn_map m;
    tn_out *o;
    char want[512];
    const char *missing = test_path("os-missing");
    CHECK_INT(tn_map_file(&m, missing, &e), TN_EIO);
    snprintf(want, sizeof want, "%s: No such file or directory", missing);
    CHECK_STR(e.msg, want);
    CHECK(m.data == NULL);
    CHECK_INT(tn_map_file(&m, TEST_TMP, &e), TN_EIO);
    CHECK_STR(e.msg, TEST_TMP ": Is a directory");
    CHECK_INT(tn_map_file(&m, "/dev/null", &e), TN_EIO);
    CHECK_STR(e.msg, "/dev/null: not a regular file");

    CHECK_INT(tn_out_open(&o, test_path("os-missing/file"), &e), TN_EIO);
    CHECK_HAS(e.msg, "os-missing/file: No such file or directory");
    CHECK(o == NULL);
    CHECK_INT(tn_out_open(&o, TEST_TMP, &e), TN_EIO);
    CHECK_STR(e.msg, TEST_TMP ": Is a directory");
}

/* A full disk: small writes fail at commit, large ones at once; both say the same. */
static void disk_full(void) {
    if (!tn_file_exists("/dev/full")) return;
    tn_err e;
    tn_out *o;
    CHECK_INT(tn_write_file("/dev/full", "x", 1, &e), TN_EIO);
    CHECK_STR(e.msg, "/dev/full: No space left on device");
    static char big[100000];
    CHECK_INT(tn_out_open(&o, "/dev/full", &e), TN_OK);
    CHECK_INT(tn_out_write(o, big, sizeof big), TN_EIO);
    CHECK_INT(tn_out_write(o, "x", 1), TN_EIO); /* errors stick */
    CHECK_INT(tn_out_commit(o, &e), TN_EIO);
    CHECK_STR(e.msg, "/dev/full: No space left on device");
    CHECK(tn_file_exists("/dev/full"));
    CHECK_INT(tn_write_file("/dev/null", "x", 1, &e), TN_OK);
}

/* A link stays a link; the file behind it is replaced whole, and a mapping of its old bytes stays sound. */
static void links(void) {
    tn_err e;
    char out[64];
    test_shell("cd " TEST_TMP
               " && rm -f os-link os-target && printf old > os-target && ln -s os-target os-link",
               NULL, 0, NULL, 0);
    tn_map old;
    CHECK_INT(tn_map_file(&old, test_path("os-link"), &e), TN_OK);
    CHECK_INT(tn_write_file(test_path("os-link"), "new", 3, &e), TN_OK);
    CHECK(old.size == 3 && memcmp(old.data, "old", 3) == 0);
    tn_unmap_file(&old);
    CHECK_STR(text_of(test_path("os-target")), "new");
    test_shell("readlink " TEST_TMP "/os-link", out, sizeof out, NULL, 0);
    CHECK_STR(out, "os-target\n");
}

static void directories(void) {
    tn_err e;
    CHECK_INT(test_shell("rm -rf " TEST_TMP "/os-a", NULL, 0, NULL, 0), 0);
    CHECK_INT(tn_make_dirs(test_path("os-a/b/c/"), &e), TN_OK);
    CHECK(tn_file_exists(test_path("os-a/b/c")));
    CHECK_INT(tn_make_dirs(test_path("os-a/b/c"), &e), TN_OK);
    CHECK_INT(tn_make_dirs("/", &e), TN_OK);
    CHECK_INT(tn_write_file(test_path("os-a/file"), "", 0, &e), TN_OK);
    CHECK_INT(tn_make_dirs(test_path("os-a/file/sub"), &e), TN_EIO);
    CHECK_HAS(e.msg, "os-a/file: Not a directory");

    char path[16];
    CHECK_INT(tn_path_join(path, sizeof path, "dir", "name", &e), TN_OK);
    CHECK_STR(path, "dir/name");
    CHECK_INT(tn_path_join(path, sizeof path, "dir/", "name", &e), TN_OK);
    CHECK_STR(path, "dir/name");
    CHECK_INT(tn_path_join(path, sizeof path, "directory", "sixchr", &e), TN_EARG); /* one too long */
    CHECK_STR(e.msg, "directory/sixchr: file name is too long");
    CHECK_INT(tn_path_join(path, sizeof path, "directory", "fives", &e), TN_OK);
}

static void machine(void) {
    double t = tn_now();
    CHECK(tn_now() >= t);
    CHECK(tn_core_count() >= 1);
    CHECK(tn_peak_memory() > 100000);
}

static void large_memory(void) {
    const size_t sizes[] = {1, 1 << 21, (3 << 21) + 5};
    for (int i = 0; i < 3; i++) {
        char *p = tn_alloc_large(sizes[i]);
        if (!CHECK(p != NULL)) return;
        p[0] = p[sizes[i] - 1] = 1;
        free(p);
    }
}

void test_os(void) {
    RUN(write_and_map);
    RUN(pieces);
    RUN(atomic);
    RUN(leftovers);
    RUN(refusals);
    RUN(disk_full);
    RUN(links);
    RUN(directories);
    RUN(large_memory);
    RUN(machine);
}
