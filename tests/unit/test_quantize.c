#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>

#include "known.h"
#include "quant/quant.h"

static nyb_spec parsed(const char *text)
{
    nyb_spec s = {0};

    assert_int_equal(nyb_spec_parse(text, &s, NULL), NYB_OK);
    return s;
}

static nyb_context *context;

static int begin(void **state)
{
    (void)state;
    return nyb_context_create(NULL, 2, &context, NULL) == NYB_OK ? 0 : 1;
}

static int end(void **state)
{
    (void)state;
    nyb_context_destroy(&context);
    return 0;
}

static void codes_values_and_losses_of_a_known_array(void **state)
{
    static const float x[8] = {0, 7, -3.4f, 0.4f, NAN, INFINITY, 1, -2};
    static const uint8_t want[8] = {0, 7, 13, 0, 0, 7, 1, 14};
    static const float real[8] = {0, 7, -3, 0, 0, 7, 1, -2};
    const nyb_spec s = parsed("int4");
    uint8_t codes[8];
    float values[8];
    nyb_quant_stats stats;

    (void)state;
    assert_int_equal(nyb_quantize(context, &s, x, 2, 4, 0, 0, 0, codes, values, &stats, NULL),
                     NYB_OK);
    assert_memory_equal(codes, want, sizeof want);
    assert_memory_equal(values, real, sizeof real);
    /* ties to even: 1 / scale is exact */
    static const float ties[6] = {7, 0.5f, 1.5f, 2.5f, -3.5f, -4.5f};
    static const uint8_t even[6] = {7, 0, 2, 2, 12, 12};
    assert_int_equal(nyb_quantize(context, &s, ties, 2, 3, 0, 0, 0, codes, NULL, NULL, NULL),
                     NYB_OK);
    assert_memory_equal(codes, even, sizeof even);
    assert_true(stats.n == 8 && stats.n_nan == 1 && stats.n_inf == 1);
    assert_true(stats.amax == 7 && stats.scale == 1);
    assert_true(stats.zero == 0.125 && stats.underflow == 0.125 && stats.clip == 0.125);
    assert_true(fabs(stats.mse - 0.32 / 6) < 1e-7);
    assert_true(fabs(stats.bias) < 1e-7);
}

static void a_clip_below_the_maximum_is_counted(void **state)
{
    const nyb_spec s = parsed("int4/sawb");
    float x[1000];
    nyb_quant_stats stats;

    (void)state;
    for (size_t i = 0; i < 1000; i++)
        x[i] = i == 7 ? 50.0f : (float)(int32_t)known_u32(1, 0, 0, 0, 0, i) * 0x1p-31f;
    assert_int_equal(nyb_quantize(context, &s, x, 10, 100, 0, 0, 0, NULL, NULL, &stats, NULL),
                     NYB_OK);
    assert_true(stats.clip >= 0.001 && stats.clip < 0.1 && stats.amax == 50);
    assert_true(stats.scale * 7 < 50);
    assert_true(stats.bias < 0 && stats.mse > 0);
}

static void the_arguments_decide_the_draws(void **state)
{
    const nyb_spec s = parsed("e3m0");
    float x[300];
    uint8_t first[300], again[300];

    (void)state;
    for (size_t i = 0; i < 300; i++)
        x[i] = (float)(int32_t)known_u32(1, 0, 0, 0, 0, i) * 0x1p-31f;
    for (int k = 0; k < 4; k++) {
        assert_int_equal(nyb_quantize(context, &s, x, 3, 100, 5, 6, 7, first, NULL, NULL, NULL),
                         NYB_OK);
        assert_int_equal(nyb_quantize(context, &s, x, 3, 100, k == 1 ? 9 : 5, k == 2 ? 9 : 6,
                                      k == 3 ? 9 : 7, again, NULL, NULL, NULL),
                         NYB_OK);
        assert_int_equal(memcmp(first, again, 300) == 0, k == 0);
    }
    /* the shape only says where rows end */
    assert_int_equal(nyb_quantize(context, &s, x, 1, 300, 5, 6, 7, again, NULL, NULL, NULL),
                     NYB_OK);
    assert_memory_equal(first, again, 300);
}

