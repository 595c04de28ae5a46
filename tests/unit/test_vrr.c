/* The variance retention ratio against the values of an independent program (NumPy and SciPy). */
#include <fenv.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <nybble/accumulate.h>

static void ratios_are_those_of_the_oracle(void **state)
{
    static const struct {
        int accum_bits;
        uint64_t n;
        double ratio;
    } known[] = {
        {5, 64, 0.99219323012515},      {6, 256, 0.996050491082396},
        {7, 1024, 0.998000849248708},   {9, 4096, 0.999758829106368},
        {9, 4608, 0.999747837819655},   {10, 16384, 0.999879117033754},
        {12, 65536, 0.999983533009681},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const double ratio = nyb_vrr(known[i].accum_bits, 5, known[i].n);
        assert_true(fabs(ratio - known[i].ratio) < 1e-9 * known[i].ratio);
    }
}

static void mantissas_are_those_of_the_oracle(void **state)
{
    static const struct {
        uint64_t n;
        int plain, levels, total; /* 0: not in the table */
    } known[] = {
        {64, 4, 0, 0},      {256, 6, 0, 0},      {576, 7, 4, 6},       {1024, 7, 0, 0},
        {2304, 8, 4, 7},    {4608, 9, 4, 8},     {9216, 9, 5, 8},      {16384, 10, 6, 9},
        {65536, 12, 7, 10}, {200704, 13, 8, 11}, {802816, 14, 10, 13}, {3211264, 17, 11, 14},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const uint64_t n = known[i].n;
        assert_int_equal(nyb_vrr_mantissa(5, n, 0, NYB_VRR_LEVELS), known[i].plain);
        assert_int_equal(nyb_vrr_mantissa(5, n, n, NYB_VRR_TOTAL), known[i].plain);
        if (known[i].levels == 0)
            continue;
        assert_int_equal(nyb_vrr_mantissa(5, n, 64, NYB_VRR_LEVELS), known[i].levels);
        assert_int_equal(nyb_vrr_mantissa(5, n, 64, NYB_VRR_TOTAL), known[i].total);
    }
}

static void ratios_behave(void **state)
{
    (void)state;
    assert_true(nyb_vrr(9, 5, 0) == 1 && nyb_vrr(9, 5, 1) == 1);
    for (int product = 1; product <= 23; product++) {
        for (int bits = 1; bits <= 23; bits++) {
            for (uint64_t n = 2; n <= 5000; n = n * 3 + 1) {
                const double ratio = nyb_vrr(bits, product, n);
                assert_true(ratio >= 0 && ratio <= 1 + 1e-12);
                assert_true(nyb_vrr_chunked(bits, product, n, n) == ratio);
            }
        }
    }
    /* Chunks help: within one the sum is short, and there are few sums. */
    assert_true(nyb_vrr_chunked(9, 5, 65536, 64) > nyb_vrr(9, 5, 65536));
    assert_true(nyb_vrr_chunked(9, 5, 100, 64) == nyb_vrr(9, 5, 64) * nyb_vrr(9, 9, 2));
}

static void lengths_have_a_limit(void **state)
{
    (void)state;
    assert_true(isnan(nyb_vrr(10, 5, UINT64_MAX)));
    assert_true(isnan(nyb_vrr_chunked(10, 5, UINT64_MAX, 64)));
    assert_true(isnan(nyb_vrr_chunked(5, 5, 100, 0)) && isnan(nyb_vrr_chunked(5, 5, 0, 0)));
    assert_int_equal(nyb_vrr_mantissa(5, UINT64_MAX, 0, NYB_VRR_LEVELS), 0);
    assert_int_equal(nyb_vrr_mantissa(5, 0, 0, NYB_VRR_LEVELS), 4);
}

static void the_callers_rounding_mode_does_not_count(void **state)
{
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};

    (void)state;
    for (uint64_t n = 2; n <= 100000; n = n * 3 + 1)
        for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
            const double plain = nyb_vrr(8, 5, n), chunked = nyb_vrr_chunked(6, 5, n, 64);
            const int bits = nyb_vrr_mantissa(5, n, 64, NYB_VRR_TOTAL);

            fesetround(modes[i]);
            const double other = nyb_vrr(8, 5, n), other_chunked = nyb_vrr_chunked(6, 5, n, 64);
            const int other_bits = nyb_vrr_mantissa(5, n, 64, NYB_VRR_TOTAL);
            const int mode = fegetround();
            fesetround(FE_TONEAREST);
            assert_true(other == plain && other_chunked == chunked && other_bits == bits);
            assert_int_equal(mode, modes[i]);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_callers_rounding_mode_does_not_count),
        cmocka_unit_test(lengths_have_a_limit),
        cmocka_unit_test(ratios_are_those_of_the_oracle),
        cmocka_unit_test(mantissas_are_those_of_the_oracle),
        cmocka_unit_test(ratios_behave),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
