/* The `sae` command and its subcommands. */
#include "sae/commands.h"

int main(int argc, char **argv) {
    static const cli_command table[] = {
        {"capture", cmd_capture,
         "residual stream of a model over prompts, stories or texts -> activation file"},
        {"train", cmd_train, "activation files, or texts and a model -> sparse autoencoders"},
        {"frontier", cmd_frontier, "how sparse and how faithful trained SAEs are, as a picture"},
        {"features", cmd_features, "which features fire for a label and not for the others"},
        {"eval", cmd_eval, "how well an SAE reconstructs, and what the model loses with it"},
        {"steer", cmd_steer,
         "answers of the model, of the model with the SAE in it, and with features edited"},
        {"control", cmd_control, "how often steering moves answers, against random and other features"},
        {"bench", cmd_bench, "what an SAE in the forward pass costs"},
        {"bench-train", cmd_bench_train, "how fast an SAE is trained, and encodes"},
        {"convert", cmd_convert, "SAE directories of SAELens and dictionary_learning into each other"},
        {"report", cmd_report, "one HTML page with all of it"},
        {NULL, NULL, NULL},
    };
    return cli_main("sae",
                    "Sees and changes what a model represents: sparse autoencoders on its residual stream.",
                    table, argc, argv);
}
