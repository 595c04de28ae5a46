/* Operands of products, quantized or real, and how long both take. */
#include <stdlib.h>

#include "bench.h"

float *bench_make_values(size_t rows, size_t cols, uint64_t seed)
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

bool bench_is_real(const nyb_spec *spec)
{
    return nyb_format_bits(spec->format) > 8;
}

static nyb_status encode(bench_operand *o, nyb_error *err)
{
    nyb_matrix_destroy(&o->matrix);
    return nyb_matrix_create(o->context, &o->spec, o->x, o->rows, o->cols, 1, 0, 0, &o->matrix,
                             err);
}

static nyb_status encode_again(void *arg, nyb_error *err)
{
    return encode(arg, err);
}

nyb_status bench_operand_open(bench_operand *o, nyb_context *context, const nyb_spec *spec,
                              size_t rows, size_t cols, uint64_t seed, nyb_error *err)
{
    *o = (bench_operand){.context = context, .spec = *spec, .rows = rows, .cols = cols};
    o->x = bench_make_values(rows, cols, seed);
    return bench_is_real(spec) ? NYB_OK : encode(o, err);
}

void bench_operand_close(bench_operand *o)
{
    nyb_matrix_destroy(&o->matrix);
    free(o->x);
}

int bench_parse_spec(const char *option, const char *text, nyb_spec *spec)
{
    nyb_error err;
    return nyb_spec_parse(text, spec, &err) == NYB_OK ? CLI_OK : cli_fail_argument(option, &err);
}

/* ---- products ----------------------------------------------------------------------------- */

typedef struct product {
    nyb_plan *plan;
    const bench_operand *a, *b;
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

nyb_status bench_measure_product(const char *name, nyb_plan_kind kind, const bench_operand *a,
                                 const bench_operand *b, const bench_values *v, size_t n_out,
                                 bench_line *l, nyb_error *err)
{
    product p = {.a = a, .b = b};
    if (bench_is_real(&a->spec) != bench_is_real(&b->spec))
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
    nyb_status status =
        bench_measure(multiply, &p, (double)v->milliseconds * 1e-3, &l->spread, err);
    free(p.out);
    nyb_plan_destroy(&p.plan);
    return status;
}

nyb_status bench_measure_encode(const char *name, bench_operand *o, const bench_values *v,
                                bench_line *l, nyb_error *err)
{
    l->name = name;
    l->engine = "quantize";
    l->kernel = nyb_context_cpu(o->context);
    l->unit = "elements";
    l->work = (double)o->rows * (double)o->cols;
    return bench_measure(encode_again, o, (double)v->milliseconds * 1e-3, &l->spread, err);
}
