/* What every command shares: options, the one-line error, the progress bar. Linked into the commands
 * only; the library neither prints nor exits.
 */
#ifndef TENSOR_CLI_H
#define TENSOR_CLI_H

#include "tensor/err.h"
#include "tensor/kernels.h"

/* An option table has at most 64 rows and ends with a zeroed entry. A row whose name does not start with '-'
 * describes a positional argument ("FILE"): it shows in the help and, when required, is asked for. */
typedef enum { CLI_FLAG, CLI_STRING, CLI_STRINGS, CLI_INT, CLI_U64, CLI_FLOAT } cli_kind;

#define CLI_MAX_STRINGS 64
typedef struct {
    const char *items[CLI_MAX_STRINGS];
    int count;
} cli_strings; /* an option that may be given several times */

typedef struct {
    const char *name;  /* "--threads", or "-m", or "FILE" */
    const char *alias; /* second spelling or NULL */
    cli_kind kind;
    void *value; /* int* (FLAG, INT), const char**, cli_strings*, uint64_t*, float*; NULL for positionals */
    const char *arg;  /* name of the argument in the help: "DIR" */
    const char *help; /* one line */
    int required;
} cli_option;

/* Prints `error: …` with the command's name before it ("qwen: error: …") to stderr; returns 1, the exit
 * code of failures. */
int cli_error(const char *command, const tn_err *e);
/* The same for wrong usage, adding "try 'COMMAND SUB --help'"; returns 2. */
int cli_usage_error(const char *command, const char *sub, const char *fmt, ...) TN_PRINTF(3, 4);

/* Parses argv[0 … argc-1] (after the subcommand) against `options`. Values follow their option ("-m DIR") or
 * an equals sign ("--threads=4"); "--" ends the options. Arguments that are no option go to
 * positional[], at most max_positional, *n_positional tells how many. Answers --help itself by printing
 * `summary` and the option table to stdout. Returns -1 to go on, or the exit code to leave with. */
int cli_parse(const char *command, const char *sub, const char *summary, const cli_option *options, int argc,
              char **argv, const char **positional, int max_positional, int *n_positional);

/* One row of a command's list of subcommands. */
typedef struct {
    const char *name;
    int (*run)(int argc, char **argv); /* arguments after the subcommand; returns the exit code */
    const char *summary;               /* one line */
} cli_command;

/* Dispatches argv[1]; handles --help and unknown names, and turns output that could not be written (a full
 * disk behind stdout) into a failure. Returns the exit code. The table ends with a zeroed entry. */
int cli_main(const char *command, const char *summary, const cli_command *table, int argc, char **argv);

/* Kernels and threads from --threads (0 = all cores) and the environment variable SCALPEL_ISA. Returns
 * TN_OK or TN_EARG for an instruction set that cannot run here. */
int cli_exec(tn_exec *out, int threads, tn_err *e);

/* Progress on stderr: "label ███░░ 42/300 3.1 it/s ETA 83 s", redrawn at most ten times a second;
 * silent when stderr is no terminal. */
typedef struct {
    const char *label, *unit;
    double total, done, start, last_drawn;
    int active;
} cli_progress;
cli_progress cli_progress_start(const char *label, const char *unit, double total);
void cli_progress_update(cli_progress *p, double done, const char *note); /* note: short or NULL */
void cli_progress_say(cli_progress *p, const char *text); /* a line that stays, above the bar */
void cli_progress_end(cli_progress *p);

#endif
