/* The public products, against loops over what nyb_matrix_code says. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <nybble/accumulate.h>

#include "base/base.h"

#define M 37
#define N 19
#define K 45

static nyb_context *context;
static float x[M * K], w[N * K], dy[M * N];

static int set_up(void **state)
{
    uint64_t seed = 12;

    (void)state;
    for (size_t i = 0; i < M * K + N * K + M * N; i++) {
        float *p = i < M * K ? &x[i] : i < M * K + N * K ? &w[i - M * K] : &dy[i - M * K - N * K];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        *p = (float)(int32_t)(seed >> 32) * 0x1p-30f;
    }
    return nyb_context_create(NULL, 2, &context, NULL) != NYB_OK;
}

static int tear_down(void **state)
{
    (void)state;
    nyb_context_destroy(&context);
    return 0;
}

static nyb_matrix *matrix(const char *text, const float *data, size_t rows, size_t cols)
{
    nyb_spec spec;
    nyb_matrix *m;

    assert_int_equal(nyb_spec_parse(text, &spec, NULL), NYB_OK);
    assert_int_equal(nyb_matrix_create(context, &spec, data, rows, cols, 1, 2, 3, &m, NULL),
                     NYB_OK);
    return m;
}

static double unit(const char *name, const nyb_matrix *m, size_t row, size_t col)
{
    return (double)nyb_format_decode(nyb_format_find(name), nyb_matrix_code(m, row, col));
}

/* Codes and a scale make the matrix that quantizing made. */
static void a_matrix_may_be_made_of_codes(void **state)
{
    static const char *const specs[] = {"int4", "e3m0", "uint2/absmax", "e2m1", "int8", "e4m3fn"};
    uint8_t codes[M * K];
    float values[M * K], again[M * K], y[2][M * N];

    (void)state;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        nyb_matrix *made = matrix(specs[i], x, M, K), *copy, *w4 = matrix("int4", w, N, K);
        nyb_spec spec;

        assert_int_equal(nyb_spec_parse(specs[i], &spec, NULL), NYB_OK);
        for (size_t k = 0; k < M * K; k++)
            codes[k] = (uint8_t)nyb_matrix_code(made, k / K, k % K);
        assert_int_equal(
            nyb_matrix_create_codes(spec.format, codes, M, K, nyb_matrix_scale(made), &copy, NULL),
            NYB_OK);
        nyb_matrix_decode(made, values);
        nyb_matrix_decode(copy, again);
        assert_memory_equal(values, again, sizeof values);
        assert_true(again[3] == nyb_format_decode(spec.format, codes[3]) * nyb_matrix_scale(made));
        assert_int_equal(nyb_matmul_y(context, made, w4, NULL, y[0], NULL), NYB_OK);
        assert_int_equal(nyb_matmul_y(context, copy, w4, NULL, y[1], NULL), NYB_OK);
        assert_memory_equal(y[0], y[1], sizeof y[0]);
        nyb_matrix_destroy(&made);
        nyb_matrix_destroy(&copy);
        nyb_matrix_destroy(&w4);
    }
    nyb_matrix *m;
    const nyb_format *int4 = nyb_format_find("int4");
    codes[5] = 16;
    assert_int_equal(nyb_matrix_create_codes(int4, codes, M, K, 1, &m, NULL), NYB_INVALID);
    assert_null(m);
    memset(codes, 1, sizeof codes);
    assert_int_equal(nyb_matrix_create_codes(int4, codes, M, K, NAN, &m, NULL), NYB_INVALID);
    assert_int_equal(nyb_matrix_create_codes(int4, codes, 0, K, 1, &m, NULL), NYB_SHAPE);
    assert_int_equal(nyb_matrix_create_codes(int4, codes, SIZE_MAX / 2, K, 1, &m, NULL), NYB_LIMIT);
    assert_int_equal(nyb_matrix_create_codes(int4, NULL, M, K, 1, &m, NULL), NYB_INVALID);
    assert_int_equal(nyb_matrix_create_codes(NULL, codes, M, K, 1, &m, NULL), NYB_INVALID);
    assert_int_equal(nyb_matrix_create_codes(nyb_format_find("bf16"), codes, M, K, 1, &m, NULL),
                     NYB_INVALID);
    assert_int_equal(nyb_matrix_create_codes(nyb_format_find("int4m"), codes, M, K, 1, &m, NULL),
                     NYB_INVALID);
}

