/* Writing a model's weights (weights_out.h).
 *
 * A file holds first the integers of its matrices, then their steps, then their scales, then the tensors that
 * stay floats, each part in the order of the input's names. So the integers, whose bytes are multiples of 64,
 * all start at such an address, and of a matrix only steps and scales wait in memory until it is their turn:
 * a tenth of the file or less.
 */
#include "convert/weights_out.h"

#include "convert/model_dir.h"
#include "convert/row_writer.h"
#include "tensor/mat_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Inputs begin … end-1 go into file number `index` of `count`. */
typedef struct {
    const tn_safetensors *in;
    const convert_opts *o;
    const char *dir;
    size_t begin, end, index, count;
} shard;

/* ---- Tensors ---- */

static int is_float(tn_dtype t) {
    return t == TN_F64 || t == TN_F32 || t == TN_F16 || t == TN_BF16;
}

int convert_check_floats(const tn_safetensors *in, const char *from, tn_err *e) {
    for (size_t i = 0; i < tn_st_count(in); i++) {
        const tn_tensor *t = tn_st_at(in, i);
        const size_t len = strlen(t->name);
        if (t->dtype == TN_U8 && len > 3 &&
            (!strcmp(t->name + len - 3, ".q8") || !strcmp(t->name + len - 3, ".q4")))
            return tn_fail(e, TN_EUNSUP,
                           "%s: is quantised already (tensor \"%s\"); start from the float weights", from,
                           t->name);
        if (!is_float(t->dtype))
            return tn_fail(e, TN_EUNSUP, "%s: tensor \"%s\" is %s; only float tensors can be rewritten", from,
                           t->name, tn_dtype_name(t->dtype));
    }
    return TN_OK;
}

/* A tensor as rows: the last dimension is a row, the others count them. */
static size_t row_length(const tn_tensor *t) {
    return t->rank > 0 ? t->shape[t->rank - 1] : 1;
}
static size_t row_count(const tn_tensor *t) {
    const size_t cols = row_length(t);
    return cols ? t->count / cols : 0;
}

typedef struct {
    const tn_safetensors *in;
    const tn_tensor *t;
} source;

/* Pages are given back whenever this many bytes were read, as far back as a slower thread may still have
 * been. */
#define PIECE ((size_t)1 << 22)
#define LOOK_BACK ((size_t)1 << 26)

static void read_row(const void *ctx, size_t row, float *x) {
    const source *s = ctx;
    const size_t cols = row_length(s->t), bytes = cols * tn_dtype_size(s->t->dtype);
    const unsigned char *data = s->t->data;
    const size_t begin = row * bytes, end = begin + bytes, back = end < LOOK_BACK ? 0 : end - LOOK_BACK;
    (void)tn_to_f32(x, data + begin, s->t->dtype, cols);
    if (begin / PIECE != end / PIECE) tn_st_release(s->in, data + back, end - back);
}

/* 8 or 4 when the tensor is quantised, 0 when it stays floats. */
static int bits_of(const tn_tensor *t, const convert_type *type) {
    if (!type->bits || t->rank != 2) return 0;
    return tn_mat_is_head(t->name) ? type->head_bits : type->bits;
}

/* Its columns that share a scale. */
static size_t group_of(const tn_tensor *t, const convert_type *type) {
    return tn_mat_is_head(t->name) ? type->head_group : type->group;
}

/* The type of a tensor that stays floats. F64 is nothing that the engine reads. */
static tn_dtype float_type(const tn_tensor *t, const convert_type *type) {
    if (!type->bits) return type->dtype;
    return t->dtype == TN_F64 ? TN_F32 : t->dtype;
}

/* Shapes of a quantised tensor; its size was counted when the plan was made. */
static tn_q_shapes shapes_of(const tn_tensor *t, const convert_type *type) {
    tn_q_shapes s = {{0}, {0}, {0}};
    (void)tn_q_shapes_of(&s, t->shape[0], t->shape[1], bits_of(t, type), group_of(t, type), NULL);
    return s;
}

/* Bytes it will have in the output, without its header. */
static int bytes_of(size_t *out, const tn_tensor *t, const convert_type *type, tn_err *e) {
    tn_q_shapes s;
    if (!bits_of(t, type)) {
        *out = t->count * tn_dtype_size(float_type(t, type));
        return TN_OK;
    }
    int rc = tn_q_shapes_of(&s, t->shape[0], t->shape[1], bits_of(t, type), group_of(t, type), e);
    if (rc == TN_OK)
        *out = s.data[0] * (s.data[1] * s.data[2] + s.steps[1] * s.steps[2] + s.scales[1] * s.scales[2] * 2);
    return rc;
}

