/* MF-BPROP: products without multiplications equal integer products, one by one and in layers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "gemm/conv_impl.h"
#include "gemm/mf.h"
#include "known.h"

/* ---- one product -----------------------------------------------------------------------------
 */

/* 256 pairs of codes, signed and unsigned integers. */
static void every_pair_of_codes(void **state)
{
    const nyb_format *const integers[] = {&nyb_format_int4, &nyb_format_uint4};

    (void)state;
    for (int f = 0; f < 2; f++)
        for (unsigned i = 0; i < 16; i++)
            for (unsigned e = 0; e < 16; e++) {
                const int unit = integers[f]->units[i];

                assert_int_equal(nyb_mf_value(nyb_mf_product(unit, e)),
                                 unit * nyb_format_e3m0.units[e]);
            }
}

/* Magnitudes to 7 need two mantissa bits: they are codes of fp7, 31 positive ones up to 448. */
static void seven_and_less_are_fp7(void **state)
{
    bool seen[128] = {false};
    int n_seen = 0, largest = 0;

    (void)state;
    for (int m = -7; m <= 7; m++)
        for (unsigned e = 0; e < 16; e++) {
            const unsigned p = nyb_mf_product(m, e), fp7 = (p >> 7) << 6 | (p & 127) >> 1;
            const int value = nyb_mf_value((uint8_t)p);

            assert_int_equal(p & 1, 0);
            assert_true(nyb_format_decode(&nyb_format_fp7, fp7) == (float)value);
            n_seen += value > 0 && !seen[fp7];
            seen[fp7] = true;
            largest = value > largest ? value : largest;
        }
    assert_int_equal(n_seen, 31);
    assert_int_equal(largest, 448);
    assert_int_equal(nyb_mf_value(nyb_mf_product(15, 7)), 960);
}

static void it_knows_what_it_can(void **state)
{
    static const char *const can[] = {"int4", "uint4", "int2", "ternary", "uint2", "int3"};
    static const char *const cannot[] = {"int8", "uint8", "e2m1", "f32", "e3m0", "e4m0"};

    (void)state;
    for (size_t i = 0; i < sizeof can / sizeof *can; i++) {
        assert_true(nyb_mf_can(&nyb_format_e3m0, nyb_format_find(can[i])));
        assert_true(nyb_mf_can(nyb_format_find(can[i]), &nyb_format_e3m0));
        assert_false(nyb_mf_can(nyb_format_find(can[i]), &nyb_format_int4));
    }
    for (size_t i = 0; i < sizeof cannot / sizeof *cannot; i++)
        assert_false(nyb_mf_can(&nyb_format_e3m0, nyb_format_find(cannot[i])));
}

/* ---- tiles -----------------------------------------------------------------------------------
 */

#define STEPS 5

static uint32_t draw(uint32_t tensor, size_t i)
{
    return known_u32(11, 0, tensor, 0, 0, i);
}

/* A byte of a as nyb_mf_bytes makes it, and its worth. */
static uint8_t e3m0_byte(unsigned code)
{
    return (uint8_t)(code >> 3 << 7 | (code & 7));
}

typedef struct tile_case {
    const nyb_tile_s8 *tile;
    bool a_is_e3m0, accumulate, extreme, garbage;
    size_t rows;
} tile_case;

