/* train.csv: one line per logged step (fit_log.h). */
#include "sae/fit_log.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char HEADER[] =
    "step,epoch,tokens,train_mse,train_l1,train_l0,val_mse,val_l1,val_l0,val_fve,dead,"
    "l1_coefficient,lr\n";
#define COLUMNS 13

int sae_fit_log_start(sae_fit_log *log, tn_err *e) {
    memset(log, 0, sizeof *log);
    tn_buf_puts(&log->csv, HEADER);
    return log->csv.failed ? tn_fail(e, TN_ENOMEM, "no memory for the log") : TN_OK;
}

void sae_fit_log_free(sae_fit_log *log) {
    tn_buf_free(&log->csv);
    free(log->lines);
    memset(log, 0, sizeof *log);
}

/* A number and what follows it; an empty field (no validation rows) is a NaN. */
static void put_field(tn_buf *out, double v, char after) {
    if (!isnan(v)) tn_buf_printf(out, "%.9g", v);
    tn_buf_putc(out, after);
}

/* Reads one line; returns where the next begins, or NULL when it is no line of the log. */
static const char *parse_line(const char *p, sae_fit_line *line) {
    double v[COLUMNS];
    for (int i = 0; i < COLUMNS; i++) {
        char *end;
        char after = i + 1 < COLUMNS ? ',' : '\n';
        v[i] = NAN;
        if (*p != after) {
            v[i] = strtod(p, &end);
            if (end == p) return NULL;
            p = end;
        }
        if (*p++ != after) return NULL;
    }
    if (!(fabs(v[0]) <= INT32_MAX && fabs(v[1]) <= INT32_MAX && fabs(v[10]) <= INT32_MAX)) return NULL;
    *line = (sae_fit_line){.step = (int)v[0],
                           .epoch = (int)v[1],
                           .tokens = v[2],
                           .train_mse = v[3],
                           .train_l1 = v[4],
                           .train_l0 = v[5],
                           .val_mse = v[6],
                           .val_l1 = v[7],
                           .val_l0 = v[8],
                           .val_fve = v[9],
                           .dead = (int)v[10],
                           .l1_coefficient = v[11],
                           .lr = v[12]};
    return p;
}

/* Parses the text from `at` on, which holds whole lines, into log->lines. */
static int take_lines(sae_fit_log *log, const char *at, tn_err *e) {
    while (*at) {
        if (log->n == log->cap) {
            size_t cap = log->cap ? log->cap * 2 : 64;
            sae_fit_line *lines = realloc(log->lines, cap * sizeof *lines);
            if (!lines) return tn_fail(e, TN_ENOMEM, "no memory for the log");
            log->lines = lines;
            log->cap = cap;
        }
        at = parse_line(at, &log->lines[log->n]);
        if (!at) return tn_fail(e, TN_EFORMAT, "the log's line %zu is damaged", log->n + 2);
        log->n++;
    }
    return TN_OK;
}

int sae_fit_log_add(sae_fit_log *log, const sae_fit_line *l, tn_err *e) {
    size_t at = log->csv.len;
    tn_buf *out = &log->csv;
    tn_buf_printf(out, "%d,%d,%.0f,", l->step, l->epoch, l->tokens);
    put_field(out, l->train_mse, ',');
    put_field(out, l->train_l1, ',');
    put_field(out, l->train_l0, ',');
    put_field(out, l->val_mse, ',');
    put_field(out, l->val_l1, ',');
    put_field(out, l->val_l0, ',');
    put_field(out, l->val_fve, ',');
    tn_buf_printf(out, "%d,", l->dead);
    put_field(out, l->l1_coefficient, ',');
    put_field(out, l->lr, '\n');
    if (out->failed) return tn_fail(e, TN_ENOMEM, "no memory for the log");
    return take_lines(log, out->data + at, e);
}

int sae_fit_log_restore(sae_fit_log *log, const char *csv, tn_err *e) {
    sae_fit_log_free(log);
    if (strncmp(csv, HEADER, sizeof HEADER - 1) != 0)
        return tn_fail(e, TN_EFORMAT, "the log has another header");
    tn_buf_puts(&log->csv, csv);
    if (log->csv.failed) return tn_fail(e, TN_ENOMEM, "no memory for the log");
    return take_lines(log, log->csv.data + sizeof HEADER - 1, e);
}

int sae_fit_log_read(sae_fit_log *log, const char *path, tn_err *e) {
    memset(log, 0, sizeof *log);
    tn_map map;
    int code = tn_map_file(&map, path, e);
    if (code) return code;
    tn_buf text = TN_BUF_INIT; /* with the NUL that the file has not */
    tn_buf_add(&text, map.data, map.size);
    tn_buf_puts(&text, "");
    code =
        text.failed ? tn_fail(e, TN_ENOMEM, "no memory for the log") : sae_fit_log_restore(log, text.data, e);
    if (code) {
        tn_fail_in(e, code, path);
        sae_fit_log_free(log);
    }
    tn_buf_free(&text);
    tn_unmap_file(&map);
    return code;
}
