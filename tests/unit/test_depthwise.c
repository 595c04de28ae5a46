/* Depthwise products against plain loops in int64 and double, and, bit for bit, against nyb_conv on
 * filters that are zero off the diagonal; for every kernel and several thread counts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bf16.h"
#include "contexts.h"
#include "draw.h"
#include "gemm/depthwise_impl.h"

/* ---- problems -------------------------------------------------------------------------------- */

/* A random product with both operands also as plain values; packed where the format is one. */
typedef struct problem {
    nyb_product product;
    nyb_conv_shape s;
    const nyb_format *a, *b;
    size_t n_samples, n_a, n_b, n_out;
    nyb_operand op_a[3], op_b;
    nyb_packed packed[4];
    float *value[4]; /* of a's samples, of b (index 3) */
    float *bias, *former, *want;
    bool has_bias, add;
} problem;

static float *values(size_t n)
{
    float *x = malloc(n * sizeof *x);

    for (size_t i = 0; i < n; i++)
        x[i] = (float)(int32_t)draw() * 0x1p-30f;
    return x;
}

/* rows x cols of any codes. */
static nyb_operand operand(const nyb_format *f, size_t rows, size_t cols, float scale,
                           nyb_packed *p, float **value)
{
    if (f == &nyb_format_f32) {
        *value = values(rows * cols);
        return (nyb_operand){.real = *value};
    }
    *p = (nyb_packed){.format = f,
                      .rows = rows,
                      .cols = cols,
                      .pitch = nyb_packed_pitch(cols),
                      .scale = scale,
                      .codes = aligned_alloc(64, nyb_packed_bytes(f, rows, cols) / 64 * 64 + 64)};
    memset(p->codes, 0, nyb_packed_bytes(f, rows, cols));
    for (size_t i = 0; i < rows * cols; i++)
        nyb_packed_set(p, i / cols, i % cols, draw() % f->n_codes);
    if (f->multiples)
        for (size_t i = 0; i < rows * p->pitch / NYB_PITCH; i++)
            nyb_packed_factors(p)[i] = (uint8_t)(1 + draw() % f->multiples);
    *value = malloc(rows * cols * sizeof **value);
    nyb_packed_decode(p, *value);
    return (nyb_operand){.packed = p};
}

/* large: more than 4096 pixels, two chunks of dW in f32. */
static void random_shape(nyb_conv_shape *s, bool large)
{
    static const size_t channels[] = {1, 3, 8, 16, 17, 24, 33, 64, 70, 130};
    static const size_t kernels[] = {1, 3, 3, 3, 5, 7, 2};

    do {
        *s = (nyb_conv_shape){.n = large ? 8 : pick(1, 4), .h = large ? pick(24, 32) : pick(1, 14)};
        s->w = large ? pick(24, 32) : pick(1, 14);
        s->c = s->o = channels[pick(0, large ? 4 : 9)];
        s->r = s->s = kernels[pick(0, 6)];
        s->stride = large ? 1 : pick(1, 3);
        s->pad = large ? s->r / 2 : pick(0, s->r - 1);
    } while (nyb_conv_shape_check(s, NULL) != NYB_OK);
}

static void make_problem(problem *p, const char *a, const char *b, bool large)
{
    *p = (problem){.product = large ? NYB_PRODUCT_DW : (nyb_product)pick(0, 2),
                   .a = nyb_format_find(a),
                   .b = nyb_format_find(b),
                   .n_samples = 1};
    random_shape(&p->s, large);
    const nyb_conv_shape *s = &p->s;
    const bool dw = p->product == NYB_PRODUCT_DW, fwd = p->product == NYB_PRODUCT_FWD;
    const size_t x = s->n * s->h * s->w, y = s->n * s->oh * s->ow, taps = s->r * s->s;

    if (dw)
        p->n_samples = pick(1, 3);
    p->n_a = fwd ? x : y;
    p->n_b = dw ? x : s->c;
    p->n_out = (dw ? taps : fwd ? y : x) * s->c;
    for (size_t i = 0; i < p->n_samples; i++)
        p->op_a[i] = operand(p->a, p->n_a, s->c, 0.37f, &p->packed[i], &p->value[i]);
    p->op_b = operand(p->b, p->n_b, dw ? s->c : taps, 0.11f, &p->packed[3], &p->value[3]);
    p->bias = values(s->c);
    p->former = values(p->n_out);
    p->want = malloc(p->n_out * sizeof *p->want);
    p->has_bias = fwd && pick(0, 1);
    p->add = pick(0, 1);
}

