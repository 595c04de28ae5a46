/* The three products against seven nested loops, for every tile, several thread counts, and shapes
 * that are odd on purpose. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conv_rig.h"

static const nyb_format *format(const char *name)
{
    const nyb_format *f = nyb_format_find(name);
    assert_non_null(f);
    return f;
}

/* A random shape around kernel, stride and pad whose products stay below `macs`. */
static nyb_conv_shape random_shape(size_t r, size_t s, size_t stride, size_t pad, size_t macs)
{
    static const size_t channels[] = {1, 3, 5, 10, 16, 17, 32, 33, 48, 64, 100};
    const size_t n = sizeof channels / sizeof *channels;
    nyb_conv_shape shape;

    do {
        shape = (nyb_conv_shape){.n = pick(1, 5),
                                 .h = pick(1, 17),
                                 .w = pick(1, 19),
                                 .c = channels[draw() % n],
                                 .o = channels[draw() % n],
                                 .r = r,
                                 .s = s,
                                 .stride = stride,
                                 .pad = pad};
    } while (nyb_conv_shape_check(&shape, NULL) != NYB_OK ||
             shape.n * shape.oh * shape.ow * shape.c * shape.o * r * s > macs);
    return shape;
}

typedef enum worth { ONE_SCALE, ZEROS, LINES } worth;

/* DW takes several draws, DX of units with one scale too. */
static size_t draws_of(const problem *p, worth kind, size_t turn)
{
    if (p->product == NYB_PRODUCT_DW)
        return pick(1, 4);
    return p->product == NYB_PRODUCT_DX && kind != LINES && on_s8(p) ? 1 + turn / 3 % 4 : 1;
}

static void all_kernels(nyb_product product, const char *const formats[][2], size_t n_formats,
                        worth kind, size_t times, size_t macs)
{
    size_t turn = 0;

    for (size_t kernel = 1; kernel <= 7; kernel += 2) {
        for (size_t stride = 1; stride <= 3; stride++) {
            for (size_t pad = 0; pad <= 3 && pad < kernel; pad++) {
                for (size_t i = 0; i < times; i += TEST_EVERY(3), turn++) {
                    const size_t s = i % 4 == 3 ? pick(pad + 1, 6) : kernel;
                    problem p = {.product = product,
                                 .s = random_shape(kernel, s, stride, pad, macs),
                                 .a = format(formats[turn % n_formats][0]),
                                 .b = format(formats[turn % n_formats][1]),
                                 .bias = product == NYB_PRODUCT_FWD && draw() % 2,
                                 .add = draw() % 2};
                    p.n_samples = draws_of(&p, kind, turn);
                    p.lines_a = kind == LINES && turn % 4 != 1;
                    p.lines_b = kind == LINES && turn % 4 < 2;
                    p.zero_a = kind == ZEROS && turn % 3 != 1;
                    p.zero_b = (kind == ZEROS && turn % 3 != 0) || (kind == LINES && !p.lines_b);
                    if (draw() % 4 == 0)
                        p.exact_k = product == NYB_PRODUCT_DW ? pick(8192, 12000) : pick(64, 600);
                    check_problem(&p, i == 0, draw() % 8 == 0);
                }
            }
        }
    }
}

static const char *const fwd_pairs[][2] = {
    {"int4", "int4"}, {"uint4", "int4"}, {"int8", "int8"}, {"uint4", "int2"}, {"e2m1", "e2m1"}};
static const char *const bwd_pairs[][2] = {
    {"e3m0", "int4"}, {"int4", "int4"}, {"e3m0", "uint4"}, {"int8", "int8"}, {"e3m0", "e3m0"}};
/* All of two's complement: -128 is an operand. */
static const char *const full_pairs[][2] = {
    {"int8f", "int8f"}, {"uint8", "int8f"}, {"int4f", "int4f"}, {"uint2", "int2f"}};
