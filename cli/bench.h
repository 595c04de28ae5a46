/* What the benchmarks of `nybble bench` share: values, measuring, operands. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "board.h"

/* The options of all but `bench recipes` and `bench accumulators`. */
typedef struct bench_values {
    const char *a, *b, *model, *recipe, *input, *cpu;
    cli_list set;
    const char *rival;
    size_t m, n, k, h, c, o, kernel, stride, pad, threads, classes, milliseconds, repeats;
    bool json, split, layers, depthwise;
} bench_values;

/* ---- measuring (bench_measure.c) ---------------------------------------------------------- */

typedef struct bench_spread {
    size_t n;
    double median, p10, p90; /* seconds */
} bench_spread;

/* Runs once to warm up, then until v's time and repetitions have gone by. */
nyb_status bench_measure(nyb_status (*fn)(void *arg, nyb_error *err), void *arg,
                         const bench_values *v, bench_spread *s, nyb_error *err);

/* The same of two things that take turns; ratio: theirs to ours, of each round. */
typedef struct bench_pair {
    bench_spread ours, theirs, ratio;
} bench_pair;
nyb_status bench_measure_pair(nyb_status (*ours)(void *arg, nyb_error *err), void *our_arg,
                              nyb_status (*theirs)(void *arg, nyb_error *err), void *their_arg,
                              const bench_values *v, bench_pair *pair, nyb_error *err);

/* One measured thing; work is in units of `unit`: MAC, elements, samples. */
typedef struct bench_line {
    const char *name, *engine, *kernel, *unit;
    bench_spread spread;
    double work;
    double elements, bytes;    /* of all tensors, each as often as it is read or written; or 0 */
    double limit;              /* seconds that it takes at least by machine's limits; or 0 */
    bench_spread rival, ratio; /* our f32 in turns with it; n 0: none */
} bench_line;

/* Prints; takes over extra, members of the JSON output. Returns the exit status. */
int bench_report(const nyb_context *context, const char *what, const bench_line *lines, size_t n,
                 bool json, json_t *extra);
json_t *bench_describe_sizes(const bench_values *v);

/* ---- what the machine can do (bench_limits.c) --------------------------------------------- */

#define BENCH_LEVELS    3
#define BENCH_PEAKS_MAX 32

typedef struct bench_peak {
    const nyb_format *a, *b;
    char engine[16], kernel[16];
    double macs_per_s;
} bench_peak;

/* A cache, or memory: how much it holds for all threads together, and how fast a smaller set is
 * read and copied (read and written bytes counted). 0: not measured yet. */
typedef struct bench_level {
    const char *name;
    double n_bytes, set_bytes, read, copy;
} bench_level;

/* Limits of a context's threads, measured when first asked for; the best run counts. */
typedef struct bench_limits {
    nyb_context *context;
    double seconds; /* of each measurement */
    size_t repeats; /* at least */
    bench_level levels[BENCH_LEVELS];
    size_t n_peaks;
    bench_peak peaks[BENCH_PEAKS_MAX];
} bench_limits;

void bench_limits_init(bench_limits *l, nyb_context *context, const bench_values *v);
/* Products of a by b; NULL if there is no kernel for them. */
const bench_peak *bench_limits_peak(bench_limits *l, const nyb_format *a, const nyb_format *b);
const bench_level *bench_limits_level(bench_limits *l, size_t i);
/* Seconds that moving so many bytes takes at least, from the smallest level that holds them. */
double bench_limits_moving(bench_limits *l, double n_read, double n_written);
json_t *bench_limits_json(const bench_limits *l);

/* ---- operands and products (bench_operand.c) ---------------------------------------------- */

/* Bell-shaped numbers from a fixed sequence: the sum of four uniform ones. */
float *bench_make_values(size_t rows, size_t cols, uint64_t seed);

/* An operand: its real values, and its codes unless it is f32. */
typedef struct bench_operand {
    nyb_context *context;
    nyb_spec spec;
    size_t rows, cols;
    float *x;
    nyb_matrix *matrix;
} bench_operand;

bool bench_is_real(const nyb_spec *spec);
/* CLI_OK, or the exit status of a reported failure. */
int bench_parse_spec(const char *option, const char *text, nyb_spec *spec);
nyb_status bench_operand_open(bench_operand *o, nyb_context *context, const nyb_spec *spec,
                              size_t rows, size_t cols, uint64_t seed, nyb_error *err);
void bench_operand_close(bench_operand *o);
nyb_status bench_measure_encode(const char *name, bench_operand *o, struct bench_limits *limits,
                                const bench_values *v, bench_line *l, nyb_error *err);