static void free_problem(problem *p)
{
    for (int i = 0; i < 4; i++) {
        free(p->value[i]);
        free(p->packed[i].codes);
    }
    free(p->bias);
    free(p->former);
    free(p->want);
}

static void run(const problem *p, const nyb_context *context, bool f32, float *out)
{
    nyb_depthwise *d;
    void *scratch;

    assert_int_equal(
        nyb_depthwise_create(context, p->product, &p->s, p->a, p->b, p->n_samples, f32, &d, NULL),
        NYB_OK);
    assert_string_equal(nyb_depthwise_engine(d),
                        !f32 && p->a->max_unit > 0 && p->b->max_unit > 0 ? "s8" : "f32");
    scratch = nyb_alloc(nyb_depthwise_scratch_bytes(d));
    memset(scratch, 0xa5, nyb_depthwise_scratch_bytes(d));
    memcpy(out, p->former, p->n_out * sizeof *out);
    const float *bias = p->has_bias ? p->bias : NULL;
    nyb_depthwise_run(d, context, p->op_a, &p->op_b, bias, p->add, out, scratch);
    if (p->product != NYB_PRODUCT_DW && !p->add) {
        uint16_t *half = malloc(p->n_out * sizeof *half);
        for (int drawn = 0; drawn < 2; drawn++) {
            const nyb_stream stream = {.seed = 7, .role = NYB_RNG_STORE_DX};
            const nyb_stream *const draws = drawn ? &stream : NULL;

            nyb_depthwise_run_half(d, context, p->op_a, &p->op_b, bias, draws, half, scratch);
            for (size_t i = 0; i < p->n_out; i++)
                assert_int_equal(half[i], stored_bf16(out[i], draws, i));
        }
        free(half);
    }
    nyb_free(scratch);
    nyb_depthwise_destroy(&d);
}

static void same_everywhere(const problem *p, bool f32)
{
    float *got = malloc(p->n_out * sizeof *got);

    for (size_t l = 0; l < LEVELS; l++)
        for (size_t t = 0; t < THREADS; t++) {
            if (!contexts[l][t])
                continue;
            run(p, contexts[l][t], f32, got);
            for (size_t i = 0; i < p->n_out; i++)
                if (nyb_bits_of(got[i]) != nyb_bits_of(p->want[i]))
                    fail_msg("%s x %s, product %d, %s, %zu threads: n %zu h %zu w %zu c %zu r %zu "
                             "stride %zu pad %zu samples %zu: [%zu] want %.9g, got %.9g",
                             p->a->name, p->b->name, (int)p->product, levels[l], thread_counts[t],
                             p->s.n, p->s.h, p->s.w, p->s.c, p->s.r, p->s.stride, p->s.pad,
                             p->n_samples, i, (double)p->want[i], (double)got[i]);
        }
    free(got);
}

/* ---- integers: loops over all pairs of pixels ------------------------------------------------ */

/* Called for each pixel y of the output, pixel x of the input and tap that meet, and channel. */
typedef void visit_fn(problem *p, size_t y, size_t x, size_t tap, size_t c, double *sums);

