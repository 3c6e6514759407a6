/* The directory of dictionary_dir.h (github.com/saprmarks/dictionary_learning, version 0.1.0).
 *
 * Its classes keep their matrices as torch's Linear does, encoder.weight [F, D] and decoder.weight [D, F], or
 * as SAELens does, W_enc [D, F] and W_dec [F, D]. BatchTopK and Matryoshka have one threshold for all
 * latents; -1 stands for one that was never learnt, and then every positive value fires.
 */
#include "sae/dictionary_dir.h"

#include "sae/arch.h"
#include "sae/arrays.h"
#include "sae/dictionary_config.h"
#include "sae/numbers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SLOTS = 3 + SAE_MAX_VECTORS };

/* A tensor of the directory and the field of the model that it is. */
typedef struct {
    const char *name;
    int rank;
    size_t shape[2];
    int turned; /* the field has rows and columns the other way round */
    float *field;
} slot;

/* What the library calls the vector of a latent. */
static const char *vector_name(const sae_dictionary_class *c, const char *name) {
    static const char *const names[][2] = {{"b_gate", "gate_bias"}, {"b_mag", "mag_bias"}};
    for (int i = 0; i < 2; i++)
        if (strcmp(name, names[i][0]) == 0) return names[i][1];
    return c->linear && strcmp(name, "b_enc") == 0 ? "encoder.bias" : name;
}

/* The tensors of the class; returns how many. */
static int slot_table(sae_model *s, const sae_dictionary_class *c, slot out[MAX_SLOTS]) {
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae;
    sae_vector vectors[SAE_MAX_VECTORS];
    int n = 0, n_vectors = sae_arch_of(s->cfg.architecture)->vectors(s, vectors);
    if (c->linear) {
        out[n++] = (slot){"encoder.weight", 2, {f, d}, 0, s->w_enc};
        out[n++] = (slot){"decoder.weight", 2, {d, f}, 1, s->w_dec};
    } else {
        out[n++] = (slot){"W_enc", 2, {d, f}, 1, s->w_enc};
        out[n++] = (slot){"W_dec", 2, {f, d}, 0, s->w_dec};
    }
    out[n++] = (slot){c->b_dec, 1, {d, 0}, 0, s->b_dec};
    for (int v = 0; v < n_vectors; v++) {
        int scalar = c->one_threshold && strcmp(vectors[v].name, "threshold") == 0;
        out[n++] = (slot){vector_name(c, vectors[v].name), !scalar, {scalar ? 0 : f, 0}, 0, *vectors[v].data};
    }
    return n;
}

/* ---- reading ---- */

static int check_shape(const sae_array *a, const slot *w, tn_err *e) {
    int fits = a->rank == w->rank;
    for (int i = 0; i < w->rank && fits; i++) fits = a->shape[i] == w->shape[i];
    if (fits) return TN_OK;
    return tn_fail(e, TN_ESHAPE, "tensor \"%s\" has not the shape that activation_dim and dict_size tell",
                   w->name);
}

static int require(const sae_arrays *file, const slot *w, const sae_array **out, tn_err *e) {
    *out = sae_arrays_find(file, w->name);
    if (!*out) return tn_fail(e, TN_EFORMAT, "tensor \"%s\" is missing", w->name);
    return check_shape(*out, w, e);
}

/* The k that top-k classes keep beside their weights, which config.json repeats. */
static int check_k(const sae_arrays *file, const sae_config *cfg, tn_err *e) {
    const sae_array *k = sae_arrays_find(file, "k");
    if (!k || cfg->architecture != SAE_TOPK) return TN_OK;
    if (k->count != 1 || (k->dtype != TN_I32 && k->dtype != TN_I64))
        return tn_fail(e, TN_ESHAPE, "tensor \"k\" is no whole number");
    uint64_t v = k->dtype == TN_I32 ? tn_load_u32(k->data) : tn_load_u64(k->data);
    if (v == (uint64_t)cfg->k) return TN_OK;
    return tn_fail(e, TN_EFORMAT, "tensor \"k\" is %lld, but config.json says %d", (long long)v, cfg->k);
}

