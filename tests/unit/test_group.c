/* Grouped matrices and their products against loops over single codes, for every tile, several
 * thread counts, and shapes that are odd on purpose. */
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
#include "gemm/group.h"
#include "gemm/group_conv.h"

/* ---- random operands ---- */

typedef enum scaling {
    SCALES_ANY,   /* f32 of both signs, some 0 */
    SCALES_EXACT, /* 1, 2, 4: every partial sum is an exact f32 */
    SCALES_NONE
} scaling;

/* Codes that files may hold, -8 of int4 too; pads as an encoder leaves them. */
static nyb_grouped make_matrix(const nyb_format *f, size_t rows, size_t cols, size_t group,
                               scaling how)
{
    const size_t n_bytes = nyb_grouped_code_bytes(f, rows, cols, group);
    const size_t n_scales = nyb_grouped_scale_count(rows, cols, group);
    nyb_grouped g = nyb_grouped_view(f, rows, cols, group, nyb_alloc(n_bytes),
                                     how == SCALES_NONE ? NULL : nyb_alloc(4 * n_scales));

    assert_non_null(g.packed.codes);
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; col < cols; col++)
            nyb_packed_set(&g.packed, row, col, draw() % f->n_codes);
    for (size_t i = 0; g.scales && i < n_scales; i++) {
        g.scales[i] = (float)(1 << draw() % 3);
        if (how == SCALES_ANY)
            g.scales[i] = draw() % 8 ? ((float)draw() - 0x1p30f) * 0x1p-32f : 0.0f;
    }
    g.packed.scale = how == SCALES_ANY ? 0.3f + (float)draw() * 0x1p-31f : 0.5f;
    return g;
}

static void free_matrix(nyb_grouped *g)
{
    nyb_free(g->packed.codes);
    nyb_free(g->scales);
}

static int32_t unit_at(const nyb_grouped *g, size_t row, size_t col)
{
    return g->packed.format->units[nyb_packed_get(&g->packed, row, col)];
}

static float scale_at(const nyb_grouped *g, size_t row, size_t index)
{
    return g->scales ? g->scales[row * (g->packed.pitch / g->group) + index] : 1.0f;
}

/* ---- the oracle ---- */

typedef struct problem {
    nyb_product product;
    nyb_conv_shape s;
    const nyb_format *a, *b;
    size_t group, n_samples; /* of dy: at most 3 */
    scaling how_a, how_b;
    bool bias, add;
    size_t tap, n_taps;  /* DW: taps of a run */
    const float *levels; /* DW */
} problem;

/* acc over the groups of one row of a (none: -1, zeros of scale 0) and one row of b. */
static float add_row(const nyb_grouped *a, long row_a, const nyb_grouped *b, size_t row_b,
                     float acc)
{
    for (size_t g = 0; g < b->packed.pitch / b->group; g++) {
        const float sa = row_a < 0 ? 0 : scale_at(a, (size_t)row_a, g);
        int64_t sum = 0;
        for (size_t col = g * b->group; col < nyb_min((g + 1) * b->group, b->packed.cols); col++)
            sum += row_a < 0 ? 0 : (int64_t)unit_at(a, (size_t)row_a, col) * unit_at(b, row_b, col);
        acc = fmaf((float)sum, sa * scale_at(b, row_b, g), acc);
    }
    return acc;
}

/* Searches the outputs i for the one that tap t feeds from pixel p: -1 none, -2 beside the image.
 */
static long fed_by(size_t p, size_t t, size_t stride, size_t pad, size_t n_out)
{
    if ((p + pad + stride * t - t) % stride)
        return -1;
    for (size_t i = 0; i < n_out; i++)
        if (i * stride + t == p + pad)
            return (long)i;
    return -2;
}

/* Source of output i and tap t, or -2. */
static long feeds(size_t i, size_t t, size_t stride, size_t pad, size_t n_in)
{
    const long p = (long)(i * stride + t) - (long)pad;
    return p >= 0 && p < (long)n_in ? p : -2;
}

