/* nybble bench machine: bandwidths and peaks, for one thread and for all. */
#include "bench.h"

/* The products of the recipes that are used most: 4 bits, 8 bits, f32. */
static const char *const pairs[][2] = {
    {"uint4", "int4"}, {"int4", "int4"}, {"e3m0", "int4"},
    {"e3m0", "uint4"}, {"int8", "int8"}, {"f32", "f32"},
};
#define N_PAIRS (sizeof pairs / sizeof pairs[0])

static void measure(bench_limits *l)
{
    for (size_t i = 0; i < BENCH_LEVELS; i++)
        bench_limits_level(l, i);
    for (size_t i = 0; i < N_PAIRS; i++)
        bench_limits_peak(l, nyb_format_find(pairs[i][0]), nyb_format_find(pairs[i][1]));
}

static void print(const bench_limits *l)
{
    size_t threads = nyb_context_threads(l->context);
    const char *const memory[] = {"", "set", "read GB/s", "copy GB/s"};
    const char *const products[] = {"", "engine", "kernel", "GMAC/s"};
    cli_table *table = cli_table_create("lrrr", memory);
    printf("machine, %s, %zu thread%s\n", nyb_context_cpu(l->context), threads,
           threads == 1 ? "" : "s");
    for (size_t i = 0; i < BENCH_LEVELS; i++) {
        char text[32];
        cli_table_cell(table, "%s", l->levels[i].name);
        cli_table_cell(table, "%s", cli_format_bytes(l->levels[i].set_bytes, text));
        cli_table_cell(table, "%.1f", l->levels[i].read * 1e-9);
        cli_table_cell(table, "%.1f", l->levels[i].copy * 1e-9);
    }
    cli_table_print(table, stdout);
    table = cli_table_create("lllr", products);
    for (size_t i = 0; i < l->n_peaks; i++) {
        const bench_peak *p = &l->peaks[i];
        cli_table_cell(table, "%s x %s", nyb_format_name(p->a), nyb_format_name(p->b));
        cli_table_cell(table, "%s", p->engine);
        cli_table_cell(table, "%s", p->kernel);
        cli_table_cell(table, "%.1f", p->macs_per_s * 1e-9);
    }
    cli_table_print(table, stdout);
}

int bench_machine(nyb_context *context, const bench_values *v)
{
    size_t all = nyb_context_threads(context);
    json_t *counts = json_array();
    for (size_t n = 1;; n = 2 * n < all ? 2 * n : all) {
        nyb_context *some;
        bench_limits limits;
        int exit_status = cli_open_context(nyb_context_cpu(context), n, &some);
        if (exit_status != CLI_OK) {
            json_decref(counts);
            return exit_status;
        }
        bench_limits_init(&limits, some, v);
        measure(&limits);
        if (v->json)
            json_array_append_new(counts, bench_limits_json(&limits));
        else
            print(&limits);
        nyb_context_destroy(&some);
        if (n == all)
            break;
    }
    if (v->json)
        return cli_print_json(json_pack("{s:s, s:s, s:s, s:o}", "bench", "machine", "cpu",
                                        nyb_context_cpu(context), "version", nyb_version(),
                                        "limits", counts));
    json_decref(counts);
    return cli_close_output();
}
