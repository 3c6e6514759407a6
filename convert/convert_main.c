/* The `convert` command: models from other formats and into other number types. */
#include "convert/commands.h"

int main(int argc, char **argv) {
    static const cli_command commands[] = {
        {"gguf", cmd_gguf, "import a llama or qwen2 GGUF file as a Hugging Face directory"},
        {"quantize", cmd_quantize, "rewrite a model's weights as f32, f16, bf16, q8 or q4"},
        {0},
    };
    return cli_main("convert", "Prepares models: imports GGUF files, changes the type of weights.", commands,
                    argc, argv);
}
