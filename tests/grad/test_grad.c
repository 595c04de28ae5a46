/* Every operator's backward against finite differences of its forward. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../unit/op_rig.h"
#include "gemm/depthwise.h"

/* Step of the differences: a power of two, so that x +- h and x +- 2h are exact in f32. */
#define STEP 0x1p-6f
/* Inputs are distinct multiples of it, half a spacing away from 0: no kink of relu or maxpool lies
 * within 2 steps. */
#define SPACING (5 * STEP)

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

static const nyb_attr attrs[] = {
    {.out = 3, .kernel = 3, .stride = 1, .pad = 1, .bias = true, .eps = 1e-5f, .momentum = 0.1f},
    {.out = 4, .kernel = 2, .stride = 2, .eps = 1e-2f, .label_smoothing = 0.1f},
    {.out = 5, .kernel = 3, .stride = 2, .pad = 1, .bias = true, .eps = 1e-5f, .momentum = 1},
    {.out = 17, .kernel = 1, .stride = 1, .bias = true, .eps = 1e-3f},
    {.out = 2, .kernel = 5, .stride = 3, .pad = 2, .eps = 1e-3f, .label_smoothing = 0.5f},
};
/* The last one has more pixels than a canonical block has rows. */
static const nyb_shape shapes[] = {
    {1, 1, 1, 1},  {2, 3, 3, 2},  {2, 5, 4, 3},  {1, 7, 6, 5},   {3, 4, 4, 4},
    {2, 2, 3, 17}, {6, 1, 1, 10}, {1, 1, 9, 16}, {1, 17, 16, 1},
};

static nyb_context *context;

/* x = a shuffle of n equally spaced values around 0. */
static void spread(float *x, size_t n, uint32_t t)
{
    for (size_t i = 0; i < n; i++)
        x[i] = ((float)i - (float)(n / 2) + 0.5f) * SPACING;
    for (size_t i = n; i-- > 1;) {
        const size_t j = formula_bits(t, (uint32_t)i) % (i + 1);
        const float swap = x[i];
        x[i] = x[j];
        x[j] = swap;
    }
}

/* ---- operators that are GEMMs: their three products, in f32 ------------------------------------
 */

static nyb_conv_shape product_shape(const rig *r)
{
    const nyb_shape in = r->args.in_shape[0], out = r->args.out_shape;

    if (strcmp(r->op->name, "linear") == 0)
        return (nyb_conv_shape){1, 1, nyb_shape_rows(in), in.c, out.c, 1, 1, 1, 0, 0, 0};
    return (nyb_conv_shape){
        in.n,           in.h,           in.w,        in.c, out.c, r->attr.kernel,
        r->attr.kernel, r->attr.stride, r->attr.pad, 0,    0};
}

static void run_depthwise(const nyb_conv_shape *shape, nyb_product product, const nyb_operand *a,
                          const nyb_operand *b, const float *bias, float *out)
{
    const nyb_format *const f32 = nyb_format_find("f32");
    nyb_depthwise *depthwise;
    void *scratch;

    assert_int_equal(
        nyb_depthwise_create(context, product, shape, f32, f32, 1, false, &depthwise, NULL),
        NYB_OK);
    scratch = nyb_alloc(nyb_depthwise_scratch_bytes(depthwise));
    nyb_depthwise_run(depthwise, context, a, b, bias, false, out, scratch);
    nyb_free(scratch);
    nyb_depthwise_destroy(&depthwise);
}

static void run_product(const rig *r, nyb_product product, const float *a, const float *b,
                        const float *bias, float *out)
{
    const nyb_format *const f32 = nyb_format_find("f32");
    const nyb_operand left = {.real = a}, right = {.real = b};
    nyb_conv_shape shape = product_shape(r);
    nyb_conv *conv;
    void *scratch;

    if (r->op->depthwise) {
        run_depthwise(&shape, product, &left, &right, bias, out);
        return;
    }
    assert_int_equal(nyb_conv_shape_check(&shape, NULL), NYB_OK);
    assert_int_equal(nyb_conv_create(context, product, &shape, f32, f32, 1, NULL, &conv, NULL),
                     NYB_OK);
    scratch = nyb_alloc(nyb_conv_scratch_bytes(conv));
    nyb_conv_run(conv, context, &left, &right, bias, false, NULL, out, scratch);
    nyb_free(scratch);
    nyb_conv_destroy(&conv);
}