/* Code 0 is not 0: what fills up rows and images must not be summed. */
static const char *const odd_pairs[][2] = {
    {"uint2", "odd2"}, {"odd2", "int4"}, {"odd2", "odd2"}, {"binary", "odd2"}, {"int2", "odd2"}};
static const char *const zero_pairs[][2] = {
    {"uint8", "uint8"}, {"uint4", "int4"},  {"int4", "uint8"}, {"uint8", "int8"},
    {"int8", "uint4"},  {"uint5", "uint6"}, {"uint8", "e2m1"}};
static const char *const f32_pairs[][2] = {
    {"f32", "f32"}, {"f32", "f32"}, {"e4m0", "int4"}, {"f32", "int4"}, {"int4", "f32"}};

static void s8_y(void **state)
{
    (void)state;
    seed = 1;
    all_kernels(NYB_PRODUCT_FWD, fwd_pairs, 5, ONE_SCALE, 8, 300000);
}

static void s8_dx(void **state)
{
    (void)state;
    seed = 2;
    all_kernels(NYB_PRODUCT_DX, bwd_pairs, 5, ONE_SCALE, 8, 300000);
}

static void s8_dw(void **state)
{
    (void)state;
    seed = 3;
    all_kernels(NYB_PRODUCT_DW, bwd_pairs, 5, ONE_SCALE, 8, 300000);
}

static void s8_of_lowest_codes(void **state)
{
    (void)state;
    seed = 14;
    for (int product = 0; product < 3; product++)
        all_kernels((nyb_product)product, full_pairs, 4, ONE_SCALE, 2, 60000);
}

static void s8_without_a_zero(void **state)
{
    (void)state;
    seed = 15;
    for (int product = 0; product < 3; product++) {
        all_kernels((nyb_product)product, odd_pairs, 5, ONE_SCALE, 2, 60000);
        all_kernels((nyb_product)product, odd_pairs, 5, LINES, 1, 60000);
    }
}

/* Operands whose zero is no unit of 0: uint8 in the s8 engine, and asymmetric scales. */
static void other_zeros(void **state)
{
    (void)state;
    seed = 10;
    for (int product = 0; product < 3; product++) {
        all_kernels((nyb_product)product, zero_pairs, 7, ZEROS, 4, 200000);
        all_kernels((nyb_product)product, zero_pairs, 7, ONE_SCALE, 1, 200000);
    }
}

/* Rows with scales and offsets of their own, on the engine that takes them and on f32. */
static void lines(void **state)
{
    (void)state;
    seed = 12;
    for (int product = 0; product < 3; product++) {
        all_kernels((nyb_product)product, fwd_pairs, 5, LINES, 2, 100000);
        all_kernels((nyb_product)product, zero_pairs, 7, LINES, 2, 100000);
    }
}

/* Scales of images inside dW's sum: as many images as lanes hold, more, and large ones. */
static void images_with_lines(void **state)
{
    (void)state;
    seed = 14;
    for (size_t i = 0; i < 60; i++) {
        const size_t kernel = 1 + i % 4, stride = pick(1, 3);
        problem p = {.product = NYB_PRODUCT_DW,
                     .s = random_shape(kernel, kernel, stride, pick(0, kernel - 1), 200000),
                     .a = format((i % 2 ? bwd_pairs : fwd_pairs)[i % 5][0]),
                     .b = format((i % 2 ? bwd_pairs : fwd_pairs)[i % 5][1]),
                     .n_samples = i % 9 == 8 ? 2 : 1,
                     .add = draw() % 2,
                     .lines_a = i % 3 != 0,
                     .lines_b = i % 3 != 1,
                     .zero_b = i % 10 == 9 && i % 3 == 1,
                     .image_lines = true};

        if (i % 6 == 5)
            p.s = (nyb_conv_shape){.n = pick(100, 300),
                                   .h = 3,
                                   .w = 2,
                                   .c = 5,
                                   .o = 3,
                                   .r = 2,
                                   .s = 2,
                                   .stride = 1,
                                   .pad = 1};
        if (i % 30 == 3) /* one output pixel: not for s8 */
            p.s = (nyb_conv_shape){
                .n = 7, .h = 2, .w = 2, .c = 5, .o = 4, .r = 2, .s = 2, .stride = 1};
        if (i % 30 == 6)
            p.s = (nyb_conv_shape){.n = 3,
                                   .h = 70,
                                   .w = 81,
                                   .c = 3,
                                   .o = 2,
                                   .r = kernel,
                                   .s = kernel,
                                   .stride = stride,
                                   .pad = 0};
        if (i % 30 == 10)
            p.s = (nyb_conv_shape){
                .n = 9, .h = 3, .w = 3, .c = 150, .o = 130, .r = 3, .s = 3, .stride = 1, .pad = 1};
        check_problem(&p, i % 4 == 0, draw() % 8 == 0);
    }
}

