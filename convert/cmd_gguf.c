/* convert gguf: a GGUF file becomes a Hugging Face directory. */
#include "convert/commands.h"

static const char summary[] =
    "Imports a GGUF file of the llama or qwen2 architecture: weights, configuration, tokenizer and chat\n"
    "template. Reads F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K.\n"
    "Without -t, F16 and BF16 files keep their type and quantised ones become f32, which holds their values\n"
    "exactly; bf16 halves the size and rounds to 8 significant bits.\n"
    "example: convert gguf model.gguf -o model-dir";

int cmd_gguf(int argc, char **argv) {
    const char *dir = NULL, *type = NULL, *file = NULL;
    int threads = 0, n = 0;
    uint64_t seed = 0;
    const cli_option options[] = {
        {"-o", "--output", CLI_STRING, &dir, "DIR", "directory to write", 1},
        {"-t", "--type", CLI_STRING, &type, "TYPE", "f32, f16 or bf16 (default: what loses nothing)", 0},
        CMD_THREADS(threads),
        CMD_SEED(seed),
        {0},
    };
    int leave = cli_parse("convert", "gguf", summary, options, argc, argv, &file, 1, &n);
    if (leave >= 0) return leave;
    if (n == 0) return cli_usage_error("convert", "gguf", "the GGUF file is missing");

    tn_err e = {0};
    convert_opts o = {.type.dtype = CONVERT_AS_STORED, .threads = threads};
    if (type && convert_dtype_parse(&o.type.dtype, type, &e) != TN_OK) return cli_error("convert", &e);
    return cmd_convert(convert_gguf, file, dir, o);
}