/* acc and the groups of a sample. */
static float one_output(const problem *p, const nyb_grouped *a, const nyb_grouped *b, size_t index,
                        float acc)
{
    const nyb_conv_shape *s = &p->s;
    const bool dx = p->product == NYB_PRODUCT_DX;
    const size_t channels = dx ? s->c : s->o, height = dx ? s->h : s->oh;
    const size_t width = dx ? s->w : s->ow;
    const size_t channel = index % channels, x = index / channels % width;
    const size_t y = index / channels / width % height, n = index / channels / width / height;

    for (size_t r = 0; r < s->r; r++) {
        for (size_t t = 0; t < s->s; t++) {
            const long i =
                dx ? fed_by(y, r, s->stride, s->pad, s->oh) : feeds(y, r, s->stride, s->pad, s->h);
            const long j =
                dx ? fed_by(x, t, s->stride, s->pad, s->ow) : feeds(x, t, s->stride, s->pad, s->w);
            if (i == -1 || j == -1)
                continue;
            const long row =
                ((long)n * (long)(dx ? s->oh : s->h) + i) * (long)(dx ? s->ow : s->w) + j;
            acc = add_row(a, i < 0 || j < 0 ? -1 : row, b, (channel * s->r + r) * s->s + t, acc);
        }
    }
    return acc;
}

typedef struct sizes {
    size_t a_rows, b_rows, cols, out, channels;
} sizes;

static sizes sizes_of(const problem *p)
{
    const nyb_conv_shape *s = &p->s;
    const size_t x = s->n * s->h * s->w, y = s->n * s->oh * s->ow, taps = s->r * s->s;

    if (p->product == NYB_PRODUCT_FWD)
        return (sizes){x, s->o * taps, s->c, y * s->o, s->o};
    if (p->product == NYB_PRODUCT_DX)
        return (sizes){y, s->c * taps, s->o, x * s->c, s->c};
    return (sizes){s->o, p->n_taps * s->c, y, s->o * taps * s->c, s->c};
}

static void oracle(const problem *p, const nyb_grouped *a, const nyb_grouped *b, const float *bias,
                   float *out)
{
    const float share = 1.0f / (float)p->n_samples;

    const sizes z = sizes_of(p);
    const size_t taps = p->s.r * p->s.s;
    for (size_t i = 0; i < z.out; i++) {
        const size_t tap = i / z.channels % taps;
        float t = 0, level = b->packed.scale;
        if (p->product != NYB_PRODUCT_DW) {
            for (size_t k = 0; k < p->n_samples; k++)
                t = one_output(p, &a[k], b, i, t);
        } else if (tap >= p->tap && tap < p->tap + p->n_taps) {
            for (size_t k = 0; k < p->n_samples; k++)
                t = add_row(&a[k], (long)(i / z.channels / taps), b,
                            (tap - p->tap) * z.channels + i % z.channels, t);
            level = p->levels ? p->levels[tap - p->tap] : level;
        } else {
            continue;
        }
        t = t * ((a->packed.scale * p->a->unit) * (level * p->b->unit) * share);
        if (bias)
            t = t + bias[i % z.channels];
        out[i] = p->add ? out[i] + t : t;
    }
}

/* ---- one case ---- */

static void print_case(const problem *p, const char *level, size_t threads)
{
    static const char *const names[] = {"fwd", "dx", "dw"};
    const nyb_conv_shape *s = &p->s;
    printf("%s %s x %s, group %zu, n %zu h %zu w %zu c %zu o %zu r %zu s %zu stride %zu pad %zu "
           "bias %d add %d samples %zu, cpu %s, %zu threads\n",
           names[p->product], p->a->name, p->b->name, p->group, s->n, s->h, s->w, s->c, s->o, s->r,
           s->s, s->stride, s->pad, p->bias, p->add, p->n_samples, level, threads);
}

#define GUARD 64

