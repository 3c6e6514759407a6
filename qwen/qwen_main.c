/* The `qwen` command: the table of its subcommands. */
#include "qwen/commands.h"

int main(int argc, char **argv) {
    static const cli_command table[] = {
        {"info", cmd_info, "configuration, parameters, memory, kernels in use"},
        {"tokenize", cmd_tokenize, "text to token ids, or back"},
        {"generate", cmd_generate, "answer a prompt, or a file of prompts"},
        {"chat", cmd_chat, "a conversation"},
        {"trace", cmd_trace, "write the residual stream and the logits of a prompt to a file"},
        {"lens", cmd_lens, "what every layer would answer (logit lens), as a table"},
        {"perplexity", cmd_perplexity, "how well the model predicts a text"},
        {"bench", cmd_bench, "tokens per second of prefill and decode"},
        {0},
    };
    return cli_main("qwen", "Runs Qwen2.5 and Llama-type language models from Hugging Face directories.",
                    table, argc, argv);
}
