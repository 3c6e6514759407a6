/* Finding the note of a training (note.h). */
#include "sae/note.h"

#include "sae/dictionary_dir.h"
#include "tensor/json.h"
#include "tensor/os.h"

int sae_note_read(tn_buf *out, const char *dir, tn_err *e) {
    char path[1024];
    int theirs = sae_dictionary_is(dir);
    tn_map map;
    tn_json note;
    const tn_json_path where = {theirs ? NULL : "metadata", "scalpel_training"};
    int rc = tn_path_join(path, sizeof path, dir, theirs ? "config.json" : "cfg.json", e);
    if (!rc) rc = tn_map_file(&map, path, e);
    if (rc) return rc;
    rc = tn_json_parse_members(&note, &where, 1, map.data ? map.data : "", map.size, e);
    if (!rc && note.kind == TN_JSON_OBJECT) tn_buf_add(out, note.text, note.len);
    tn_unmap_file(&map);
    if (rc) return tn_fail_in(e, rc, path);
    return out->failed ? tn_fail(e, TN_ENOMEM, "%s: no memory", path) : TN_OK;
}