/* Runs in poisoned scratch with guards behind it and around out. */
static void run_product(const problem *p, nyb_context *context, const nyb_grouped *a,
                        const nyb_grouped *b, const float *bias, const float *former, float *out)
{
    const size_t n = sizes_of(p).out;
    const nyb_grouped *samples[3];
    nyb_group_conv *conv;

    for (size_t i = 0; i < p->n_samples; i++)
        samples[i] = &a[i];
    assert_int_equal(nyb_group_conv_create(context, p->product, &p->s, p->a, p->b, p->group,
                                           p->n_samples, &conv, NULL),
                     NYB_OK);
    const size_t n_scratch = nyb_group_conv_scratch_bytes(conv);
    uint8_t *scratch = nyb_alloc(n_scratch + GUARD);
    float *guarded = nyb_alloc((n + 2 * GUARD) * sizeof(float));
    assert_non_null(scratch);
    assert_non_null(guarded);
    memset(scratch, 0xa5, n_scratch + GUARD);
    memset(guarded, 0xa5, (n + 2 * GUARD) * sizeof(float));
    memcpy(guarded + GUARD, former, n * sizeof(float));
    if (p->product == NYB_PRODUCT_DW)
        nyb_group_conv_run_taps(conv, context, p->tap, p->n_taps, samples, b, p->levels, p->add,
                                guarded + GUARD, scratch);
    else
        nyb_group_conv_run(conv, context, samples, b, bias, p->add, guarded + GUARD, scratch);
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(scratch[n_scratch + i], 0xa5);
        assert_int_equal(nyb_bits_of(guarded[i]), 0xa5a5a5a5);
        assert_int_equal(nyb_bits_of(guarded[GUARD + n + i]), 0xa5a5a5a5);
    }
    memcpy(out, guarded + GUARD, n * sizeof(float));
    if (p->product != NYB_PRODUCT_DW && !p->add) {
        uint16_t *half = (uint16_t *)guarded;

        for (int drawn = 0; drawn < 2; drawn++) {
            const nyb_stream stream = {.seed = 7, .role = NYB_RNG_STORE_DX};
            const nyb_stream *const draws = drawn ? &stream : NULL;

            nyb_group_conv_run_half(conv, context, samples, b, bias, draws, half, scratch);
            for (size_t i = 0; i < n; i++)
                assert_int_equal(half[i], stored_bf16(out[i], draws, i));
        }
    }
    nyb_free(guarded);
    nyb_free(scratch);
    nyb_group_conv_destroy(&conv);
}

static float *random_floats(size_t n)
{
    float *x = nyb_alloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = ((float)draw() - 0x1p30f) * 0x1p-24f;
    return x;
}

/* All values are exact: the product of what the codes decode to, in double. */
static void check_exact(const problem *p, const nyb_grouped *a, const nyb_grouped *b,
                        const float *out)
{
    const sizes z = sizes_of(p);
    float *x = nyb_alloc(z.a_rows * z.cols * sizeof *x);
    float *y = nyb_alloc(z.b_rows * z.cols * sizeof *y);

    assert_non_null(x);
    assert_non_null(y);
    nyb_grouped_decode_rows(a, 0, a->packed.rows, x);
    nyb_grouped_decode_rows(b, 0, b->packed.rows, y);
    for (size_t i = 0; i < z.out; i++) {
        double sum = 0;
        for (size_t k = 0; k < z.cols; k++)
            sum += (double)x[i / z.b_rows * z.cols + k] * y[i % z.b_rows * z.cols + k];
        assert_true(out[i] == sum);
    }
    nyb_free(x);
    nyb_free(y);
}

static void check_problem(problem *p, bool all_threads)
{
    assert_int_equal(nyb_conv_shape_check(&p->s, NULL), NYB_OK);
    p->tap = pick(0, p->s.r * p->s.s - 1);
    p->n_taps = pick(0, 1) ? pick(1, p->s.r * p->s.s - p->tap) : 1;
    const sizes z = sizes_of(p);
    float *of_taps = random_floats(p->n_taps);
    p->levels = p->product == NYB_PRODUCT_DW && pick(0, 1) ? of_taps : NULL;
    nyb_grouped a[3];
    for (size_t i = 0; i < p->n_samples; i++) {
        a[i] = make_matrix(p->a, z.a_rows, z.cols, p->group, p->how_a);
        a[i].packed.scale = a->packed.scale;
    }
    nyb_grouped b = make_matrix(p->b, z.b_rows, z.cols, p->group, p->how_b);
    float *bias = p->bias ? random_floats(z.channels) : NULL;
    float *former = random_floats(z.out), *want = random_floats(z.out), *got = random_floats(z.out);

    memcpy(want, former, z.out * sizeof *want);
    oracle(p, a, &b, bias, want);
    for (size_t l = 0; l < LEVELS; l++) {
        for (size_t t = 0; t < (all_threads ? THREADS : 1); t++) {
            if (!contexts[l][t])
                continue;
            run_product(p, contexts[l][t], a, &b, bias, former, got);
            for (size_t i = 0; i < z.out; i++) {
                if (nyb_bits_of(want[i]) == nyb_bits_of(got[i]))
                    continue;
                print_case(p, levels[l], thread_counts[t]);
                printf("output %zu is %a, want %a\n", i, (double)got[i], (double)want[i]);
                fail();
            }
        }
    }
    if (p->how_a != SCALES_ANY && p->how_b != SCALES_ANY && p->s.r * p->s.s == 1 && !p->bias &&
        !p->add && p->s.stride == 1 && !p->levels && p->n_samples == 1)
        check_exact(p, a, &b, want);
    nyb_free(of_taps);
    nyb_free(bias);
    nyb_free(former);
    nyb_free(want);
    nyb_free(got);
    for (size_t i = 0; i < p->n_samples; i++)
        free_matrix(&a[i]);
    free_matrix(&b);
}

