/* Repeating, and reporting medians with their spread. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define REPEATS_MIN 5
#define REPEATS_MAX 10000

nyb_status bench_measure(nyb_status (*fn)(void *arg, nyb_error *err), void *arg, double seconds,
                         bench_spread *s, nyb_error *err)
{
    NYB_TRY(fn(arg, err));
    double *times = cli_alloc(REPEATS_MAX, sizeof *times);
    double start = cli_now();
    nyb_status status = NYB_OK;
    size_t n = 0;
    while (n < REPEATS_MAX && (n < REPEATS_MIN || cli_now() - start < seconds)) {
        double t = cli_now();
        status = fn(arg, err);
        if (status != NYB_OK)
            break;
        times[n++] = cli_now() - t;
    }
    if (status == NYB_OK)
        *s = (bench_spread){n, cli_quantile(times, n, 0.5), cli_quantile(times, n, 0.1),
                            cli_quantile(times, n, 0.9)};
    free(times);
    return status;
}

int bench_report(const nyb_context *context, const char *what, const bench_line *lines, size_t n,
                 bool json, json_t *extra)
{
    if (json) {
        json_t *array = json_array();
        for (size_t i = 0; i < n; i++) {
            const bench_line *l = &lines[i];
            json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:I, s:f, s:s}",
                                                   "name", l->name, "engine", l->engine, "kernel",
                                                   l->kernel, "median_s", l->spread.median, "p10_s",
                                                   l->spread.p10, "p90_s", l->spread.p90, "repeats",
                                                   (json_int_t)l->spread.n, "per_s",
                                                   l->work / l->spread.median, "unit", l->unit));
        }
        json_object_update_new(extra, json_pack("{s:s, s:s, s:I, s:s, s:o}", "bench", what, "cpu",
                                                nyb_context_cpu(context), "threads",
                                                (json_int_t)nyb_context_threads(context), "version",
                                                nyb_version(), "lines", array));
        return cli_print_json(extra);
    }
    json_decref(extra);
    printf("%s, %s, %zu thread%s\n", what, nyb_context_cpu(context), nyb_context_threads(context),
           nyb_context_threads(context) == 1 ? "" : "s");
    const char *const headers[] = {"",        "engine",  "kernel",  "median ms",
                                   "10 % ms", "90 % ms", "repeats", "rate"};
    cli_table *table = cli_table_create("lllrrrrr", headers);
    for (size_t i = 0; i < n; i++) {
        char rate[32];
        const bench_line *l = &lines[i];
        cli_table_cell(table, "%s", l->name);
        cli_table_cell(table, "%s", l->engine);
        cli_table_cell(table, "%s", l->kernel);
        cli_table_cell(table, "%.4f", l->spread.median * 1e3);
        cli_table_cell(table, "%.4f", l->spread.p10 * 1e3);
        cli_table_cell(table, "%.4f", l->spread.p90 * 1e3);
        cli_table_cell(table, "%zu", l->spread.n);
        cli_format_count(l->work / l->spread.median, rate);
        cli_table_cell(table, "%s%s%s/s", rate, strchr(rate, ' ') ? "" : " ", l->unit);
    }
    cli_table_print(table, stdout);
    return cli_close_output();
}

json_t *bench_describe_sizes(const bench_values *v)
{
    return json_pack("{s:I, s:I, s:I}", "m", (json_int_t)v->m, "n", (json_int_t)v->n, "k",
                     (json_int_t)v->k);
}