/* ---- One file ---- */

/* The parts of a file. */
enum { INTEGERS, STEPS, SCALES, FLOATS, PARTS };

/* Bytes that a name of ours may be longer than the input's, its NUL included. */
enum { NAME_ROOM = 8 };

/* 1 when tensor t has something in this part. */
static int is_in(int part, const tn_tensor *t, const convert_type *type) {
    const int bits = bits_of(t, type);
    return part == FLOATS ? bits == 0 : part == STEPS ? bits == 4 : bits != 0;
}

/* Describes what t has in this part; `name` [cap] is room for a name that is not the input's. */
static void describe(tn_tensor_spec *spec, char *name, size_t cap, int part, const tn_tensor *t,
                     const convert_type *type) {
    if (part == FLOATS) {
        *spec = (tn_tensor_spec){.name = t->name, .dtype = float_type(t, type), .rank = t->rank};
        memcpy(spec->shape, t->shape, sizeof spec->shape);
        return;
    }
    const tn_q_shapes s = shapes_of(t, type);
    const char *const suffix[] = {tn_q_suffix(bits_of(t, type)), TN_Q_STEPS_SUFFIX, TN_Q_SCALES_SUFFIX};
    const tn_dtype dtype[] = {TN_U8, TN_I8, TN_BF16};
    const size_t *const shape[] = {s.data, s.steps, s.scales};
    snprintf(name, cap, "%s%s", t->name, suffix[part]);
    *spec = (tn_tensor_spec){.name = name, .dtype = dtype[part], .rank = 3};
    memcpy(spec->shape, shape[part], sizeof s.data);
}

/* One list of the file's tensors; *names holds the names that are new. Returns their number, 0 without
 * memory. */
static size_t make_specs(tn_tensor_spec **specs, char **names, const shard *f) {
    size_t n = 0, room = 1;
    for (size_t i = f->begin; i < f->end; i++)
        room += (PARTS - 1) * (strlen(tn_st_at(f->in, i)->name) + NAME_ROOM);
    *specs = calloc((PARTS - 1) * (f->end - f->begin) + 1, sizeof **specs);
    *names = malloc(room);
    if (!*specs || !*names) return 0;
    char *name = *names;
    for (int part = 0; part < PARTS; part++)
        for (size_t i = f->begin; i < f->end; i++) {
            const tn_tensor *t = tn_st_at(f->in, i);
            if (!is_in(part, t, &f->o->type)) continue;
            const size_t cap = strlen(t->name) + NAME_ROOM;
            describe(&(*specs)[n++], name, cap, part, t, &f->o->type);
            name += cap;
        }
    return n;
}

/* The bytes of the file's tensors, in the order of make_specs. */
static int write_tensors(convert_rows *w, const shard *f, tn_err *e) {
    const convert_type *type = &f->o->type;
    tn_buf steps = TN_BUF_INIT, scales = TN_BUF_INIT;
    int rc = TN_OK;
    for (size_t i = f->begin; rc == TN_OK && i < f->end; i++) {
        const source s = {f->in, tn_st_at(f->in, i)};
        if (is_in(INTEGERS, s.t, type))
            rc = convert_rows_quantize(w, s.t->name, bits_of(s.t, type), group_of(s.t, type), s.t->shape[0],
                                       s.t->shape[1], read_row, &s, &steps, &scales, e);
        tn_st_release(f->in, s.t->data, s.t->count * tn_dtype_size(s.t->dtype));
    }
    if (rc == TN_OK && (steps.failed || scales.failed))
        rc = tn_fail(e, TN_ENOMEM, "%s: no memory for the scales", f->dir);
    if (rc == TN_OK) {
        if (steps.len) convert_rows_append(w, steps.data, steps.len);
        convert_rows_append(w, scales.data, scales.len);
    }
    tn_buf_free(&steps);
    tn_buf_free(&scales);
    for (size_t i = f->begin; rc == TN_OK && i < f->end; i++) {
        const source s = {f->in, tn_st_at(f->in, i)};
        if (is_in(FLOATS, s.t, type))
            rc = convert_rows_write(w, s.t->name, float_type(s.t, type), row_count(s.t), row_length(s.t),
                                    read_row, &s, e);
        tn_st_release(f->in, s.t->data, s.t->count * tn_dtype_size(s.t->dtype));
    }
    return rc;
}

