/* What a machine can do at best: products on tiles in the L1 cache, streams from caches and memory.
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define RUN_SECONDS 1e-3 /* a run is repeated within until it takes this long */

/* Work per second of the best run; work: of one repetition. */
static double best_rate(void (*run)(void *arg, size_t repeats), void *arg, double work,
                        double seconds, size_t n_runs)
{
    size_t repeats = 1;
    double best = 0, start = cli_now();
    for (size_t n = 0; n < 3 || n < n_runs || cli_now() - start < seconds; n++) {
        double t = cli_now();
        run(arg, repeats);
        t = cli_now() - t;
        if (t < RUN_SECONDS && repeats < (size_t)1 << 30) {
            repeats *= 2;
            n = 0;
        }
        if (t > 0 && work * (double)repeats / t > best && t >= RUN_SECONDS)
            best = work * (double)repeats / t;
    }
    return best;
}

/* ---- memory ------------------------------------------------------------------------------- */

/* Bytes of the first processor's cache of a level; what is usual where the system does not say. */
static double cache_bytes(unsigned level, double usual)
{
    double n_bytes = usual;
    for (int i = 0; i < 8; i++) {
        char path[80];
        unsigned this_level = 0;
        double kib = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/level", i);
        FILE *file = fopen(path, "r");
        if (!file)
            break;
        bool is_it = fscanf(file, "%u", &this_level) == 1 && this_level == level;
        fclose(file);
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
        file = is_it ? fopen(path, "r") : NULL;
        if (!file)
            continue;
        if (fscanf(file, "%lfK", &kib) == 1 && kib > 0)
            n_bytes = kib * 1024;
        fclose(file);
    }
    return n_bytes;
}

void bench_limits_init(bench_limits *l, nyb_context *context, const bench_values *v)
{
    double threads = (double)nyb_context_threads(context);
    double l2 = cache_bytes(2, 512e3) * threads;
    double l3 = cache_bytes(3, 8e6);
    double memory = 4 * l3 < 64e6 ? 64e6 : 4 * l3 > 512e6 ? 512e6 : 4 * l3;
    *l = (bench_limits){.context = context,
                        .seconds = (double)v->milliseconds * 1e-3,
                        .repeats = v->repeats,
                        .levels = {{.name = "L2", .n_bytes = l2, .set_bytes = l2 / 2},
                                   {.name = "L3", .n_bytes = l3, .set_bytes = l3 / 4},
                                   {.name = "memory", .n_bytes = 1e18, .set_bytes = memory}}};
    if (l->seconds > 0.1)
        l->seconds = 0.1;
    if (l3 < 8 * l2) /* then a quarter of L3, which is shared with others, fits L2 */
        l->levels[1].set_bytes = l3 / 2;
}

typedef struct stream {
    nyb_context *context;
    nyb_stream_kind kind;
    void *memory;
    size_t n_bytes;
} stream;

static void run_stream(void *arg, size_t repeats)
{
    stream *s = arg;
    nyb_stream_run(s->context, s->kind, s->memory, s->n_bytes, repeats);
}

const bench_level *bench_limits_level(bench_limits *l, size_t i)
{
    bench_level *level = &l->levels[i];
    if (level->read > 0)
        return level;
    size_t unit = 1024 * nyb_context_threads(l->context);
    stream s = {.context = l->context, .kind = NYB_STREAM_READ};
    s.n_bytes = (size_t)level->set_bytes / unit * unit;
    if (s.n_bytes == 0)
        s.n_bytes = unit;
    s.memory = aligned_alloc(64, s.n_bytes);
    if (!s.memory) {
        cli_error("bench", "no memory for %zu bytes", s.n_bytes);
        exit(CLI_FAILURE);
    }
    memset(s.memory, 1, s.n_bytes);
    level->set_bytes = (double)s.n_bytes;
    level->read = best_rate(run_stream, &s, (double)s.n_bytes, l->seconds, l->repeats);
    s.kind = NYB_STREAM_COPY;
    level->copy = best_rate(run_stream, &s, (double)s.n_bytes, l->seconds, l->repeats);
    free(s.memory);
    return level;
}

double bench_limits_moving(bench_limits *l, double n_read, double n_written)
{
    size_t i = 0;
    while (i + 1 < BENCH_LEVELS && n_read + n_written > l->levels[i].n_bytes)
        i++;
    if (n_read + n_written <= 0)
        return 0;
    const bench_level *level = bench_limits_level(l, i);
    double copied = n_read < n_written ? n_read : n_written;
    /* What is written without being read costs what a copy costs. */
    return (n_read - copied) / level->read + 2 * n_written / level->copy;
}

/* ---- products ----------------------------------------------------------------------------- */

static void run_peak(void *arg, size_t repeats)
{
    nyb_peak_run(arg, repeats);
}

const bench_peak *bench_limits_peak(bench_limits *l, const nyb_format *a, const nyb_format *b)
{
    static const size_t depths[] = {64, 128, 256, 512};
    for (size_t i = 0; i < l->n_peaks; i++)
        if (l->peaks[i].a == a && l->peaks[i].b == b)
            return l->peaks[i].macs_per_s > 0 ? &l->peaks[i] : NULL;
    if (l->n_peaks == BENCH_PEAKS_MAX)
        return NULL;
    bench_peak *p = &l->peaks[l->n_peaks++];
    *p = (bench_peak){.a = a, .b = b};
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        nyb_peak *peak;
        nyb_error err;
        if (nyb_peak_create(l->context, a, b, depths[i], &peak, &err) != NYB_OK)
            return NULL;
        snprintf(p->engine, sizeof p->engine, "%s", nyb_peak_engine(peak));
        snprintf(p->kernel, sizeof p->kernel, "%s", nyb_peak_kernel(peak));
        double rate =
            best_rate(run_peak, peak, (double)nyb_peak_macs(peak), l->seconds / 4, l->repeats);
        if (rate > p->macs_per_s)
            p->macs_per_s = rate;
        nyb_peak_destroy(&peak);
    }
    return p;
}

json_t *bench_limits_json(const bench_limits *l)
{
    json_t *levels = json_array(), *peaks = json_array();
    for (size_t i = 0; i < BENCH_LEVELS; i++)
        if (l->levels[i].read > 0)
            json_array_append_new(
                levels, json_pack("{s:s, s:f, s:f, s:f}", "name", l->levels[i].name, "set_bytes",
                                  l->levels[i].set_bytes, "read_bytes_per_s", l->levels[i].read,
                                  "copy_bytes_per_s", l->levels[i].copy));
    for (size_t i = 0; i < l->n_peaks; i++)
        if (l->peaks[i].macs_per_s > 0)
            json_array_append_new(peaks, json_pack("{s:s, s:s, s:s, s:s, s:f}", "a",
                                                   nyb_format_name(l->peaks[i].a), "b",
                                                   nyb_format_name(l->peaks[i].b), "engine",
                                                   l->peaks[i].engine, "kernel", l->peaks[i].kernel,
                                                   "macs_per_s", l->peaks[i].macs_per_s));
    return json_pack("{s:I, s:o, s:o}", "threads", (json_int_t)nyb_context_threads(l->context),
                     "levels", levels, "peaks", peaks);
}
