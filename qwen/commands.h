/* The subcommands of `qwen` and what they share: the common options, one model with its timeline and sampler,
 * and careful output. Linked into the command only.
 */
#ifndef QWEN_COMMANDS_H
#define QWEN_COMMANDS_H

#include "qwen/text.h"
#include "tensor/cli.h"

/* Each takes the arguments after its name and returns the exit code. */
int cmd_info(int argc, char **argv);
int cmd_tokenize(int argc, char **argv);
int cmd_generate(int argc, char **argv);
int cmd_chat(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_lens(int argc, char **argv);
int cmd_perplexity(int argc, char **argv);
int cmd_bench(int argc, char **argv);

/* ---- Options ---- */

/* What every subcommand takes. */
typedef struct {
    const char *dir; /* -m */
    int threads;     /* 0 = all cores */
    uint64_t seed;
} cmd_common;
#define CMD_COMMON_INIT                                                                                      \
    { NULL, 0, 42 }

/* An option table under construction: groups of rows, then cmd_parse. */
typedef struct {
    cli_option rows[32];
    int n;
} cmd_options;

/* Adds rows up to the zeroed one. */
void cmd_add_options(cmd_options *o, const cli_option *rows);
/* --temp --top-k --top-p --min-p --repeat-penalty; defaults are those in *s. */
void cmd_add_sampling(cmd_options *o, qwen_sampling *s);
/* Adds -m, --threads and --seed and parses; as cli_parse. `file` receives the one positional argument of
 * commands that have one (file_help describes it), else both are NULL. */
int cmd_parse(const char *sub, const char *summary, cmd_options *o, cmd_common *common, int argc, char **argv,
              const char **file, const char *file_help);

/* ---- A model that writes ---- */

typedef struct {
    tn_exec exec;
    qwen_text text; /* text.tok is NULL for commands that need no tokenizer */
    qwen_opts opts; /* of the timeline; a command may change them between cmd_open and cmd_open_state */
    qwen_state *state;
    qwen_sampler sampler; /* after cmd_open_sampler */
    void *sampler_mem;
} cmd_session;

/* Chooses the kernels and opens the model, with its tokenizer or without. */
int cmd_open(cmd_session *s, const cmd_common *common, int with_tokenizer, tn_err *e);
/* Makes the timeline, with room for `context` tokens; 0 = the default of qwen_opts_default. */
int cmd_open_state(cmd_session *s, int context, tn_err *e);
int cmd_open_sampler(cmd_session *s, const qwen_sampling *sampling, tn_err *e);
void cmd_close(cmd_session *s); /* also of a zeroed session */

/* Continues the timeline with prompt [n] and prints the answer as it grows, special tokens left out. Appends
 * its ids to *answer. */
int cmd_stream_answer(cmd_session *s, const int32_t *prompt, int n, int max_new, tok_ids *answer,
                      qwen_finish *finish, tn_err *e);

/* A prompt that is there and fits in the model's positions: TN_EARG, TN_ECTX. */
int cmd_check_prompt(const cmd_session *s, const tok_ids *ids, tn_err *e);

/* ---- Input and output ---- */

/* Reads standard input to its end. */
int cmd_read_stdin(tn_buf *out, tn_err *e);
/* Appends ids separated by blanks or commas: "1 2 3". */
int cmd_parse_ids(const char *text, tok_ids *ids, tn_err *e);
/* Writes to standard output at once, so that an answer is seen as it grows. */
int cmd_print(const char *text, size_t len, tn_err *e);
/* The last word of a command: its exit code, with the error line unless it is standard output that failed,
 * which cli_main reports for all commands. */
int cmd_finish(int code, const tn_err *e);

#endif
