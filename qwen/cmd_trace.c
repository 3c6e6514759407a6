/* qwen trace: the residual stream and the logits of a prompt, as a safetensors file.
 *
 * A file holds one tensor after the other, but a forward pass yields all of them row by row. Logits, by far
 * the largest, go to disk as they come. Sites are gathered in memory, as many as fit in GATHER_BYTES; when
 * there are more, the prompt is run again for the next lot, which gives the same bits.
 */
#include "qwen/commands.h"
#include "qwen/score.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { GATHER_BYTES = 256 << 20, HOOK_NAME = 48 };

static const char summary[] =
    "Runs a prompt and writes OUT: \"tokens\" I32 [n], \"logits\" F32 [n, vocabulary], and the chosen\n"
    "sites of the residual stream, F32 [n, hidden], under their hook names\n"
    "(\"blocks.15.hook_resid_post\"). With --ids the directory needs no tokenizer.";

/* One tensor to write. */
typedef struct {
    qwen_site site;
    int layer;
    char name[HOOK_NAME];
    float *rows; /* [n, hidden] while it is being gathered, else NULL */
} trace_part;

typedef struct {
    cmd_common common;
    const char *prompt, *ids_text, *sites_text, *layers_text, *out, *system;
    int raw;
    cmd_session s;
    tok_ids ids;
    trace_part *parts; /* [n_parts], by layer, then site */
    int n_parts;
} trace;

/* ---- What to write ---- */

/* Sets sites[i] = 1 for each name of "resid_pre,mlp_out" ("all" = every one). */
static int parse_sites(const char *text, unsigned char *sites, tn_err *e) {
    for (const char *p = text;; p++) {
        char name[32];
        qwen_site site;
        size_t len = strcspn(p, ",");
        if (len == 3 && memcmp(p, "all", 3) == 0) {
            memset(sites, 1, QWEN_SITE_COUNT);
        } else {
            size_t kept = len < sizeof name ? len : sizeof name - 1;
            memcpy(name, p, kept);
            name[kept] = '\0';
            if (!qwen_site_from_name(name, &site))
                return tn_fail(
                    e, TN_EARG,
                    "there is no site \"%s\" (resid_pre, attn_out, resid_mid, mlp_out, resid_post)", name);
            sites[site] = 1;
        }
        p += len;
        if (*p == '\0') return TN_OK;
    }
}

/* A whole number at *p, moving p behind it; 0 when there is none. */
static int take_number(const char **p, long *out) {
    char *end;
    if (**p < '0' || **p > '9') return 0;
    errno = 0;
    *out = strtol(*p, &end, 10);
    *p = end;
    return errno == 0;
}

/* Sets set[i] = 1 for the layers of "0-23,5", all below n. */
static int parse_layers(const char *text, unsigned char *set, int n, tn_err *e) {
    for (const char *p = text;; p++) {
        long first, last;
        int sound = take_number(&p, &first);
        last = first = sound ? first : 0;
        if (sound && *p == '-') {
            p++;
            sound = take_number(&p, &last);
        }
        if (!sound || (*p != ',' && *p != '\0') || first > last)
            return tn_fail(e, TN_EARG, "--layers is a list such as 0-23,5, not \"%s\"", text);
        if (last >= n)
            return tn_fail(e, TN_EARG, "layer %ld is out of range: the model has layers 0 to %d", last,
                           n - 1);
        memset(set + first, 1, (size_t)(last - first + 1));
        if (*p == '\0') return TN_OK;
    }
}

static int choose_parts(trace *t, tn_err *e) {
    int layers = qwen_model_config(t->s.text.model)->layers;
    unsigned char sites[QWEN_SITE_COUNT] = {0};
    unsigned char *set = calloc((size_t)layers, 1);
    t->parts = calloc((size_t)layers * QWEN_SITE_COUNT, sizeof *t->parts);
    int code = set && t->parts ? TN_OK : tn_fail(e, TN_ENOMEM, "out of memory");
    if (!code) code = parse_sites(t->sites_text, sites, e);
    if (!code && t->layers_text)
        code = parse_layers(t->layers_text, set, layers, e);
    else if (!code)
        memset(set, 1, (size_t)layers);
    for (int layer = 0; layer < layers && !code; layer++)
        for (int site = 0; site < QWEN_SITE_COUNT; site++) {
            if (!set[layer] || !sites[site]) continue;
            trace_part *p = &t->parts[t->n_parts++];
            *p = (trace_part){.site = (qwen_site)site, .layer = layer};
            qwen_hook_name(p->name, sizeof p->name, layer, p->site);
        }
    free(set);
    return code;
}

