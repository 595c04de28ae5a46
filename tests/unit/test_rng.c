/* ARS against published vectors, and the draws made from it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"

static void ars_gives_the_known_answers(void **state)
{
    static const struct {
        int rounds;
        uint32_t counter[4], key[4], want[4];
    } known[] = {
        {10, {0}, {0}, {0x8d73ee19, 0x506401ef, 0x13c2dbe4, 0x0cbe9c0d}},
        {10,
         {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0, 0x082efa98, 0xec4e6c89},
         {0xa516e7d6, 0x8357ad74, 0x5b59b3ec, 0x8763fff3}},
        {10,
         {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff, 0, 0},
         {0xbb3743b1, 0x9f635551, 0xecbc87fc, 0xa19478a9}},
        {5, {0}, {0}, {0x7ecce06f, 0x7cdc3bca, 0x15513c87, 0x29d24c9b}},
        {5,
         {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0, 0x082efa98, 0xec4e6c89},
         {0x9150862d, 0x525af535, 0x6612f4fa, 0xe2a60648}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint32_t out[4];
        nyb_ars(known[i].counter, known[i].key, known[i].rounds, out);
        assert_memory_equal(out, known[i].want, sizeof out);
        memcpy(out, known[i].counter, sizeof out);
        nyb_ars(out, known[i].key, known[i].rounds, out);
        assert_memory_equal(out, known[i].want, sizeof out);
    }
}

static const nyb_stream a_stream = {
    .seed = 0x0123456789abcdef, .step = 77, .tensor = 5, .role = NYB_RNG_DY_DW, .sample = 3};

/* The layout of NUMERICS 0.2: q = i >> 3 across words c0 and c1. */
static void a_block_is_ars_of_its_coordinates(void **state)
{
    const uint64_t q = 0xa5deadbeef;
    const uint32_t counter[4] = {0xdeadbeef, 0xa5 | 3 << 8 | 3 << 16, 5, 77};
    const uint32_t key[4] = {0x89abcdef, 0x01234567, 0, 0};
    uint32_t want[4], got[4];

    (void)state;
    nyb_ars(counter, key, 5, want);
    nyb_rng_block(&a_stream, q, got);
    assert_memory_equal(got, want, sizeof got);
    for (uint64_t i = 0; i < 8; i++) {
        uint16_t half;
        memcpy(&half, (const char *)want + 2 * i, 2);
        assert_int_equal(nyb_rng_u16(&a_stream, 8 * q + i), half);
        assert_int_equal(nyb_rng_u32(&a_stream, 4 * q + i % 4), want[i % 4]);
    }
}

#define N_DRAWS 1000000

/* Correlation of N independent pairs has sigma 1/sqrt(N); 6.5 sigma is rarer than 1e-10. */
static void check_draws(const double *x, size_t n)
{
    double bound = 6.5 / sqrt((double)n), mean = 0, square = 0;

    for (size_t i = 0; i < n; i++) {
        mean += x[i];
        square += x[i] * x[i];
    }
    assert_true(fabs(mean / (double)n) < bound * sqrt(1.0 / 12));
    assert_true(fabs(square / (double)n - 1.0 / 12) < bound * sqrt(1.0 / 180));
    for (size_t lag = 1; lag <= 3; lag++) {
        double sum = 0;
        for (size_t i = lag; i < n; i++)
            sum += x[i] * x[i - lag];
        assert_true(fabs(sum / (double)n * 12) < bound);
    }
}

static void draws_are_uniform_and_uncorrelated(void **state)
{
    double *x = malloc(N_DRAWS * sizeof *x);

    (void)state;
    for (size_t i = 0; i < N_DRAWS; i++)
        x[i] = (nyb_rng_u16(&a_stream, i) + 0.5) / 65536 - 0.5;
    check_draws(x, N_DRAWS);
    for (size_t i = 0; i < N_DRAWS; i++)
        x[i] = (nyb_rng_u32(&a_stream, i) + 0.5) / 4294967296.0 - 0.5;
    check_draws(x, N_DRAWS);
    /* one element of consecutive steps */
    for (size_t i = 0; i < N_DRAWS; i++) {
        nyb_stream s = a_stream;
        s.step = (uint32_t)i;
        x[i] = (nyb_rng_u16(&s, 12345) + 0.5) / 65536 - 0.5;
    }
    check_draws(x, N_DRAWS);
    free(x);
}