static void check_tile(const tile_case *t)
{
    static uint8_t a[32 * STEPS * 64];
    static int32_t a_unit[32 * STEPS * 64], b_unit[STEPS * 64][32];
    static _Alignas(64) int8_t b[STEPS * NYB_TILE_STEP_BYTES];
    _Alignas(64) int32_t c[32 * 32], want[32 * 32];
    /* steps in another order than memory */
    static const uint32_t a_step[STEPS] = {64, 0, 256, 128, 192};
    static const uint32_t b_step[STEPS] = {3, 1, 0, 4, 4};

    for (size_t i = 0; i < 32 * STEPS * 64; i++) {
        const unsigned r = draw(0, i);
        const unsigned code = t->extreme ? 7 : r & 15;
        const int unit = t->extreme ? 15 : (int)(r % 31) - 15;

        a[i] = t->a_is_e3m0 ? e3m0_byte(code) : (uint8_t)unit;
        a_unit[i] = t->a_is_e3m0 ? nyb_format_e3m0.units[code] : unit;
        if (t->garbage && i % 3 == 0)
            a[i] = (uint8_t)draw(1, i);
    }
    for (size_t i = 0; i < STEPS; i++)
        for (size_t k = 0; k < 64; k++)
            for (size_t n = 0; n < 32; n++) {
                const unsigned r = draw(2, (i * 64 + k) * 32 + n);
                const unsigned code = t->extreme ? 7 | (n & 8) : r & 15;
                const int unit = t->extreme ? (n & 8 ? -15 : 15) : (int)(r % 31) - 15;
                /* where a row of a holds garbage, row k of b is zero; lda is a multiple of 3 rows
                 */
                const bool zero = t->garbage;

                b[i * NYB_TILE_STEP_BYTES + nyb_tile_s8_offset(k, n)] =
                    zero ? 0 : (int8_t)(t->a_is_e3m0 ? unit : e3m0_byte(code));
                b_unit[i * 64 + k][n] = zero           ? 0
                                        : t->a_is_e3m0 ? unit
                                                       : nyb_format_e3m0.units[code];
            }
    for (size_t i = 0; i < 32 * 32; i++)
        c[i] = want[i] = (int32_t)draw(3, i) >> 4;
    for (size_t m = 0; m < t->rows; m++)
        for (size_t n = 0; n < 32; n++) {
            int32_t sum = t->accumulate ? want[m * 32 + n] : 0;

            for (size_t i = 0; i < STEPS; i++)
                for (size_t k = 0; k < 64; k++)
                    sum += a_unit[m * STEPS * 64 + a_step[i] + k] * b_unit[b_step[i] * 64 + k][n];
            want[m * 32 + n] = sum;
        }
    const nyb_tile_s8_args args = {
        .rows = t->rows,
        .n_steps = STEPS,
        .a = a,
        .lda = STEPS * 64,
        .a_step = a_step,
        .b = b,
        .b_step = b_step,
        .c = c,
        .accumulate = t->accumulate,
    };
    t->tile->begin();
    t->tile->run(&args);
    t->tile->end();
    assert_memory_equal(c, want, sizeof c); /* rows behind the last, too */
}

static void tiles_sum_integer_products(void **state)
{
    const uint32_t machine = nyb_cpu_detect();

    (void)state;
    for (int i = 0; i == 0 || nyb_mf_list[i - 1]; i++) {
        tile_case t = {.tile = nyb_mf_list[i] ? nyb_mf_list[i] : &nyb_mf_ref_b,
                       .a_is_e3m0 = nyb_mf_list[i] != NULL};

        if (t.tile->needs & ~machine)
            continue;
        for (t.rows = 1; t.rows <= 32; t.rows += t.rows < 4 ? 1 : 7)
            for (int mode = 0; mode < 6; mode++) {
                t.accumulate = mode & 1;
                t.extreme = mode / 2 == 1;
                t.garbage = mode / 2 == 2;
                check_tile(&t);
            }
    }
}

/* ---- layers ----------------------------------------------------------------------------------
 */

static nyb_packed operand(const nyb_format *format, size_t rows, size_t cols, float scale,
                          uint32_t tensor)
{
    nyb_packed p = {.format = format,
                    .rows = rows,
                    .cols = cols,
                    .pitch = nyb_packed_pitch(cols),
                    .scale = scale,
                    .codes = nyb_alloc(nyb_packed_bytes(format, rows, cols))};

    assert_non_null(p.codes);
    for (size_t row = 0; row < rows; row++)
        for (size_t col = 0; col < cols; col++) /* -8 of int4, too */
            nyb_packed_set(&p, row, col, draw(tensor, row * cols + col) % format->n_codes);
    return p;
}

typedef struct layer {
    nyb_product product;
    nyb_conv_shape shape;
    const nyb_format *a, *b;
    size_t n_samples;
    bool add;
} layer;

static size_t rows_of_a(const layer *l)
{
    const nyb_conv_shape *s = &l->shape;

    return l->product == NYB_PRODUCT_FWD ? s->n * s->h * s->w : s->n * s->oh * s->ow;
}