static void every_format_and_rule_quantizes(void **state)
{
    float x[15 * 33], values[15 * 33];
    uint8_t codes[15 * 33];

    (void)state;
    for (size_t i = 0; i < 15 * 33; i++)
        x[i] = fabsf((float)(int32_t)known_u32(1, 0, 0, 0, 0, i) * 0x1p-31f);
    for (size_t f = 1; f < nyb_format_count(); f++)
        for (size_t r = 0; r < nyb_scale_rule_count(); r++) {
            nyb_spec s = parsed(nyb_format_name(nyb_format_at(f)));
            nyb_quant_stats stats;

            s.scale = nyb_scale_rule_at(r);
            if (nyb_spec_check(&s, NULL) != NYB_OK || nyb_spec_check_tensor(&s, NULL) != NYB_OK)
                continue;
            assert_int_equal(
                nyb_quantize(context, &s, x, 15, 33, 1, 2, 3, codes, values, &stats, NULL), NYB_OK);
            for (size_t i = 0; i < 15 * 33 && !s.format->multiples; i++)
                assert_true(values[i] ==
                            nyb_format_decode(s.format, codes[i]) * (float)stats.scale);
            assert_true(stats.scale > 0);
            assert_true(stats.mse < (s.format->n_codes == 2 ? 0.4 : 0.12) ||
                        strcmp(s.scale->name, "unit") == 0);
            if (stats.clip == 0) /* within one gap of the coarsest place */
                assert_true(stats.mse <= (double)(s.format->max * (float)stats.scale));
        }
}

/* One of 1,024 far above the rest, another further below. */
static void clips_are_counted_whatever_quantizes(void **state)
{
    static const struct {
        const char *spec;
        double least, most; /* -1: not known */
    } cases[] = {
        {"int4/absmax", 0, 0},
        {"int4/percentile99.9", 0x1p-10, 0x1p-10},
        {"int8/percentile99.9", 0x1p-10, 0x1p-10},
        {"uint8/ptq/tensor/nearest", 0, 0},
        {"e2m1/e8m0/block32", 0.2, 0.3}, /* floor: of 1 the scale is 1/8, and 6/8 the most */
        {"e2m1/e8m0_ceil/block32", 0, 0},
        {"int4/absmax/row", 0, 0},
        {"int4m/absmax", 0, 0},
        {"e2m1/e8m0/block32/nearest/hadamard32", -1, -1},
    };
    float x[1024];

    (void)state;
    for (size_t i = 0; i < 1024; i++)
        x[i] = (float)(int32_t)known_u32(1, 0, 0, 0, 0, i) * 0x1p-31f;
    x[7] = 50;
    x[500] = -80;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const nyb_spec s = parsed(cases[i].spec);
        nyb_quant_stats stats;

        assert_int_equal(nyb_quantize(context, &s, x, 16, 64, 0, 0, 0, NULL, NULL, &stats, NULL),
                         NYB_OK);
        if (cases[i].least < 0 ? !isnan(stats.clip)
                               : !(stats.clip >= cases[i].least && stats.clip <= cases[i].most))
            fail_msg("%s: clip %g", cases[i].spec, stats.clip);
    }
}

/* Also where 0 has an offset. */
static void nan_becomes_zero(void **state)
{
    float x[64], values[64];
    size_t n_done = 0;

    (void)state;
    for (size_t i = 0; i < 64; i++)
        x[i] = 5 + (float)(i % 7);
    x[3] = NAN;
    x[63] = -NAN;
    for (size_t r = 0; nyb_scale_rule_at(r); r++)
        for (size_t f = 0; f < nyb_format_count(); f++)
            for (int g = 0; g < 3; g++) {
                static const nyb_group groups[] = {NYB_GROUP_TENSOR, NYB_GROUP_ROW,
                                                   NYB_GROUP_BLOCK16};
                const nyb_spec s = {.format = nyb_format_at(f),
                                    .scale = nyb_scale_rule_at(r),
                                    .group = groups[g],
                                    .sr_bits = 16};
                float least = INFINITY;

                if (nyb_spec_check(&s, NULL) != NYB_OK || s.format->grid == NYB_GRID_REAL)
                    continue;
                assert_int_equal(
                    nyb_quantize(context, &s, x, 4, 16, 0, 0, 0, NULL, values, NULL, NULL), NYB_OK);
                for (size_t i = 0; i < 64; i++)
                    if (i != 3 && i != 63)
                        least = fminf(least, values[i]);
                n_done++;
                /* as near to 0 as a value can be */
                if (!(values[3] <= least || values[3] == 0))
                    fail_msg("%s of %s: NaN is %g, not %g", s.format->name, s.scale->name,
                             (double)values[3], (double)least);
            }
    assert_true(n_done > 300);
}

