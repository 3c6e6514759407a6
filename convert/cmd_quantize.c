/* convert quantize: the same model with weights of another type. */
#include "convert/commands.h"

#include <string.h>

static const char summary[] =
    "Rewrites all weights of a model directory (one file or shards) as the given type and copies tokenizer\n"
    "and generation settings.\n"
    "f32, f16, bf16: rounds to nearest, ties to even; values beyond the range of f16 are an error.\n"
    "q8, q4: matrices become 8- or 4-bit integers with a scale for each group of columns (docs/FORMATS.md),\n"
    "embedding and head 8-bit ones; norms and biases keep their type. Only this engine reads the result.\n"
    "example: convert quantize -m model-dir -t q8 -o model-q8";

int cmd_quantize(int argc, char **argv) {
    const char *from = NULL, *to = NULL, *type = NULL, *head = NULL;
    int threads = 0, group = 0, head_group = 0, shard = 0, n = 0;
    uint64_t seed = 0;
    const cli_option options[] = {
        {"-m", "--model", CLI_STRING, &from, "DIR", "model directory to read (Hugging Face layout)", 1},
        {"-t", "--type", CLI_STRING, &type, "TYPE", "f32, f16, bf16, q8 or q4", 1},
        {"-o", "--output", CLI_STRING, &to, "DIR", "directory to write", 1},
        {"--group", NULL, CLI_INT, &group, "N",
         "q8, q4: columns that share a scale, a multiple of 32 (q8: 64, q4: 128)", 0},
        {"--head", NULL, CLI_STRING, &head, "TYPE",
         "q8, q4: type of the embedding and the head, q8 (default) or q4", 0},
        {"--head-group", NULL, CLI_INT, &head_group, "N",
         "their columns that share a scale (q8: 32, q4: 128)", 0},
        {"--shard", NULL, CLI_INT, &shard, "MB", "split weights larger than this into several files (1074)",
         0},
        CMD_THREADS(threads),
        CMD_SEED(seed),
        {0},
    };
    int leave = cli_parse("convert", "quantize", summary, options, argc, argv, NULL, 0, &n);
    if (leave >= 0) return leave;
    if (shard < 0) return cli_usage_error("convert", "quantize", "--shard must be positive");
    if (group < 0 || head_group < 0) return cli_usage_error("convert", "quantize", "groups must be positive");

    tn_err e = {0};
    convert_opts o = {.threads = threads, .shard_bytes = (size_t)shard * 1000000};
    if (convert_type_parse(&o.type, type, &e) != TN_OK) return cli_error("convert", &e);
    if ((group || head_group) && !o.type.bits)
        return cli_usage_error("convert", "quantize", "groups are for q8 and q4");
    if (head && (!o.type.bits || (strcmp(head, "q8") != 0 && strcmp(head, "q4") != 0)))
        return cli_usage_error("convert", "quantize", "--head is q8 or q4, and for these types only");
    if (head) {
        o.type.head_bits = head[1] - '0';
        o.type.head_group = convert_head_group(o.type.head_bits);
    }
    if (group) o.type.group = (size_t)group;
    if (head_group) o.type.head_group = (size_t)head_group;
    return cmd_convert(convert_weights, from, to, o);
}
