/* The door to the operating system: files, clock, cores, terminal. A port replaces os_posix.c. (Threads,
 * which a port may lack, have a door of their own: os_threads.h.) */
#ifndef TENSOR_OS_H
#define TENSOR_OS_H

#include "tensor/base.h"
#include "tensor/err.h"

/* A file's bytes, mapped read-only. */
typedef struct {
    const void *data; /* NULL when the file is empty */
    size_t size;      /* bytes */
} tn_map;

/* Maps the whole of `path`. Errors: TN_EIO "PATH: No such file or directory". */
int tn_map_file(tn_map *out, const char *path, tn_err *e);
void tn_unmap_file(tn_map *m);
/* A hint: bytes [n] at `from`, which lie in m, are not needed for now and need not stay in memory. */
void tn_map_release(const tn_map *m, const void *from, size_t n);

int tn_file_exists(const char *path);
int tn_is_dir(const char *path);
/* Calls fn with the name of each entry of a directory but "." and "..", in no particular order. A code other
 * than TN_OK ends the listing, which returns it. */
int tn_list_dir(const char *dir, int (*fn)(void *ctx, const char *name), void *ctx, tn_err *e);
/* Creates the directory and its missing parents; an existing one is fine. */
int tn_make_dirs(const char *path, tn_err *e);
int tn_remove_file(const char *path); /* 0, or -1 when it could not be removed */

/* dst = dir "/" name. TN_EARG when it does not fit in cap. */
int tn_path_join(char *dst, size_t cap, const char *dir, const char *name, tn_err *e);

/* A file that appears under its name only when it is complete: written as PATH.tmp-PID, flushed to the
 * disk and renamed by tn_out_commit. A link of that name stays a link, the file it leads to is replaced; a
 * device or a pipe is written straight through. Errors stick: the first one is kept and reported by commit,
 * so writers need not check each call. What writers of the same path left behind that were killed is removed
 * on opening. */
typedef struct tn_out tn_out;
int tn_out_open(tn_out **out, const char *path, tn_err *e);
int tn_out_write(tn_out *o, const void *bytes, size_t n);
int tn_out_commit(tn_out *o, tn_err *e); /* frees o whether or not it succeeds */
void tn_out_discard(tn_out *o);          /* frees o and removes the temporary file; NULL is fine */

/* tn_out_open + write + commit. */
int tn_write_file(const char *path, const void *bytes, size_t n, tn_err *e);

/* A hint: all of the memory [n bytes] at `from` will be used, so that large pages pay. Comes before the
 * memory is touched for the first time. */
void tn_large_pages(void *from, size_t n);
/* Memory [n] bytes as malloc gives it, for free(). Two megabytes and more lie on the system's large pages
 * where it has them: to be used as a whole, as it comes in pieces of that size. NULL when there is none. */
void *tn_alloc_large(size_t n);

double tn_now(void);     /* seconds of a monotonic clock */
int tn_core_count(void); /* usable cores, at least 1 */
int tn_is_terminal(int fd);
/* ARM instructions beyond the base set that the system says the processor has. 0 on other processors and
 * where the system does not say. */
enum { TN_ARM_DOTPROD = 1, TN_ARM_I8MM = 2 };
unsigned tn_arm_features(void);
/* Asks the system to let this process use AMX's tiles, as long as it runs; 1 if it does. */
int tn_allow_tiles(void);
size_t tn_peak_memory(void); /* largest resident size so far in bytes, 0 when unknown */
/* Resident memory of our own now, mapped files not counted, in bytes; 0 when unknown. */
size_t tn_private_memory(void);

#endif
