/* The SAELens directory: cfg.json (sae_config.h) and sae_weights.safetensors, as SAE.load_from_disk of
 * SAELens 6 reads it. Tensors: W_enc [D, F], W_dec [F, D], b_dec [D] and the architecture's vectors [F].
 *
 * Loading is strict: a missing, extra or transposed tensor is an error that names it.
 */
#include "sae/arch.h"
#include "sae/dictionary_dir.h"
#include "sae/numbers.h"
#include "sae/sae_config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WEIGHTS = 3 + SAE_MAX_VECTORS };

typedef struct {
    const char *name;
    int rank;
    size_t shape[2];
    float *dst;
} weight;

/* The tensors of the SAE; returns how many. W_enc is [D, F] in the file and [F, D] in the model. */
static int weight_table(sae_model *s, weight w[MAX_WEIGHTS]) {
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae;
    sae_vector vectors[SAE_MAX_VECTORS];
    int n = 0, n_vectors = sae_arch_of(s->cfg.architecture)->vectors(s, vectors);
    w[n++] = (weight){"W_dec", 2, {f, d}, s->w_dec};
    w[n++] = (weight){"W_enc", 2, {d, f}, s->w_enc};
    w[n++] = (weight){"b_dec", 1, {d, 0}, s->b_dec};
    for (int i = 0; i < n_vectors; i++) w[n++] = (weight){vectors[i].name, 1, {f, 0}, *vectors[i].data};
    return n;
}

static int is_float(tn_dtype t) {
    return t == TN_F64 || t == TN_F32 || t == TN_F16 || t == TN_BF16;
}

/* Takes all tensors; `turned` [D, F] holds W_enc as stored. */
static int read_weights(sae_model *s, const tn_safetensors *file, const char *path, float *turned,
                        tn_err *e) {
    weight w[MAX_WEIGHTS];
    int n = weight_table(s, w);
    for (int i = 0; i < n; i++) {
        const tn_tensor *t;
        int rc = tn_st_require(file, w[i].name, w[i].rank, w[i].shape, &t, e);
        if (rc) return rc;
        if (!is_float(t->dtype))
            return tn_fail(e, TN_ESHAPE, "%s: tensor \"%s\" has dtype %s, expected F32, F16, BF16 or F64",
                           path, w[i].name, tn_dtype_name(t->dtype));
        float *dst = w[i].dst == s->w_enc ? turned : w[i].dst;
        if ((rc = tn_to_f32(dst, t->data, t->dtype, t->count)))
            return tn_fail(e, rc, "%s: tensor \"%s\"", path, w[i].name);
        for (size_t k = 0; k < t->count; k++)
            if (!isfinite(dst[k]))
                return tn_fail(e, TN_ENUM, "%s: tensor \"%s\" has a number that is not finite", path,
                               w[i].name);
    }
    for (size_t i = 0; i < tn_st_count(file); i++) {
        const char *name = tn_st_at(file, i)->name;
        int known = 0;
        for (int j = 0; j < n; j++) known |= strcmp(name, w[j].name) == 0;
        if (!known)
            return tn_fail(e, TN_EFORMAT, "%s: unexpected tensor \"%s\" in a %s SAE", path, name,
                           sae_architecture_name(s->cfg.architecture));
    }
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae;
    tn_transpose(tn_exec_make(NULL, 1), s->w_enc, turned, d, f, f);
    return TN_OK;
}

