/* The house rules of check_layers.sh and the promises of check_port.sh: the repository keeps them, and the
 * scripts notice when it does not.
 */
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#define TREE TEST_TMP "/house"

static void repository_keeps_the_rules(void) {
    char out[4096], err[512];
    CHECK_INT(test_shell("sh tests/check_layers.sh", out, sizeof out, err, sizeof err), 0);
    CHECK_STR(out, "");
    CHECK_STR(err, "");
}

/* Runs the script on a small sound tree in which `file` has `line` on its second line. */
static int run_with(const char *file, const char *line, char *out, size_t cap) {
    char command[1024];
    snprintf(command, sizeof command,
             "rm -rf " TREE " && mkdir -p " TREE "/tensor " TREE "/tokenizer " TREE "/qwen " TREE "/sae " TREE
             "/convert && for d in tensor tokenizer qwen sae convert; do echo '#include <stdio.h>' > " TREE
             "/$d/a.c; done && printf '%%s\\n' '/* planted */' '%s' > " TREE
             "/%s && sh tests/check_layers.sh " TREE,
             line, file);
    return test_shell(command, out, cap, NULL, 0);
}

static void refused(const char *file, const char *line, const char *what) {
    char out[4096], want[512];
    snprintf(want, sizeof want, "%s:2: %s\n", file, what);
    CHECK_INT(run_with(file, line, out, sizeof out), 1);
    CHECK_STR(out, want);
}

static void accepted(const char *file, const char *line) {
    char out[4096];
    CHECK_INT(run_with(file, line, out, sizeof out), 0);
    CHECK_STR(out, "");
}

static void arrows(void) {
    refused("tensor/b.c", "#include \"qwen/qwen.h\"", "may not include qwen/qwen.h");
    refused("tensor/b.h", "#include \"sae/sae.h\"", "may not include sae/sae.h");
    refused("tokenizer/b.c", "#include \"qwen/qwen.h\"", "may not include qwen/qwen.h");
    refused("qwen/b.c", "# include \"tokenizer/tokenizer.h\"", "may not include tokenizer/tokenizer.h");
    refused("qwen/b.c", "#include \"qwen/text.h\"", "may not include qwen/text.h");
    refused("qwen/cmd_b.c", "#include \"sae/sae.h\"", "may not include sae/sae.h");
    refused("sae/b.c", "#include \"qwen/qwen.h\"", "may not include qwen/qwen.h");
    refused("sae/b.c", "#include \"sae/attach.h\"", "may not include sae/attach.h");
    refused("sae/b.c", "#include \"sae/effect.h\"", "may not include sae/effect.h");
    refused("sae/attach.c", "#include \"sae/effect.h\"", "may not include sae/effect.h");
    refused("sae/attach.c", "#include \"tokenizer/tokenizer.h\"", "may not include tokenizer/tokenizer.h");
    refused("convert/b.c", "#include \"sae/sae.h\"", "may not include sae/sae.h");
    refused("convert/b.c", "#include \"tensor/cli.h\"", "may not include tensor/cli.h");
    refused("tensor/b.c", "#include \"arena.h\"", "include with its folder: arena.h");
    refused("tensor/b.c", "#include \"tests/test.h\"", "may not include tests/test.h");

    accepted("tokenizer/b.c", "#include \"tensor/json.h\"");
    accepted("qwen/text.c", "#include \"tokenizer/tokenizer.h\"");
    accepted("qwen/text.c", "#include \"qwen/text.h\"");
    accepted("sae/attach.h", "#include \"qwen/qwen.h\"");
    accepted("sae/effect.h", "#include \"sae/attach.h\"");
    accepted("sae/effect.c", "#include \"qwen/score.h\"");
    accepted("sae/cmd_b.c", "#include \"sae/attach.h\"");
    accepted("sae/cmd_b.c", "#include \"qwen/text.h\"");
    accepted("qwen/commands.h", "#include \"tensor/cli.h\"");
    accepted("convert/b.c", "#include \"tokenizer/tokenizer.h\"");
    accepted("convert/cmd_b.c", "#include \"sae/sae.h\"");
}

static void quiet_library(void) {
    refused("qwen/b.c", "    printf(\"x\");", "a library file may not call printf");
    refused("qwen/b.c", "f(); fprintf (stderr, \"x\");", "a library file may not call fprintf");
    refused("qwen/b.c", "if (x) exit(1);", "a library file may not call exit");
    refused("qwen/b.c", "{ abort(); }", "a library file may not call abort");

    accepted("qwen/b.c", "snprintf(b, n, \"printf(\\\"x\\\")\"); tn_buf_puts(b, \"x\"); /* then exit(1) */");
    accepted("qwen/cmd_b.c", "printf(\"x\");");
    accepted("qwen/qwen_main.c", "puts(\"x\");");
    accepted("tensor/cli.c", "fputs(\"x\", stderr);");
}

static void doors(void) {
    refused("tensor/b.c", "#define _GNU_SOURCE", "feature macros belong into tensor/os_*.c");
    refused("qwen/cmd_b.c", "#define _POSIX_C_SOURCE 200809L", "feature macros belong into tensor/os_*.c");
    refused("sae/b.c", "#include <immintrin.h>", "intrinsics belong into tensor/kernels_*.c");
    refused("tensor/b.c", "#include <arm_neon.h>", "intrinsics belong into tensor/kernels_*.c");
    refused("tensor/os.h", "#define _GNU_SOURCE", "feature macros belong into tensor/os_*.c");
    accepted("tensor/os_posix.c", "#define _GNU_SOURCE");
    accepted("tensor/os_threads.c", "#define _POSIX_C_SOURCE 200809L");
    accepted("tensor/kernels_neon.c", "#include <arm_neon.h>");
}

/* docs/PORTING.md lists what the core calls, and check_port.sh notices when a function is missing there. */
static void port_needs_no_more_than_it_says(void) {
    char out[4096], err[512];
    CHECK_INT(
        test_shell("sh tests/check_port.sh " BUILD_DIR "/libscalpel.a", out, sizeof out, err, sizeof err), 0);
    CHECK_STR(out, "");
    CHECK_INT(test_shell("rm -rf " TREE " && mkdir -p " TREE "/tests " TREE
                         "/docs && cp tests/check_port.sh " TREE
                         "/tests && sed 's/ calloc / /' docs/PORTING.md > " TREE
                         "/docs/PORTING.md && sh " TREE "/tests/check_port.sh " BUILD_DIR "/libscalpel.a",
                         out, sizeof out, err, sizeof err),
              1);
    CHECK_STR(out, "calloc is called, but docs/PORTING.md does not list it in calls-open\n");
}

void test_house(void) {
    RUN(repository_keeps_the_rules);
    RUN(arrows);
    RUN(quiet_library);
    RUN(doors);
    RUN(port_needs_no_more_than_it_says);
}