static int read_slots(sae_model *s, const sae_dictionary_class *c, const sae_arrays *file, tn_err *e) {
    slot w[MAX_SLOTS];
    int n = slot_table(s, c, w), rc = check_k(file, &s->cfg, e);
    for (int i = 0; i < n && !rc; i++) {
        const sae_array *a;
        rc = require(file, &w[i], &a, e);
        if (!rc) rc = sae_array_read(a, w[i].field, w[i].turned, e);
        for (int j = 1; j < s->cfg.d_sae && w[i].rank == 0 && !rc; j++) w[i].field[j] = w[i].field[0];
    }
    for (size_t i = 0; i < sae_arrays_count(file) && !rc; i++) {
        const char *name = sae_arrays_at(file, i)->name;
        int expected = c->top_k && (strcmp(name, "k") == 0 || strcmp(name, "threshold") == 0 ||
                                    strcmp(name, "group_sizes") == 0);
        for (int j = 0; j < n; j++) expected |= strcmp(name, w[j].name) == 0;
        if (!expected) rc = tn_fail(e, TN_EFORMAT, "unexpected tensor \"%.80s\" in %s", name, c->name);
    }
    return rc;
}

/* AutoEncoder's decoder columns get length 1 when the library loads it, unless they are near it. */
static void unit_decoder(sae_model *s) {
    size_t d = (size_t)s->cfg.d_in;
    for (size_t i = 0; i < (size_t)s->cfg.d_sae; i++) {
        double squares = 0;
        for (size_t k = 0; k < d; k++) squares += pow((double)s->w_dec[i * d + k], 2);
        if (fabs(sqrt(squares) - 1) <= 1e-5) continue;
        sae_fold_decoder_norm(s);
        return;
    }
}

static int read_file(sae_model *out, const sae_config *cfg, const sae_dictionary_class *c,
                     const sae_arrays *file, tn_err *e) {
    /* Shapes are checked before memory is taken: a false dict_size must not ask for gigabytes. */
    sae_model none = {.cfg = *cfg};
    slot w[MAX_SLOTS];
    const sae_array *a;
    slot_table(&none, c, w);
    int rc = require(file, &w[0], &a, e);
    if (!rc) rc = sae_new(out, cfg, e);
    if (!rc) rc = read_slots(out, c, file, e);
    if (!rc && strcmp(c->name, "AutoEncoder") == 0) unit_decoder(out);
    if (rc) sae_free(out);
    return rc;
}

int sae_dictionary_is(const char *dir) {
    char path[1024];
    if (tn_path_join(path, sizeof path, dir, "cfg.json", NULL) || tn_file_exists(path)) return 0;
    return !tn_path_join(path, sizeof path, dir, "config.json", NULL) && tn_file_exists(path);
}

int sae_dictionary_open(sae_model *out, const char *dir, tn_err *e) {
    memset(out, 0, sizeof *out);
    char path[1024];
    sae_config cfg;
    const sae_dictionary_class *c;
    sae_arrays *file = NULL;
    int rc = tn_path_join(path, sizeof path, dir, "config.json", e);
    if (!rc) rc = sae_dictionary_config_open(&cfg, &c, path, e);
    if (!rc) rc = tn_path_join(path, sizeof path, dir, "ae.pt", e);
    if (rc) return rc;
    int torch = tn_file_exists(path);
    if (!torch) rc = tn_path_join(path, sizeof path, dir, "ae.safetensors", e);
    if (!rc) rc = torch ? sae_arrays_open_torch(&file, path, e) : sae_arrays_open_safetensors(&file, path, e);
    if (rc) return rc;
    rc = read_file(out, &cfg, c, file, e);
    sae_arrays_close(file);
    return rc ? tn_fail_in(e, rc, path) : TN_OK;
}

/* ---- writing ---- */

/* Copies the latents' vectors into room [vectors, F] and, where the class disagrees with the SAE about b_dec,
 * moves W_enc · b_dec into the biases:
 *
 *     W_enc · (x - b_dec) + b = W_enc · x + (b - W_enc · b_dec)
 */
