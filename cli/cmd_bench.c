/* nybble bench gemm | quant | linear | step: medians with their spread. */
#include <stdlib.h>
#include <string.h>

#include "job.h"
#include "verbs.h"

typedef struct values {
    const char *a, *b, *model, *recipe, *input, *cpu;
    cli_list set;
    size_t m, n, k, threads, classes, milliseconds;
    bool json;
} values;

static const cli_option options[] = {
    {"m", "N", "rows of x (default: 1024)", CLI_SIZE, offsetof(values, m), 1, 1 << 20},
    {"n", "N", "rows of w (default: 1024)", CLI_SIZE, offsetof(values, n), 1, 1 << 20},
    {"k", "N", "columns of x and w (default: 1024)", CLI_SIZE, offsetof(values, k), 1, 1 << 20},
    {"a", "SPEC", "gemm, quant: the first operand (default: int4)", CLI_TEXT, offsetof(values, a),
     0, 0},
    {"b", "SPEC", "gemm: the second operand (default: int4)", CLI_TEXT, offsetof(values, b), 0, 0},
    {"model", "NAME", "step: model (see nybble train --help)", CLI_TEXT, offsetof(values, model), 0,
     0},
    {"input", "CxHxW", "step: shape of the input (default: 3x32x32)", CLI_TEXT,
     offsetof(values, input), 0, 0},
    {"classes", "N", "step: number of classes (default: 10)", CLI_SIZE, offsetof(values, classes),
     1, 1000000},
    {"recipe", "NAME|FILE", "linear, step: recipe (default: luq)", CLI_TEXT,
     offsetof(values, recipe), 0, 0},
    {"set", "KEY=VALUE", "linear, step: change a key of the recipe; may be repeated", CLI_LIST,
     offsetof(values, set), 0, 0},
    {"time", "MS", "milliseconds each thing is measured for, at least (default: 500)", CLI_SIZE,
     offsetof(values, milliseconds), 1, 600000},
    CLI_CPU_OPTION(values),
    CLI_THREADS_OPTION(values),
    CLI_JSON_OPTION(values),
    {0},
};

/* ---- measuring ---------------------------------------------------------------------------- */

#define REPEATS_MIN 5
#define REPEATS_MAX 10000

typedef struct spread {
    size_t n;
    double median, p10, p90; /* seconds */
} spread;

/* Runs once to warm up, then until enough time and repetitions have gone by. */
static nyb_status measure(nyb_status (*fn)(void *arg, nyb_error *err), void *arg, double seconds,
                          spread *s, nyb_error *err)
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
        *s = (spread){n, cli_quantile(times, n, 0.5), cli_quantile(times, n, 0.1),
                      cli_quantile(times, n, 0.9)};
    free(times);
    return status;
}

/* One measured thing; work is in units of `unit`: MAC, elements, samples. */
typedef struct line {
    const char *name, *engine, *kernel, *unit;
    spread spread;
    double work;
} line;