/* Streams that differ in one coordinate only must have nothing in common. */
static void streams_are_independent(void **state)
{
    const size_t n = 300000;
    nyb_stream other[6] = {a_stream, a_stream, a_stream, a_stream, a_stream, a_stream};

    (void)state;
    other[0].seed++;
    other[1].seed += UINT64_C(1) << 32;
    other[2].step++;
    other[3].tensor++;
    other[4].role++;
    other[5].sample++;
    for (size_t s = 0; s < 6; s++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += ((nyb_rng_u16(&a_stream, i) + 0.5) / 65536 - 0.5) *
                   ((nyb_rng_u16(&other[s], i) + 0.5) / 65536 - 0.5);
        assert_true(fabs(sum / (double)n * 12) < 6.5 / sqrt((double)n));
    }
}

static void normal_draws_have_normal_moments(void **state)
{
    const size_t n = 400000;
    double sum[5] = {0};

    (void)state;
    for (size_t i = 0; i < n; i++) {
        double x = nyb_rng_normal(&a_stream, i), power = 1;
        assert_true(isfinite(x));
        for (int k = 1; k <= 4; k++)
            sum[k] += power *= x;
    }
    double root = sqrt((double)n);
    assert_true(fabs(sum[1] / (double)n) < 6.5 / root);
    assert_true(fabs(sum[2] / (double)n - 1) < 6.5 * sqrt(2) / root);
    assert_true(fabs(sum[3] / (double)n) < 6.5 * sqrt(15) / root);
    assert_true(fabs(sum[4] / (double)n - 3) < 6.5 * sqrt(96) / root);
}

static void a_permutation_holds_everything_once(void **state)
{
    enum { N = 1000 };
    uint32_t order[N], again[N];

    (void)state;
    for (size_t n = 0; n <= N; n = n < 20 ? n + 1 : n * 3 / 2) {
        unsigned char seen[N] = {0};
        nyb_rng_permutation(&a_stream, order, n);
        for (size_t i = 0; i < n; i++) {
            assert_true(order[i] < n);
            assert_false(seen[order[i]]++);
        }
    }
    nyb_rng_permutation(&a_stream, order, N);
    nyb_rng_permutation(&a_stream, again, N);
    assert_memory_equal(order, again, sizeof order);
    nyb_stream other = a_stream;
    other.step++;
    nyb_rng_permutation(&other, again, N);
    assert_memory_not_equal(order, again, sizeof order);
}

/* All 24 orders of 4 things, 24000 trials: sigma of a count is 31. */
static void permutations_are_equally_likely(void **state)
{
    int count[256] = {0};
    nyb_stream s = a_stream;

    (void)state;
    for (s.step = 0; s.step < 24000; s.step++) {
        uint32_t order[4];
        nyb_rng_permutation(&s, order, 4);
        count[order[0] | order[1] << 2 | order[2] << 4 | order[3] << 6]++;
    }
    for (int i = 0; i < 256; i++)
        assert_true(count[i] == 0 || (count[i] > 800 && count[i] < 1200));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ars_gives_the_known_answers),
        cmocka_unit_test(a_block_is_ars_of_its_coordinates),
        cmocka_unit_test(draws_are_uniform_and_uncorrelated),
        cmocka_unit_test(streams_are_independent),
        cmocka_unit_test(normal_draws_have_normal_moments),
        cmocka_unit_test(a_permutation_holds_everything_once),
        cmocka_unit_test(permutations_are_equally_likely),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
