/* The names of weight types: ours on the command line, PyTorch's in config.json. */
#include "convert/convert.h"

#include <string.h>

static const struct {
    const char *name, *torch_name;
    tn_dtype dtype;
} float_types[] = {
    {"f32", "float32", TN_F32},
    {"f16", "float16", TN_F16},
    {"bf16", "bfloat16", TN_BF16},
};
enum { N_FLOAT_TYPES = sizeof float_types / sizeof float_types[0] };

int convert_dtype_parse(tn_dtype *out, const char *name, tn_err *e) {
    for (int i = 0; i < N_FLOAT_TYPES; i++)
        if (strcmp(name, float_types[i].name) == 0) {
            *out = float_types[i].dtype;
            return TN_OK;
        }
    return tn_fail(e, TN_EARG, "unknown type \"%s\"; f32, f16 and bf16 are known", name);
}

const char *convert_dtype_torch_name(tn_dtype t) {
    for (int i = 0; i < N_FLOAT_TYPES; i++)
        if (float_types[i].dtype == t) return float_types[i].torch_name;
    return "unknown";
}