static void forward(rig *r)
{
    if (r->op->is_gemm)
        run_product(r, NYB_PRODUCT_FWD, r->in[0], r->param[0], r->param[1], r->args.out);
    else
        r->op->forward(&r->args);
}

static void backward(rig *r)
{
    if (r->op->is_gemm) {
        run_product(r, NYB_PRODUCT_DX, r->dout, r->param[0], NULL, r->args.din[0]);
        run_product(r, NYB_PRODUCT_DW, r->dout, r->in[0], NULL, r->args.dparam[0]);
    }
    r->op->backward(&r->args);
}

/* ---- differences --------------------------------------------------------------------------- */

/* The sum of the outputs weighted by dout: its derivatives are what backward computes. */
static double loss(rig *r)
{
    double sum = 0;

    forward(r);
    for (size_t i = 0; i < r->out_size; i++)
        sum += (double)r->args.out[i] * (double)r->dout[i];
    return sum;
}

/* Fourth-order central difference in the element at x. */
static double difference(rig *r, float *x)
{
    const float at = *x;
    double f[5];

    for (int k = -2; k <= 2; k++) {
        *x = at + (float)k * STEP;
        f[k + 2] = loss(r);
    }
    *x = at;
    return (8 * (f[3] - f[1]) - (f[4] - f[0])) / (12 * (double)STEP);
}

/* Errors are measured against the largest derivative of the tensor. Each output of about 1 is
 * rounded by about 2^-24, which the difference multiplies by 2/3 / STEP. */
static void compare(rig *r, const char *what, int which, float *x, const float *dx, size_t n)
{
    const double noise = 2e-5 * sqrt((double)r->out_size) + 3e-5;
    double largest = 0;

    for (size_t i = 0; i < n; i++)
        if (fabs((double)dx[i]) > largest) /* gcc 12 for aarch64 dies of fmax */
            largest = fabs((double)dx[i]);
    for (size_t i = 0; i < n; i++) {
        const double want = difference(r, &x[i]);
        if (!(fabs(want - (double)dx[i]) <= 5e-4 * largest + noise))
            fail_msg("%s: d%s%d[%zu] of %zu x %zu x %zu x %zu: backward %.6g, differences %.6g",
                     r->op->name, what, which, i, r->args.in_shape[0].n, r->args.in_shape[0].h,
                     r->args.in_shape[0].w, r->args.in_shape[0].c, (double)dx[i], want);
    }
}

static void check(rig *r)
{
    for (int i = 0; i < r->op->n_inputs; i++)
        spread(r->in[i], r->in_size[i], 20 + (uint32_t)i);
    if (strcmp(r->op->name, "softmax_xent") == 0) {
        r->dout[0] = 1; /* the loss ... */
        r->dout[1] = 0; /* ... and a count, which has no derivative */
    }
    loss(r);
    backward(r);
    for (int i = 0; i < r->op->n_inputs; i++)
        compare(r, "in", i, r->in[i], r->args.din[i], r->in_size[i]);
    for (int i = 0; i < r->op->n_params; i++)
        compare(r, "param", i, r->param[i], r->args.dparam[i], r->param_size[i]);
}

static void every_operator_agrees_with_differences(void **state)
{
    (void)state;
    for (const nyb_op *const *op = nyb_ops; *op; op++) {
        size_t n_run = 0;
        for (size_t a = 0; a < LENGTH(attrs); a++)
            for (size_t s = 0; s < LENGTH(shapes); s++) {
                const nyb_shape in[NYB_OP_INPUTS] = {shapes[s], shapes[s]};
                rig r;
                if (!rig_create(&r, context, *op, &attrs[a], in))
                    continue;
                check(&r);
                n_run++;
                rig_destroy(&r);
            }
        assert_true(n_run > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operator_agrees_with_differences),
    };
    int failed;

    if (nyb_context_create("auto", 1, &context, NULL) != NYB_OK)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    nyb_context_destroy(&context);
    return failed;
}