static void visit_all(problem *p, visit_fn *visit, double *sums)
{
    const nyb_conv_shape *s = &p->s;

    for (size_t n = 0; n < s->n; n++)
        for (size_t oy = 0; oy < s->oh; oy++)
            for (size_t ox = 0; ox < s->ow; ox++)
                for (size_t iy = 0; iy < s->h; iy++)
                    for (size_t ix = 0; ix < s->w; ix++) {
                        const size_t r = iy + s->pad - oy * s->stride;
                        const size_t t = ix + s->pad - ox * s->stride; /* wraps: no tap */

                        for (size_t c = 0; r < s->r && t < s->s && c < s->c; c++)
                            visit(p, (n * s->oh + oy) * s->ow + ox, (n * s->h + iy) * s->w + ix,
                                  r * s->s + t, c, sums);
                    }
}

/* In units of both scales where the codes are integers, else in values. */
static double value_of(const problem *p, int which, size_t i)
{
    const nyb_packed *packed = which == 3 ? p->op_b.packed : p->op_a[which].packed;
    const nyb_format *f = which == 3 ? p->b : p->a;
    const bool units = p->a->max_unit > 0 && p->b->max_unit > 0;

    if (!units)
        return (double)p->value[which][i];
    return f->units[nyb_packed_get(packed, i / packed->cols, i % packed->cols)] *
           (double)nyb_packed_factor(packed, i / packed->cols, i % packed->cols);
}

static void visit(problem *p, size_t y, size_t x, size_t tap, size_t c, double *sums)
{
    const size_t channels = p->s.c, w = c * p->s.r * p->s.s + tap;

    switch (p->product) {
    case NYB_PRODUCT_FWD:
        sums[y * channels + c] += value_of(p, 0, x * channels + c) * value_of(p, 3, w);
        return;
    case NYB_PRODUCT_DX:
        sums[x * channels + c] += value_of(p, 0, y * channels + c) * value_of(p, 3, w);
        return;
    case NYB_PRODUCT_DW:
        for (size_t i = 0; i < p->n_samples; i++)
            sums[w] += value_of(p, (int)i, y * channels + c) * value_of(p, 3, x * channels + c);
        return;
    }
}

static void check_s8(const char *a, const char *b, bool large)
{
    problem p;
    double *sums;
    float scale;

    make_problem(&p, a, b, large);
    sums = calloc(p.n_out, sizeof *sums);
    visit_all(&p, visit, sums);
    scale = (p.packed[0].scale * p.a->unit) * (p.packed[3].scale * p.b->unit);
    for (size_t i = 0; i < p.n_out; i++) {
        assert_true(sums[i] == rint(sums[i]) && fabs(sums[i]) < 0x1p53);
        float t = (float)(int64_t)sums[i] * scale;
        if (p.product == NYB_PRODUCT_DW)
            t = t * (1.0f / (float)p.n_samples);
        if (p.has_bias)
            t = t + p.bias[i % p.s.c];
        p.want[i] = p.add ? p.former[i] + t : t;
    }
    same_everywhere(&p, false);
    free(sums);
    free_problem(&p);
}

static void integers_are_summed_exactly(void **state)
{
    static const char *const formats[] = {"int4",  "uint4", "e3m0",   "e2m1",   "int2", "int8",
                                          "uint7", "int4m", "uint4m", "binary", "odd2"};

    (void)state;
    seed = 1;
    for (int i = 0; i < 150; i++)
        check_s8(formats[pick(0, 9)], formats[pick(0, 9)], false);
    for (int i = 0; i < 4; i++)
        check_s8("e3m0", "uint4", true);
}

/* Weight gradients of so many pixels, all of them the largest, that int32 does not hold their sums.
 */