/* ---- Running and writing ---- */

/* Keeps the rows of the parts that are being gathered. */
static int gather(void *ctx, const qwen_tap *tap) {
    trace *t = ctx;
    size_t d = (size_t)tap->d;
    for (int i = 0; i < t->n_parts; i++) {
        trace_part *p = &t->parts[i];
        if (p->rows && p->layer == tap->layer && p->site == tap->site)
            memcpy(p->rows + (size_t)tap->pos[0] * d, tap->x, (size_t)tap->n * d * sizeof *tap->x);
    }
    return 0;
}

static int listen_all(trace *t, tn_err *e) {
    int layers = qwen_model_config(t->s.text.model)->layers;
    qwen_hook hooks[QWEN_SITE_COUNT];
    for (int site = 0; site < QWEN_SITE_COUNT; site++)
        hooks[site] = (qwen_hook){(qwen_site)site, 0, layers - 1, gather, t};
    return qwen_set_hooks(t->s.state, hooks, QWEN_SITE_COUNT, e);
}

/* Writes n floats as the file's little-endian F32. */
static int put_floats(tn_st_writer *w, const float *x, size_t n) {
    unsigned char bytes[4096];
    for (size_t done = 0; done < n;) {
        size_t count = n - done < sizeof bytes / 4 ? n - done : sizeof bytes / 4;
        tn_from_f32(bytes, TN_F32, x + done, count);
        int code = tn_st_write(w, bytes, count * 4);
        if (code) return code;
        done += count;
    }
    return TN_OK;
}

/* Runs the prompt piece by piece; `logits`: and writes the logits of every position. */
static int run(trace *t, tn_st_writer *w, int logits, tn_err *e) {
    const qwen_opts *o = qwen_state_opts(t->s.state);
    int n = (int)t->ids.len, most = logits ? o->logit_rows : o->chunk;
    size_t vocab = (size_t)qwen_model_config(t->s.text.model)->vocab;
    qwen_rewind(t->s.state, 0);
    for (int at = 0; at < n; at += most) {
        int rows = n - at < most ? n - at : most;
        const float *y;
        int code = qwen_forward(t->s.state, t->ids.data + at, rows, logits ? QWEN_ALL_LOGITS : QWEN_NO_LOGITS,
                                &y, e);
        if (code) return code;
        /* A write that fails is kept in mind by the writer and told by tn_st_finish; going on is useless. */
        if (logits && put_floats(w, y, (size_t)rows * vocab)) return TN_OK;
    }
    return TN_OK;
}

/* Room for parts first … end-1, as many as fit; returns end, at least first + 1 unless there is no memory. */
static int reserve_lot(trace *t, int first, size_t bytes) {
    size_t total = 0;
    int end = first;
    while (end < t->n_parts && (end == first || bytes <= GATHER_BYTES - total)) {
        t->parts[end].rows = malloc(bytes);
        if (!t->parts[end].rows) break;
        end++;
        if (bytes > GATHER_BYTES) break;
        total += bytes;
    }
    return end;
}

static int write_parts(trace *t, tn_st_writer *w, tn_err *e) {
    size_t hidden = (size_t)qwen_model_config(t->s.text.model)->hidden, count;
    if (tn_mul_size(t->ids.len, hidden * sizeof(float), &count))
        return tn_fail(e, TN_ENOMEM, "out of memory");
    int code = TN_OK;
    for (int first = 0, end; !code && (first == 0 || first < t->n_parts); first = end) {
        end = reserve_lot(t, first, count);
        if (end == first && end < t->n_parts) code = tn_fail(e, TN_ENOMEM, "out of memory");
        if (!code) code = run(t, w, first == 0, e);
        for (int i = first; i < end; i++) {
            if (!code) put_floats(w, t->parts[i].rows, t->ids.len * hidden);
            free(t->parts[i].rows);
            t->parts[i].rows = NULL;
        }
        if (end == 0) break; /* no site was asked for: the logits are done */
    }
    return code;
}