int sae_open_dir(sae_model *out, const char *dir, tn_err *e) {
    if (sae_dictionary_is(dir)) return sae_dictionary_open(out, dir, e);
    memset(out, 0, sizeof *out);
    char path[1024];
    sae_config cfg;
    tn_safetensors *file = NULL;
    float *turned = NULL;
    int rc = tn_path_join(path, sizeof path, dir, "cfg.json", e);
    if (!rc) rc = sae_config_open(&cfg, path, e);
    if (!rc) rc = tn_path_join(path, sizeof path, dir, "sae_weights.safetensors", e);
    if (!rc) rc = tn_st_open_file(&file, path, e);
    if (rc) return rc;
    /* Shapes are checked before memory is taken: a false d_sae must not ask for gigabytes. */
    const tn_tensor *t;
    size_t shape[2] = {(size_t)cfg.d_in, (size_t)cfg.d_sae};
    rc = tn_st_require(file, "W_enc", 2, shape, &t, e);
    if (!rc) rc = sae_new(out, &cfg, e);
    if (!rc && !(turned = malloc(t->count * sizeof *turned)))
        rc = tn_fail(e, TN_ENOMEM, "%s: no memory for W_enc", path);
    if (!rc) rc = read_weights(out, file, path, turned, e);
    if (!rc && cfg.rescale_acts_by_decoder_norm) sae_fold_decoder_norm(out);
    if (rc) sae_free(out);
    free(turned);
    tn_st_close(file);
    return rc;
}

/* ---- writing ---- */

/* No SAE with a NaN or an infinity in it is ever written. */
static int check_weights(const sae_model *s, const char *path, tn_err *e) {
    sae_model view = *s; /* whose fields the table points at; nothing is changed */
    weight w[MAX_WEIGHTS];
    int n = weight_table(&view, w);
    for (int i = 0; i < n; i++) {
        size_t count = w[i].shape[0] * (w[i].rank == 2 ? w[i].shape[1] : 1);
        for (size_t k = 0; k < count; k++)
            if (!isfinite(w[i].dst[k]))
                return tn_fail(e, TN_ENUM, "%s: %s is not finite, nothing is written", path, w[i].name);
    }
    return TN_OK;
}

/* cfg_path is removed before the weights get their name: a run that is killed between the two files leaves no
 * SAE rather than new weights under an old configuration. */
static int save_weights(const sae_model *s, const char *path, const char *cfg_path, tn_err *e) {
    size_t d = (size_t)s->cfg.d_in, f = (size_t)s->cfg.d_sae;
    float *turned = malloc(d * f * sizeof *turned);
    if (!turned) return tn_fail(e, TN_ENOMEM, "%s: no memory for W_enc", path);
    tn_transpose(tn_exec_make(NULL, 1), turned, s->w_enc, f, d, d);
    sae_model view = *s; /* whose fields the table points at; nothing is changed */
    weight w[MAX_WEIGHTS];
    int n = weight_table(&view, w);
    tn_tensor_spec specs[MAX_WEIGHTS];
    for (int i = 0; i < n; i++)
        specs[i] = (tn_tensor_spec){w[i].name, TN_F32, w[i].rank, {w[i].shape[0], w[i].shape[1]}};
    tn_st_writer *writer;
    int rc = tn_st_create(&writer, path, specs, (size_t)n, NULL, 0, e);
    if (!rc) {
        for (int i = 0; i < n; i++)
            sae_write_floats(writer, TN_F32, w[i].dst == s->w_enc ? turned : w[i].dst,
                             w[i].shape[0] * (w[i].rank == 2 ? w[i].shape[1] : 1));
        tn_remove_file(cfg_path);
        rc = tn_st_finish(writer, e);
    }
    free(turned);
    return rc;
}

int sae_save_dir(const sae_model *s, const char *dir, const char *extra_metadata, tn_err *e) {
    char path[1024], weights[1024];
    int rc = tn_path_join(path, sizeof path, dir, "cfg.json", e);
    if (!rc) rc = tn_path_join(weights, sizeof weights, dir, "sae_weights.safetensors", e);
    if (!rc) rc = check_weights(s, weights, e);
    if (!rc) rc = tn_make_dirs(dir, e);
    if (!rc) rc = save_weights(s, weights, path, e);
    if (rc) return rc;
    tn_buf json = TN_BUF_INIT;
    sae_config_write(&s->cfg, extra_metadata, &json);
    rc = json.failed ? tn_fail(e, TN_ENOMEM, "%s: no memory", path)
                     : tn_write_file(path, json.data, json.len, e);
    tn_buf_free(&json);
    return rc;
}
