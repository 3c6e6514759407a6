/* The stack machine of pickle.h (opcodes: Python's Lib/pickletools.py).
 *
 * What torch.save writes for {"b": tensor}, in words: an empty dict; mark; the string "b"; the function
 * torch._utils._rebuild_tensor_v2; a tuple of a storage (a persistent id: tuple of "storage", its type, key,
 * device and length), offset, sizes, strides, a bool and an empty OrderedDict; REDUCE, which calls the
 * function; SETITEMS, which puts all pairs since the mark into the dict; STOP.
 *
 * A tuple's parts lie in one pool where later opcodes only append, so a tuple is two numbers and copying a
 * value costs the same whatever it holds.
 */
#include "sae/pickle.h"

#include <stdlib.h>
#include <string.h>

enum { STACK = 1024, MEMO = 8192, POOL = 16384, PAIRS = 1024 };

typedef enum { NOTHING, MARK, NUMBER, TEXT, TUPLE, NAME, STORAGE, TENSOR, DICT } kind;

/* What a pickle may name. Storages come first, in the order of their types below. */
typedef enum {
    FLOAT_STORAGE,
    DOUBLE_STORAGE,
    HALF_STORAGE,
    BFLOAT16_STORAGE,
    LONG_STORAGE,
    INT_STORAGE,
    ORDERED_DICT,
    REBUILD_TENSOR,
    REBUILD_PARAMETER,
    NAMES
} known_name;

static const struct {
    const char *name;
    tn_dtype dtype;
} known[NAMES] = {
    {"torch FloatStorage", TN_F32},
    {"torch DoubleStorage", TN_F64},
    {"torch HalfStorage", TN_F16},
    {"torch BFloat16Storage", TN_BF16},
    {"torch LongStorage", TN_I64},
    {"torch IntStorage", TN_I32},
    {"collections OrderedDict", TN_DTYPE_COUNT},
    {"torch._utils _rebuild_tensor_v2", TN_DTYPE_COUNT},
    {"torch._utils _rebuild_parameter", TN_DTYPE_COUNT},
};

typedef struct {
    kind kind;
    int64_t number;   /* NUMBER; NAME: which; STORAGE: which name its type is; TENSOR, DICT: index */
    size_t from, len; /* TEXT, and a STORAGE's key: bytes of the pickle. TUPLE: parts in the pool */
} value;

typedef struct {
    int64_t dict;
    value key, item;
} pair;

typedef struct {
    const unsigned char *data;
    size_t size, at;
    tn_err *e;
    size_t depth, pooled, n_pairs, n_tensors;
    int64_t n_dicts;
    value stack[STACK], memo[MEMO], pool[POOL];
    pair pairs[PAIRS];
    sae_pickled tensors[SAE_PICKLE_TENSORS];
} machine;

static int bad(machine *m, const char *what) {
    return tn_fail(m->e, TN_EFORMAT, "no pickle of tensors: %s at byte %zu", what, m->at);
}

/* The next n bytes, or NULL. */
static const unsigned char *take(machine *m, size_t n) {
    if (n > m->size - m->at) return NULL;
    m->at += n;
    return m->data + m->at - n;
}

static int push(machine *m, value v) {
    if (m->depth == STACK) return bad(m, "too much is nested");
    m->stack[m->depth++] = v;
    return TN_OK;
}

/* The topmost value, taken off; a mark only comes off with what lies above it. */
static int pop(machine *m, value *out) {
    *out = (value){0};
    if (m->depth == 0 || m->stack[m->depth - 1].kind == MARK) return bad(m, "a value is missing");
    *out = m->stack[--m->depth];
    return TN_OK;
}

/* Index of the first value above the topmost mark, or 0 when there is none (a mark lies below it). */
static size_t above_mark(const machine *m) {
    for (size_t i = m->depth; i-- > 0;)
        if (m->stack[i].kind == MARK) return i + 1;
    return 0;
}

/* ---- tuples ---- */