static void a_matrix_is_what_quantize_says(void **state)
{
    uint8_t codes[M * K];
    nyb_spec spec;
    nyb_matrix *m = matrix("e3m0/absmax/tensor/stochastic", x, M, K);

    (void)state;
    assert_int_equal(nyb_spec_parse("e3m0/absmax/tensor/stochastic", &spec, NULL), NYB_OK);
    assert_int_equal(nyb_quantize(context, &spec, x, M, K, 1, 2, 3, codes, NULL, NULL, NULL),
                     NYB_OK);
    assert_int_equal(nyb_matrix_rows(m), M);
    assert_int_equal(nyb_matrix_cols(m), K);
    assert_int_equal(nyb_matrix_bytes(m), (M * 48 + 127) / 128 * 64);
    for (size_t row = 0; row < M; row++)
        for (size_t col = 0; col < K; col++)
            assert_int_equal(nyb_matrix_code(m, row, col), codes[row * K + col]);
    nyb_matrix_destroy(&m);
    assert_null(m);
    nyb_matrix_destroy(&m);
}

/* Any rule of one scale: searched, learned, with a reciprocal of its own. */
static void a_matrix_takes_every_rule_of_one_scale(void **state)
{
    uint8_t codes[M * K];
    float values[M * K];
    size_t n = 0;

    (void)state;
    for (size_t f = 0; f < nyb_format_count(); f++)
        for (size_t r = 0; r < nyb_scale_rule_count(); r++) {
            nyb_spec s = {.scale = nyb_scale_rule_at(r), .sr_bits = 16};
            nyb_matrix *m;

            s.format = nyb_format_at(f);
            if (nyb_matrix_check(&s, NULL) != NYB_OK)
                continue;
            assert_int_equal(nyb_matrix_create(context, &s, x, M, K, 1, 2, 3, &m, NULL), NYB_OK);
            assert_int_equal(nyb_quantize(context, &s, x, M, K, 1, 2, 3, codes, values, NULL, NULL),
                             NYB_OK);
            for (size_t i = 0; i < M * K; i++) {
                const unsigned code = nyb_matrix_code(m, i / K, i % K);

                assert_int_equal(code, codes[i]);
                const float value = nyb_format_decode(s.format, code) * nyb_matrix_scale(m);

                if (!strstr(nyb_format_name(s.format), "int4m")) /* with factors */
                    assert_true(value == values[i] || fabsf(value) < 0x1p-126f);
            }
            nyb_matrix_destroy(&m);
            n++;
        }
    assert_true(n > 150);
}

/* Rows with scales, and offsets, of their own: codes and values are those of nyb_quantize_groups,
 * and a matrix made of its codes is the same one. */
static void a_matrix_of_rows_is_what_quantize_says(void **state)
{
    static const nyb_rounding roundings[] = {NYB_ROUND_NEAREST, NYB_ROUND_STOCHASTIC};
    uint8_t codes[M * K];
    float values[M * K], again[M * K], scales[M], offsets[M], level;
    size_t n = 0, n_with_offsets = 0;

    (void)state;
    for (size_t f = 0; f < nyb_format_count(); f++)
        for (size_t r = 0; r < 2 * nyb_scale_rule_count(); r++) {
            nyb_spec s = {.scale = nyb_scale_rule_at(r / 2),
                          .group = NYB_GROUP_ROW,
                          .rounding = roundings[r % 2],
                          .sr_bits = 16};
            nyb_matrix *m, *copy;
            bool shifts = false;

            s.format = nyb_format_at(f);
            if (nyb_matrix_check(&s, NULL) != NYB_OK)
                continue;
            assert_int_equal(nyb_matrix_create(context, &s, x, M, K, 1, 2, 3, &m, NULL), NYB_OK);
            assert_int_equal(nyb_quantize_groups(context, &s, x, M, K, 1, 2, 3, codes, values,
                                                 scales, offsets, &level, NULL),
                             NYB_OK);
            assert_int_equal(
                nyb_matrix_create_rows(s.format, codes, M, K, scales, offsets, &copy, NULL),
                NYB_OK);
            nyb_matrix_decode(m, again);
            assert_true(level == 1.0f);
            for (size_t i = 0; i < M * K; i++) {
                assert_int_equal(nyb_matrix_code(m, i / K, i % K), codes[i]);
                assert_true(again[i] == values[i]);
            }
            nyb_matrix_decode(copy, again);
            for (size_t i = 0; i < M * K; i++)
                assert_true(again[i] == values[i]);
            for (size_t i = 0; i < M; i++) {
                assert_true(nyb_matrix_row_scale(m, i) == scales[i]);
                assert_true(nyb_matrix_row_offset(m, i) == offsets[i]);
                shifts |= offsets[i] != 0.0f;
            }
            assert_true(nyb_matrix_scale(m) == 1.0f && nyb_matrix_row_scale(m, M) == 0.0f);
            nyb_matrix_destroy(&m);
            nyb_matrix_destroy(&copy);
            n++;
            n_with_offsets += shifts;
        }
    assert_true(n > 60 && n_with_offsets > 3);
    scales[7] = INFINITY;
    nyb_matrix *m;
    const nyb_format *int8 = nyb_format_find("int8");
    memset(codes, 1, sizeof codes);
    assert_int_equal(nyb_matrix_create_rows(int8, codes, M, K, scales, NULL, &m, NULL),
                     NYB_INVALID);
    assert_null(m);
    assert_int_equal(nyb_matrix_create_rows(int8, codes, M, K, NULL, NULL, &m, NULL), NYB_INVALID);
    scales[7] = 1;
    offsets[2] = NAN;
    assert_int_equal(nyb_matrix_create_rows(int8, codes, M, K, scales, offsets, &m, NULL),
                     NYB_INVALID);
    assert_int_equal(nyb_matrix_create_rows(int8, codes, M, K, scales, NULL, &m, NULL), NYB_OK);
    assert_int_equal(nyb_matrix_bytes(m), (M * 48 + 63) / 64 * 64 + M * 8);
    nyb_matrix_destroy(&m);
}