static int put_tokens(trace *t, tn_st_writer *w) {
    int code = TN_OK;
    for (size_t i = 0; i < t->ids.len && !code; i++) {
        unsigned char bytes[4];
        tn_store_u32(bytes, (uint32_t)t->ids.data[i]);
        code = tn_st_write(w, bytes, sizeof bytes);
    }
    return code;
}

static int write_file(trace *t, tn_err *e) {
    const qwen_config *c = qwen_model_config(t->s.text.model);
    size_t n = t->ids.len, n_specs = (size_t)t->n_parts + 2;
    const tn_pair metadata[] = {{"model", qwen_model_name(t->s.text.model)}, {"prompt", t->prompt}};
    tn_tensor_spec *specs = calloc(n_specs, sizeof *specs);
    tn_st_writer *w = NULL;
    if (!specs) return tn_fail(e, TN_ENOMEM, "out of memory");
    specs[0] = (tn_tensor_spec){"tokens", TN_I32, 1, {n}};
    specs[1] = (tn_tensor_spec){"logits", TN_F32, 2, {n, (size_t)c->vocab}};
    for (int i = 0; i < t->n_parts; i++)
        specs[i + 2] = (tn_tensor_spec){t->parts[i].name, TN_F32, 2, {n, (size_t)c->hidden}};
    int code = tn_st_create(&w, t->out, specs, n_specs, metadata, t->prompt ? 2 : 1, e);
    if (!code) put_tokens(t, w);
    if (!code) code = write_parts(t, w, e);
    if (code)
        tn_st_abandon(w);
    else
        code = tn_st_finish(w, e);
    free(specs);
    return code;
}

static int run_trace(trace *t, tn_err *e) {
    int code = cmd_open(&t->s, &t->common, t->prompt != NULL, e);
    if (!code) code = choose_parts(t, e);
    if (!code && t->prompt)
        code = qwen_text_prompt(&t->s.text, t->prompt, t->raw, t->system, &t->ids, e);
    else if (!code)
        code = cmd_parse_ids(t->ids_text, &t->ids, e);
    if (!code) code = cmd_check_prompt(&t->s, &t->ids, e);
    t->s.opts.logit_rows = QWEN_SCORE_ROWS;
    if (!code) code = cmd_open_state(&t->s, (int)t->ids.len, e);
    if (!code) code = listen_all(t, e);
    return code ? code : write_file(t, e);
}

int cmd_trace(int argc, char **argv) {
    trace t = {.common = CMD_COMMON_INIT, .sites_text = "resid_post"};
    const cli_option rows[] = {
        {"-p", "--prompt", CLI_STRING, &t.prompt, "TEXT", "the user's message", 0},
        {"--ids", NULL, CLI_STRING, &t.ids_text, "\"1 2 3\"", "token ids instead of text", 0},
        {"-o", "--output", CLI_STRING, &t.out, "OUT", "safetensors file to write", 1},
        {"--sites", NULL, CLI_STRING, &t.sites_text, "LIST",
         "resid_pre, attn_out, resid_mid, mlp_out, resid_post (default) or all", 0},
        {"--layers", NULL, CLI_STRING, &t.layers_text, "LIST", "layers and ranges, as 0-23,5 (all)", 0},
        {"--raw", NULL, CLI_FLAG, &t.raw, NULL, "the text as it stands, without chat template", 0},
        {"--system", NULL, CLI_STRING, &t.system, "TEXT", "system message (the template's own)", 0},
        {0},
    };
    cmd_options table = {0};
    cmd_add_options(&table, rows);
    int leave = cmd_parse("trace", summary, &table, &t.common, argc, argv, NULL, NULL);
    if (leave >= 0) return leave;
    if (!t.prompt == !t.ids_text) return cli_usage_error("qwen", "trace", "give either -p or --ids");

    tn_err e;
    int code = run_trace(&t, &e);
    free(t.parts);
    tok_ids_free(&t.ids);
    cmd_close(&t.s);
    return cmd_finish(code, &e);
}
