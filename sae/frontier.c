/* Points of trained SAEs, as a table and as a picture (frontier.h). */
#include "sae/frontier.h"

#include "sae/plot.h"
#include "sae/sae_config.h"
#include "tensor/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sae_frontier_free(sae_frontier *f) {
    free(f->points);
    memset(f, 0, sizeof *f);
}

/* ---- reading ---- */

static int by_line(const void *a, const void *b) {
    const sae_frontier_point *p = a, *q = b;
    int order = strcmp(p->arch, q->arch);
    if (order == 0) order = (p->latents > q->latents) - (p->latents < q->latents);
    if (order == 0) order = (p->l0 > q->l0) - (p->l0 < q->l0);
    return order ? order : strcmp(p->dir, q->dir);
}

/* The figure of the validation rows, else that of the training rows. */
static int read_figure(tn_json note, const char *name, double *out, tn_err *e) {
    char key[48];
    snprintf(key, sizeof key, "validation_%s", name);
    if (tn_json_f64(tn_json_get(note, key), out)) return TN_OK;
    snprintf(key, sizeof key, "train_%s", name);
    if (tn_json_f64(tn_json_get(note, key), out)) return TN_OK;
    return tn_fail(e, TN_EFORMAT, "no metadata.scalpel_training.%s: not trained by sae train", key);
}

static int read_point(sae_frontier_point *p, tn_json root, tn_err *e) {
    tn_json note = tn_json_get(tn_json_get(root, "metadata"), "scalpel_training");
    sae_config cfg;
    int64_t dead = 0;
    int rc = sae_config_parse(&cfg, root, e);
    if (!rc) rc = read_figure(note, "l0", &p->l0, e);
    if (!rc) rc = read_figure(note, "fve", &p->fve, e);
    if (rc) return rc;
    const char *arch = cfg.trained_as[0] ? cfg.trained_as : sae_architecture_name(cfg.architecture);
    snprintf(p->arch, sizeof p->arch, "%s", arch);
    p->latents = cfg.d_sae;
    if (tn_json_i64(tn_json_get(note, "dead_latents"), &dead) && dead >= 0 && dead <= cfg.d_sae)
        p->dead = (int)dead;
    return TN_OK;
}

static int grow(sae_frontier *f, tn_err *e) {
    if (f->n < f->cap) return TN_OK;
    size_t cap = f->cap ? f->cap * 2 : 16;
    sae_frontier_point *points = realloc(f->points, cap * sizeof *points);
    if (!points) return tn_fail(e, TN_ENOMEM, "no memory for %zu points", cap);
    f->points = points;
    f->cap = cap;
    return TN_OK;
}

static int add_sae(sae_frontier *f, const char *dir, const char *path, tn_err *e) {
    tn_map map;
    tn_json root;
    int rc = grow(f, e);
    if (!rc) rc = tn_map_file(&map, path, e);
    if (rc) return rc;
    sae_frontier_point *p = &f->points[f->n];
    memset(p, 0, sizeof *p);
    rc = tn_json_parse(&root, map.data ? map.data : "", map.size, e);
    if (!rc) rc = read_point(p, root, e);
    tn_unmap_file(&map);
    if (rc) return tn_fail_in(e, rc, path);
    snprintf(p->dir, sizeof p->dir, "%s", dir);
    f->n++;
    return TN_OK;
}

/* What the walk through a directory's entries holds. */
typedef struct {
    sae_frontier *f;
    const char *dir;
    tn_err *e;
} walk;

static int add_entry(void *ctx, const char *name) {
    walk *w = ctx;
    char dir[1024], path[1024];
    int rc = tn_path_join(dir, sizeof dir, w->dir, name, w->e);
    if (!rc) rc = tn_path_join(path, sizeof path, dir, "cfg.json", w->e);
    return rc || !tn_file_exists(path) ? rc : add_sae(w->f, dir, path, w->e);
}

int sae_frontier_add(sae_frontier *f, const char *dir, tn_err *e) {
    char path[1024];
    size_t before = f->n;
    int rc = tn_path_join(path, sizeof path, dir, "cfg.json", e);
    if (rc) return rc;
    walk w = {f, dir, e};
    rc = tn_file_exists(path) ? add_sae(f, dir, path, e) : tn_list_dir(dir, add_entry, &w, e);
    if (!rc && f->n == before)
        rc = tn_fail(e, TN_EARG, "%s: no SAE there, and none in the directories within", dir);
    if (f->n > 0) qsort(f->points, f->n, sizeof *f->points, by_line);
    return rc;
}

/* ---- writing ---- */

/* A field of RFC 4180: in quotes, which are doubled within, when its text could be taken for the table's. */
static void put_field(tn_buf *out, const char *text) {
    int quoted = strpbrk(text, ",\"\r\n") != NULL;
    if (quoted) tn_buf_putc(out, '"');
    for (; *text; text++) {
        if (*text == '"') tn_buf_putc(out, '"');
        tn_buf_putc(out, *text);
    }
    if (quoted) tn_buf_putc(out, '"');
}

void sae_frontier_csv(const sae_frontier *f, tn_buf *out) {
    tn_buf_puts(out, "arch,latents,l0,fve,dead,dir\n");
    for (size_t i = 0; i < f->n; i++) {
        const sae_frontier_point *p = &f->points[i];
        put_field(out, p->arch);
        tn_buf_printf(out, ",%d,%.6g,%.6g,%d,", p->latents, p->l0, p->fve, p->dead);
        put_field(out, p->dir);
        tn_buf_putc(out, '\n');
    }
}

static int same_line(const sae_frontier_point *a, const sae_frontier_point *b) {
    return a->latents == b->latents && strcmp(a->arch, b->arch) == 0;
}

/* Fills series [at most n] with pieces of x and y [n], one for each line; returns how many. */
static int fill_series(const sae_frontier *f, double *x, double *y, char (*names)[48], sae_series *series) {
    int n = 0, one_width = 1;
    for (size_t i = 1; i < f->n; i++) one_width &= f->points[i].latents == f->points[0].latents;
    for (size_t i = 0; i < f->n; i++) {
        const sae_frontier_point *p = &f->points[i];
        x[i] = p->l0;
        y[i] = p->fve;
        if (i == 0 || !same_line(p, p - 1)) {
            snprintf(names[n], sizeof names[n], one_width ? "%s" : "%s, %d latents", p->arch, p->latents);
            series[n] = (sae_series){names[n], x + i, y + i, 0};
            n++;
        }
        series[n - 1].n++;
    }
    return n;
}

void sae_frontier_chart(const sae_frontier *f, tn_buf *svg) {
    double *xy = calloc(2 * f->n + 1, sizeof *xy);
    char(*names)[48] = calloc(f->n + 1, sizeof *names);
    sae_series *series = calloc(f->n + 1, sizeof *series);
    if (xy && names && series && f->n <= INT32_MAX) {
        sae_chart chart = {.title = "Sparsity and fidelity",
                           .x_label = "L0: latents that fire on a row",
                           .y_label = "FVE: explained share of the variance",
                           .log_x = 1,
                           .points = 1};
        sae_plot_lines(&chart, series, fill_series(f, xy, xy + f->n, names, series), svg);
    } else {
        svg->failed = 1;
    }
    free(xy);
    free(names);
    free(series);
}
