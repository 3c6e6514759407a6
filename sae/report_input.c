/* The files a report is made from (report.h), checked as far as the page relies on them. */
#include "sae/report.h"
#include "tensor/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *sae_report_file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

int sae_report_json_open(sae_report_json *out, const char *path, tn_err *e) {
    *out = (sae_report_json){.name = sae_report_file_name(path)};
    int code = tn_map_file(&out->map, path, e);
    if (code) return code;
    code = tn_json_parse(&out->root, out->map.data ? out->map.data : "", out->map.size, e);
    if (!code && out->root.kind != TN_JSON_OBJECT) code = tn_fail(e, TN_EFORMAT, "not a JSON object");
    if (code) {
        tn_fail_in(e, code, path);
        sae_report_json_close(out);
    }
    return code;
}

void sae_report_json_close(sae_report_json *j) {
    tn_unmap_file(&j->map);
    *j = (sae_report_json){0};
}

/* ---- answers ---- */

static int check_question(tn_json q, tn_err *e) {
    tn_json answers = tn_json_get(q, "answers"), key, answer;
    if (q.kind != TN_JSON_OBJECT) return tn_fail(e, TN_EFORMAT, "not a JSON object");
    if (tn_json_get(q, "prompt").kind != TN_JSON_STRING)
        return tn_fail(e, TN_EFORMAT, "\"prompt\" is missing or no string");
    if (answers.kind != TN_JSON_ARRAY || tn_json_count(answers) == 0)
        return tn_fail(e, TN_EFORMAT, "\"answers\" is missing or no list with something in it");
    for (tn_json_iter it = tn_json_each(answers); tn_json_next(&it, &key, &answer);)
        if (tn_json_get(answer, "name").kind != TN_JSON_STRING ||
            tn_json_get(answer, "text").kind != TN_JSON_STRING)
            return tn_fail(e, TN_EFORMAT, "an answer's \"name\" or \"text\" is missing or no string");
    return TN_OK;
}

static int is_blank(const char *s, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r') return 0;
    return 1;
}

static int add_question(sae_report_answers *a, size_t *cap, const char *line, size_t len, tn_err *e) {
    if (a->n == *cap) {
        size_t more = *cap ? *cap * 2 : 64;
        tn_json *grown = realloc(a->questions, more * sizeof *grown);
        if (!grown) return tn_fail(e, TN_ENOMEM, "out of memory");
        a->questions = grown;
        *cap = more;
    }
    int code = tn_json_parse(&a->questions[a->n], line, len, e);
    if (!code) code = check_question(a->questions[a->n], e);
    if (!code) a->n++;
    return code;
}

int sae_report_answers_open(sae_report_answers *out, const char *spec, tn_err *e) {
    const char *equals = tn_file_exists(spec) ? NULL : strchr(spec, '=');
    const char *path = equals ? equals + 1 : spec;
    *out = (sae_report_answers){0};
    if (equals)
        snprintf(out->title, sizeof out->title, "%.*s", (int)(equals - spec), spec);
    else
        snprintf(out->title, sizeof out->title, "%s", sae_report_file_name(path));
    int code = tn_map_file(&out->map, path, e);
    if (code) return code;
    size_t cap = 0, line = 1;
    const char *p = out->map.data, *end = p ? p + out->map.size : p;
    for (; p < end && !code; line++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p)), *stop = newline ? newline : end;
        if (!is_blank(p, (size_t)(stop - p))) code = add_question(out, &cap, p, (size_t)(stop - p), e);
        p = newline ? newline + 1 : end;
    }
    if (!code && out->n == 0) code = tn_fail(e, TN_EFORMAT, "no answers");
    if (code) {
        tn_err why = {0};
        if (e) why = *e;
        tn_fail(e, code, "%s: line %zu: %s", path, line > 1 ? line - 1 : line, why.msg);
        sae_report_answers_close(out);
    }
    return code;
}

void sae_report_answers_close(sae_report_answers *a) {
    free(a->questions);
    tn_unmap_file(&a->map);
    *a = (sae_report_answers){0};
}
