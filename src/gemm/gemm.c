/* The public products of matrices and images: checks, a plan, a run. */
#include <nybble/gemm.h>

#include "gemm/depthwise.h"
#include "gemm/matrix.h"

/* Rows with scales of their own; the s8 engine cannot add offsets of b's. */
static nyb_conv_options options_of(const nyb_matrix *a, const nyb_matrix *b, const nyb_accum *accum)
{
    return (nyb_conv_options){.accum = accum,
                              .engine = nyb_packed_has_offset(&b->packed) ? NYB_ENGINE_F32
                                                                          : NYB_ENGINE_AUTO,
                              .lines_a = a->packed.lines,
                              .lines_b = b->packed.lines};
}

/* ---- one product ------------------------------------------------------------------------------
 */

static void run(const nyb_conv *conv, const nyb_context *context, const nyb_operand *a,
                const nyb_operand *b, const float *bias, const nyb_stream *stream, float *out,
                void *scratch)
{
    const uint32_t former = nyb_cpu_fp_enter();
    nyb_conv_run(conv, context, a, b, bias, false, stream, out, scratch);
    nyb_cpu_fp_restore(former);
}

static nyb_status create(const nyb_context *context, nyb_product product,
                         const nyb_conv_shape *shape, const nyb_format *a, const nyb_format *b,
                         const nyb_conv_options *options, nyb_conv **conv, void **scratch,
                         nyb_error *err)
{
    NYB_TRY(nyb_conv_create_with(context, product, shape, a, b, 1, options, conv, err));
    *scratch = nyb_alloc(nyb_conv_scratch_bytes(*conv));
    if (*scratch)
        return NYB_OK;
    const size_t n_bytes = nyb_conv_scratch_bytes(*conv);
    nyb_conv_destroy(conv);
    return nyb_fail(err, NYB_MEMORY, "no memory for %zu bytes of scratch", n_bytes);
}

static nyb_status multiply(const nyb_context *context, nyb_product product,
                           const nyb_conv_shape *shape, const nyb_conv_options *options,
                           const nyb_operand *a, const nyb_operand *b, const float *bias,
                           float *out, nyb_error *err)
{
    const nyb_format *const f32 = &nyb_format_f32;
    nyb_conv *conv;
    void *scratch;

    NYB_TRY(create(context, product, shape, a->packed ? a->packed->format : f32,
                   b->packed ? b->packed->format : f32, options, &conv, &scratch, err));
    run(conv, context, a, b, bias, NULL, out, scratch);
    nyb_free(scratch);
    nyb_conv_destroy(&conv);
    return NYB_OK;
}

/* ---- matrices ---- */

static nyb_status multiply_codes(const nyb_context *context, nyb_product product,
                                 const nyb_conv_shape *shape, const nyb_matrix *a,
                                 const nyb_matrix *b, const float *bias, float *out, nyb_error *err)
{
    const nyb_conv_options options = options_of(a, b, NULL);

    return multiply(context, product, shape, &options, &(nyb_operand){.packed = &a->packed},
                    &(nyb_operand){.packed = &b->packed}, bias, out, err);
}

static nyb_conv_shape linear(size_t m, size_t n, size_t k)
{
    return (nyb_conv_shape){
        .n = 1, .h = 1, .w = m, .c = k, .o = n, .r = 1, .s = 1, .stride = 1, .pad = 0};
}

/* The shape of a product of matrices, if they fit. */
static nyb_status linear_of(nyb_product product, const nyb_matrix *a, const nyb_matrix *b,
                            nyb_conv_shape *shape, nyb_error *err)
{
    const nyb_packed *p = &a->packed, *q = &b->packed;

    switch (product) {
    case NYB_PRODUCT_FWD:
        *shape = linear(p->rows, q->rows, p->cols);
        return p->cols == q->cols
                   ? NYB_OK
                   : nyb_fail(err, NYB_SHAPE, "x has %zu columns, w has %zu", p->cols, q->cols);
    case NYB_PRODUCT_DX:
        *shape = linear(p->rows, q->rows, q->cols);
        return p->cols == q->rows ? NYB_OK
                                  : nyb_fail(err, NYB_SHAPE, "dy has %zu columns, w has %zu rows",
                                             p->cols, q->rows);
    case NYB_PRODUCT_DW:
        *shape = linear(p->rows, p->cols, q->cols);
        return p->rows == q->rows
                   ? NYB_OK
                   : nyb_fail(err, NYB_SHAPE, "dy has %zu rows, x has %zu", p->rows, q->rows);
    }
    return NYB_OK;
}

