/* The in-tree polynomials against libm in double. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/math.h"

/* Every 251st float of an interval of one sign. */
static double worst(float (*f)(float), double (*want)(double), float from, float to, int relative)
{
    double error = 0;

    for (uint32_t b = nyb_bits_of(from); b <= nyb_bits_of(to); b += 251) {
        float x = nyb_float_of(b);
        double w = want((double)x);
        double e = fabs((double)f(x) - w);
        if (relative && w != 0)
            e /= fabs(w);
        if (!(e <= error)) /* NaN counts as the worst */
            error = e;
    }
    return error;
}

static void exp_is_accurate(void **state)
{
    (void)state;
    assert_true(worst(nyb_expf, exp, 1e-30f, 88.722f, 1) < 2e-7);
    assert_true(worst(nyb_expf, exp, -1e-30f, -87.336f, 1) < 2e-7);
}

static void exp_has_its_limits(void **state)
{
    (void)state;
    assert_true(nyb_expf(0.0f) == 1.0f);
    assert_true(nyb_expf(88.7229f) == INFINITY);
    assert_true(nyb_expf(INFINITY) == INFINITY);
    assert_true(nyb_bits_of(nyb_expf(-87.337f)) == 0);
    assert_true(nyb_bits_of(nyb_expf(-INFINITY)) == 0);
    assert_true(isnan(nyb_expf(NAN)));
}

static void log_is_accurate(void **state)
{
    (void)state;
    assert_true(worst(nyb_logf, log, 0x1p-126f, 0x1.fffffep127f, 1) < 2e-7);
    assert_true(worst(nyb_logf, log, 0.999f, 1.001f, 1) < 2e-7);
}

static void log_has_its_limits(void **state)
{
    (void)state;
    assert_true(nyb_bits_of(nyb_logf(1.0f)) == 0);
    assert_true(nyb_logf(0.0f) == -INFINITY);
    assert_true(nyb_logf(-0.0f) == -INFINITY);
    assert_true(nyb_logf(nyb_float_of(0x7fffff)) == -INFINITY); /* a subnormal is zero */
    assert_true(isnan(nyb_logf(-1.0f)));
    assert_true(isnan(nyb_logf(NAN)));
    assert_true(nyb_logf(INFINITY) == INFINITY);
}

static void cos_is_accurate(void **state)
{
    (void)state;
    for (int i = -1000000; i <= 1000000; i++) {
        double x = i * 0.99999;
        assert_true(fabs(nyb_cos(x) - cos(x)) < 1e-12);
        x = i * 1e-5;
        assert_true(fabs(nyb_cos(x) - cos(x)) < 1e-12);
    }
    assert_true(nyb_cos(0.0) == 1.0);
    assert_true(isnan(nyb_cos(INFINITY)));
    assert_true(isnan(nyb_cos(NAN)));
}

/* FNV-1a over the bits of many results: every compiler and machine must print the same. */
static void bits_never_change(void **state)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    (void)state;
    for (uint32_t b = 0x00800000; b < 0x7f800000; b += 99991) {
        float x = nyb_float_of(b);
        const uint32_t results[] = {nyb_bits_of(nyb_expf(x)), nyb_bits_of(nyb_expf(-x)),
                                    nyb_bits_of(nyb_logf(x)),
                                    nyb_bits_of((float)nyb_cos(x < 1e6f ? x : 1.0f))};
        for (size_t i = 0; i < sizeof results / sizeof *results; i++)
            hash = (hash ^ results[i]) * UINT64_C(0x100000001b3);
    }
    assert_true(hash == UINT64_C(0x296d7e633450e751));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_accurate), cmocka_unit_test(exp_has_its_limits),
        cmocka_unit_test(log_is_accurate), cmocka_unit_test(log_has_its_limits),
        cmocka_unit_test(cos_is_accurate), cmocka_unit_test(bits_never_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