static size_t rows_of_b(const layer *l)
{
    const nyb_conv_shape *s = &l->shape;

    return l->product == NYB_PRODUCT_DW ? s->n * s->h * s->w : s->o * s->r * s->s;
}

static size_t out_size(const layer *l)
{
    const nyb_conv_shape *s = &l->shape;

    switch (l->product) {
    case NYB_PRODUCT_FWD:
        return s->n * s->oh * s->ow * s->o;
    case NYB_PRODUCT_DX:
        return s->n * s->h * s->w * s->c;
    case NYB_PRODUCT_DW:
        return s->o * s->r * s->s * s->c;
    }
    return 0;
}

static void run_layer(const layer *l, const char *cpu, size_t n_threads, nyb_engine engine,
                      const nyb_operand *a, const nyb_operand *b, float *out)
{
    const nyb_conv_options options = {.engine = engine};
    nyb_context *context;
    nyb_conv *conv;

    if (nyb_context_create(cpu, n_threads, &context, NULL) != NYB_OK)
        assert_int_equal(nyb_context_create("ref", n_threads, &context, NULL), NYB_OK);
    assert_int_equal(nyb_conv_create_with(context, l->product, &l->shape, l->a, l->b, l->n_samples,
                                          &options, &conv, NULL),
                     NYB_OK);
    assert_string_equal(nyb_conv_engine(conv), engine == NYB_ENGINE_MF ? "mf" : "s8");
    if (strcmp(cpu, "ref") == 0)
        assert_string_equal(nyb_conv_kernel(conv), "ref");
    void *scratch = nyb_alloc(nyb_conv_scratch_bytes(conv));
    assert_non_null(scratch);
    memset(scratch, 0xa5, nyb_conv_scratch_bytes(conv));
    for (size_t i = 0; i < out_size(l); i++)
        out[i] = l->add ? 1.0f + (float)i : NAN;
    nyb_conv_run(conv, context, a, b, NULL, l->add, NULL, out, scratch);
    nyb_free(scratch);
    nyb_conv_destroy(&conv);
    nyb_context_destroy(&context);
}

static void check_layer(layer *l)
{
    static const char *const cpus[] = {"ref", "avx2", "auto"};
    const size_t cols = l->product == NYB_PRODUCT_FWD ? l->shape.c : l->shape.o;
    nyb_packed a[2], b;
    nyb_operand operand_a[2], operand_b = {.packed = &b};

    assert_int_equal(nyb_conv_shape_check(&l->shape, NULL), NYB_OK);
    float *want = malloc(out_size(l) * sizeof *want), *got = malloc(out_size(l) * sizeof *got);
    b = operand(l->b, rows_of_b(l), l->shape.c, 0.037f, 20);
    for (uint32_t i = 0; i < l->n_samples; i++) {
        a[i] = operand(l->a, rows_of_a(l), cols, 0.0123f, 21 + i);
        operand_a[i] = (nyb_operand){.packed = &a[i]};
    }
    run_layer(l, "ref", 1, NYB_ENGINE_AUTO, operand_a, &operand_b, want);
    for (size_t i = 0; i < 3; i++)
        for (size_t threads = 1; threads <= 7; threads += 3) {
            run_layer(l, cpus[i], threads, NYB_ENGINE_MF, operand_a, &operand_b, got);
            assert_memory_equal(got, want, out_size(l) * sizeof *want);
        }
    for (size_t i = 0; i < l->n_samples; i++)
        nyb_free(a[i].codes);
    nyb_free(b.codes);
    free(want);
    free(got);
}

/* The three products, convolutions and linear layers, the integer operand of any format and on
 * either side: the bits of the s8 engine. */
