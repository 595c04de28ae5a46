/* nybble VERB [options]: finds the verb and runs it. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "verbs.h"

const cli_verb *const cli_verbs[] = {
    &cli_verb_train,   &cli_verb_eval,     &cli_verb_recipe, &cli_verb_format,
    &cli_verb_explain, &cli_verb_quantize, &cli_verb_matmul, &cli_verb_accumulate,
    &cli_verb_bench,   &cli_verb_vectors,  &cli_verb_info,   NULL,
};

static const cli_verb *find_verb(const char *name)
{
    for (const cli_verb *const *v = cli_verbs; *v; v++)
        if (strcmp((*v)->name, name) == 0)
            return *v;
    return NULL;
}

static void print_usage(FILE *out)
{
    fprintf(out,
            "nybble %s - train neural networks with real 4-bit matrix products\n\n"
            "Usage: nybble VERB [options]\n\nVerbs:\n",
            nyb_version());
    for (const cli_verb *const *v = cli_verbs; *v; v++)
        fprintf(out, "  %-10s %s\n", (*v)->name, (*v)->about);
    fprintf(out,
            "\n`nybble VERB --help` explains a verb. NYBBLE_CPU=avx2 caps the instruction set.\n"
            "Exit status: 0 success, 1 failure, 2 wrong usage, 130 interrupted.\n\n"
            "Example:\n  nybble train --data fashion-mnist --model resnet14 --recipe luq "
            "--epochs 3\n");
}

static int unknown_verb(const char *name)
{
    char names[200] = "";
    for (const cli_verb *const *v = cli_verbs; *v; v++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", (*v)->name);
    }
    cli_error(name, "no such verb; there are %s", names);
    cli_hint("nybble --help");
    return CLI_USAGE;
}

static int help(int argc, char **argv)
{
    if (argc < 3) {
        print_usage(stdout);
        return cli_close_output();
    }
    const cli_verb *verb = find_verb(argv[2]);
    if (!verb)
        return unknown_verb(argv[2]);
    cli_print_help(verb, stdout);
    return cli_close_output();
}

/* A file that is opened while a standard stream is closed takes its number, and gets its messages.
 * In place of such a stream stands what cannot be read or written, so that lost output is noticed.
 */
static bool open_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    if (!open_standard_streams())
        return CLI_FAILURE;
    if (argc < 2) {
        print_usage(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return help(argc, argv);
    if (strcmp(name, "--version") == 0) {
        printf("nybble %s\n", nyb_version());
        return cli_close_output();
    }
    const cli_verb *verb = find_verb(name);
    return verb ? verb->run(verb, argc - 1, argv + 1) : unknown_verb(name);
}
