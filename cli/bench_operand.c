/* Operands of products, quantized or real, and how long both take. */
#include <stdlib.h>
#include <string.h>

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
    nyb_error why = {.text = "not rows"};
    *o = (bench_operand){.context = context, .spec = *spec, .rows = rows, .cols = cols};
    if (!bench_is_real(spec) &&
        (nyb_matrix_check(spec, &why) != NYB_OK || spec->group != NYB_GROUP_TENSOR))
        return nyb_fail(
            err, NYB_INVALID,
            "operands of one scale are timed, `nybble bench step` and `nybble matmul` do "
            "all: %s",
            why.text);
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

static nyb_status multiply_f32(void *arg, nyb_error *err)
{
    (void)err;
    product *p = arg;
    nyb_plan_run_f32(p->plan, p->a->x, p->b->x, p->out);
    return NYB_OK;
}

static nyb_status plan(nyb_plan_kind kind, const bench_layer *l, nyb_context *context,
                       const nyb_format *a, const nyb_format *b, nyb_plan **made, nyb_error *err)
{
    if (l->depthwise)
        return nyb_plan_create_depthwise(context, kind, l->x, l->kernel, l->kernel, l->stride,
                                         l->pad, a, b, made, err);
    return nyb_plan_create(context, kind, l->x, l->o, l->kernel, l->kernel, l->stride, l->pad, a, b,
                           made, err);
}

/* Elements of out, and of all three tensors. */
static double elements_of(nyb_plan_kind kind, const bench_layer *l, double *all)
{
    double x = (double)l->x.n * (double)l->x.h * (double)l->x.w * (double)l->x.c;
    double w = (double)bench_layer_weight_rows(l) * (double)bench_layer_weight_cols(l);
    double y = (double)l->x.n * (double)l->oh * (double)l->ow * (double)l->o;
    *all = x + w + y;
    return kind == NYB_PLAN_Y ? y : kind == NYB_PLAN_DX ? x : w;
}

static double bytes_of(const bench_operand *o)
{
    return o->matrix ? (double)nyb_matrix_bytes(o->matrix)
                     : 4.0 * (double)o->rows * (double)o->cols;
}

/* Multiplying and moving may overlap: the longer of them is the least. */
static void set_limit(bench_limits *limits, const product *p, double n_out, bench_line *l)
{
    const bench_peak *peak = NULL;
    double read = bytes_of(p->a) + bytes_of(p->b), written = 4 * n_out;
    l->bytes = read + written;
    l->limit = bench_limits_moving(limits, read, written);
    if (p->a->matrix)
        peak = bench_limits_peak(limits, p->a->spec.format, p->b->spec.format);
    else
        peak = bench_limits_peak(limits, nyb_format_find("f32"), nyb_format_find("f32"));
    if (peak && l->work / peak->macs_per_s > l->limit)
        l->limit = l->work / peak->macs_per_s;
}

static nyb_status measure(product *ours, product *theirs, const bench_values *v, bench_line *l,
                          nyb_error *err)
{
    if (!theirs->plan)
        return bench_measure(multiply, ours, v, &l->spread, err);
    bench_pair pair;
    NYB_TRY(bench_measure_pair(multiply, ours, multiply_f32, theirs, v, &pair, err));
    l->spread = pair.ours;
    l->rival = pair.theirs;
    l->ratio = pair.ratio;
    return NYB_OK;
}

nyb_status bench_measure_product(const char *name, nyb_plan_kind kind, const bench_layer *layer,
                                 const bench_operand *a, const bench_operand *b,
                                 bench_limits *limits, const bench_values *v, bench_line *l,
                                 nyb_error *err)
{
    const nyb_format *f32 = nyb_format_find("f32");
    product p = {.a = a, .b = b}, rival = p;
    double n_out = elements_of(kind, layer, &l->elements);
    if (bench_is_real(&a->spec) != bench_is_real(&b->spec))
        return nyb_fail(err, NYB_INVALID, "%s: an f32 and a quantized operand cannot be timed",
                        name);
    NYB_TRY(plan(kind, layer, a->context, a->spec.format, b->spec.format, &p.plan, err));
    nyb_status status = NYB_OK;
    if (a->matrix && strcmp(v->rival, "f32") == 0)
        status = plan(kind, layer, a->context, f32, f32, &rival.plan, err);
    p.out = rival.out = cli_alloc((size_t)n_out, sizeof *p.out);
    l->name = name;
    l->engine = nyb_plan_engine(p.plan);
    l->kernel = nyb_plan_kernel(p.plan);
    l->unit = "MAC";
    l->work = bench_layer_macs(layer);
    if (status == NYB_OK)
        status = measure(&p, &rival, v, l, err);
    if (status == NYB_OK)
        set_limit(limits, &p, n_out, l);
    free(p.out);
    nyb_plan_destroy(&p.plan);
    nyb_plan_destroy(&rival.plan);
    return status;
}

nyb_status bench_measure_encode(const char *name, bench_operand *o, bench_limits *limits,
                                const bench_values *v, bench_line *l, nyb_error *err)
{
    double n = (double)o->rows * (double)o->cols;
    l->name = name;
    l->engine = "quantize";
    l->kernel = nyb_context_cpu(o->context);
    l->unit = "elements";
    l->work = l->elements = n;
    NYB_TRY(bench_measure(encode_again, o, v, &l->spread, err));
    /* Moments and codes read x each. */
    l->bytes = 8 * n + (double)nyb_matrix_bytes(o->matrix);
    l->limit = bench_limits_moving(limits, 8 * n, (double)nyb_matrix_bytes(o->matrix));
    return NYB_OK;
}
