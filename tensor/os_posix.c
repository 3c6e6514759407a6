/* The operating system, as POSIX offers it: the one file a port to another system replaces (see os.h).
 *
 * Every message is `PATH: reason`, with the system's own words for the reason.
 */
#define _GNU_SOURCE      /* sched_getaffinity, and everything of POSIX.1-2008 */
#define _DARWIN_C_SOURCE /* the same on macOS */
#include "tensor/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#endif
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

/* TN_EIO with the system's reason. */
static int fail_errno(tn_err *e, const char *path, int reason) {
    return tn_fail(e, TN_EIO, "%s: %s", path, strerror(reason));
}

/* ---- reading ---- */

int tn_map_file(tn_map *out, const char *path, tn_err *e) {
    *out = (tn_map){NULL, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno(e, path, errno);

    struct stat st;
    int rc = TN_OK;
    if (fstat(fd, &st) != 0) {
        rc = fail_errno(e, path, errno);
    } else if (S_ISDIR(st.st_mode)) {
        rc = fail_errno(e, path, EISDIR);
    } else if (!S_ISREG(st.st_mode)) {
        rc = tn_fail(e, TN_EIO, "%s: not a regular file", path);
    } else if ((uintmax_t)st.st_size > SIZE_MAX) {
        rc = fail_errno(e, path, EFBIG);
    } else if (st.st_size > 0) { /* an empty mapping is an error to mmap */
        size_t size = (size_t)st.st_size;
        void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED)
            rc = fail_errno(e, path, errno);
        else
            *out = (tn_map){data, size};
    }
    close(fd); /* the mapping stays */
    return rc;
}

void tn_unmap_file(tn_map *m) {
    if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
    *m = (tn_map){NULL, 0};
}

/* Whole pages, and what lies AROUND them: a system maps up to so much about each page that is touched, also
 * pages that were given back before. What they hold comes back from the file when it is touched. */
void tn_map_release(const tn_map *m, const void *from, size_t n) {
    enum { AROUND = 1 << 21 };
    const long size = sysconf(_SC_PAGESIZE);
    if (!m->data || size < 1 || n == 0) return;
    const uintptr_t page = (uintptr_t)size, start = (uintptr_t)m->data, first = (uintptr_t)from;
    if (first < start || first - start > m->size || n > m->size - (first - start)) return;
    const size_t before = first - start, behind = m->size - before - n;
    const uintptr_t begin = first - (before < AROUND ? before : AROUND);
    const uintptr_t end = first + n + (behind < AROUND ? behind : AROUND);
    madvise((void *)(begin / page * page), (size_t)(end - begin / page * page), MADV_DONTNEED);
}

/* ---- memory ---- */

enum { LARGE_PAGE = 1 << 21 };

