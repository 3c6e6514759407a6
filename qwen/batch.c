/* The slots of a batched run (batch.h). Each step gives free slots their next item, lets every slot add what
 * it can to one forward pass, samples where logits came out, and reports what has finished.
 */
#include "qwen/batch.h"

#include "tensor/arena.h"
#include "tensor/par.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A prompt waits one step for another that is being read when that saves it at least so many rows. */
enum { WORTH_WAITING = 16 };

/* What qwen_batch_sequences allows itself. */
enum { MOST_SEQUENCES = 32, CACHE_BYTES = 512 << 20 };

/* One sequence of the state and the item in it. */
typedef struct {
    const qwen_item
        *item; /* the current or the last one, whose prompt the cache begins with; NULL at first */
    int busy;
    int fed;         /* tokens of the item's prompt and answer that are in the sequence */
    int32_t *answer; /* [max_new] tokens written */
    int written;
    int leaving; /* the last token written is still to be fed, then the item is finished */
    qwen_finish finish;
    qwen_sampler sampler;
    const float *logits; /* [vocab] of the running step; NULL when the slot asked for none */
} slot;

typedef struct {
    qwen_state *s;
    const qwen_item *items; /* [count] */
    size_t count, next;     /* next: the first that no slot has taken */
    const qwen_batch_opts *opts;
    slot *slots; /* [n_slots] */
    int n_slots;
    int workers;        /* threads that sample; slot i is worker i % workers' */
    qwen_piece *pieces; /* [n_slots] */
    int n_pieces;
} batch;

/* ---- Memory ---- */

static int vocab_of(const batch *b) {
    return qwen_model_config(qwen_state_model(b->s))->vocab;
}

/* Places the slots, their answers and samplers; the samplers of one worker take turns with one pool. */
static int place(batch *b, tn_arena *a, int measuring, tn_err *e) {
    size_t vocab = (size_t)vocab_of(b), n = (size_t)b->n_slots, max_new = (size_t)b->opts->gen.max_new;
    size_t pools = 0, seen = 0, answers = 0;
    if (tn_mul_size((size_t)b->workers, vocab, &pools) || tn_mul_size(n, vocab, &seen) ||
        tn_mul_size(n, max_new, &answers))
        a->failed = 1;
    b->slots = tn_arena_take(a, n, sizeof *b->slots);
    b->pieces = tn_arena_take(a, n, sizeof *b->pieces);
    qwen_candidate *pool = tn_arena_take(a, pools, sizeof *pool);
    unsigned char *marks = tn_arena_take(a, seen, 1);
    int32_t *answer = tn_arena_take(a, answers, sizeof *answer);
    for (size_t i = 0; i < n && !measuring; i++) {
        b->slots[i] = (slot){.answer = answer + i * max_new};
        int code = qwen_sampler_place(&b->slots[i].sampler, &b->opts->sampling, (int)vocab, marks + i * vocab,
                                      pool + i % (size_t)b->workers * vocab, e);
        if (code) return code;
    }
    return TN_OK;
}

/* ---- Taking items ---- */

static int shared_length(const qwen_item *a, const qwen_item *b) {
    int n = a->n_prompt < b->n_prompt ? a->n_prompt : b->n_prompt, i = 0;
    while (i < n && a->prompt[i] == b->prompt[i]) i++;
    return i;
}

/* Finds the sequence that holds most of the item's prompt: *from and *held. At least the prompt's last token
 * is computed, for its logits. Returns how much of it some sequence will hold when it has been read. */
static int longest_prefix(const batch *b, const qwen_item *item, int *from, int *held) {
    int promised = 0;
    *from = *held = 0;
    for (int i = 0; i < b->n_slots && b->opts->share_prefixes; i++) {
        const slot *t = &b->slots[i];
        if (!t->item) continue;
        int shared = shared_length(item, t->item);
        if (shared == item->n_prompt) shared--;
        int there = t->fed < shared ? t->fed : shared;
        if (shared > promised) promised = shared;
        if (there <= *held) continue;
        *from = i;
        *held = there;
    }
    return promised;
}

static void start_item(batch *b, int seq, const qwen_item *item, int from, int held) {
    slot *t = &b->slots[seq];
    *t = (slot){.item = item, .busy = 1, .fed = held, .answer = t->answer, .sampler = t->sampler};
    qwen_seq_copy(b->s, seq, from, held);
    qwen_seq_set_prompt_length(b->s, seq, item->n_prompt);
    qwen_sampler_reset(&t->sampler, item->seed);
    for (int i = 0; i < item->n_prompt && !item->replay; i++)
        qwen_sampler_accept(&t->sampler, item->prompt[i]);
}

