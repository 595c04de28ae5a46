/* What the verbs of the command line share: options, messages, tables, JSON. */
#ifndef CLI_H
#define CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include <nybble/nybble.h>

/* Exit statuses. */
#define CLI_OK          0
#define CLI_FAILURE     1
#define CLI_USAGE       2
#define CLI_INTERRUPTED 130  /* 128 + SIGINT, as shells report it */
#define CLI_GO_ON       (-1) /* of cli_parse: nothing to report, run the verb */

/* ---- verbs and options (options.c) -------------------------------------------------------- */

typedef enum cli_kind {
    CLI_FLAG, /* bool */
    CLI_TEXT, /* const char * */
    CLI_SIZE, /* size_t, lo <= value <= hi */
    CLI_U64,  /* uint64_t */
    CLI_LIST  /* cli_list; the option may be repeated */
} cli_kind;

#define CLI_LIST_MAX 64
typedef struct cli_list {
    size_t n;
    const char *items[CLI_LIST_MAX];
} cli_list;

typedef struct cli_option {
    const char *name, *arg, *help; /* arg: what stands for the value in help texts */
    cli_kind kind;
    size_t offset; /* in the verb's struct of values */
    size_t lo, hi; /* CLI_SIZE */
} cli_option;

/* An option of nyb_train_options that was given. */
typedef struct cli_train_option {
    size_t index;
    const char *value;
} cli_train_option;

typedef struct cli_args {
    int n; /* positional ones */
    char **at;
    uint64_t given; /* bit i: option i of the verb's table was given */
    size_t n_train;
    cli_train_option train[CLI_LIST_MAX];
} cli_args;

typedef struct cli_verb {
    const char *name, *about;
    const char *synopsis;             /* what follows "nybble <name>" */
    const char *description;          /* paragraphs of the help text */
    const char *example;              /* lines of commands */
    const cli_option *options;        /* ended by name NULL */
    bool takes_train_options;         /* those of nyb_train_option_key as well */
    const char *const *train_options; /* these of them alone, NULL-ended; NULL: all */
    int min_args, max_args;
    void (*print_more)(FILE *out); /* lists at the end of the help text; or NULL */
    int (*run)(const struct cli_verb *verb, int argc, char **argv);
} cli_verb;

extern const cli_verb *const cli_verbs[]; /* NULL-terminated */

/* Fills values (a struct the offsets refer to) and args. CLI_GO_ON, or the exit status after --help
 * or a usage error that it has reported. */
int cli_parse(const cli_verb *verb, int argc, char **argv, void *values, cli_args *args);
bool cli_given(const cli_verb *verb, const cli_args *args, const char *option);
/* names: NULL-ended */
bool cli_is_among(const char *name, const char *const *names);
/* CLI_USAGE after reporting the first of these options (NULL-ended) that was given, "--X why"; else
 * CLI_OK. */
int cli_refuse(const cli_verb *verb, const cli_args *args, const char *const *names,
               const char *why);
/* The same of the training options that were given. */
int cli_refuse_train(const cli_verb *verb, const cli_args *args, const char *const *names,
                     const char *why);
void cli_print_help(const cli_verb *verb, FILE *out);
/* Breaks text at blanks before column 80. What is printed begins at column `at` of a line; lines
 * begin at column `indent`. */
void cli_print_wrapped(FILE *out, const char *text, size_t at, size_t indent);

/* Options that every computing verb has. */
#define CLI_CPU_OPTION(type)                                                                       \
    {                                                                                              \
        "cpu", "LEVEL", "highest instruction set: auto, amx, avx512vnni, avx512, avx2, ref",       \
            CLI_TEXT, offsetof(type, cpu), 0, 0                                                    \
    }
#define CLI_THREADS_OPTION(type)                                                                   \
    {                                                                                              \
        "threads", "N", "threads, 1..1024 (default: one per CPU); results do not depend on it",    \
            CLI_SIZE, offsetof(type, threads), 1, 1024                                             \
    }
#define CLI_JSON_OPTION(type)                                                                      \
    {                                                                                              \
        "json", NULL, "print JSON for machines", CLI_FLAG, offsetof(type, json), 0, 0              \
    }

/* ---- messages (message.c) ----------------------------------------------------------------- */

/* "nybble: what: why" on stderr. */
void cli_error(const char *what, const char *why, ...) NYB_PRINTF(2, 3);
void cli_hint(const char *format, ...) NYB_PRINTF(1, 2);

