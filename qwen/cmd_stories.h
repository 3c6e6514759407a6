/* The growing file of stories behind `qwen generate --jsonl`: work is kept line by line in OUT.part, a run
 * that was cut short goes on where it stopped, and OUT appears only when it is complete.
 *
 * The first line of OUT.part holds the settings of the run, so that stories written with others are never
 * mixed; each further line is one finished story, in the order of the prompts.
 */
#ifndef QWEN_CMD_STORIES_H
#define QWEN_CMD_STORIES_H

#include "qwen/prompts.h"

#include <stdio.h>

typedef struct {
    const char *path; /* OUT, the caller's */
    char part[1024];  /* OUT.part */
    FILE *file;       /* OUT.part, open for appending */
    size_t count;     /* prompts */
    size_t done;      /* prompts whose story is in the file: the first ones */
    tn_buf *held;     /* [count] stories that wait for earlier ones */
} cmd_stories;

/* Opens OUT.part, checks that what is there belongs to `settings` (one line of JSON without newline) and to
 * these prompts, drops a last line that was cut off, and counts what is done. */
int cmd_stories_open(cmd_stories *s, const char *path, const char *settings, const qwen_prompts *prompts,
                     tn_err *e);
/* Takes over the story of prompt `index` (one line with its newline); it goes to the file as soon as all
 * before it are there. */
int cmd_stories_add(cmd_stories *s, size_t index, tn_buf *line, tn_err *e);
/* OUT.part, without its first line, becomes OUT. */
int cmd_stories_finish(cmd_stories *s, tn_err *e);
/* Closes and leaves OUT.part for the next run; also fine after finish and on a zeroed object. */
void cmd_stories_close(cmd_stories *s);

#endif
