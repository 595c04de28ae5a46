/* nybble vectors DIR: numbers that other implementations can check themselves against. */
#include <stdlib.h>
#include <string.h>

#include "vectors.h"
#include "verbs.h"

typedef struct values {
    const char *cpu;
    size_t threads;
    bool check, json;
} values;

static const cli_option options[] = {
    {"check", NULL, "compare DIR with what this nybble computes", CLI_FLAG, offsetof(values, check),
     0, 0},
    CLI_CPU_OPTION(values),
    CLI_THREADS_OPTION(values),
    CLI_JSON_OPTION(values),
    {0},
};

/* What a reader needs before any other file: written last, so that a folder with it is whole. */
static json_t *manifest(const vectors *v)
{
    return json_pack("{s:i, s:I, s:I, s:s}", "layout", VECTORS_LAYOUT, "files",
                     (json_int_t)v->n_files, "numbers", (json_int_t)v->n_numbers, "about",
                     "test vectors of nybble; docs/vectors.md says what each file holds");
}

static int all(vectors *v)
{
    int (*const parts[])(vectors *) = {vectors_formats,  vectors_quantizers, vectors_reflections,
                                       vectors_products, vectors_blocks,     vectors_rows,
                                       vectors_sums,     vectors_gradients,  vectors_updates};
    int exit_status = vectors_folder(v, "");

    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && exit_status == CLI_OK; i++)
        exit_status = parts[i](v);
    return exit_status == CLI_OK ? vectors_json(v, "manifest.json", manifest(v)) : exit_status;
}

static int report(const vectors *v, bool json)
{
    if (json)
        return cli_print_json(json_pack("{s:o, s:b, s:I, s:I}", "dir", cli_json_string(v->dir),
                                        "checked", v->check, "files", (json_int_t)v->n_files,
                                        "numbers", (json_int_t)v->n_numbers));
    printf("%s: %llu files, %llu numbers%s\n", v->dir, (unsigned long long)v->n_files,
           (unsigned long long)v->n_numbers, v->check ? ", all as computed here" : "");
    return cli_close_output();
}

static int run(const cli_verb *verb, int argc, char **argv)
{
    values given = {0};
    cli_args args;
    int exit_status = cli_parse(verb, argc, argv, &given, &args);
    if (exit_status != CLI_GO_ON)
        return exit_status;
    vectors v = {.dir = args.at[0], .check = given.check};
    exit_status = cli_open_context(given.cpu, given.threads, &v.context);
    if (exit_status != CLI_OK)
        return exit_status;
    exit_status = all(&v);
    nyb_context_destroy(&v.context);
    return exit_status == CLI_OK ? report(&v, given.json) : exit_status;
}

const cli_verb cli_verb_vectors = {
    .name = "vectors",
    .about = "write or check test vectors for other implementations",
    .synopsis = "DIR [options]",
    .description =
        "Writes into DIR, for every format, all codes' values and the codes that numbers take; for "
        "every quantizer, input, scales and codes; for every pair of formats, operands and "
        "products; products of operands in blocks and of rows with scales of their own, sums "
        "in narrow accumulators, and training steps: .npy arrays and JSON that docs/vectors.md "
        "describes. With --check, compares such a folder, whoever filled it, with what this nybble "
        "computes, and names the first difference.",
    .example = "  nybble vectors golden\n"
               "  nybble vectors --check golden\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