static int report(const nyb_context *context, const char *what, const line *lines, size_t n,
                  bool json, json_t *extra)
{
    if (json) {
        json_t *array = json_array();
        for (size_t i = 0; i < n; i++) {
            const line *l = &lines[i];
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
        const line *l = &lines[i];
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

/* ---- operands ----------------------------------------------------------------------------- */

/* Bell-shaped numbers from a fixed sequence: the sum of four uniform ones. */
static float *make_values(size_t rows, size_t cols, uint64_t seed)
{
    float *x = cli_alloc(rows * cols, sizeof *x);
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (size_t i = 0; i < rows * cols; i++) {
        float sum = -2.0f;
        for (int j = 0; j < 4; j++) {
            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            sum += (float)(state >> 40) * 0x1p-24f;
        }
        x[i] = sum;
    }
    return x;
}

static bool is_real(const nyb_spec *spec)
{
    return nyb_format_bits(spec->format) > 8;
}

/* An operand: its real values, and its codes unless it is f32. */
typedef struct operand {
    nyb_context *context;
    nyb_spec spec;
    size_t rows, cols;
    float *x;
    nyb_matrix *matrix;
} operand;

static nyb_status encode(operand *o, nyb_error *err)
{
    nyb_matrix_destroy(&o->matrix);
    return nyb_matrix_create(o->context, &o->spec, o->x, o->rows, o->cols, 1, 0, 0, &o->matrix,
                             err);
}

static nyb_status encode_again(void *arg, nyb_error *err)
{
    return encode(arg, err);
}

static nyb_status operand_open(operand *o, nyb_context *context, const nyb_spec *spec, size_t rows,
                               size_t cols, uint64_t seed, nyb_error *err)
{
    *o = (operand){.context = context, .spec = *spec, .rows = rows, .cols = cols};
    o->x = make_values(rows, cols, seed);
    return is_real(spec) ? NYB_OK : encode(o, err);
}

static void operand_close(operand *o)
{
    nyb_matrix_destroy(&o->matrix);
    free(o->x);
}

/* ---- products ----------------------------------------------------------------------------- */

typedef struct product {
    nyb_plan *plan;
    const operand *a, *b;
    float *out;
} product;

static nyb_status multiply(void *arg, nyb_error *err)
{
    (void)err;
    product *p = arg;
    if (p->a->matrix)
        nyb_plan_run(p->plan, p->a->matrix, p->b->matrix, p->out);
    else
        nyb_plan_run_f32(p->plan, p->a->x, p->b->x, p->out);
    return NYB_OK;
}

/* The layer's m n k; a and b are x w, dy w or dy x. Both packed, or both real. */
static nyb_status measure_product(const char *name, nyb_plan_kind kind, const operand *a,
                                  const operand *b, const values *v, size_t n_out, line *l,
                                  nyb_error *err)
{
    product p = {.a = a, .b = b};
    if (is_real(&a->spec) != is_real(&b->spec))
        return nyb_fail(err, NYB_INVALID, "%s: an f32 and a quantized operand cannot be timed",
                        name);
    NYB_TRY(nyb_plan_create(a->context, kind, (nyb_image){1, 1, v->m, v->k}, v->n, 1, 1, 1, 0,
                            a->spec.format, b->spec.format, &p.plan, err));
    p.out = cli_alloc(n_out, sizeof *p.out);
    l->name = name;
    l->engine = nyb_plan_engine(p.plan);
    l->kernel = nyb_plan_kernel(p.plan);
    l->unit = "MAC";
    l->work = (double)v->m * (double)v->n * (double)v->k;
    nyb_status status = measure(multiply, &p, (double)v->milliseconds * 1e-3, &l->spread, err);
    free(p.out);
    nyb_plan_destroy(&p.plan);
    return status;
}

static nyb_status measure_encode(const char *name, operand *o, const values *v, line *l,
                                 nyb_error *err)
{
    l->name = name;
    l->engine = "quantize";
    l->kernel = nyb_context_cpu(o->context);
    l->unit = "elements";
    l->work = (double)o->rows * (double)o->cols;
    return measure(encode_again, o, (double)v->milliseconds * 1e-3, &l->spread, err);
}

static json_t *describe_sizes(const values *v)
{
    return json_pack("{s:I, s:I, s:I}", "m", (json_int_t)v->m, "n", (json_int_t)v->n, "k",
                     (json_int_t)v->k);
}

static int parse_spec(const char *option, const char *text, nyb_spec *spec)
{
    nyb_error err;
    return nyb_spec_parse(text, spec, &err) == NYB_OK ? CLI_OK : cli_fail_argument(option, &err);
}

static int bench_gemm(nyb_context *context, const values *v)
{
    nyb_error err;
    nyb_spec a_spec, b_spec;
    if (parse_spec("--a", v->a, &a_spec) != CLI_OK || parse_spec("--b", v->b, &b_spec) != CLI_OK)
        return CLI_USAGE;
    operand a = {0}, b = {0};
    line l;
    nyb_status status = operand_open(&a, context, &a_spec, v->m, v->k, 1, &err);
    if (status == NYB_OK)
        status = operand_open(&b, context, &b_spec, v->n, v->k, 2, &err);
    if (status == NYB_OK)
        status = measure_product("y = x w'", NYB_PLAN_Y, &a, &b, v, v->m * v->n, &l, &err);
    operand_close(&a);
    operand_close(&b);
    if (status != NYB_OK)
        return cli_fail("bench gemm", &err);
    return report(context, "gemm", &l, 1, v->json, describe_sizes(v));
}

static int bench_quant(nyb_context *context, const values *v)
{
    nyb_error err;
    nyb_spec spec;
    if (parse_spec("--a", v->a, &spec) != CLI_OK)
        return CLI_USAGE;
    if (is_real(&spec)) {
        cli_error("bench quant", "f32 is not quantized: another --a is needed");
        return CLI_USAGE;
    }
    operand a = {0};
    line l;
    nyb_status status = operand_open(&a, context, &spec, v->m, v->k, 1, &err);
    if (status == NYB_OK)
        status = measure_encode("scale and encode", &a, v, &l, &err);
    operand_close(&a);
    if (status != NYB_OK)
        return cli_fail("bench quant", &err);
    return report(context, "quant", &l, 1, v->json, describe_sizes(v));
}

/* ---- a linear layer's step ---------------------------------------------------------------- */

static nyb_status spec_of(const nyb_recipe *recipe, const char *key, nyb_spec *spec, nyb_error *err)
{
    char text[96];
    nyb_recipe_print(recipe, key, text, sizeof text);
    return nyb_spec_parse(text, spec, err);
}

/* Quantizing x, w, dy once each, and the three products. */
static nyb_status measure_linear(nyb_context *context, const nyb_recipe *recipe, const values *v,
                                 line *lines, size_t *n_lines, nyb_error *err)
{
    nyb_spec specs[3];
    NYB_TRY(spec_of(recipe, "fwd.x", &specs[0], err));
    NYB_TRY(spec_of(recipe, "fwd.w", &specs[1], err));
    NYB_TRY(spec_of(recipe, "dgrad.dy", &specs[2], err));
    static const char *const names[] = {"quantize x", "quantize w", "quantize dy"};
    size_t rows[] = {v->m, v->n, v->m}, cols[] = {v->k, v->k, v->n};
    operand o[3] = {{0}};
    nyb_status status = NYB_OK;
    *n_lines = 0;
    for (size_t i = 0; i < 3 && status == NYB_OK; i++) {
        status = operand_open(&o[i], context, &specs[i], rows[i], cols[i], i + 1, err);
        if (status == NYB_OK && o[i].matrix)
            status = measure_encode(names[i], &o[i], v, &lines[(*n_lines)++], err);
    }
    if (status == NYB_OK)
        status = measure_product("y = x w'", NYB_PLAN_Y, &o[0], &o[1], v, v->m * v->n,
                                 &lines[(*n_lines)++], err);
    if (status == NYB_OK)
        status = measure_product("dx = dy w", NYB_PLAN_DX, &o[2], &o[1], v, v->m * v->k,
                                 &lines[(*n_lines)++], err);
    if (status == NYB_OK)
        status = measure_product("dw = dy' x", NYB_PLAN_DW, &o[2], &o[0], v, v->n * v->k,
                                 &lines[(*n_lines)++], err);
    for (size_t i = 0; i < 3; i++)
        operand_close(&o[i]);
    return status;
}

static int bench_linear(nyb_context *context, const values *v)
{
    nyb_error err;
    nyb_recipe *recipe;
    line lines[8];
    size_t n = 0;
    if (nyb_recipe_create(v->recipe, &recipe, &err) != NYB_OK)
        return cli_fail_argument("--recipe", &err);
    int exit_status = cli_apply_sets(recipe, &v->set);
    if (exit_status == CLI_OK && measure_linear(context, recipe, v, lines, &n, &err) != NYB_OK)
        exit_status = cli_fail("bench linear", &err);
    nyb_recipe_destroy(&recipe);
    if (exit_status != CLI_OK)
        return exit_status;
    double seconds = 0;
    for (size_t i = 0; i < n; i++)
        seconds += lines[i].spread.median;
    lines[n++] = (line){.name = "step: the sum",
                        .engine = "",
                        .kernel = "",
                        .unit = "MAC",
                        .spread = {1, seconds, seconds, seconds},
                        .work = 3.0 * (double)v->m * (double)v->n * (double)v->k};
    json_t *extra = describe_sizes(v);
    json_object_set_new(extra, "recipe", json_string(v->recipe));
    return report(context, "linear", lines, n, v->json, extra);
}

/* ---- a whole training step ---------------------------------------------------------------- */

typedef struct step {
    nyb_train *train;
    float *x;
    int32_t *labels;
} step;

static nyb_status run_step(void *arg, nyb_error *err)
{
    step *s = arg;
    double loss;
    return nyb_train_step(s->train, s->x, s->labels, &loss, err);
}

static int measure_step(cli_job *job, const cli_input *input, const values *v)
{
    nyb_error err;
    size_t batch = (size_t)job->options.batch;
    step s = {.train = job->train};
    s.x = make_values(batch, input->h * input->w * input->c, 1);
    s.labels = cli_alloc(batch, sizeof *s.labels);
    for (size_t i = 0; i < batch; i++)
        s.labels[i] = (int32_t)(i % input->classes);
    for (size_t i = 0; input->nonneg && i < batch * input->h * input->w * input->c; i++)
        s.x[i] = s.x[i] < 0 ? -s.x[i] : s.x[i];
    line l = {.name = job->model_spec,
              .unit = "samples",
              .engine = "",
              .kernel = nyb_recipe_name(job->recipe),
              .work = (double)batch};
    nyb_status status = measure(run_step, &s, (double)v->milliseconds * 1e-3, &l.spread, &err);
    free(s.x);
    free(s.labels);
    if (status != NYB_OK)
        return cli_fail("bench step", &err);
    nyb_train_summary summary;
    nyb_train_summarize(job->train, &summary);
    json_t *extra =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "model", job->model_spec, "recipe",
                  nyb_recipe_name(job->recipe), "input", v->input, "batch", (json_int_t)batch,
                  "saved_activation_bytes", (json_int_t)summary.saved_activation_bytes,
                  "arena_bytes", (json_int_t)summary.arena_bytes);
    return report(job->context, "step", &l, 1, v->json, extra);
}

static int bench_step(const cli_args *args, const values *v)
{
    if (!v->model) {
        cli_error("bench step", "--model is needed");
        cli_hint("nybble bench --help");
        return CLI_USAGE;
    }
    cli_job job = {
        .cpu = v->cpu, .threads = v->threads, .model_spec = v->model, .recipe_spec = v->recipe};
    cli_input input;
    int exit_status = cli_job_set_options(&job, args);
    if (exit_status == CLI_OK)
        exit_status = cli_job_open_recipe(&job, &v->set);
    if (exit_status == CLI_OK)
        exit_status = cli_job_open_context(&job);
    if (exit_status == CLI_OK)
        exit_status = cli_job_parse_input(&job, v->input, v->classes, &input);
    if (exit_status == CLI_OK)
        exit_status = cli_job_build(&job, &input);
    if (exit_status == CLI_OK)
        exit_status = measure_step(&job, &input, v);
    cli_job_close(&job);
    return exit_status;
}

/* ---- the verb ----------------------------------------------------------------------------- */

static int run(const cli_verb *verb, int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*bench)(nyb_context *context, const values *v);
    } benches[] = {{"gemm", bench_gemm}, {"quant", bench_quant}, {"linear", bench_linear}};
    values v = {.a = "int4",
                .b = "int4",
                .recipe = "luq",
                .input = "3x32x32",
                .classes = 10,
                .m = 1024,
                .n = 1024,
                .k = 1024,
                .milliseconds = 500};
    cli_args args;
    int exit_status = cli_parse(verb, argc, argv, &v, &args);
    if (exit_status != CLI_GO_ON)
        return exit_status;
    if (strcmp(args.at[0], "step") == 0)
        return bench_step(&args, &v);
    for (size_t i = 0; i < sizeof benches / sizeof benches[0]; i++) {
        nyb_context *context;
        if (strcmp(args.at[0], benches[i].name) != 0)
            continue;
        exit_status = cli_open_context(v.cpu, v.threads, &context);
        if (exit_status != CLI_OK)
            return exit_status;
        exit_status = benches[i].bench(context, &v);
        nyb_context_destroy(&context);
        return exit_status;
    }
    cli_error("bench", "'%s' is not gemm, quant, linear or step", args.at[0]);
    cli_hint("nybble bench --help");
    return CLI_USAGE;
}

const cli_verb cli_verb_bench = {
    .name = "bench",
    .about = "time products, quantization, layers and training steps",
    .synopsis = "gemm | quant | linear | step [options]",
    .description =
        "gemm: one packed product, x (m, k) by w (n, k). quant: scale and encode of x (m, k), "
        "memory for the result included. linear: quantization and the three products of a linear "
        "layer. step: a whole training step of a model.\n\n"
        "Prints the median and the 10 % and 90 % quantiles after one warm-up run.",
    .example = "  nybble bench gemm --m 1024 --n 1024 --k 1024 --a e3m0 --b int4 --threads 1\n"
               "  nybble bench step --model resnet18 --input 3x32x32 --batch 64 --recipe luq\n",
    .options = options,
    .takes_train_options = true,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
