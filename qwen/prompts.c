/* JSONL of prompts and stories (prompts.h). */
#include "qwen/prompts.h"

#include "tensor/json.h"
#include "tensor/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An owned copy of string v without its quotes and escapes; *len may be NULL when NULs are refused. */
static int take_string(char **out, size_t *len, tn_json v, const char *key, tn_err *e) {
    tn_buf b = TN_BUF_INIT;
    tn_buf_add(&b, "", 0); /* an empty string is a string too, not NULL */
    int code = tn_json_string(v, &b) ? TN_OK : tn_fail(e, TN_EFORMAT, "\"%s\" is no string", key);
    if (b.failed) code = tn_fail(e, TN_ENOMEM, "out of memory");
    if (!code && !len && strlen(b.data) != b.len)
        code = tn_fail(e, TN_EFORMAT, "\"%s\" contains a NUL character", key);
    if (code) {
        tn_buf_free(&b);
        return code;
    }
    if (len) *len = b.len;
    *out = b.data;
    return TN_OK;
}

static int take_tokens(qwen_prompt *p, tn_json v, tn_err *e) {
    size_t n = tn_json_count(v), bytes;
    if (v.kind != TN_JSON_ARRAY) return tn_fail(e, TN_EFORMAT, "\"tokens\" is no array");
    if (tn_mul_size(n ? n : 1, sizeof *p->tokens, &bytes)) return tn_fail(e, TN_ENOMEM, "out of memory");
    p->tokens = malloc(bytes);
    if (!p->tokens) return tn_fail(e, TN_ENOMEM, "out of memory");
    tn_json key, value;
    for (tn_json_iter it = tn_json_each(v); tn_json_next(&it, &key, &value);) {
        int64_t id;
        if (!tn_json_i64(value, &id) || id < 0 || id > INT32_MAX)
            return tn_fail(e, TN_EFORMAT, "\"tokens\" contains something that is no token id");
        p->tokens[p->n_tokens++] = (int32_t)id;
    }
    return TN_OK;
}

static int is_given(tn_json v) {
    return v.kind != TN_JSON_NONE && v.kind != TN_JSON_NULL;
}

/* One line [len], which holds more than blanks. */
static int parse_line(qwen_prompt *p, const char *text, size_t len, tn_err *e) {
    p->extra_raw = malloc(len + 1);
    if (!p->extra_raw) return tn_fail(e, TN_ENOMEM, "out of memory");
    memcpy(p->extra_raw, text, len);
    p->extra_raw[len] = '\0';
    tn_json root;
    int code = tn_json_parse(&root, p->extra_raw, len, e);
    if (code) return code;
    if (root.kind != TN_JSON_OBJECT) return tn_fail(e, TN_EFORMAT, "expected an object with a \"prompt\"");
    tn_json prompt = tn_json_get(root, "prompt"), label = tn_json_get(root, "label");
    tn_json answer = tn_json_get(root, "text"), tokens = tn_json_get(root, "tokens");
    if (!is_given(prompt)) return tn_fail(e, TN_EFORMAT, "there is no \"prompt\"");
    code = take_string(&p->prompt, NULL, prompt, "prompt", e);
    if (!code && is_given(label)) code = take_string(&p->label, NULL, label, "label", e);
    if (!code && !p->label && !(p->label = calloc(1, 1))) code = tn_fail(e, TN_ENOMEM, "out of memory");
    if (!code && is_given(answer)) code = take_string(&p->text, &p->text_len, answer, "text", e);
    if (!code && is_given(tokens)) code = take_tokens(p, tokens, e);
    return code;
}

static int is_blank(const char *s, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r') return 0;
    return 1;
}

/* Room for one more item, all zero; NULL without memory. */
static qwen_prompt *grow(qwen_prompts *p, size_t *cap) {
    if (p->count == *cap) {
        size_t more = *cap ? *cap * 2 : 64, bytes;
        if (tn_mul_size(more, sizeof *p->items, &bytes)) return NULL;
        qwen_prompt *items = realloc(p->items, bytes);
        if (!items) return NULL;
        p->items = items;
        *cap = more;
    }
    qwen_prompt *item = &p->items[p->count++];
    memset(item, 0, sizeof *item);
    return item;
}

