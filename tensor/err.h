/* Error codes and the caller-owned error object.
 *
 * Every function that can fail returns an int: TN_OK (0) or one of the negative codes below, and takes
 * a `tn_err *` (may be NULL) that receives one clear sentence naming the file, the tensor, what was
 * expected and what was found. The library never prints and never exits.
 */
#ifndef TENSOR_ERR_H
#define TENSOR_ERR_H

enum {
    TN_OK = 0,
    TN_EIO = -1,     /* the operating system refused: missing file, full disk */
    TN_EFORMAT = -2, /* a file's bytes break its format */
    TN_ESHAPE = -3,  /* a tensor or file is sound, but of another shape, width or dtype than asked */
    TN_EUNSUP = -4,  /* a sound file of a kind we do not run */
    TN_ENOMEM = -5,  /* no memory, or the caller's block is too small */
    TN_EARG = -6,    /* an argument is out of its range */
    TN_ECTX = -7,    /* more tokens than the context holds */
    TN_ENUM = -8,    /* a NaN or an infinity where a number was needed */
    TN_ESTOP = -9    /* a callback asked to stop */
};

typedef struct {
    int code;      /* the last failure's code, TN_OK when none */
    char msg[512]; /* one line, no newline, no trailing stop; cut off when longer */
} tn_err;

#if defined(__GNUC__)
#define TN_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define TN_PRINTF(fmt, args)
#endif

/* Records `code` and the formatted message in *e (when e is not NULL) and returns `code`, so that a
 * function can end with `return tn_fail(e, TN_EARG, "…")`. */
int tn_fail(tn_err *e, int code, const char *fmt, ...) TN_PRINTF(3, 4);

/* Puts "prefix: " before the message already in *e: callers add the file's name on the way up.
 * Returns `code`, so that it can end a function as well. */
int tn_fail_in(tn_err *e, int code, const char *prefix);

#endif
