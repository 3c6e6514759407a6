/* Options, help, error lines and the progress bar of the commands (see cli.h). */
#include "tensor/cli.h"
#include "tensor/buf.h"
#include "tensor/os.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the error line ---- */

int cli_error(const char *command, const tn_err *e) {
    fflush(stdout); /* what was printed before the failure stands before the message */
    fprintf(stderr, "%s: error: %s\n", command, e->msg);
    return 1;
}

int cli_usage_error(const char *command, const char *sub, const char *fmt, ...) {
    tn_err e;
    va_list args;
    va_start(args, fmt);
    vsnprintf(e.msg, sizeof e.msg, fmt, args);
    va_end(args);
    cli_error(command, &e);
    fprintf(stderr, "try '%s%s%s --help'\n", command, sub ? " " : "", sub ? sub : "");
    return 2;
}

/* ---- the option table ---- */

static int is_option(const cli_option *o) {
    return o->name[0] == '-';
}

static int is_short(const char *name) {
    return name && name[1] != '-';
}

/* The option that is spelled name [len], or NULL. */
static const cli_option *find_option(const cli_option *table, const char *name, size_t len) {
    for (const cli_option *o = table; o->name; o++) {
        if (!is_option(o)) continue;
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0) return o;
        if (o->alias && strlen(o->alias) == len && memcmp(o->alias, name, len) == 0) return o;
    }
    return NULL;
}

/* "  -m, --model DIR": the left column of the help; returns its width. */
static int left_column(char *dst, size_t cap, const cli_option *o) {
    if (!is_option(o)) return snprintf(dst, cap, "  %s", o->name);
    const char *brief = is_short(o->name) ? o->name : is_short(o->alias) ? o->alias : NULL;
    const char *full = !is_short(o->name) ? o->name : !is_short(o->alias) ? o->alias : NULL;
    return snprintf(dst, cap, "  %2s%s%s%s%s", brief ? brief : "",
                    brief && full ? ", "
                    : full        ? "  "
                                  : "",
                    full ? full : "", o->arg ? " " : "", o->arg ? o->arg : "");
}

static void print_row(const cli_option *o, int width) {
    char left[80];
    left_column(left, sizeof left, o);
    printf("%-*s  %s%s\n", width, left, o->help, is_option(o) && o->required ? " (required)" : "");
}

static void print_help(const char *command, const char *sub, const char *summary, const cli_option *table) {
    static const cli_option help = {"-h", "--help", CLI_FLAG, NULL, NULL, "show this text", 0};
    char left[80];
    int width = left_column(left, sizeof left, &help);
    printf("usage: %s %s [options]", command, sub);
    for (const cli_option *o = table; o->name; o++) {
        int w = left_column(left, sizeof left, o);
        if (w > width) width = w;
        if (!is_option(o)) printf(o->required ? " %s" : " [%s]", o->name);
    }
    printf("\n\n%s\n\n", summary);
    for (const cli_option *o = table; o->name; o++)
        if (!is_option(o)) print_row(o, width);
    for (const cli_option *o = table; o->name; o++)
        if (is_option(o)) print_row(o, width);
    print_row(&help, width);
}

/* ---- parsing ---- */

/* Sets o->value from text; NULL, or what is wrong with it. */
static const char *set_value(const cli_option *o, const char *text) {
    char *end;
    errno = 0;
    switch (o->kind) {
    case CLI_FLAG:
        *(int *)o->value = 1;
        return NULL;
    case CLI_STRING:
        *(const char **)o->value = text;
        return NULL;
    case CLI_STRINGS: {
        cli_strings *list = o->value;
        if (list->count == CLI_MAX_STRINGS) return "is given too often";
        list->items[list->count++] = text;
        return NULL;
    }
    case CLI_INT: {
        long n = strtol(text, &end, 10);
        if (end == text || *end) return "needs a whole number";
        if (errno || n < INT_MIN || n > INT_MAX) return "is out of range";
        *(int *)o->value = (int)n;
        return NULL;
    }
    case CLI_U64: {
        unsigned long long n = strtoull(text, &end, 10);
        if (end == text || *end || strchr(text, '-')) return "needs a whole number >= 0";
        if (errno) return "is out of range";
        *(uint64_t *)o->value = n;
        return NULL;
    }
    case CLI_FLOAT: {
        float x = strtof(text, &end);
        if (end == text || *end) return "needs a number";
        if (!isfinite(x)) return "is out of range";
        *(float *)o->value = x;
        return NULL;
    }
    }
    return "has no kind";
}

