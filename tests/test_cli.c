/* The parser, help, errors and progress of the commands.
 *
 * cli.c is no part of the library; it is read in here, with its two streams replaced by files that the
 * cases can look into.
 */
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

static FILE *cli_out, *cli_err;
#undef stdout
#undef stderr
#define stdout cli_out
#define stderr cli_err
#define printf(...) fprintf(cli_out, __VA_ARGS__)
#include "tensor/cli.c"

/* What was written to f since the last call, in a static buffer; f is empty afterwards. */
static const char *taken(FILE **f) {
    static char text[4096];
    size_t n = 0;
    if (*f) {
        rewind(*f);
        n = fread(text, 1, sizeof text - 1, *f);
        fclose(*f);
    }
    text[n] = '\0';
    *f = tmpfile();
    return text;
}

static struct {
    int verbose, count;
    const char *dir;
    cli_strings many;
    uint64_t seed;
    float temp;
} got;

static const cli_option options[] = {
    {"FILE", NULL, CLI_STRING, NULL, NULL, "the text to read", 1},
    {"MORE", NULL, CLI_STRING, NULL, NULL, "more of it", 0},
    {"-m", "--model", CLI_STRING, &got.dir, "DIR", "the model's directory", 1},
    {"--verbose", NULL, CLI_FLAG, &got.verbose, NULL, "say more", 0},
    {"-n", NULL, CLI_INT, &got.count, "N", "tokens at most", 0},
    {"--op", NULL, CLI_STRINGS, &got.many, "OP", "an operation", 0},
    {"--seed", NULL, CLI_U64, &got.seed, "N", "of the random numbers", 0},
    {"--temp", NULL, CLI_FLOAT, &got.temp, "T", "temperature", 0},
    {0}};

static const char *positional[2];
static int n_positional;

/* Parses the words of `line`, split at spaces. */
static int parse(const char *line) {
    static char words[256];
    char *argv[64];
    int argc = 0;
    memset(&got, 0, sizeof got);
    n_positional = -1;
    snprintf(words, sizeof words, "%s", line);
    for (char *w = strtok(words, " "); w; w = strtok(NULL, " ")) argv[argc++] = w;
    return cli_parse("qwen", "demo", "Shows what it can.", options, argc, argv, positional, 2, &n_positional);
}

static void accepts(void) {
    CHECK_INT(parse("-m dir file"), -1);
    CHECK_STR(got.dir, "dir");
    CHECK_INT(n_positional, 1);
    CHECK_STR(positional[0], "file");
    CHECK_INT(got.verbose, 0);

    CHECK_INT(
        parse("one --verbose --model=a=b --op x -n -5 --op -y --seed 18446744073709551615 --temp 0.5 -"), -1);
    CHECK_STR(got.dir, "a=b");
    CHECK_INT(got.verbose, 1);
    CHECK_INT(got.count, -5);
    CHECK_INT(got.many.count, 2);
    CHECK_STR(got.many.items[0], "x");
    CHECK_STR(got.many.items[1], "-y");
    CHECK(got.seed == UINT64_MAX);
    CHECK_NEAR(got.temp, 0.5, 0);
    CHECK_INT(n_positional, 2);
    CHECK_STR(positional[1], "-");

    CHECK_INT(parse("-m dir -- --verbose"), -1);
    CHECK_INT(got.verbose, 0);
    CHECK_STR(positional[0], "--verbose");
    CHECK_STR(taken(&cli_err), "");
    CHECK_STR(taken(&cli_out), "");
}

static void refusal(const char *line, const char *message) {
    char want[256];
    snprintf(want, sizeof want, "qwen: error: %s\ntry 'qwen demo --help'\n", message);
    CHECK_INT(parse(line), 2);
    CHECK_STR(taken(&cli_err), want);
    CHECK_STR(taken(&cli_out), "");
}