/* Makes the values from stack place `from` on a tuple, which takes their place at `to`. */
static int make_tuple(machine *m, size_t from, size_t to) {
    size_t n = m->depth - from;
    if (n > POOL - m->pooled) return bad(m, "there are too many tuples");
    memcpy(m->pool + m->pooled, m->stack + from, n * sizeof *m->pool);
    m->depth = to;
    m->pooled += n;
    return push(m, (value){.kind = TUPLE, .from = m->pooled - n, .len = n});
}

static int tuple_of_last(machine *m, size_t n) {
    if (m->depth < n) return bad(m, "a value is missing");
    for (size_t i = m->depth - n; i < m->depth; i++)
        if (m->stack[i].kind == MARK) return bad(m, "a value is missing");
    return make_tuple(m, m->depth - n, m->depth - n);
}

/* Part i of a tuple when it has one of this kind, else NULL. */
static const value *part(const machine *m, const value *tuple, size_t i, kind k) {
    if (i >= tuple->len || m->pool[tuple->from + i].kind != k) return NULL;
    return &m->pool[tuple->from + i];
}

static int is_text(const machine *m, const value *v, const char *s) {
    return v->len == strlen(s) && memcmp(m->data + v->from, s, v->len) == 0;
}

/* A short text with its NUL, which must fit in cap bytes and hold none of its own. */
static int copy_text(machine *m, const value *v, char *dst, size_t cap) {
    if (v->len >= cap || memchr(m->data + v->from, 0, v->len)) return bad(m, "a name is too long");
    memcpy(dst, m->data + v->from, v->len);
    dst[v->len] = '\0';
    return TN_OK;
}

/* ---- what the opcodes do that make objects ---- */

static int push_name(machine *m) {
    const unsigned char *text = m->data + m->at, *module_end, *end;
    size_t left = m->size - m->at;
    module_end = memchr(text, '\n', left);
    end = module_end ? memchr(module_end + 1, '\n', left - (size_t)(module_end + 1 - text)) : NULL;
    if (!end) return bad(m, "a name is cut off");
    size_t module_len = (size_t)(module_end - text), len = (size_t)(end - text);
    m->at += len + 1;
    for (int i = 0; i < NAMES; i++) {
        const char *name = known[i].name;
        if (strlen(name) != len || name[module_len] != ' ') continue;
        if (memcmp(name, text, module_len) == 0 &&
            memcmp(name + module_len + 1, module_end + 1, len - module_len - 1) == 0)
            return push(m, (value){.kind = NAME, .number = i});
    }
    return tn_fail(m->e, TN_EUNSUP, "the pickle names %.*s.%.*s, which no dictionary of tensors needs",
                   (int)(module_len < 60 ? module_len : 60), (const char *)text,
                   (int)(len - module_len - 1 < 60 ? len - module_len - 1 : 60),
                   (const char *)module_end + 1);
}

/* A persistent id: ("storage", type, key, device, length). */
static int push_storage(machine *m) {
    value id;
    int rc = pop(m, &id);
    if (rc) return rc;
    if (id.kind != TUPLE) return bad(m, "a storage is no tuple");
    const value *tag = part(m, &id, 0, TEXT), *type = part(m, &id, 1, NAME), *key = part(m, &id, 2, TEXT);
    if (!tag || !is_text(m, tag, "storage") || !type || type->number > INT_STORAGE || !key)
        return bad(m, "a storage is not described as torch.save does");
    return push(m, (value){.kind = STORAGE, .number = type->number, .from = key->from, .len = key->len});
}

/* Numbers of a tuple, none of them negative. */
static int copy_sizes(machine *m, const value *tuple, size_t *dst) {
    for (size_t i = 0; i < tuple->len; i++) {
        const value *v = part(m, tuple, i, NUMBER);
        if (!v || v->number < 0 || (uint64_t)v->number > SIZE_MAX) return bad(m, "a tensor's shape is wrong");
        dst[i] = (size_t)v->number;
    }
    return TN_OK;
}