/* The first required row that was not given, or NULL. Bit i of `seen` stands for row i. */
static const cli_option *first_missing(const cli_option *table, uint64_t seen, int n_positional) {
    int nth = 0;
    for (const cli_option *o = table; o->name; o++) {
        int given = is_option(o) ? (int)(seen >> (o - table) & 1) : nth++ < n_positional;
        if (o->required && !given) return o;
    }
    return NULL;
}

int cli_parse(const char *command, const char *sub, const char *summary, const cli_option *options, int argc,
              char **argv, const char **positional, int max_positional, int *n_positional) {
    uint64_t seen = 0;
    int only_positional = 0, n = 0;
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (only_positional || arg[0] != '-' || arg[1] == '\0') { /* "-" alone is a file name */
            if (n == max_positional) return cli_usage_error(command, sub, "unexpected argument '%s'", arg);
            positional[n++] = arg;
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            only_positional = 1;
            continue;
        }
        if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
            print_help(command, sub, summary, options);
            return 0;
        }
        const char *equals = arg[1] == '-' ? strchr(arg, '=') : NULL; /* --name=value */
        size_t len = equals ? (size_t)(equals - arg) : strlen(arg);
        const cli_option *o = find_option(options, arg, len);
        if (!o) return cli_usage_error(command, sub, "unknown option '%.*s'", (int)len, arg);
        const char *value = equals ? equals + 1 : NULL;
        if (o->kind == CLI_FLAG && value)
            return cli_usage_error(command, sub, "option %s takes no value", o->name);
        if (o->kind != CLI_FLAG && !value) {
            if (i + 1 == argc)
                return cli_usage_error(command, sub, "option %.*s needs a value", (int)len, arg);
            value = argv[++i];
        }
        const char *mistake = set_value(o, value);
        if (mistake)
            return cli_usage_error(command, sub, "option %.*s %s, got '%s'", (int)len, arg, mistake, value);
        seen |= (uint64_t)1 << (o - options);
    }
    const cli_option *missing = first_missing(options, seen, n);
    if (missing)
        return cli_usage_error(command, sub, "missing %s%s%s", missing->name,
                               is_option(missing) && missing->arg ? " " : "",
                               is_option(missing) && missing->arg ? missing->arg : "");
    if (n_positional) *n_positional = n;
    return -1;
}

/* ---- subcommands ---- */

static void print_commands(FILE *f, const char *command, const char *summary, const cli_command *table) {
    int width = 0;
    for (const cli_command *c = table; c->name; c++)
        if ((int)strlen(c->name) > width) width = (int)strlen(c->name);
    fprintf(f, "usage: %s COMMAND [options]\n\n%s\n\n", command, summary);
    for (const cli_command *c = table; c->name; c++) fprintf(f, "  %-*s  %s\n", width, c->name, c->summary);
    fprintf(f, "\n'%s COMMAND --help' lists a command's options.\n", command);
}

/* A full disk behind stdout shows only when its buffer is written. */
static int check_stdout(const char *command, int code) {
    errno = 0;
    int failed = fflush(stdout) != 0;
    int reason = errno;
    if (!failed && !ferror(stdout)) return code;
    tn_err e;
    tn_fail(&e, TN_EIO, "standard output: %s", failed ? strerror(reason) : "could not be written");
    return cli_error(command, &e);
}

int cli_main(const char *command, const char *summary, const cli_command *table, int argc, char **argv) {
    if (argc < 2) {
        print_commands(stderr, command, summary, table);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_commands(stdout, command, summary, table);
        return check_stdout(command, 0);
    }
    for (const cli_command *c = table; c->name; c++)
        if (strcmp(c->name, argv[1]) == 0) return check_stdout(command, c->run(argc - 2, argv + 2));
    return cli_usage_error(command, NULL, "unknown command '%s'", argv[1]);
}

