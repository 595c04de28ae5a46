/* nybble info: what this machine and this build give. */
#include <string.h>

#include "verbs.h"

typedef struct values {
    const char *cpu;
    size_t threads;
    bool json;
} values;

static const cli_option options[] = {
    CLI_CPU_OPTION(values),
    CLI_THREADS_OPTION(values),
    CLI_JSON_OPTION(values),
    {0},
};

/* The three products of a quantized layer, and of a real one. */
static const struct {
    const char *name, *a, *b;
    nyb_plan_kind kind;
} products[] = {
    {"forward, uint4 x int4", "uint4", "int4", NYB_PLAN_Y},
    {"dx, e3m0 x int4", "e3m0", "int4", NYB_PLAN_DX},
    {"dw, e3m0 x uint4", "e3m0", "uint4", NYB_PLAN_DW},
    {"forward, int8 x int8", "int8", "int8", NYB_PLAN_Y},
    {"forward, f32 x f32", "f32", "f32", NYB_PLAN_Y},
};
#define N_PRODUCTS (sizeof products / sizeof products[0])

static nyb_status find_kernel(nyb_context *context, size_t i, char *kernel, size_t n_bytes,
                              nyb_error *err)
{
    nyb_plan *plan;
    NYB_TRY(nyb_plan_create(context, products[i].kind, (nyb_image){1, 1, 128, 128}, 128, 1, 1, 1, 0,
                            nyb_format_find(products[i].a), nyb_format_find(products[i].b), &plan,
                            err));
    snprintf(kernel, n_bytes, "%s/%s", nyb_plan_engine(plan), nyb_plan_kernel(plan));
    nyb_plan_destroy(&plan);
    return NYB_OK;
}

static const char *compiler(void)
{
#if defined(__clang__)
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

static int print(nyb_context *context, bool json)
{
    static const char *const levels[] = {"amx", "avx512vnni", "avx512", "avx2", "ref"};
    nyb_error err;
    json_t *kernels = json_object(), *available = json_array();
    cli_table *table = cli_table_create("ll", NULL);
    cli_table_cell(table, "version");
    cli_table_cell(table, "%s", nyb_version());
    cli_table_cell(table, "compiler");
    cli_table_cell(table, "%s", compiler());
    cli_table_cell(table, "instruction set");
    cli_table_cell(table, "%s", nyb_context_cpu(context));
    cli_table_cell(table, "usable with --cpu");
    char words[64] = "";
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        nyb_context *other;
        if (nyb_context_create(levels[i], 1, &other, &err) != NYB_OK)
            continue;
        nyb_context_destroy(&other);
        json_array_append_new(available, json_string(levels[i]));
        size_t used = strlen(words);
        snprintf(words + used, sizeof words - used, "%s%s", used ? " " : "", levels[i]);
    }
    cli_table_cell(table, "%s", words);
    cli_table_cell(table, "threads");
    cli_table_cell(table, "%zu", nyb_context_threads(context));
    for (size_t i = 0; i < N_PRODUCTS; i++) {
        char kernel[64];
        if (find_kernel(context, i, kernel, sizeof kernel, &err) != NYB_OK)
            snprintf(kernel, sizeof kernel, "none: %.40s", err.text);
        json_object_set_new(kernels, products[i].name, json_string(kernel));
        cli_table_cell(table, "%s", products[i].name);
        cli_table_cell(table, "%s", kernel);
    }
    json_t *info =
        json_pack("{s:s, s:s, s:s, s:o, s:I, s:o}", "version", nyb_version(), "compiler",
                  compiler(), "cpu", nyb_context_cpu(context), "available", available, "threads",
                  (json_int_t)nyb_context_threads(context), "kernels", kernels);
    if (json) {
        cli_table_destroy(table);
        return cli_print_json(info);
    }
    json_decref(info);
    cli_table_print(table, stdout);
    return cli_close_output();
}

static int run(const cli_verb *verb, int argc, char **argv)
{
    values v = {0};
    cli_args args;
    int exit_status = cli_parse(verb, argc, argv, &v, &args);
    if (exit_status != CLI_GO_ON)
        return exit_status;
    nyb_context *context;
    exit_status = cli_open_context(v.cpu, v.threads, &context);
    if (exit_status != CLI_OK)
        return exit_status;
    exit_status = print(context, v.json);
    nyb_context_destroy(&context);
    return exit_status;
}

const cli_verb cli_verb_info = {
    .name = "info",
    .about = "CPU, kernels, threads, version and build",
    .synopsis = "[options]",
    .description = "Prints the instruction set in use, those this machine could use, the threads, "
                   "and which engine and kernel each kind of product runs on.",
    .example = "  nybble info\n  NYBBLE_CPU=avx2 nybble info --json\n",
    .options = options,
    .min_args = 0,
    .max_args = 0,
    .run = run,
};