/* ---- products ---- */

static nyb_conv_shape random_shape(size_t r, size_t s, size_t stride, size_t max_macs)
{
    static const size_t channels[] = {1, 3, 16, 17, 31, 32, 33, 48, 64, 65, 70, 100, 128};
    nyb_conv_shape shape;

    do {
        shape = (nyb_conv_shape){.n = pick(1, 5), .h = pick(1, 13), .w = pick(1, 13)};
        shape.c = channels[pick(0, 12)];
        shape.o = channels[pick(0, 12)];
        shape.r = r;
        shape.s = s;
        shape.stride = stride;
        shape.pad = pick(0, nyb_min(r, s) - 1);
    } while (nyb_conv_shape_check(&shape, NULL) != NYB_OK ||
             shape.n * shape.oh * shape.ow * shape.c * shape.o * r * s > max_macs);
    return shape;
}

static const char *const pairs[][2] = {{"e2m1", "e2m1"},  {"int4", "int4"}, {"uint4", "int4"},
                                       {"e3m0", "int4"},  {"e3m0", "e3m0"}, {"int8", "int8"},
                                       {"e3m0", "uint4"}, {"int4", "int8"}, {"int5x", "int5w"}};

static void random_products(nyb_product product)
{
    static const size_t kernels[][2] = {{1, 1}, {3, 3}, {2, 3}, {1, 4}};

    for (size_t i = 0; i < 9 * 12; i++) {
        const char *const *pair = pairs[i % 9];
        const size_t *kernel = kernels[pick(0, 3)];
        problem p = {
            .product = product,
            .s = random_shape(kernel[0], kernel[1], pick(1, 3), 120000),
            .a = nyb_format_find(pair[0]),
            .b = nyb_format_find(pair[1]),
            .group = (size_t)16 << draw() % 3,
            .n_samples = product == NYB_PRODUCT_FWD ? 1 : 1 + i % 4 % 3,
            .how_a = draw() % 5 ? SCALES_ANY : SCALES_NONE,
            .how_b = draw() % 5 ? SCALES_ANY : SCALES_NONE,
            .bias = product != NYB_PRODUCT_DW && draw() % 2,
            .add = draw() % 2,
        };
        check_problem(&p, i % 4 == 0);
    }
}

static void y(void **state)
{
    (void)state;
    seed = 1;
    random_products(NYB_PRODUCT_FWD);
}

static void dx(void **state)
{
    (void)state;
    seed = 2;
    random_products(NYB_PRODUCT_DX);
}

static void dw(void **state)
{
    (void)state;
    seed = 3;
    random_products(NYB_PRODUCT_DW);
}

/* Linear layers whose values are all exact, long ones too: chunks of the contraction. */
static void linear_layers(void **state)
{
    static const size_t mkn[][3] = {{1, 1, 1},    {13, 1100, 70}, {50, 64, 33}, {5, 2100, 40},
                                    {7, 16, 300}, {65, 513, 31},  {1, 3000, 3}, {200, 100, 10}};
    (void)state;
    seed = 4;
    for (size_t i = 0; i < 3 * 8 * 3; i++) {
        const size_t *shape = mkn[i / 9];
        problem p = {
            .product = (nyb_product)(i % 3),
            .s = {.n = 1, .h = 1, .r = 1, .s = 1, .stride = 1, .w = shape[0], .c = shape[1]},
            .a = nyb_format_find("e2m1"),
            .b = nyb_format_find("int4"),
            .group = (size_t)16 << i / 3 % 3,
            .n_samples = i % 3 && i % 5 == 0 ? 3 : 1,
            .how_a = draw() % 4 ? SCALES_EXACT : SCALES_NONE,
            .how_b = SCALES_EXACT,
        };
        p.s.o = shape[2];
        if (p.product == NYB_PRODUCT_DW) { /* the contraction is the pixels */
            p.s.w = shape[1];
            p.s.c = shape[0];
        } else if (p.product == NYB_PRODUCT_DX) {
            p.s.o = shape[1];
            p.s.c = shape[2];
        }
        check_problem(&p, i % 5 == 0);
    }
}

