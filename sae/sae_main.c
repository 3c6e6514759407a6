/* The `sae` command: capture, train, frontier, features, eval, steer, control, bench, bench-train, report,
 * convert. */
#include "sae/commands.h"

int main(int argc, char **argv) {
    static const cli_command table[] = {
        {"capture", cmd_capture, "residual stream of a model over prompts or stories -> activation file"},
        {"train", cmd_train, "activation file -> sparse autoencoder"},
        {"frontier", cmd_frontier, "how sparse and how faithful trained SAEs are, as a picture"},
        {"features", cmd_features, "which features fire for a label and not for the others"},
        {"eval", cmd_eval, "how well an SAE reconstructs, and what the model loses with it"},
        {"steer", cmd_steer,
         "answers of the model, of the model with the SAE in it, and with features edited"},
        {"control", cmd_control, "how often steering moves answers, against random and other features"},
        {"bench", cmd_bench, "what an SAE in the forward pass costs"},
        {"bench-train", cmd_bench_train, "how fast an SAE is trained, and encodes"},
        {"report", cmd_report, "one HTML page with all of it"},
        {"convert", cmd_convert, "SAE directories of SAELens and dictionary_learning into each other"},
        {NULL, NULL, NULL},
    };
    return cli_main("sae",
                    "Sees and changes what a model represents: sparse autoencoders on its residual stream.",
                    table, argc, argv);
}
