/* The subcommands of `convert`, and what they share. */
#ifndef CONVERT_COMMANDS_H
#define CONVERT_COMMANDS_H

#include "convert/convert.h"
#include "tensor/cli.h"

/* Each takes the arguments after its name and returns the exit code. */
int cmd_gguf(int argc, char **argv);
int cmd_quantize(int argc, char **argv);

/* The options that every subcommand of every command takes. */
#define CMD_THREADS(variable)                                                                                \
    { "--threads", NULL, CLI_INT, &(variable), "N", "threads; 0 = one per core (default)", 0 }
#define CMD_SEED(variable)                                                                                   \
    { "--seed", NULL, CLI_U64, &(variable), "N", "accepted everywhere; nothing here is random", 0 }

/* One conversion with a progress bar of megabytes written. */
typedef int (*cmd_conversion)(const char *from, const char *to, const convert_opts *o, tn_err *e);
/* Runs it with opts that lack only threads (0 = one per core) and progress; returns the exit code. */
int cmd_convert(cmd_conversion fn, const char *from, const char *to, convert_opts opts);

#endif
