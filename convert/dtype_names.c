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

/* Of quantised weights: columns that share a scale, and the bits of embedding and head. */
enum { GROUP8 = 64, GROUP4 = 128, HEAD_GROUP8 = 32, DEFAULT_HEAD_BITS = 8 };

int convert_dtype_parse(tn_dtype *out, const char *name, tn_err *e) {
    for (int i = 0; i < N_FLOAT_TYPES; i++)
        if (strcmp(name, float_types[i].name) == 0) {
            *out = float_types[i].dtype;
            return TN_OK;
        }
    return tn_fail(e, TN_EARG, "unknown type \"%s\"; f32, f16 and bf16 are known", name);
}

size_t convert_head_group(int bits) {
    return bits == 8 ? HEAD_GROUP8 : GROUP4;
}

int convert_type_parse(convert_type *out, const char *name, tn_err *e) {
    *out = (convert_type){.dtype = CONVERT_AS_STORED};
    if (strcmp(name, "q8") == 0 || strcmp(name, "q4") == 0) {
        out->bits = name[1] - '0';
        out->head_bits = DEFAULT_HEAD_BITS;
        out->group = out->bits == 8 ? GROUP8 : GROUP4;
        out->head_group = convert_head_group(out->head_bits);
        return TN_OK;
    }
    if (convert_dtype_parse(&out->dtype, name, e) == TN_OK) return TN_OK;
    return tn_fail(e, TN_EARG, "unknown type \"%s\"; f32, f16, bf16, q8 and q4 are known", name);
}

const char *convert_dtype_torch_name(tn_dtype t) {
    for (int i = 0; i < N_FLOAT_TYPES; i++)
        if (float_types[i].dtype == t) return float_types[i].torch_name;
    return "unknown";
}