/* Images whose sums may overflow int32 are for f32; those just below are not. */
static void large_images_with_lines(void **state)
{
    (void)state;
    seed = 16;
    for (size_t h = 362; h <= 363; h++) {
        problem p = {.product = NYB_PRODUCT_DW,
                     .s = {.n = 2, .h = h, .w = 362, .c = 1, .o = 1, .r = 1, .s = 1, .stride = 1},
                     .a = format("int8f"),
                     .b = format("int8"),
                     .n_samples = 1,
                     .lines_a = true,
                     .lines_b = true,
                     .image_lines = true};

        check_problem(&p, false, true);
    }
}

/* Codes of f32 products, too. */
static void other_zeros_in_f32(void **state)
{
    static const char *const pairs[][2] = {{"f32", "uint8"}, {"uint4", "f32"}, {"e4m0", "int8"}};

    (void)state;
    seed = 11;
    for (int product = 0; product < 3; product++)
        all_kernels((nyb_product)product, pairs, 3, ZEROS, 1, 100000);
}

/* Where pads are most of what taps see, and images alternate: blocks and taps leave steps out. */
static void many_small_images(void **state)
{
    (void)state;
    seed = 8;
    for (size_t i = 0; i < 36; i++) {
        const nyb_product product = (nyb_product)(i % 3);
        const bool fwd = product == NYB_PRODUCT_FWD;
        const size_t kernel = pick(2, 5), pad = pick(1, kernel - 1);
        problem p = {.product = product,
                     .s = {.n = pick(17, 70),
                           .h = pick(kernel > 2 * pad ? kernel - 2 * pad : 1, 6),
                           .w = pick(kernel > 2 * pad ? kernel - 2 * pad : 1, 6),
                           .c = pick(1, 40),
                           .o = pick(1, 40),
                           .r = kernel,
                           .s = kernel,
                           .stride = pick(1, 3),
                           .pad = pad},
                     .a = format((fwd ? fwd_pairs : bwd_pairs)[draw() % 5][0]),
                     .n_samples = product == NYB_PRODUCT_FWD ? 1 : pick(1, 2),
                     .bias = fwd};
        p.b = format("int4");
        check_problem(&p, false, draw() % 8 == 0);
    }
}

/* The first and the last of several bands of rows see pads where the others see pixels. */
static void bands_of_rows(void **state)
{
    (void)state;
    seed = 9;
    for (size_t i = 0; i < 4; i++) {
        const size_t stride = i / 2 + 1;
        problem p = {.product = i % 2 ? NYB_PRODUCT_DX : NYB_PRODUCT_FWD,
                     .s = {.n = 1,
                           .h = 16 * stride,
                           .w = 32 * stride,
                           .c = 64,
                           .o = 64,
                           .r = 3,
                           .s = 3,
                           .stride = stride,
                           .pad = 1},
                     .a = format(i % 2 ? "e3m0" : "uint4"),
                     .b = format("int4"),
                     .n_samples = 1};
        nyb_conv *conv;
        assert_int_equal(
            nyb_conv_create(contexts[0][0], p.product, &p.s, p.a, p.b, 1, NULL, &conv, NULL),
            NYB_OK);
        assert_true(conv->map.bands > 1);
        nyb_conv_destroy(&conv);
        check_problem(&p, false, false);
    }
}

