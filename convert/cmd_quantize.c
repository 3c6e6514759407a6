/* convert quantize: the same model with weights of another type. */
#include "convert/commands.h"

static const char summary[] = "Rewrites all weights of a model directory (one file or shards) as one "
                              "model.safetensors of the given type\n"
                              "and copies tokenizer and generation settings. Rounds to nearest, ties to "
                              "even; values beyond the range of\n"
                              "f16 are an error.\n"
                              "example: convert quantize -m model-dir -t bf16 -o model-bf16";

int cmd_quantize(int argc, char **argv) {
    const char *from = NULL, *to = NULL, *type = NULL;
    int threads = 0, n = 0;
    uint64_t seed = 0;
    const cli_option options[] = {
        {"-m", "--model", CLI_STRING, &from, "DIR", "model directory to read (Hugging Face layout)", 1},
        {"-t", "--type", CLI_STRING, &type, "TYPE", "f32, f16 or bf16", 1},
        {"-o", "--output", CLI_STRING, &to, "DIR", "directory to write", 1},
        CMD_THREADS(threads),
        CMD_SEED(seed),
        {0},
    };
    int leave = cli_parse("convert", "quantize", summary, options, argc, argv, NULL, 0, &n);
    if (leave >= 0) return leave;

    tn_err e = {0};
    tn_dtype dtype;
    if (convert_dtype_parse(&dtype, type, &e) != TN_OK) return cli_error("convert", &e);
    return cmd_convert(convert_floats, from, to, dtype, threads);
}