/* A layer: a linear one is a 1x1 convolution of one image of m x 1 pixels. */
typedef struct bench_layer {
    nyb_image x;
    size_t o, kernel, stride, pad;
    bool depthwise; /* o = x.c, and each output sees its own channel only */
    size_t oh, ow;  /* bench_layer_init computes them */
} bench_layer;
/* False if the kernel is larger than the image. */
bool bench_layer_init(bench_layer *l);
bench_layer bench_layer_linear(const bench_values *v);
double bench_layer_macs(const bench_layer *l);
/* The weights as a matrix: o * kernel * kernel rows of c; depthwise: c rows of kernel * kernel. */
size_t bench_layer_weight_rows(const bench_layer *l);
size_t bench_layer_weight_cols(const bench_layer *l);
/* a and b are x w, dy w or dy x. Both packed, or both real. Takes turns with our own f32 product
 * unless that is what it is, or v->rival says otherwise. */
nyb_status bench_measure_product(const char *name, nyb_plan_kind kind, const bench_layer *layer,
                                 const bench_operand *a, const bench_operand *b,
                                 struct bench_limits *limits, const bench_values *v, bench_line *l,
                                 nyb_error *err);

/* ---- the benchmarks: one bench_<name>.c each ---------------------------------------------- */

int bench_gemm(nyb_context *context, const bench_values *v);
int bench_quant(nyb_context *context, const bench_values *v);
int bench_linear(nyb_context *context, const bench_values *v);
int bench_conv(nyb_context *context, const bench_values *v);
int bench_machine(nyb_context *context, const bench_values *v);
int bench_step(const cli_args *args, const bench_values *v);

/* Where the time of a step goes (bench_split.c): traced steps, each of which `step` makes. */
typedef struct bench_split bench_split;
nyb_status bench_split_measure(nyb_train *train, nyb_status (*step)(void *arg, nyb_error *err),
                               void *arg, bench_limits *limits, const bench_values *v,
                               bench_split **split, nyb_error *err);
/* Takes more steps, of a run with data, as training does: batches come from the loader. */
nyb_status bench_split_feed(bench_split *split, nyb_train *train, const bench_values *v,
                            nyb_error *err);
void bench_split_destroy(bench_split **split);
json_t *bench_split_json(const bench_split *split);
void bench_split_print(const bench_split *split, bool kinds, bool layers);

/* Verbs of their own, with their own options: `nybble bench recipes --help`. */
extern const cli_verb cli_bench_recipes, cli_bench_accumulators;

/* ---- campaigns (bench_recipes.c) ---------------------------------------------------------- */

/* What bench recipes and bench accumulators are told; the latter's options begin with it. */
typedef struct bench_campaign {
    const cli_verb *verb;
    const char *preset, *data, *out, *results, *part, *machine, *commit, *cpu;
    cli_list recipes, models, seeds, set, import;
    size_t threads, limit_train, limit_test, times;
    bool json, quiet, report_only, dry_run;
    /* Writes the tables to `out`, and prints them if exit_status is CLI_OK; the new exit status. */
    int (*report)(const struct bench_campaign *v, const board_records *records, int exit_status);
} bench_campaign;

/* The options of both that follow their own. */
/* clang-format off */
#define BENCH_CAMPAIGN_OPTIONS \
    {"data", "SPEC", "data set (default: fashion-mnist)", CLI_TEXT, \
     offsetof(bench_campaign, data), 0, 0}, \
    {"limit-train", "N", "use only the first N training samples (0: all)", CLI_SIZE, \
     offsetof(bench_campaign, limit_train), 0, SIZE_MAX}, \
    {"limit-test", "N", "use only the first N test samples (0: all)", CLI_SIZE, \
     offsetof(bench_campaign, limit_test), 0, SIZE_MAX}, \
    {"set", "KEY=VALUE", "change a key of every recipe; may be repeated", CLI_LIST, \
     offsetof(bench_campaign, set), 0, 0}, \
    {"part", "I/N", "only every N-th run, from the I-th on: for several processes", CLI_TEXT, \
     offsetof(bench_campaign, part), 0, 0}, \
    {"results", "FILE", \
     "JSON lines, one a finished run: runs that are there are not repeated, new ones are " \
     "appended", \
     CLI_TEXT, offsetof(bench_campaign, results), 0, 0}, \
    {"import", "FILE", "such lines from elsewhere, only read; may be repeated", CLI_LIST, \
     offsetof(bench_campaign, import), 0, 0}, \
    {"report-only", NULL, "train nothing, write the tables of what is finished", CLI_FLAG, \
     offsetof(bench_campaign, report_only), 0, 0}, \
    {"dry-run", NULL, "print which runs are finished and which are missing", CLI_FLAG, \
     offsetof(bench_campaign, dry_run), 0, 0}, \
    {"machine", "TEXT", "what records call this machine (default: its CPU's name)", CLI_TEXT, \
     offsetof(bench_campaign, machine), 0, 0}, \
    {"commit", "TEXT", "what records call this version (default: the release)", CLI_TEXT, \
     offsetof(bench_campaign, commit), 0, 0}, \
    {"quiet", NULL, "no progress on standard error", CLI_FLAG, \
     offsetof(bench_campaign, quiet), 0, 0}
/* clang-format on */

/* Trains what is missing, and reports. */
int bench_campaign_run(bench_campaign *v, cli_args *args);
/* The end of the help text. */
void bench_print_presets(FILE *out);

#endif
