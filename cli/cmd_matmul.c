/* nybble matmul A.npy B.npy OUT.npy: one product of quantized operands. */
#include <stdlib.h>
#include <string.h>

#include "verbs.h"

typedef struct values {
    const char *a, *b, *accum, *cpu;
    size_t threads;
    uint64_t seed;
    bool json;
} values;

static const cli_option options[] = {
    {"a", "SPEC", "how A is quantized (default: f32, not at all)", CLI_TEXT, offsetof(values, a), 0,
     0},
    {"b", "SPEC", "how B is quantized (default: f32, not at all)", CLI_TEXT, offsetof(values, b), 0,
     0},
    {"accum", "FORMAT[/CHUNK][/ROUNDING]",
     "format of the partial sums: e6m9/64, fp16, int16/32, e6m5/stochastic (default: f32, the "
     "engine's own)",
     CLI_TEXT, offsetof(values, accum), 0, 0},
    {"seed", "N", "of the random bits of stochastic rounding (default: 0)", CLI_U64,
     offsetof(values, seed), 0, 0},
    CLI_CPU_OPTION(values),
    CLI_THREADS_OPTION(values),
    CLI_JSON_OPTION(values),
    {0},
};

/* One product: c [m][n] = a [m][k] bt' with bt [n][k]. */
typedef struct product {
    nyb_context *context;
    size_t m, n, k;
    nyb_spec a_spec, b_spec;
    nyb_accum accum;
    float *a, *bt, *c;
    char engine[16], kernel[32];
    double seconds;
} product;

/* The product itself, of matrices or, where they are NULL, of real arrays. */
static nyb_status run_plan(product *p, const nyb_matrix *a, const nyb_matrix *b, uint64_t seed,
                           nyb_error *err)
{
    const nyb_format *f32 = nyb_format_find("f32");
    nyb_plan *plan;

    if (a)
        NYB_TRY(nyb_plan_create_matmul(p->context, NYB_PLAN_Y, a, b, &p->accum, &plan, err));
    else
        NYB_TRY(nyb_plan_create_accum(p->context, NYB_PLAN_Y, (nyb_image){1, 1, p->m, p->k}, p->n,
                                      1, 1, 1, 0, f32, f32, &p->accum, &plan, err));
    nyb_plan_seed(plan, seed, 0);
    const double start = cli_now();
    if (a)
        nyb_plan_run(plan, a, b, p->c);
    else
        nyb_plan_run_f32(plan, p->a, p->bt, p->c);
    p->seconds = cli_now() - start;
    snprintf(p->engine, sizeof p->engine, "%s", nyb_plan_engine(plan));
    snprintf(p->kernel, sizeof p->kernel, "%s", nyb_plan_kernel(plan));
    nyb_plan_destroy(&plan);
    return NYB_OK;
}

/* Both operands packed: A draws with draw 0, B with draw 1. */
static nyb_status multiply_codes(product *p, uint64_t seed, nyb_error *err)
{
    nyb_matrix *a = NULL, *b = NULL;
    nyb_status status =
        nyb_matrix_create(p->context, &p->a_spec, p->a, p->m, p->k, seed, 0, 0, &a, err);
    if (status == NYB_OK)
        status = nyb_matrix_create(p->context, &p->b_spec, p->bt, p->n, p->k, seed, 0, 1, &b, err);
    if (status == NYB_OK)
        status = run_plan(p, a, b, seed, err);
    nyb_matrix_destroy(&a);
    nyb_matrix_destroy(&b);
    return status;
}

/* What nyb_quantize_groups makes of rows x p->k values, in memory that free_blocks frees. */
static nyb_status quantize_blocks(const product *p, const nyb_spec *spec, const float *x,
                                  size_t rows, uint64_t seed, uint32_t draw, nyb_block_matrix *m,
                                  nyb_error *err)
{
    uint8_t *codes = cli_alloc(rows, p->k);
    float *scales = cli_alloc(nyb_quant_group_count(spec, rows, p->k), sizeof *scales);

    *m = (nyb_block_matrix){.format = spec->format,
                            .rows = rows,
                            .cols = p->k,
                            .block = nyb_spec_block(spec),
                            .codes = codes,
                            .scales = scales};
    return nyb_quantize_groups(p->context, spec, x, rows, p->k, seed, 0, draw, codes, NULL, scales,
                               NULL, &m->level, err);
}