static void large_sums_do_not_overflow(void **state)
{
    problem p = {
        .product = NYB_PRODUCT_DW,
        .s = {.n = 20, .h = 128, .w = 128, .c = 1, .o = 1, .r = 3, .s = 3, .stride = 1, .pad = 1},
        .a = nyb_format_find("uint7"),
        .b = nyb_format_find("uint7"),
        .n_samples = 1,
        .add = false};
    const size_t n = p.s.n * p.s.h * p.s.w;
    (void)state;

    assert_int_equal(nyb_conv_shape_check(&p.s, NULL), NYB_OK);
    p.n_a = p.n_b = n;
    p.n_out = p.s.c * 9;
    p.op_a[0] = operand(p.a, n, p.s.c, 1.0f, &p.packed[0], &p.value[0]);
    p.op_b = operand(p.b, n, p.s.c, 1.0f, &p.packed[3], &p.value[3]);
    for (size_t i = 0; i < n * p.s.c; i++) {
        nyb_packed_set(&p.packed[0], i / p.s.c, i % p.s.c, 127);
        nyb_packed_set(&p.packed[3], i / p.s.c, i % p.s.c, 127);
    }
    p.former = values(p.n_out);
    p.want = malloc(p.n_out * sizeof *p.want);
    for (size_t i = 0; i < p.n_out; i++) {
        const size_t rows = i % 9 / 3 == 1 ? 128 : 127, cols = i % 3 == 1 ? 128 : 127;
        p.want[i] = (float)(int64_t)(p.s.n * rows * cols * 127 * 127);
    }
    assert_true(n * 127 * 127 > 2 * (uint64_t)INT32_MAX); /* several times */
    same_everywhere(&p, false);
    free_problem(&p);
}

/* ---- f32 ------------------------------------------------------------------------------------- */

/* The same product as one of nyb_conv, whose filters are 0 for other channels. */
static void dense(problem *p)
{
    const nyb_conv_shape *s = &p->s;
    const size_t taps = s->r * s->s, c = s->c;
    const bool dw = p->product == NYB_PRODUCT_DW;
    const nyb_format *const real = &nyb_format_f32;
    nyb_context *context = contexts[0][0];
    float *weights = calloc(c * taps * c, sizeof *weights), *out = NULL;
    nyb_operand a[3], b = {.real = dw ? p->value[3] : weights};
    nyb_conv *conv;
    void *scratch;

    for (size_t i = 0; i < p->n_samples; i++)
        a[i] = (nyb_operand){.real = p->value[i]};
    for (size_t i = 0; !dw && i < c * taps; i++)
        weights[i * c + i / taps] = p->value[3][i];
    assert_int_equal(
        nyb_conv_create(context, p->product, s, real, real, p->n_samples, NULL, &conv, NULL),
        NYB_OK);
    scratch = nyb_alloc(nyb_conv_scratch_bytes(conv));
    memcpy(p->want, p->former, p->n_out * sizeof *p->want);
    out = dw ? weights : p->want;
    for (size_t i = 0; dw && i < c * taps; i++)
        out[i * c + i / taps] = p->former[i];
    nyb_conv_run(conv, context, a, &b, p->has_bias ? p->bias : NULL, p->add, NULL, out, scratch);
    for (size_t i = 0; dw && i < c * taps; i++)
        p->want[i] = out[i * c + i / taps];
    nyb_free(scratch);
    nyb_conv_destroy(&conv);
    free(weights);
}

/* -0 and +0 may differ where dense terms are added. */
static void no_minus_zero(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_true(x[i] != 0.0f || !signbit(x[i]));
}

static void check_f32(const char *a, const char *b, bool large)
{
    problem p;
    double *sums, worst = 0;

    make_problem(&p, a, b, large);
    dense(&p);
    no_minus_zero(p.want, p.n_out);
    same_everywhere(&p, true);
    if (p.a->max_unit == 0 || p.b->max_unit == 0) { /* and what it should be near */
        sums = calloc(p.n_out, sizeof *sums);
        visit_all(&p, visit, sums);
        for (size_t i = 0; i < p.n_out; i++) {
            double t = sums[i] / (double)p.n_samples;

            if (p.has_bias)
                t += (double)p.bias[i % p.s.c];
            if (p.add)
                t += (double)p.former[i];
            t = fabs(t - (double)p.want[i]) / (1 + fabs(t));
            worst = t <= worst ? worst : t; /* NaN stays; gcc 12 for aarch64 dies of fmax */
        }
        assert_true(worst < 1e-4);
        free(sums);
    }
    free_problem(&p);
}