/* sum of units of a's row and of b's, or of b's column, as rows with scales of their own finish it;
 * plus: of b's units alone. */
static float of_rows(const nyb_matrix *a, size_t row, double unit_b, double sum, double plus,
                     float scale, float column)
{
    float t = (float)sum * (nyb_matrix_row_scale(a, row) * scale);

    if (nyb_matrix_row_offset(a, row) != 0.0f)
        t = t + (float)plus * (nyb_matrix_row_offset(a, row) * (float)unit_b);
    return t * column;
}

static void check_rows_y(const char *of_x, const char *of_w)
{
    nyb_matrix *qx = matrix(of_x, x, M, K), *qw = matrix(of_w, w, N, K);
    char fx[16], fw[16];
    float y[M * N];
    const bool lines = strstr(of_w, "row");
    nyb_plan *plan;

    snprintf(fx, sizeof fx, "%.*s", (int)strcspn(of_x, "/"), of_x);
    snprintf(fw, sizeof fw, "%.*s", (int)strcspn(of_w, "/"), of_w);
    assert_int_equal(nyb_plan_create_matmul(context, NYB_PLAN_Y, qx, qw, NULL, &plan, NULL),
                     NYB_OK);
    assert_string_equal(nyb_plan_engine(plan), "s8");
    nyb_plan_run(plan, qx, qw, y);
    nyb_plan_destroy(&plan);
    for (int biased = 0; biased < 2; biased++) {
        if (biased)
            assert_int_equal(nyb_matmul_y(context, qx, qw, w, y, NULL), NYB_OK);
        for (size_t i = 0; i < M * N; i++) {
            const size_t m = i / N, n = i % N;
            double sum = 0, plus = 0;

            for (size_t k = 0; k < K; k++) {
                sum += unit(fx, qx, m, k) * unit(fw, qw, n, k);
                plus += unit(fw, qw, n, k);
            }
            const float t =
                of_rows(qx, m, lines ? 1 : nyb_matrix_scale(qw), sum, plus,
                        lines ? 1 : nyb_matrix_scale(qw), lines ? nyb_matrix_row_scale(qw, n) : 1);
            assert_true(y[i] == (biased ? t + w[n] : t));
        }
    }
    nyb_matrix_destroy(&qx);
    nyb_matrix_destroy(&qw);
}

static void rows_of_x_and_w_are_summed_exactly(void **state)
{
    (void)state;
    check_rows_y("int8/absmax/row", "int4/absmax/row");
    check_rows_y("uint4/psq/row", "int8/absmax/row");
    check_rows_y("uint8/psq/row", "int4/absmax/tensor");
    check_rows_y("int4/absmax/tensor", "int8/sawb/row");
    check_rows_y("e3m0/absmax/row/stochastic", "int4/absmax/row");

    nyb_matrix *qdy = matrix("uint4/psq/row", dy, M, N), *qw = matrix("int4/absmax", w, N, K);
    float dx[M * K];
    assert_int_equal(nyb_matmul_dx(context, qdy, qw, dx, NULL), NYB_OK);
    for (size_t i = 0; i < M * K; i++) {
        double sum = 0, plus = 0;

        for (size_t n = 0; n < N; n++) {
            sum += unit("uint4", qdy, i / K, n) * unit("int4", qw, n, i % K);
            plus += unit("int4", qw, n, i % K);
        }
        assert_true(dx[i] ==
                    of_rows(qdy, i / K, nyb_matrix_scale(qw), sum, plus, nyb_matrix_scale(qw), 1));
    }
    nyb_matrix_destroy(&qdy);
    nyb_matrix_destroy(&qw);
}