/* All products at their largest, of one sign. */
static void extreme_sums(void **state)
{
    (void)state;
    for (size_t i = 0; i < 9 * 3; i++) {
        const nyb_format *fa = nyb_format_find(pairs[i / 3][0]);
        const nyb_format *fb = nyb_format_find(pairs[i / 3][1]);
        const size_t group = (size_t)16 << i % 3, rows = 13, cols = 2 * group;
        const nyb_conv_shape s = {
            .n = 1, .h = 1, .w = rows, .c = cols, .o = rows, .r = 1, .s = 1, .stride = 1};
        const problem p = {.s = s,
                           .a = fa,
                           .b = fb,
                           .group = group,
                           .n_samples = 1,
                           .how_a = SCALES_NONE,
                           .how_b = SCALES_NONE};
        nyb_grouped a = make_matrix(fa, rows, cols, group, SCALES_NONE);
        nyb_grouped b = make_matrix(fb, rows, cols, group, SCALES_NONE);
        const float former[13 * 13] = {0};
        float out[13 * 13];
        unsigned top_a = 0, top_b = 0;
        for (unsigned code = 0; code < fa->n_codes; code++)
            top_a = abs(fa->units[code]) > abs(fa->units[top_a]) ? code : top_a;
        for (unsigned code = 0; code < fb->n_codes; code++)
            top_b = abs(fb->units[code]) > abs(fb->units[top_b]) ? code : top_b;
        for (size_t row = 0; row < rows; row++) {
            for (size_t col = 0; col < cols; col++) {
                nyb_packed_set(&a.packed, row, col, top_a);
                nyb_packed_set(&b.packed, row, col, top_b);
            }
        }
        const float want = (float)(2 * (int)group * fa->units[top_a] * fb->units[top_b]) *
                           ((0.5f * fa->unit) * (0.5f * fb->unit));
        problem q = p;
        assert_int_equal(nyb_conv_shape_check(&q.s, NULL), NYB_OK);
        for (size_t l = 0; l < LEVELS; l++) {
            if (!contexts[l][0])
                continue;
            run_product(&q, contexts[l][0], &a, &b, NULL, former, out);
            for (size_t j = 0; j < rows * rows; j++)
                assert_true(out[j] == want);
        }
        free_matrix(&a);
        free_matrix(&b);
    }
}

/* ---- creation ---- */

static nyb_status try_create(nyb_product product, size_t group, size_t n_samples, const char *a,
                             nyb_error *err)
{
    const nyb_conv_shape s = {
        .n = 2, .h = 9, .w = 9, .c = 7, .o = 9, .r = 3, .s = 3, .stride = 2, .pad = 1};
    nyb_group_conv *conv = (nyb_group_conv *)1;
    const nyb_status status =
        nyb_group_conv_create(contexts[0][0], product, &s, nyb_format_find(a),
                              nyb_format_find("int4"), group, n_samples, &conv, err);
    assert_true((status == NYB_OK) == (conv != NULL));
    if (conv)
        assert_string_equal(nyb_group_conv_kernel(conv), "ref");
    nyb_group_conv_destroy(&conv);
    return status;
}

static void bad_plans_are_refused(void **state)
{
    nyb_error err;

    (void)state;
    for (int product = 0; product < 3; product++) {
        assert_int_equal(try_create((nyb_product)product, 32, 1, "int4", &err), NYB_OK);
        assert_int_equal(try_create((nyb_product)product, 32, 0, "int4", &err), NYB_INVALID);
        assert_int_equal(try_create((nyb_product)product, 32, 2, "int4", &err),
                         product == NYB_PRODUCT_FWD ? NYB_INVALID : NYB_OK);
        assert_int_equal(try_create((nyb_product)product, 8, 1, "int4", &err), NYB_INVALID);
        assert_int_equal(try_create((nyb_product)product, 48, 1, "int4", &err), NYB_INVALID);
        assert_int_equal(try_create((nyb_product)product, 16, 1, "f32", &err), NYB_INVALID);
    }
}