/* No step is summed that has only pads: the steps of all blocks are the multiply-adds that count.
 */
static void padding_is_left_out(void **state)
{
    const nyb_conv_shape shape = {
        .n = 64, .h = 4, .w = 4, .c = 256, .o = 256, .r = 3, .s = 3, .stride = 1, .pad = 1};
    (void)state;
    for (int product = 0; product < 3; product++) {
        const bool dw = product == NYB_PRODUCT_DW;
        nyb_conv *conv;
        uint64_t steps = 0;
        assert_int_equal(nyb_conv_create(contexts[0][0], (nyb_product)product, &shape,
                                         format("int4"), format("int4"), 1, NULL, &conv, NULL),
                         NYB_OK);
        const nyb_map *map = &conv->map;
        if (dw)
            steps = conv->dw.list[9] * conv->dw.n_chunks * shape.c * shape.o;
        for (size_t i = 0; !dw && i < map->bands * map->subs->n_blocks; i++) {
            const uint32_t *list = map->subs->list + map->subs->block_list[i];
            steps += (list[1] - list[0]) * (map->n_slabs / map->bands) * NYB_TILE_ROWS * shape.o;
        }
        assert_int_equal(steps * NYB_TILE_STEP, nyb_conv_macs(conv));
        nyb_conv_destroy(&conv);
    }
}

static void f32_all(void **state)
{
    (void)state;
    seed = 4;
    for (int product = 0; product < 3; product++)
        all_kernels((nyb_product)product, f32_pairs, 5, ONE_SCALE, 4, 200000);
}

/* Linear layers: long K in parts, few and many rows, more panels than one group. */
static void linear_layers(void **state)
{
    static const size_t mkn[][3] = {{1, 1, 1},      {33, 1100, 70},  {200, 64, 33}, {5, 4100, 40},
                                    {7, 16, 1000},  {70, 3000, 100}, {1, 9000, 3},  {300, 100, 10},
                                    {64, 784, 128}, {3, 33, 2100}};
    (void)state;
    seed = 5;
    for (size_t i = 0; i < 10; i += TEST_EVERY(3)) {
        for (int product = 0; product < 3; product++) {
            for (size_t f = 0; f < 2; f++) {
                const bool draws = product == NYB_PRODUCT_DW || (product == NYB_PRODUCT_DX && !f);
                problem p = {.product = (nyb_product)product,
                             .s = {.n = 1,
                                   .h = 1,
                                   .w = mkn[i][0],
                                   .c = mkn[i][1],
                                   .o = mkn[i][2],
                                   .r = 1,
                                   .s = 1,
                                   .stride = 1},
                             .a = format(f ? "f32" : "e3m0"),
                             .b = format(f ? "f32" : "int4"),
                             .n_samples = draws ? pick(1, 3) : 1,
                             .add = draw() % 2};
                check_problem(&p, false, false);
            }
        }
    }
}

/* Forward products around the number of rows up to which no panels are packed; some of formats that
 * need them. */