/* Scales inside a sum, and offsets of w: f32 products of the values. */
static void other_rows_are_values(void **state)
{
    nyb_matrix *qx = matrix("int8/absmax/row", x, M, K), *qw = matrix("uint4/psq/row", w, N, K);
    nyb_matrix *qdy = matrix("int4/absmax/row/stochastic", dy, M, N);
    float vx[M * K], vw[N * K], vdy[M * N], got[M * K], want[M * K];
    nyb_plan *plan;

    (void)state;
    nyb_matrix_decode(qx, vx);
    nyb_matrix_decode(qw, vw);
    nyb_matrix_decode(qdy, vdy);
    assert_int_equal(nyb_matmul_y(context, qx, qw, w, got, NULL), NYB_OK);
    assert_int_equal(nyb_matmul_f32_y(context, vx, vw, w, M, N, K, want, NULL), NYB_OK);
    assert_memory_equal(got, want, M * N * sizeof *got);
    assert_int_equal(nyb_matmul_dx(context, qdy, qw, got, NULL), NYB_OK);
    assert_int_equal(nyb_matmul_f32_dx(context, vdy, vw, M, N, K, want, NULL), NYB_OK);
    assert_memory_equal(got, want, M * K * sizeof *got);
    assert_int_equal(nyb_matmul_dw(context, qdy, qx, got, NULL), NYB_OK);
    assert_int_equal(nyb_matmul_f32_dw(context, vdy, vx, M, N, K, want, NULL), NYB_OK);
    assert_memory_equal(got, want, N * K * sizeof *got);
    assert_int_equal(nyb_plan_create_matmul(context, NYB_PLAN_DW, qdy, qx, NULL, &plan, NULL),
                     NYB_OK);
    assert_string_equal(nyb_plan_engine(plan), "f32");
    nyb_plan_destroy(&plan);
    assert_int_equal(nyb_plan_create_matmul(context, NYB_PLAN_DX, qx, qdy, NULL, &plan, NULL),
                     NYB_SHAPE);
    assert_null(plan);
    assert_int_equal(
        nyb_convolve_y(context, qx, (nyb_image){1, 1, M, K}, qw, N, 1, 1, 1, 0, NULL, got, NULL),
        NYB_INVALID);
    nyb_matrix_destroy(&qx);
    nyb_matrix_destroy(&qw);
    nyb_matrix_destroy(&qdy);
}

static void products_are_exact_sums(void **state)
{
    nyb_matrix *qx = matrix("int4", x, M, K), *qw = matrix("int4", w, N, K);
    nyb_matrix *qdy = matrix("e3m0", dy, M, N);
    const float sx = nyb_matrix_scale(qx), sw = nyb_matrix_scale(qw), sdy = nyb_matrix_scale(qdy);
    float y[M * N], dx[M * K], dw[N * K];

    (void)state;
    assert_int_equal(nyb_matmul_y(context, qx, qw, w, y, NULL), NYB_OK);
    assert_int_equal(nyb_matmul_dx(context, qdy, qw, dx, NULL), NYB_OK);
    assert_int_equal(nyb_matmul_dw(context, qdy, qx, dw, NULL), NYB_OK);
    for (size_t m = 0; m < M; m++) {
        for (size_t n = 0; n < N; n++) {
            double sum = 0;
            for (size_t k = 0; k < K; k++)
                sum += unit("int4", qx, m, k) * unit("int4", qw, n, k);
            const float t = (float)sum * (sx * sw);
            assert_true(y[m * N + n] == t + w[n]);
        }
        for (size_t k = 0; k < K; k++) {
            double sum = 0;
            for (size_t n = 0; n < N; n++)
                sum += unit("e3m0", qdy, m, n) * unit("int4", qw, n, k);
            assert_true(dx[m * K + k] == (float)sum * (sdy * sw));
        }
    }
    for (size_t n = 0; n < N; n++) {
        for (size_t k = 0; k < K; k++) {
            double sum = 0;
            for (size_t m = 0; m < M; m++)
                sum += unit("e3m0", qdy, m, n) * unit("int4", qx, m, k);
            assert_true(dw[n * K + k] == (float)sum * (sdy * sx));
        }
    }
    nyb_matrix_destroy(&qx);
    nyb_matrix_destroy(&qw);
    nyb_matrix_destroy(&qdy);
}

static void real_products_are_chains(void **state)
{
    float y[M * N], dx[M * K], dw[N * K];

    (void)state;
    assert_int_equal(nyb_matmul_f32_y(context, x, w, NULL, M, N, K, y, NULL), NYB_OK);
    assert_int_equal(nyb_matmul_f32_dx(context, dy, w, M, N, K, dx, NULL), NYB_OK);
    assert_int_equal(nyb_matmul_f32_dw(context, dy, x, M, N, K, dw, NULL), NYB_OK);
    for (size_t m = 0; m < M; m++)
        for (size_t n = 0; n < N; n++) {
            float sum = 0;
            for (size_t k = 0; k < K; k++)
                sum = fmaf(x[m * K + k], w[n * K + k], sum);
            assert_true(y[m * N + n] == sum);
        }
    for (size_t k = 0; k < K; k++) {
        for (size_t m = 0; m < M; m++) {
            float sum = 0;
            for (size_t n = 0; n < N; n++)
                sum = fmaf(dy[m * N + n], w[n * K + k], sum);
            assert_true(dx[m * K + k] == sum);
        }
        for (size_t n = 0; n < N; n++) {
            float sum = 0;
            for (size_t m = 0; m < M; m++)
                sum = fmaf(dy[m * N + n], x[m * K + k], sum);
            assert_true(dw[n * K + k] == sum);
        }
    }
}