/* A spec of any group in its parts, and the same values from nyb_quantize. */
static void compose(const nyb_spec *s, const float *x, size_t rows, size_t cols)
{
    const size_t n = rows * cols, n_groups = nyb_quant_group_count(s, rows, cols);
    float values[18 * 20], parts[18 * 20], scales[18 * 20], offsets[18 * 20], level;
    uint8_t codes[18 * 20], again[18 * 20];
    const bool coded = nyb_format_bits(s->format) <= 8;
    nyb_quant_stats stats;

    assert_in_range(n_groups, 1, n);
    for (size_t g = 0; g < n_groups; g++)
        scales[g] = offsets[g] = NAN;
    assert_int_equal(nyb_quantize_groups(context, s, x, rows, cols, 1, 2, 3, coded ? codes : NULL,
                                         parts, scales, offsets, &level, NULL),
                     NYB_OK);
    assert_int_equal(nyb_quantize(context, s, x, rows, cols, 1, 2, 3, coded ? again : NULL, values,
                                  &stats, NULL),
                     NYB_OK);
    assert_memory_equal(values, parts, n * sizeof *values);
    for (size_t g = 0; g < n_groups; g++)
        assert_true(isfinite(scales[g]) && isfinite(offsets[g]));
    for (size_t i = 0; i < n && coded; i++) {
        const size_t row = i / cols, col = i % cols;
        size_t g = 0;

        switch (s->group) {
        case NYB_GROUP_TENSOR:
            break;
        case NYB_GROUP_ROW:
            g = row;
            break;
        case NYB_GROUP_CHANNEL:
            g = col;
            break;
        case NYB_GROUP_BLOCK16:
            g = row * ((cols + 15) / 16) + col / 16;
            break;
        case NYB_GROUP_BLOCK32:
            g = row * ((cols + 31) / 32) + col / 32;
            break;
        case NYB_GROUP_BLOCK64:
            g = row * ((cols + 63) / 64) + col / 64;
            break;
        case NYB_GROUP_TILE16:
            g = row / 16 * ((cols + 15) / 16) + col / 16;
            break;
        }
        assert_int_equal(codes[i], again[i]);
        const float grid = nyb_format_decode(s->format, codes[i]);
        const float normal = fabsf(grid) < FLT_MIN ? 0.0f : grid; /* e8m0 has a subnormal code */
        assert_true(parts[i] == offsets[g] + normal * scales[g] * level);
    }
}

static void every_group_quantizes(void **state)
{
    static const size_t shapes[][2] = {{18, 20}, {5, 72}, {4, 33}, {1, 1}, {0, 3}};
    float x[18 * 20];
    size_t n_seen = 0;

    (void)state;
    for (size_t i = 0; i < 18 * 20; i++)
        x[i] = (float)(int32_t)known_u32(1, 0, 0, 0, 0, i) * 0x1p-31f;
    for (size_t f = 1; f < nyb_format_count(); f++)
        for (size_t r = 0; r < nyb_scale_rule_count(); r++)
            for (int g = 0; g <= NYB_GROUP_TILE16; g++)
                for (int rounding = 0; rounding < 2; rounding++) {
                    nyb_spec s = parsed(nyb_format_name(nyb_format_at(f)));

                    s.scale = nyb_scale_rule_at(r);
                    s.group = (nyb_group)g;
                    s.rounding = rounding ? NYB_ROUND_STOCHASTIC : NYB_ROUND_NEAREST;
                    if (nyb_spec_check(&s, NULL) != NYB_OK || s.format->multiples)
                        continue;
                    assert_int_equal(nyb_quant_group_count(&s, 0, 3), 0);
                    for (size_t k = 0; k < 4; k++)
                        compose(&s, x, shapes[k][0], shapes[k][1]);
                    assert_int_equal(nyb_quantize_groups(context, &s, x, 0, 3, 0, 0, 0, NULL, NULL,
                                                         NULL, NULL, NULL, NULL),
                                     NYB_OK);
                    n_seen++;
                }
    assert_true(n_seen > 300);
}

