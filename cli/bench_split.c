/* Where the time of a training step goes: by kind of work, and layer by layer. */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define STEPS_MAX 400

/* Parts of one kind, or of one layer and kind, taken together. */
typedef struct group {
    nyb_trace_line line; /* bytes and multiply-adds are sums, the rest is the first part's */
    size_t calls;
    double seconds;
    double limit;   /* seconds that it takes at least; 0: unknown */
    double at_peak; /* seconds of its multiply-adds at their kernels' peaks; 0: unknown */
} group;

/* Steps that were fed by the loader. */
typedef struct loading {
    size_t n_steps; /* 0: not measured */
    double batch;   /* CPU seconds of the loader's thread */
    double waited;  /* seconds that a step waited for it */
    double step;    /* seconds, waiting included */
} loading;

struct bench_split {
    bench_limits *limits;
    size_t n_parts, n_steps, n_kinds, n_layers;
    double seconds; /* of a step */
    double *parts;  /* [n_parts] seconds in it */
    group *kinds, *layers;
    loading loading;
};

/* ---- the clock ---------------------------------------------------------------------------- */

typedef struct stopwatch {
    size_t n_parts, current; /* n_parts: between steps */
    double began;
    double *seconds; /* [n_parts] of this step */
} stopwatch;

static void note(void *user, size_t i)
{
    stopwatch *w = user;
    double now = cli_now();
    if (w->current < w->n_parts)
        w->seconds[w->current] += now - w->began;
    w->current = i;
    w->began = now;
}

/* ---- the middle half of the steps --------------------------------------------------------- */

typedef struct ranked {
    double seconds;
    const double *parts;
} ranked;

static int by_seconds(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    return (x->seconds > y->seconds) - (x->seconds < y->seconds);
}

/* Means over the n steps, [n][n_parts] in times, that are neither among the fastest nor the slowest
 * quarter: they add up, and a step that was disturbed is left out. Returns the sum of parts. */
static double average(const double *times, size_t n, size_t n_parts, double *parts)
{
    size_t first = n / 4, last = n - n / 4;
    double seconds = 0;
    ranked *steps = cli_alloc(n, sizeof *steps);
    for (size_t i = 0; i < n; i++) {
        steps[i].parts = times + i * n_parts;
        for (size_t j = 0; j < n_parts; j++)
            steps[i].seconds += steps[i].parts[j];
    }
    qsort(steps, n, sizeof *steps, by_seconds);
    for (size_t i = first; i < last; i++) {
        seconds += steps[i].seconds / (double)(last - first);
        for (size_t j = 0; j < n_parts; j++)
            parts[j] += steps[i].parts[j] / (double)(last - first);
    }
    free(steps);
    return seconds;
}

/* ---- groups ------------------------------------------------------------------------------- */

static double peak_seconds(bench_limits *limits, const nyb_trace_line *l)
{
    const bench_peak *peak = NULL;
    if (l->macs && (strcmp(l->engine, "s8") == 0 || strcmp(l->engine, "f32") == 0))
        peak = bench_limits_peak(limits, l->a, l->b);
    return peak ? (double)l->macs / peak->macs_per_s : 0;
}

/* Products whose kernel has no measured peak have no limit. */
static double least_seconds(const nyb_trace_line *l, double moving, double at_peak)
{
    if (l->macs && at_peak <= 0)
        return 0;
    return moving > at_peak ? moving : at_peak;
}

static group *find_group(group *groups, size_t *n, const nyb_trace_line *line, bool by_layer)
{
    for (size_t i = 0; i < *n; i++) {
        const nyb_trace_line *l = &groups[i].line;
        if (strcmp(l->kind, line->kind) == 0 &&
            (!by_layer || (strcmp(l->layer, line->layer) == 0 && strcmp(l->slot, line->slot) == 0)))
            return &groups[i];
    }
    groups[*n].line = *line;
    groups[*n].line.macs = groups[*n].line.read_bytes = groups[*n].line.written_bytes = 0;
    return &groups[(*n)++];
}