/* _rebuild_tensor_v2(storage, offset, sizes, strides, requires_grad, hooks …) */
static int push_tensor(machine *m, const value *args) {
    const value *storage = part(m, args, 0, STORAGE), *offset = part(m, args, 1, NUMBER),
                *shape = part(m, args, 2, TUPLE), *stride = part(m, args, 3, TUPLE);
    if (!storage || !offset || offset->number < 0 || (uint64_t)offset->number > SIZE_MAX || !shape ||
        !stride || shape->len > SAE_PICKLE_RANK || stride->len != shape->len)
        return bad(m, "a tensor is not described as torch.save does");
    if (m->n_tensors == SAE_PICKLE_TENSORS) return bad(m, "there are too many tensors");
    sae_pickled *t = &m->tensors[m->n_tensors];
    *t = (sae_pickled){
        .dtype = known[storage->number].dtype, .rank = (int)shape->len, .offset = (size_t)offset->number};
    int rc = copy_text(m, storage, t->storage, sizeof t->storage);
    if (!rc) rc = copy_sizes(m, shape, t->shape);
    if (!rc) rc = copy_sizes(m, stride, t->stride);
    if (rc) return rc;
    return push(m, (value){.kind = TENSOR, .number = (int64_t)m->n_tensors++});
}

static int reduce(machine *m) {
    value args, fn;
    int rc = pop(m, &args);
    if (!rc) rc = pop(m, &fn);
    if (rc) return rc;
    if (fn.kind != NAME || args.kind != TUPLE) return bad(m, "a call of something that is no function");
    if (fn.number == REBUILD_TENSOR) return push_tensor(m, &args);
    if (fn.number == ORDERED_DICT && args.len == 0)
        return push(m, (value){.kind = DICT, .number = m->n_dicts++});
    const value *inner = part(m, &args, 0, TENSOR);
    if (fn.number == REBUILD_PARAMETER && inner) return push(m, *inner);
    return bad(m, "a call that makes no tensor");
}

/* Puts the pairs from stack place `from` on into the dict below `to`. */
static int set_items(machine *m, size_t from, size_t to) {
    if (to == 0 || m->stack[to - 1].kind != DICT || (m->depth - from) % 2) return bad(m, "a broken dict");
    for (size_t i = from; i < m->depth; i += 2) {
        if (m->n_pairs == PAIRS) return bad(m, "the dicts hold too much");
        m->pairs[m->n_pairs++] = (pair){m->stack[to - 1].number, m->stack[i], m->stack[i + 1]};
    }
    m->depth = to;
    return TN_OK;
}

/* Attributes of an object (a state dict's _metadata) come off the stack; nothing here needs them. */
static int build(machine *m) {
    value state;
    int rc = pop(m, &state);
    if (!rc && (m->depth == 0 || m->stack[m->depth - 1].kind != DICT)) rc = bad(m, "attributes of no dict");
    return rc;
}

static int remember(machine *m, size_t at) {
    if (at >= MEMO) return bad(m, "the memo is too long");
    if (m->depth == 0 || m->stack[m->depth - 1].kind == MARK) return bad(m, "a value is missing");
    m->memo[at] = m->stack[m->depth - 1];
    return TN_OK;
}

static int recall(machine *m, size_t at) {
    if (at >= MEMO || m->memo[at].kind == NOTHING) return bad(m, "the memo has no such entry");
    return push(m, m->memo[at]);
}

static int push_text(machine *m, size_t len) {
    size_t from = m->at;
    if (!take(m, len)) return bad(m, "a text is cut off");
    return push(m, (value){.kind = TEXT, .from = from, .len = len});
}

static int push_number(machine *m, int64_t v) {
    return push(m, (value){.kind = NUMBER, .number = v});
}

/* LONG1: little-endian two's complement of as many bytes as the first one says. */
static int push_long(machine *m) {
    const unsigned char *count = take(m, 1), *bytes = count ? take(m, *count) : NULL;
    if (!bytes || *count > 8) return bad(m, "a number is too long");
    uint64_t v = *count && bytes[*count - 1] & 0x80 ? UINT64_MAX : 0;
    for (int i = *count; i-- > 0;) v = v << 8 | bytes[i];
    if (v > INT64_MAX) return bad(m, "a negative number");
    return push_number(m, (int64_t)v);
}

/* ---- the machine ---- */