/* x as 2 images of 3x6, with 45 channels; w as 1 output of 3x3 (and 10 rows over). */
static void a_convolution_and_its_plan_agree(void **state)
{
    const nyb_image image = {2, 3, 6, K};
    nyb_matrix *qx = matrix("int4", x, 36, K), *qw = matrix("int4", w, 9, K);
    float want[36], got[36];
    nyb_plan *plan;

    (void)state;
    assert_int_equal(nyb_convolve_y(context, qx, image, qw, 1, 3, 3, 1, 1, NULL, want, NULL),
                     NYB_OK);
    for (size_t i = 0; i < 36; i++) {
        double sum = 0;
        for (size_t tap = 0; tap < 9; tap++) {
            const long h = (long)(i / 6 % 3 + tap / 3) - 1, v = (long)(i % 6 + tap % 3) - 1;
            for (size_t c = 0; h >= 0 && h < 3 && v >= 0 && v < 6 && c < K; c++)
                sum += unit("int4", qx, i / 18 * 18 + (size_t)(h * 6 + v), c) *
                       unit("int4", qw, tap, c);
        }
        assert_true(want[i] == (float)sum * (nyb_matrix_scale(qx) * nyb_matrix_scale(qw)));
    }
    assert_int_equal(nyb_plan_create(context, NYB_PLAN_Y, image, 1, 3, 3, 1, 1,
                                     nyb_format_find("int4"), nyb_format_find("int4"), &plan, NULL),
                     NYB_OK);
    assert_string_equal(nyb_plan_engine(plan), "s8");
    const uint64_t allocated = nyb_alloc_count();
    nyb_plan_run(plan, qx, qw, got);
    assert_int_equal(nyb_alloc_count(), allocated);
    assert_memory_equal(got, want, sizeof want);
    nyb_plan_destroy(&plan);
    nyb_plan_destroy(&plan);

    const nyb_format *f32 = nyb_format_find("f32");
    assert_int_equal(nyb_plan_create(context, NYB_PLAN_DW, (nyb_image){1, 1, M, K}, N, 1, 1, 1, 0,
                                     f32, f32, &plan, NULL),
                     NYB_OK);
    float dw[2][N * K];
    assert_string_equal(nyb_plan_engine(plan), "f32");
    nyb_plan_run_f32(plan, dy, x, dw[0]);
    assert_int_equal(nyb_matmul_f32_dw(context, dy, x, M, N, K, dw[1], NULL), NYB_OK);
    assert_memory_equal(dw[0], dw[1], sizeof dw[0]);
    nyb_plan_destroy(&plan);
    /* Plans that nothing can be fed to. */
    static const char *const pairs[][2] = {
        {"f32", "int4"}, {"int4", "f32"}, {"bf16", "bf16"}, {"bf16", "int4"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const nyb_format *a = nyb_format_find(pairs[i][0]), *b = nyb_format_find(pairs[i][1]);
        assert_int_equal(
            nyb_plan_create(context, NYB_PLAN_Y, image, 1, 3, 3, 1, 1, a, b, &plan, NULL),
            NYB_INVALID);
        assert_int_equal(
            nyb_plan_create_depthwise(context, NYB_PLAN_Y, image, 3, 3, 1, 1, a, b, &plan, NULL),
            NYB_INVALID);
    }
    assert_int_equal(
        nyb_plan_create(context, (nyb_plan_kind)77, image, 1, 3, 3, 1, 1, f32, f32, &plan, NULL),
        NYB_INVALID);
    nyb_matrix_destroy(&qx);
    nyb_matrix_destroy(&qw);
}

/* ---- blocks -----------------------------------------------------------------------------------
 */

typedef struct block_rows {
    uint8_t codes[M * K];
    float scales[M * ((K + 15) / 16)], level;
    nyb_block_matrix matrix;
} block_rows;

static void quantize_blocks(const char *text, size_t block, const float *data, size_t rows,
                            block_rows *b)
{
    nyb_spec spec;

    assert_int_equal(nyb_spec_parse(text, &spec, NULL), NYB_OK);
    assert_int_equal(nyb_quantize_groups(context, &spec, data, rows, K, 1, 2, 3, b->codes, NULL,
                                         b->scales, NULL, &b->level, NULL),
                     NYB_OK);
    b->matrix = (nyb_block_matrix){.format = spec.format,
                                   .rows = rows,
                                   .cols = K,
                                   .block = block,
                                   .codes = b->codes,
                                   .scales = b->scales,
                                   .level = b->level};
}

static float chain_of_blocks(const nyb_block_matrix *a, size_t i, const nyb_block_matrix *b,
                             size_t j)
{
    const size_t a_row = (K + a->block - 1) / a->block;
    float sum = 0;

    for (size_t g = 0; g < a_row; g++) {
        double exact = 0;

        for (size_t k = g * a->block; k < K && k < (g + 1) * a->block; k++)
            exact += (double)nyb_format_decode(a->format, a->codes[i * K + k]) *
                     (double)nyb_format_decode(b->format, b->codes[j * K + k]);
        sum = fmaf((float)exact, a->scales[i * a_row + g] * b->scales[j * a_row + g], sum);
    }
    return sum * (a->level * b->level);
}

static void products_in_blocks_are_chains(void **state)
{
    static const struct {
        const char *x, *w;
        size_t block;
    } pairs[] = {{"e2m1/e8m0/block32", "e2m1/e8m0/block32", 32},
                 {"e2m1/e4m3/block16", "e2m1/e4m3/block16", 16},
                 {"e3m0/absmax/block64", "int4/hbfp/block64", 64},
                 {"binary/absmax/block16", "uint7/absmax/block16", 16}};
    float y[M * N];
    block_rows a, b;

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        quantize_blocks(pairs[i].x, pairs[i].block, x, M, &a);
        quantize_blocks(pairs[i].w, pairs[i].block, w, N, &b);
        assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, NULL), NYB_OK);
        for (size_t j = 0; j < M * N; j++)
            assert_true(y[j] == chain_of_blocks(&a.matrix, j / N, &b.matrix, j % N));
    }
}