int qwen_prompts_parse(qwen_prompts *out, const char *text, size_t len, tn_err *e) {
    const char *p = text, *end = text + len;
    size_t cap = 0;
    *out = (qwen_prompts){NULL, 0};
    for (size_t line = 1; p < end; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        size_t n = (size_t)((stop ? stop : end) - p);
        if (!is_blank(p, n)) {
            qwen_prompt *item = grow(out, &cap);
            int code = item ? parse_line(item, p, n, e) : tn_fail(e, TN_ENOMEM, "out of memory");
            if (code) {
                char where[32];
                snprintf(where, sizeof where, "line %zu", line);
                qwen_prompts_free(out);
                return tn_fail_in(e, code, where);
            }
            item->line = line;
        }
        p += n + (stop ? 1 : 0);
    }
    return TN_OK;
}

int qwen_prompts_read(qwen_prompts *out, const char *path, tn_err *e) {
    tn_map map;
    *out = (qwen_prompts){NULL, 0};
    int code = tn_map_file(&map, path, e);
    if (code) return code;
    if (map.size > 0) code = qwen_prompts_parse(out, map.data, map.size, e);
    tn_unmap_file(&map);
    return code ? tn_fail_in(e, code, path) : TN_OK;
}

void qwen_prompts_free(qwen_prompts *p) {
    for (size_t i = 0; i < p->count; i++) {
        free(p->items[i].prompt);
        free(p->items[i].label);
        free(p->items[i].text);
        free(p->items[i].tokens);
        free(p->items[i].extra_raw);
    }
    free(p->items);
    *p = (qwen_prompts){NULL, 0};
}

static int is_answer_key(tn_json key) {
    return tn_json_is(key, "text") || tn_json_is(key, "tokens") || tn_json_is(key, "finish") ||
           tn_json_is(key, "seed");
}

int qwen_story_put(tn_buf *out, const qwen_prompt *p, const qwen_answer *a, tn_err *e) {
    tn_json root, key, value;
    int code = tn_json_parse(&root, p->extra_raw, strlen(p->extra_raw), e);
    if (code) return code;
    tn_buf name = TN_BUF_INIT;
    tn_json_out w = tn_json_writer(out, 0);
    tn_json_begin_object(&w);
    for (tn_json_iter it = tn_json_each(root); tn_json_next(&it, &key, &value);) {
        if (is_answer_key(key)) continue;
        tn_buf_clear(&name);
        tn_buf_add(&name, "", 0);
        tn_json_string(key, &name);
        if (name.failed) break;
        tn_json_key(&w, name.data);
        tn_json_put_raw(&w, value.text, value.len);
    }
    tn_json_key(&w, "text");
    tn_json_put_string(&w, a->text, a->text_len);
    tn_json_key(&w, "tokens");
    tn_json_begin_array(&w);
    for (size_t i = 0; i < a->n_tokens; i++) tn_json_put_i64(&w, a->tokens[i]);
    tn_json_end_array(&w);
    tn_json_key(&w, "finish");
    tn_json_puts(&w, a->finish);
    tn_json_key(&w, "seed");
    tn_json_put_i64(&w, (int64_t)a->seed);
    tn_json_end_object(&w);
    tn_buf_putc(out, '\n');
    int failed = out->failed || name.failed;
    tn_buf_free(&name);
    return failed ? tn_fail(e, TN_ENOMEM, "out of memory") : TN_OK;
}

void qwen_sampling_put(tn_json_out *w, const qwen_sampling *p) {
    tn_json_key(w, "temperature");
    tn_json_put_f32(w, p->temperature);
    tn_json_key(w, "top_k");
    tn_json_put_i64(w, p->top_k);
    tn_json_key(w, "top_p");
    tn_json_put_f32(w, p->top_p);
    tn_json_key(w, "min_p");
    tn_json_put_f32(w, p->min_p);
    tn_json_key(w, "repeat_penalty");
    tn_json_put_f32(w, p->repeat_penalty);
    tn_json_key(w, "seed");
    tn_json_put_i64(w, (int64_t)p->seed);
}