static void few_rows(void **state)
{
    static const char *const pairs[][2] = {
        {"uint4", "int4"},   {"int4", "int4"},   {"int8", "int4"}, {"uint8", "int4"},
        {"e3m0", "int4"},    {"int4", "uint4"},  {"int8", "int8"}, {"e2m1", "e3m0"},
        {"ternary", "int2"}, {"int8f", "int4f"}, {"uint2", "odd2"}};
    static const size_t ks[] = {1, 16, 100, 128, 784, 1024, 1100};

    (void)state;
    seed = 13;
    for (size_t i = 0; i < 77; i++) {
        const size_t n = pick(1, 3), h = pick(1, 2), w = pick(1, 3);
        problem p = {.product = NYB_PRODUCT_FWD,
                     .s = {n, h, w, .c = ks[i % 7], .o = pick(1, 128), .r = 1, .s = 1, .stride = 1},
                     .a = format(pairs[i % 11][0]),
                     .b = format(pairs[i % 11][1]),
                     .n_samples = 1,
                     .bias = draw() % 2,
                     .add = draw() % 2};

        check_problem(&p, i % 5 == 0, i % 6 == 0);
    }
}

/* Convolutions whose K exceeds one chain of 4096, and whose pixels do. */
static void long_chains(void **state)
{
    (void)state;
    seed = 6;
    problem p = {
        .product = NYB_PRODUCT_FWD,
        .s = {.n = 1, .h = 3, .w = 4, .c = 520, .o = 5, .r = 3, .s = 3, .stride = 1, .pad = 1},
        .a = format("f32"),
        .b = format("f32"),
        .n_samples = 1};
    check_problem(&p, false, false);
    p.product = NYB_PRODUCT_DX;
    p.s.c = 5;
    p.s.o = 1400;
    check_problem(&p, false, false);
    p.product = NYB_PRODUCT_DW;
    for (size_t stride = 1; stride <= 2; stride++) {
        p.s = (nyb_conv_shape){
            .n = 9, .h = 45, .w = 51, .c = 2, .o = 3, .r = 3, .s = 3, .stride = stride, .pad = 1};
        p.n_samples = 3 - stride;
        check_problem(&p, true, false);
    }
}

/* int32 sums spill to int64 in time: with a small bound, and with the real one. */
static void k_split(void **state)
{
    (void)state;
    seed = 7;
    for (size_t stride = 1; stride <= 2; stride++) {
        for (size_t exact_k = 2048; exact_k <= 8192; exact_k *= 2) {
            for (size_t n = 1; n <= 7; n++) {
                problem p = {.product = NYB_PRODUCT_DW,
                             .s = {.n = n,
                                   .h = 57,
                                   .w = 61,
                                   .c = 3,
                                   .o = 2,
                                   .r = 3,
                                   .s = 3,
                                   .stride = stride,
                                   .pad = 1},
                             .a = format("e3m0"),
                             .b = format("uint4"),
                             .n_samples = 1,
                             .exact_k = exact_k};
                check_problem(&p, n == 7, true);
            }
        }
    }
}

static void fill_max(operand *o, size_t rows, size_t cols, const nyb_format *f, unsigned code)
{
    o->packed = (nyb_packed){
        .format = f, .rows = rows, .cols = cols, .scale = 1.0f, .pitch = nyb_packed_pitch(cols)};
    o->packed.codes = nyb_alloc(nyb_packed_bytes(f, rows, cols));
    assert_non_null(o->packed.codes);
    memset(o->packed.codes, (int)(code * 17), nyb_packed_bytes(f, rows, cols));
    o->values = NULL;
    o->arg = (nyb_operand){0};
}

/* y, dw, and dx of four draws, of matrices whose codes are all the same, k products an output; on
 * the reference, too, if that does not take long. */