/* Runs one opcode that is followed by `p`, its argument of a fixed length. */
static int run_opcode(machine *m, unsigned char op, const unsigned char *p) {
    size_t above = op == 't' || op == 'u' ? above_mark(m) : 1;
    if (above == 0) return bad(m, "a mark is missing");
    switch (op) {
    case 0x80:
        return p[0] == 2 ? TN_OK : bad(m, "another protocol than 2");
    case '(':
        return push(m, (value){.kind = MARK});
    case '}':
        return push(m, (value){.kind = DICT, .number = m->n_dicts++});
    case ')':
        return make_tuple(m, m->depth, m->depth);
    case 't':
        return make_tuple(m, above, above - 1);
    case 0x85:
        return tuple_of_last(m, 1);
    case 0x86:
        return tuple_of_last(m, 2);
    case 0x87:
        return tuple_of_last(m, 3);
    case 'K':
        return push_number(m, p[0]);
    case 'M':
        return push_number(m, tn_load_u16(p));
    case 'J':
        return push_number(m, (int32_t)tn_load_u32(p));
    case 0x8a:
        return push_long(m);
    case 0x88:
        return push_number(m, 1);
    case 0x89:
        return push_number(m, 0);
    case 'X':
        return push_text(m, tn_load_u32(p));
    case 'q':
        return remember(m, p[0]);
    case 'r':
        return remember(m, tn_load_u32(p));
    case 'h':
        return recall(m, p[0]);
    case 'j':
        return recall(m, tn_load_u32(p));
    case 'c':
        return push_name(m);
    case 'Q':
        return push_storage(m);
    case 'R':
        return reduce(m);
    case 's':
        return m->depth < 3 ? bad(m, "a broken dict") : set_items(m, m->depth - 2, m->depth - 2);
    case 'u':
        return set_items(m, above, above - 1);
    case 'b':
        return build(m);
    }
    return tn_fail(m->e, TN_EUNSUP,
                   "the pickle has opcode 0x%02x at byte %zu: more than a dictionary of tensors", op, m->at);
}

/* Bytes of an opcode's argument whose length is fixed. */
static size_t argument(unsigned char op) {
    switch (op) {
    case 0x80:
    case 'K':
    case 'q':
    case 'h':
        return 1;
    case 'M':
        return 2;
    case 'J':
    case 'X':
    case 'r':
    case 'j':
        return 4;
    }
    return 0;
}

/* The pairs of the dict that was left on the stack. */
static int results(machine *m, sae_pickled *out, size_t *n) {
    if (m->depth != 1 || m->stack[0].kind != DICT) return bad(m, "it ends without a dict");
    *n = 0;
    for (size_t i = 0; i < m->n_pairs; i++) {
        const pair *p = &m->pairs[i];
        if (p->dict != m->stack[0].number) continue;
        if (p->key.kind != TEXT || p->item.kind != TENSOR)
            return tn_fail(m->e, TN_EUNSUP, "the dictionary holds more than tensors: a checkpoint of a run?");
        if (*n == SAE_PICKLE_TENSORS) return bad(m, "there are too many tensors");
        sae_pickled *t = &out[(*n)++];
        *t = m->tensors[p->item.number];
        int rc = copy_text(m, &p->key, t->name, sizeof t->name);
        if (rc) return rc;
    }
    return TN_OK;
}

int sae_pickle_tensors(const void *data, size_t size, sae_pickled *out, size_t *n, tn_err *e) {
    machine *m = calloc(1, sizeof *m);
    if (!m) return tn_fail(e, TN_ENOMEM, "no memory to read a pickle");
    m->data = data;
    m->size = size;
    m->e = e;
    int rc = TN_OK, stopped = 0;
    while (!rc && !stopped) {
        const unsigned char *op = take(m, 1), *p = op ? take(m, argument(*op)) : NULL;
        if (!p)
            rc = bad(m, "it is cut off");
        else if (*op == '.')
            stopped = 1;
        else
            rc = run_opcode(m, *op, p);
    }
    if (!rc) rc = results(m, out, n);
    free(m);
    return rc;
}
