/* The documents of `sae eval`: stories, prompt and answer as sae capture replays them, or windows of a text.
 */
#include "sae/cmd_eval.h"
#include "tensor/os.h"

#include <stdio.h>
#include <stdlib.h>

static int make_room(eval_job *j, size_t count, tn_err *e) {
    j->docs = calloc(count, sizeof *j->docs);
    return j->docs ? TN_OK : tn_fail(e, TN_ENOMEM, "out of memory");
}

static size_t limited(const eval_job *j, size_t count) {
    return (size_t)j->limit < count ? (size_t)j->limit : count;
}

int eval_check_labels(const eval_job *j, tn_err *e) {
    if (!j->by_label || j->labels.n > 1 || (j->labels.n == 1 && j->labels.name[0][0])) return TN_OK;
    return tn_fail(e, TN_EARG, "%s: no document has a label", j->source);
}

/* ---- In a model ---- */

static int add_story(eval_job *j, const qwen_prompt *p, tn_err *e) {
    eval_document *d = &j->docs[j->n_docs++];
    d->at = j->tokens.len;
    d->number = p->line;
    d->label = j->by_label ? sae_label_list_add(&j->labels, p->label) : -1;
    if (j->by_label && d->label < 0) return tn_fail(e, TN_ENOMEM, "out of memory");
    if (!p->tokens && !p->text && j->positions != SAE_POS_PROMPT)
        return tn_fail(e, TN_EFORMAT, "only a prompt, expected a story with \"tokens\" or \"text\"");
    int code = qwen_text_prompt(&j->w.text, p->prompt, j->raw, j->system, &j->tokens, e);
    d->n_prompt = j->tokens.len - d->at;
    if (!code) code = known_answer(&j->w, p, &j->tokens, e);
    d->n = j->tokens.len - d->at;
    size_t limit = (size_t)qwen_max_context(j->w.text.model);
    if (!code && d->n > limit + 1) /* the last token of an answer that filled the context is never fed */
        code = tn_fail(e, TN_ECTX, "%zu tokens do not fit in the model's context of %zu", d->n, limit);
    return code;
}

static int read_stories(eval_job *j, tn_err *e) {
    qwen_prompts stories;
    int code = qwen_prompts_read(&stories, j->prompts_path, e);
    if (code) return code;
    size_t count = limited(j, stories.count);
    code = count ? make_room(j, count, e) : tn_fail(e, TN_EFORMAT, "%s: there is no prompt", j->prompts_path);
    for (size_t i = 0; i < count && !code; i++) {
        code = add_story(j, &stories.items[i], e);
        if (!code) continue;
        char where[1100];
        snprintf(where, sizeof where, "%s: line %zu", j->prompts_path, stories.items[i].line);
        tn_fail_in(e, code, where);
    }
    qwen_prompts_free(&stories);
    return code ? code : eval_check_labels(j, e);
}

/* Windows of ctx tokens; the last, shorter one counts when it has at least two. */
static int read_text(eval_job *j, tn_err *e) {
    size_t ctx = (size_t)j->ctx, limit = (size_t)qwen_max_context(j->w.text.model);
    if (ctx > limit)
        return tn_fail(e, TN_ECTX, "windows of %zu tokens do not fit in the model's context of %zu", ctx,
                       limit);
    tn_map map;
    int code = tn_map_file(&map, j->text_path, e);
    if (code) return code;
    code = tok_encode(j->w.text.tok, map.size ? map.data : "", map.size, TOK_SPECIAL, &j->tokens, e);
    tn_unmap_file(&map);
    if (code) return tn_fail_in(e, code, j->text_path);
    if (j->tokens.len < 2)
        return tn_fail(e, TN_EARG, "%s: fewer than two tokens, nothing to predict", j->text_path);
    size_t count = limited(j, j->tokens.len / ctx + (j->tokens.len % ctx >= 2));
    code = make_room(j, count, e);
    for (; j->n_docs < count && !code; j->n_docs++) {
        size_t at = j->n_docs * ctx, left = j->tokens.len - at;
        j->docs[j->n_docs] = (eval_document){at, left < ctx ? left : ctx, 0, j->n_docs + 1, -1};
    }
    return code;
}

int eval_read_documents(eval_job *j, tn_err *e) {
    return j->prompts_path ? read_stories(j, e) : read_text(j, e);
}

sae_effect_doc eval_rows_of(const eval_job *j, const eval_document *d) {
    size_t limit = (size_t)qwen_max_context(j->w.text.model), fed = d->n < limit ? d->n : limit;
    size_t first = j->positions == SAE_POS_GENERATED ? d->n_prompt : 0;
    size_t end = j->positions == SAE_POS_PROMPT ? d->n_prompt : fed;
    if (j->skip_first && first == 0) first = 1;
    return (sae_effect_doc){j->tokens.data + d->at, (int)d->n, (int)first, (int)end, d->label};
}
