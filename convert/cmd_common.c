/* What the subcommands of `convert` share (commands.h). */
#include "convert/commands.h"

static void show(void *ctx, size_t done, size_t total) {
    cli_progress *p = ctx;
    p->total = (double)total / 1e6;
    cli_progress_update(p, (double)done / 1e6, NULL);
}

int cmd_convert(cmd_conversion fn, const char *from, const char *to, convert_opts opts) {
    tn_err e = {0};
    tn_exec exec;
    if (cli_exec(&exec, opts.threads, &e) != TN_OK) return cli_error("convert", &e);
    cli_progress progress = cli_progress_start("writing", "MB", 0);
    opts.threads = exec.threads;
    opts.progress = show;
    opts.ctx = &progress;
    int rc = fn(from, to, &opts, &e);
    cli_progress_end(&progress);
    return rc == TN_OK ? 0 : cli_error("convert", &e);
}
