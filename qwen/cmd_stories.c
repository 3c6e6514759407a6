/* OUT.part and its way to OUT (cmd_stories.h). */
#include "qwen/cmd_stories.h"

#include "tensor/os.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Length of the line at p, its newline included; 0 when it was cut off. */
static size_t whole_line(const char *p, size_t left) {
    const char *stop = memchr(p, '\n', left);
    return stop ? (size_t)(stop - p) + 1 : 0;
}

/* Checks the lines of text [len] and counts them; *keep = bytes of whole lines. */
static int check_part(cmd_stories *s, const char *text, size_t len, const char *settings,
                      const qwen_prompts *prompts, size_t *keep, tn_err *e) {
    *keep = whole_line(text, len);
    if (*keep == 0) return TN_OK; /* stopped before anything was done */
    if (*keep != strlen(settings) + 1 || memcmp(text, settings, *keep - 1) != 0)
        return tn_fail(e, TN_EARG, "%s was begun with other settings; remove it to start over", s->part);
    size_t head = *keep, n;
    while (*keep < len && (n = whole_line(text + *keep, len - *keep)) > 0) *keep += n;
    qwen_prompts stories;
    int code = qwen_prompts_parse(&stories, text + head, *keep - head, e);
    if (code) return tn_fail_in(e, code, s->part);
    for (size_t i = 0; i < stories.count && !code; i++)
        if (i >= prompts->count || !stories.items[i].text ||
            strcmp(stories.items[i].prompt, prompts->items[i].prompt) != 0 ||
            strcmp(stories.items[i].label, prompts->items[i].label) != 0)
            code =
                tn_fail(e, TN_EARG, "%s: story %zu answers another prompt or label; remove it to start over",
                        s->part, i + 1);
    s->done = stories.count;
    qwen_prompts_free(&stories);
    return code;
}

/* Brings OUT.part into a state that can be appended to. */
static int prepare_part(cmd_stories *s, const char *settings, const qwen_prompts *prompts, tn_err *e) {
    tn_map map = {NULL, 0};
    size_t keep = 0;
    int code = TN_OK;
    if (tn_file_exists(s->part)) {
        code = tn_map_file(&map, s->part, e);
        if (code) return code;
        if (map.size) code = check_part(s, map.data, map.size, settings, prompts, &keep, e);
    }
    if (!code && keep == 0) {
        tn_buf line = TN_BUF_INIT;
        tn_buf_puts(&line, settings);
        tn_buf_putc(&line, '\n');
        code = line.failed ? tn_fail(e, TN_ENOMEM, "out of memory")
                           : tn_write_file(s->part, line.data, line.len, e);
        tn_buf_free(&line);
    } else if (!code && keep < map.size) {
        code = tn_write_file(s->part, map.data, keep, e);
    }
    tn_unmap_file(&map);
    return code;
}

int cmd_stories_open(cmd_stories *s, const char *path, const char *settings, const qwen_prompts *prompts,
                     tn_err *e) {
    *s = (cmd_stories){.path = path, .count = prompts->count};
    int n = snprintf(s->part, sizeof s->part, "%s.part", path);
    if (n < 0 || (size_t)n >= sizeof s->part)
        return tn_fail(e, TN_EARG, "the name of the output file is too long");
    int code = prepare_part(s, settings, prompts, e);
    if (code) return code;
    s->held = calloc(s->count + 1, sizeof *s->held); /* + 1: an empty file is no lack of memory */
    if (!s->held) return tn_fail(e, TN_ENOMEM, "out of memory");
    s->file = fopen(s->part, "ab");
    if (s->file) return TN_OK;
    code = tn_fail(e, TN_EIO, "%s: %s", s->part, strerror(errno));
    cmd_stories_close(s);
    return code;
}

int cmd_stories_add(cmd_stories *s, size_t index, tn_buf *line, tn_err *e) {
    s->held[index] = *line;
    *line = (tn_buf)TN_BUF_INIT;
    for (; s->done < s->count && s->held[s->done].len; s->done++) {
        tn_buf *next = &s->held[s->done];
        if (fwrite(next->data, 1, next->len, s->file) != next->len || fflush(s->file))
            return tn_fail(e, TN_EIO, "%s: %s", s->part, strerror(errno));
        tn_buf_free(next);
    }
    return TN_OK;
}

int cmd_stories_finish(cmd_stories *s, tn_err *e) {
    cmd_stories_close(s);
    tn_map map;
    int code = tn_map_file(&map, s->part, e);
    if (code) return code;
    size_t head = map.size ? whole_line(map.data, map.size) : 0;
    code = tn_write_file(s->path, (const char *)map.data + head, map.size - head, e);
    tn_unmap_file(&map);
    if (!code) tn_remove_file(s->part);
    return code;
}

void cmd_stories_close(cmd_stories *s) {
    if (s->file) fclose(s->file);
    for (size_t i = s->done; i < s->count && s->held; i++) tn_buf_free(&s->held[i]);
    free(s->held);
    s->file = NULL;
    s->held = NULL;
}