static void refuses(void) {
    refusal("-m d f --what", "unknown option '--what'");
    refusal("-m d f --what=3", "unknown option '--what'");
    refusal("-m d f -nn", "unknown option '-nn'");
    refusal("-m d f FILE --op", "option --op needs a value");
    refusal("-m d f --verbose=1", "option --verbose takes no value");
    refusal("-m d f -n 4x", "option -n needs a whole number, got '4x'");
    refusal("-m d f -n 3000000000", "option -n is out of range, got '3000000000'");
    refusal("-m d f --seed -1", "option --seed needs a whole number >= 0, got '-1'");
    refusal("-m d f --seed 18446744073709551616",
            "option --seed is out of range, got '18446744073709551616'");
    refusal("-m d f --temp warm", "option --temp needs a number, got 'warm'");
    refusal("-m d f --temp nan", "option --temp is out of range, got 'nan'");
    refusal("-m d a b c", "unexpected argument 'c'");
    refusal("f", "missing -m DIR");
    refusal("-m d", "missing FILE");
}

static void repeats(void) {
    char word[] = "--op", value[] = "x";
    char *argv[2 * (CLI_MAX_STRINGS + 1)];
    for (int i = 0; i <= CLI_MAX_STRINGS; i++) {
        argv[2 * i] = word;
        argv[2 * i + 1] = value;
    }
    memset(&got, 0, sizeof got);
    int n = 0;
    CHECK_INT(cli_parse("qwen", "demo", "", options + 5, 2 * CLI_MAX_STRINGS, argv, NULL, 0, &n), -1);
    CHECK_INT(got.many.count, CLI_MAX_STRINGS);
    memset(&got, 0, sizeof got);
    CHECK_INT(cli_parse("qwen", "demo", "", options + 5, 2 * CLI_MAX_STRINGS + 2, argv, NULL, 0, &n), 2);
    CHECK_HAS(taken(&cli_err), "option --op is given too often");
}

static void help(void) {
    CHECK_INT(parse("--verbose --help"), 0);
    CHECK_STR(taken(&cli_out), "usage: qwen demo [options] FILE [MORE]\n"
                               "\n"
                               "Shows what it can.\n"
                               "\n"
                               "  FILE             the text to read\n"
                               "  MORE             more of it\n"
                               "  -m, --model DIR  the model's directory (required)\n"
                               "      --verbose    say more\n"
                               "  -n N             tokens at most\n"
                               "      --op OP      an operation\n"
                               "      --seed N     of the random numbers\n"
                               "      --temp T     temperature\n"
                               "  -h, --help       show this text\n");
    CHECK_STR(taken(&cli_err), "");
}

static int run_ok(int argc, char **argv) {
    printf("%d %s\n", argc, argc ? argv[0] : "");
    return 0;
}
static int run_failing(int argc, char **argv) {
    (void)argc, (void)argv;
    return 1;
}

static void subcommands(void) {
    static const cli_command table[] = {{"info", run_ok, "prints"}, {"failing", run_failing, "fails"}, {0}};
    char name[] = "qwen", info[] = "info", arg[] = "x", failing[] = "failing", wrong[] = "inf",
         h[] = "--help";
    CHECK_INT(cli_main("qwen", "Runs models.", table, 3, (char *[]){name, info, arg}), 0);
    CHECK_STR(taken(&cli_out), "1 x\n");
    CHECK_INT(cli_main("qwen", "Runs models.", table, 2, (char *[]){name, failing}), 1);
    CHECK_INT(cli_main("qwen", "Runs models.", table, 2, (char *[]){name, wrong}), 2);
    CHECK_STR(taken(&cli_err), "qwen: error: unknown command 'inf'\ntry 'qwen --help'\n");
    CHECK_INT(cli_main("qwen", "Runs models.", table, 2, (char *[]){name, h}), 0);
    const char *text =
        "usage: qwen COMMAND [options]\n\nRuns models.\n\n"
        "  info     prints\n  failing  fails\n\n'qwen COMMAND --help' lists a command's options.\n";
    CHECK_STR(taken(&cli_out), text);
    CHECK_INT(cli_main("qwen", "Runs models.", table, 1, (char *[]){name}), 2);
    CHECK_STR(taken(&cli_err), text);
    CHECK_STR(taken(&cli_out), "");

    if (!tn_file_exists("/dev/full")) return;
    fclose(cli_out);
    cli_out = fopen("/dev/full", "w");
    CHECK_INT(cli_main("qwen", "Runs models.", table, 3, (char *[]){name, info, arg}), 1);
    CHECK_STR(taken(&cli_err), "qwen: error: standard output: No space left on device\n");
    fclose(cli_out);
    cli_out = tmpfile();
}