static nyb_status matmul(const nyb_context *context, nyb_product product, const nyb_matrix *a,
                         const nyb_matrix *b, const float *bias, float *out, nyb_error *err)
{
    nyb_conv_shape shape;

    NYB_TRY(nyb_check_pointers(context && a && b && out, err));
    NYB_TRY(linear_of(product, a, b, &shape, err));
    return multiply_codes(context, product, &shape, a, b, bias, out, err);
}

nyb_status nyb_matmul_y(nyb_context *context, const nyb_matrix *x, const nyb_matrix *w,
                        const float *bias, float *y, nyb_error *err)
{
    return matmul(context, NYB_PRODUCT_FWD, x, w, bias, y, err);
}

nyb_status nyb_matmul_dx(nyb_context *context, const nyb_matrix *dy, const nyb_matrix *w, float *dx,
                         nyb_error *err)
{
    return matmul(context, NYB_PRODUCT_DX, dy, w, NULL, dx, err);
}

nyb_status nyb_matmul_dw(nyb_context *context, const nyb_matrix *dy, const nyb_matrix *x, float *dw,
                         nyb_error *err)
{
    return matmul(context, NYB_PRODUCT_DW, dy, x, NULL, dw, err);
}

/* ---- f32 ---- */

static nyb_status multiply_real(const nyb_context *context, nyb_product product, size_t m, size_t n,
                                size_t k, const float *a, const float *b, const float *bias,
                                float *out, nyb_error *err)
{
    const nyb_conv_shape shape = linear(m, n, k);

    NYB_TRY(nyb_check_pointers(context && a && b && out, err));
    return multiply(context, product, &shape, NULL, &(nyb_operand){.real = a},
                    &(nyb_operand){.real = b}, bias, out, err);
}

nyb_status nyb_matmul_f32_y(nyb_context *context, const float *x, const float *w, const float *bias,
                            size_t m, size_t n, size_t k, float *y, nyb_error *err)
{
    return multiply_real(context, NYB_PRODUCT_FWD, m, n, k, x, w, bias, y, err);
}

nyb_status nyb_matmul_f32_dx(nyb_context *context, const float *dy, const float *w, size_t m,
                             size_t n, size_t k, float *dx, nyb_error *err)
{
    return multiply_real(context, NYB_PRODUCT_DX, m, n, k, dy, w, NULL, dx, err);
}

nyb_status nyb_matmul_f32_dw(nyb_context *context, const float *dy, const float *x, size_t m,
                             size_t n, size_t k, float *dw, nyb_error *err)
{
    return multiply_real(context, NYB_PRODUCT_DW, m, n, k, dy, x, NULL, dw, err);
}

/* ---- images -----------------------------------------------------------------------------------
 */

static nyb_conv_shape shape_of(nyb_image image, size_t o, size_t r, size_t s, size_t stride,
                               size_t pad)
{
    return (nyb_conv_shape){.n = image.n,
                            .h = image.h,
                            .w = image.w,
                            .c = image.c,
                            .o = o,
                            .r = r,
                            .s = s,
                            .stride = stride,
                            .pad = pad};
}

/* The shape check has made sure that the products of sizes do not overflow. */
static bool holds(const nyb_matrix *m, size_t rows, size_t cols)
{
    return m->packed.rows == rows && m->packed.cols == cols;
}

