/* Formats messages into the caller's error object (see err.h). */
#include "tensor/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Messages quote names from hostile files: whatever would break the line or move a terminal's cursor
 * becomes '?'. Bytes of UTF-8 characters stay. */
static void keep_one_line(char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
}

int tn_fail(tn_err *e, int code, const char *fmt, ...) {
    if (e) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(e->msg, sizeof e->msg, fmt, args);
        va_end(args);
        keep_one_line(e->msg);
        e->code = code;
    }
    return code;
}

int tn_fail_in(tn_err *e, int code, const char *prefix) {
    if (e) {
        size_t keep = strlen(e->msg);
        size_t lead = strlen(prefix) + 2;
        if (lead + 1 < sizeof e->msg) {
            if (keep > sizeof e->msg - 1 - lead) keep = sizeof e->msg - 1 - lead;
            memmove(e->msg + lead, e->msg, keep);
            memcpy(e->msg, prefix, lead - 2);
            memcpy(e->msg + lead - 2, ": ", 2);
            e->msg[lead + keep] = '\0';
            keep_one_line(e->msg); /* a path may hold anything as well */
        }
        e->code = code;
    }
    return code;
}