/* Factors of int4m as scales of blocks of 16, its scale as the level: the exact sum of the engine
 * for one scale. */
static void factors_are_scales_of_blocks(void **state)
{
    nyb_matrix *qx = matrix("int4m", x, M, K), *qw = matrix("int4m", w, N, K);
    float y[M * N], want[M * N];
    block_rows a, b;

    (void)state;
    quantize_blocks("int4m", 16, x, M, &a);
    quantize_blocks("int4m", 16, w, N, &b);
    a.matrix.level = nyb_matrix_scale(qx);
    b.matrix.level = nyb_matrix_scale(qw);
    for (size_t i = 0; i < M * 3; i++)
        a.scales[i] = rintf(a.scales[i] / a.matrix.level);
    for (size_t i = 0; i < N * 3; i++)
        b.scales[i] = rintf(b.scales[i] / b.matrix.level);
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, NULL), NYB_OK);
    assert_int_equal(nyb_matmul_y(context, qx, qw, NULL, want, NULL), NYB_OK);
    assert_memory_equal(y, want, sizeof y);
    a.matrix.scales = NULL; /* all 1 */
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, NULL), NYB_OK);
    for (size_t i = 0; i < M * 3; i++)
        a.scales[i] = 1.0f;
    a.matrix.scales = a.scales;
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, want, NULL), NYB_OK);
    assert_memory_equal(y, want, sizeof y);
    nyb_matrix_destroy(&qx);
    nyb_matrix_destroy(&qw);
}

static void blocks_that_cannot_be_multiplied(void **state)
{
    float y[M * N], infinite[M * 3] = {INFINITY}, large_a[M * 3], large_b[N * 3];
    block_rows a, b;
    nyb_error err;

    (void)state;
    quantize_blocks("int4/absmax/block16", 16, x, M, &a);
    quantize_blocks("int4/absmax/block16", 16, w, N, &b);
    const nyb_block_matrix good = a.matrix, good_b = b.matrix;
    assert_int_equal(nyb_matmul_blocks(context, NULL, &b.matrix, y, &err), NYB_INVALID);
    assert_int_equal(nyb_matmul_blocks(context, &good, &b.matrix, NULL, &err), NYB_INVALID);
    a.matrix.cols = K - 1;
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, &err), NYB_SHAPE);
    assert_non_null(strstr(err.text, "44"));
    a.matrix = good;
    a.matrix.block = 32;
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, &err), NYB_SHAPE);
    a.matrix.block = b.matrix.block = 24;
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, &err), NYB_INVALID);
    a.matrix = good;
    b.matrix.block = 16;
    a.matrix.format = nyb_format_find("e4m3fn");
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "e4m3fn"));
    a.matrix = good;
    a.codes[M * K - 1] = 16;
    assert_int_equal(nyb_matmul_blocks(context, &good, &b.matrix, y, &err), NYB_INVALID);
    a.codes[M * K - 1] = 15;
    a.matrix.scales = infinite;
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, &err), NYB_INVALID);
    a.matrix = good;
    a.matrix.level = NAN;
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, &err), NYB_INVALID);
    a.matrix = good;
    /* Finite scales whose product is infinite. */
    memcpy(large_a, good.scales, sizeof large_a);
    memcpy(large_b, b.matrix.scales, sizeof large_b);
    a.matrix.scales = large_a;
    b.matrix.scales = large_b;
    large_a[(M - 1) * 3 + 2] = -3e38f;
    large_b[2] = 3e38f;
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "block 2"));
    large_b[2] = 1;
    large_b[1] = 3e38f; /* of another block */
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, &err), NYB_OK);
    a.matrix = good;
    b.matrix = good_b;
    a.matrix.level = b.matrix.level = 3e38f;
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, &err), NYB_INVALID);
    assert_non_null(strstr(err.text, "levels"));
    a.matrix = good;
    b.matrix = good_b;
    a.matrix.rows = 0;
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, &err), NYB_SHAPE);
    a.matrix.rows = SIZE_MAX / 4;
    assert_int_equal(nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, &err), NYB_LIMIT);
    assert_int_equal(nyb_matmul_blocks(context, &good, &b.matrix, y, &err), NYB_OK);
}