/* A mix is taken back: with int8 what comes out is close to what went in, and its codes are not. */
static void mixes_are_taken_back(void **state)
{
    float x[4 * 40], values[4 * 40], mixed[4 * 40];
    const nyb_spec s = parsed("int8/absmax/block16/nearest/random_hadamard16");

    (void)state;
    for (size_t i = 0; i < 4 * 40; i++)
        x[i] = (float)(int32_t)known_u32(1, 0, 0, 0, 0, i) * 0x1p-31f;
    assert_int_equal(nyb_quantize(context, &s, x, 4, 40, 1, 2, 3, NULL, values, NULL, NULL),
                     NYB_OK);
    assert_int_equal(
        nyb_quantize_groups(context, &s, x, 4, 40, 1, 2, 3, NULL, mixed, NULL, NULL, NULL, NULL),
        NYB_OK);
    double error = 0, far = 0;
    for (size_t i = 0; i < 4 * 40; i++) {
        const double e = fabs((double)(values[i] - x[i])), f = fabs((double)(mixed[i] - x[i]));
        error = e <= error ? error : e; /* NaN stays; gcc 12 for aarch64 dies of fmax */
        far = f <= far ? far : f;
    }
    assert_true(error < 0.05 && far > 0.2);
}

static void f32_is_a_copy(void **state)
{
    static const float x[3] = {1.5f, -2, NAN};
    const nyb_spec s = parsed("f32");
    float values[3];
    uint8_t codes[3];
    nyb_quant_stats stats;

    (void)state;
    assert_int_equal(nyb_quantize(context, &s, x, 1, 3, 0, 0, 0, NULL, values, &stats, NULL),
                     NYB_OK);
    assert_memory_equal(values, x, sizeof x);
    assert_true(stats.mse == 0 && stats.n_nan == 1 && stats.amax == 2 && stats.underflow == 0);
    assert_int_equal(nyb_quantize(context, &s, x, 1, 3, 0, 0, 0, codes, NULL, NULL, NULL),
                     NYB_INVALID);
}

static void nothing_and_zeros_are_fine(void **state)
{
    static const float zeros[40], odd[2] = {NAN, FLT_MIN / 4};
    const char *const texts[] = {"int4/sawb", "e3m0/hindsight", "e3m0/pow2", "uint4/sawb"};
    uint8_t codes[40];
    nyb_quant_stats stats;

    (void)state;
    for (size_t t = 0; t < 4; t++) {
        const nyb_spec s = parsed(texts[t]);

        assert_int_equal(nyb_quantize(context, &s, NULL, 0, 7, 0, 0, 0, NULL, NULL, &stats, NULL),
                         NYB_OK);
        assert_true(stats.n == 0 && stats.mse == 0 && stats.zero == 0);
        assert_int_equal(nyb_quantize(context, &s, NULL, 7, 0, 0, 0, 0, NULL, NULL, &stats, NULL),
                         NYB_OK);
        memset(codes, 9, sizeof codes);
        assert_int_equal(
            nyb_quantize(context, &s, zeros, 4, 10, 0, 0, 0, codes, NULL, &stats, NULL), NYB_OK);
        assert_memory_equal(codes, (uint8_t[40]){0}, 40);
        assert_true(stats.zero == 1 && stats.scale == 0 && stats.mse == 0 && stats.clip == 0);
        assert_int_equal(nyb_quantize(context, &s, odd, 1, 2, 0, 0, 0, codes, NULL, &stats, NULL),
                         NYB_OK);
        assert_true(codes[0] == 0 && codes[1] == 0 && stats.n_nan == 1);
    }
}

