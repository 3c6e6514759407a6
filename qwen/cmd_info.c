/* qwen info: what a model directory holds and how it would run here. */
#include "qwen/commands.h"

#include <stdio.h>

static const char summary[] = "Prints configuration, parameters, memory and the kernels in use.";

/* "1.46 GiB" */
static const char *size_text(char dst[32], size_t bytes) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double x = (double)bytes;
    int unit = 0;
    while (x >= 1024 && unit < 4) {
        x /= 1024;
        unit++;
    }
    snprintf(dst, 32, unit ? "%.2f %s" : "%.0f %s", x, units[unit]);
    return dst;
}

static void print_config(const qwen_config *c) {
    printf("type            %s\n", c->model_type);
    printf("layers          %d\n", c->layers);
    printf("hidden          %d\n", c->hidden);
    printf("heads           %d query, %d key/value, %d wide\n", c->heads, c->kv_heads, c->head_dim);
    printf("mlp             %d\n", c->intermediate);
    printf("vocabulary      %d%s\n", c->vocab, c->tied ? ", head tied to the embedding" : "");
    printf("positions       %d\n", c->max_positions);
    printf("rope base       %g", (double)c->rope_theta);
    if (c->yarn_factor > 1)
        printf(", YaRN %g times %d positions", (double)c->yarn_factor, c->yarn_original_positions);
    printf("\nrms eps         %g\n", (double)c->rms_eps);
    printf("qkv bias        %s\n", c->qkv_bias ? "yes" : "no");
    printf("stop tokens    ");
    for (int i = 0; i < c->n_eos; i++) printf(" %ld", (long)c->eos[i]);
    printf(c->n_eos ? "\n" : " none\n");
}

/* Integers of one size in groups of one size: of the layers, or of the embedding and the head. */
typedef struct {
    int bits;
    size_t group, count;
} integers;

/* Parameters by the form they are stored in: a float type, or integers. */
enum { FORMS = 4 };
typedef struct {
    size_t floats[TN_DTYPE_COUNT];
    integers form[FORMS]; /* those after the last have bits 0 */
} census;

static void count_matrix(census *c, const tn_mat *m) {
    if (!m->bits) {
        c->floats[m->dtype] += m->rows * m->cols;
        return;
    }
    int i = 0;
    while (i < FORMS - 1 && c->form[i].bits && (c->form[i].bits != m->bits || c->form[i].group != m->group))
        i++;
    c->form[i].bits = m->bits;
    c->form[i].group = m->group;
    c->form[i].count += m->rows * m->cols;
}

/* Matrices as the model sees them; what else the file holds are norms and biases, which have one dimension.
 */
static census count_parameters(const qwen_model *m) {
    census c = {{0}, {{0}}};
    const tn_safetensors *f = qwen_model_weights(m);
    const tn_mat embedding = qwen_model_embedding(m), head = qwen_model_head(m);
    count_matrix(&c, &embedding);
    if (!qwen_model_config(m)->tied) count_matrix(&c, &head);
    for (int l = 0; l < qwen_model_config(m)->layers; l++) {
        const qwen_layer *w = qwen_model_layer(m, l);
        const tn_mat *const all[] = {&w->q, &w->k, &w->v, &w->o, &w->gate, &w->up, &w->down};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) count_matrix(&c, all[i]);
    }
    for (size_t i = 0; i < tn_st_count(f); i++)
        if (tn_st_at(f, i)->rank == 1) c.floats[tn_st_at(f, i)->dtype] += tn_st_at(f, i)->count;
    return c;
}

static void print_weights(const qwen_model *m) {
    const tn_safetensors *f = qwen_model_weights(m);
    const census c = count_parameters(m);
    size_t total = 0;
    char size[32];
    for (int i = 0; i < FORMS; i++) total += c.form[i].count;
    for (int t = 0; t < TN_DTYPE_COUNT; t++) total += c.floats[t];
    const double percent = 100 / (double)total;
    printf("parameters      %zu (%.1f M) in %zu tensors\n", total, (double)total / 1e6, tn_st_count(f));
    printf("weights         %s", size_text(size, tn_st_bytes(f)));
    for (int t = 0; t < TN_DTYPE_COUNT; t++)
        if (c.floats[t] > 0)
            printf(", %s %.1f %%", tn_dtype_name((tn_dtype)t), (double)c.floats[t] * percent);
    for (int i = 0; i < FORMS && c.form[i].bits; i++)
        printf(", Q%d %.1f %% in groups of %zu", c.form[i].bits, (double)c.form[i].count * percent,
               c.form[i].group);
    putchar('\n');
}

static void print_memory(const qwen_model *m, tn_exec exec) {
    const qwen_config *c = qwen_model_config(m);
    char size[32];
    qwen_opts o = qwen_opts_default(m);
    o.exec = exec;
    printf("state           %s for %d positions", size_text(size, qwen_state_bytes(m, &o)), o.context);
    size_t kv = 2 * (size_t)c->layers * (size_t)c->kv_heads * (size_t)c->head_dim * sizeof(float);
    printf(", of which %s of KV cache each\n", size_text(size, kv));
}

int cmd_info(int argc, char **argv) {
    cmd_common common = CMD_COMMON_INIT;
    cmd_options table = {0};
    int leave = cmd_parse("info", summary, &table, &common, argc, argv, NULL, NULL);
    if (leave >= 0) return leave;

    tn_err e;
    cmd_session s;
    int code = cmd_open(&s, &common, 0, &e);
    if (!code) {
        printf("model           %s\n", qwen_model_name(s.text.model));
        print_config(qwen_model_config(s.text.model));
        print_weights(s.text.model);
        print_memory(s.text.model, s.exec);
        printf("kernels         %s of", s.exec.k->name);
        for (int i = 0; tn_kernels_at(i); i++) printf(" %s", tn_kernels_at(i)->name);
        printf("\nthreads         %d\n", s.exec.threads);
    }
    cmd_close(&s);
    return cmd_finish(code, &e);
}