static void f32_sums_have_the_order_of_convolutions(void **state)
{
    (void)state;
    seed = 2;
    for (int i = 0; i < 100; i++)
        check_f32("f32", "f32", false);
    for (int i = 0; i < 6; i++)
        check_f32("f32", "f32", true);
}

static void codes_are_decoded_for_f32(void **state)
{
    static const char *const formats[] = {"f32", "int4", "nf4", "int8", "int4m"};

    (void)state;
    seed = 3;
    for (int i = 0; i < 40; i++)
        check_f32(formats[pick(0, 4)], formats[pick(0, 4)], false);
}

/* ---- edges ----------------------------------------------------------------------------------- */

static void refused(nyb_conv_shape s, nyb_product product, size_t n_samples, nyb_status want,
                    const char *word)
{
    const nyb_format *const real = &nyb_format_f32;
    nyb_depthwise *d;
    nyb_error err = {0};

    assert_int_equal(
        nyb_depthwise_create(contexts[0][0], product, &s, real, real, n_samples, false, &d, &err),
        want);
    assert_null(d);
    assert_non_null(strstr(err.text, word));
}

static void impossible_products_are_refused(void **state)
{
    nyb_conv_shape s = {.n = 1, .h = 8, .w = 8, .c = 4, .o = 4, .r = 3, .s = 3, .stride = 1};

    (void)state;
    refused(s, NYB_PRODUCT_FWD, 2, NYB_INVALID, "samples");
    s.o = 8;
    refused(s, NYB_PRODUCT_FWD, 1, NYB_INVALID, "outputs");
    s.o = 4;
    s.r = s.s = 65;
    s.pad = 64;
    refused(s, NYB_PRODUCT_FWD, 1, NYB_LIMIT, "63x63");
    s.r = s.s = 3;
    s.pad = 0;
    s.w = 40000;
    refused(s, NYB_PRODUCT_DW, 1, NYB_LIMIT, "wide");
    s.w = 0;
    refused(s, NYB_PRODUCT_DW, 1, NYB_SHAPE, "size");
}

static void plans_survive_a_lack_of_memory(void **state)
{
    const nyb_conv_shape s = {.n = 1, .h = 8, .w = 8, .c = 4, .o = 4, .r = 3, .s = 3, .stride = 1};
    const nyb_format *const real = &nyb_format_f32;
    nyb_depthwise *d;
    nyb_status status = NYB_MEMORY;

    (void)state;
    for (uint64_t n = 1; status != NYB_OK; n++) {
        nyb_alloc_fail_after(n, false);
        status = nyb_depthwise_create(contexts[0][0], NYB_PRODUCT_FWD, &s, real, real, 1, false, &d,
                                      NULL);
        nyb_alloc_fail_after(0, false);
        assert_true(status == NYB_OK || (status == NYB_MEMORY && !d));
    }
    nyb_depthwise_destroy(&d);
}

static void products_are_counted(void **state)
{
    const nyb_conv_shape s = {
        .n = 2, .h = 5, .w = 4, .c = 3, .o = 3, .r = 3, .s = 3, .stride = 2, .pad = 1};
    const nyb_format *const real = &nyb_format_f32;
    nyb_depthwise *d;

    (void)state;
    for (int product = 0; product < 3; product++) {
        assert_int_equal(nyb_depthwise_create(contexts[0][0], (nyb_product)product, &s, real, real,
                                              1, false, &d, NULL),
                         NYB_OK);
        /* rows see 2, 3, 2 of 3 taps, columns 2, 3 */
        assert_int_equal(nyb_depthwise_macs(d), 2 * 7 * 5 * 3);
        nyb_depthwise_destroy(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_summed_exactly),
        cmocka_unit_test(large_sums_do_not_overflow),
        cmocka_unit_test(f32_sums_have_the_order_of_convolutions),
        cmocka_unit_test(codes_are_decoded_for_f32),
        cmocka_unit_test(impossible_products_are_refused),
        cmocka_unit_test(plans_survive_a_lack_of_memory),
        cmocka_unit_test(products_are_counted),
    };

    return cmocka_run_group_tests(tests, create_contexts, destroy_contexts);
}
