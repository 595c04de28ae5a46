#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define N_OPTIONS_MAX 96
#define VAL_HELP      1
#define VAL_OPTION    16  /* + index in the verb's table */
#define VAL_TRAIN     512 /* + index in the table of training options */

static size_t count_options(const cli_verb *verb)
{
    size_t n = 0;
    while (verb->options[n].name)
        n++;
    return n;
}

bool cli_is_among(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

static bool takes_train_option(const cli_verb *verb, size_t i)
{
    return verb->takes_train_options &&
           (!verb->train_options || cli_is_among(nyb_train_option_key(i), verb->train_options));
}

static void build_long_options(const cli_verb *verb, struct option *options)
{
    size_t n = 0;
    options[n++] = (struct option){"help", no_argument, NULL, VAL_HELP};
    for (size_t i = 0; i < count_options(verb); i++)
        options[n++] =
            (struct option){verb->options[i].name,
                            verb->options[i].kind == CLI_FLAG ? no_argument : required_argument,
                            NULL, VAL_OPTION + (int)i};
    for (size_t i = 0; i < nyb_train_option_count() && n + 1 < N_OPTIONS_MAX; i++)
        if (takes_train_option(verb, i))
            options[n++] =
                (struct option){nyb_train_option_key(i),
                                nyb_train_option_is_flag(i) ? optional_argument : required_argument,
                                NULL, VAL_TRAIN + (int)i};
    options[n] = (struct option){0};
}

static int usage_error(const cli_verb *verb)
{
    cli_hint("nybble %s --help", verb->name);
    return CLI_USAGE;
}

/* Stores one value; false after reporting what is wrong with it. */
static bool store(const cli_verb *verb, const cli_option *o, const char *value, void *values)
{
    void *at = (char *)values + o->offset;
    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)at = true;
        return true;
    case CLI_TEXT:
        *(const char **)at = value;
        return true;
    case CLI_SIZE:
        if (cli_parse_size(value, o->lo, o->hi, at))
            return true;
        cli_error(verb->name, "--%s %s: a whole number in %zu..%zu is needed", o->name, value,
                  o->lo, o->hi);
        return false;
    case CLI_U64:
        if (cli_parse_u64(value, at))
            return true;
        cli_error(verb->name, "--%s %s: a whole number in 0..2^64-1 is needed", o->name, value);
        return false;
    case CLI_LIST: {
        cli_list *list = at;
        if (list->n < CLI_LIST_MAX) {
            list->items[list->n++] = value;
            return true;
        }
        cli_error(verb->name, "--%s is given more than %d times", o->name, CLI_LIST_MAX);
        return false;
    }
    }
    return false;
}

static bool store_train(const cli_verb *verb, size_t index, const char *value, cli_args *args)
{
    if (args->n_train == CLI_LIST_MAX) {
        cli_error(verb->name, "more than %d training options", CLI_LIST_MAX);
        return false;
    }
    args->train[args->n_train++] = (cli_train_option){index, value ? value : "1"};
    return true;
}

static bool is_train_option(const char *option)
{
    const size_t n = strcspn(option, "=");
    for (size_t i = 0; i < nyb_train_option_count(); i++) {
        const char *key = nyb_train_option_key(i);
        if (n == strlen(key) + 2 && strncmp(option, "--", 2) == 0 &&
            strncmp(option + 2, key, n - 2) == 0)
            return true;
    }
    return false;
}

/* getopt's complaints in our words. */
static int report_getopt(const cli_verb *verb, int c, char **argv)
{
    const char *option = argv[optind - 1];
    bool has_value = strncmp(option, "--", 2) == 0 && strchr(option, '=');
    if (c == ':')
        cli_error(verb->name, "option %s needs a value", option);
    else if (optopt && has_value)
        cli_error(verb->name, "option %.*s takes no value", (int)strcspn(option, "="), option);
    else if (optopt)
        cli_error(verb->name, "unknown option -%c", optopt);
    else if (is_train_option(option) && verb->takes_train_options)
        cli_error(verb->name, "%.*s has no effect here", (int)strcspn(option, "="), option);
    else
        cli_error(verb->name, "unknown option %s", option);
    return usage_error(verb);
}

static int check_count(const cli_verb *verb, const cli_args *args)
{
    if (args->n > verb->max_args) {
        cli_error(verb->name, "unexpected argument '%s'", args->at[verb->max_args]);
        return usage_error(verb);
    }
    if (args->n < verb->min_args) {
        cli_error(verb->name, "%d argument%s given, %d needed: nybble %s %s", args->n,
                  args->n == 1 ? "" : "s", verb->min_args, verb->name, verb->synopsis);
        return usage_error(verb);
    }
    return CLI_GO_ON;
}