static void errors(void) {
    tn_err e;
    tn_fail(&e, TN_EIO, "a\nb\033[31m \xc3\xbc");
    CHECK_INT(cli_error("sae", &e), 1);
    CHECK_STR(taken(&cli_err), "sae: error: a?b?[31m \xc3\xbc\n");
    tn_exec ex;
    CHECK_INT(cli_exec(&ex, -1, &e), TN_EARG);
    CHECK_STR(e.msg, "--threads must be 0 (all cores) or more, got -1");
    CHECK_INT(cli_exec(&ex, 3, &e), TN_OK);
    CHECK_INT(ex.threads, 3);
}

static const char *line_of(const cli_progress *p, double elapsed, int at_end, const char *note) {
    static char text[512];
    tn_buf b = TN_BUF_INIT;
    put_line(&b, p, elapsed, at_end, note);
    snprintf(text, sizeof text, "%s", b.data);
    tn_buf_free(&b);
    return text;
}

static void progress(void) {
    cli_progress p = {.label = "stories", .unit = "it", .total = 300};
    CHECK_STR(line_of(&p, 0, 0, NULL), "stories ░░░░░░░░░░░░░░░░░░░░ 0/300");
    p.done = 75;
    CHECK_STR(line_of(&p, 30, 0, "loss 0.5"),
              "stories █████░░░░░░░░░░░░░░░ 75/300 2.5 it/s ETA 90 s  loss 0.5");
    p.done = 300;
    CHECK_STR(line_of(&p, 600, 1, NULL), "stories ████████████████████ 300/300 0.5 it/s in 10 min");
    p.total = 0;
    p.unit = "tok";
    CHECK_STR(line_of(&p, 1, 0, NULL), "stories 300 300 tok/s");
    p.total = 1e9;
    CHECK_HAS(line_of(&p, 1, 0, NULL), "ETA 925 h 56 min");
    const char *longest = line_of(&p, 1, 0, "ücccccccccccccccccccccccccccccccccccccccccccccccc");
    int columns = 0;
    for (const char *c = longest; *c; c++) columns += ((unsigned char)*c & 0xc0) != 0x80;
    CHECK_INT(columns, 79);

    p = cli_progress_start("x", "it", 2);
    p.active = 0; /* as when stderr is no terminal */
    cli_progress_update(&p, 1, NULL);
    cli_progress_end(&p);
    CHECK_STR(taken(&cli_err), "");
    p.active = 1;
    cli_progress_update(&p, 1, NULL); /* drawn */
    cli_progress_update(&p, 2, NULL); /* too soon after */
    cli_progress_end(&p);
    CHECK(!p.active);
    const char *drawn = taken(&cli_err);
    CHECK_INT(drawn[0], '\r');
    CHECK_HAS(drawn, " 1/2");
    CHECK_HAS(drawn, " 2/2");
    CHECK_INT(strchr(drawn + 1, '\r') == strrchr(drawn, '\r'), 1);
    CHECK_INT(drawn[strlen(drawn) - 1], '\n');
}

void test_cli(void) {
    cli_out = tmpfile();
    cli_err = tmpfile();
    if (!CHECK(cli_out && cli_err)) return;
    RUN(accepts);
    RUN(refuses);
    RUN(repeats);
    RUN(help);
    RUN(subcommands);
    RUN(errors);
    RUN(progress);
    fclose(cli_out);
    fclose(cli_err);
}