int cli_exec(tn_exec *out, int threads, tn_err *e) {
    const char *isa = getenv("SCALPEL_ISA");
    if (threads < 0) return tn_fail(e, TN_EARG, "--threads must be 0 (all cores) or more, got %d", threads);
    *out = tn_exec_make(isa, threads);
    if (!out->k) return tn_fail(e, TN_EARG, "SCALPEL_ISA=%s is unknown or cannot run on this machine", isa);
    return TN_OK;
}

/* ---- progress ---- */

#define BAR 20     /* columns of the bar */
#define COLUMNS 79 /* of the whole line: a wrapped one could not be drawn over */

/* "83 s", "12 min", "3 h 05 min" */
static void put_duration(tn_buf *b, double seconds) {
    long minutes = (long)(seconds / 60 + 0.5);
    if (seconds < 100)
        tn_buf_printf(b, "%.0f s", seconds);
    else if (minutes < 100)
        tn_buf_printf(b, "%ld min", minutes);
    else
        tn_buf_printf(b, "%ld h %02ld min", minutes / 60, minutes % 60);
}

/* Cuts the text off behind its first `columns` characters of UTF-8. */
static void cut(tn_buf *b, int columns) {
    for (size_t i = 0; i < b->len; i++) {
        if (((unsigned char)b->data[i] & 0xc0) == 0x80) continue; /* inside a character */
        if (columns-- > 0) continue;
        b->len = i;
        b->data[i] = '\0';
        return;
    }
}

/* The line for `done` after `elapsed` seconds, with the time left or, at the end, the time taken. */
static void put_line(tn_buf *b, const cli_progress *p, double elapsed, int at_end, const char *note) {
    double rate = elapsed > 0 ? p->done / elapsed : 0;
    tn_buf_printf(b, "%s ", p->label);
    if (p->total > 0) {
        double share = p->done < p->total ? p->done / p->total : 1;
        for (int i = 0; i < BAR; i++) tn_buf_puts(b, i < (int)(share * BAR + 0.5) ? "█" : "░");
        tn_buf_printf(b, " %.0f/%.0f", p->done, p->total);
    } else {
        tn_buf_printf(b, "%.0f", p->done);
    }
    if (rate > 0) tn_buf_printf(b, rate < 100 ? " %.1f %s/s" : " %.0f %s/s", rate, p->unit);
    if (at_end) {
        tn_buf_puts(b, " in ");
        put_duration(b, elapsed);
    } else if (rate > 0 && p->total > p->done) {
        tn_buf_puts(b, " ETA ");
        put_duration(b, (p->total - p->done) / rate);
    }
    if (note) tn_buf_printf(b, "  %s", note);
    cut(b, COLUMNS);
}

static void draw(const cli_progress *p, double now, int at_end, const char *note) {
    tn_buf line = TN_BUF_INIT;
    put_line(&line, p, now - p->start, at_end, note);
    /* \033[K clears what a longer line before left over */
    if (!line.failed) fprintf(stderr, "\r%s\033[K%s", line.data, at_end ? "\n" : "");
    fflush(stderr);
    tn_buf_free(&line);
}

cli_progress cli_progress_start(const char *label, const char *unit, double total) {
    cli_progress p = {.label = label, .unit = unit, .total = total, .start = tn_now()};
    p.last_drawn = p.start - 1; /* the first update is drawn at once */
    p.active = tn_is_terminal(2);
    return p;
}

void cli_progress_update(cli_progress *p, double done, const char *note) {
    p->done = done;
    if (!p->active) return;
    double now = tn_now();
    if (now - p->last_drawn < 0.1) return;
    p->last_drawn = now;
    draw(p, now, 0, note);
}

void cli_progress_say(cli_progress *p, const char *text) {
    if (!p->active) return;
    fprintf(stderr, "\r%s\033[K\n", text);
    p->last_drawn = 0; /* the next update draws the bar below it */
}

void cli_progress_end(cli_progress *p) {
    if (p->active) draw(p, tn_now(), 1, NULL);
    p->active = 0;
}