int cli_parse(const cli_verb *verb, int argc, char **argv, void *values, cli_args *args)
{
    struct option options[N_OPTIONS_MAX];
    build_long_options(verb, options);
    *args = (cli_args){0};
    opterr = 0;
    optind = 1;
    int c;
    while ((c = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (c == VAL_HELP || c == 'h') {
            cli_print_help(verb, stdout);
            return cli_close_output();
        }
        if (c == ':' || c == '?')
            return report_getopt(verb, c, argv);
        bool stored;
        if (c >= VAL_TRAIN) {
            stored = store_train(verb, (size_t)(c - VAL_TRAIN), optarg, args);
        } else {
            args->given |= UINT64_C(1) << (c - VAL_OPTION);
            stored = store(verb, &verb->options[c - VAL_OPTION], optarg, values);
        }
        if (!stored)
            return usage_error(verb);
    }
    args->n = argc - optind;
    args->at = argv + optind;
    return check_count(verb, args);
}

bool cli_given(const cli_verb *verb, const cli_args *args, const char *option)
{
    for (size_t i = 0; verb->options[i].name; i++)
        if (strcmp(verb->options[i].name, option) == 0)
            return args->given >> i & 1;
    return false;
}

int cli_refuse(const cli_verb *verb, const cli_args *args, const char *const *names,
               const char *why)
{
    for (; *names; names++)
        if (cli_given(verb, args, *names)) {
            cli_error(verb->name, "--%s %s", *names, why);
            return usage_error(verb);
        }
    return CLI_OK;
}

int cli_refuse_train(const cli_verb *verb, const cli_args *args, const char *const *names,
                     const char *why)
{
    for (size_t i = 0; i < args->n_train; i++) {
        const char *key = nyb_train_option_key(args->train[i].index);
        if (cli_is_among(key, names)) {
            cli_error(verb->name, "--%s %s", key, why);
            return usage_error(verb);
        }
    }
    return CLI_OK;
}

/* ---- help --------------------------------------------------------------------------------- */

#define HELP_WIDTH  80
#define HELP_COLUMN 28

void cli_print_wrapped(FILE *out, const char *text, size_t at, size_t indent)
{
    fprintf(out, "%*s", (int)(at < indent ? indent - at : 0), "");
    size_t column = indent;
    while (*text) {
        size_t length = strcspn(text, " \n");
        if (column > indent && column + 1 + length > HELP_WIDTH) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", (int)length, text);
        column += length;
        text += length;
        if (*text == '\n') {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        }
        if (*text)
            text++;
    }
    fputc('\n', out);
}

static void print_option(FILE *out, const char *name, const char *arg, const char *help)
{
    int n = fprintf(out, "  --%s%s%s", name, arg && *arg != '[' ? " " : "", arg ? arg : "");
    if (n >= HELP_COLUMN - 1) {
        fputc('\n', out);
        n = 0;
    }
    cli_print_wrapped(out, help, (size_t)n, HELP_COLUMN);
}

static void print_train_options(const cli_verb *verb, FILE *out)
{
    nyb_train_options defaults;
    nyb_train_defaults(&defaults);
    fprintf(out, "\nTraining options (a model may have defaults of its own):\n");
    for (size_t i = 0; i < nyb_train_option_count(); i++) {
        char value[64], help[400];
        if (!takes_train_option(verb, i))
            continue;
        nyb_train_option_print(&defaults, i, value, sizeof value);
        snprintf(help, sizeof help, "%s (default: %s)", nyb_train_option_help(i), value);
        print_option(out, nyb_train_option_key(i), nyb_train_option_is_flag(i) ? "[=0|1]" : "X",
                     help);
    }
}

void cli_print_help(const cli_verb *verb, FILE *out)
{
    fprintf(out, "nybble %s - %s\n\nUsage: nybble %s %s\n\n", verb->name, verb->about, verb->name,
            verb->synopsis);
    cli_print_wrapped(out, verb->description, 0, 0);
    fprintf(out, "\nOptions:\n");
    for (const cli_option *o = verb->options; o->name; o++)
        print_option(out, o->name, o->arg, o->help);
    print_option(out, "help", NULL, "print this text");
    if (verb->takes_train_options)
        print_train_options(verb, out);
    if (verb->print_more)
        verb->print_more(out);
    fprintf(out, "\nExample:\n%s", verb->example);
}
