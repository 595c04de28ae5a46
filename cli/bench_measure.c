/* Repeating, and reporting medians with their spread. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define REPEATS_MAX 10000

static bench_spread spread_of(double *times, size_t n)
{
    return (bench_spread){n, cli_quantile(times, n, 0.5), cli_quantile(times, n, 0.1),
                          cli_quantile(times, n, 0.9)};
}

static nyb_status timed(nyb_status (*fn)(void *arg, nyb_error *err), void *arg, double *seconds,
                        nyb_error *err)
{
    double start = cli_now();
    NYB_TRY(fn(arg, err));
    *seconds = cli_now() - start;
    return NYB_OK;
}

nyb_status bench_measure(nyb_status (*fn)(void *arg, nyb_error *err), void *arg,
                         const bench_values *v, bench_spread *s, nyb_error *err)
{
    NYB_TRY(fn(arg, err));
    double *times = cli_alloc(REPEATS_MAX, sizeof *times);
    double start = cli_now(), seconds = (double)v->milliseconds * 1e-3;
    nyb_status status = NYB_OK;
    size_t n = 0;
    while (n < REPEATS_MAX && (n < v->repeats || cli_now() - start < seconds)) {
        status = timed(fn, arg, &times[n], err);
        if (status != NYB_OK)
            break;
        n++;
    }
    if (status == NYB_OK)
        *s = spread_of(times, n);
    free(times);
    return status;
}

nyb_status bench_measure_pair(nyb_status (*ours)(void *arg, nyb_error *err), void *our_arg,
                              nyb_status (*theirs)(void *arg, nyb_error *err), void *their_arg,
                              const bench_values *v, bench_pair *pair, nyb_error *err)
{
    NYB_TRY(ours(our_arg, err));
    NYB_TRY(theirs(their_arg, err));
    double *times = cli_alloc((size_t)3 * REPEATS_MAX, sizeof *times);
    double *rival = times + REPEATS_MAX, *ratio = rival + REPEATS_MAX;
    double start = cli_now(), seconds = (double)v->milliseconds * 1e-3;
    nyb_status status = NYB_OK;
    size_t n = 0;
    while (n < REPEATS_MAX && (n < v->repeats || cli_now() - start < 2 * seconds)) {
        status = timed(ours, our_arg, &times[n], err);
        if (status == NYB_OK)
            status = timed(theirs, their_arg, &rival[n], err);
        if (status != NYB_OK)
            break;
        ratio[n] = rival[n] / times[n];
        n++;
    }
    if (status == NYB_OK)
        *pair = (bench_pair){spread_of(times, n), spread_of(rival, n), spread_of(ratio, n)};
    free(times);
    return status;
}

static json_t *line_json(const bench_line *l)
{
    json_t *line =
        json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:I, s:f, s:s}", "name", l->name, "engine",
                  l->engine, "kernel", l->kernel, "median_s", l->spread.median, "p10_s",
                  l->spread.p10, "p90_s", l->spread.p90, "repeats", (json_int_t)l->spread.n,
                  "per_s", l->work / l->spread.median, "unit", l->unit);
    if (l->elements > 0)
        json_object_update_new(line, json_pack("{s:f, s:f}", "bytes", l->bytes, "bytes_per_element",
                                               l->bytes / l->elements));
    if (l->limit > 0)
        json_object_update_new(line, json_pack("{s:f, s:f}", "least_s", l->limit, "share_of_limit",
                                               l->limit / l->spread.median));
    if (l->rival.n)
        json_object_set_new(line, "rival",
                            json_pack("{s:s, s:f, s:f, s:f, s:f}", "name", "own f32", "median_s",
                                      l->rival.median, "ratio", l->ratio.median, "ratio_p10",
                                      l->ratio.p10, "ratio_p90", l->ratio.p90));
    return line;
}

/* A number, or a dash where there is none. */
static void cell(cli_table *table, bool is_there, const char *format, double value)
{
    char text[32] = "-";
    if (is_there)
        snprintf(text, sizeof text, format, value);
    cli_table_cell(table, "%s", text);
}

static void print_lines(const bench_line *lines, size_t n)
{
    const char *const headers[] = {"",         "engine",    "kernel",  "median ms",
                                   "10 % ms",  "90 % ms",   "repeats", "rate",
                                   "of limit", "bytes/elt", "f32 ms",  "f32/ours"};
    cli_table *table = cli_table_create("lllrrrrrrrrr", headers);
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
        cell(table, l->limit > 0, "%.0f %%", 100 * l->limit / l->spread.median);
        cell(table, l->elements > 0, "%.2f", l->bytes / l->elements);
        cell(table, l->rival.n > 0, "%.4f", l->rival.median * 1e3);
        cell(table, l->rival.n > 0, "%.2f", l->ratio.median);
    }
    cli_table_print(table, stdout);
}

int bench_report(const nyb_context *context, const char *what, const bench_line *lines, size_t n,
                 bool json, json_t *extra)
{
    if (json) {
        json_t *array = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append_new(array, line_json(&lines[i]));
        json_object_update_new(extra, json_pack("{s:s, s:s, s:I, s:s, s:o}", "bench", what, "cpu",
                                                nyb_context_cpu(context), "threads",
                                                (json_int_t)nyb_context_threads(context), "version",
                                                nyb_version(), "lines", array));
        return cli_print_json(extra);
    }
    json_decref(extra);
    printf("%s, %s, %zu thread%s\n", what, nyb_context_cpu(context), nyb_context_threads(context),
           nyb_context_threads(context) == 1 ? "" : "s");
    print_lines(lines, n);
    return cli_close_output();
}

json_t *bench_describe_sizes(const bench_values *v)
{
    return json_pack("{s:I, s:I, s:I}", "m", (json_int_t)v->m, "n", (json_int_t)v->n, "k",
                     (json_int_t)v->k);
}
