/* The figures of qwen bench, as text or as one JSON object. */
#include "qwen/cmd_bench.h"
#include "tensor/json.h"
#include "tensor/spread.h"

#include <stdio.h>

static tn_spread spread_of(bench_series *s) {
    return tn_spread_of(s->value, s->n);
}

/* What both forms tell of the two kinds of work. */
typedef struct {
    tn_spread prefill, peak, plain, read, hooked, cost;
    double gflops, prefill_share; /* of prefill; the part of peak's median, 0 when the tier has none */
    double gb_s, decode_share;    /* of decode; the part of read's median */
} figures;

static figures figures_of(bench *b) {
    figures f = {0};
    if (b->prompt > 0) {
        f.prefill = spread_of(&b->prefill);
        f.peak = spread_of(&b->peak);
        f.gflops = b->prefill_flop / b->prompt * f.prefill.median / 1e9;
        f.prefill_share = f.peak.median > 0 ? f.gflops / f.peak.median : 0;
    }
    if (b->decode > 0) {
        f.plain = spread_of(&b->plain);
        f.read = spread_of(&b->read);
        f.gb_s = b->decode_bytes * f.plain.median / 1e9;
        f.decode_share = f.gb_s / f.read.median;
    }
    if (b->hooks) {
        f.hooked = spread_of(&b->hooked);
        f.cost = spread_of(&b->cost);
    }
    return f;
}

/* ---- Text ---- */

static void print_text(const bench *b, const figures *f) {
    if (b->prompt > 0) {
        printf("prefill  %8.2f tokens/s  (%d tokens; %.2f to %.2f)\n", f->prefill.median, b->prompt,
               f->prefill.least, f->prefill.most);
        printf("         %8.1f GFLOP/s", f->gflops);
        if (f->peak.median > 0)
            printf(", %.0f %% of the %.1f (%.1f to %.1f) that %s reach here", 100 * f->prefill_share,
                   f->peak.median, f->peak.least, f->peak.most, b->tiles ? "tiles" : "multiply-adds");
        putchar('\n');
    }
    if (b->decode > 0) {
        printf("decode   %8.2f tokens/s  (%d tokens behind %d; %.2f to %.2f)\n", f->plain.median, b->decode,
               b->context, f->plain.least, f->plain.most);
        printf("         %8.2f GB/s of weights (%.1f MB a token), %.0f %% of the %.2f (%.2f to %.2f) that "
               "memory gives here\n",
               f->gb_s, b->decode_bytes / 1e6, 100 * f->decode_share, f->read.median, f->read.least,
               f->read.most);
    }
    if (b->hooks)
        printf("hooks    %8.2f tokens/s with all sites copied; a token takes %.3f times as long (%.3f to "
               "%.3f)\n",
               f->hooked.median, f->cost.median, f->cost.least, f->cost.most);
    printf("start    %8.1f ms for the model, %.1f ms for the state", 1e3 * b->load, 1e3 * b->state);
    if (b->tokenizer > 0) printf(", %.1f ms for the tokenizer", 1e3 * b->tokenizer);
    printf("\nmemory   %8.1f MB", (double)b->peak_memory / 1e6);
    if (b->private_memory > 0)
        printf(", %.1f MB of it besides mapped files", (double)b->private_memory / 1e6);
    printf(" (the state has %.1f MB)\n", (double)b->state_bytes / 1e6);
    printf("%s, %s kernels, %d thread%s, median of %d\n", qwen_model_name(b->s.text.model), b->s.exec.k->name,
           b->s.exec.threads, b->s.exec.threads == 1 ? "" : "s", b->repeats);
}

/* ---- JSON ---- */

/* "KEY", "KEY_min" and "KEY_max" */
static void put_spread(tn_json_out *w, const char *key, const char *unit, tn_spread s) {
    const struct {
        const char *end;
        double value;
    } parts[] = {{"", s.median}, {"_min", s.least}, {"_max", s.most}};
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s%s", key, i == 0 ? unit : "", parts[i].end);
        tn_json_member_f64(w, name, parts[i].value);
    }
}

static void put_prefill(tn_json_out *w, const bench *b, const figures *f) {
    tn_json_member_i64(w, "prompt_tokens", b->prompt);
    put_spread(w, "prefill", "_tok_s", f->prefill);
    tn_json_member_f64(w, "prefill_gflops", f->gflops);
    if (f->peak.median > 0) {
        put_spread(w, b->tiles ? "tile" : "fma", "_gflops", f->peak);
        tn_json_member_f64(w, "prefill_share", f->prefill_share);
    }
}

static void put_decode(tn_json_out *w, const bench *b, const figures *f) {
    tn_json_member_i64(w, "decode_tokens", b->decode);
    tn_json_member_i64(w, "decode_context", b->context);
    put_spread(w, "decode", "_tok_s", f->plain);
    tn_json_member_i64(w, "decode_weight_bytes", (int64_t)b->decode_bytes);
    tn_json_member_f64(w, "decode_gb_s", f->gb_s);
    put_spread(w, "read", "_gb_s", f->read);
    tn_json_member_f64(w, "decode_share", f->decode_share);
    if (b->hooks) {
        put_spread(w, "hooked", "_tok_s", f->hooked);
        put_spread(w, "hooks_cost", "", f->cost);
    }
}

static int print_json(const bench *b, const figures *f, tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    tn_json_out w = tn_json_writer(&text, 0);
    tn_json_begin_object(&w);
    tn_json_member_text(&w, "model", qwen_model_name(b->s.text.model));
    tn_json_member_text(&w, "kernels", b->s.exec.k->name);
    tn_json_member_i64(&w, "threads", b->s.exec.threads);
    tn_json_member_i64(&w, "repeats", b->repeats);
    if (b->prompt > 0) put_prefill(&w, b, f);
    if (b->decode > 0) put_decode(&w, b, f);
    tn_json_member_f64(&w, "load_seconds", b->load);
    tn_json_member_f64(&w, "state_seconds", b->state);
    if (b->tokenizer > 0) tn_json_member_f64(&w, "tokenizer_seconds", b->tokenizer);
    tn_json_member_i64(&w, "weight_bytes", (int64_t)tn_st_bytes(qwen_model_weights(b->s.text.model)));
    tn_json_member_i64(&w, "state_bytes", (int64_t)b->state_bytes);
    tn_json_member_i64(&w, "peak_memory_bytes", (int64_t)b->peak_memory);
    if (b->private_memory > 0) tn_json_member_i64(&w, "private_memory_bytes", (int64_t)b->private_memory);
    tn_json_end_object(&w);
    tn_buf_putc(&text, '\n');
    int code = text.failed ? tn_fail(e, TN_ENOMEM, "out of memory") : cmd_print(text.data, text.len, e);
    tn_buf_free(&text);
    return code;
}

int bench_report(bench *b, tn_err *e) {
    const figures f = figures_of(b);
    if (b->json) return print_json(b, &f, e);
    print_text(b, &f);
    return TN_OK;
}