nyb_status nyb_convolve_y(nyb_context *context, const nyb_matrix *x, nyb_image image,
                          const nyb_matrix *w, size_t o, size_t r, size_t s, size_t stride,
                          size_t pad, const float *bias, float *y, nyb_error *err)
{
    nyb_conv_shape shape = shape_of(image, o, r, s, stride, pad);

    NYB_TRY(nyb_check_pointers(context && x && w && y, err));
    NYB_TRY(nyb_conv_shape_check(&shape, err));
    if (!holds(x, image.n * image.h * image.w, image.c))
        return nyb_fail(err, NYB_SHAPE, "x is %zu x %zu, images of %zux%zux%zux%zu need %zu x %zu",
                        x->packed.rows, x->packed.cols, image.n, image.h, image.w, image.c,
                        image.n * image.h * image.w, image.c);
    if (!holds(w, o * r * s, image.c))
        return nyb_fail(err, NYB_SHAPE, "w is %zu x %zu, weights of %zux%zux%zux%zu need %zu x %zu",
                        w->packed.rows, w->packed.cols, o, r, s, image.c, o * r * s, image.c);
    if (x->packed.lines || w->packed.lines)
        return nyb_fail(err, NYB_INVALID,
                        "a convolution's matrices have one scale each; rows with scales of their "
                        "own are for nyb_matmul_y, dx and dw");
    return multiply_codes(context, NYB_PRODUCT_FWD, &shape, x, w, bias, y, err);
}

/* ---- plans ------------------------------------------------------------------------------------
 */

struct nyb_plan {
    nyb_context *context;
    nyb_conv *conv;           /* NULL: depthwise */
    nyb_depthwise *depthwise; /* or NULL */
    void *scratch;
    nyb_stream stream; /* of an accumulator that draws */
};

static nyb_product product_of(nyb_plan_kind kind)
{
    switch (kind) {
    case NYB_PLAN_Y:
        return NYB_PRODUCT_FWD;
    case NYB_PLAN_DX:
        return NYB_PRODUCT_DX;
    case NYB_PLAN_DW:
        return NYB_PRODUCT_DW;
    }
    return NYB_PRODUCT_FWD;
}

/* What nyb_plan_run or nyb_plan_run_f32 can be given. */
static nyb_status check_plan(nyb_plan_kind kind, const nyb_format *a, const nyb_format *b,
                             nyb_error *err)
{
    if (kind != NYB_PLAN_Y && kind != NYB_PLAN_DX && kind != NYB_PLAN_DW)
        return nyb_fail(err, NYB_INVALID, "there is no product %d", (int)kind);
    if (a->grid == NYB_GRID_REAL && b->grid == NYB_GRID_REAL)
        return NYB_OK;
    if (a->grid == NYB_GRID_REAL || b->grid == NYB_GRID_REAL || a->bits > 8 || b->bits > 8)
        return nyb_fail(err, NYB_INVALID,
                        "%s x %s: a plan is of two formats that have matrices, or of f32 twice",
                        a->name, b->name);
    return NYB_OK;
}

nyb_status nyb_plan_create(nyb_context *context, nyb_plan_kind kind, nyb_image image, size_t o,
                           size_t r, size_t s, size_t stride, size_t pad, const nyb_format *a,
                           const nyb_format *b, nyb_plan **plan, nyb_error *err)
{
    return nyb_plan_create_accum(context, kind, image, o, r, s, stride, pad, a, b, NULL, plan, err);
}

static nyb_status create_plan(nyb_context *context, nyb_plan_kind kind, const nyb_conv_shape *shape,
                              const nyb_format *a, const nyb_format *b,
                              const nyb_conv_options *options, nyb_plan **plan, nyb_error *err)
{
    nyb_plan *p = nyb_alloc(sizeof *p);

    if (!p)
        return nyb_fail(err, NYB_MEMORY, "no memory for a plan");
    p->context = context;
    p->stream = (nyb_stream){.role = nyb_conv_sum_role(product_of(kind))};
    const nyb_status status =
        create(context, product_of(kind), shape, a, b, options, &p->conv, &p->scratch, err);
    if (status != NYB_OK) {
        nyb_free(p);
        return status;
    }
    *plan = p;
    return NYB_OK;
}

nyb_status nyb_plan_create_accum(nyb_context *context, nyb_plan_kind kind, nyb_image image,
                                 size_t o, size_t r, size_t s, size_t stride, size_t pad,
                                 const nyb_format *a, const nyb_format *b, const nyb_accum *accum,
                                 nyb_plan **plan, nyb_error *err)
{
    const nyb_conv_shape shape = shape_of(image, o, r, s, stride, pad);
    const nyb_conv_options options = {.accum = accum};

    *plan = NULL;
    NYB_TRY(nyb_check_pointers(context && a && b, err));
    NYB_TRY(check_plan(kind, a, b, err));
    return create_plan(context, kind, &shape, a, b, &options, plan, err);
}