/* Gives free slots their next items, in order. */
static void fill_slots(batch *b) {
    for (int i = 0; i < b->n_slots && b->next < b->count; i++) {
        if (b->slots[i].busy) continue;
        int from, held, promised = longest_prefix(b, &b->items[b->next], &from, &held);
        if (promised - held >= WORTH_WAITING) return;
        start_item(b, i, &b->items[b->next++], from, held);
    }
}

/* ---- One step ---- */

/* Tokens the item needs in its sequence before it writes or, with nothing to write, is finished. */
static int to_feed(const qwen_item *item) {
    return item->n_prompt + (item->replay ? item->n_answer : 0);
}

static int writes(const batch *b, const qwen_item *item) {
    return !item->replay && b->opts->gen.max_new > 0;
}

/* Adds the slot's next tokens to the pass, at most `room` of a prompt's; returns how many. */
static int add_piece(batch *b, int seq, int room) {
    slot *t = &b->slots[seq];
    const qwen_item *item = t->item;
    qwen_piece p = {.seq = seq, .n = 1, .flags = t->leaving ? QWEN_NO_LOGITS : 0};
    if (t->fed >= to_feed(item)) {
        p.tokens = &t->answer[t->written - 1];
    } else {
        int in_prompt = t->fed < item->n_prompt;
        p.tokens = in_prompt ? item->prompt + t->fed : item->answer + (t->fed - item->n_prompt);
        p.n = (in_prompt ? item->n_prompt : to_feed(item)) - t->fed;
        if (p.n > room) p.n = room;
        if (!writes(b, item) || t->fed + p.n < item->n_prompt) p.flags = QWEN_NO_LOGITS;
        t->fed += p.n;
    }
    b->pieces[b->n_pieces++] = p;
    return p.n;
}

/* Stories being written go first, one row each; prompts being read share the rest of the chunk. */
static void gather_pieces(batch *b) {
    int room = qwen_state_opts(b->s)->chunk;
    b->n_pieces = 0;
    for (int reading = 0; reading < 2; reading++)
        for (int i = 0; i < b->n_slots; i++) {
            const slot *t = &b->slots[i];
            if (!t->busy || reading != (t->fed < to_feed(t->item))) continue;
            if (reading && room <= 0) return;
            room -= add_piece(b, i, room);
        }
}

static void sample_share(void *ctx, size_t begin, size_t end) {
    batch *b = ctx;
    for (size_t w = begin; w < end; w++)
        for (size_t i = w; i < (size_t)b->n_slots; i += (size_t)b->workers) {
            slot *t = &b->slots[i];
            if (t->logits) t->answer[t->written++] = qwen_sampler_next(&t->sampler, t->logits);
        }
}

/* Samples for every slot that asked for logits [rows, vocab]. */
static void sample_all(batch *b, const float *logits) {
    for (int i = 0; i < b->n_slots; i++) b->slots[i].logits = NULL;
    for (int i = 0; i < b->n_pieces; i++) {
        if (b->pieces[i].flags & QWEN_NO_LOGITS) continue;
        b->slots[b->pieces[i].seq].logits = logits;
        logits += vocab_of(b);
    }
    tn_parallel_for((size_t)b->workers, 1, b->workers, sample_share, b);
}

/* Looks at what the step did to a slot; 1 when its item is finished. */
static int is_finished(batch *b, int seq) {
    slot *t = &b->slots[seq];
    const qwen_gen_opts *g = &b->opts->gen;
    if (t->leaving) return 1;
    if (!t->logits) return t->fed == to_feed(t->item) && !writes(b, t->item);
    for (int i = 0; i < g->n_stops; i++)
        if (g->stops[i] == t->answer[t->written - 1]) {
            t->written--;
            t->finish = QWEN_FINISH_STOP;
            return 1;
        }
    t->finish = QWEN_FINISH_LENGTH;
    if (qwen_seq_position(b->s, seq) == qwen_state_opts(b->s)->context) return 1;
    if (t->written < g->max_new) return 0;
    t->leaving = b->opts->feed_last;
    return !t->leaving;
}