static void move_b_dec(sae_model *view, int apply, float *room) {
    size_t d = (size_t)view->cfg.d_in, f = (size_t)view->cfg.d_sae;
    sae_vector vectors[SAE_MAX_VECTORS];
    int n = sae_arch_of(view->cfg.architecture)->vectors(view, vectors);
    for (int v = 0; v < n; v++) {
        memcpy(room + (size_t)v * f, *vectors[v].data, f * sizeof *room);
        *vectors[v].data = room + (size_t)v * f;
    }
    if (apply == view->cfg.apply_b_dec_to_input) return;
    for (size_t i = 0; i < f; i++) {
        double shift = 0;
        for (size_t k = 0; k < d; k++) shift += (double)view->w_enc[i * d + k] * (double)view->b_dec[k];
        if (!apply) shift = -shift;
        if (view->b_enc) view->b_enc[i] += (float)shift;
        if (view->b_gate) view->b_gate[i] += (float)shift;
        if (view->b_mag) view->b_mag[i] += (float)(shift * exp((double)view->r_mag[i]));
    }
}

static void write_slot(tn_st_writer *w, const slot *from, float *turned) {
    size_t count = from->shape[0] * (from->rank == 2 ? from->shape[1] : 1);
    if (from->turned)
        tn_transpose(tn_exec_make(NULL, 1), turned, from->field, from->shape[1], from->shape[0],
                     from->shape[0]);
    sae_write_floats(w, TN_F32, from->turned ? turned : from->field, count);
}

static int save_weights(sae_model *view, const sae_dictionary_class *c, const char *path, float *turned,
                        tn_err *e) {
    slot w[MAX_SLOTS];
    tn_tensor_spec specs[MAX_SLOTS + 2];
    int n = slot_table(view, c, w), n_specs = n;
    for (int i = 0; i < n; i++)
        specs[i] = (tn_tensor_spec){w[i].name, TN_F32, w[i].rank, {w[i].shape[0], w[i].shape[1]}};
    if (c->top_k) {
        specs[n_specs++] = (tn_tensor_spec){"k", TN_I32, 0, {0}};
        specs[n_specs++] = (tn_tensor_spec){"threshold", TN_F32, 0, {0}};
    }
    tn_st_writer *writer;
    int rc = tn_st_create(&writer, path, specs, (size_t)n_specs, NULL, 0, e);
    if (rc) return rc;
    for (int i = 0; i < n; i++) write_slot(writer, &w[i], turned);
    if (c->top_k) {
        float never = -1;
        sae_write_ints(writer, &view->cfg.k, 1);
        sae_write_floats(writer, TN_F32, &never, 1);
    }
    return tn_st_finish(writer, e);
}

int sae_dictionary_save(const sae_model *s, const char *dir, const char *note, tn_err *e) {
    const sae_dictionary_class *c = sae_dictionary_class_for(&s->cfg);
    size_t f = (size_t)s->cfg.d_sae, matrix = f * (size_t)s->cfg.d_in;
    char path[1024];
    int rc = tn_make_dirs(dir, e);
    if (!rc) rc = tn_path_join(path, sizeof path, dir, "ae.safetensors", e);
    if (rc) return rc;
    float *room = malloc((matrix + SAE_MAX_VECTORS * f) * sizeof *room);
    if (!room) return tn_fail(e, TN_ENOMEM, "%s: no memory for the matrices", path);
    sae_model view = *s; /* with vectors of its own */
    move_b_dec(&view, c->apply_b_dec_to_input, room + matrix);
    rc = save_weights(&view, c, path, room, e);
    free(room);
    if (!rc) rc = tn_path_join(path, sizeof path, dir, "config.json", e);
    if (rc) return rc;
    tn_buf json = TN_BUF_INIT;
    sae_dictionary_config_write(s, c, note, &json);
    rc = json.failed ? tn_fail(e, TN_ENOMEM, "%s: no memory", path)
                     : tn_write_file(path, json.data, json.len, e);
    tn_buf_free(&json);
    return rc;
}