static void check_long_sums(const char *a_format, const char *b_format, size_t k, size_t o,
                            size_t c, size_t first_level, float want)
{
    for (int product = 0; product < 3; product++) {
        const bool dw = product == NYB_PRODUCT_DW, dx = product == NYB_PRODUCT_DX;
        problem p = {.product = (nyb_product)product,
                     .s = {.n = 1,
                           .h = 1,
                           .w = dw ? k : 2,
                           .c = dw   ? c
                                : dx ? 2
                                     : k,
                           .o = dw   ? o
                                : dx ? k / 4
                                     : 2,
                           .r = 1,
                           .s = 1,
                           .stride = 1},
                     .a = format(a_format),
                     .b = format(b_format),
                     .n_samples = dx ? 4 : 1};
        assert_int_equal(nyb_conv_shape_check(&p.s, NULL), NYB_OK);
        const sizes z = sizes_of(&p);
        operand a[4], b;
        float out[256];
        fill_max(&a[0], z.a_rows, z.a_cols, p.a, 15);
        a[1] = a[2] = a[3] = a[0];
        fill_max(&b, z.b_rows, z.b_cols, p.b, 15);
        for (size_t l = first_level; l < LEVELS; l++) {
            if (!contexts[l][0])
                continue;
            run_product(&p, contexts[l][1], a, &b, NULL, NULL, out);
            for (size_t i = 0; i < z.out; i++)
                assert_true(out[i] == (dx ? want / 4 : want));
        }
        free_operand(&a[0]);
        free_operand(&b);
    }
}

/* One draw's sums fit int32, those of four do not; in windows no other bound cuts them first. */
static void draws_split_for_real(void **state)
{
    problem p = {
        .product = NYB_PRODUCT_DX,
        .s = {.n = 1, .h = 3, .w = 3, .c = 2, .o = 3700, .r = 3, .s = 3, .stride = 1, .pad = 1},
        .a = format("int8f"),
        .b = format("int8f"),
        .n_samples = 4};

    (void)state;
    seed = 17;
    check_problem(&p, false, true);
}

/* 2.3 million products of 64 * 15 exceed 2^31. */
static void k_split_for_real(void **state)
{
    const size_t k = 2300000;

    (void)state;
    check_long_sums("e3m0", "uint4", k, 16, 16, 1, -(float)(k * 960));
}

/* Of uint8 60,000 products of 255 * 255 do, though those of its units would not. */
static void zeros_split_for_real(void **state)
{
    const size_t k = 60000;

    (void)state;
    check_long_sums("uint8", "uint8", k, 5, 3, 0, (float)(k * 65025));
}

/* A row of 700 pixels of unit -128, worth -1: dw counts the pairs of each tap. */
static void zeros_of_long_rows(void **state)
{
    problem p = {
        .product = NYB_PRODUCT_DW,
        .s = {.n = 1, .h = 2, .w = 700, .c = 3, .o = 2, .r = 3, .s = 3, .stride = 1, .pad = 1},
        .a = format("uint8"),
        .b = format("uint8"),
        .n_samples = 1,
        .zero_a = true,
        .zero_b = true};
    operand a, b;
    float out[54];

    (void)state;
    assert_int_equal(nyb_conv_shape_check(&p.s, NULL), NYB_OK);
    const sizes z = sizes_of(&p);
    fill_max(&a, z.a_rows, z.a_cols, p.a, 0);
    fill_max(&b, z.b_rows, z.b_cols, p.b, 0);
    a.packed.zero = b.packed.zero = 1;
    run_product(&p, contexts[0][1], &a, &b, NULL, NULL, out);
    for (size_t i = 0; i < z.out; i++) {
        const size_t r = i / 9 % 3, t = i / 3 % 3;
        assert_true(out[i] == (float)((r == 1 ? 2 : 1) * (t == 1 ? 700 : 699)));
    }
    free_operand(&a);
    free_operand(&b);
}