nyb_status nyb_plan_create_matmul(nyb_context *context, nyb_plan_kind kind, const nyb_matrix *a,
                                  const nyb_matrix *b, const nyb_accum *accum, nyb_plan **plan,
                                  nyb_error *err)
{
    nyb_conv_shape shape;

    *plan = NULL;
    NYB_TRY(nyb_check_pointers(context && a && b, err));
    NYB_TRY(check_plan(kind, a->packed.format, b->packed.format, err));
    NYB_TRY(linear_of(product_of(kind), a, b, &shape, err));
    const nyb_conv_options options = options_of(a, b, accum);
    return create_plan(context, kind, &shape, a->packed.format, b->packed.format, &options, plan,
                       err);
}

nyb_status nyb_plan_create_depthwise(nyb_context *context, nyb_plan_kind kind, nyb_image image,
                                     size_t r, size_t s, size_t stride, size_t pad,
                                     const nyb_format *a, const nyb_format *b, nyb_plan **plan,
                                     nyb_error *err)
{
    const nyb_conv_shape shape = shape_of(image, image.c, r, s, stride, pad);

    *plan = NULL;
    NYB_TRY(nyb_check_pointers(context && a && b, err));
    NYB_TRY(check_plan(kind, a, b, err));
    nyb_plan *p = nyb_alloc(sizeof *p);
    if (!p)
        return nyb_fail(err, NYB_MEMORY, "no memory for a plan");
    p->context = context;
    nyb_status status =
        nyb_depthwise_create(context, product_of(kind), &shape, a, b, 1, false, &p->depthwise, err);
    if (status == NYB_OK) {
        p->scratch = nyb_alloc(nyb_depthwise_scratch_bytes(p->depthwise));
        if (!p->scratch)
            status = nyb_fail(err, NYB_MEMORY, "no memory for the scratch of a plan");
    }
    if (status != NYB_OK) {
        nyb_plan_destroy(&p);
        return status;
    }
    *plan = p;
    return NYB_OK;
}

void nyb_plan_destroy(nyb_plan **plan)
{
    if (!*plan)
        return;
    nyb_conv_destroy(&(*plan)->conv);
    nyb_depthwise_destroy(&(*plan)->depthwise);
    nyb_free((*plan)->scratch);
    nyb_free(*plan);
    *plan = NULL;
}

const char *nyb_plan_engine(const nyb_plan *plan)
{
    return plan->depthwise ? nyb_depthwise_engine(plan->depthwise) : nyb_conv_engine(plan->conv);
}

const char *nyb_plan_kernel(const nyb_plan *plan)
{
    return plan->depthwise ? nyb_depthwise_kernel_name(plan->depthwise)
                           : nyb_conv_kernel(plan->conv);
}

void nyb_plan_seed(nyb_plan *plan, uint64_t seed, uint32_t step)
{
    plan->stream.seed = seed;
    plan->stream.step = step;
}

static void run_plan(nyb_plan *plan, nyb_operand a, nyb_operand b, float *out)
{
    if (plan->conv) {
        run(plan->conv, plan->context, &a, &b, NULL, &plan->stream, out, plan->scratch);
        return;
    }
    const uint32_t former = nyb_cpu_fp_enter();
    nyb_depthwise_run(plan->depthwise, plan->context, &a, &b, NULL, false, out, plan->scratch);
    nyb_cpu_fp_restore(former);
}

void nyb_plan_run(nyb_plan *plan, const nyb_matrix *a, const nyb_matrix *b, float *out)
{
    run_plan(plan, (nyb_operand){.packed = &a->packed}, (nyb_operand){.packed = &b->packed}, out);
}

void nyb_plan_run_f32(nyb_plan *plan, const float *a, const float *b, float *out)
{
    run_plan(plan, (nyb_operand){.real = a}, (nyb_operand){.real = b}, out);
}