static void add_part(group *g, const nyb_trace_line *line, double seconds, double limit,
                     double at_peak)
{
    g->calls++;
    g->seconds += seconds;
    g->limit += limit;
    g->at_peak += at_peak;
    g->line.macs += line->macs;
    g->line.read_bytes += line->read_bytes;
    g->line.written_bytes += line->written_bytes;
}

static int by_time(const void *a, const void *b)
{
    const group *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static void group_parts(bench_split *s, const nyb_train *train)
{
    s->kinds = cli_alloc(s->n_parts, sizeof *s->kinds);
    s->layers = cli_alloc(s->n_parts, sizeof *s->layers);
    for (size_t i = 0; i < s->n_parts; i++) {
        nyb_trace_line line;
        nyb_train_trace_at(train, i, &line);
        double at_peak = peak_seconds(s->limits, &line);
        double moving =
            bench_limits_moving(s->limits, (double)line.read_bytes, (double)line.written_bytes);
        double limit = least_seconds(&line, moving, at_peak);
        add_part(find_group(s->kinds, &s->n_kinds, &line, false), &line, s->parts[i], limit,
                 at_peak);
        add_part(find_group(s->layers, &s->n_layers, &line, true), &line, s->parts[i], limit,
                 at_peak);
    }
    qsort(s->kinds, s->n_kinds, sizeof *s->kinds, by_time);
}

nyb_status bench_split_measure(nyb_train *train, nyb_status (*step)(void *arg, nyb_error *err),
                               void *arg, bench_limits *limits, const bench_values *v,
                               bench_split **split, nyb_error *err)
{
    size_t n = nyb_train_trace_count(train);
    double *times = cli_alloc(STEPS_MAX * n, sizeof *times);
    bench_split *s = cli_alloc(1, sizeof *s);
    *s = (bench_split){.limits = limits, .n_parts = n, .parts = cli_alloc(n, sizeof *s->parts)};
    stopwatch watch = {.n_parts = n, .current = n};
    nyb_status status = NYB_OK;
    double start = cli_now(), seconds = (double)v->milliseconds * 1e-3;
    nyb_train_trace(train, note, &watch);
    while (status == NYB_OK && s->n_steps < STEPS_MAX &&
           (s->n_steps < v->repeats || cli_now() - start < seconds)) {
        watch.seconds = times + s->n_steps++ * n;
        status = step(arg, err);
    }
    nyb_train_trace(train, NULL, NULL);
    if (status == NYB_OK) {
        s->seconds = average(times, s->n_steps, n, s->parts);
        group_parts(s, train);
        *split = s;
    } else {
        bench_split_destroy(&s);
    }
    free(times);
    return status;
}

/* One step as nyb_train_run takes it: seconds of waiting for the batch, and of the rest. */
static nyb_status fed_step(nyb_train *train, double times[2], nyb_error *err)
{
    const float *x;
    const int32_t *labels;
    double loss, began = cli_now();
    nyb_status status = nyb_train_batch(train, &x, &labels, err);
    double fed = cli_now();
    if (status == NYB_OK)
        status = nyb_train_step(train, x, labels, &loss, err);
    times[0] = fed - began;
    times[1] = cli_now() - fed;
    return status;
}

nyb_status bench_split_feed(bench_split *s, nyb_train *train, const bench_values *v, nyb_error *err)
{
    double *times = cli_alloc(2 * STEPS_MAX, sizeof *times);
    double parts[2] = {0}, before, after, start = cli_now(), ms = (double)v->milliseconds;
    uint64_t n_before, n_after;
    size_t n = 0;
    nyb_status status = NYB_OK;
    nyb_train_get_loading(train, &n_before, &before);
    while (status == NYB_OK && n < STEPS_MAX && (n < v->repeats || cli_now() - start < ms * 1e-3))
        status = fed_step(train, times + 2 * n++, err);
    nyb_train_get_loading(train, &n_after, &after);
    if (status == NYB_OK) {
        s->loading = (loading){.n_steps = n,
                               .batch = (after - before) / (double)(n_after - n_before),
                               .step = average(times, n, 2, parts)};
        s->loading.waited = parts[0];
    }
    free(times);
    return status;
}

void bench_split_destroy(bench_split **split)
{
    bench_split *s = *split;
    if (!s)
        return;
    free(s->parts);
    free(s->kinds);
    free(s->layers);
    free(s);
    *split = NULL;
}

/* ---- reports ------------------------------------------------------------------------------ */

static json_t *group_json(const bench_split *s, const group *g, bool by_layer)
{
    const nyb_trace_line *l = &g->line;
    double bytes = (double)(l->read_bytes + l->written_bytes);
    json_t *json = json_pack("{s:s, s:I, s:f, s:f, s:I, s:I, s:f, s:I, s:f}", "kind", l->kind,
                             "calls", (json_int_t)g->calls, "seconds", g->seconds, "share",
                             g->seconds / s->seconds, "read_bytes", (json_int_t)l->read_bytes,
                             "written_bytes", (json_int_t)l->written_bytes, "bytes_per_s",
                             g->seconds > 0 ? bytes / g->seconds : 0.0, "macs", (json_int_t)l->macs,
                             "macs_per_s", g->seconds > 0 ? (double)l->macs / g->seconds : 0.0);
    if (g->at_peak > 0 && g->seconds > 0)
        json_object_set_new(json, "share_of_peak", json_real(g->at_peak / g->seconds));
    if (g->limit > 0)
        json_object_set_new(json, "least_s", json_real(g->limit));
    if (by_layer)
        json_object_update_new(
            json,
            json_pack("{s:s, s:s, s:s, s:[I,I,I,I], s:s, s:s, s:s, s:s}", "layer", l->layer, "op",
                      l->op, "slot", l->slot, "shape", (json_int_t)l->shape[0],
                      (json_int_t)l->shape[1], (json_int_t)l->shape[2], (json_int_t)l->shape[3],
                      "engine", l->engine, "kernel", l->kernel, "a",
                      l->a ? nyb_format_name(l->a) : "", "b", l->b ? nyb_format_name(l->b) : ""));
    return json;
}

json_t *bench_split_json(const bench_split *s)
{
    json_t *kinds = json_array(), *layers = json_array();
    for (size_t i = 0; i < s->n_kinds; i++)
        json_array_append_new(kinds, group_json(s, &s->kinds[i], false));
    for (size_t i = 0; i < s->n_layers; i++)
        json_array_append_new(layers, group_json(s, &s->layers[i], true));
    json_t *json = json_pack("{s:f, s:I, s:o, s:o}", "step_s", s->seconds, "steps",
                             (json_int_t)s->n_steps, "kinds", kinds, "layers", layers);
    const loading *l = &s->loading;
    if (l->n_steps)
        json_object_set_new(json, "loading",
                            json_pack("{s:I, s:f, s:f, s:f}", "steps", (json_int_t)l->n_steps,
                                      "batch_s", l->batch, "waited_s", l->waited, "fed_step_s",
                                      l->step));
    return json;
}

/* value, or a dash unless it is there */
static void cell(cli_table *table, bool is_there, const char *format, double value)
{
    char text[32] = "-";
    if (is_there)
        snprintf(text, sizeof text, format, value);
    cli_table_cell(table, "%s", text);
}

static void print_figures(cli_table *table, const group *g, double step)
{
    double read = (double)g->line.read_bytes, written = (double)g->line.written_bytes;
    double macs = (double)g->line.macs;
    cli_table_cell(table, "%.3f", g->seconds * 1e3);
    cli_table_cell(table, "%.1f %%", 100 * g->seconds / step);
    cell(table, read + written > 0, "%.2f", read * 1e-6);
    cell(table, read + written > 0, "%.2f", written * 1e-6);
    cell(table, read + written > 0 && g->seconds > 0, "%.1f", (read + written) / g->seconds * 1e-9);
    cell(table, macs > 0 && g->seconds > 0, "%.1f", macs / g->seconds * 1e-9);
    cell(table, g->at_peak > 0 && g->seconds > 0, "%.0f %%", 100 * g->at_peak / g->seconds);
    cell(table, g->limit > 0, "%.3f", g->limit * 1e3);
    cell(table, g->limit > 0 && g->seconds > 0, "%.0f %%", 100 * g->limit / g->seconds);
}

#define FIGURES                                                                                    \
    "ms", "share", "MB read", "MB written", "GB/s", "GMAC/s", "of peak", "least ms", "reached"

static void print_kinds(const bench_split *s)
{
    const char *const headers[] = {"kind", "calls", FIGURES};
    cli_table *table = cli_table_create("lrrrrrrrrrr", headers);
    group sum = {.seconds = s->seconds};
    for (size_t i = 0; i < s->n_kinds; i++) {
        const group *g = &s->kinds[i];
        cli_table_cell(table, "%s", g->line.kind);
        cli_table_cell(table, "%zu", g->calls);
        print_figures(table, g, s->seconds);
        sum.calls += g->calls;
        sum.limit += g->limit;
        sum.line.macs += g->line.macs;
        sum.line.read_bytes += g->line.read_bytes;
        sum.line.written_bytes += g->line.written_bytes;
    }
    cli_table_cell(table, "the step");
    cli_table_cell(table, "%zu", sum.calls);
    print_figures(table, &sum, s->seconds);
    cli_table_print(table, stdout);
}

/* What stands beside the step, and what of it is not hidden behind it. */
static void print_loading(const bench_split *s)
{
    const char *const headers[] = {"beside the step", "ms", "of a step"};
    const loading *l = &s->loading;
    cli_table *table = cli_table_create("lrr", headers);
    cli_table_cell(table, "loading a batch, CPU time of a thread");
    cli_table_cell(table, "%.3f", l->batch * 1e3);
    cli_table_cell(table, "%.1f %%", 100 * l->batch / s->seconds);
    cli_table_cell(table, "waiting for it");
    cli_table_cell(table, "%.3f", l->waited * 1e3);
    cli_table_cell(table, "%.1f %%", 100 * l->waited / s->seconds);
    cli_table_cell(table, "a step that is fed so, with the wait");
    cli_table_cell(table, "%.3f", l->step * 1e3);
    cli_table_cell(table, "%.1f %%", 100 * l->step / s->seconds);
    printf("\n");
    cli_table_print(table, stdout);
}

static void print_layers(const bench_split *s)
{
    const char *const headers[] = {"layer", "shape", "kind", FIGURES};
    cli_table *table = cli_table_create("lllrrrrrrrrr", headers);
    for (size_t i = 0; i < s->n_layers; i++) {
        const nyb_trace_line *l = &s->layers[i].line;
        cli_table_cell(table, "%s", l->layer);
        if (l->shape[0])
            cli_table_cell(table, "%zux%zux%zux%zu", l->shape[0], l->shape[1], l->shape[2],
                           l->shape[3]);
        else
            cli_table_cell(table, "%s", "");
        cli_table_cell(table, "%s%s%s", l->kind, *l->slot ? " " : "", l->slot);
        print_figures(table, &s->layers[i], s->seconds);
    }
    cli_table_print(table, stdout);
}

void bench_split_print(const bench_split *s, bool kinds, bool layers)
{
    printf("\nthe middle half of %zu traced steps: %.3f ms\n", s->n_steps, s->seconds * 1e3);
    if (kinds)
        print_kinds(s);
    if (kinds && s->loading.n_steps)
        print_loading(s);
    if (layers)
        print_layers(s);
}