/* x and dy as an image of 3x6 with 45 channels; a filter of 3x3 for each. */
static void a_depthwise_plan_sums_its_own_channel(void **state)
{
    const nyb_image image = {1, 3, 6, K};
    nyb_matrix *qx = matrix("int4", x, 18, K), *qw = matrix("int4", w, K, 9);
    const nyb_format *int4 = nyb_format_find("int4"), *f32 = nyb_format_find("f32");
    float got[18 * K], real[18 * K];
    nyb_plan *plan;

    (void)state;
    assert_int_equal(
        nyb_plan_create_depthwise(context, NYB_PLAN_Y, image, 3, 3, 1, 1, int4, int4, &plan, NULL),
        NYB_OK);
    assert_string_equal(nyb_plan_engine(plan), "s8");
    assert_true(strlen(nyb_plan_kernel(plan)) > 0);
    const uint64_t allocated = nyb_alloc_count();
    nyb_plan_run(plan, qx, qw, got);
    assert_int_equal(nyb_alloc_count(), allocated);
    nyb_plan_destroy(&plan);
    assert_int_equal(
        nyb_plan_create_depthwise(context, NYB_PLAN_Y, image, 3, 3, 1, 1, f32, f32, &plan, NULL),
        NYB_OK);
    assert_string_equal(nyb_plan_engine(plan), "f32");
    nyb_plan_run_f32(plan, x, w, real);
    nyb_plan_destroy(&plan);
    for (size_t i = 0; i < 18 * K; i++) {
        double sum = 0, real_sum = 0;
        for (size_t tap = 0; tap < 9; tap++) {
            const long h = (long)(i / K / 6 + tap / 3) - 1, v = (long)(i / K % 6 + tap % 3) - 1;
            const size_t c = i % K, pixel = (size_t)(h * 6 + v);
            if (h < 0 || h >= 3 || v < 0 || v >= 6)
                continue;
            sum += unit("int4", qx, pixel, c) * unit("int4", qw, c, tap);
            real_sum += (double)x[pixel * K + c] * (double)w[c * 9 + tap];
        }
        assert_true(got[i] == (float)sum * (nyb_matrix_scale(qx) * nyb_matrix_scale(qw)));
        assert_true(fabs((double)real[i] - real_sum) < 1e-5);
    }
    assert_int_equal(
        nyb_plan_create_depthwise(context, NYB_PLAN_Y, image, 64, 64, 1, 63, f32, f32, &plan, NULL),
        NYB_LIMIT);
    assert_null(plan);
    nyb_matrix_destroy(&qx);
    nyb_matrix_destroy(&qw);
}