static void free_blocks(nyb_block_matrix *m)
{
    free((void *)m->codes);
    free((void *)m->scales);
}

/* Both operands in blocks of one length. */
static nyb_status multiply_blocks(product *p, uint64_t seed, nyb_error *err)
{
    nyb_block_matrix a, b = {0};
    nyb_status status = quantize_blocks(p, &p->a_spec, p->a, p->m, seed, 0, &a, err);

    if (status == NYB_OK)
        status = quantize_blocks(p, &p->b_spec, p->bt, p->n, seed, 1, &b, err);
    const double start = cli_now();
    if (status == NYB_OK)
        status = nyb_matmul_blocks(p->context, &a, &b, p->c, err);
    p->seconds = cli_now() - start;
    snprintf(p->engine, sizeof p->engine, "s8");
    snprintf(p->kernel, sizeof p->kernel, "%s", nyb_context_cpu(p->context));
    free_blocks(&a);
    free_blocks(&b);
    return status;
}

/* At least one operand stays real: the other is replaced by its dequantized values. */
static nyb_status multiply_real(product *p, uint64_t seed, nyb_error *err)
{
    if (nyb_format_bits(p->a_spec.format) < 32)
        NYB_TRY(nyb_quantize(p->context, &p->a_spec, p->a, p->m, p->k, seed, 0, 0, NULL, p->a, NULL,
                             err));
    if (nyb_format_bits(p->b_spec.format) < 32)
        NYB_TRY(nyb_quantize(p->context, &p->b_spec, p->bt, p->n, p->k, seed, 0, 1, NULL, p->bt,
                             NULL, err));
    return run_plan(p, NULL, NULL, seed, err);
}

/* Codes with one scale, or one for each row or block, are multiplied as such; all else as values.
 */
static nyb_status multiply_as_specs_say(product *p, uint64_t seed, nyb_error *err)
{
    const size_t block = nyb_spec_block(&p->a_spec);

    if (nyb_matrix_check(&p->a_spec, NULL) == NYB_OK &&
        nyb_matrix_check(&p->b_spec, NULL) == NYB_OK)
        return multiply_codes(p, seed, err);
    if (block > 0 && block == nyb_spec_block(&p->b_spec) &&
        strcmp(nyb_format_name(p->accum.format), "f32") == 0)
        return multiply_blocks(p, seed, err);
    return multiply_real(p, seed, err);
}

static int report(const product *p, bool json)
{
    char a[96], b[96], accum[96], macs[32];
    nyb_spec_print(&p->a_spec, a, sizeof a);
    nyb_spec_print(&p->b_spec, b, sizeof b);
    nyb_accum_print(&p->accum, accum, sizeof accum);
    double n_macs = (double)p->m * (double)p->n * (double)p->k;
    if (json)
        return cli_print_json(json_pack(
            "{s:I, s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:f}", "m", (json_int_t)p->m, "n",
            (json_int_t)p->n, "k", (json_int_t)p->k, "a", a, "b", b, "accum", accum, "engine",
            p->engine, "kernel", p->kernel, "cpu", nyb_context_cpu(p->context), "threads",
            (json_int_t)nyb_context_threads(p->context), "seconds", p->seconds));
    printf("%zu x %zu x %zu (m n k), a %s, b %s\n", p->m, p->n, p->k, a, b);
    printf("engine %s, kernel %s, %.6f s, %sMAC/s\n", p->engine, p->kernel, p->seconds,
           cli_format_count(p->seconds > 0 ? n_macs / p->seconds : 0, macs));
    return cli_close_output();
}

static void transpose(const float *b, size_t k, size_t n, float *bt)
{
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < n; j++)
            bt[j * k + i] = b[i * n + j];
}

static bool is_matrix(const char *name, const nyb_array *x)
{
    if (x->n_dims == 2 && x->n > 0)
        return true;
    cli_error("matmul", "%s has %d dimension%s and %zu elements; a matrix is needed, not empty",
              name, x->n_dims, x->n_dims == 1 ? "" : "s", x->n);
    return false;
}