static void creation_survives_every_failed_allocation(void **state)
{
    (void)state;
    for (int product = 0; product < 3; product++) {
        nyb_status status = NYB_MEMORY;
        for (uint64_t n = 1; status != NYB_OK; n++) {
            assert_true(n < 20);
            nyb_alloc_fail_after(n, false);
            status = try_create((nyb_product)product, 16, 1, "e3m0", NULL);
            nyb_alloc_fail_after(0, false);
            assert_true(status == NYB_OK || status == NYB_MEMORY);
        }
    }
}

/* ---- grouped matrices ---- */

/* The lowest code worth a value, found by trying all. */
static unsigned code_of(const nyb_format *f, float value)
{
    for (unsigned code = 0; code < f->n_codes; code++)
        if ((float)f->units[code] * f->unit == value)
            return code;
    fail();
    return 0;
}

static void encoding_finds_each_code(void **state)
{
    (void)state;
    seed = 5;
    for (size_t i = 0; i < nyb_format_count(); i++) {
        const nyb_format *f = nyb_format_at(i);
        for (size_t turn = 0; f->max_unit && turn < 12; turn++) {
            const size_t rows = pick(1, 40), cols = pick(1, 300), group = (size_t)16 << turn % 3;
            const size_t n_bytes = nyb_grouped_code_bytes(f, rows, cols, group);
            uint8_t *codes = nyb_alloc(n_bytes + GUARD);
            float *values = nyb_alloc(rows * cols * sizeof *values);
            assert_non_null(codes);
            assert_non_null(values);
            for (size_t j = 0; j < rows * cols; j++)
                values[j] = (float)f->units[draw() % f->n_codes] * f->unit;
            nyb_grouped g = nyb_grouped_view(f, rows, cols, group, codes, NULL);
            for (size_t l = 0; l < LEVELS; l++) {
                if (!contexts[l][turn % THREADS])
                    continue;
                memset(codes, 0xa5, n_bytes + GUARD);
                nyb_grouped_encode(contexts[l][turn % THREADS], &g, values);
                for (size_t row = 0; row < rows; row++)
                    for (size_t col = 0; col < g.packed.pitch; col++)
                        assert_int_equal(nyb_packed_get(&g.packed, row, col),
                                         col < cols ? code_of(f, values[row * cols + col]) : 0);
                for (size_t j = 0; j < GUARD; j++)
                    assert_int_equal(codes[n_bytes + j], 0xa5);
            }
            nyb_free(values);
            nyb_free(codes);
        }
    }
}

static void decoding_multiplies_scales(void **state)
{
    const nyb_format *f = nyb_format_find("e2m1");
    float real[2 * 20];

    (void)state;
    seed = 6;
    nyb_grouped g = make_matrix(f, 2, 20, 16, SCALES_ANY);
    nyb_packed_set(&g.packed, 1, 17, 15);
    g.scales[3] = 0.25f;
    g.packed.scale = 3.0f;
    nyb_grouped_decode_rows(&g, 0, g.packed.rows, real);
    assert_true(real[20 + 17] == -6.0f * 0.25f * 3.0f);
    free_matrix(&g);
}

static void bytes_are_counted(void **state)
{
    const nyb_format *f = nyb_format_find("int4");

    (void)state;
    assert_int_equal(nyb_grouped_code_bytes(f, 8, 64, 32), 8 * 32);
    assert_int_equal(nyb_grouped_scale_count(8, 64, 32), 8 * 2);
    assert_int_equal(nyb_grouped_code_bytes(f, 8, 65, 32), 8 * 48);
    assert_int_equal(nyb_grouped_scale_count(8, 65, 32), 8 * 3);
    assert_int_equal(nyb_grouped_code_bytes(nyb_format_find("int8"), 8, 64, 16), 512);
    assert_int_equal(nyb_grouped_code_bytes(f, 8, SIZE_MAX - 3, 32), 0);
    assert_int_equal(nyb_grouped_scale_count(SIZE_MAX / 2, 65, 16), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(y),
        cmocka_unit_test(dx),
        cmocka_unit_test(dw),
        cmocka_unit_test(linear_layers),
        cmocka_unit_test(extreme_sums),
        cmocka_unit_test(bad_plans_are_refused),
        cmocka_unit_test(creation_survives_every_failed_allocation),
        cmocka_unit_test(encoding_finds_each_code),
        cmocka_unit_test(decoding_multiplies_scales),
        cmocka_unit_test(bytes_are_counted),
    };

    return cmocka_run_group_tests(tests, create_contexts, destroy_contexts);
}