/* An error names the item by its number from 1. */
static int fail_in_item(const batch *b, const qwen_item *item, int code, tn_err *e) {
    char where[40];
    snprintf(where, sizeof where, "prompt %zu", (size_t)(item - b->items) + 1);
    return tn_fail_in(e, code, where);
}

static int step(batch *b, qwen_done_fn fn, void *ctx, tn_err *e) {
    const float *logits;
    fill_slots(b);
    gather_pieces(b);
    int code = qwen_forward_batch(b->s, b->pieces, b->n_pieces, &logits, e);
    if (code) return code;
    sample_all(b, logits);
    for (int i = 0; i < b->n_pieces && !code; i++) {
        int seq = b->pieces[i].seq;
        slot *t = &b->slots[seq];
        if (t->logits && (code = qwen_check_choice(t->logits, t->answer[t->written - 1], e)) != TN_OK)
            return fail_in_item(b, t->item, code, e);
        if (!is_finished(b, seq)) continue;
        t->busy = 0;
        const qwen_done done = {(size_t)(t->item - b->items), seq, t->answer, t->written, t->finish};
        if (fn) code = fn(ctx, &done, e);
    }
    return code;
}

/* ---- The run ---- */

int qwen_item_check(const qwen_state *s, const qwen_item *item, tn_err *e) {
    int context = qwen_state_opts(s)->context, n = item->replay ? item->n_answer : 0;
    if (item->n_prompt < 1) return tn_fail(e, TN_EARG, "the prompt is empty");
    if (item->n_prompt > context || n > context - item->n_prompt)
        return tn_fail(e, TN_ECTX, "%d tokens of prompt and %d of answer do not fit in the context of %d",
                       item->n_prompt, n, context);
    int code = qwen_check_tokens(qwen_state_model(s), item->prompt, item->n_prompt, e);
    return code ? code : qwen_check_tokens(qwen_state_model(s), item->answer, n, e);
}

static int check(const batch *b, tn_err *e) {
    const qwen_opts *o = qwen_state_opts(b->s);
    if (o->logit_rows < o->sequences)
        return tn_fail(e, TN_EARG, "a batch of %d sequences needs as many rows of logits, the state has %d",
                       o->sequences, o->logit_rows);
    if (b->opts->gen.max_new < 0) return tn_fail(e, TN_EARG, "answers of %d tokens", b->opts->gen.max_new);
    for (size_t i = 0; i < b->count; i++) {
        int code = qwen_item_check(b->s, &b->items[i], e);
        if (code) return fail_in_item(b, &b->items[i], code, e);
    }
    return TN_OK;
}

static int any_busy(const batch *b) {
    for (int i = 0; i < b->n_slots; i++)
        if (b->slots[i].busy) return 1;
    return 0;
}

int qwen_batch_sequences(const qwen_model *m, int context, size_t count) {
    const qwen_config *c = qwen_model_config(m);
    double bytes = 2.0 * c->layers * c->kv_heads * c->head_dim * (double)sizeof(float) * context;
    int n = MOST_SEQUENCES;
    if (CACHE_BYTES / bytes < n) n = (int)(CACHE_BYTES / bytes);
    if (count < (size_t)n) n = (int)count;
    return n < 1 ? 1 : n;
}

int qwen_batch_run(qwen_state *s, const qwen_item *items, size_t count, const qwen_batch_opts *opts,
                   qwen_done_fn fn, void *ctx, tn_err *e) {
    const qwen_opts *o = qwen_state_opts(s);
    batch b = {.s = s, .items = items, .count = count, .opts = opts, .n_slots = o->sequences};
    b.workers = o->exec.threads < b.n_slots ? o->exec.threads : b.n_slots;
    int code = check(&b, e);
    if (code) return code;
    tn_arena measure = tn_arena_measure();
    place(&b, &measure, 1, e);
    size_t bytes = measure.failed ? 0 : measure.used + TN_ALIGN;
    void *block = bytes ? malloc(bytes) : NULL;
    if (!block) return tn_fail(e, TN_ENOMEM, "no memory for a batch of %d", b.n_slots);
    tn_arena arena = tn_arena_on(block, bytes);
    code = place(&b, &arena, 0, e);
    for (int i = 0; i < b.n_slots; i++) qwen_seq_rewind(s, i, 0);
    while (!code && (b.next < count || any_busy(&b))) code = step(&b, fn, ctx, e);
    free(block);
    return code;
}