static int multiply(product *p, const nyb_array *a, const nyb_array *b, const char *out,
                    const values *v)
{
    nyb_error err;
    if (!is_matrix("A", a) || !is_matrix("B", b))
        return CLI_FAILURE;
    if (a->dims[1] != b->dims[0]) {
        cli_error("matmul",
                  "shapes do not agree: A must be (M, K), B (K, N); here (%zu, %zu) and (%zu, %zu)",
                  a->dims[0], a->dims[1], b->dims[0], b->dims[1]);
        return CLI_FAILURE;
    }
    p->m = a->dims[0];
    p->k = a->dims[1];
    p->n = b->dims[1];
    p->a = a->values;
    p->bt = cli_alloc(b->n, sizeof *p->bt);
    size_t n_out;
    if (__builtin_mul_overflow(p->m, p->n, &n_out)) {
        free(p->bt);
        cli_error("matmul", "%zu x %zu results are too many", p->m, p->n);
        return CLI_FAILURE;
    }
    p->c = cli_alloc(n_out, sizeof *p->c);
    transpose(b->values, p->k, p->n, p->bt);
    nyb_status status = multiply_as_specs_say(p, v->seed, &err);
    if (status == NYB_OK)
        status = nyb_array_save(out, p->c, 2, (const size_t[]){p->m, p->n}, &err);
    free(p->bt);
    free(p->c);
    return status == NYB_OK ? report(p, v->json) : cli_fail("matmul", &err);
}

static int run_with(product *p, const cli_args *args, const values *v)
{
    nyb_error err;
    nyb_array a, b;
    if (nyb_array_load(args->at[0], &a, &err) != NYB_OK)
        return cli_fail("matmul", &err);
    int exit_status;
    if (nyb_array_load(args->at[1], &b, &err) != NYB_OK) {
        exit_status = cli_fail("matmul", &err);
    } else {
        exit_status = multiply(p, &a, &b, args->at[2], v);
        nyb_array_free(&b);
    }
    nyb_array_free(&a);
    return exit_status;
}

static int run(const cli_verb *verb, int argc, char **argv)
{
    values v = {.a = "f32", .b = "f32", .accum = "f32"};
    cli_args args;
    int exit_status = cli_parse(verb, argc, argv, &v, &args);
    if (exit_status != CLI_GO_ON)
        return exit_status;
    nyb_error err;
    product p = {0};
    if (nyb_spec_parse(v.a, &p.a_spec, &err) != NYB_OK)
        return cli_fail_argument("--a", &err);
    if (nyb_spec_parse(v.b, &p.b_spec, &err) != NYB_OK)
        return cli_fail_argument("--b", &err);
    if (nyb_accum_parse(v.accum, &p.accum, &err) != NYB_OK)
        return cli_fail_argument("--accum", &err);
    const cli_file files[] = {
        {"A.npy", args.at[0], true}, {"B.npy", args.at[1], true}, {"OUT.npy", args.at[2], false}};
    if (cli_check_files(files, sizeof files / sizeof files[0]) != CLI_OK)
        return CLI_USAGE;
    exit_status = cli_open_context(v.cpu, v.threads, &p.context);
    if (exit_status != CLI_OK)
        return exit_status;
    exit_status = run_with(&p, &args, &v);
    nyb_context_destroy(&p.context);
    return exit_status;
}

const cli_verb cli_verb_matmul = {
    .name = "matmul",
    .about = "multiply two matrices with quantized operands",
    .synopsis = "A.npy B.npy OUT.npy [options]",
    .description =
        "OUT (M, N) = A (M, K) x B (K, N). Operands are quantized and packed as SPEC says, then "
        "multiplied: with two integer formats on the s8 engine, where products of codes are summed "
        "exactly in int32 and the sum is scaled once, or, with blocks of one length, block by "
        "block; else on the f32 engine. Groups lie along K: `row` is a scale for each row of A, "
        "and "
        "for each column of B. With --accum every "
        "partial sum is rounded to FORMAT (clamped, if it is an integer), to nearest or "
        "stochastic, "
        "in chunks of CHUNK products whose sums are then added in order.",
    .example = "  nybble matmul x.npy w.npy y.npy --a uint4/sawb --b int4/sawb\n"
               "  nybble matmul x.npy w.npy y.npy --a e2m1/e8m0/block32 --b e2m1/e8m0/block32\n"
               "  nybble matmul x.npy w.npy y.npy --a e5m2/unit --b e5m2/unit --accum e6m9/64\n"
               "  nybble matmul x.npy w.npy y.npy --a int8/absmax/row --b int4/absmax/row\n",
    .options = options,
    .min_args = 3,
    .max_args = 3,
    .run = run,
};
