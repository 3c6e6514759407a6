/* The zip directory of zip_store.h, read from its end: end record -> list of members -> a member's bytes. */
#include "sae/zip_store.h"

#include "tensor/base.h"
#include "tensor/dtype.h"

#include <string.h>

/* Sizes of the fixed parts of the records, and the marks they begin with. */
enum { END_BYTES = 22, END64_BYTES = 56, LOCATOR_BYTES = 20, ENTRY_BYTES = 46, LOCAL_BYTES = 30 };
#define END_MARK 0x06054b50u
#define END64_MARK 0x06064b50u
#define LOCATOR_MARK 0x07064b50u
#define ENTRY_MARK 0x02014b50u
#define LOCAL_MARK 0x04034b50u
#define IN_ZIP64 0xffffffffu /* a 32-bit field whose value stands in the zip64 record instead */

/* n bytes at `at` lie in the archive. */
static int inside(const sae_zip *z, uint64_t at, uint64_t n) {
    return at <= z->size && n <= z->size - at;
}

static int damaged(tn_err *e, const char *what) {
    return tn_fail(e, TN_EFORMAT, "not a sound zip archive: %s", what);
}

/* The end record is the last in the file, but for a comment whose length it tells. */
static int find_end(const sae_zip *z, size_t *at) {
    for (size_t comment = 0; comment <= 0xffff && comment + END_BYTES <= z->size; comment++) {
        *at = z->size - END_BYTES - comment;
        if (tn_load_u32(z->data + *at) == END_MARK && tn_load_u16(z->data + *at + 20) == comment) return 1;
    }
    return 0;
}

int sae_zip_open(sae_zip *out, const void *data, size_t size, tn_err *e) {
    *out = (sae_zip){.data = data, .size = size};
    size_t at;
    if (size < END_BYTES || !find_end(out, &at)) return damaged(e, "it has no end record");
    uint64_t bytes = tn_load_u32(out->data + at + 12), directory = tn_load_u32(out->data + at + 16);
    int wide = at >= LOCATOR_BYTES && tn_load_u32(out->data + at - LOCATOR_BYTES) == LOCATOR_MARK;
    if (wide) {
        uint64_t end64 = tn_load_u64(out->data + at - LOCATOR_BYTES + 8);
        if (!inside(out, end64, END64_BYTES) || tn_load_u32(out->data + end64) != END64_MARK)
            return damaged(e, "its zip64 end record is not where it should be");
        bytes = tn_load_u64(out->data + end64 + 40);
        directory = tn_load_u64(out->data + end64 + 48);
    }
    if (!inside(out, directory, bytes)) return damaged(e, "its list of members lies outside of the file");
    out->directory = (size_t)directory;
    out->end = (size_t)(directory + bytes);
    return TN_OK;
}

/* One line of the list of members. */
typedef struct {
    const char *name;
    size_t name_len, next; /* offset of the line after it */
    unsigned flags, method;
    uint64_t packed, size, local;
} entry;

/* Replaces the values that did not fit into 32 bits: the zip64 field holds just those, in this order. */
static int read_zip64(entry *m, const unsigned char *extra, size_t len) {
    uint64_t *wide[] = {&m->size, &m->packed, &m->local};
    for (size_t at = 0; len - at >= 4;) {
        size_t field = tn_load_u16(extra + at + 2), from = at + 4;
        if (field > len - from) return 0;
        if (tn_load_u16(extra + at) != 1) {
            at = from + field;
            continue;
        }
        for (int i = 0; i < 3; i++) {
            if (*wide[i] != IN_ZIP64) continue;
            if (field < 8) return 0;
            *wide[i] = tn_load_u64(extra + from);
            from += 8;
            field -= 8;
        }
        return 1;
    }
    return m->size != IN_ZIP64 && m->packed != IN_ZIP64 && m->local != IN_ZIP64;
}

static int read_entry(const sae_zip *z, size_t at, entry *m, tn_err *e) {
    const unsigned char *p = z->data + at;
    if (z->end - at < ENTRY_BYTES || tn_load_u32(p) != ENTRY_MARK)
        return damaged(e, "its list of members is cut off");
    size_t name = tn_load_u16(p + 28), extra = tn_load_u16(p + 30), comment = tn_load_u16(p + 32);
    if (name + extra + comment > z->end - at - ENTRY_BYTES)
        return damaged(e, "its list of members is cut off");
    *m = (entry){.name = (const char *)p + ENTRY_BYTES,
                 .name_len = name,
                 .next = at + ENTRY_BYTES + name + extra + comment,
                 .flags = tn_load_u16(p + 8),
                 .method = tn_load_u16(p + 10),
                 .packed = tn_load_u32(p + 20),
                 .size = tn_load_u32(p + 24),
                 .local = tn_load_u32(p + 42)};
    if (!read_zip64(m, p + ENTRY_BYTES + name, extra))
        return damaged(e, "a member's zip64 sizes are missing");
    return TN_OK;
}

/* The bytes of a member lie behind a header of its own, whose name and extra field tell where they begin. */
static int take(const sae_zip *z, const entry *m, sae_zip_member *out, tn_err *e) {
    int len = m->name_len < 80 ? (int)m->name_len : 80;
    if (m->flags & 1) return tn_fail(e, TN_EUNSUP, "member \"%.*s\" is encrypted", len, m->name);
    if (m->method != 0 || m->packed != m->size)
        return tn_fail(e, TN_EUNSUP, "member \"%.*s\" is compressed, expected it stored as torch.save does",
                       len, m->name);
    if (!inside(z, m->local, LOCAL_BYTES) || tn_load_u32(z->data + m->local) != LOCAL_MARK)
        return damaged(e, "a member is not where the list says");
    uint64_t skip =
        (uint64_t)LOCAL_BYTES + tn_load_u16(z->data + m->local + 26) + tn_load_u16(z->data + m->local + 28);
    if (!inside(z, m->local + skip, m->size)) return damaged(e, "a member reaches past the end of the file");
    *out = (sae_zip_member){m->name, m->name_len, z->data + m->local + skip, (size_t)m->size};
    return TN_OK;
}

/* The member named head [head_len] tail, or ending in tail when head is NULL. */
static int find(const sae_zip *z, const char *head, size_t head_len, const char *tail, sae_zip_member *out,
                tn_err *e) {
    size_t tail_len = strlen(tail);
    entry m;
    for (size_t at = z->directory; at < z->end; at = m.next) {
        int rc = read_entry(z, at, &m, e);
        if (rc) return rc;
        if (m.name_len < tail_len || (head && m.name_len != head_len + tail_len)) continue;
        if (memcmp(m.name + m.name_len - tail_len, tail, tail_len) != 0) continue;
        if (head && memcmp(m.name, head, head_len) != 0) continue;
        return take(z, &m, out, e);
    }
    return tn_fail(e, TN_EFORMAT, "the archive has no member \"%.80s\"", tail);
}

int sae_zip_find_tail(const sae_zip *z, const char *tail, sae_zip_member *out, tn_err *e) {
    return find(z, NULL, 0, tail, out, e);
}

int sae_zip_find(const sae_zip *z, const char *folder, size_t folder_len, const char *tail,
                 sae_zip_member *out, tn_err *e) {
    return find(z, folder, folder_len, tail, out, e);
}