/* sum y dy = sum x dx = sum w dw: with scales of 1 all three are exact integers. */
static void gradients_belong_together(void **state)
{
    (void)state;
    seed = 8;
    for (size_t i = 0; i < 20; i++) {
        const size_t kernel = pick(1, 5);
        const nyb_conv_shape shape =
            random_shape(kernel, pick(kernel, 5), pick(1, 3), pick(0, kernel - 1), 200000);
        const nyb_format *const i4 = format("int4"), *const e3 = format("e3m0");
        const problem problems[] = {{NYB_PRODUCT_FWD, shape, i4, i4, 1, 0, false, false},
                                    {NYB_PRODUCT_DX, shape, e3, i4, 1, 0, false, false},
                                    {NYB_PRODUCT_DW, shape, e3, i4, 1, 0, false, false}};
        const sizes y = sizes_of(&problems[0]), dw = sizes_of(&problems[2]);
        operand x = make_operand(i4, y.a_rows, y.a_cols, false, false);
        operand w = make_operand(i4, y.b_rows, y.b_cols, false, false);
        operand dy = make_operand(e3, dw.a_rows, dw.a_cols, false, false);
        const operand *const ab[][3] = {{&x, &w, &dy}, {&dy, &w, &x}, {&dy, &x, &w}};
        double dots[3];
        x.packed.scale = w.packed.scale = dy.packed.scale = 1.0f;
        for (int k = 0; k < 3; k++) {
            const size_t n = sizes_of(&problems[k]).out;
            float *out = nyb_alloc(n * sizeof(float));
            assert_non_null(out);
            run_product(&problems[k], contexts[0][1], ab[k][0], ab[k][1], NULL, NULL, out);
            dots[k] = 0;
            for (size_t j = 0; j < n; j++)
                dots[k] += (double)out[j] * ab[k][2]->values[j];
            nyb_free(out);
        }
        assert_true(dots[0] == dots[1] && dots[1] == dots[2]);
        free_operand(&x);
        free_operand(&w);
        free_operand(&dy);
    }
}

static void scale_zero_gives_zeros(void **state)
{
    (void)state;
    seed = 9;
    for (int product = 0; product < 3; product++) {
        const problem p = {.product = (nyb_product)product,
                           .s = {.n = 2,
                                 .h = 5,
                                 .w = 5,
                                 .c = 7,
                                 .o = 9,
                                 .r = 3,
                                 .s = 3,
                                 .stride = 2,
                                 .pad = 1,
                                 .oh = 3,
                                 .ow = 3},
                           .a = format("int4"),
                           .b = format("int4"),
                           .n_samples = 1};
        const sizes z = sizes_of(&p);
        operand a = make_operand(p.a, z.a_rows, z.a_cols, false, false);
        operand b = make_operand(p.b, z.b_rows, z.b_cols, false, false);
        float out[1000];
        a.packed.scale = 0;
        assert_true(z.out <= 1000);
        run_product(&p, contexts[0][0], &a, &b, NULL, NULL, out);
        for (size_t i = 0; i < z.out; i++)
            assert_true(out[i] == 0.0f);
        free_operand(&a);
        free_operand(&b);
    }
}

static nyb_status try_create(nyb_conv_shape shape, nyb_product product, size_t n_samples,
                             nyb_error *err)
{
    nyb_conv *conv = (nyb_conv *)1;
    const nyb_format *f = format("int4");
    const nyb_status status =
        nyb_conv_create(contexts[0][0], product, &shape, f, f, n_samples, NULL, &conv, err);
    assert_true((status == NYB_OK) == (conv != NULL));
    nyb_conv_destroy(&conv);
    return status;
}

static void bad_shapes_are_refused(void **state)
{
    const nyb_conv_shape good = {
        .n = 2, .h = 5, .w = 5, .c = 7, .o = 9, .r = 3, .s = 3, .stride = 1, .pad = 1};
    nyb_conv_shape bad;
    nyb_error err;

    (void)state;
    assert_int_equal(try_create(good, NYB_PRODUCT_FWD, 1, &err), NYB_OK);
    assert_int_equal(try_create(good, NYB_PRODUCT_FWD, 2, &err), NYB_INVALID);
    assert_int_equal(try_create(good, NYB_PRODUCT_DW, 0, &err), NYB_INVALID);
    bad = good;
    bad.c = 0;
    assert_int_equal(try_create(bad, NYB_PRODUCT_FWD, 1, &err), NYB_SHAPE);
    bad = good;
    bad.pad = 3;
    assert_int_equal(try_create(bad, NYB_PRODUCT_FWD, 1, &err), NYB_SHAPE);
    bad = good;
    bad.r = 8;
    assert_int_equal(try_create(bad, NYB_PRODUCT_FWD, 1, &err), NYB_SHAPE);
    bad = good;
    bad.h = SIZE_MAX - 1;
    assert_int_equal(try_create(bad, NYB_PRODUCT_FWD, 1, &err), NYB_LIMIT);
    bad = good;
    bad.o = SIZE_MAX / 8;
    assert_int_equal(try_create(bad, NYB_PRODUCT_DX, 1, NULL), NYB_LIMIT);
}

