/* `sae convert`: an SAE directory of either library in, one of the other out. */
#include "sae/commands.h"
#include "sae/dictionary_dir.h"
#include "sae/note.h"

#include <stdio.h>
#include <string.h>

static const char SUMMARY[] =
    "sae convert -s SAEDIR -o SAEDIR --format saelens|dictionary_learning\n"
    "Writes a trained SAE in the layout of SAELens (cfg.json, sae_weights.safetensors) or of\n"
    "dictionary_learning (config.json, ae.safetensors). Reads SAELens' directories and those of\n"
    "dictionary_learning with their ae.pt, of which nothing is executed. What sae train noted of the\n"
    "training goes along.";

static int convert(const char *in, const char *out, const char *format, tn_err *e) {
    int saelens = strcmp(format, "saelens") == 0;
    if (!saelens && strcmp(format, "dictionary_learning") != 0)
        return tn_fail(e, TN_EARG, "--format is saelens or dictionary_learning, not \"%s\"", format);
    sae_model s;
    int rc = sae_open_dir(&s, in, e);
    if (rc) return rc;
    tn_buf note = TN_BUF_INIT;
    rc = sae_note_read(&note, in, e);
    if (!rc) rc = saelens ? sae_save_dir(&s, out, note.data, e) : sae_dictionary_save(&s, out, note.data, e);
    tn_buf_free(&note);
    if (!rc)
        printf("%s: %s, %d -> %d latents on %s\n", out, sae_architecture_name(s.cfg.architecture), s.cfg.d_in,
               s.cfg.d_sae, s.cfg.hook_name[0] ? s.cfg.hook_name : "?");
    sae_free(&s);
    return rc;
}

int cmd_convert(int argc, char **argv) {
    const char *in = NULL, *out = NULL, *format = "saelens";
    const cli_option options[] = {
        {"-s", "--sae", CLI_STRING, &in, "DIR", "SAE directory to read", 1},
        {"-o", "--out", CLI_STRING, &out, "DIR", "SAE directory to write", 1},
        {"--format", NULL, CLI_STRING, &format, "NAME", "saelens or dictionary_learning (saelens)", 0},
        {0}};
    int leave = cli_parse("sae", "convert", SUMMARY, options, argc, argv, NULL, 0, NULL);
    if (leave >= 0) return leave;
    tn_err e = {0};
    return convert(in, out, format, &e) ? cli_error("sae", &e) : 0;
}