static void bad_arguments_are_refused(void **state)
{
    const nyb_spec s = parsed("int4");
    nyb_spec bad = s;
    const float x[4] = {0};
    nyb_error err = {0};

    (void)state;
    bad.rounding = NYB_ROUND_FLUSH;
    assert_int_equal(nyb_quantize(NULL, &s, x, 2, 2, 0, 0, 0, NULL, NULL, NULL, &err), NYB_INVALID);
    assert_int_equal(nyb_quantize(context, NULL, x, 2, 2, 0, 0, 0, NULL, NULL, NULL, &err),
                     NYB_INVALID);
    assert_int_equal(nyb_quantize(context, &bad, x, 2, 2, 0, 0, 0, NULL, NULL, NULL, &err),
                     NYB_INVALID);
    assert_int_equal(nyb_quantize(context, &s, NULL, 2, 2, 0, 0, 0, NULL, NULL, NULL, &err),
                     NYB_INVALID);
    assert_int_equal(nyb_quantize(context, &s, x, 2, 2, 0, 0, 256, NULL, NULL, NULL, &err),
                     NYB_INVALID);
    assert_non_null(strstr(err.text, "256"));
    const nyb_spec reflected = parsed("uint8/psq/row/stochastic/householder");
    uint8_t codes[4];
    assert_int_equal(nyb_quantize(context, &reflected, x, 2, 2, 0, 0, 0, codes, NULL, NULL, &err),
                     NYB_INVALID);
    assert_non_null(strstr(err.text, "Householder"));
    assert_int_equal(nyb_quantize(context, &s, x, SIZE_MAX, 2, 0, 0, 0, NULL, NULL, NULL, &err),
                     NYB_LIMIT);
    assert_int_equal(
        nyb_quantize(context, &s, x, SIZE_MAX / 128, 100, 0, 0, 0, NULL, NULL, NULL, &err),
        NYB_LIMIT);
    assert_int_equal(nyb_quantize(context, &s, x, 1, SIZE_MAX, 0, 0, 0, NULL, NULL, NULL, &err),
                     NYB_LIMIT);
    assert_int_equal(nyb_quant_group_count(NULL, 2, 2), 0);
    assert_int_equal(nyb_quant_group_count(&(nyb_spec){0}, 2, 2), 0);
    bad = s;
    bad.group = (nyb_group)99;
    assert_int_equal(nyb_quant_group_count(&bad, 2, 2), 0);
    bad.format = nyb_format_find("f32"); /* whose other members are ignored */
    assert_int_equal(nyb_quant_group_count(&bad, 2, 2), 1);
    assert_int_equal(nyb_quant_group_count(&bad, 0, 2), 0);
}

static void a_failing_allocation_is_reported(void **state)
{
    const nyb_spec s = parsed("int4");
    const float x[4] = {1, 2, 3, 4};
    uint64_t n = 0;
    nyb_status status;

    (void)state;
    do {
        nyb_error err = {0};

        nyb_alloc_fail_after(++n, false);
        status = nyb_quantize(context, &s, x, 2, 2, 0, 0, 0, NULL, NULL, NULL, &err);
        nyb_alloc_fail_after(0, false);
        assert_true(status == NYB_OK || (status == NYB_MEMORY && strlen(err.text) > 5));
    } while (status != NYB_OK && n < 100);
    assert_in_range(n, 2, 99);
}

/* Subnormals are zeros inside, and the caller's arithmetic is as it was afterwards. */
static void the_callers_arithmetic_is_restored(void **state)
{
    const nyb_spec s = parsed("e3m0");
    const float x[3] = {1, FLT_MIN / 2, -FLT_MIN / 2};
    volatile float small = FLT_MIN;
    nyb_quant_stats stats;

    (void)state;
    assert_int_equal(nyb_quantize(context, &s, x, 1, 3, 0, 0, 0, NULL, NULL, &stats, NULL), NYB_OK);
    assert_true(small / 4 > 0);
    nyb_alloc_fail_after(1, false);
    assert_int_equal(nyb_quantize(context, &s, x, 1, 3, 0, 0, 0, NULL, NULL, &stats, NULL),
                     NYB_MEMORY);
    nyb_alloc_fail_after(0, false);
    assert_true(small / 4 > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_values_and_losses_of_a_known_array),
        cmocka_unit_test(a_clip_below_the_maximum_is_counted),
        cmocka_unit_test(clips_are_counted_whatever_quantizes),
        cmocka_unit_test(nan_becomes_zero),
        cmocka_unit_test(the_arguments_decide_the_draws),
        cmocka_unit_test(every_format_and_rule_quantizes),
        cmocka_unit_test(every_group_quantizes),
        cmocka_unit_test(mixes_are_taken_back),
        cmocka_unit_test(f32_is_a_copy),
        cmocka_unit_test(nothing_and_zeros_are_fine),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(a_failing_allocation_is_reported),
        cmocka_unit_test(the_callers_arithmetic_is_restored),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
