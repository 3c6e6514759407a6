/* `sae frontier`: trained SAEs as a table and a picture of L0 against explained variance. */
#include "sae/commands.h"
#include "sae/frontier.h"
#include "tensor/cli.h"
#include "tensor/os.h"

#include <stdio.h>

static const char SUMMARY[] =
    "sae frontier -s DIR [-s DIR2 ...] [-o FRONTIER.svg] [--csv FRONTIER.csv]\n"
    "Draws trained SAEs into one picture: how many latents fire on a validation row (L0) and how much of\n"
    "the variance they explain (FVE), a line for each architecture. DIR is an SAE of `sae train`, or a\n"
    "directory with several, as `sae train --k 16,32,64` leaves it. The points go to stdout as a table.";

static void print_points(const sae_frontier *f) {
    printf("%-18s %8s %8s %8s %6s  %s\n", "trained as", "latents", "L0", "FVE", "dead", "directory");
    for (size_t i = 0; i < f->n; i++) {
        const sae_frontier_point *p = &f->points[i];
        printf("%-18s %8d %8.1f %8.4f %6d  %s\n", p->arch, p->latents, p->l0, p->fve, p->dead, p->dir);
    }
}

static int write_text(const char *path, tn_buf *text, tn_err *e) {
    int rc = text->failed ? tn_fail(e, TN_ENOMEM, "%s: no memory", path)
                          : tn_write_file(path, text->data, text->len, e);
    tn_buf_free(text);
    return rc;
}

static int frontier(const cli_strings *dirs, const char *svg_path, const char *csv_path, tn_err *e) {
    sae_frontier f = {0};
    tn_buf text = TN_BUF_INIT;
    int rc = TN_OK;
    for (int i = 0; i < dirs->count && !rc; i++) rc = sae_frontier_add(&f, dirs->items[i], e);
    if (!rc && svg_path) {
        sae_frontier_chart(&f, &text);
        rc = write_text(svg_path, &text, e);
    }
    if (!rc && csv_path) {
        sae_frontier_csv(&f, &text);
        rc = write_text(csv_path, &text, e);
    }
    if (!rc) print_points(&f);
    sae_frontier_free(&f);
    return rc;
}

int cmd_frontier(int argc, char **argv) {
    cli_strings dirs = {0};
    const char *svg = NULL, *csv = NULL;
    const cli_option options[] = {
        {"-s", "--sae", CLI_STRINGS, &dirs, "DIR", "trained SAE, or a directory of some; may be repeated", 1},
        {"-o", "--output", CLI_STRING, &svg, "FILE.svg", "picture to write", 0},
        {"--csv", NULL, CLI_STRING, &csv, "FILE.csv", "table to write", 0},
        {0}};
    int n_positional = 0,
        code = cli_parse("sae", "frontier", SUMMARY, options, argc, argv, NULL, 0, &n_positional);
    if (code >= 0) return code;
    tn_err e = {0};
    return frontier(&dirs, svg, csv, &e) ? cli_error("sae", &e) : 0;
}