/* Report a failure of the library and return the exit status. A bad argument (unknown word, value
 * out of its range) is a usage error; everything else, and every error while running, a failure. */
int cli_fail_argument(const char *what, const nyb_error *err);
int cli_fail(const char *what, const nyb_error *err);
/* A failure of nyb_recipe_create with this name, and a hint. */
int cli_fail_recipe(const char *what, const char *name, const nyb_error *err);

/* Flushes stdout; CLI_OK, or CLI_FAILURE (reported) if anything written to it was lost. */
int cli_close_output(void);
/* Number with a unit: "1.5 MiB", "12.3 k". text of at least 32 bytes; returns text. */
char *cli_format_bytes(double n_bytes, char *text);
char *cli_format_count(double n, char *text);
char *cli_format_time(double seconds, char *text); /* "1:02:03", "4:05", "12.3 s" */

/* ---- JSON (json.c) ------------------------------------------------------------------------ */

/* As json_dumps, but numbers have the fewest digits that read back exactly, and a "seed" of 2^63
 * and more, which a json_int_t holds as a negative number, is written as what it is. NULL without
 * memory; free releases it. */
char *cli_json_print(const json_t *json, size_t flags);
/* Reads that back; NULL with *error (or NULL) if it is not JSON. */
json_t *cli_json_parse(const char *text, json_error_t *error);
/* The same of a file; NULL also if it cannot be read. */
json_t *cli_json_load(const char *path);
/* Prints and releases json, then as cli_close_output. */
int cli_print_json(json_t *json);
/* A number; null if it is NaN or infinite, which JSON has not (and json_pack would fail on). */
json_t *cli_json_real(double value);
/* The number of the fewest digits that read back as the same float. */
json_t *cli_json_float(float value);
/* A string of any bytes; those that are not UTF-8 become U+FFFD (json_string and json_pack's s
 * would fail). For what users name: data, models, recipes, files, machines. */
json_t *cli_json_string(const char *text);
/* The text as a JSON number if it is one, else as a string. */
json_t *cli_json_value(const char *text);

/* ---- tables (table.c) --------------------------------------------------------------------- */

typedef struct cli_table cli_table;
/* aligns: one letter per column, 'l' or 'r'. Never fails: without memory the program ends. */
cli_table *cli_table_create(const char *aligns, const char *const *headers);
/* One formatted cell; cells fill rows from left to right. */
void cli_table_cell(cli_table *table, const char *format, ...) NYB_PRINTF(2, 3);
void cli_table_rule(cli_table *table); /* a line between this row and the next */
void cli_table_destroy(cli_table *table);
/* Prints and destroys. */
void cli_table_print(cli_table *table, FILE *out);
/* A list as a table, or as JSON, then as cli_close_output; releases both. */
int cli_print_list(cli_table *table, json_t *list, bool json);

/* ---- arguments that several verbs take (setup.c) ------------------------------------------- */

/* Applies "key=value" texts; CLI_OK, or the exit status of a reported failure. */
int cli_apply_sets(nyb_recipe *recipe, const cli_list *sets);
/* Of texts with the same key, the last one alone remains. */
void cli_keep_last_sets(cli_list *sets);
/* n_threads 0: one per CPU. */
int cli_open_context(const char *cpu, size_t n_threads, nyb_context **context);

/* A file that a verb reads or writes; path NULL: none. */
typedef struct cli_file {
    const char *name, *path; /* "OUT.npy", "--codes" */
    bool is_input;
} cli_file;
/* Whether each file that is written is no other one of these, whatever its path says. CLI_OK, or
 * CLI_USAGE after reporting it. Inputs first. */
int cli_check_files(const cli_file *files, size_t n);

/* ---- values (value.c) --------------------------------------------------------------------- */

/* "CxHxW" */
bool cli_parse_image(const char *text, size_t *c, size_t *h, size_t *w);
/* Whole decimal number in lo..hi. */
bool cli_parse_size(const char *text, size_t lo, size_t hi, size_t *value);
bool cli_parse_u64(const char *text, uint64_t *value);
/* Memory or the end of the program. */
void *cli_alloc(size_t n, size_t size);
/* "folder/name", to be freed. */
char *cli_join(const char *folder, const char *name);
/* Whether a folder has a file of that name. */
bool cli_exists(const char *folder, const char *name);
/* Seconds of a monotonic clock. */
double cli_now(void);
/* Sorts n times and returns the q quantile (0..1). */
double cli_quantile(double *times, size_t n, double q);

#endif