static void layers_equal_the_s8_engine(void **state)
{
    static const nyb_conv_shape shapes[] = {
        {.n = 1, .h = 1, .w = 45, .c = 70, .o = 33, .r = 1, .s = 1, .stride = 1},
        {.n = 3, .h = 9, .w = 7, .c = 17, .o = 20, .r = 3, .s = 3, .stride = 1, .pad = 1},
        {.n = 2, .h = 8, .w = 8, .c = 16, .o = 40, .r = 3, .s = 3, .stride = 2, .pad = 1},
        {.n = 2, .h = 5, .w = 6, .c = 3, .o = 5, .r = 1, .s = 1, .stride = 2},
    };
    static const char *const integers[] = {"int4", "uint4", "ternary", "int2", "binary"};

    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int product = 0; product < 3; product++)
            for (size_t f = 0; f < sizeof integers / sizeof *integers; f++)
                for (int swapped = 0; swapped < 2; swapped++) {
                    const nyb_format *integer = nyb_format_find(integers[f]);
                    layer l = {.product = (nyb_product)product,
                               .shape = shapes[i],
                               .a = swapped ? integer : &nyb_format_e3m0,
                               .b = swapped ? &nyb_format_e3m0 : integer,
                               .n_samples = product == NYB_PRODUCT_DW && f == 1 ? 2 : 1,
                               .add = f == 0};

                    if (nyb_mf_can(l.a, l.b))
                        check_layer(&l);
                }
}

static void what_it_cannot_is_an_error(void **state)
{
    const nyb_conv_shape shape = {
        .n = 1, .h = 1, .w = 4, .c = 4, .o = 4, .r = 1, .s = 1, .stride = 1};
    const nyb_accum accum = {.format = &nyb_format_fp16};
    nyb_conv_options options = {.engine = NYB_ENGINE_MF};
    const nyb_context context = {.cpu = 0};
    nyb_conv *conv;
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_conv_create_with(&context, NYB_PRODUCT_FWD, &shape, &nyb_format_int4,
                                          &nyb_format_int4, 1, &options, &conv, &err),
                     NYB_INVALID);
    assert_null(conv);
    assert_string_equal(err.text, "engine 'mf' multiplies e3m0 by integers of at most 15 (int4, "
                                  "uint4, int2 ...), not int4 by int4");
    options.accum = &accum;
    assert_int_equal(nyb_conv_create_with(&context, NYB_PRODUCT_DX, &shape, &nyb_format_e3m0,
                                          &nyb_format_int4, 1, &options, &conv, &err),
                     NYB_INVALID);
    assert_string_equal(err.text, "engine 'mf' sums exactly, not in accumulator 'fp16'");
}

/* engine f32: the values of the codes; here exactly the same numbers, since scales are 1. */
static void f32_can_be_demanded(void **state)
{
    const nyb_conv_options options = {.engine = NYB_ENGINE_F32};
    layer l = {.product = NYB_PRODUCT_DX,
               .shape = {.n = 1, .h = 1, .w = 9, .c = 30, .o = 20, .r = 1, .s = 1, .stride = 1},
               .a = &nyb_format_e3m0,
               .b = &nyb_format_int4,
               .n_samples = 1};
    nyb_context *context;
    nyb_conv *conv;
    float want[270], got[270];

    (void)state;
    assert_int_equal(nyb_conv_shape_check(&l.shape, NULL), NYB_OK);
    nyb_packed a = operand(l.a, 9, 20, 1, 30), b = operand(l.b, 20, 30, 1, 31);
    const nyb_operand x = {.packed = &a}, w = {.packed = &b};
    run_layer(&l, "ref", 1, NYB_ENGINE_AUTO, &x, &w, want);
    assert_int_equal(nyb_context_create(NULL, 1, &context, NULL), NYB_OK);
    assert_int_equal(
        nyb_conv_create_with(context, l.product, &l.shape, l.a, l.b, 1, &options, &conv, NULL),
        NYB_OK);
    assert_string_equal(nyb_conv_engine(conv), "f32");
    void *scratch = nyb_alloc(nyb_conv_scratch_bytes(conv));
    assert_non_null(scratch);
    nyb_conv_run(conv, context, &x, &w, NULL, false, NULL, got, scratch);
    for (size_t i = 0; i < 270; i++)
        assert_true(got[i] == want[i]);
    nyb_free(scratch);
    nyb_free(a.codes);
    nyb_free(b.codes);
    nyb_conv_destroy(&conv);
    nyb_context_destroy(&context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_codes),        cmocka_unit_test(seven_and_less_are_fp7),
        cmocka_unit_test(it_knows_what_it_can),       cmocka_unit_test(tiles_sum_integer_products),
        cmocka_unit_test(layers_equal_the_s8_engine), cmocka_unit_test(what_it_cannot_is_an_error),
        cmocka_unit_test(f32_can_be_demanded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