static void creation_survives_every_failed_allocation(void **state)
{
    const nyb_conv_shape shape = {
        .n = 2, .h = 9, .w = 9, .c = 7, .o = 9, .r = 3, .s = 3, .stride = 2, .pad = 1};
    (void)state;
    for (int product = 0; product < 3; product++) {
        nyb_status status = NYB_MEMORY;
        for (uint64_t n = 1; status != NYB_OK; n++) {
            assert_true(n < 200);
            nyb_alloc_fail_after(n, false);
            status = try_create(shape, (nyb_product)product, 1, NULL);
            nyb_alloc_fail_after(0, false);
            assert_true(status == NYB_OK || status == NYB_MEMORY);
        }
    }
}

static void useful_macs_exclude_padding(void **state)
{
    const nyb_conv_shape shape = {
        .n = 2, .h = 4, .w = 4, .c = 3, .o = 5, .r = 3, .s = 3, .stride = 1, .pad = 1};
    nyb_conv *conv;

    (void)state;
    assert_int_equal(nyb_conv_create(contexts[0][0], NYB_PRODUCT_FWD, &shape, format("int4"),
                                     format("int4"), 1, NULL, &conv, NULL),
                     NYB_OK);
    assert_int_equal(nyb_conv_macs(conv), 10 * 10 * 2 * 3 * 5);
    assert_string_equal(nyb_conv_engine(conv), "s8");
    assert_string_equal(nyb_conv_kernel(conv), "ref");
    nyb_conv_destroy(&conv);
    assert_int_equal(nyb_conv_create(contexts[0][0], NYB_PRODUCT_DW, &shape, format("f32"),
                                     format("int4"), 1, NULL, &conv, NULL),
                     NYB_OK);
    assert_string_equal(nyb_conv_engine(conv), "f32");
    nyb_conv_destroy(&conv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s8_y),
        cmocka_unit_test(s8_dx),
        cmocka_unit_test(s8_dw),
        cmocka_unit_test(s8_of_lowest_codes),
        cmocka_unit_test(s8_without_a_zero),
        cmocka_unit_test(other_zeros),
        cmocka_unit_test(other_zeros_in_f32),
        cmocka_unit_test(lines),
        cmocka_unit_test(many_small_images),
        cmocka_unit_test(bands_of_rows),
        cmocka_unit_test(padding_is_left_out),
        cmocka_unit_test(f32_all),
        cmocka_unit_test(linear_layers),
        cmocka_unit_test(few_rows),
        cmocka_unit_test(long_chains),
        cmocka_unit_test(k_split),
        cmocka_unit_test(images_with_lines),
        cmocka_unit_test(large_images_with_lines),
        cmocka_unit_test(k_split_for_real),
        cmocka_unit_test(draws_split_for_real),
        cmocka_unit_test(zeros_split_for_real),
        cmocka_unit_test(zeros_of_long_rows),
        cmocka_unit_test(gradients_belong_together),
        cmocka_unit_test(scale_zero_gives_zeros),
        cmocka_unit_test(bad_shapes_are_refused),
        cmocka_unit_test(creation_survives_every_failed_allocation),
        cmocka_unit_test(useful_macs_exclude_padding),
    };

    return cmocka_run_group_tests(tests, create_contexts, destroy_contexts);
}