static void wrong_shapes_name_both_sides(void **state)
{
    nyb_matrix *qx = matrix("int4", x, M, K), *qw = matrix("int4", w, N, K), *none;
    nyb_spec f32 = {.format = nyb_format_find("f32")}, int4;
    float out[1];
    nyb_error err;

    (void)state;
    assert_int_equal(nyb_spec_parse("int4", &int4, NULL), NYB_OK);
    assert_int_equal(nyb_matmul_dx(context, qx, qw, out, &err), NYB_SHAPE);
    assert_non_null(strstr(err.text, "45"));
    assert_non_null(strstr(err.text, "19"));
    assert_int_equal(nyb_matmul_dw(context, qx, qw, out, &err), NYB_SHAPE);
    nyb_matrix *narrow = matrix("int4", x, M, K - 1);
    assert_int_equal(nyb_matmul_y(context, narrow, qw, NULL, out, &err), NYB_SHAPE);
    nyb_matrix_destroy(&narrow);
    assert_int_equal(nyb_matmul_y(context, NULL, qw, NULL, out, &err), NYB_INVALID);
    assert_int_equal(nyb_matmul_f32_y(context, x, w, NULL, 0, 1, 1, out, &err), NYB_SHAPE);
    assert_int_equal(
        nyb_convolve_y(context, qx, (nyb_image){1, 6, 6, K}, qw, 2, 3, 3, 1, 1, NULL, out, &err),
        NYB_SHAPE);
    assert_int_equal(
        nyb_convolve_y(context, qx, (nyb_image){1, 1, M, K}, qw, 2, 3, 3, 1, 1, NULL, out, &err),
        NYB_SHAPE);
    assert_int_equal(nyb_matrix_create(context, &int4, x, 0, 4, 0, 0, 0, &none, &err), NYB_SHAPE);
    assert_null(none);
    assert_int_equal(nyb_matrix_create(context, &int4, x, SIZE_MAX, 4, 0, 0, 0, &none, &err),
                     NYB_LIMIT);
    assert_int_equal(nyb_matrix_create(context, &int4, x, 4, 4, 0, 0, 256, &none, &err),
                     NYB_INVALID);
    assert_int_equal(nyb_matrix_create(context, &f32, x, 4, 4, 0, 0, 0, &none, &err), NYB_INVALID);
    nyb_matrix_destroy(&qx);
    nyb_matrix_destroy(&qw);
}

static void memory_failures_leak_nothing(void **state)
{
    nyb_matrix *qx = matrix("int4", x, M, K), *qw = matrix("int4", w, N, K), *made, *lined;
    nyb_status status = NYB_MEMORY;
    float y[M * N];
    nyb_spec int4, rows;
    block_rows a, b;

    (void)state;
    quantize_blocks("int4/absmax/block16", 16, x, M, &a);
    quantize_blocks("int4/absmax/block16", 16, w, N, &b);
    assert_int_equal(nyb_spec_parse("int4", &int4, NULL), NYB_OK);
    assert_int_equal(nyb_spec_parse("uint4/psq/row", &rows, NULL), NYB_OK);
    for (uint64_t n = 1; status != NYB_OK; n++) {
        nyb_plan *plan = NULL, *depthwise = NULL;
        const nyb_format *f = nyb_format_find("int4");
        made = lined = NULL;
        nyb_alloc_fail_after(n, false);
        status = nyb_matrix_create(context, &int4, x, M, K, 0, 0, 0, &made, NULL);
        if (status == NYB_OK)
            status = nyb_matrix_create(context, &rows, x, M, K, 0, 0, 0, &lined, NULL);
        if (status == NYB_OK)
            status = nyb_matmul_y(context, lined, qw, NULL, y, NULL);
        if (status == NYB_OK)
            status = nyb_matmul_blocks(context, &a.matrix, &b.matrix, y, NULL);
        if (status == NYB_OK)
            status = nyb_plan_create(context, NYB_PLAN_DX, (nyb_image){1, 1, M, K}, N, 1, 1, 1, 0,
                                     f, f, &plan, NULL);
        if (status == NYB_OK)
            status = nyb_plan_create_depthwise(context, NYB_PLAN_DX, (nyb_image){1, 3, 6, K}, 3, 3,
                                               1, 1, f, f, &depthwise, NULL);
        nyb_alloc_fail_after(0, false);
        assert_true(status == NYB_OK || status == NYB_MEMORY);
        assert_true(n < 200);
        nyb_matrix_destroy(&made);
        nyb_matrix_destroy(&lined);
        nyb_plan_destroy(&plan);
        nyb_plan_destroy(&depthwise);
    }
    nyb_matrix_destroy(&qx);
    nyb_matrix_destroy(&qw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_matrix_may_be_made_of_codes),
        cmocka_unit_test(a_matrix_is_what_quantize_says),
        cmocka_unit_test(a_matrix_takes_every_rule_of_one_scale),
        cmocka_unit_test(a_matrix_of_rows_is_what_quantize_says),
        cmocka_unit_test(rows_of_x_and_w_are_summed_exactly),
        cmocka_unit_test(other_rows_are_values),
        cmocka_unit_test(products_are_exact_sums),
        cmocka_unit_test(real_products_are_chains),
        cmocka_unit_test(a_convolution_and_its_plan_agree),
        cmocka_unit_test(products_in_blocks_are_chains),
        cmocka_unit_test(factors_are_scales_of_blocks),
        cmocka_unit_test(blocks_that_cannot_be_multiplied),
        cmocka_unit_test(a_depthwise_plan_sums_its_own_channel),
        cmocka_unit_test(wrong_shapes_name_both_sides),
        cmocka_unit_test(memory_failures_leak_nothing),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