/* Whole large pages only: what shares one with other memory stays as it is. */
void tn_large_pages(void *from, size_t n) {
#if defined(MADV_HUGEPAGE)
    const uintptr_t begin = ((uintptr_t)from + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE,
                    end = ((uintptr_t)from + n) / LARGE_PAGE * LARGE_PAGE;
    if (end > begin) madvise((void *)begin, (size_t)(end - begin), MADV_HUGEPAGE);
#else
    (void)from;
    (void)n;
#endif
}

void *tn_alloc_large(size_t n) {
    if (n < LARGE_PAGE || n > SIZE_MAX - LARGE_PAGE) return malloc(n);
    const size_t whole = (n + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
    void *p = aligned_alloc(LARGE_PAGE, whole);
    if (p) tn_large_pages(p, whole);
    return p;
}

/* ---- names ---- */

int tn_file_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

int tn_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int tn_list_dir(const char *dir, int (*fn)(void *ctx, const char *name), void *ctx, tn_err *e) {
    DIR *d = opendir(dir);
    if (!d) return fail_errno(e, dir, errno);
    int rc = TN_OK;
    for (struct dirent *entry; !rc && (errno = 0, entry = readdir(d)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            rc = fn(ctx, entry->d_name);
            if (rc) tn_fail(e, rc, "%s: its listing was stopped at %s", dir, entry->d_name);
        }
    if (!rc && errno) rc = fail_errno(e, dir, errno);
    closedir(d);
    return rc;
}

int tn_remove_file(const char *path) {
    return unlink(path) == 0 ? 0 : -1;
}

/* One directory; fine when it is there already. */
static int make_dir(const char *path, tn_err *e) {
    if (mkdir(path, 0777) == 0) return TN_OK;
    int reason = errno;
    struct stat st;
    if (stat(path, &st) == 0) {
        if (S_ISDIR(st.st_mode)) return TN_OK;
        reason = ENOTDIR;
    }
    return fail_errno(e, path, reason);
}

int tn_make_dirs(const char *path, tn_err *e) {
    size_t len = strlen(path);
    char *part = malloc(len + 1);
    if (!part) return tn_fail(e, TN_ENOMEM, "%s: no memory for its name", path);
    memcpy(part, path, len + 1);
    int rc = TN_OK;
    for (size_t i = 1; i < len && rc == TN_OK; i++) {
        if (part[i] != '/') continue;
        part[i] = '\0';
        rc = make_dir(part, e);
        part[i] = '/';
    }
    free(part);
    return rc == TN_OK ? make_dir(path, e) : rc;
}

int tn_path_join(char *dst, size_t cap, const char *dir, const char *name, tn_err *e) {
    size_t len = strlen(dir);
    const char *slash = len > 0 && dir[len - 1] == '/' ? "" : "/";
    int n = snprintf(dst, cap, "%s%s%s", dir, slash, name);
    if (n < 0 || (size_t)n >= cap)
        return tn_fail(e, TN_EARG, "%.200s/%.200s: file name is too long", dir, name);
    return TN_OK;
}

/* ---- writing ---- */

#define OUT_BUFFER 65536

struct tn_out {
    char *path;   /* as the caller named it, for messages */
    char *target; /* the file behind it, links followed */
    char *tmp;    /* where the bytes go until commit; NULL when they go straight to target */
    int fd;
    int reason;  /* errno of the first failure, 0 = none so far */
    size_t held; /* bytes waiting in buffer */
    char buffer[OUT_BUFFER];
};

/* Frees everything; the temporary file, if there still is one, is the caller's business. */
static void out_free(tn_out *o) {
    free(o->path);
    free(o->target);
    free(o->tmp);
    free(o);
}

/* A copy of s with room for `more` bytes behind it; NULL without memory. */
static char *copy_of(const char *s, size_t more) {
    size_t size = strlen(s) + 1;
    char *copy = malloc(size + more);
    if (copy) memcpy(copy, s, size);
    return copy;
}

#define TMP_MARK ".tmp-" /* and the writer's process id */

/* Removes what writers of `target` left behind that were killed: temporary files of processes that are gone.
 * (Of this machine's; no two machines should write one file at a time.) */
static void remove_leftovers(const char *target) {
    char *folder = copy_of(target, 2), path[4096];
    if (!folder) return;
    char *slash = strrchr(folder, '/');
    const char *name = slash ? target + (slash - folder) + 1 : target;
    size_t stem = strlen(name);
    strcpy(slash ? slash + 1 : folder, slash ? "" : ".");
    DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        const char *mark = entry->d_name + stem;
        if (strncmp(entry->d_name, name, stem) != 0 || strncmp(mark, TMP_MARK, strlen(TMP_MARK)) != 0)
            continue;
        char *end;
        long pid = strtol(mark + strlen(TMP_MARK), &end, 10);
        int gone = pid > 0 && *end == '\0' && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
        int n = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (gone && n > 0 && (size_t)n < sizeof path) unlink(path);
    }
    if (dir) closedir(dir);
    free(folder);
}

int tn_out_open(tn_out **out, const char *path, tn_err *e) {
    enum { SUFFIX = 32 };
    *out = NULL;
    tn_out *o = calloc(1, sizeof *o);
    if (o) o->path = copy_of(path, 0);
    /* A link stays a link: the file it leads to is replaced whole, as if it had been named itself. */
    if (o) o->target = realpath(path, NULL);
    if (o && !o->target) o->target = copy_of(path, 0); /* it is new */
    if (o && o->target) o->tmp = copy_of(o->target, SUFFIX);
    if (!o || !o->path || !o->target || !o->tmp) {
        if (o) out_free(o);
        return tn_fail(e, TN_ENOMEM, "%s: no memory to write it", path);
    }
    snprintf(o->tmp + strlen(o->target), SUFFIX, TMP_MARK "%ld", (long)getpid());

    /* A device or a pipe must not be replaced by a file of its name. */
    struct stat st;
    if (stat(o->target, &st) == 0 && !S_ISREG(st.st_mode)) {
        free(o->tmp);
        o->tmp = NULL;
    }
    if (o->tmp) remove_leftovers(o->target);
    o->fd = open(o->tmp ? o->tmp : o->target, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (o->fd < 0) {
        int reason = errno;
        out_free(o);
        return fail_errno(e, path, reason);
    }
    *out = o;
    return TN_OK;
}

/* Hands n bytes to the system, however many calls that takes. */
static void write_all(tn_out *o, const char *p, size_t n) {
    const size_t most = (size_t)1 << 30; /* some systems refuse more in one call */
    while (n > 0 && !o->reason) {
        ssize_t done = write(o->fd, p, n < most ? n : most);
        if (done >= 0) {
            p += done;
            n -= (size_t)done;
        } else if (errno != EINTR) {
            o->reason = errno;
        }
    }
}

int tn_out_write(tn_out *o, const void *bytes, size_t n) {
    if (n > OUT_BUFFER - o->held) {
        write_all(o, o->buffer, o->held);
        o->held = 0;
    }
    if (n > OUT_BUFFER) {
        write_all(o, bytes, n);
    } else if (n > 0) {
        memcpy(o->buffer + o->held, bytes, n);
        o->held += n;
    }
    return o->reason ? TN_EIO : TN_OK;
}

int tn_out_commit(tn_out *o, tn_err *e) {
    write_all(o, o->buffer, o->held);
    /* The bytes must be on the disk before the name is: a crash leaves the old file or the new one. */
    if (!o->reason && o->tmp && fsync(o->fd) != 0) o->reason = errno;
    if (close(o->fd) != 0 && !o->reason) o->reason = errno;
    if (!o->reason && o->tmp && rename(o->tmp, o->target) != 0) o->reason = errno;
    int rc = TN_OK;
    if (o->reason) {
        if (o->tmp) unlink(o->tmp);
        rc = fail_errno(e, o->path, o->reason);
    }
    out_free(o);
    return rc;
}

void tn_out_discard(tn_out *o) {
    if (!o) return;
    close(o->fd);
    if (o->tmp) unlink(o->tmp);
    out_free(o);
}

int tn_write_file(const char *path, const void *bytes, size_t n, tn_err *e) {
    tn_out *o;
    int rc = tn_out_open(&o, path, e);
    if (rc != TN_OK) return rc;
    tn_out_write(o, bytes, n);
    return tn_out_commit(o, e);
}

/* ---- the machine ---- */

double tn_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int tn_core_count(void) {
#if defined(__linux__)
    cpu_set_t set; /* respects taskset and containers bound to some cores */
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 1024 ? 1024 : (int)n;
}

#if defined(__aarch64__) && defined(__linux__)
/* Bits as in the kernel's Documentation/arch/arm64/elf_hwcaps.rst and its asm/hwcap.h. */
unsigned tn_arm_features(void) {
    const unsigned long asimddp = 1ul << 20 /* of AT_HWCAP */, i8mm = 1ul << 13 /* of AT_HWCAP2 */;
    unsigned features = 0;
    if (getauxval(AT_HWCAP) & asimddp) features |= TN_ARM_DOTPROD;
    if (getauxval(AT_HWCAP2) & i8mm) features |= TN_ARM_I8MM;
    return features;
}
#elif defined(__aarch64__) && defined(__APPLE__)
/* Names as in Apple's "Determining Instruction Set Characteristics"; a system that is too old for a name does
 * not know it, and then the feature counts as absent. */
static int has(const char *name) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, NULL, 0) == 0 && value != 0;
}
unsigned tn_arm_features(void) {
    unsigned features = 0;
    if (has("hw.optional.arm.FEAT_DotProd")) features |= TN_ARM_DOTPROD;
    if (has("hw.optional.arm.FEAT_I8MM")) features |= TN_ARM_I8MM;
    return features;
}
#else
unsigned tn_arm_features(void) {
    return 0;
}
#endif

#if defined(__x86_64__) && defined(__linux__)
/* Linux saves a process's tiles only once it has asked (Documentation/arch/x86/xstate.rst). */
int tn_allow_tiles(void) {
    enum { REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) == 0;
}
#else
int tn_allow_tiles(void) {
    return 0;
}
#endif

int tn_is_terminal(int fd) {
    return isatty(fd);
}

size_t tn_peak_memory(void) {
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0 || u.ru_maxrss < 0) return 0;
#if defined(__APPLE__)
    return (size_t)u.ru_maxrss; /* bytes there, */
#else
    return (size_t)u.ru_maxrss * 1024; /* kilobytes elsewhere */
#endif
}

size_t tn_private_memory(void) {
    size_t kilobytes = 0;
#if defined(__linux__)
    /* One line of many: "RssAnon:	    1234 kB" (proc_pid_status(5)). */
    FILE *f = fopen("/proc/self/status", "re");
    char line[128];
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %zu", &kilobytes) == 1) break;
    if (f) fclose(f);
#endif
    return kilobytes * 1024;
}
