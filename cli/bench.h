/* What the benchmarks of `nybble bench` share: values, measuring, operands. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "job.h"

/* The options of all but `bench recipes`. */
typedef struct bench_values {
    const char *a, *b, *model, *recipe, *input, *cpu;
    cli_list set;
    size_t m, n, k, threads, classes, milliseconds;
    bool json;
} bench_values;

/* ---- measuring (bench_measure.c) ---------------------------------------------------------- */

typedef struct bench_spread {
    size_t n;
    double median, p10, p90; /* seconds */
} bench_spread;

/* Runs once to warm up, then until enough time and repetitions have gone by. */
nyb_status bench_measure(nyb_status (*fn)(void *arg, nyb_error *err), void *arg, double seconds,
                         bench_spread *s, nyb_error *err);

/* One measured thing; work is in units of `unit`: MAC, elements, samples. */
typedef struct bench_line {
    const char *name, *engine, *kernel, *unit;
    bench_spread spread;
    double work;
} bench_line;

/* Prints; takes over extra, members of the JSON output. Returns the exit status. */
int bench_report(const nyb_context *context, const char *what, const bench_line *lines, size_t n,
                 bool json, json_t *extra);
json_t *bench_describe_sizes(const bench_values *v);

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
nyb_status bench_measure_encode(const char *name, bench_operand *o, const bench_values *v,
                                bench_line *l, nyb_error *err);
/* The layer's m n k; a and b are x w, dy w or dy x. Both packed, or both real. */
nyb_status bench_measure_product(const char *name, nyb_plan_kind kind, const bench_operand *a,
                                 const bench_operand *b, const bench_values *v, size_t n_out,
                                 bench_line *l, nyb_error *err);

/* ---- the benchmarks: one bench_<name>.c each ---------------------------------------------- */

int bench_gemm(nyb_context *context, const bench_values *v);
int bench_quant(nyb_context *context, const bench_values *v);
int bench_linear(nyb_context *context, const bench_values *v);
int bench_step(const cli_args *args, const bench_values *v);

/* A verb of its own, with its own options: `nybble bench recipes --help`. */
extern const cli_verb cli_bench_recipes;

#endif