/* Writes the file; w carries the progress from file to file. */
static int write_shard(convert_rows *w, const shard *f, tn_err *e) {
    char path[4096], group[24], head_group[24];
    tn_tensor_spec *specs = NULL;
    char *names = NULL;
    snprintf(group, sizeof group, "%zu", f->o->type.group);
    snprintf(head_group, sizeof head_group, "%zu", f->o->type.head_group);
    const tn_pair metadata[] = {{"format", "pt"}, /* transformers asks for this one */
                                {TN_Q_GROUP_KEY, group},
                                {TN_Q_HEAD_GROUP_KEY, head_group}};
    int rc = model_dir_weights_path(f->dir, f->index, f->count, path, sizeof path, e);
    if (rc != TN_OK) return rc;
    const size_t n = make_specs(&specs, &names, f);
    if (n < f->end - f->begin)
        rc = tn_fail(e, TN_ENOMEM, "%s: no memory for the tensor list", path);
    else
        rc = tn_st_create(&w->out, path, specs, n, metadata, f->o->type.bits ? 3 : 1, e);
    free(specs);
    free(names);
    if (rc != TN_OK) return rc;
    rc = write_tensors(w, f, e);
    if (rc == TN_OK) return tn_st_finish(w->out, e);
    tn_st_abandon(w->out);
    return rc;
}

/* ---- All files ---- */

/* Where the files begin and end. */
typedef struct {
    size_t *begin; /* [count + 1] indices of inputs */
    size_t count;  /* >= 1 */
    size_t bytes;  /* of all tensors together */
} plan;

static int make_plan(plan *p, const tn_safetensors *in, const convert_opts *o, tn_err *e) {
    const size_t n = tn_st_count(in), most = o->shard_bytes ? o->shard_bytes : CONVERT_SHARD_BYTES;
    size_t filled = 0;
    *p = (plan){.begin = calloc(n + 2, sizeof *p->begin), .count = 1};
    if (!p->begin) return tn_fail(e, TN_ENOMEM, "no memory for the list of files");
    for (size_t i = 0; i < n; i++) {
        size_t bytes;
        int rc = bytes_of(&bytes, tn_st_at(in, i), &o->type, e);
        if (rc != TN_OK) return tn_fail_in(e, rc, tn_st_at(in, i)->name);
        if (filled && (bytes > most || filled > most - bytes)) {
            p->begin[p->count++] = i;
            filled = 0;
        }
        filled += bytes;
        p->bytes += bytes;
    }
    p->begin[p->count] = n;
    return TN_OK;
}

static int write_index(const plan *p, const tn_safetensors *in, const char *dir, const convert_type *type,
                       tn_err *e) {
    tn_buf text = TN_BUF_INIT;
    tn_json_out j = tn_json_writer(&text, 2);
    tn_json_begin_object(&j);
    tn_json_key(&j, "metadata");
    tn_json_begin_object(&j);
    tn_json_member_i64(&j, "total_size", (int64_t)p->bytes);
    tn_json_end_object(&j);
    tn_json_key(&j, "weight_map");
    tn_json_begin_object(&j);
    for (size_t s = 0; s < p->count; s++)
        for (size_t i = p->begin[s]; i < p->begin[s + 1]; i++) {
            const tn_tensor *t = tn_st_at(in, i);
            char file[MODEL_DIR_SHARD_NAME], name[512];
            tn_tensor_spec spec;
            model_dir_shard_name(file, s, p->count);
            for (int part = 0; part < PARTS; part++)
                if (is_in(part, t, type)) {
                    describe(&spec, name, sizeof name, part, t, type);
                    tn_json_member_text(&j, spec.name, file);
                }
        }
    tn_json_end_object(&j);
    tn_json_end_object(&j);
    tn_buf_putc(&text, '\n');
    int rc = model_dir_put(dir, "model.safetensors.index.json", &text, e);
    tn_buf_free(&text);
    return rc;
}

int convert_weights_out(const tn_safetensors *in, const char *dir, const convert_opts *o, tn_err *e) {
    plan p;
    int rc = make_plan(&p, in, o, e);
    convert_rows w = {.opts = o, .total = p.bytes};
    for (size_t s = 0; rc == TN_OK && s < p.count; s++) {
        const shard f = {in, o, dir, p.begin[s], p.begin[s + 1], s, p.count};
        rc = write_shard(&w, &f, e);
    }
    if (rc == TN_OK && p.count > 1) rc = write_index(&p, in, dir, &o->type, e);
    free(p.begin);
    return rc;
}
